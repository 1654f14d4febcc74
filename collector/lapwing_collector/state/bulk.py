"""Many rows at once: what SQLAlchemy does for each row is done once."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

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
        sql, processors = _prepared(self._table, self._columns, connection.dialect)
        by_column = list(zip(*rows, strict=True))
        for place, process in processors:
            by_column[place] = tuple([process(value) for value in by_column[place]])
        connection.exec_driver_sql(sql, list(zip(*by_column, strict=True)))


@lru_cache(maxsize=64)
def _prepared(
    table: Table, columns: tuple[str, ...], dialect: Dialect
) -> tuple[str, tuple[tuple[int, Callable[[Any], Any]], ...]]:
    """The SQL, and what makes values of columns fit the driver."""
    statement = insert(table).compile(dialect=dialect, column_keys=columns)
    order: Final = statement.positiontup
    assert order == list(columns), order  # noqa: S101  # the table has its columns in this order
    processors = (
        (place, table.c[name].type.dialect_impl(dialect).bind_processor(dialect))
        for place, name in enumerate(columns)
    )
    return str(statement), tuple((place, process) for place, process in processors if process is not None)
