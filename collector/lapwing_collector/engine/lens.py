"""A DuckLake of which DuckDB is shown only the tables that are asked for.

DuckLake reads all tables there are, with all their columns, before it answers the first query, and again for
each change of any: 70 kB of memory and half a millisecond a table. Thousands of models would not fit into a
process, and would let each query wait for seconds. So the catalog that it reads is one in memory, made of
views over the real one that leave out whatever nobody asks for. The real one finds the rest by its indexes.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb

from lapwing_collector.engine import attach_catalog
from lapwing_collector.engine.place import LAKE, Place, place_of
from lapwing_collector.engine.quoting import identifier, literal

MANY: Final = 400
"""From so many tables on, a lens is worth what it costs: the rest are not listed any more."""

_KEPT: Final = 16
"""Tables that are shown at once; beyond, those that were asked for last."""

_GENERATIONS: Final = 100
"""Changes of what is shown after which a lens is worn: DuckLake keeps each."""

_STRIDE: Final = 1 << 40
"""Between the schema versions of one generation and the next; the catalog's own stay far below."""

_BY_TABLE: Final = (
    "ducklake_column",
    "ducklake_data_file",
    "ducklake_delete_file",
    "ducklake_file_column_stats",
    "ducklake_table_stats",
    "ducklake_table_column_stats",
    "ducklake_schema_versions",
)
"""Tables of a catalog whose rows are about one table of the lake each."""

_TABLES: Final = (
    *_BY_TABLE,
    "ducklake_column_mapping",
    "ducklake_metadata",
    "ducklake_name_mapping",
    "ducklake_schema",
    "ducklake_snapshot",
    "ducklake_table",
    "ducklake_view",
)
"""Tables of a catalog that are read to answer queries.

The others stay as DuckLake makes them, empty: a lake of ours has no comments, macros, partitions, orders, nor
rows that are inlined, though older versions made tables for such.
"""

_NAMING: Final = re.compile(
    r"""'((?:[^']|'')*)' | "((?:[^"]|"")*)" | \$(\w*)\$(.*?)\$\3\$ | (\w+)""", re.VERBOSE | re.DOTALL
)
_WORD: Final = re.compile(r"\w+")
_VARIANT: Final = re.compile(r"~\d+$")
"""What tells the table of a model from that of another which differs by case only."""


class Lens:
    """Attaches a lake to a connection, with its own tables (schema `main`) and those that are asked for.

    Nothing can be written through it.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        place: Place | Path,
        *,
        name: str = LAKE,
        origin: str | None = None,
        follow: bool = True,
    ) -> None:
        """Attach it and make it the default.

        Args:
            connection: What to attach it to; opened for such a place.
            place: Where it is.
            name: What it is called there.
            origin: What its catalog is attached as already; it is attached here if None.
            follow: Whether columns of what is shown change; those of the lake's own tables do not.

        Raises:
            duckdb.Error: There is no lake to read, or it cannot be opened.
        """
        self._connection = connection
        self._follow = follow
        self._meta = f"__ducklake_metadata_{name}"
        self._origin = origin or f"__ducklake_origin_{name}"
        place = place_of(place)
        self._catalog = place.catalog
        if origin is None:
            attach_catalog(connection, place, self._origin)
        path = literal(place.prefix)
        connection.execute(f"ATTACH 'ducklake::memory:' AS {name} (DATA_PATH {path})")
        self._columns = self._types()
        self._names: dict[str, list[str]] = {}
        self._names_version: object = None
        self._shown: dict[str, None] = {}
        self._generation = 0
        main = "(SELECT schema_id FROM ducklake_schema WHERE schema_name = 'main')"
        self._own = [
            name
            for (name,) in self._native(
                f"SELECT table_name FROM ducklake_table WHERE schema_id = {main} AND end_snapshot IS NULL "
                f"UNION SELECT view_name FROM ducklake_view WHERE schema_id = {main} AND end_snapshot IS NULL"
            )
        ]
        drops = ";".join(f"DROP TABLE {self._meta}.{table}" for table in self._columns)
        connection.execute(f"BEGIN; {drops}; {self._views(self._columns)}; COMMIT")
        connection.execute(f"USE {name}")

    @property
    def origin(self) -> str:
        """What the catalog of the lake is attached as."""
        return self._origin

    @property
    def worn(self) -> bool:
        """Whether a new connection with a new lens had better take the place of this one."""
        return self._generation >= _GENERATIONS

    def show(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Let every table be there that a query names, in its text or in its parameters.

        Only between transactions.
        """
        self.show_tables(self._named(mentioned([sql, *_texts((parameters or {}).values())])))

    def show_tables(self, tables: Iterable[str]) -> None:
        """Let the tables and views with these names be there, whatever schema they are in."""
        wanted = dict.fromkeys(tables)
        if wanted.keys() <= self._shown.keys():
            return
        for name in wanted:  # those that were asked for last come last
            self._shown.pop(name, None)
        self._shown = dict.fromkeys([*self._shown, *wanted][-max(_KEPT, len(wanted)) :])
        self._generation += 1
        filtered = {"ducklake_snapshot", "ducklake_table", "ducklake_view", *_BY_TABLE}
        self._connection.execute(f"BEGIN; {self._views(filtered & self._columns.keys())}; COMMIT")

    def _named(self, words: Collection[str]) -> list[str]:
        """The tables that some words may name."""
        [(version,)] = self._native(
            "SELECT schema_version FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1"
        )
        if version != self._names_version:
            self._names = {}
            for (name,) in self._native(
                "SELECT table_name FROM ducklake_table WHERE end_snapshot IS NULL "
                "UNION SELECT view_name FROM ducklake_view WHERE end_snapshot IS NULL"
            ):
                self._names.setdefault(_VARIANT.sub("", name.lower()), []).append(name)
            self._names_version = version
        return [name for word in words for name in self._names.get(_VARIANT.sub("", word), ())]

    def _types(self) -> dict[str, list[tuple[str, str]]]:
        """Names and types of the columns of the tables of a catalog, as DuckLake makes them."""
        described = " UNION ALL ".join(  # at once: two thirds of asking is planning
            f"SELECT '{table}', cid, name, type FROM pragma_table_info('{self._meta}.{table}')"
            for table in _TABLES
        )
        found: dict[str, list[tuple[str, str]]] = {table: [] for table in _TABLES}
        for table, _, name, kind in self._connection.execute(f"{described} ORDER BY ALL").fetchall():
            found[table].append((name, kind))
        return found

    def _native(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(f"SELECT * FROM {self._catalog.asked(self._origin, sql)}").fetchall()

    def _views(self, tables: Iterable[str]) -> str:
        """SQL for views over the tables of the catalog, with what is shown of each."""
        return ";".join(
            f"CREATE OR REPLACE VIEW {self._meta}.{table} AS SELECT {self._selected(table)} "
            f"FROM {self._catalog.asked(self._origin, self._seen(table))}"
            for table in tables
        )

    def _selected(self, table: str) -> str:
        """The columns of a table of the catalog in their types; SQLite gives every value as text."""
        own = "schema_version::BIGINT" if self._follow else "0"
        version = f"{own} + {self._generation * _STRIDE} AS schema_version"
        return ", ".join(
            version
            if (table, column) == ("ducklake_snapshot", "schema_version")
            else f"{identifier(column)}::{kind} AS {identifier(column)}"
            for column, kind in self._columns[table]
        )

    def _seen(self, table: str) -> str:
        """What the catalog selects of a table of it."""
        names = ", ".join(map(literal, [*self._own, *self._shown]))
        if table == "ducklake_snapshot":
            where = "snapshot_id = (SELECT max(snapshot_id) FROM ducklake_snapshot)"
        elif table == "ducklake_table":
            where = f"table_name IN ({names})"
        elif table == "ducklake_view":
            where = f"view_name IN ({names})"
        elif table in _BY_TABLE:
            where = f"table_id IN (SELECT table_id FROM ducklake_table WHERE table_name IN ({names}))"
        else:
            where = "true"
        return f"SELECT * FROM {table} WHERE {where}"


def mentioned(texts: Iterable[str]) -> set[str]:
    """Whatever may be a name in SQL and in values, in lower case: words, and what stands in quotes."""
    found: set[str] = set()
    for text in texts:
        found.add(text.lower())
        for single, double, _, dollars, word in _NAMING.findall(text):
            quoted = single.replace("''", "'") or double.replace('""', '"') or dollars
            found |= {quoted.lower(), *(each.lower() for each in _WORD.findall(quoted)), word.lower()}
    return found


def is_large(connection: duckdb.DuckDBPyConnection, place: Place | Path, catalog: str) -> bool:
    """Whether a lake has so many tables that a lens is worth it.

    Args:
        connection: That it is attached to.
        place: Where it is.
        catalog: What its catalog is called there.
    """
    sql = "SELECT count(*) FROM ducklake_table WHERE end_snapshot IS NULL"
    found = connection.execute(f"SELECT * FROM {place_of(place).catalog.asked(catalog, sql)}").fetchall()
    return int(found[0][0]) >= MANY


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Every text in values, which may be lists and the like of them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(value.values())
        elif isinstance(value, (list, tuple, set)):
            yield from _texts(value)
