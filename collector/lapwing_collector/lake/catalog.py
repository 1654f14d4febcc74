"""The lake's catalog, open for writing: one connection, and one lock around everything that uses it."""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.engine import METADATA, identifier, literal
from lapwing_collector.engine.lens import Lens
from lapwing_collector.engine.place import CatalogFile, Location, Place, as_sql, inlined, place_of
from lapwing_collector.errors import DataDirectoryError, LakeHeldError
from lapwing_collector.lake.statements import sharing, statement
from lapwing_collector.lake.store import store_of

_THREADS: Final = 1
"""What is asked of a catalog is small: a second one takes more time to wake than it saves."""
_MEMORY_LIMIT: Final = "256MB"
"""Commits need next to none."""

_SHOWN: Final = "shown"
"""What the lake's own tables (schema `main`) are attached as, without those of models."""

_SAID: Final = re.compile(r"((?:ERROR|FATAL|PANIC):\s[^\n]*)")
_CONFLICT: Final = re.compile(r"duplicate key|could not serialize|deadlock detected")
_ROWS: Final = re.compile(r"\brows\b(?!\.)")
_SQL_TYPES: Final = {pa.int64(): "BIGINT", pa.string(): "TEXT", pa.bool_(): "BOOLEAN"}


class CatalogServerError(duckdb.OperationalError):
    """The server of a catalog refuses, or is away; trying again may help."""


class ConflictingCommitError(CatalogServerError):
    """Somebody else committed in between; trying again helps."""


class Catalog:
    """The catalog of one lake, for those of one process who write to it.

    A SQLite catalog refuses two writers at once, whatever the busy timeout. So whoever commits, flushes and
    maintenance alike, goes through this object, whose lock is held for the length of a transaction. In
    PostgreSQL the transactions of other processes wait for their turn as well. Every method may be called
    from any thread.

    Attributes:
        place: Where the lake is.
        store: Keeps its files.

    SQL sees the lake's own tables by their names, and the tables of the catalog in
    `__ducklake_metadata_lake`. Tables of models are not there, since DuckLake would have all in memory, anew
    for each change of any: `look` reads some of one.
    """

    def __init__(self, place: Place, connection: duckdb.DuckDBPyConnection) -> None:
        """Use `open` instead."""
        self.place = place
        self.store = store_of(place.files)
        self._connection = connection
        self._lock = threading.RLock()
        self._doubtful: set[Location] = set()
        self._begun = False
        self._gathered: list[str] | None = None
        self._held: str | None = None

    @classmethod
    def open(cls, where: Place | Path, made_of: Sequence[str] = ()) -> Self:
        """Open the catalog of a lake, making it where there is none.

        Args:
            where: Where it is; a folder stands for a lake that is all in it.
            made_of: SQL that makes the tables of a new one.

        Raises:
            DataDirectoryError: There is something else, or it cannot be written.
        """
        place = place_of(where)
        try:
            store_of(place.files).prepare()
            with opening_alone(place):
                if made_of and not exists(place):
                    _define(place, made_of)
                connection = _connect(place)
        except (OSError, duckdb.Error) as error:
            raise DataDirectoryError(
                f"{place}: the lake cannot be opened: {error}; `lapwing doctor` says more"
            ) from error
        return cls(place, connection)

    @classmethod
    def read(cls, where: Place | Path) -> Self:
        """Open a catalog that somebody else may own, for reading only.

        Raises:
            DataDirectoryError: There is none, or it cannot be read.
        """
        place = place_of(where)
        try:
            connection = engine.connect(place, threads=1)
            engine.attach(connection, place, read_only=True, use=False)
        except duckdb.Error as error:
            raise DataDirectoryError(f"{place}: the lake cannot be read: {error}") from error
        return cls(place, connection)

    def redefine(self, statements: Sequence[str]) -> None:
        """Have DuckLake itself change tables, in one transaction: it reads all there are for it.

        Raises:
            duckdb.Error: It refuses.
            LakeHeldError: Nothing may be written.
        """
        with self._lock:
            self.expect_free()
            with opening_alone(self.place):
                _define(self.place, statements)
                before, self._connection = self._connection, _connect(self.place)
                before.close()
            self._show_commit()

    def look(self, table: str, sql: str) -> list[tuple[Any, ...]]:
        """Ask something about the table of a model with this name."""
        with engine.connect(self.place, threads=1, memory_limit=_MEMORY_LIMIT) as connection:
            Lens(connection, self.place).show_tables([table])
            return connection.execute(sql).fetchall()

    @property
    def held(self) -> str | None:
        """Why nothing may be written; None where it may be."""
        return self._held

    def hold(self, why: str) -> None:
        """Let nothing be written from now on; what is under way ends before this returns.

        Args:
            why: What those are told who try.
        """
        with self._lock:
            self._held = why

    def let_go(self) -> None:
        """Let it be written again."""
        with self._lock:
            self._held = None

    def expect_free(self) -> None:
        """See that it may be written.

        Raises:
            LakeHeldError: It may not.
        """
        if self._held is not None:
            raise LakeHeldError(self._held)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """As `exclusive`, and no other collector commits either; a transaction inside ends it."""
        with self._lock:
            if self.place.shared:
                self._begin()
                self._begun = True
            try:
                yield
            finally:
                if self._begun:
                    self._begun = False
                    with suppress(duckdb.Error):
                        self._connection.execute("ROLLBACK")

    def stay(self) -> None:
        """Keep a turn in which other things are done than asking the catalog: a server ends idle ones."""
        if self.place.shared:
            self.native("SELECT 1 AS stays")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other thread from the catalog; the thread that is inside may use and enter it again."""
        with self._lock:
            yield

    @contextmanager
    def transaction(self, files: Sequence[Location] = ()) -> Iterator[None]:
        """Commit what happens inside, or roll it back if anything raises; exclusive meanwhile.

        Args:
            files: Those that the transaction makes known. They are deleted if it fails, but not at once if
                it fails in committing: SQLite may have it in its log all the same, and recover it after a
                crash. Then they go after the next commit, which settles what the catalog knows.
        """
        with self._lock:
            committing = False
            try:
                if not self._begun:
                    self._begin()
                self._begun = False
                yield
                committing = True
                with self._told():
                    try:
                        self._connection.execute("COMMIT")
                    finally:
                        self._show_commit()
            except BaseException:
                with suppress(duckdb.Error):  # a failed COMMIT has ended it already, here or in SQLite
                    self._connection.execute("ROLLBACK")
                if committing:
                    self._doubtful.update(files)
                else:
                    self.remove(files)
                raise
            self._delete_doubtful()

    def _show_commit(self) -> None:
        """Let the file's time tell of it, now that it can be read: SQLite writes and syncs its log before."""
        if isinstance(self.place.catalog, CatalogFile):
            with suppress(OSError):
                os.utime(self.place.catalog.path)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Roll back what happens inside; exclusive meanwhile."""
        with self._lock:
            self._begin()
            try:
                yield
            finally:
                with suppress(duckdb.Error):
                    self._connection.execute("ROLLBACK")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run SQL, several statements included, and fetch what the last gives.

        Raises:
            duckdb.Error: The catalog refuses.
        """
        with self._lock, self._told():
            return self._connection.execute(sql, parameters or None).fetchall()

    def table(self, sql: str) -> pa.Table:
        """As `rows`, with all rows as an Arrow table.

        Raises:
            duckdb.Error: The catalog refuses.
        """
        with self._lock, self._told():
            return self._connection.execute(sql).to_arrow_table()

    def native(self, sql: str) -> list[tuple[Any, ...]]:
        """Have the catalog's own database run a SELECT over its tables: DuckDB would read them whole.

        Numbers may come as text.
        """
        return self.rows(f"SELECT * FROM {self.place.catalog.asked(METADATA, sql)}")

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run statements that change the catalog's own tables.

        Raises:
            duckdb.Error: The catalog refuses.
        """
        with self._lock, self._told():
            if self._gathered is not None:
                self._gathered.append(inlined(sql, parameters))
                return
            self._connection.execute(self.place.catalog.changed(METADATA, inlined(sql, parameters)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Have changes that are made inside reach a server in one go, at the end; a file at once."""
        if not self.place.shared or self._gathered is not None:
            yield
            return
        self._gathered = []
        try:
            yield
            gathered, self._gathered = self._gathered, None
            self.change("\n".join(gathered))
        finally:
            self._gathered = None

    def insert(self, sql: str, rows: pa.Table) -> None:
        """Run a statement that changes the catalog's own tables, in which `rows` stands for some rows."""
        if isinstance(self.place.catalog, CatalogFile):
            with self._lock:
                self._connection.register("rows", rows)
                try:
                    self._connection.execute(sql)
                finally:
                    self._connection.unregister("rows")
        else:
            self.change(_ROWS.sub(lambda _: _values(rows), sql))

    def schema(self, table: str) -> pa.Schema:
        """The columns of one of the lake's own tables or views."""
        with self._lock:
            return self._connection.execute(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema

    def table_folder(self, schema: str, name: str) -> Location | None:
        """Where the files of a table are; None if there is no such table."""
        found = self.native(statement("table_folder", schema=literal(schema), table=literal(name)))
        return self.store.root / found[0][0] / found[0][1] if found else None

    def located(self, folder: str | None, path: str) -> Location:
        """Where a file is that the catalog says to be in a folder; None where it says the whole place."""
        return self.place.files.located(path) if folder is None else self.store.root / folder / path

    def remove(self, files: Iterable[Location]) -> None:
        """Delete files that nobody refers to, as far as that can be done now."""
        for file in files:
            with suppress(OSError):
                self.store.remove(file)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what a server says in its own words, without the statement, which may hold values of rows.

        Raises:
            ConflictingCommitError: Somebody commits without waiting for a turn, as DuckLake itself does.
            CatalogServerError: It refuses, or is away.
        """
        try:
            yield
        except duckdb.Error as error:
            if not self.place.shared:
                raise
            said = _SAID.search(str(error))
            text = said[1] if said else str(error).partition("\n")[0].partition('"')[0]
            kind = ConflictingCommitError if _CONFLICT.search(text) else CatalogServerError
            raise kind(text.strip()) from None

    def _begin(self) -> None:
        """Begin a transaction; of a catalog that others write to, when it is this one's turn.

        A transaction sees what was committed before its first query: that the turn is waited for is none.

        Raises:
            LakeHeldError: Nothing may be written.
        """
        self.expect_free()
        self._connection.execute("BEGIN")
        if self.place.shared:
            try:
                self.change(sharing("take_turn"))
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def _delete_doubtful(self) -> None:
        """Delete files of commits that failed, unless they took place; never fails what was committed."""
        if not self._doubtful:
            return
        names = ", ".join(literal(file.name) for file in self._doubtful)
        with suppress(duckdb.Error, OSError):  # the next commit tries again; opening clears what is left
            known = {
                path.rpartition("/")[2] for (path,) in self.native(statement("known_files", names=names))
            }
            for file in [each for each in self._doubtful if each.name not in known]:
                self.store.remove(file)
            self._doubtful.clear()

    def close(self) -> None:
        """Let go of the catalog; closing twice is harmless."""
        with self._lock:
            self._connection.close()


@contextmanager
def opening_alone(place: Place) -> Iterator[None]:
    """Let no other collector make the same tables meanwhile."""
    if not place.shared:
        yield
        return
    with engine.connect(place, threads=1) as connection:
        engine.attach_catalog(connection, place, "catalog", read_only=False)
        connection.execute("BEGIN")
        connection.execute(place.catalog.changed("catalog", sharing("open_alone")))
        yield
        with suppress(duckdb.Error):  # a server ends idle transactions; what was done alone is done
            connection.execute("ROLLBACK")


def exists(place: Place) -> bool:
    """Whether there is a lake."""
    if isinstance(place.catalog, CatalogFile):
        return place.catalog.path.exists()
    return bool(engine.ask_catalog(place, sharing("is_there"))[0][0])


def _values(rows: pa.Table) -> str:
    """Rows as SQL of the catalog's own writes them."""
    kinds = [_SQL_TYPES[each.type] for each in rows.schema]
    written = ", ".join(
        "(" + ", ".join(f"{as_sql(value)}::{kind}" for value, kind in zip(row, kinds, strict=True)) + ")"
        for row in zip(*(column.to_pylist() for column in rows.columns), strict=True)
    )
    return f"(VALUES {written}) AS rows ({', '.join(map(identifier, rows.column_names))})"


def _define(place: Place, statements: Sequence[str]) -> None:
    with engine.connect(place, threads=_THREADS) as connection:
        engine.attach(connection, place, read_only=False)
        connection.execute(";".join(("BEGIN", *statements, "COMMIT")))


def _connect(place: Place) -> duckdb.DuckDBPyConnection:
    connection = engine.connect(place, threads=_THREADS, memory_limit=_MEMORY_LIMIT)
    engine.attach(connection, place, read_only=False, use=False)
    if place.shared:
        connection.execute(place.catalog.changed(METADATA, sharing("turn")))
    connection.execute("BEGIN")  # in one go: SQLite syncs after each
    if place.shared:
        # Before anything that locks a table: whoever has the turn may want it, and would wait for this.
        connection.execute(place.catalog.changed(METADATA, sharing("begin_turn")))
        connection.execute(place.catalog.changed(METADATA, sharing("tables")))
    connection.execute(place.catalog.changed(METADATA, statement("indexes")))
    connection.execute(place.catalog.changed(METADATA, statement("count_nothing")))
    connection.execute("COMMIT")
    Lens(connection, place, name=_SHOWN, origin=METADATA, follow=False)
    return connection
