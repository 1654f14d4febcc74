"""A connection that reads the lake and nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.engine import literal
from lapwing_collector.errors import DataDirectoryError, NotSeenYetError, QueryError
from lapwing_collector.query.guard import check_select

MEMORY_LIMIT: Final = "2GB"

_NOT_SEEN: Final = re.compile(
    r"(Table|View) with name .* does not exist|Referenced (column|table) .* not found|Could not find key"
)


class Session:
    """A read-only connection to the lake in one folder. Not for use by several threads at once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Use `open` instead."""
        self._connection = connection
        # Rules bring the same SQL for every slot; only its parameters differ.
        self._checked: set[str] = set()

    @classmethod
    def open(cls, lake: Path, *, threads: int | None = None) -> Self:
        """Open the lake in folder `lake` for reading; its owner may write meanwhile.

        Raises:
            DataDirectoryError: There is no lake.
        """
        lake = lake.resolve()
        if not (lake / "catalog.sqlite").exists():
            raise DataDirectoryError(f"{lake.parent}: there is no lake here yet; `lapwing up` makes one")
        connection = engine.connect(threads=threads, memory_limit=MEMORY_LIMIT)
        try:
            engine.attach(connection, lake, read_only=True)
        except duckdb.Error as error:
            raise DataDirectoryError(f"{lake}: the lake cannot be read: {error}") from error
        connection.execute(f"SET allowed_directories = [{literal(str(lake) + '/')}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return cls(connection)

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Answer one SELECT.

        Args:
            sql: One SELECT; parameters are written `$name`.
            parameters: Their values; times as naive UTC datetimes, which DuckDB can prune files by.

        Returns:
            The rows as an Arrow table.

        Raises:
            QueryError: The SQL is refused or fails.
            NotSeenYetError: It names a table or field that no record has brought yet.
        """
        if sql not in self._checked:
            check_select(self._connection, sql)
            self._checked.add(sql)
        try:
            return self._fetch(sql, parameters)
        except duckdb.IOException:
            # A file may vanish under a reader when small files were merged; the newer snapshot has its rows.
            try:
                return self._fetch(sql, parameters)
            except duckdb.IOException as error:
                raise QueryError(str(error)) from error

    def close(self) -> None:
        """Let go of the lake."""
        self._connection.close()

    def _fetch(self, sql: str, parameters: Mapping[str, Any] | None) -> pa.Table:
        try:
            return self._connection.execute(sql, dict(parameters or {})).to_arrow_table()
        except duckdb.IOException:
            raise
        except duckdb.Error as error:
            kind = NotSeenYetError if _NOT_SEEN.search(str(error)) else QueryError
            raise kind(str(error)) from error
