"""Statements that are prepared: what SQLAlchemy does for each of them, and for each row, is done once."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Any, Final, cast

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Driven:
    """A statement as a driver takes it.

    Attributes:
        sql: Its text.
        places: For each of its values, in order: which of a row's it is, and what makes it fit the driver.
    """

    sql: str
    places: tuple[tuple[int, Callable[[Any], Any] | None], ...]

    def values(self, row: Row) -> Row:
        """The values of one row."""
        return tuple(
            [row[place] if process is None else process(row[place]) for place, process in self.places]
        )


class Prepared:
    """A statement that changes rows, each of which is a tuple of its parameters' values."""

    def __init__(self, statement: UpdateBase, parameters: Sequence[str]) -> None:
        """Prepare it.

        Args:
            statement: An INSERT, UPDATE or DELETE. It has no values but parameters.
            parameters: Their names, in the order of a row's values; of an INSERT without parameters of its
                own, the columns.
        """
        self._statement = statement
        self._parameters: Final = tuple(parameters)
        self._driven: dict[tuple[str, str], _Driven] = {}

    def one(self, connection: Connection, row: Row) -> Any:
        """Run it for one row; gives the first value that it returns, None where it returns none."""
        driven = self._for(connection.dialect)
        values = driven.values(row)
        if connection.dialect.name == "sqlite":
            found = _cursor(connection).execute(driven.sql, values).fetchone()
            return None if found is None else found[0]
        result = connection.exec_driver_sql(driven.sql, values)
        return result.scalars().first() if result.returns_rows else None

    def many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run it for `rows`; nothing if there are none.

        Returns:
            How many rows of the table it changed.
        """
        if not rows:
            return 0
        driven = self._for(connection.dialect)
        if len(rows) == 1 and connection.dialect.name == "sqlite":
            return _cursor(connection).execute(driven.sql, driven.values(rows[0])).rowcount
        by_parameter = list(zip(*rows, strict=True))
        values = [_fitting(by_parameter[place], process) for place, process in driven.places]
        if connection.dialect.name == "sqlite":
            return _cursor(connection).executemany(driven.sql, zip(*values, strict=True)).rowcount
        return connection.exec_driver_sql(driven.sql, list(zip(*values, strict=True))).rowcount

    def _for(self, dialect: Dialect) -> _Driven:
        key = dialect.name, dialect.driver
        if key not in self._driven:
            self._driven[key] = self._prepare(dialect)
        return self._driven[key]

    def _prepare(self, dialect: Dialect) -> _Driven:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._parameters)
        places = tuple(
            (
                self._parameters.index(name),
                compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect),
            )
            for name in compiled.positiontup or ()
        )
        assert {place for place, _ in places} == set(range(len(self._parameters)))  # noqa: S101
        return _Driven(str(compiled), places)


def _cursor(connection: Connection) -> sqlite3.Cursor:
    """The driver's own: a statement of one row takes longer to go through SQLAlchemy than through SQLite."""
    return cast("sqlite3.Cursor", connection.connection.cursor())


def _fitting(values: Row, process: Callable[[Any], Any] | None) -> Iterable[Any]:
    """Make the values of one parameter fit the driver; rows of one evaluation often share them."""
    if process is None:
        return values
    first = values[0]
    return (
        repeat(process(first), len(values)) if all(map(is_, values, repeat(first))) else map(process, values)
    )
