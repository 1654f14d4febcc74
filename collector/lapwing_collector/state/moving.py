"""Takes a state to another database: every row in one transaction, read back and compared before it ends.

Rows keep their numbers, and what is numbered later goes on from there: the lake knows by them which results
of rules it has. What is only known of processes stays behind; they tell it anew.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, literal, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import OwnedElsewhereError, Place, Role
from lapwing_collector.state.schema import (
    NUMBERED,
    leadership,
    marks,
    metadata,
    replicas,
    schema_version,
)

_OF_PROCESSES: Final = (leadership, replicas, marks)
_MOVED: Final = [each for each in metadata.sorted_tables if each not in {schema_version, *_OF_PROCESSES}]
"""What is taken along, what others refer to first."""

_AT_ONCE: Final = 500

MOVER: Final = "lapwing migrate"
"""Who leads a state that nobody has worked with since it was taken there."""

Tell = Callable[[int, int], None]
"""Told how many rows are there, and of how many."""


def move_state(source: Place, target: Place, tell: Tell) -> dict[str, int]:
    """Let a state be at another place as well: all of it, or nothing. The old one stays as it is.

    What was taken there before and nobody has worked with is replaced.

    Args:
        source: Where it is; an older one is brought up to date.
        target: Where it is to be.
        tell: Told how far it is.

    Returns:
        How many rows there are, by table.

    Raises:
        DataDirectoryError: There is none, or one where it is to be; or something else is read back there.
        OwnedElsewhereError: Somebody works with one of the two.
        StateUnavailableError: One of the two is away.
    """
    with ExitStack() as parts:
        old = parts.enter_context(closing(Database(source, make=False)))
        new = parts.enter_context(closing(Database(target)))
        for place, database in ((source, old), (target, new)):
            seat = place.seat(Role.OWNER)
            if not seat.take():
                raise OwnedElsewhereError(
                    f"{place.name}: somebody works with this alert state "
                    f"({database.holder(Role.OWNER) or 'it has just ended'}); stop it first"
                )
            parts.callback(seat.release)
        try:
            with old.read() as reading, new.write() as writing:
                _make_room(writing, target)
                rows = _copy(reading, writing, target, tell)
                _go_on_from_there(reading, writing, source, target)
        except SQLAlchemyError as error:
            raise DataDirectoryError(
                f"{target.name}: the alert state cannot be taken there: {target.explain(error)}"
            ) from error
    return rows


def _make_room(writing: Connection, target: Place) -> None:
    """See that nothing is there that anybody would miss.

    Raises:
        DataDirectoryError: Something is.
    """
    moved_before = writing.execute(select(leadership.c.name)).scalar_one_or_none() == MOVER
    if not moved_before and any(_count(writing, table) for table in _MOVED):
        raise DataDirectoryError(
            f"{target.name}: there is an alert state already; move it away, or name another place"
        )
    for table in reversed(_MOVED):
        writing.execute(delete(table))


def _copy(reading: Connection, writing: Connection, target: Place, tell: Tell) -> dict[str, int]:
    counts = {table.name: _count(reading, table) for table in _MOVED}
    done = 0
    for table in _MOVED:
        for rows in _chunks(reading, table):
            writing.execute(insert(table), [dict(row) for row in rows])
            query = select(table).where(_keys(table).in_([_key(table, row) for row in rows]))
            if _as_told(writing.execute(query).mappings()) != _as_told(rows):
                raise _other_rows(target, table)
            done += len(rows)
            tell(done, sum(counts.values()))
        if _count(writing, table) != counts[table.name]:
            raise _other_rows(target, table)
    return counts


def _go_on_from_there(reading: Connection, writing: Connection, source: Place, target: Place) -> None:
    """Let numbers go on, and terms; and say that nobody has worked with it yet."""
    for table in NUMBERED:
        target.number_after(writing, table.name, source.last_number(reading, table.name))
    term = reading.execute(select(leadership.c.term)).scalar_one_or_none()
    writing.execute(delete(leadership))
    writing.execute(insert(leadership).values(term=term or 0, name=MOVER))


def _chunks(reading: Connection, table: Table) -> Iterator[Sequence[RowMapping]]:
    """All rows of a table, some at a time."""
    query = select(table).order_by(*table.primary_key).limit(_AT_ONCE)
    after = query
    while rows := reading.execute(after).mappings().all():
        yield rows
        last = zip(_key(table, rows[-1]), table.primary_key, strict=True)
        after = query.where(_keys(table) > tuple_(*(literal(value, column.type) for value, column in last)))


def _keys(table: Table) -> Any:
    return tuple_(*table.primary_key)


def _key(table: Table, row: RowMapping) -> tuple[Any, ...]:
    return tuple(row[column] for column in table.primary_key)


def _as_told(rows: Iterable[RowMapping]) -> list[str]:
    """Rows so that they can be compared: no number is none, and PostgreSQL has a symbol for NUL."""
    return sorted(repr(tuple(row.values())).replace(r"\x00", "\N{SYMBOL FOR NULL}") for row in rows)


def _count(connection: Connection, table: Table) -> int:
    count: int = connection.execute(select(func.count()).select_from(table)).scalar_one()
    return count


def _other_rows(target: Place, table: Table) -> DataDirectoryError:
    return DataDirectoryError(f"{target.name}: other rows are read from {table.name} than were written to it")
