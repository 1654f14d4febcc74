"""`lapwing sql`: one query over a lake, in a process of its own that can do nothing else."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.project import settings_for
from lapwing_collector.config import Settings
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake import CatalogKeeper
from lapwing_collector.model.queries import Answer, Ask, Format
from lapwing_collector.query import Limits, QueryProcess


@contextmanager
def asking(
    file: Path | None,
    flags: Mapping[str, Any],
    sql: str,
    fmt: Format,
    *,
    limit: int | None = None,
) -> Iterator[Answer]:
    """Answer one SELECT over the lake of the data directory that settings and flags name.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line, by dotted name.
        sql: The query.
        fmt: How to write its rows.
        limit: Rows beyond which the answer is cut; as the settings say if None.

    Raises:
        LapwingError: There is no lake, or the SQL is refused or fails.
    """
    settings = settings_for(file, flags)
    directory = DataDirectory(settings.data)
    if not directory.catalog.exists():
        raise DataDirectoryError(f"{directory.root}: there is no lake here yet; `lapwing up` makes one")
    ask = Ask(sql, {}, fmt, max_rows=limit or settings.query.max_rows, max_bytes=settings.query.max_bytes)
    with ExitStack() as parts:
        # Reading needs the catalog's log to be there, and a process that only reads cannot make it.
        parts.callback(CatalogKeeper.start(directory.lake).close)
        process = QueryProcess(directory.lake, query_limits(settings, threads=os.cpu_count() or 1))
        parts.callback(process.close)
        yield parts.enter_context(process.ask(ask, settings.query.timeout.total_seconds()))


def ask(file: Path | None, flags: Mapping[str, Any], sql: str) -> pa.Table:
    """Answer one SELECT as `asking` does, with all rows as a table."""
    with asking(file, flags, sql, Format.ARROW) as answer:
        return answer.table()


def query_limits(settings: Settings, threads: int | None = None) -> Limits:
    """What a query process may use; half of the cores where others work beside it."""
    cores = threads or max(1, (os.cpu_count() or 1) // 2)
    return Limits(memory_bytes=settings.query.memory_bytes, threads=cores)
