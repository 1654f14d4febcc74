"""A connection that reads the lake and nothing else."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import duckdb
import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.engine import METADATA, literal
from lapwing_collector.engine.format import recorded_format, refuse_newer
from lapwing_collector.engine.lens import Lens, is_large
from lapwing_collector.engine.place import CatalogFile, Place, place_of
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.query.arguments import check_parameters
from lapwing_collector.query.calls import Call, calls_in
from lapwing_collector.query.explaining import explain
from lapwing_collector.query.guard import check_select, functions_in
from lapwing_collector.query.held import NAMES, Held
from lapwing_collector.query.library import load
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.mistakes import may_pass, query_error
from lapwing_collector.query.replica import attach_snapshot
from lapwing_collector.query.subjects import make_views, views_of

_ROWS_AT_ONCE: Final = 8192

_GROWN_EVERY: Final = 100
"""Queries after which somebody looks whether there are too many tables by now to know them all."""

_REMEMBERED: Final = 256
_SHORT: Final = 16 * 1024
"""How many checked queries are remembered, and up to which length."""

_LISTING: Final = re.compile(r"\bshow\b|\bdescribe\b|\binformation_schema\b", re.IGNORECASE)
"""What SQL has that asks which tables and columns there are."""

Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True)
class _Opened:
    """Two connections to one lake that is attached once: one reads it as it is, one has tables in memory."""

    connection: duckdb.DuckDBPyConnection
    beside: duckdb.DuckDBPyConnection
    lens: Lens | None


class Session:
    """A read-only connection to one lake. Not for use by several threads at once."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: str,
        *,
        fixed: bool = False,
        lens: Lens | None = None,
        reopen: Callable[[], _Opened] | None = None,
        grown: Callable[[duckdb.DuckDBPyConnection], bool] = lambda _: False,
        hold: Callable[[_Opened], Held] | None = None,
        held: Held | None = None,
    ) -> None:
        """Use `open` or `over` instead."""
        self._grown = grown
        self._hold = hold
        self._held = held
        self._beside: Session | None = None
        self._fixed = fixed
        self._lens = lens
        self._reopen = reopen
        self._asked = 0
        self._in_transaction = False
        self._prepared: Sequence[Call] | None = None
        self._made: dict[str, str] = {}  # views of the transaction that is open
        self._connection = connection
        self._files = files
        # Rules bring the same SQL for every slot; only its parameters differ.
        self._check_once = lru_cache(_REMEMBERED)(self._check)
        self._views_once = lru_cache(_REMEMBERED)(self._views)
        self._loaded: set[str] = set()

    @classmethod
    def open(cls, where: Place | Path, limits: Limits | None = None, snapshot: int | None = None) -> Self:
        """Open a lake for reading; others may write meanwhile.

        Args:
            where: Where it is; a folder stands for a lake that is all in it.
            limits: What queries may use.
            snapshot: The one to read; the newest, query by query, if None.

        Raises:
            DataDirectoryError: There is no lake.
        """
        place = place_of(where)
        limits = limits or Limits()
        if isinstance(place.catalog, CatalogFile) and not place.catalog.path.exists():
            folder = place.catalog.path.parent.parent
            raise DataDirectoryError(
                f"{folder}: there is no lake here yet; `lapwing up` makes one, "
                "or name the data directory of a collector that runs elsewhere"
            )
        open_ = partial(_opened, place, limits, snapshot)
        opened = open_()
        if snapshot is not None:
            return cls(opened.connection, place.prefix, fixed=True, lens=opened.lens)
        session = cls(
            opened.connection,
            place.prefix,
            lens=opened.lens,
            reopen=open_,
            grown=lambda connection: is_large(connection, place, METADATA),
            hold=partial(_held, place, limits.memory_bytes // 4),
        )
        session._use(opened)
        return session

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
        self,
        sql: str,
        parameters: Mapping[str, Any],
        take: Callable[[pa.RecordBatchReader], Taken],
        *,
        holding: bool = False,
    ) -> Taken:
        """Answer one SELECT while its rows are computed.

        Args:
            sql: One SELECT; parameters are written `$name`.
            parameters: Their values; times as naive UTC datetimes, which DuckDB can prune files by.
            take: Takes as many rows as it likes; it may be called a second time, from the first row on.
            holding: Read the lake's own small tables from memory, where they are kept for the next query. A
                commit that takes place at this moment may then be seen in models' rows and not yet in these.

        Returns:
            What `take` returned.

        Raises:
            QueryError: The SQL is refused or fails.
            NotSeenYetError: It names a table or field that no record has brought yet.
            DamagedFileError: A file of the lake that it needs cannot be read.
        """
        with self._worded(sql):
            try:
                return self._answer(sql, parameters, take, holding=holding)
            except (duckdb.Error, OSError) as error:
                if not may_pass(error):
                    raise
            return self._answer(sql, parameters, take, holding=holding)

    def explain(self, sql: str) -> pa.Table:
        """What stands behind the metrics that a SELECT calls, with the columns `part`, `name` and `sql`.

        Raises:
            QueryError: It is refused, or a metric that it calls cannot be called so.
        """
        with self._worded(sql):
            self._show(sql, {})
            calls = self._check(sql)
            parts = explain((call.metric for call in calls), self._views(calls))
        return pa.table(
            {
                "part": pa.array([part.kind for part in parts], pa.string()),
                "name": pa.array([part.name for part in parts], pa.string()),
                "sql": pa.array([part.sql for part in parts], pa.string()),
            }
        )

    @property
    def holds(self) -> bool:
        """Whether it has the lake's own tables in memory, and so is the one who reads on."""
        return self._held is not None and self._held.began

    def rest(self) -> None:
        """Let go of what is left open for the next query, after which nobody asks for a moment."""
        if self._beside is not None:
            self._beside.rest()
        elif not self._fixed:
            self._end_transaction()

    def keep_up(self) -> None:
        """Hold what was committed since the last query, so that the next one need not wait for it."""
        if self._beside is not None:
            self._beside.keep_up()
        elif self._held is not None and self._held.lags:
            with suppress(duckdb.Error, OSError):  # the next query meets it, too
                self._follow()

    def close(self) -> None:
        """Let go of the lake."""
        if self._beside is not None:
            self._beside.close()
        self._connection.close()

    def _answer(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        take: Callable[[pa.RecordBatchReader], Taken],
        *,
        holding: bool,
    ) -> Taken:
        self._show(sql, parameters)
        if holding and self._beside is not None and self._is_for(self._beside, sql):
            return self._beside.stream(sql, parameters, take)
        self._follow()
        calls = self._calls(sql)
        check_parameters([name for call in calls for name in call.moments], parameters)
        with self._measuring(calls):
            result = self._connection.execute(sql, dict(parameters))
            with result.to_arrow_reader(_ROWS_AT_ONCE) as rows:
                return take(rows)

    def _show(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """See to it that the tables are there that a query names, where not all can be."""
        if self._reopen is None:
            return
        self._asked += 1
        if self._lens is None:
            again = self._asked % _GROWN_EVERY == 0 and self._grown(self._connection)
        else:
            again = self._lens.worn
        if again:
            self.close()
            self._use(self._reopen())
        if self._lens is not None:
            self.rest()
            self._lens.show(sql, parameters)

    def _use(self, opened: _Opened) -> None:
        self._connection, self._lens = opened.connection, opened.lens
        self._loaded.clear()
        if self._hold is not None:
            self._beside = Session(opened.beside, self._files, held=self._hold(opened))

    def _follow(self) -> None:
        """Hold what the newest snapshot has."""
        if self._held is None or (self._in_transaction and self._held.is_newest):
            return
        self._end_transaction()
        if self._held.follow():
            self._views_once.cache_clear()

    def _is_for(self, beside: "Session", sql: str) -> bool:
        """Whether that session answers it; to begin to hold tables it has to read all of their files."""
        if _LISTING.search(sql):
            return False
        return beside.holds or bool(NAMES.search(sql) or self._calls(sql))

    def _calls(self, sql: str) -> Sequence[Call]:
        """The metrics that `sql` calls, if it may run."""
        return self._check_once(sql) if len(sql) <= _SHORT else self._check(sql)

    def _check(self, sql: str) -> Sequence[Call]:
        """Let `sql` pass if it may run; the metrics that it calls."""
        check_select(self._connection, sql)
        return calls_in(self._connection, sql)

    @contextmanager
    def _measuring(self, calls: Sequence[Call]) -> Iterator[None]:
        """Have what metrics read; the views and the query see one state of the lake."""
        if not {call.metric.name for call in calls} <= self._loaded:
            self._end_transaction()
            load(self._connection, (f"{call.metric.name}(" for call in calls), self._loaded)
        if self._fixed and calls:  # what the views are made of does not change
            self._end_transaction()
            if self._prepared != calls:
                self._prepared = None
                make_views(self._connection, self._views(calls))
                self._prepared = calls
            yield
            return
        with self._unhurried(calls):
            self._prepare(calls)
            yield

    def _prepare(self, calls: Sequence[Call]) -> None:
        """Make the views that metrics read; kept where it is known when they would differ."""
        if not calls:
            return
        views = self._views(calls) if self._held is None else self._views_once(calls)
        missing = {name: sql for name, sql in views.items() if self._made.get(name) != sql}
        if missing:
            make_views(self._connection, missing)
            self._made |= missing

    def _views(self, calls: Sequence[Call]) -> Mapping[str, str]:
        return views_of(self._connection, calls)

    @contextmanager
    def _unhurried(self, calls: Sequence[Call]) -> Iterator[None]:
        """Leave a transaction open as long as nothing changes: for each one the catalog is opened anew."""
        stays = self._fixed or (self._held is not None and self._held.is_newest)
        if not self._in_transaction and (stays or calls):
            self._connection.begin()
            self._in_transaction = True
        try:
            yield
        except BaseException:
            self._end_transaction()  # which an error spoils
            raise
        if not stays:
            self._end_transaction()

    def _end_transaction(self) -> None:
        if self._in_transaction:
            self._in_transaction = False
            self._made.clear()
            self._connection.rollback()  # nothing is to be kept

    @contextmanager
    def _worded(self, sql: str) -> Iterator[None]:
        """Raise what people can read instead of what comes of answering `sql`."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, MemoryError, OSError) as error:
            names_files = bool(self._files) and self._files in str(error)
            raises = names_files and "error" in functions_in(self._connection, sql)
            raise query_error(error, sql, self._files, raises=raises) from error


def _held(place: Place, memory_bytes: int, opened: _Opened) -> Held:
    return Held(opened.beside, place, memory_bytes, METADATA if opened.lens is None else opened.lens.origin)


def _opened(place: Place, limits: Limits, snapshot: int | None) -> _Opened:
    """Connections that read a lake and cannot do anything else; with a lens where it has many tables.

    Raises:
        DataDirectoryError: It cannot be read.
    """
    connection = engine.connect(place, threads=limits.threads, memory_limit=f"{limits.memory_bytes >> 20}MiB")
    lens = None
    try:
        if snapshot is not None:
            attach_snapshot(connection, place, snapshot, limits.memory_bytes // 4)
        else:
            engine.attach(connection, place, read_only=True, use=False)
            refuse_newer(recorded_format(lambda sql: connection.execute(sql).fetchall(), METADATA), place)
            if is_large(connection, place, METADATA):
                connection.execute(f"DETACH {engine.LAKE}")
                lens = Lens(connection, place)
            else:
                connection.execute(f"USE {engine.LAKE}")
    except DataDirectoryError:
        connection.close()
        raise
    except duckdb.Error as error:
        connection.close()
        raise DataDirectoryError(f"{place}: the lake cannot be read: {error}") from error
    beside = connection.cursor()
    beside.execute(f"USE {engine.LAKE}")
    beside.execute("SET TimeZone = 'UTC'")
    for each in (connection, beside):
        each.execute("SET python_enable_replacements = false")
        each.execute("SET errors_as_json = true")
    # The system keeps files in memory already; what a process keeps stays damaged once they are mended.
    connection.execute("SET enable_external_file_cache = false")
    connection.execute(f"SET allowed_directories = [{literal(place.prefix)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return _Opened(connection, beside, lens)
