"""A connection that reads the lake and nothing else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import duckdb
import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.engine import literal
from lapwing_collector.engine.lens import Lens, is_large
from lapwing_collector.errors import DataDirectoryError, QueryError
from lapwing_collector.query.arguments import check_parameters
from lapwing_collector.query.calls import Call, calls_in
from lapwing_collector.query.explaining import explain
from lapwing_collector.query.guard import check_select, functions_in
from lapwing_collector.query.library import load
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.mistakes import query_error
from lapwing_collector.query.replica import attach_snapshot
from lapwing_collector.query.subjects import prepare, views_of

_ROWS_AT_ONCE: Final = 8192
_CATALOG: Final = f"__ducklake_metadata_{engine.LAKE}"
"""What DuckLake attaches its own catalog as."""

_GROWN_EVERY: Final = 100
"""Queries after which somebody looks whether there are too many tables by now to know them all."""

_REMEMBERED: Final = 256
_SHORT: Final = 16 * 1024
"""How many checked queries are remembered, and up to which length."""

Taken = TypeVar("Taken")


class Session:
    """A read-only connection to the lake in one folder. Not for use by several threads at once."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: str,
        *,
        fixed: bool = False,
        lens: Lens | None = None,
        reopen: Callable[[], tuple[duckdb.DuckDBPyConnection, Lens | None]] | None = None,
    ) -> None:
        """Use `open` or `over` instead."""
        self._fixed = fixed
        self._lens = lens
        self._reopen = reopen
        self._asked = 0
        self._in_transaction = False
        self._prepared: Sequence[Call] | None = None
        self._connection = connection
        self._files = files
        # Rules bring the same SQL for every slot; only its parameters differ.
        self._check_once = lru_cache(_REMEMBERED)(self._check)
        self._loaded: set[str] = set()

    @classmethod
    def open(cls, lake: Path, limits: Limits | None = None, snapshot: int | None = None) -> Self:
        """Open the lake in folder `lake` for reading; its owner may write meanwhile.

        Args:
            lake: Where.
            limits: What queries may use.
            snapshot: The one to read; the newest, query by query, if None.

        Raises:
            DataDirectoryError: There is no lake.
        """
        lake = lake.resolve()
        limits = limits or Limits()
        if not (lake / "catalog.sqlite").exists():
            raise DataDirectoryError(f"{lake.parent}: there is no lake here yet; `lapwing up` makes one")
        opened = partial(_opened, lake, limits, snapshot)
        connection, lens = opened()
        fixed = snapshot is not None
        return cls(connection, _files(lake), fixed=fixed, lens=lens, reopen=None if fixed else opened)

    @classmethod
    def over(cls, connection: duckdb.DuckDBPyConnection) -> Self:
        """Read tables that are in no lake and do not change, in a catalog that is called as the lake is."""
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET errors_as_json = true")
        return cls(connection, "", fixed=True)

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Answer one SELECT, as `stream`, with all rows as an Arrow table."""
        return self.stream(sql, parameters or {}, lambda rows: rows.read_all())

    def stream(
        self, sql: str, parameters: Mapping[str, Any], take: Callable[[pa.RecordBatchReader], Taken]
    ) -> Taken:
        """Answer one SELECT while its rows are computed.

        Args:
            sql: One SELECT; parameters are written `$name`.
            parameters: Their values; times as naive UTC datetimes, which DuckDB can prune files by.
            take: Takes as many rows as it likes; it may be called a second time, from the first row on.

        Returns:
            What `take` returned.

        Raises:
            QueryError: The SQL is refused or fails.
            NotSeenYetError: It names a table or field that no record has brought yet.
            DamagedFileError: A file of the lake that it needs cannot be read.
        """
        self._show(sql, parameters)
        calls = self._check_once(sql) if len(sql) <= _SHORT else self._check(sql)
        check_parameters([name for call in calls for name in call.moments], parameters)
        try:
            return self._take(sql, parameters, take, calls)
        except (duckdb.IOException, OSError):
            # A file may vanish under a reader when small files were merged; the newer snapshot has its rows.
            try:
                return self._take(sql, parameters, take, calls)
            except (duckdb.IOException, OSError) as error:
                raise self._mistake(error, sql) from error

    def explain(self, sql: str) -> pa.Table:
        """What stands behind the metrics that a SELECT calls, with the columns `part`, `name` and `sql`.

        Raises:
            QueryError: It is refused, or a metric that it calls cannot be called so.
        """
        self._show(sql, {})
        calls = self._check(sql)
        parts = explain((call.metric for call in calls), views_of(self._connection, calls))
        return pa.table(
            {
                "part": pa.array([part.kind for part in parts], pa.string()),
                "name": pa.array([part.name for part in parts], pa.string()),
                "sql": pa.array([part.sql for part in parts], pa.string()),
            }
        )

    def close(self) -> None:
        """Let go of the lake."""
        self._connection.close()

    def _show(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """See to it that the tables are there that a query names, where not all can be."""
        if self._reopen is None:
            return
        self._asked += 1
        if self._lens is None:
            again = self._asked % _GROWN_EVERY == 0 and is_large(self._connection, _CATALOG)
        else:
            again = self._lens.worn
        if again:
            self._connection.close()
            self._connection, self._lens = self._reopen()
            self._loaded.clear()
        if self._lens is not None:
            self._lens.show(sql, parameters)

    def _check(self, sql: str) -> Sequence[Call]:
        """Let `sql` pass if it may run; the metrics that it calls."""
        check_select(self._connection, sql)
        return calls_in(self._connection, sql)

    def _take(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        take: Callable[[pa.RecordBatchReader], Taken],
        calls: Sequence[Call],
    ) -> Taken:
        try:
            with self._measuring(calls):
                result = self._connection.execute(sql, dict(parameters))
                with result.to_arrow_reader(_ROWS_AT_ONCE) as rows:
                    return take(rows)
        except (duckdb.IOException, OSError):
            raise
        except (duckdb.Error, pa.ArrowException, MemoryError) as error:
            raise self._mistake(error, sql) from error

    @contextmanager
    def _measuring(self, calls: Sequence[Call]) -> Iterator[None]:
        """Have what metrics read; the views and the query see one state of the lake."""
        if not calls:
            with self._unhurried():
                yield
            return
        self._end_transaction()
        load(self._connection, (f"{call.metric.name}(" for call in calls), self._loaded)
        if self._fixed:  # what the views are made of does not change
            if self._prepared != calls:
                self._prepared = None
                prepare(self._connection, calls)
                self._prepared = calls
            yield
            return
        self._connection.begin()
        try:
            prepare(self._connection, calls)
            yield
        finally:
            self._connection.rollback()  # nothing is to be kept

    @contextmanager
    def _unhurried(self) -> Iterator[None]:
        """Leave a transaction open where nothing changes anyway: for each one the catalog is opened anew."""
        if self._fixed and not self._in_transaction:
            self._connection.begin()
            self._in_transaction = True
        try:
            yield
        except BaseException:
            self._end_transaction()  # which an error spoils
            raise

    def _end_transaction(self) -> None:
        if self._in_transaction:
            self._in_transaction = False
            self._connection.rollback()

    def _mistake(self, error: Exception, sql: str) -> QueryError:
        raises = (
            bool(self._files) and self._files in str(error) and "error" in functions_in(self._connection, sql)
        )
        return query_error(error, sql, self._files, raises=raises)


def _files(lake: Path) -> str:
    return f"{engine.data_folder(lake)}/"


def _opened(
    lake: Path, limits: Limits, snapshot: int | None
) -> tuple[duckdb.DuckDBPyConnection, Lens | None]:
    """A connection that reads a lake and cannot do anything else; with a lens where it has many tables.

    Raises:
        DataDirectoryError: It cannot be read.
    """
    connection = engine.connect(threads=limits.threads, memory_limit=f"{limits.memory_bytes >> 20}MiB")
    lens = None
    try:
        if snapshot is not None:
            attach_snapshot(connection, lake, snapshot, limits.memory_bytes // 4)
        else:
            engine.attach(connection, lake, read_only=True, use=False)
            if is_large(connection, _CATALOG):
                connection.execute(f"DETACH {engine.LAKE}")
                lens = Lens(connection, lake)
            else:
                connection.execute(f"USE {engine.LAKE}")
    except duckdb.Error as error:
        connection.close()
        raise DataDirectoryError(f"{lake}: the lake cannot be read: {error}") from error
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET errors_as_json = true")
    # The system keeps files in memory already; what a process keeps stays damaged once they are mended.
    connection.execute("SET enable_external_file_cache = false")
    connection.execute(f"SET allowed_directories = [{literal(_files(lake))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection, lens
