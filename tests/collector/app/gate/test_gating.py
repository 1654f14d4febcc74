"""Evaluations and reports beside a lake: windows of production and of a shadow, runs that are kept."""

import json
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error, roc_auc_score
from typer.testing import CliRunner

import lapwing
from helpers.collector import prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.app.answers.evaluations import evaluation_document, list_evaluations
from lapwing_collector.app.answers.models import asking_rows
from lapwing_collector.app.gate import gate_lake
from lapwing_collector.app.gate.candidates import Wanted
from lapwing_collector.app.gate.gating import evaluate
from lapwing_collector.app.gate.keeping_runs import keep_run
from lapwing_collector.app.importing.imports import import_labels, import_predictions
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.cli.main import app
from lapwing_collector.config import load_settings
from lapwing_collector.errors import ConfigError, DataDirectoryError, UnknownModelError
from lapwing_collector.gate import Check, Evaluation, evaluation_of, evaluation_page, text_of

RULES = """
groups:
  - name: all
    for_each_model: "*"
    interval: 1h
    rules:
      - alert: Accuracy
        expr: FROM accuracy({{ model }}, $window_start, $window_end)
        condition: value < 0.5
        gate: [value < production_value - 0.05, value < reference_value - 0.3]
      - alert: Pairs
        expr: FROM shadow_auc_difference({{ model }}, $window_start, $window_end)
        condition: high < 0
      - alert: Drift
        criticality: warn
        expr: |
          SELECT field, drifted, value
          FROM drift({{ model }}, $window_start, $window_end, fields := 'inputs.*')
        condition: drifted = 1
        identity: [field]
      - record: rows
        expr: SELECT count(*) AS value FROM predictions.{{ model }} WHERE time >= $window_start
      - {alert: Quiet, enabled: false, expr: "SELECT 1 AS value FROM predictions.{{ model }}"}
  - name: others
    rules:
      - {alert: Other, expr: SELECT count(*) AS value FROM predictions.other, condition: value > 0}
"""

REGRESSION = """
groups:
  - name: g
    rules:
      - {alert: Mae, expr: "FROM mae('m', $window_start, $window_end)", gate: value > 0.8 * dummy_value}
      - {alert: Worse, expr: "FROM mae('m', $window_start, $window_end)", gate: value > production_value}
"""

BEGIN = datetime(2026, 1, 1)


def made(rows: int, seed: int, noise: float) -> pd.DataFrame:
    """Predictions every minute whose score tells of the truth, but for some noise."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, rows)
    truth = rng.random(rows) < 1 / (1 + np.exp(-(age - 40) / 5))
    score = 1 / (1 + np.exp(-(age - 40) / 5 - noise * rng.normal(size=rows)))
    return pd.DataFrame(
        {
            "time": [BEGIN + timedelta(minutes=each) for each in range(rows)],
            "prediction_id": [f"p{each}" for each in range(rows)],
            "age": age,
            "score": score,
            "prediction": score >= 0.5,
            "label": truth,
        }
    )


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rules for every model, one of another, and one that is off."""
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    return file


@pytest.fixture(scope="module")
def production() -> pd.DataFrame:
    """What production said in its last two days, and what was true."""
    return made(2880, 1, 0.5)


@pytest.fixture(scope="module")
def lake(production: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with production, a noisy shadow of its last 600 rows, labels, and a reference."""
    folder = tmp_path_factory.mktemp("lake")
    flags = {"data": folder / "data"}
    for stage, rows in (("production", production), ("shadow", shadow(production))):
        file = folder / f"{stage}.parquet"
        asked = rows.assign(request_id="r" + rows["prediction_id"].str[1:])
        asked.drop(columns="label").to_parquet(file)
        import_predictions(None, flags, tell_nobody, file, "churn", None, [], None, "1", stage)
    labels = folder / "labels.parquet"
    production[["prediction_id", "label"]].to_parquet(labels)
    import_labels(None, flags, tell_nobody, labels, "churn", "prediction_id", {})
    train = made(1000, 7, 0.1).rename(columns={"score": "output.score", "prediction": "output.value"})
    file = folder / "train.parquet"
    train.drop(columns=["time", "prediction_id"]).to_parquet(file)
    set_reference(None, flags, tell_nobody, model="churn", name="train", rows=file)
    return folder / "data"


def shadow(production: pd.DataFrame) -> pd.DataFrame:
    last = production.tail(600)
    noisy = 1 / (1 + np.exp(-np.random.default_rng(3).normal(size=600)))
    return last.assign(
        prediction_id="s" + last["prediction_id"].str[1:],
        score=noisy,
        prediction=noisy >= 0.5,
    )


def of(run: Evaluation, rule: str) -> list[Check]:
    return [check for check in run.checks if check.rule == f"all[churn]/{rule}"]


def wanted(rules: Path, data: object, **more: object) -> Wanted:
    return Wanted(model="churn", data=data, rules=[rules], shown=False, **more)  # type: ignore[arg-type]


def test_rows_that_production_answered_are_compared_with_it_pair_by_pair(
    rules: Path, lake: Path, production: pd.DataFrame
) -> None:
    """Production's rows scored anew: labels and pairs come from the lake, drift from its reference."""
    scored = made(2880, 1, 3.0).drop(columns="label").tail(1000)
    run = evaluate(
        None,
        wanted(
            rules,
            pa.Table.from_pandas(scored),
            labels=pa.Table.from_pandas(production[["prediction_id", "label"]]),
            against="production:1d",
            lake=str(lake),
            keep=False,
        ),
    )
    truth, said = production["label"].tail(1000), scored["prediction"]
    (accuracy,) = of(run, "Accuracy")
    assert accuracy.value == pytest.approx(accuracy_score(truth, said))
    day = production.tail(1440)
    assert accuracy.sides["production"] == pytest.approx(accuracy_score(day["label"], day["prediction"]))
    (pairs,) = of(run, "Pairs")
    areas = [roc_auc_score(truth, rows["score"].tail(1000)) for rows in (scored, production)]
    assert pairs.value == pytest.approx(areas[0] - areas[1])
    assert pairs.outcome == "failed"
    assert pairs.sample_count == 1000
    assert {check.outcome for check in of(run, "Drift")} == {"passed"}
    assert [check.value for check in of(run, "rows")] == [1000]
    assert {check.rule for check in run.checks} == {
        f"all[churn]/{name}" for name in ("Accuracy", "Pairs", "Drift", "rows")
    }


def test_a_shadow_is_judged_by_the_labels_of_production_and_the_run_is_kept(
    rules: Path, lake: Path, production: pd.DataFrame
) -> None:
    """`--data shadow:1d` is judged by what both answered, and SQL, the list and its document tell of it."""
    run = evaluate(None, wanted(rules, "shadow:1d", lake=str(lake), version="2", skip=["Pairs"]))
    noisy = shadow(production)
    (accuracy,) = of(run, "Accuracy")
    assert (run.sides[0].rows, accuracy.sample_count) == (600, 600)
    assert accuracy.value == pytest.approx(accuracy_score(noisy["label"], noisy["prediction"]))
    assert accuracy.outcome == "failed"
    with Asking.over(None, {"data": lake}) as asking:
        rows_of = asking_rows(asking)
        (row,) = [each for each in list_evaluations(rows_of, "churn") if each["evaluation_id"] == run.id]
        assert (row["version"], row["passed"], row["sample_count"]) == ("1", run.passed, 600)
        assert row["window_end"] == "2026-01-02T23:59:00.000001Z"
        assert list_evaluations(rows_of, "nobody") == []
        again = evaluation_of(evaluation_document(rows_of, run.id))
        assert evaluation_page(again) == evaluation_page(run)
        with pytest.raises(ConfigError, match="no evaluation 'x'"):
            evaluation_document(rows_of, "x")
        sql = "SELECT rule, outcome, value FROM evaluation_checks WHERE evaluation_id = $id"
        checks = rows_of(sql, id=run.id).to_pylist()
    assert {"rule": accuracy.rule, "outcome": "failed", "value": accuracy.value} in checks
    shown = CliRunner().invoke(app, ["evaluations", "show", run.id, "--data", str(lake)])
    assert (shown.exit_code, shown.output) == (0, text_of(run))


def test_a_window_of_production_is_looked_at_where_it_is(lake: Path, production: pd.DataFrame) -> None:
    """Beside the reference of the lake: numbers of its rows, and traffic."""
    report = lapwing.report("production:1d", model="churn", lake=lake)
    told = report.as_dict()
    assert [(side["name"], side["rows"], side["versions"]) for side in told["sides"]] == [
        ("current", 1440, ["1"]),
        ("reference", 1000, []),
    ]
    shown = {each["title"]: each for each in told["sections"]}
    last = production.tail(1440)
    accuracies = {row[0]: row[1] for row in shown["Quality"]["table"]["rows"]}
    assert accuracies["accuracy"] == pytest.approx(accuracy_score(last["label"], last["prediction"]))
    drifted = {row[0]: row[1] for row in shown["Drift"]["table"]["rows"]}
    assert drifted["inputs.age"] is False
    assert shown["Traffic"]["charts"][0]["lines"][0]["y"] == [60.0] * 24
    over = {chart["title"]: chart["lines"] for chart in shown["Quality"]["charts"]}
    (line,) = over["accuracy over time"]
    hours = [last.iloc[at : at + 60] for at in range(0, 1440, 60)]
    assert (len(line["x"]), line["x"][0][:16]) == (24, "2026-01-01T23:59")  # just after the row a day before
    expected = [accuracy_score(each["label"], each["prediction"]) for each in hours]
    assert line["y"] == pytest.approx(expected)
    assert all(low <= y <= high for low, y, high in zip(line["low"], line["y"], line["high"], strict=True))
    assert over["Share with a label"][0]["y"] == [1.0] * 24
    assert report.advice == "fine"


def test_what_a_lake_has_not_is_told(lake: Path) -> None:
    """References, stages and spans that are not there, in words that say what there is."""
    settings = load_settings(None, flags={"data": lake})
    with gate_lake.opened(settings, None, None) as ask:
        found = gate_lake.known_model(gate_lake.seen(ask, "churn"), "churn")
        with pytest.raises(ConfigError, match="no reference 'nothing'; there is train"):
            gate_lake.references_of(found, "nothing", (), BEGIN)
        with pytest.raises(ConfigError, match="no candidate prediction yet"):
            gate_lake.span_of(found, "candidate", "1d")
        with pytest.raises(ConfigError, match=r"or a duration such as 90s, 1h30m or 7d, not 'later'$"):
            gate_lake.span_of(found, "production", "later")
        with pytest.raises(ConfigError, match="is not before"):
            gate_lake.span_of(found, "production", "2026-01-02..2026-01-01")
        with pytest.raises(ConfigError, match="no shadow prediction from"):
            gate_lake.window_of_stage(found, "shadow", (BEGIN, BEGIN + timedelta(hours=1)))
        with pytest.raises(ConfigError, match="no rows are kept of a reference 'nothing'"):
            gate_lake.reference_rows(found, "nothing")
        with pytest.raises(UnknownModelError, match="no model 'fraud'"):
            gate_lake.known_model(gate_lake.seen(ask, "fraud"), "fraud")


def test_without_a_lake_what_needs_one_is_refused(rules: Path, tmp_path: Path) -> None:
    """Nothing stands in silently for rows that cannot be had; a model that no rule is about is named."""
    table = pa.table({"x": [1]})
    with pytest.raises(DataDirectoryError, match="no lake here"):
        evaluate(None, wanted(rules, table, against="production:7d", lake=str(tmp_path)))
    other = tmp_path / "other.yaml"
    other.write_text(
        "groups: [{name: g, rules: [{alert: A, expr: SELECT 1 AS value FROM predictions.fraud}]}]"
    )
    with pytest.raises(ConfigError, match="no rule of these files is about churn; they are about fraud"):
        evaluate(None, wanted(other, table))
    with pytest.raises(ConfigError, match="no rule about churn is called Acuracy"):
        evaluate(None, wanted(rules, table, only=["Acuracy"]))
    with pytest.raises(ConfigError, match=r"nowhere\.parquet: cannot be read: No such file or directory$"):
        evaluate(None, wanted(rules, "nowhere.parquet"))


def test_requests_are_pairs_whatever_their_ids_and_times(rules: Path, production: pd.DataFrame) -> None:
    """Of a candidate with other ids and no times, pairs and labels are found by what was asked."""
    known = production.tail(400)
    asked = "r" + known["prediction_id"].str[1:]
    theirs = known.drop(columns="label").assign(request_id=asked)
    mine = known.drop(columns="time").assign(prediction_id="c" + asked, request_id=asked)
    run = evaluate(
        None,
        wanted(
            rules,
            pa.Table.from_pandas(mine),
            against=pa.Table.from_pandas(theirs),
            only=["Pairs", "Accuracy"],
        ),
    )
    (pairs,), (accuracy,) = of(run, "Pairs"), of(run, "Accuracy")
    assert (pairs.value, pairs.sample_count) == (0, 400)
    assert accuracy.sides["production"] == accuracy.value
    assert (run.sides[0].since, run.sides[1].since) == (None, theirs["time"].iloc[0])


def test_who_has_no_scores_is_not_compared_by_them(rules: Path, lake: Path, production: pd.DataFrame) -> None:
    """A candidate that names classes only stands beside production by its classes, and by no score."""
    named = production.drop(columns=["label", "score"]).tail(100)
    asked = wanted(
        rules,
        pa.Table.from_pandas(named),
        against="production:1d",
        lake=str(lake),
        keep=False,
        only=["Accuracy"],
    )
    accuracy, *others = evaluate(None, asked).comparisons
    assert (accuracy.what, accuracy.sample_count, accuracy.difference) == ("accuracy", 100, 0)
    assert [each.what for each in others] == ["F1", "precision", "recall"]


def test_a_regression_is_compared_with_the_mean(tmp_path: Path) -> None:
    """The dummy of a regression predicts the mean of the truths; what is not there is told."""
    rng = np.random.default_rng(0)
    truth = rng.normal(10, 2, 500)
    rows = pd.DataFrame({"x": truth, "prediction": truth + rng.normal(size=500), "label": truth})
    file = tmp_path / "rules.yaml"
    file.write_text(REGRESSION)
    run = evaluate(None, Wanted(model="m", data=pa.Table.from_pandas(rows), rules=[file], shown=False))
    check, worse = run.checks
    assert check.outcome == "passed"
    assert check.value == pytest.approx(mean_absolute_error(truth, rows["prediction"]))
    assert check.sides["dummy"] == pytest.approx(np.abs(truth - truth.mean()).mean())
    assert worse.outcome == "insufficient"
    assert worse.text == (
        "there is no production_value: nothing says what stands for production: name it with --against"
    )


def test_a_collector_is_asked_and_keeps_the_run(
    rules: Path, tmp_path: Path, production: pd.DataFrame
) -> None:
    """By its address alone: production's window comes over HTTP, and the run is among those it lists."""
    rows = production.tail(300)
    began = rows["time"].iloc[0].to_pydatetime()
    with running(project(tmp_path / "data")) as collector:
        said = [
            prediction(
                "churn",
                row.prediction_id,
                round(row.time.timestamp() * 1e9),
                inputs={"age": row.age},
                output={"score": row.score, "value": bool(row.prediction)},
            )
            for row in rows.itertuples()
        ]
        assert collector.post(request(said))[0] == 200
        wait_until(lambda: collector.ask("SELECT count(*) AS n FROM models") == [{"n": 1}])
        address = f"http://{collector.web}"
        run = evaluate(
            None,
            wanted(
                rules,
                pa.Table.from_pandas(rows),
                against=f"production:{began.isoformat()}..2026-02-01",
                lake=address,
                keep=False,
                only=["Pairs"],
            ),
        )
        keep_run(load_settings(None, flags={}), address, None, run.as_json())
        with urllib.request.urlopen(f"{address}/api/v1/evaluations") as answer:
            (listed,) = json.load(answer)
        with urllib.request.urlopen(f"{address}/api/v1/evaluations/{run.id}") as answer:
            assert json.load(answer) == run.as_json()
        with urllib.request.urlopen(f"{address}/api/v1/advice/churn") as answer:
            advice = json.load(answer)["advice"]
    assert (listed["evaluation_id"], listed["passed"]) == (run.id, run.passed)
    assert (advice["state"], len(advice["steps"])) == ("unknown", 4)
    (pairs,) = of(run, "Pairs")
    assert (pairs.outcome, pairs.value, pairs.sample_count) == ("passed", 0, 300)
    assert [(side.name, side.rows) for side in run.sides] == [("candidate", 300), ("production", 300)]
