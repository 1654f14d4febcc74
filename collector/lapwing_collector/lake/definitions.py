"""Makes tables, columns and views of models known: one snapshot of the catalog, in one transaction.

DuckLake would read all tables there are, with all their columns, before it makes one, and again after each
change: half a millisecond and 70 kB a table. What it would write are a few rows in tables that the DuckLake
specification describes, so they are written here, as those for files are in `snapshots`.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.engine import identifier, literal
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.shapes import Path as FieldPath
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Key, Table
from lapwing_collector.lake.types import catalog_name

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Names of tables that are names of folders too."""

_NUMBER: Final = pa.int64()
_TEXT: Final = pa.string()
_TABLES: Final = pa.schema(
    [("table_id", _NUMBER), ("table_uuid", _TEXT), ("schema_id", _NUMBER), ("name", _TEXT), ("path", _TEXT)]
)
_COLUMNS: Final = pa.schema(
    [
        ("column_id", _NUMBER),
        ("table_id", _NUMBER),
        ("column_order", _NUMBER),
        ("name", _TEXT),
        ("kind", _TEXT),
        ("parent", _NUMBER),
    ]
)
_VIEWS: Final = pa.schema(
    [("view_id", _NUMBER), ("view_uuid", _TEXT), ("schema_id", _NUMBER), ("name", _TEXT), ("query", _TEXT)]
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to change.

    Attributes:
        made: Tables that there are not yet, with their columns.
        reshaped: Tables that there are, with the root columns that they are to have more, or with more in
            them: further fields of structs, other types of single fields.
        views: The SELECT of each view, which may be there.
    """

    made: Mapping[Key, pa.Schema] = field(default_factory=dict)
    reshaped: Sequence[tuple[Table, Mapping[str, pa.DataType]]] = ()
    views: Mapping[Key, str] = field(default_factory=dict)


def define(catalog: Catalog, changes: Changes) -> None:
    """Make `changes`; called inside a transaction of the catalog."""
    snapshot, next_number = map(int, catalog.native(statement("newest_definitions"))[0])
    schemas = {name: int(number) for number, name in catalog.native(statement("schema_numbers"))}
    numbers = count(next_number)
    work = _Work()
    if changes.views:
        names = ", ".join({literal(name) for _, name in changes.views})
        for number, schema, name in catalog.native(statement("views", names=names)):
            if (schema, name) in changes.views:
                work.ended_views.append(int(number))
                work.told.insert(0, f"dropped_view:{number}")
        for (schema, name), query in changes.views.items():
            work.views.append((next(numbers), str(uuid.uuid4()), schemas[schema], name, _bare(query)))
            work.told.append(f"created_view:{identifier(schema)}.{identifier(name)}")
    for (schema, name), columns in changes.made.items():
        table, unique = next(numbers), str(uuid.uuid4())
        folder = name if _PLAIN.fullmatch(name) else unique
        work.tables.append((table, unique, schemas[schema], name, f"{folder}/"))
        work.add_columns(table, None, [(each.name, each.type) for each in columns], count(1))
        work.told.append(f"created_table:{identifier(schema)}.{identifier(name)}")
        work.touched.append(table)
    for described, shape in changes.reshaped:
        [(newest,)] = catalog.native(statement("newest_column", table=str(described.number)))
        work.reshape(described, shape, count(int(newest) + 1))
        work.told.append(f"altered_table:{described.number}")
        work.touched.append(described.number)
    _write(catalog, work, snapshot + 1, next(numbers) - next_number)


@dataclass(slots=True)
class _Work:
    """Rows of the catalog that are to be written, and those that end."""

    tables: list[tuple[Any, ...]] = field(default_factory=list)
    columns: list[tuple[Any, ...]] = field(default_factory=list)
    views: list[tuple[Any, ...]] = field(default_factory=list)
    ended_columns: list[tuple[int, int]] = field(default_factory=list)
    ended_views: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    touched: list[int] = field(default_factory=list)

    def add_columns(
        self, table: int, parent: int | None, named: Sequence[tuple[str, pa.DataType]], numbers: Iterator[int]
    ) -> None:
        """Add columns, and whatever is inside of them, in the order in which DuckLake numbers them."""
        for name, kind in named:
            number = next(numbers)
            self.columns.append((number, table, number, name, catalog_name(kind), parent))
            self.add_columns(table, number, _inside(kind), numbers)

    def reshape(self, table: Table, shape: Mapping[str, pa.DataType], numbers: Iterator[int]) -> None:
        """Bring the columns of a table to a shape that holds all that they have."""
        known = dict(table.types)
        for root, kind in shape.items():
            self._bring(table, (root,), known.get(root), kind, numbers)

    def _bring(
        self,
        table: Table,
        path: FieldPath,
        before: pa.DataType | None,
        after: pa.DataType,
        numbers: Iterator[int],
    ) -> None:
        if before == after:
            return
        parent = table.columns[path[:-1]] if len(path) > 1 else None
        if before is None:
            self.add_columns(table.number, parent, [(path[-1], after)], numbers)
            return
        number = table.columns[path]
        inside, wanted = dict(_inside(before)), dict(_inside(after))
        if catalog_name(before) != catalog_name(after):
            self.ended_columns.append((table.number, number))
            self.columns.append((number, table.number, number, path[-1], catalog_name(after), parent))
        for name, kind in wanted.items():
            self._bring(table, (*path, name), inside.get(name), kind, numbers)


def _inside(kind: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """What columns a column has inside, by the names that DuckLake gives them."""
    if pa.types.is_struct(kind):
        return [(each.name, each.type) for each in kind]
    if pa.types.is_map(kind):
        return [("key", kind.key_type), ("value", kind.item_type)]
    return [("element", kind.value_type)] if pa.types.is_list(kind) else []


def _bare(query: str) -> str:
    """SQL without the comments before it, and without its end."""
    lines = query.strip().splitlines()
    first = next(place for place, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[first:]).rstrip(";")


def _write(catalog: Catalog, work: _Work, snapshot: int, numbers: int) -> None:
    catalog.change(statement("add_definitions_snapshot"), [snapshot, numbers])
    catalog.change(statement("add_definitions_changes"), [snapshot, ",".join(work.told)])
    for table, column in work.ended_columns:
        catalog.change(statement("end_column"), [snapshot, table, column])
    if work.ended_views:
        ended = ", ".join(map(str, work.ended_views))
        catalog.change(statement("end_views", views=ended), [snapshot])
    for name, rows, schema in (
        ("add_tables", work.tables, _TABLES),
        ("add_columns", work.columns, _COLUMNS),
        ("add_views", work.views, _VIEWS),
        ("add_schema_versions", [(table,) for table in work.touched], pa.schema([("table_id", _NUMBER)])),
    ):
        if rows:
            columns = zip(zip(*rows, strict=True), schema.types, strict=True)
            arrays = [pa.array(column, kind) for column, kind in columns]
            catalog.insert(
                statement(name, snapshot=str(snapshot)), pa.Table.from_arrays(arrays, schema=schema)
            )
