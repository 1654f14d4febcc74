"""Models of which metrics can be taken without a lake on disk: tables in memory behind the real views."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from lapwing_collector.engine import identifier
from lapwing_collector.lake.profiles import owned
from lapwing_collector.lake.statements import statement
from lapwing_collector.metrics import ProfileCounter, freeze, reference_rows
from lapwing_collector.metrics.columns import flattened
from lapwing_collector.model.description import ModelDescription, parts
from lapwing_collector.model.profiles import (
    BINNING_ROWS,
    GIVEN,
    REFERENCE_BIN_ROWS,
    REFERENCE_SET_ROWS,
    BinKind,
    Binning,
)
from lapwing_collector.model.records import LABEL_ROWS, PREDICTION_ROWS
from lapwing_collector.query.calls import calls_in
from lapwing_collector.query.library import load
from lapwing_collector.query.subjects import make_views, views_of

START = datetime(2026, 1, 1)
END = START + timedelta(days=1)

_ROOTS = ("inputs", "output")

Rows = pa.Table | Sequence[Mapping[str, Any]] | Any
"""An Arrow table, a pandas frame or dicts; columns are named as in SQL: `inputs.age`, `time`."""


class Measured:
    """A connection with the library loaded, and tables as those of a lake."""

    def __init__(self) -> None:
        """Begin without a model."""
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("ATTACH ':memory:' AS lake")
        for schema in ("predictions_all", "labels"):
            self.connection.execute(f"CREATE SCHEMA lake.{schema}")
        self.connection.execute("USE lake")
        self.connection.execute(statement("system_tables"))
        self.connection.execute(statement("system_views"))
        self._loaded: set[str] = set()

    def put(
        self,
        model: str,
        predictions: Rows,
        labels: Rows | None = None,
        description: ModelDescription | None = None,
    ) -> None:
        """Make a model's tables, or make them anew.

        Columns that are not given are NULL, except: `time` is a second after the row before, from `START` on;
        `prediction_id` is the row's number as text, from 0; `stage` is production; `received_at` is `time`.
        A label's `prediction_time` is that of the prediction with its id (NULL is kept where it is given),
        its `time` an hour later.
        """
        made = _table(predictions)
        columns = _with_defaults(
            made,
            PREDICTION_ROWS,
            time="TIMESTAMP '2026-01-01' + to_seconds(row_number)",
            stage="'production'",
        )
        self._create(f"predictions_all.{identifier(model)}", made, columns)
        if labels is not None:
            known = (
                f"(SELECT any_value(p.time) FROM predictions_all.{identifier(model)} AS p "
                "WHERE p.prediction_id = made.prediction_id)"
            )
            told = _table(labels)
            when = "prediction_time" if "prediction_time" in told.column_names else known
            columns = _with_defaults(
                told,
                LABEL_ROWS,
                prediction_time=known,
                time=f"coalesce({when}, TIMESTAMP '2026-01-01') + INTERVAL 1 HOUR",
            )
            self._create(f"labels.{identifier(model)}", told, columns)
        if description is not None:
            self.connection.execute(
                "INSERT INTO model_descriptions (model, table_name, described_at, description) "
                "VALUES ($model, $model, now()::TIMESTAMP, $text)",
                {"model": model, "text": description.to_json()},
            )

    def profile(self, model: str, *, sample: Rows | None = None, segments: Sequence[str] = ()) -> None:
        """Count the rows of a model, as the lake's writer does.

        Bins are made of `sample`, whose columns are named by the fields; of all rows unless it is given.
        """
        stored = self.connection.execute(
            f"SELECT * FROM predictions_all.{identifier(model)}"
        ).to_arrow_table()
        if sample is None:
            columns = {name: values for name, values in flattened(stored).items() if name.startswith(_ROOTS)}
        else:
            made = _table(sample)
            columns = dict(zip(made.column_names, made.columns, strict=True))
        binnings = {each.field: each for each in freeze(pa.table(columns), model, segments)}
        apart = [binnings[name] for name in segments]
        for counted in ProfileCounter([*binnings.values(), *GIVEN], apart).count(stored):
            self._insert("profiles", owned(counted, model, model))
        made = [{"created_from": "rows", "created_at": START, "table_name": model}] * len(binnings)
        rows = [{**asdict(each), **row} for each, row in zip(binnings.values(), made, strict=True)]
        rows.extend({**asdict(each), "created_at": START, "table_name": ""} for each in GIVEN)
        self._insert("binnings", pa.Table.from_pylist(rows, BINNING_ROWS))

    def refer(self, model: str, reference: str, rows: Rows, version: int = 1) -> None:
        """Keep a reference of a model that has a profile; columns are named by the fields."""
        made = _table(rows)
        found = self.connection.execute(
            "SELECT binning_id, field, kind, edges, categories FROM binnings WHERE table_name = ?", [model]
        ).fetchall()
        binnings = {
            field: Binning(binning_id, field, BinKind(kind), tuple(edges), tuple(categories))
            for binning_id, field, kind, edges, categories in found
        }
        columns = {name: made.column(name).combine_chunks() for name in made.column_names}
        bins = reference_rows(columns, binnings).to_pylist()
        whose = {"model": model, "table_name": model, "reference": reference, "version": version}
        self._insert(
            "reference_bins", pa.Table.from_pylist([whose | row for row in bins], REFERENCE_BIN_ROWS)
        )
        one = whose | {"role": "drift", "source": "test", "sample_count": made.num_rows, "created_at": START}
        self._insert("reference_sets", pa.Table.from_pylist([one], REFERENCE_SET_ROWS))

    def know(self, sql: str) -> None:
        """Let the connection itself run SQL that calls metrics, of models that have been put."""
        make_views(self.connection, views_of(self.connection, calls_in(self.connection, sql)))
        load(self.connection, [sql], self._loaded)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query that may call metrics, as dicts."""
        self.know(sql)
        return self.connection.execute(sql, parameters).to_arrow_table().to_pylist()

    def row(self, sql: str, **parameters: Any) -> dict[str, Any]:
        """The only row of a query."""
        (row,) = self.rows(sql, **parameters)
        return row

    def _insert(self, table: str, rows: pa.Table) -> None:
        self.connection.execute(f"INSERT INTO {table} SELECT * FROM rows")

    def _create(self, name: str, made: pa.Table, columns: Mapping[str, str]) -> None:
        selected = ", ".join(f"{sql} AS {identifier(column)}" for column, sql in columns.items())
        self.connection.execute(
            f"CREATE OR REPLACE TABLE {name} AS "
            f"SELECT {selected} FROM (SELECT *, row_number() OVER () - 1 AS row_number FROM made) AS made"
        )

    def close(self) -> None:
        """Forget everything."""
        self.connection.close()


def _table(rows: Rows) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "columns"):
        return pa.Table.from_pandas(rows, preserve_index=False)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _with_defaults(made: pa.Table, fixed: pa.Schema, **defaults: str) -> dict[str, str]:
    """SQL of every column: the fixed ones with their types, then the structs of users' fields."""
    given = set(made.column_names)
    defaults = {"prediction_id": "row_number::VARCHAR", "received_at": None, **defaults}
    columns = {}
    for each in fixed:
        kind = _SQL_TYPES.get(str(each.type), "VARCHAR")
        default = defaults.get(each.name) or f"NULL::{kind}"
        value = identifier(each.name) if each.name in given else default
        if each.name in {"time", "stage"}:  # which are never NULL
            value = f"coalesce({value}, {default})"
        columns[each.name] = f"({value})::{kind}"
    if "received_at" not in given:
        columns["received_at"] = columns["time"]
    tree: dict[str, Any] = {}
    for name in made.column_names:
        if name not in fixed.names:
            *outer, last = parts(name)
            place = tree
            for part in outer:
                place = place.setdefault(part, {})
            place[last] = identifier(name)
    return columns | {root: _struct(inside) for root, inside in tree.items()}


def _struct(inside: Any) -> str:
    if isinstance(inside, str):
        return inside
    return "{" + ", ".join(f"{identifier(name)}: {_struct(each)}" for name, each in inside.items()) + "}"


_SQL_TYPES = {
    "timestamp[us]": "TIMESTAMP",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "map<string, string>": "MAP(VARCHAR, VARCHAR)",
}
