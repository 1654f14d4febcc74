"""Whatever is logged in whatever order: what SQL reads is what was logged, over flushes and restarts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.batches import predictions
from helpers.ducklake import ducklake, ducklake_table
from helpers.faults_plan import examples
from lapwing_collector.engine import identifier
from lapwing_collector.lake import Lake, Progress

values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.binary(max_size=3),
    st.lists(st.integers(-3, 3), min_size=1, max_size=3),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=3),
    st.lists(st.text("ab", max_size=2), min_size=1, max_size=2),
)
fields = st.sampled_from(
    ["inputs.a", "inputs.A", "inputs.b", "inputs.g.c", "inputs.g.d", 'inputs.q"x', "output.value", "inputs.l"]
)
rows = st.dictionaries(fields, values, max_size=4)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = Lake.open(tmp_path_factory.mktemp("values") / "lake")
    yield opened
    opened.close()


@settings(deadline=None, max_examples=examples(8), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(rows, min_size=1, max_size=3), min_size=2, max_size=4))
def test_sql_reads_what_was_logged(lake: Lake, flushes: list[list[dict[str, Any]]]) -> None:
    """Each value is in its column or in `extra`, once; older rows keep theirs as columns widen."""
    model = f"m{lake.progress.log}"
    logged: dict[str, dict[str, Any]] = {}
    for flush in flushes:
        named = [{**row, "prediction_id": f"{len(logged) + n}"} for n, row in enumerate(flush)]
        logged |= {row["prediction_id"]: row for row in named}
        lake.flush([predictions(model, named)], [], Progress(lake.progress.log + 1))
    columns = ducklake_table(
        lake.catalog, f"SELECT * FROM predictions_all.{identifier(model)} LIMIT 0"
    ).column_names
    roots = [root if root in columns else f"NULL AS {root}" for root in ("inputs", "output")]
    stored = ducklake(
        lake.catalog,
        f"SELECT prediction_id, extra, {', '.join(roots)} FROM predictions_all.{identifier(model)}",
    )
    assert len(stored) == len(logged)
    for name, extra, inputs, output in stored:
        kept = dict(_leaves("inputs", inputs)) | dict(_leaves("output", output))
        elsewhere = json.loads(extra or "{}")
        row = {path: value for path, value in logged[name].items() if path != "prediction_id"}
        assert kept.keys() | elsewhere.keys() == row.keys()
        assert not kept.keys() & elsewhere.keys()
        for path, value in row.items():
            assert _same(kept[path] if path in kept else elsewhere[path], value), path


def test_numbers_of_columns_survive_a_restart(tmp_path: Path) -> None:
    """A lake that was opened anew goes on with the columns that it had, nested ones and lists included."""
    first = {"inputs.a": 1, "inputs.g.c": "x", "inputs.l": [1.5], "output.value": True}
    second = {
        "inputs.a": 2.5,
        "inputs.g.c": "y",
        "inputs.g.d": 3,
        "inputs.l": [2.5, 3.5],
        "output.value": False,
    }
    for number, row in enumerate((first, second)):
        lake = Lake.open(tmp_path / "lake")
        lake.flush([predictions("m", [row])], [], Progress(number + 1))
        stored = ducklake(
            lake.catalog, "SELECT inputs.a, inputs.g.c, inputs.l, output.value FROM predictions.m ORDER BY 1"
        )
        lake.close()
    assert stored == [(1.0, "x", [1.5], True), (2.5, "y", [2.5, 3.5], False)]


def _leaves(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in _leaves(f"{path}.{name}", inner)]
    return [] if value is None else [(path, value)]


def _same(stored: Any, logged: Any) -> bool:
    """Equal as the contract has it: numbers by value, text of numbers as JSON, bytes in base64 in `extra`."""
    if isinstance(logged, list):
        return len(stored) == len(logged) and all(map(_same, stored, logged))
    if isinstance(logged, bytes):
        return isinstance(stored, str) or stored == logged
    if isinstance(stored, str) and isinstance(logged, bool):
        return stored == json.dumps(logged)
    if isinstance(stored, str) and isinstance(logged, int | float):
        return float(stored.replace("Infinity", "inf")) == logged
    return bool(stored == logged)
