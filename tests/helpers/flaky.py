"""A catalog whose commits fail, so that nobody knows whether they took place."""

from typing import Any

import duckdb

from lapwing_collector.lake import Lake


class Flaky:
    """A connection where statements that hold certain words fail, each once and in this order.

    A COMMIT that fails took place, or did not.
    """

    def __init__(self, real: duckdb.DuckDBPyConnection, *words: str, takes_place: bool) -> None:
        self._real, self._words, self._takes_place = real, list(words), takes_place

    def execute(self, sql: str, *arguments: Any) -> duckdb.DuckDBPyConnection:
        if not self._words or self._words[0] not in sql:
            return self._real.execute(sql, *arguments)
        del self._words[0]
        if sql == "COMMIT" and self._takes_place:
            self._real.execute(sql)
        raise duckdb.TransactionException("Failed to commit: disk I/O error")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def make_flaky(lake: Lake, *words: str, takes_place: bool) -> None:
    """Let statements of `lake` with `words` fail, each once and in this order."""
    flaky: Any = Flaky(lake.catalog._connection, *words, takes_place=takes_place)
    lake.catalog._connection = flaky
