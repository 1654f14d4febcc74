"""Many rows at once: what SQLAlchemy does for each row is done once."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert


class BulkInsert:
    """An INSERT of some columns of a table, for rows that are tuples of their values."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        """Prepare it; all columns without a default have to be among `columns`."""
        self._table = table
        self._columns = tuple(columns)

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert `rows`; nothing if there are none."""
        if not rows:
            return
        sql, order = _prepared(self._table, self._columns, connection.dialect)
        by_column = list(zip(*rows, strict=True))
        driven = [
            by_column[place] if process is None else [process(value) for value in by_column[place]]
            for place, process in order
        ]
        connection.exec_driver_sql(sql, list(zip(*driven, strict=True)))


@lru_cache(maxsize=64)
def _prepared(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, tuple[tuple[int, Callable[[Any], Any] | None], ...]]:
    """The SQL, and for each of its places which column goes there and what makes values fit the driver."""
    statement = insert(table).compile(dialect=dialect, column_keys=columns)
    order = tuple(
        (columns.index(name), table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
        for name in statement.positiontup or ()
    )
    assert len(order) == len(columns)  # noqa: S101  # no column goes anywhere twice
    return str(statement), order
