"""The connection to the state database: how SQLite is opened, and its two kinds of transaction."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.state.documents import as_json, of_json
from lapwing_collector.state.schema import migrate

_LOCK_WAIT_S: Final = 30.0
"""How long a transaction waits for another process's; the longest one of ours takes milliseconds."""


class Database:
    """One state database. Threads and processes may share it; writers take turns."""

    def __init__(self, path: Path) -> None:
        """Open the SQLite file at `path`, make or migrate its tables.

        Raises:
            DataDirectoryError: The file cannot be used; the message says why.
        """
        self._engine = _sqlite_engine(path)
        # Inside a process a lock is fairer than SQLite's, which polls with growing sleeps.
        self._writing = threading.Lock()
        self._writer: Connection | None = None
        try:
            with self.write() as connection:
                migrate(connection, str(path))
        except DatabaseError as error:
            self.close()
            raise DataDirectoryError(
                f"{path}: cannot be used as the alert state: {error.orig}. "
                "Check that it is a file that Lapwing made and that this user may write to it and its folder."
            ) from error
        except DataDirectoryError:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on disk at the end of the block, or leaves nothing on an exception."""
        with self._writing:
            # One connection stays with the writers: to take one takes longer than most of what they write.
            if self._writer is None or self._writer.closed:
                self._writer = self._engine.connect().execution_options(lapwing_write=True)
            with self._writer.begin():
                yield self._writer

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._writing:
            if self._writer is not None:
                self._writer.close()
        self._engine.dispose()


def _sqlite_engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        # isolation_level None: transactions begin where `_begin` says, not where the driver guesses.
        connect_args={"timeout": _LOCK_WAIT_S, "isolation_level": None},
        max_overflow=-1,
        json_serializer=as_json,
        json_deserializer=of_json,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A transaction that reads before it writes fails at once where another writer came between, however
    # long the lock wait is; IMMEDIATE takes the write lock first.
    writes = connection.get_execution_options().get("lapwing_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
