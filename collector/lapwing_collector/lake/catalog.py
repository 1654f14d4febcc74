"""The lake's catalog, open for writing: one connection, and one lock around everything that uses it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.engine import literal
from lapwing_collector.engine.lens import Lens
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.folders import make_folder
from lapwing_collector.lake.statements import statement

_THREADS: Final = 2
_MEMORY_LIMIT: Final = "256MB"
"""Commits need next to none."""

_SHOWN: Final = "shown"
"""What the lake's own tables (schema `main`) are attached as, without those of models."""


class Catalog:
    """The catalog of the lake in one folder, for its single owner.

    A SQLite catalog refuses two writers at once, whatever the busy timeout. So whoever commits, flushes and
    maintenance alike, goes through this object, whose lock is held for the length of a transaction. Every
    method may be called from any thread.

    SQL sees the lake's own tables by their names, and the tables of the catalog in
    `__ducklake_metadata_lake`. Tables of models are not there, since DuckLake would have all in memory, anew
    for each change of any: `look` reads some of one.
    """

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection) -> None:
        """Use `open` instead."""
        self._folder = folder
        self._connection = connection
        self._lock = threading.RLock()
        self._doubtful: set[Path] = set()

    @classmethod
    def open(cls, folder: Path, made_of: Sequence[str] = ()) -> Self:
        """Open the catalog of the lake in `folder`, making it where there is none.

        Args:
            folder: Where.
            made_of: SQL that makes the tables of a new one.

        Raises:
            DataDirectoryError: The folder holds something else, or cannot be written.
        """
        folder = folder.resolve()
        try:
            make_folder(engine.data_folder(folder))
            if made_of and not (folder / "catalog.sqlite").exists():
                _define(folder, made_of)
            connection = _connect(folder)
        except (OSError, duckdb.Error) as error:
            raise DataDirectoryError(
                f"{folder}: the lake cannot be opened: {error}; `lapwing doctor` says more"
            ) from error
        return cls(folder, connection)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Open a catalog that somebody else may own, for reading only.

        Raises:
            DataDirectoryError: There is none, or it cannot be read.
        """
        folder = folder.resolve()
        try:
            connection = engine.connect(threads=1)
            engine.attach(connection, folder, read_only=True, use=False)
        except duckdb.Error as error:
            raise DataDirectoryError(f"{folder}: the lake cannot be read: {error}") from error
        return cls(folder, connection)

    @property
    def folder(self) -> Path:
        """Where the lake is: the catalog and its data folder; absolute."""
        return self._folder

    def redefine(self, statements: Sequence[str]) -> None:
        """Have DuckLake itself change tables, in one transaction: it reads all there are for it.

        Raises:
            duckdb.Error: It refuses.
        """
        with self._lock:
            self._connection.close()
            try:
                _define(self._folder, statements)
            finally:
                self._connection = _connect(self._folder)

    def look(self, table: str, sql: str) -> list[tuple[Any, ...]]:
        """Ask something about the table of a model with this name."""
        with engine.connect(threads=1, memory_limit=_MEMORY_LIMIT) as connection:
            Lens(connection, self._folder).show_tables([table])
            return connection.execute(sql).fetchall()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other thread from the catalog; the thread that is inside may use and enter it again."""
        with self._lock:
            yield

    @contextmanager
    def transaction(self, files: Sequence[Path] = ()) -> Iterator[None]:
        """Commit what happens inside, or roll it back if anything raises; exclusive meanwhile.

        Args:
            files: Those that the transaction makes known. They are deleted if it fails, but not at once if
                it fails in committing: SQLite may have it in its log all the same, and recover it after a
                crash. Then they go after the next commit, which settles what the catalog knows.
        """
        with self._lock:
            committing = False
            try:
                self._connection.execute("BEGIN")
                yield
                committing = True
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):  # a failed COMMIT has ended it already, here or in SQLite
                    self._connection.execute("ROLLBACK")
                if committing:
                    self._doubtful.update(files)
                else:
                    for file in files:
                        file.unlink(missing_ok=True)
                raise
            self._delete_doubtful()

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Roll back what happens inside; exclusive meanwhile."""
        with self._lock:
            self._connection.execute("BEGIN")
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
        with self._lock:
            return self._connection.execute(sql, parameters or None).fetchall()

    def native(self, sql: str) -> list[tuple[Any, ...]]:
        """Have SQLite itself run a SELECT over the catalog's own tables: DuckDB would read them whole.

        Numbers may come as text.
        """
        return self.rows(f"SELECT * FROM sqlite_query('__ducklake_metadata_{engine.LAKE}', {literal(sql)})")

    def insert(self, sql: str, rows: pa.Table) -> None:
        """Run SQL in which the table `rows` stands for these rows."""
        with self._lock:
            self._connection.register("rows", rows)
            try:
                self._connection.execute(sql)
            finally:
                self._connection.unregister("rows")

    def schema(self, table: str) -> pa.Schema:
        """The columns of one of the lake's own tables or views."""
        with self._lock:
            return self._connection.execute(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema

    def table_folder(self, schema: str, name: str) -> Path | None:
        """Where the files of a table are; None if there is no such table."""
        found = self.rows(statement("table_folder", schema=literal(schema), table=literal(name)))
        return engine.data_folder(self._folder) / found[0][0] / found[0][1] if found else None

    def _delete_doubtful(self) -> None:
        """Delete files of commits that failed, unless they took place; never fails what was committed."""
        if not self._doubtful:
            return
        names = ", ".join(literal(file.name) for file in self._doubtful)
        with suppress(duckdb.Error, OSError):  # the next commit tries again; opening clears what is left
            known = {Path(path).name for (path,) in self.rows(statement("known_files", names=names))}
            for file in [each for each in self._doubtful if each.name not in known]:
                file.unlink(missing_ok=True)
            self._doubtful.clear()

    def close(self) -> None:
        """Let go of the catalog; closing twice is harmless."""
        with self._lock:
            self._connection.close()


def _define(folder: Path, statements: Sequence[str]) -> None:
    with engine.connect(threads=_THREADS) as connection:
        engine.attach(connection, folder, read_only=False)
        connection.execute(";".join(("BEGIN", *statements, "COMMIT")))


def _connect(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = engine.connect(threads=_THREADS, memory_limit=_MEMORY_LIMIT)
    engine.attach(connection, folder, read_only=False, use=False)
    connection.execute(f"BEGIN;{statement('indexes')}COMMIT")  # in one go: SQLite syncs after each
    origin = f"__ducklake_metadata_{engine.LAKE}"
    Lens(connection, folder, name=_SHOWN, origin=origin, follow=False)
    return connection
