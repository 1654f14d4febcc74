"""Replaces files of a table by one with the same rows, or fewer, while the collector goes on writing.

Reading and writing rows takes long and happens beside everything else, through a connection of its own. Only
the exchange is a transaction: a moment in which the old files leave the table and the new one joins it.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lapwing_collector import engine
from lapwing_collector.crashpoints import reach
from lapwing_collector.engine import literal
from lapwing_collector.engine.lens import Lens
from lapwing_collector.lake.catalog import Catalog, ConflictingCommitError
from lapwing_collector.lake.files import StoredFile, TableName, delete_files
from lapwing_collector.lake.parquet import ROW_GROUP_ROWS
from lapwing_collector.lake.shapes import Path as FieldPath
from lapwing_collector.lake.snapshots import DataFile, add_files, end_files
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Table, Tables
from lapwing_collector.model.records import UNTYPED

_MEMORY_LIMIT: Final = "256MB"

MOST_ROWS: Final = 500_000
"""What one file may hold, and so what merging reads at a time."""

MOST_BYTES: Final = 128 << 20

FEW_ROWS: Final = 20_000
"""So many rows may be read while nothing is flushed."""

ROUNDS: Final = 5
"""How often new files are read first, where more rows come all the time."""

Pause = Callable[[float], None]
"""Told how many seconds some work took; comes back when more may be done."""


def no_pause(_worked_s: float) -> None:
    """For work that somebody waits for."""


class ConflictError(Exception):
    """The table changed while its rows were read; trying again helps."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What an exchange did.

    Attributes:
        files: Files that left the table.
        rows_removed: Rows that are gone.
    """

    files: int
    rows_removed: int


Reading = Callable[["Rewriter", str], Iterator[pa.Table]]
"""Reads, through a rewriter, something about the rows of a table for which an SQL condition is true."""


class Rewriter:
    """Reads rows through a connection of its own, and exchanges files through the catalog's."""

    def __init__(self, catalog: Catalog) -> None:
        """Open the second connection when it is first needed."""
        self._catalog = catalog
        self._reader: duckdb.DuckDBPyConnection | None = None
        self._lens: Lens | None = None

    def rewrite(
        self,
        table: TableName,
        files: Sequence[StoredFile],
        *,
        keep: str = "true",
        parameters: Mapping[str, Any] | None = None,
        pause: Pause = no_pause,
        carry_progress: bool = False,
        read: Reading | None = None,
    ) -> Rewritten:
        """Put the rows of `files` that `keep` is true for into one new file, and let it take their place.

        Args:
            table: Whose files.
            files: Of its newest snapshot.
            keep: An SQL condition over the table's columns.
            parameters: Of the condition.
            pause: Called after each part.
            carry_progress: Whether this commit, too, says how far the lake covers the log, so that every
                snapshot before it can be expired.
            read: Reads what is written instead of these rows, told by a condition which they are.

        Raises:
            ConflictError: Somebody changed the table meanwhile; nothing happened.
            OSError: The disk is full, or refuses.
            duckdb.Error: A file cannot be read, or the catalog refuses.
        """
        deletions = self._deletions(files)
        counted = self.read(f"SELECT count(*) AS n FROM {table.sql} WHERE {_among(files)}")
        before = int(counted.column("n")[0].as_py())
        if before != sum(file.rows for file in files) - sum(int(rows) for _, _, rows in deletions):
            raise ConflictError(f"{table.sql}: a query sees {before} rows of its files, the catalog others")
        rows = self.rows_of(table, files, keep, parameters) if read is None else read(self, _among(files))
        parts = _paced(rows, pause)
        described = Tables(self._catalog)[table]
        new = self.write(described, described.columns, parts)
        after = new.written.footer.num_rows if new is not None else 0
        reach("maintenance.before_exchange")
        self._exchange(table, files, deletions, new, carry_progress=carry_progress)
        reach("maintenance.after_exchange")
        return Rewritten(len(files), before - after)

    def drop(
        self, table: TableName, files: Sequence[StoredFile], *, carry_progress: bool = False
    ) -> Rewritten:
        """Take `files` out of the table with all their rows.

        Raises:
            ConflictError: Somebody changed the table meanwhile; nothing happened.
            duckdb.Error: The catalog refuses.
        """
        deletions = self._deletions(files)
        self._exchange(table, files, deletions, None, carry_progress=carry_progress)
        return Rewritten(len(files), sum(file.rows for file in files))

    def replace(self, table: TableName, file: StoredFile, parts: Iterator[tuple[int, pa.Table]]) -> int:
        """Let a new file with the rows of `parts`, columns as the old one has them, take the place of one.

        Args:
            table: Whose.
            file: Of its newest snapshot.
            parts: Rows of the file, each with the position that the first of them has in it. Those that are
                deleted stay so.

        Returns:
            Rows that are lost.

        Raises:
            ConflictError: Somebody changed the table meanwhile; nothing happened.
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
        """
        deletions = self._deletions([file])
        deleted = pa.chunked_array(
            [
                part
                for each in delete_files(self._catalog, file)
                for part in pq.read_table(self._catalog.store.opened(each), columns=["pos"])["pos"].chunks
            ],
            pa.int64(),
        )
        left = (_without(rows, start, deleted) for start, rows in parts)
        kept = (rows for rows in left if rows.num_rows)
        first = next(kept, None)
        new = None
        if first is not None:
            described = Tables(self._catalog)[table]
            path = described.folder / f"{uuid.uuid4()}.parquet"
            new = DataFile(described, path, self._catalog.store.write(path, chain([first], kept)))
        self._exchange(table, [file], deletions, new, carry_progress=False)
        return file.rows - len(deleted) - (0 if new is None else int(new.written.footer.num_rows))

    def read(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Answer a query about the newest snapshot, without keeping anyone from writing.

        Raises:
            duckdb.Error: It fails.
        """
        return self._connection(sql).execute(sql, dict(parameters or {})).to_arrow_table()

    def batches(self, sql: str, pause: Pause = no_pause) -> Iterator[pa.Table]:
        """Answer a query as `read` does, part by part, with a pause after each.

        Nothing else may be asked before the last part was taken.
        """
        reader = self._connection(sql).execute(sql).to_arrow_reader(ROW_GROUP_ROWS)
        yield from _paced((pa.Table.from_batches([batch]) for batch in reader), pause)

    def deleted_rows(self, files: Sequence[StoredFile]) -> int:
        """How many rows of some files are deleted."""
        return sum(int(rows) for _, _, rows in self._deletions(files))

    def interrupt(self) -> None:
        """Have the query fail that another thread waits for, if any."""
        if (reader := self._reader) is not None:
            with suppress(duckdb.Error):  # that thread has just closed it
                reader.interrupt()

    def close(self) -> None:
        """Let go of the second connection; it opens again when it is needed."""
        if self._reader is not None:
            self._reader.close()
            self._reader = self._lens = None

    def _connection(self, sql: str) -> duckdb.DuckDBPyConnection:
        """The second connection, which sees the tables that a query names."""
        if self._lens is not None and self._lens.worn:
            self.close()
        if self._reader is None or self._lens is None:
            reader = engine.connect(self._catalog.place, threads=1, memory_limit=_MEMORY_LIMIT)
            # Each file is read once: what is kept of it would take up the whole limit by and by.
            reader.execute("SET enable_external_file_cache = false")
            self._reader, self._lens = reader, Lens(reader, self._catalog.place)
        self._lens.show(sql)
        return self._reader

    def rows_of(
        self,
        table: TableName,
        files: Sequence[StoredFile],
        keep: str = "true",
        parameters: Mapping[str, Any] | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of some files that `keep` is true for, in parts.

        Raises:
            duckdb.Error: A file cannot be read.
        """
        connection = self._connection(table.sql)
        untyped = {
            name
            for name, kind, *_ in connection.execute(f"DESCRIBE {table.sql}").fetchall()
            if kind == "JSON"
        }
        where = f"{_among(files)} AND ({keep})"
        reader = connection.execute(f"SELECT * FROM {table.sql} WHERE {where}", dict(parameters or {}))
        batches = reader.to_arrow_reader(ROW_GROUP_ROWS)
        schema = pa.schema(
            [pa.field(each.name, UNTYPED) if each.name in untyped else each for each in batches.schema]
        )
        return (pa.Table.from_batches([batch]).cast(schema) for batch in batches if batch.num_rows)

    def write(
        self, table: Table, columns: Mapping[FieldPath, int], parts: Iterator[pa.Table]
    ) -> DataFile | None:
        """Write rows into a new file of `table` whose columns have these numbers; None where there are none.

        Raises:
            ConflictError: A column of the rows has no number.
            OSError: The disk is full, or refuses.
        """
        first = next(parts, None)
        if first is None:
            return None
        file = table.folder / f"{uuid.uuid4()}.parquet"
        try:
            written = self._catalog.store.write(file, chain([first], parts), columns)
        except KeyError as error:  # a column went since the rows began to be read
            raise ConflictError(f"{table.sql_name}: {error} is no column any more") from error
        return DataFile(table, file, written)

    def _exchange(
        self,
        table: TableName,
        files: Sequence[StoredFile],
        deletions: Sequence[tuple[Any, ...]],
        new: DataFile | None,
        *,
        carry_progress: bool,
    ) -> None:
        try:
            self._exchange_once(table, files, deletions, new, carry_progress=carry_progress)
        except ConflictingCommitError as error:
            raise ConflictError(f"{table.sql}: somebody else committed meanwhile: {error}") from error

    def _exchange_once(
        self,
        table: TableName,
        files: Sequence[StoredFile],
        deletions: Sequence[tuple[Any, ...]],
        new: DataFile | None,
        *,
        carry_progress: bool,
    ) -> None:
        with self._catalog.transaction([] if new is None else [new.path]):
            progress = self._catalog.native(statement("commit_progress")) if carry_progress else []
            if self._deletions(files) != deletions:
                raise ConflictError(f"{table.sql}: rows were deleted while they were read")
            add_files(self._catalog, [] if new is None else [new], progress[0][0] if progress else None)
            described = Tables(self._catalog)[table] if new is None else new.table
            if end_files(self._catalog, described, [file.number for file in files]) != len(files):
                raise ConflictError(f"{table.sql}: files left it while they were read")
            reach("maintenance.in_exchange")

    def _deletions(self, files: Sequence[StoredFile]) -> list[tuple[Any, ...]]:
        numbers = ", ".join(str(file.number) for file in files)
        return self._catalog.native(statement("deletions", files=numbers))


def _among(files: Sequence[StoredFile]) -> str:
    """The condition that a row is in one of some files."""
    return f"filename IN ({', '.join(literal(str(each.path)) for each in files)})"


def _without(rows: pa.Table, start: int, deleted: pa.ChunkedArray) -> pa.Table:
    """The rows, of which the first is at `start`, but for those at deleted positions."""
    if not len(deleted):
        return rows
    positions = pa.array(range(start, start + rows.num_rows), pa.int64())
    return rows.filter(pc.invert(pc.is_in(positions, value_set=deleted)))


def _paced(parts: Iterator[pa.Table], pause: Pause) -> Iterator[pa.Table]:
    """The parts that have rows, with a pause after each for the time that it took to make and to use."""
    started = time.monotonic()
    for part in parts:
        if part.num_rows:
            yield part
            pause(time.monotonic() - started)
            started = time.monotonic()
