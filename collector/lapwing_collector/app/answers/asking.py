"""SQL over the lake of a data directory for one person: `lapwing sql`, `lapwing.connect`."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from lapwing_collector.app.places.lake_place import expect_lake
from lapwing_collector.config import Settings, load_settings, settings_file
from lapwing_collector.lake import CatalogKeeper
from lapwing_collector.model.queries import Answer, Ask, Format
from lapwing_collector.query import ORIGIN, Limits, QueryProcess


class Asking:
    """Answers queries over one lake, whether its owner runs or not, in a process that can do nothing else."""

    def __init__(self, settings: Settings) -> None:
        """Open the lake of the data directory that `settings` name.

        Raises:
            DataDirectoryError: There is no lake.
        """
        self._lake = expect_lake(settings)
        self._settings = settings
        # Reading needs the catalog's log to be there, and a process that only reads cannot make it.
        self._keeper = CatalogKeeper.start(self._lake)
        self._process: QueryProcess | None = None
        self._lock = threading.Lock()

    @classmethod
    def over(cls, file: Path | None, flags: Mapping[str, Any]) -> Self:
        """Open the lake of the data directory that settings file and flags name.

        Raises:
            LapwingError: Something is configured wrong, or there is no lake.
        """
        # Rules and notify file stay unread, and what they need is not imported: people wait for this.
        return cls(load_settings(settings_file(file), flags=flags))

    @classmethod
    def over_folder(cls, folder: Path) -> Self:
        """Open the lake of the data directory `folder`, whatever settings file is around.

        Raises:
            LapwingError: A variable of the environment is wrong, or there is no lake.
        """
        return cls(load_settings(None, flags={"data": folder}))

    @contextmanager
    def answer(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        fmt: Format = Format.ARROW,
        *,
        limit: int | None = None,
        whole: bool = False,
        explain: bool = False,
    ) -> Iterator[Answer]:
        """Answer one SELECT; others wait until this is read.

        Args:
            sql: The query; parameters are written `$name`.
            parameters: Their values.
            fmt: How to write its rows.
            limit: Rows beyond which the answer is cut; as the settings say if None.
            whole: An answer that would be cut is an error instead.
            explain: Tell what stands behind the metrics that it calls, rather than answer it.

        Raises:
            QueryError: The SQL is refused, fails or runs over its limits.
        """
        query = self._settings.query
        rows = min(limit or query.max_rows, query.max_rows)
        ask = Ask(
            sql,
            parameters or {},
            fmt,
            max_rows=rows,
            max_bytes=query.max_bytes,
            whole=whole,
            explain=explain,
        )
        with self._lock:
            process = self._ready()
            try:
                with process.ask(ask, query.timeout.total_seconds()) as answer:
                    yield answer
            except BaseException:
                # Whoever is interrupted, or stops reading in the middle, wants no more of the query either.
                if not process.idle:
                    process.close()
                raise

    def run(self, sql: str, parameters: Mapping[str, Any], _timeout_s: float) -> pa.Table:
        """Answer one SELECT with all its rows, within the time that the settings say.

        Raises:
            QueryError: The SQL is refused, fails or runs over its limits.
        """
        with self.answer(sql, parameters, whole=True) as answer:
            return answer.table()

    def close(self) -> None:
        """Let go of the lake; a query under way fails."""
        if self._process is not None:
            self._process.kill("the connection was closed")
        with self._lock:
            if self._process is not None:
                self._process.close()
            self._keeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> QueryProcess:
        if self._process is not None and not self._process.alive:
            self._process.close()
            self._process = None
        if self._process is None:
            limits = query_limits(self._settings, threads=os.cpu_count() or 1)
            self._process = QueryProcess(self._lake, limits, start=ORIGIN.start)
        return self._process


def ask(file: Path | None, flags: Mapping[str, Any], sql: str) -> pa.Table:
    """Answer one SELECT over the data directory that settings and flags name, with all rows as a table.

    Raises:
        LapwingError: There is no lake, or the SQL is refused, fails or has too many rows.
    """
    with Asking.over(file, flags) as asking, asking.answer(sql, whole=True) as answer:
        return answer.table()


def query_limits(settings: Settings, threads: int | None = None) -> Limits:
    """What a query process may use; half of the cores where others work beside it."""
    cores = threads or max(1, (os.cpu_count() or 1) // 2)
    return Limits(memory_bytes=settings.query.memory_bytes, threads=cores)
