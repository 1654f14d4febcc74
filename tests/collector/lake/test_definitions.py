"""Tables, columns and views that are made without DuckLake, as it would have made them."""

import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from helpers.batches import START, labels, predictions
from helpers.ducklake import ducklake
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.engine import identifier
from lapwing_collector.lake import Lake, Progress, sql_type
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.definitions import Changes, define
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Tables
from lapwing_collector.model.records import UNTYPED

STRINGS = pa.map_(pa.string(), pa.string())
GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "data-0.1.0.tar.xz"
MODELS = ("churn", 'my "own" m')
FIRST: dict[str, pa.DataType] = {
    "time": pa.timestamp("us"),
    "stage": pa.string(),
    "tags": STRINGS,
    "extra": UNTYPED,
    "inputs": pa.struct(
        [("a", pa.int64()), ("b", pa.struct([("c", pa.list_(pa.string()))])), ("d", pa.list_(pa.int64()))]
    ),
}
LATER: dict[str, pa.DataType] = {
    "inputs": pa.struct(
        [
            ("a", pa.float64()),
            ("b", pa.struct([("c", pa.list_(pa.string())), ("e", pa.int64())])),
            ("d", pa.list_(pa.float64())),
            ("f", pa.list_(pa.struct([("g", pa.bool_())]))),
        ]
    ),
    "output": pa.struct([("value", pa.float32()), ("by", STRINGS)]),
}
TOLD = {
    "ducklake_table": "table_id, begin_snapshot, end_snapshot, schema_id, table_name, path_is_relative",
    "ducklake_column": "column_id, begin_snapshot, end_snapshot, table_id, column_order, column_name, "
    "column_type, parent_column, initial_default, default_value, default_value_dialect",
    "ducklake_view": "begin_snapshot, end_snapshot, schema_id, view_name, dialect, column_aliases",
    "ducklake_schema_versions": "begin_snapshot, schema_version, table_id",
    "ducklake_snapshot": "snapshot_id, schema_version, next_catalog_id, next_file_id",
}
"""Of each table of the catalog, what is not an identifier or a wording of DuckLake's own."""


def columns_of(shape: dict[str, pa.DataType]) -> str:
    return ", ".join(f"{identifier(name)} {sql_type(kind)}" for name, kind in shape.items())


def through_ducklake(catalog: Catalog) -> None:
    views = {
        m: f"CREATE OR REPLACE VIEW predictions.{identifier(m)} AS "
        + statement("production_view", table=identifier(m)).strip("\n;")
        for m in MODELS
    }
    for m in MODELS:
        catalog.redefine([f"CREATE TABLE predictions_all.{identifier(m)} ({columns_of(FIRST)})", views[m]])
    name = identifier(MODELS[0])
    catalog.redefine(
        [
            f"ALTER TABLE predictions_all.{name} ALTER inputs SET DATA TYPE {sql_type(LATER['inputs'])}",
            f"ALTER TABLE predictions_all.{name} ADD COLUMN output {sql_type(LATER['output'])}",
            views[MODELS[0]],
        ]
    )


def through_ours(catalog: Catalog) -> None:
    views = {m: statement("production_view", table=identifier(m)) for m in MODELS}
    for m in MODELS:
        made = {("predictions_all", m): pa.schema(list(FIRST.items()))}
        with catalog.transaction():
            define(catalog, Changes(made, views={("predictions", m): views[m]}))
    table = Tables(catalog)["predictions_all", MODELS[0]]
    view = {("predictions", MODELS[0]): views[MODELS[0]]}
    with catalog.transaction():
        define(catalog, Changes(reshaped=[(table, {**FIRST, **LATER})], views=view))


def told(catalog: Catalog) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: sorted(catalog.rows(f"SELECT {columns} FROM __ducklake_metadata_lake.{table}"), key=repr)
        for table, columns in TOLD.items()
    }


def test_the_catalog_says_what_it_would_say_if_ducklake_had_made_them(tmp_path: Path) -> None:
    """Numbers of tables, columns, snapshots and versions are those of the same changes through DuckLake."""
    found = []
    for folder, make in ((tmp_path / "theirs", through_ducklake), (tmp_path / "ours", through_ours)):
        Lake.open(folder).close()
        catalog = Catalog.open(folder)
        make(catalog)
        found.append(told(catalog))
        described = ducklake(catalog, f"DESCRIBE predictions.{identifier(MODELS[0])}")
        found[-1]["described"] = described
        catalog.close()
    theirs, ours = found
    for table, rows in theirs.items():
        assert ours[table] == rows, table


@pytest.mark.parametrize("model", MODELS)
def test_ducklake_goes_on_from_there(tmp_path: Path, model: str) -> None:
    """DuckLake reads, changes and adds to tables that were made without it."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions(model, [{"prediction_id": "a", "inputs.x": 1}])], [], Progress(1, 0))
    lake.flush([labels(model, [{"prediction_id": "a", "label": True}])], [], Progress(2, 0))
    name = identifier(model)
    ducklake(lake.catalog, f"ALTER TABLE predictions_all.{name} ADD COLUMN more INTEGER")
    ducklake(lake.catalog, f"INSERT INTO labels.{name} (prediction_id, label) VALUES ('b', false)")
    lake.forget(("predictions_all", model))
    lake.flush(
        [predictions(model, [{"prediction_id": "b", "inputs.x": 1.5, "inputs.y": "z", "time": START}])],
        [],
        Progress(3, 0),
    )
    rows = ducklake(
        lake.catalog, f"SELECT prediction_id, inputs.x, inputs.y, more, label FROM labeled.{name} ORDER BY 1"
    )
    assert rows == [("a", 1.0, None, None, True), ("b", 1.5, "z", None, False)]
    lake.close()


def test_what_the_owner_holds_does_not_grow_with_models(tmp_path: Path) -> None:
    """Of tables of models, and of changes of them, DuckDB keeps nothing in the process that writes."""
    lake = Lake.open(tmp_path / "lake")
    at = 0

    def flush(model: str, name: str) -> int:
        """Flush a row; what is kept then."""
        nonlocal at
        at += 1
        lake.flush([predictions(model, [{"prediction_id": "a", f"inputs.{name}": 1}])], [], Progress(at))
        kept = "SELECT sum(memory_usage_bytes) FROM duckdb_memory() WHERE tag = 'OBJECT_CACHE'"
        [(size,)] = lake.catalog.rows(kept)
        return int(size)

    flush("old", "x")
    first = flush("old", "x")
    without = [flush("old", "x") for _ in range(20)][-1] - first
    first = flush("old", "x")
    bringing = [flush(f"new{n // 2}", f"x{n % 2}") for n in range(20)][-1] - first
    assert bringing <= 1.1 * without
    lake.close()


def test_lakes_of_the_first_versions_are_opened(tmp_path: Path) -> None:
    """DuckLake made tables for rows in the catalog once, in which none ever was: they are passed over."""
    with tarfile.open(GOLDEN) as packed:
        packed.extractall(tmp_path, filter="data")
    lake = Lake.open(tmp_path / "data" / "lake", profiling=PROFILING)
    inlined = "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_inlined_data_tables"
    assert lake.catalog.rows(inlined)[0][0] > 0
    for model in lake.table_names:
        lake.flush([predictions(model, [{"prediction_id": "new", "inputs.added": 1}])], [], lake.progress)
        table = lake.table_name(model)
        added = f"SELECT count(*) FROM predictions_all.{identifier(table)} WHERE inputs.added = 1"
        rows = lake.catalog.look(table, added)
        assert rows == [(1,)]
    lake.close()
