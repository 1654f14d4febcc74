"""The lake's tables as the catalog has them: where their files go, their columns' types and numbers."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lapwing_collector.engine import identifier, literal
from lapwing_collector.engine.place import Location
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.shapes import Path as FieldPath
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.types import arrow_type

Key = tuple[str, str]
"""Schema and name of a table."""

ROOTS: Final = ("inputs", "output", "descriptors", "label")
"""Columns that users' fields make up, and what is told of their texts, in the tables of models."""


_KEPT: Final = 2_000
"""Tables that are kept in mind, some 15 kB each; all that were asked for at once."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        number: The catalog's number for it.
        schema: The SQL schema it is in.
        name: Its name there.
        folder: Where its files are.
        columns: The catalog's number of each column, and of what is inside structs, lists (`element`) and
            maps (`key`, `value`).
        types: Types of the root columns, in order.
        shape: Those of them that the users' fields make up.
    """

    number: int
    schema: str
    name: str
    folder: Location
    columns: Mapping[FieldPath, int]
    types: Mapping[str, pa.DataType]
    shape: Mapping[str, pa.DataType]

    @property
    def sql_name(self) -> str:
        """Its quoted name."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


class Tables:
    """Knows tables that were asked for, the last ones; whoever changes one says so by `forget`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: OrderedDict[Key, Table] = OrderedDict()

    def __getitem__(self, key: Key) -> Table:
        """The table, which must be there."""
        if key not in self._known:
            self.find([key])
        return self._known[key]

    def find(self, keys: Collection[Key]) -> dict[Key, Table]:
        """Those of the tables that there are."""
        unknown = [key for key in keys if key not in self._known]
        if unknown:
            self._known.update(self._read(unknown))
        found = {key: self._known[key] for key in keys if key in self._known}
        for key in found:
            self._known.move_to_end(key)
        while len(self._known) > max(_KEPT, len(found)):
            self._known.popitem(last=False)
        return found

    def known(self, key: Key) -> Table | None:
        """The table, if it was asked for before."""
        return self._known.get(key)

    def forget(self, keys: Iterable[Key]) -> None:
        """Read the tables anew when they are asked for again."""
        for key in keys:
            self._known.pop(key, None)

    def _read(self, keys: Collection[Key]) -> dict[Key, Table]:
        names = ", ".join({literal(name) for _, name in keys})
        found = {
            int(number): ((schema, name), self._catalog.store.root / schema_path / path)
            for number, schema, name, schema_path, path in self._catalog.native(
                statement("tables", names=names)
            )
            if (schema, name) in keys
        }
        if not found:
            return {}
        columns: dict[int, list[_Column]] = {number: [] for number in found}
        tables = ", ".join(map(str, found))
        for table, number, outer, name, kind in self._catalog.native(statement("columns", tables=tables)):
            columns[int(table)].append((int(number), None if outer is None else int(outer), name, kind))
        return {key: _table(number, key, folder, columns[number]) for number, (key, folder) in found.items()}


_Column = tuple[int, int | None, str, str]
"""Number of a column, number of the one that it is in, name, type."""


def _table(number: int, key: Key, folder: Location, columns: Iterable[_Column]) -> Table:
    """Put a table together from its columns, in order."""
    inside: dict[int | None, list[tuple[int, str, str]]] = {}
    for column, outer, name, kind in columns:
        inside.setdefault(outer, []).append((column, name, kind))
    numbers: dict[FieldPath, int] = {}

    def read(path: FieldPath, column: int, kind: str) -> pa.DataType:
        numbers[path] = column
        inner = {name: read((*path, name), number, kind) for number, name, kind in inside.get(column, [])}
        return arrow_type(kind, inner)

    types = {name: read((name,), column, kind) for column, name, kind in inside[None]}
    shape = {root: kind for root, kind in types.items() if root in ROOTS and key[0] != "main"}
    return Table(number, *key, folder, numbers, types, shape)
