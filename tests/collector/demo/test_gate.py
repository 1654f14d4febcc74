"""The gate on flights: a model of January and February against one of January to August, in September."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from scipy import stats
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from typer.testing import CliRunner

from lapwing_collector.cli.main import app
from lapwing_collector.demo.flights import INPUTS

RULES = """
groups:
  - name: release
    interval: 1d
    labels: {model: flights}
    rules:
      - alert: AccuracyLow
        expr: FROM accuracy('flights', $window_start, $window_end)
        condition: value < 0.9
        gate: value < production_value - 0.01
        min_samples: 500
        for: 3d
      - alert: RanksWorse
        expr: |
          FROM shadow_auc_difference('flights', $window_start, $window_end, challenger_stage := 'candidate')
        condition: high < 0
        annotations: {summary: "ROC-AUC is {{ $value | abs | round(3) }} below that of production"}
      - alert: NoBetterThanDummy
        expr: FROM log_loss('flights', $window_start, $window_end)
        gate: value > 0.8 * dummy_value
      - alert: OtherDelays
        criticality: warn
        expr: FROM ks_test('flights', $window_start, $window_end, inputs.dep_delay, reference := 'train')
        condition: value < 0.05
      - record: auc
        expr: FROM roc_auc('flights', $window_start, $window_end)
"""

NUMBERS = ["distance", "dep_delay", "temp", "wind_speed", "precip", "visib", "plane_year"]
CATEGORIES = ["carrier", "origin", "dest", "hour"]

Files = dict[str, Path]
Run = tuple[int, dict, Path]


@pytest.fixture(scope="module")
def files(flights: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Rules, what each of both models said of the same flights, and what the first one learned from."""
    folder = tmp_path_factory.mktemp("gate")
    known = flights[flights["late"].notna()]
    left = known["departed_at"]
    spans = {"winter": left < "2013-03-01", "summer": left < "2013-09-01"}
    september = known[(left >= "2013-09-01") & (left < "2013-10-01")].sample(3000, random_state=0)
    found = {"rules": folder / "rules.yaml", "train": folder / "train.parquet"}
    found["rules"].write_text(RULES)
    for name, span in spans.items():
        rows = known[span].sample(8000, random_state=0)
        if name == "winter":
            rows[list(INPUTS)].to_parquet(found["train"], index=False)
        columns = make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            (OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        )
        model = make_pipeline(columns, LogisticRegression(max_iter=300))
        model.fit(rows[list(INPUTS)], rows["late"].astype(bool))
        score = model.predict_proba(september[list(INPUTS)])[:, 1]
        said = september.assign(score=score, prediction=score >= 0.5, late=september["late"].astype(bool))
        said = said.rename(columns={"flight_id": "prediction_id", "departed_at": "time"})
        found[name] = folder / f"{name}.parquet"
        said.drop(columns="arrived_at").to_parquet(found[name], index=False)
    return found


def gate(files: Files, candidate: str, production: str, *more: str) -> tuple[int, str]:
    """The exit code and what is printed."""
    wanted = ["evaluate", str(files["rules"]), "--model", "flights", "--data", str(files[candidate])]
    wanted += ["--against", str(files[production]), "--reference", f"train={files['train']}"]
    done = CliRunner().invoke(app, [*wanted, "--label", "late", "--version", candidate, *more])
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def worse(files: Files) -> Run:
    """The model of winter as the candidate, that of summer in production."""
    folder = files["rules"].parent
    told = {kind: folder / f"out.{kind}" for kind in ("json", "junit", "html", "markdown")}
    code, _ = gate(
        files, "winter", "summer", *(word for kind, file in told.items() for word in (f"--{kind}", str(file)))
    )
    return code, json.loads(told["json"].read_text()), folder


def value_of(run: dict, rule: str) -> dict:
    (check,) = [each for each in run["checks"] if each["rule"] == f"release/{rule}"]
    return check


def test_the_worse_model_does_not_pass_and_the_better_one_does(files: Files, worse: Run) -> None:
    """Exit code 1 and 0; what stops the worse one is that it ranks worse, by an interval of pairs."""
    assert (worse[0], worse[1]["verdict"]) == (1, "failed")
    ranks = value_of(worse[1], "RanksWorse")
    assert ranks["outcome"] == "failed"
    assert "below that of production" in ranks["text"]
    assert {each["what"]: each for each in worse[1]["comparisons"]}["ROC-AUC"]["high"] < 0
    code, said = gate(files, "summer", "winter")
    assert code == 0, said
    assert "release/RanksWorse: passed" in said
    assert "flights summer: passed" in said


def test_numbers_are_those_of_scikit_learn_and_scipy(files: Files, worse: Run) -> None:
    """Of both models, of a dummy, of pairs, and of drift: on the same files by other people's code."""
    mine, its = (pd.read_parquet(files[name]) for name in ("winter", "summer"))
    truth = mine["late"]
    run = worse[1]
    accuracy, loss = value_of(run, "AccuracyLow"), value_of(run, "NoBetterThanDummy")
    assert accuracy["value"] == pytest.approx(accuracy_score(truth, mine["prediction"]))
    assert accuracy["sides"]["production"] == pytest.approx(accuracy_score(truth, its["prediction"]))
    assert loss["value"] == pytest.approx(log_loss(truth, mine["score"]))
    dummy = DummyClassifier(strategy="prior").fit(mine[["hour"]], truth)
    assert loss["sides"]["dummy"] == pytest.approx(log_loss(truth, dummy.predict_proba(mine[["hour"]])))
    areas = {name: roc_auc_score(truth, rows["score"]) for name, rows in (("mine", mine), ("its", its))}
    assert value_of(run, "auc")["value"] == pytest.approx(areas["mine"])
    assert value_of(run, "RanksWorse")["value"] == pytest.approx(areas["mine"] - areas["its"])
    paired = {each["what"]: each for each in run["comparisons"]}
    only_mine = int(((mine["prediction"] == truth) & (its["prediction"] != truth)).sum())
    only_its = int(((mine["prediction"] != truth) & (its["prediction"] == truth)).sum())
    exact = stats.binomtest(only_mine, only_mine + only_its).pvalue
    assert paired["accuracy"]["p_value"] == pytest.approx(exact)
    assert paired["accuracy"]["difference"] == pytest.approx((only_mine - only_its) / len(truth))
    known = pd.read_parquet(files["train"])["dep_delay"]
    moved = stats.ks_2samp(known, mine["dep_delay"])
    assert value_of(run, "OtherDelays")["value"] == pytest.approx(moved.pvalue, abs=1e-12)


def test_every_rendering_says_the_same(worse: Run) -> None:
    """HTML, Markdown and JUnit tell the verdict, and the rule that decided."""
    folder = worse[2]
    page = (folder / "out.html").read_text()
    assert 'class="mark bad">failed' in page
    assert "release/RanksWorse" in page
    assert "<script" not in page
    assert "release/RanksWorse" in (folder / "out.markdown").read_text()
    suite = ET.fromstring((folder / "out.junit").read_text())[0]
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failed == ["release/RanksWorse"]
    assert suite.get("failures") == "1"
