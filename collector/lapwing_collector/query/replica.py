"""One snapshot of the lake for many queries: what is small is in memory, the rest is read where it is.

DuckLake asks its catalog anew for each table of each query, which takes milliseconds that thousands of short
queries over one snapshot need not spend. Only tables of the lake itself are copied (profiles, references,
recorded metrics, …), as long as they are small together; models' rows stay in their files.
"""

from collections.abc import Iterator
from typing import Final

import duckdb

from lapwing_collector import engine
from lapwing_collector.engine import LAKE, identifier
from lapwing_collector.engine.place import Place

_ORIGIN: Final = "origin"
"""What DuckLake's own catalog is called beside the one in memory."""

_SIZES: Final = f"""
    SELECT t.table_name, coalesce(sum(f.file_size_bytes), 0)
    FROM __ducklake_metadata_{_ORIGIN}.ducklake_table AS t
    LEFT JOIN __ducklake_metadata_{_ORIGIN}.ducklake_data_file AS f
        ON f.table_id = t.table_id AND f.begin_snapshot <= $snapshot
        AND (f.end_snapshot IS NULL OR f.end_snapshot > $snapshot)
    WHERE t.table_name IN (
        SELECT table_name FROM duckdb_tables() WHERE database_name = '{_ORIGIN}' AND schema_name = 'main'
    )
    GROUP BY 1 ORDER BY 2, 1
"""
_GROWTH: Final = 10
"""How much larger rows are in memory than in a file, at most; measured on profiles: 6."""


def attach_snapshot(
    connection: duckdb.DuckDBPyConnection, place: Place, snapshot: int, memory_bytes: int
) -> None:
    """Let `connection` read one snapshot of the lake at a place, as if it were attached itself.

    Args:
        connection: Empty; opened for such a place.
        place: Where the lake is.
        snapshot: Which.
        memory_bytes: What the tables that are copied may take.

    Raises:
        duckdb.Error: There is no lake, or no such snapshot any more.
    """
    engine.attach(connection, place, read_only=True, name=_ORIGIN, snapshot=snapshot)
    connection.execute("SET parquet_metadata_cache = true")  # no file of a snapshot ever changes
    connection.execute(f"ATTACH ':memory:' AS {LAKE}")
    connection.execute(f"USE {LAKE}")
    copied = set(_small(connection, snapshot, memory_bytes))
    tables = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $origin"
    for schema, table in connection.execute(tables, {"origin": _ORIGIN}).fetchall():
        kind = "TABLE" if schema == "main" and table in copied else "VIEW"
        name = f"{identifier(schema)}.{identifier(table)}"
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
        connection.execute(f"CREATE {kind} {name} AS FROM {_ORIGIN}.{name}")
    views = (
        "SELECT schema_name, view_name, sql FROM duckdb_views() "
        "WHERE database_name = $origin AND NOT internal ORDER BY schema_name = 'labeled'"  # which read others
    )
    for schema, view, sql in connection.execute(views, {"origin": _ORIGIN}).fetchall():
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
        connection.execute(f"CREATE VIEW {identifier(schema)}.{identifier(view)} AS {_select(view, sql)}")


def _small(connection: duckdb.DuckDBPyConnection, snapshot: int, memory_bytes: int) -> Iterator[str]:
    """The lake's own tables, the smallest first, as long as they fit."""
    left = memory_bytes
    for table, size in connection.execute(_SIZES, {"snapshot": snapshot}).fetchall():
        left -= int(size) * _GROWTH
        if left < 0:
            return
        yield table


def _select(view: str, sql: str) -> str:
    """The query of a view, whose text names it without its schema."""
    for name in (view, identifier(view)):
        head = f"CREATE VIEW {name} AS "
        if sql.startswith(head):
            return sql.removeprefix(head)
    raise duckdb.CatalogException(f"the view {view} cannot be read: {sql[:80]}")
