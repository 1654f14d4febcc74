"""Giving a field another type: what is in the column, what waits in `extra`, and what a crash leaves."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.batches import Json, labels, predictions
from helpers.flaky import make_flaky
from lapwing_collector import engine
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake, Progress, declared_type
from lapwing_collector.lake.files import TableName, known_paths, table_files
from lapwing_collector.lake.retyping import Retyped, retype, retyped
from lapwing_collector.lake.rewriting import Rewriter
from lapwing_collector.lake.shapes import reconcile

TABLE = TableName("predictions_all", "m")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    opened = Lake.open(tmp_path / "lake")
    yield opened
    opened.close()


def do(lake: Lake, field: str, kind: str, table: TableName = TABLE) -> Retyped:
    """What the owner does."""
    rewriter = Rewriter(lake.catalog)
    try:
        return retype(
            lake.catalog, rewriter, table, tuple(field.split(".")), declared_type(kind), lambda _, __: None
        )
    finally:
        rewriter.close()
        lake.forget(table)


def read(lake: Lake, sql: str, connection: duckdb.DuckDBPyConnection | None = None) -> list[tuple[Any, ...]]:
    """Ask as another process would."""
    reader = connection or engine.connect()
    if connection is None:
        engine.attach(reader, lake.catalog.place, read_only=True)
    rows = reader.execute(sql).fetchall()
    if connection is None:
        reader.close()
    return rows


def flush(lake: Lake, *rows: dict[str, Any]) -> None:
    lake.flush([predictions("m", list(rows))], [], Progress(lake.progress.log + 1, 0))


def test_a_wrong_start_is_mended(lake: Lake) -> None:
    """Texts that spell numbers become them, what waited in `extra` comes, and what is none goes there."""
    flush(lake, {"prediction_id": "a", "inputs.age": "unknown", "inputs.e": [1.5], "version": "1"})
    flush(lake, {"prediction_id": "b", "inputs.age": 41}, {"prediction_id": "c", "inputs.age": [1, 2]})
    flush(lake, {"prediction_id": "d"}, {"prediction_id": "e", "inputs.plan": "free"})
    assert do(lake, "inputs.age", "BIGINT") == Retyped(rows=5, into_column=0, into_extra=1)
    assert read(lake, "SELECT prediction_id, inputs.age, extra FROM predictions.m ORDER BY 1") == [
        ("a", None, '{"inputs.age": "unknown"}'),
        ("b", 41, None),
        ("c", None, '{"inputs.age": [1, 2]}'),
        ("d", None, None),
        ("e", None, None),
    ]
    assert read(lake, "SELECT inputs IS NULL, inputs.plan FROM predictions.m WHERE prediction_id > 'c'") == [
        (True, None),
        (False, "free"),
    ]
    flush(lake, {"prediction_id": "f", "inputs.age": 7}, {"prediction_id": "g", "inputs.age": 0.5})
    assert read(lake, "SELECT typeof(inputs.age), sum(inputs.age) FROM predictions.m GROUP BY 1") == [
        ("DOUBLE", 48.5)
    ]


def test_values_come_from_extra_and_back(lake: Lake) -> None:
    """A list that came first, numbers that waited: each type holds what it can, and nothing is lost."""
    flush(lake, {"inputs.x": [0.5]}, {"inputs.x": [0.25, 4.0]})
    flush(
        lake, {"inputs.x": 1}, {"inputs.x": float("nan")}, {"inputs.x": "a"}, {"inputs.x": Json("[1, null]")}
    )
    assert do(lake, "inputs.x", "DOUBLE") == Retyped(rows=6, into_column=2, into_extra=2)
    found = [
        value for (value,) in read(lake, "SELECT inputs.x FROM predictions.m WHERE inputs.x IS NOT NULL")
    ]
    assert found[0] == 1
    assert math.isnan(found[1])
    assert do(lake, "inputs.x", "FLOAT[]") == Retyped(rows=6, into_column=2, into_extra=2)
    assert read(lake, "SELECT inputs.x FROM predictions.m WHERE inputs.x IS NOT NULL") == [
        ([0.5],),
        ([0.25, 4],),
    ]
    extras = [
        json.loads(text) for (text,) in read(lake, "SELECT extra FROM predictions.m WHERE extra IS NOT NULL")
    ]
    assert extras == [{"inputs.x": value} for value in (1.0, "NaN", "a", [1, None])]
    flush(lake, {"inputs.x": [2]})
    assert do(lake, "inputs.x", "DOUBLE[]") == Retyped(rows=7, into_column=0, into_extra=0)


def test_labels_and_their_views_follow(lake: Lake) -> None:
    """A label that began as text is a boolean, also where it is joined; other states of the lake stay."""
    flush(lake, {"prediction_id": "a"}, {"prediction_id": "b"})
    told = [{"prediction_id": "a", "label": "true"}, {"prediction_id": "b", "label": False}]
    lake.flush([labels("m", told)], [], Progress(9, 0))
    reader = engine.connect()
    engine.attach(reader, lake.catalog.place, read_only=True)
    query = "SELECT prediction_id, label FROM labeled.m ORDER BY 1"
    assert read(lake, query, reader) == [("a", "true"), ("b", "false")]
    [(snapshot,)] = reader.execute("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')").fetchall()
    assert do(lake, "label", "BOOLEAN", TableName("labels", "m")).rows == 2
    assert read(lake, query, reader) == [("a", True), ("b", False)]
    assert reader.execute(f"SELECT label FROM labels.m AT (VERSION => {snapshot})").fetchall() == [
        ("true",),
        ("false",),
    ]
    reader.close()


def test_what_comes_and_goes_meanwhile_counts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are flushed while others are written anew, even with a new field, are among them."""
    flush(lake, {"inputs.n": "1"})
    news = iter([{"inputs.n": 2}, {"inputs.n": 3, "inputs.new": True}])
    real = Rewriter.rows_of

    def busy(*arguments: Any, **more: Any) -> Any:
        rows = real(*arguments, **more)
        if (new := next(news, None)) is not None:
            flush(lake, new)
        return rows

    monkeypatch.setattr(Rewriter, "rows_of", busy)
    do(lake, "inputs.n", "BIGINT")
    assert read(lake, "SELECT inputs.n, inputs.new FROM predictions.m ORDER BY 1") == [
        (1, None),
        (2, None),
        (3, True),
    ]
    assert len(table_files(lake.catalog, TABLE)) == 1
    written = set(lake.catalog.store.root.rglob("predictions_all/**/*.parquet"))
    assert written <= known_paths(lake.catalog)  # nothing is left of the attempt that failed


def test_rows_stay_where_nobody_knows_how_the_commit_went(lake: Lake) -> None:
    """The commit took place, reports an error, and whoever looks whether it did fails too: no row is lost."""
    flush(lake, {"inputs.n": 1}, {"inputs.n": 2})
    make_flaky(lake, "COMMIT", "ducklake_data_file", takes_place=True)
    with pytest.raises(duckdb.TransactionException):
        do(lake, "inputs.n", "DOUBLE")
    lake.forget(TABLE)
    with suppress(duckdb.TransactionException):  # what was to fail may not have been asked yet
        lake.catalog.rows("SELECT 1 AS ducklake_data_file")
    assert read(lake, "SELECT inputs.n FROM predictions_all.m ORDER BY 1") == [(1.0,), (2.0,)]
    flush(lake, {"inputs.n": 3})
    assert read(lake, "SELECT inputs.n FROM predictions_all.m ORDER BY 1") == [(1.0,), (2.0,), (3.0,)]


def test_a_field_that_is_no_column_is_told(lake: Lake) -> None:
    """What nobody sent, a struct, and a fixed column cannot be given a type."""
    flush(lake, {"inputs.user.plan": "a"})
    for name in ("inputs.age", "inputs.user", "version"):
        with pytest.raises(ConfigError, match=f"has no column {name}; `lapwing models show`"):
            do(lake, name, "BIGINT")
    with pytest.raises(ConfigError, match="has no column"):
        do(lake, "label", "BIGINT", TableName("labels", "m"))


DIES = """
import sys
from pathlib import Path
import pyarrow as pa
from lapwing_collector.lake import Lake
from lapwing_collector.lake.files import TableName
from lapwing_collector.lake.retyping import retype
from lapwing_collector.lake.rewriting import Rewriter

lake = Lake.open(Path(sys.argv[1]))
table = TableName("predictions_all", "m")
retype(lake.catalog, Rewriter(lake.catalog), table, ("inputs", "n"), pa.int64(), lambda *_: None)
"""


def test_dying_meanwhile_changes_nothing(lake: Lake) -> None:
    """Killed in the middle of the exchange, everything is as it was, and doing it again works."""
    flush(lake, {"inputs.n": "1"}, {"inputs.n": "x"})
    lake.close()
    folder = lake.catalog.place.folder
    assert folder is not None
    command = [sys.executable, "-c", DIES, str(folder)]
    dying = subprocess.run(
        command, env={**os.environ, "LAPWING_CRASH_AT": "maintenance.in_retype"}, check=False
    )
    assert dying.returncode == 137
    again = Lake.open(folder)
    assert read(again, "SELECT inputs.n FROM predictions.m") == [("1",), ("x",)]
    assert len(list(folder.rglob("predictions_all/**/*.parquet"))) == 1
    assert do(again, "inputs.n", "BIGINT") == Retyped(rows=2, into_column=0, into_extra=1)
    again.close()


_plain = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text("ab1.e", max_size=4)
)
_values = _plain | st.lists(st.floats(width=32), min_size=1, max_size=2)
_types = st.sampled_from(["BOOLEAN", "BIGINT", "DOUBLE", "VARCHAR", "FLOAT[]", "DOUBLE[]", "VARCHAR[]"])


@settings(max_examples=30, deadline=None)
@given(st.lists(_values, min_size=1, max_size=5), st.lists(_types, min_size=1, max_size=3))
def test_no_value_is_ever_lost(values: list[Any], types: list[str]) -> None:
    """However often a field's type changes, each value is in its column or in `extra`, and means the same."""
    present = [value for value in values if value is not None]
    rows = [{"inputs.x": value, "inputs.y": 1} for value in values]
    reconciled = reconcile([predictions("m", rows)], {}, stored_integers_exact=lambda _: True).rows
    if not present:
        return
    for name in types:
        reconciled, _, _ = retyped(reconciled, ("inputs", "x"), declared_type(name))
        assert reconciled.column("inputs").type.field("x").type == declared_type(name)
        for before, inputs, extra in zip(
            values,
            reconciled.column("inputs").to_pylist(),
            reconciled.column("extra").to_pylist(),
            strict=True,
        ):
            kept = json.loads(extra or "{}").get("inputs.x")
            assert (inputs["x"] is None) or kept is None
            assert inputs["y"] == 1
            assert meaning(inputs["x"] if kept is None else kept) == meaning(before)


def meaning(value: Any) -> Any:
    """A value as a text that spells it does mean it; lists of floats in single precision."""
    if isinstance(value, list):
        return [meaning(each) for each in value]
    if isinstance(value, str):
        try:
            return meaning(json.loads(value))
        except ValueError:
            named = value.lower().removeprefix("-")
            return value.lower().replace("infinity", "inf") if named in ("nan", "inf", "infinity") else value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return (
        float(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
        else value
    )
