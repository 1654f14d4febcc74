"""Rules made of a reference are fine rules: quiet for rows like it, and each fires for what it is about."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from helpers.batches import predictions
from helpers.query_lake import session_over
from lapwing_collector import rules
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.places.project import read_rules_and_groups
from lapwing_collector.app.rule_tools.generating import generate_rules
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.app.upkeep.references import rolling
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.query import Session

DAY = datetime(2026, 3, 1)
ROWS = 1_500
FIELDS = {
    "inputs.age": "age",
    "inputs.plan": "plan",
    "inputs.net income": "net income",
    "output.score": "score",
}


def like_the_reference(seed: int, rows: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    age = np.clip(draw.normal(40, 10, rows), 18, 80)
    age[draw.random(rows) < 0.05] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "plan": draw.choice(["free", "pro", "it's"], rows),
            "net income": np.minimum(draw.exponential(1_000, rows), 5_000.0),
            "output.score": draw.random(rows),
        }
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference, and two days of production: one like it, and one that nothing is right in."""
    folder = tmp_path_factory.mktemp("generating")
    reference = like_the_reference(1, 5_000)
    reference.loc[:1, "age"] = [18, 80]
    reference.loc[:1, "net income"] = [0, 5_000]
    reference.loc[:1, "output.score"] = [0, 1]
    reference["shoesize"] = 43.0
    table = pa.Table.from_pandas(reference, preserve_index=False)
    told: dict[str, Any] = {"model": "Churn's", "name": "train"}
    set_reference(None, {"data": folder}, tell_nobody, rows=table, **told)
    told["name"] = "lately"
    set_reference(None, {"data": folder}, tell_nobody, policy=rolling("28d"), **told)
    lake = Lake.open(folder / "lake", profiling=PROFILING)
    good, bad = like_the_reference(2, ROWS), like_the_reference(3, ROWS)
    bad["age"] += 30
    bad.loc[bad.index % 3 == 0, "age"] = np.nan
    bad.loc[:20, "plan"] = "new"
    bad["net income"] = bad["net income"] * 0.2
    for number, day in enumerate((good, bad)):
        lake.flush(
            [predictions("Churn's", logged(day, DAY + timedelta(days=number)))], [], Progress(number + 1, 0)
        )
    odd = logged(bad.tail(1), DAY + timedelta(days=1))[0] | {"inputs.age": "forty"}
    lake.flush([predictions("Churn's", [odd])], [], Progress(3, 0))
    lake.close()
    return folder


def logged(day: pd.DataFrame, start: datetime) -> list[dict[str, Any]]:
    named = day.rename(columns={name: f"inputs.{name}" for name in ("age", "plan", "net income")})
    step = timedelta(days=1) / ROWS
    return [
        {
            "time": start + number * step,
            **{
                name: None if isinstance(value, float) and np.isnan(value) else value
                for name, value in row.items()
            },
        }
        for number, row in enumerate(named.to_dict("records"))
    ]


@pytest.fixture(scope="module")
def session(data: Path) -> Iterator[Session]:
    with session_over(data / "lake") as opened:
        yield opened


@pytest.fixture(scope="module")
def text(session: Session) -> str:
    def rows_of(sql: str, **parameters: Any) -> pa.Table:
        return session.run(sql, parameters)

    with pytest.raises(ConfigError, match="no reference 'gone'"):
        generate_rules(rows_of, "Churn's", "gone", interval="1h", window="1d")
    with pytest.raises(ConfigError, match="other rows each time"):
        generate_rules(rows_of, "Churn's", "lately", interval="1h", window="1d")
    for wrong in ({"interval": "5", "window": "1d"}, {"interval": "1h", "window": "5"}):
        with pytest.raises(
            ConfigError, match=r"^--(interval|window): expected a duration .*: write 5s or 5d$"
        ):
            generate_rules(rows_of, "Churn's", "train", **wrong)
    return generate_rules(rows_of, "Churn's", "train", interval="1h", window="1d")


def bad_rows(session: Session, text: str, slot: datetime) -> dict[str, set[str]]:
    """Fields for which each rule's condition holds at a slot."""
    found = {}
    for lasting in rules.load_rules(text, "generated.yaml"):
        rule = replace(lasting, for_=timedelta())
        query = rules.evaluation_query(rule, slot)
        rows = session.run(query.sql, query.parameters)
        columns = [
            (name, _KINDS.get(str(kind), "DOUBLE"))
            for name, kind in zip(rows.schema.names, rows.schema.types, strict=True)
        ]
        answer = rules.rows_from(columns, [tuple(row.values()) for row in rows.to_pylist()])
        done = rules.evaluate(rule, answer, RuleState(rule.definition), slot)
        assert done.state.error is None
        found[rule.id.name] = {
            step.instance.labels.get("field", "")
            for step in done.transitions
            if step.status.value == "firing"
        }
    return found


_KINDS = {"string": "VARCHAR", "bool": "BOOLEAN", "int64": "BIGINT", "timestamp[us]": "TIMESTAMP"}


def test_the_file_is_one_that_the_collector_takes(text: str, tmp_path: Path) -> None:
    """`rules check` finds nothing wrong with it, whatever the model and its fields are called."""
    file = tmp_path / "generated.yaml"
    file.write_text(text)
    names = [rule.id.name for rule in read_rules_and_groups([file])[0]]
    assert names == [
        "MissingValues",
        "OutOfRange",
        "MeanMoved",
        "QuantileMoved",
        "UnknownCategory",
        "TypeChanged",
        "FieldDrift",
        "InputDrift",
    ]


def test_what_the_model_does_not_send_is_left_out(session: Session, text: str) -> None:
    """Nothing is expected of a column that only the reference has, so that the other fields are judged."""
    assert "shoesize" not in text.replace("WHERE field NOT IN ('inputs.shoesize')", "")


def test_a_file_is_written_in_a_new_folder_and_never_over_another(data: Path, tmp_path: Path) -> None:
    """The folder is made; a file that is there may have been changed, and stays."""
    output = tmp_path / "rules" / "churn.yaml"
    command = ["rules", "generate", "Churn's", "--reference", "train", "-o", str(output), "--data", str(data)]
    assert CliRunner().invoke(app, command).exit_code == 0
    output.write_text(written := output.read_text() + "# mine")
    again = CliRunner().invoke(app, command)
    assert "remove it first, or name another file with --output" in str(again.exception)
    assert output.read_text() == written


def test_no_change_of_type_is_no_lack_of_data(text: str) -> None:
    """Types that stay bring no rows, and that is fine; what may be chance must be so twice."""
    told = rules.load_rules(text, "generated.yaml")
    assert {rule.id.name for rule in told if rule.on_no_data == "ok"} == {"TypeChanged"}
    assert {rule.id.name for rule in told if not rule.for_} == {"UnknownCategory", "TypeChanged"}


@pytest.mark.parametrize("rows", [100, 300, 1_000])
def test_limits_leave_room_for_chance(rows: int) -> None:
    """Hardly a window is told whose few rows are of the very distribution of the reference, a long tail."""
    draw = np.random.default_rng(rows)
    known = np.sort(draw.lognormal(0, 1, 5_000))
    field = rules.ReferenceField(
        "inputs.x",
        5_000,
        0,
        numbers=5_000,
        total=known.sum(),
        squares=(known**2).sum(),
        least=known[0],
        most=known[-1],
        quantiles=np.quantile(known, np.linspace(0, 1, 101)).tolist(),
    )
    told = rules.load_rules(rules.rules_from("m", "m", "train", [field], "1h", "1d"), "x.yaml")
    (expr,) = [rule.expr for rule in told if rule.id.name == "QuantileMoved"]
    limits = expr.partition("JOIN ")[2].partition("\n  ON")[0]
    found = duckdb.sql(f"SELECT statistic, least, most, error FROM {limits}").fetchall()
    windows = draw.lognormal(0, 1, (1_000, rows))
    fires = np.zeros(len(windows), bool)
    for statistic, least, most, error in found:
        values = np.quantile(windows, float(statistic[1:]), axis=1)
        fires |= (values < least - error / np.sqrt(rows)) | (values > most + error / np.sqrt(rows))
    assert len(found) == 5
    assert fires.mean() <= 0.005


def test_rows_like_the_reference_fire_nothing(session: Session, text: str) -> None:
    """Chance alone makes no alert."""
    assert set().union(*bad_rows(session, text, DAY + timedelta(days=1)).values()) == set()


def test_each_rule_fires_for_what_it_is_about(session: Session, text: str) -> None:
    """A day that is wrong in every way is told in every way, by field."""
    found = bad_rows(session, text, DAY + timedelta(days=2))
    assert found == {
        "MissingValues": {"inputs.age"},
        "OutOfRange": {"inputs.age"},
        "MeanMoved": {"inputs.age"},
        "QuantileMoved": {"inputs.age", "inputs.net income"},
        "UnknownCategory": {"inputs.plan"},
        "TypeChanged": {"inputs.age"},
        "FieldDrift": {"inputs.age", "inputs.net income"},
        "InputDrift": {""},
    }
