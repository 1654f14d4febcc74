"""Models of which metrics can be taken without a lake on disk: tables in memory behind the real views."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from lapwing_collector.engine import identifier
from lapwing_collector.model.description import ModelDescription, parts
from lapwing_collector.model.records import LABEL_ROWS, PREDICTION_ROWS
from lapwing_collector.query.calls import calls_in
from lapwing_collector.query.library import load
from lapwing_collector.query.subjects import prepare

START = datetime(2026, 1, 1)
END = START + timedelta(days=1)

Rows = pa.Table | Sequence[Mapping[str, Any]] | Any
"""An Arrow table, a pandas frame or dicts; columns are named as in SQL: `inputs.age`, `time`."""


class Measured:
    """A connection with the library loaded, and tables as those of a lake."""

    def __init__(self) -> None:
        """Begin without a model."""
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("ATTACH ':memory:' AS lake")
        for schema in ("predictions_all", "labels"):
            self.connection.execute(f"CREATE SCHEMA lake.{schema}")
        self.connection.execute(
            "CREATE TABLE lake.main.model_descriptions"
            "(model VARCHAR, table_name VARCHAR, described_at TIMESTAMP, description JSON)"
        )
        self.connection.execute("USE lake")
        load(self.connection)

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
                "INSERT INTO model_descriptions VALUES ($model, $model, now()::TIMESTAMP, $text)",
                {"model": model, "text": description.to_json()},
            )

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query that may call metrics, as dicts."""
        prepare(self.connection, calls_in(self.connection, sql))
        return self.connection.execute(sql, parameters).to_arrow_table().to_pylist()

    def row(self, sql: str, **parameters: Any) -> dict[str, Any]:
        """The only row of a query."""
        (row,) = self.rows(sql, **parameters)
        return row

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
