"""The lake as DuckLake itself reads and writes it, beside the one connection of its owner."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.lake.catalog import Catalog


def ducklake(catalog: Catalog, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run SQL over all tables of a lake, with nobody else at it; the rows of its last statement."""
    with catalog.exclusive(), engine.connect(threads=1) as connection:
        engine.attach(connection, catalog.place, read_only=False)
        return connection.execute(sql, list(parameters) or None).fetchall()


def ducklake_table(catalog: Catalog, sql: str) -> pa.Table:
    """As `ducklake`, in Arrow."""
    with catalog.exclusive(), engine.connect(threads=1) as connection:
        engine.attach(connection, catalog.place, read_only=False)
        return connection.execute(sql).to_arrow_table()
