"""The driver of PostgreSQL, pg8000, made to wait once for what it waits for three times and more.

It sends a statement in three parts and waits for an answer to each, and does so for each of many rows. Here
all parts of all rows go out together. A transaction holds a lock that others wait for, so it had better be
short, above all where the server is another machine.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Self

from pg8000.core import NULL_BYTE, SYNC_MSG, Context
from pg8000.core import make_params as converted
from pg8000.legacy import Connection, Cursor, DatabaseError, IntegrityError, InterfaceError, ProgrammingError

_TIMESTAMP: Final = 1114
_AT_ONCE: Final = 64
"""Rows that go out together: answers to more might fill what the system keeps of them, while none is read,
and then each side waits for the other. The server sends each by itself where rows come slower than it takes
them, and Linux keeps some 130 for a socket in a folder, however small they are."""


class _Cursor(Cursor):  # type: ignore[misc]  # it ships no types
    """Runs statements whose parameters are numbered, `$1`."""

    def execute(self, operation: str, args: Sequence[Any] = (), stream: Any = None) -> Self:  # noqa: ARG002
        """Run a statement."""
        return self._run(operation, [args])

    def executemany(self, operation: str, param_sets: Iterable[Sequence[Any]]) -> Self:
        """Run a statement with each of many rows of parameters."""
        rows = list(param_sets)
        changed = 0
        for begin in range(0, len(rows), _AT_ONCE):
            self._run(operation, rows[begin : begin + _AT_ONCE])
            changed += self._context.row_count
        self._context.row_count = changed
        return self

    def _run(self, statement: str, rows: list[Sequence[Any]]) -> Self:
        connection = self._c
        if connection is None:
            raise InterfaceError("cursor closed")
        try:
            if rows[0]:
                self._context = connection.execute_rows(statement, rows)
            else:
                self._context = connection.execute_simple(statement)
        except DatabaseError as error:
            said = error.args[0]
            unique = isinstance(said, dict) and said.get("C") == "23505"
            raise (IntegrityError if unique else ProgrammingError)(said) from error
        self._row_iter = iter(self._context.rows or ())
        return self


class _Connection(Connection):  # type: ignore[misc]
    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def execute_rows(self, statement: str, rows: list[Sequence[Any]]) -> Context:
        context = Context(statement)
        if self._sock is None:
            raise InterfaceError("connection is closed")
        self.send_PARSE(NULL_BYTE, statement, ())
        self.send_DESCRIBE_STATEMENT(NULL_BYTE)
        for row in rows:
            self.send_BIND(NULL_BYTE, converted(self.py_types, row))
            self.send_EXECUTE()
        try:
            self._sock.write(SYNC_MSG)
            self._sock.flush()
        except OSError as error:
            raise InterfaceError("network error") from error
        self.handle_messages(context)
        return context

    def commit(self) -> None:
        self.execute_simple("commit")

    def rollback(self) -> None:
        if self._in_transaction:
            self.execute_simple("rollback")

    def close(self) -> None:
        with suppress(InterfaceError):  # it is broken, and closed all the same
            super().close()


def connect(*args: Any, **kwargs: Any) -> _Connection:
    """Connect as pg8000 does; transactions begin where a statement says so."""
    connection = _Connection(*args, **kwargs)
    connection.autocommit = True
    connection.register_in_adapter(_TIMESTAMP, datetime.fromisoformat)
    return connection
