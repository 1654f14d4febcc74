"""Rules made of a reference are fine rules: quiet for rows like it, and each fires for what it is about."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers.batches import predictions
from lapwing_collector import rules
from lapwing_collector.app.generating import generate_rules
from lapwing_collector.app.keeping import set_reference
from lapwing_collector.app.maintenance import tell_nobody
from lapwing_collector.app.profiling import PROFILING
from lapwing_collector.app.project import read_rule_files
from lapwing_collector.app.references import rolling
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
    lake = Lake.open(data / "lake")
    opened = Session.open(data / "lake")
    yield opened
    opened.close()
    lake.close()


@pytest.fixture(scope="module")
def text(session: Session) -> str:
    def rows_of(sql: str, **parameters: Any) -> pa.Table:
        return session.run(sql, parameters)

    with pytest.raises(ConfigError, match="no reference 'gone'"):
        generate_rules(rows_of, "Churn's", "gone", interval="1h", window="1d")
    with pytest.raises(ConfigError, match="other rows each time"):
        generate_rules(rows_of, "Churn's", "lately", interval="1h", window="1d")
    return generate_rules(rows_of, "Churn's", "train", interval="1h", window="1d")


def bad_rows(session: Session, text: str, slot: datetime) -> dict[str, set[str]]:
    """Fields for which each rule's condition holds at a slot."""
    found = {}
    for rule in rules.load_rules(text, "generated.yaml"):
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
    names = [rule.id.name for rule in read_rule_files([file])]
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
