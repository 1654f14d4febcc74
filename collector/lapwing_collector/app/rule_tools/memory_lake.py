"""A lake in memory: tables that somebody wrote down, behind the views and metrics of the real one."""

from collections.abc import Mapping
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from lapwing_collector.engine import LAKE, identifier, literal
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import sql_type
from lapwing_collector.lake.statements import statement
from lapwing_collector.model.description import ModelDescription, parts
from lapwing_collector.model.profiles import REFERENCE_ROWS
from lapwing_collector.model.records import LABEL_ROWS, PREDICTION_ROWS
from lapwing_collector.query import Session

PREDICTIONS: Final = "predictions"
LABELS: Final = "labels"
LABELED: Final = "labeled"
REFERENCES: Final = "reference_rows"
_EVERY_STAGE: Final = "predictions_all"
_OF_PREDICTIONS: Final = ("inputs", "output", "descriptors")
_ROOTS: Final = {
    PREDICTIONS: _OF_PREDICTIONS,
    _EVERY_STAGE: _OF_PREDICTIONS,
    LABELS: ("label",),
    LABELED: (*_OF_PREDICTIONS, "label", "label_source"),
    REFERENCES: (*_OF_PREDICTIONS, "label"),
}
"""What users' fields are in, by schema."""

_SHARED_OUT: Final = 122_880
"""Rows by which DuckDB shares tables out among threads: with fewer, a second one is woken for nothing."""


class MemoryLake:
    """Tables and views in memory, named and typed as in a lake."""

    def __init__(self) -> None:
        """Begin with the lake's own tables, all empty."""
        settings: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "threads": 1,
        }
        self._connection = duckdb.connect(":memory:", config=settings)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"ATTACH ':memory:' AS {LAKE}")
        self._connection.execute(f"USE {LAKE}")
        for name in ("schemas", "system_tables", "system_views"):
            self._connection.execute(statement(name))

    def types_of(self, table: str) -> dict[str, pa.DataType]:
        """Types of the columns that a table has whatever it is about.

        Raises:
            ConfigError: There is no such table in a lake.
        """
        schema, name = model_table(table)
        if schema in {PREDICTIONS, _EVERY_STAGE}:
            return {field.name: field.type for field in PREDICTION_ROWS}
        if schema == LABELS:
            return {field.name: field.type for field in LABEL_ROWS}
        if schema == REFERENCES:
            return {field.name: field.type for field in REFERENCE_ROWS}
        if schema == LABELED:
            extra = {"label_time": pa.timestamp("us"), "label_received_at": pa.timestamp("us")}
            return {field.name: field.type for field in PREDICTION_ROWS} | extra
        try:
            found = self._connection.execute(f"SELECT * FROM main.{identifier(name)} LIMIT 0")
        except duckdb.CatalogException as error:
            raise ConfigError(f"a lake has no table {table}") from error
        return {field.name: field.type for field in found.to_arrow_table().schema}

    def put(self, table: str, rows: pa.Table) -> None:
        """Make a table with rows.

        Columns are named as in SQL, `inputs.age`. Those that are not given are NULL, except: `stage` is
        production, `prediction_id` the row's number as text, from 0, `received_at` is `time`, the `time` of a
        label that of the prediction it is for, and its `prediction_time` that of the prediction with its id.

        Raises:
            ConfigError: There is no such table in a lake, or a column does not fit it.
        """
        schema, name = model_table(table)
        try:
            if rows.num_rows > _SHARED_OUT:
                self._connection.execute("RESET threads")
            if schema:
                self._put_of_model(schema, name, rows)
            else:
                self._put_own(name, rows)
        except duckdb.Error as error:
            raise ConfigError(f"{table}: {str(error).partition(chr(10))[0]}") from error

    def describe(self, model: str, description: ModelDescription) -> None:
        """Let metrics know which field plays which role."""
        self._connection.execute(
            "INSERT INTO main.model_descriptions (model, table_name, described_at, description) "
            "VALUES ($model, $model, TIMESTAMP 'epoch', $text)",
            {"model": model, "text": description.to_json()},
        )

    def session(self) -> Session:
        """What answers SQL over the tables, once they are there."""
        for schema in (_EVERY_STAGE, LABELS):
            for (name,) in self._tables(schema):
                self._make_views(name)
        return Session.over(self._connection)

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tables(self, schema: str) -> list[tuple[str]]:
        sql = (
            "SELECT table_name FROM information_schema.tables "
            f"WHERE table_catalog = {literal(LAKE)} AND table_schema = $schema AND table_type = 'BASE TABLE'"
        )
        return self._connection.execute(sql, {"schema": schema}).fetchall()

    def _make_views(self, name: str) -> None:
        table = identifier(name)
        if (name,) not in self._tables(_EVERY_STAGE):  # labels came first, as they may
            self._put_of_model(PREDICTIONS, name, pa.table({"time": pa.array([], pa.timestamp("us"))}))
        production = statement("production_view", table=table)
        self._connection.execute(f"CREATE OR REPLACE VIEW predictions.{table} AS {production}")
        if (name,) in self._tables(LABELED):
            return
        columns = []
        if (name,) in self._tables(LABELS):
            columns = (
                self._connection.execute(f"SELECT * FROM labels.{table} LIMIT 0")
                .to_arrow_table()
                .schema.names
            )
        labeled = "labeled_view" if "label" in columns else "unlabeled_view"
        self._connection.execute(
            f"CREATE OR REPLACE VIEW labeled.{table} AS {statement(labeled, table=table)}"
        )

    def _put_of_model(self, schema: str, name: str, rows: pa.Table) -> None:
        table = identifier(name)
        defaults = {"prediction_id": "row_number::VARCHAR", "stage": "'production'"}
        fixed = {LABELS: LABEL_ROWS, REFERENCES: REFERENCE_ROWS}.get(schema, PREDICTION_ROWS)
        known = {*self.types_of(f"{schema}.{name}"), *_ROOTS[schema]}
        unknown = next((each for each in rows.column_names if parts(each)[0] not in known), None)
        if unknown is not None:
            raise ConfigError(
                f"{schema}.{name} has no column {unknown}; it has {', '.join(known)}, fields as inputs.age"
            )
        if schema == LABELS:
            its = (
                f"(SELECT any_value(p.time) FROM {_EVERY_STAGE}.{table} AS p "
                "WHERE p.prediction_id = made.prediction_id)"
                if (name,) in self._tables(_EVERY_STAGE) and "prediction_id" in rows.column_names
                else "NULL::TIMESTAMP"
            )
            when = "made.prediction_time" if "prediction_time" in rows.column_names else its
            defaults = {"prediction_time": its, "time": when}
        columns = _columns(rows, fixed, defaults)
        selected = ", ".join(f"{sql} AS {identifier(column)}" for column, sql in columns.items())
        schema = _EVERY_STAGE if schema == PREDICTIONS else schema
        self._create(f"{schema}.{table}", selected, rows)

    def _put_own(self, name: str, rows: pa.Table) -> None:
        known = self.types_of(name)
        unknown = next((column for column in rows.column_names if column not in known), None)
        if unknown is not None:
            raise ConfigError(f"{name} has no column {unknown}; it has {', '.join(known)}")
        kinds = self._connection.execute(f"DESCRIBE main.{identifier(name)}").fetchall()
        selected = ", ".join(
            f"{f'made.{identifier(column)}' if column in rows.column_names else 'NULL'}::{kind} "
            f"AS {identifier(column)}"
            for column, kind, *_ in kinds
        )
        views = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"
        if (name,) in self._connection.execute(views).fetchall():
            self._connection.execute(
                f"DROP VIEW main.{identifier(name)}"
            )  # its rows are written down instead
        self._create(f"main.{identifier(name)}", selected, rows)

    def _create(self, table: str, selected: str, made: pa.Table) -> None:
        self._connection.register("made_rows", made)
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {LAKE}.{table} AS "
            f"SELECT {selected} "
            "FROM (SELECT *, row_number() OVER () - 1 AS row_number FROM made_rows) AS made"
        )
        self._connection.unregister("made_rows")


def model_table(table: str) -> tuple[str, str]:
    """Schema of a model's table and the model's name; of a table of the lake itself the schema is empty."""
    schema, dot, name = table.partition(".")
    return (schema, name) if dot and schema in _ROOTS else ("", table)


def _columns(rows: pa.Table, fixed: pa.Schema, defaults: Mapping[str, str]) -> dict[str, str]:
    """SQL of every column: the fixed ones with their types, then the structs of the users' fields."""
    given = set(rows.column_names)
    columns = {}
    for field in fixed:
        kind = sql_type(field.type)
        default = defaults.get(field.name, "NULL")
        value = f"coalesce(made.{identifier(field.name)}, {default})" if field.name in given else default
        columns[field.name] = f"({value})::{kind}"
    if "received_at" not in given and "received_at" in fixed.names:
        columns["received_at"] = columns["time"]
    tree: dict[str, Any] = {}
    for name in rows.column_names:
        if name not in fixed.names:
            *outer, last = parts(name)
            place = tree
            for part in outer:
                place = place.setdefault(part, {})
            place[last] = f"made.{identifier(name)}"
    return columns | {root: _struct(inside) for root, inside in tree.items()}


def _struct(inside: Any) -> str:
    if isinstance(inside, str):
        return inside
    return "{" + ", ".join(f"{identifier(name)}: {_struct(each)}" for name, each in inside.items()) + "}"
