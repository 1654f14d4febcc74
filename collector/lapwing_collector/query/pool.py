"""Some query processes that share the work: who finds none free waits, and too many are turned away."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.errors import (
    DamagedFileError,
    LapwingError,
    QueryError,
    QueryLimitError,
    RefusedQueryError,
    UnavailableError,
)
from lapwing_collector.model.queries import Answer, Ask, Cancellation, Plain
from lapwing_collector.query.process import QueryProcess
from lapwing_collector.query.spare import Spare

RESTS_S: Final = 120.0
"""A process that nobody asked for so long ends, and its memory with it. Another one is ready in its place."""

OUTCOMES: Final = ("answered", "truncated", "refused", "failed", "over_limit", "cancelled", "turned_away")


@dataclass(slots=True)
class PoolStats:
    """What became of queries.

    Attributes:
        outcomes: Queries by what became of them.
        seconds: Time that queries ran, without their wait for a process.
        running: Queries under way now.
        waiting: Queries that wait for a process now.
    """

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    seconds: float = 0.0
    running: int = 0
    waiting: int = 0


Mend = Callable[[str | None], bool]
"""Sets a damaged file aside, or all that are damaged if None, so that queries answer from the rest.

It tells whether it did any.
"""


class QueryPool:
    """Up to a number of queries at a time, each in a process that is free; calls may come from any thread."""

    def __init__(
        self,
        spare: Spare,
        size: int,
        *,
        queue: int | None = None,
        mend: Mend | None = None,
        holding: bool = False,
        rests_s: float = RESTS_S,
    ) -> None:
        """Take processes from `spare`.

        Args:
            spare: Where processes come from.
            size: Queries at a time.
            queue: Queries that may wait beyond those; without a bound if None.
            mend: Called when a query meets a damaged file; where it helped, the query is asked again, twice
                at most: without the file that it met, then without all that are damaged.
            holding: Whether processes hold the lake's own small tables in memory: for queries of which many
                are about these, and which need not see rows and counts of them at the same moment.
            rests_s: How long a process is kept that nobody asks.
        """
        self._rests_s = rests_s
        self._tidying: threading.Timer | None = None
        self._holding = holding
        self._mend = mend
        self._spare = spare
        self._size = size
        self._queue = queue
        self._idle: list[tuple[QueryProcess, float]] = []  # each with since when, the longest first
        self._busy: set[QueryProcess] = set()
        self._stats = PoolStats()
        self._changed = threading.Condition()
        self._closed = False

    def run(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        """Answer one SELECT within `timeout_s` seconds, not counting the wait for a free process.

        Raises:
            QueryError: The SQL is refused, fails, takes too long, or has more rows than an answer may have.
        """
        with self.ask(Ask(sql, parameters, whole=True), timeout_s) as answer:
            return answer.table()

    def rows(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> Plain:
        """As `run`, with the rows as values of Python.

        Raises:
            QueryError: As there.
            ValueError: Python has no type for a value.
            OverflowError: The same.
        """
        with self.ask(Ask(sql, parameters, whole=True, plain=True), timeout_s) as answer:
            return answer.plain()

    def ask(self, ask: Ask, timeout_s: float, cancellation: Cancellation | None = None) -> Answer:
        """Answer one query within `timeout_s` seconds, after as long a wait for a free process at most.

        Raises:
            QueryError: The SQL is refused or fails.
            QueryLimitError: It took too long, too much memory, or has too large an answer.
            DamagedFileError: A file that it needs cannot be read, and could not be set aside.
            UnavailableError: Too many others run or wait.
        """
        cancellation = cancellation or Cancellation()
        try:
            return self._ask(ask, timeout_s, cancellation)
        except DamagedFileError as error:
            if self._mend is None or not self._mend(error.file):
                raise
        try:
            answer = self._ask(ask, timeout_s, cancellation)
        except DamagedFileError:
            if not self._mend(None):
                raise
            answer = self._ask(ask, timeout_s, cancellation)
        answer.incomplete = True
        return answer

    def _ask(self, ask: Ask, timeout_s: float, cancellation: Cancellation) -> Answer:
        self._take_turn(timeout_s, cancellation)
        process: QueryProcess | None = None
        started_s = time.monotonic()
        try:
            process = self._process()
            cancellation.ends_by(lambda: process.kill("the query was cancelled"))
            answer = process.ask(ask, timeout_s, holding=self._holding)
        except BaseException as error:
            self._end_turn(process, started_s, _outcome(error, cancellation))
            raise
        if process.idle:  # all of a short answer is here
            cancellation.ends_by(None)
            self._end_turn(process, started_s, "truncated" if answer.truncated else "answered")
            return answer
        return self._on_its_way(answer, process, started_s, cancellation)

    def stats(self) -> PoolStats:
        """What became of queries so far."""
        with self._changed:
            return replace(self._stats, outcomes=dict(self._stats.outcomes))

    def close(self) -> None:
        """Stop every process; queries under way fail."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            if self._tidying is not None:
                self._tidying.cancel()
            for process in self._busy:
                process.kill("the collector is shutting down")
            self._changed.notify_all()
        for process, _ in idle:
            self._spare.bury(process)

    def _tidy_later(self) -> None:
        """See to it that processes which rest are let go; only while nothing else changes."""
        if self._tidying is None and self._idle:
            rests_for_s = time.monotonic() - self._idle[0][1]
            self._tidying = threading.Timer(max(0.0, self._rests_s - rests_for_s), self._tidy)
            self._tidying.daemon = True
            self._tidying.start()

    def _tidy(self) -> None:
        with self._changed:
            self._tidying = None
            if self._closed:
                return
            since_s = time.monotonic() - self._rests_s
            rested = [process for process, idle_since_s in self._idle if idle_since_s <= since_s]
            del self._idle[: len(rested)]
            self._tidy_later()
        for process in rested:
            self._spare.bury(process)

    def _on_its_way(
        self, answer: Answer, process: QueryProcess, started_s: float, cancellation: Cancellation
    ) -> Answer:
        """Hold the process while the answer is read; who stops reading in the middle costs it its life."""
        read_whole = False
        unended = threading.Lock()

        def end() -> None:
            if not unended.acquire(blocking=False):
                return
            outcome = "cancelled" if not read_whole else "truncated" if answer.truncated else "answered"
            if not read_whole:
                process.kill("the query was cancelled")
            cancellation.ends_by(None)
            self._end_turn(process, started_s, outcome)

        def pieces() -> Iterator[bytes]:
            nonlocal read_whole
            try:
                yield from answer
                read_whole = True
            finally:
                end()

        return Answer(answer.rows, answer.truncated, pieces(), end)

    def _take_turn(self, patience_s: float, cancellation: Cancellation) -> None:
        stats = self._stats
        with self._changed:
            if stats.running >= self._size and self._queue is not None and stats.waiting >= self._queue:
                stats.outcomes["turned_away"] += 1
                raise UnavailableError(
                    f"{stats.running} queries run and {stats.waiting} wait; try again in a moment"
                )
            if stats.running < self._size and not (self._closed or cancellation.cancelled):
                stats.running += 1
                return
            stats.waiting += 1
            try:
                cancellation.ends_by(self._look_again)
                got = self._changed.wait_for(
                    lambda: stats.running < self._size or self._closed or cancellation.cancelled,
                    patience_s if self._queue is not None else None,
                )
            finally:
                stats.waiting -= 1
            if self._closed or cancellation.cancelled:
                stats.outcomes["cancelled"] += 1
                raise QueryError(
                    "the query was cancelled" if not self._closed else "the collector is shutting down"
                )
            if not got:
                stats.outcomes["turned_away"] += 1
                raise UnavailableError(
                    f"no query process was free within {patience_s:g} s; try again in a moment"
                )
            stats.running += 1

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _process(self) -> QueryProcess:
        while True:
            with self._changed:
                process = self._idle.pop()[0] if self._idle else None
            if process is None:
                process = self._spare.take()
            if process.alive:
                with self._changed:
                    if not self._closed:
                        self._busy.add(process)
                        return process
                self._spare.bury(process)
                raise QueryError("the collector is shutting down")
            self._spare.bury(process)

    def _end_turn(self, process: QueryProcess | None, started_s: float, outcome: str) -> None:
        with self._changed:
            self._stats.running -= 1
            self._stats.seconds += time.monotonic() - started_s
            self._stats.outcomes[outcome] += 1
            if process is not None:
                self._busy.discard(process)
                if process.alive and not self._closed:
                    self._idle.append((process, time.monotonic()))
                    self._tidy_later()
                    process = None
            self._changed.notify_all()
        if process is not None:
            self._spare.bury(process)


def _outcome(error: BaseException, cancellation: Cancellation) -> str:
    if cancellation.cancelled:
        return "cancelled"
    match error:
        case QueryLimitError():
            return "over_limit"
        case RefusedQueryError():
            return "refused"
        case LapwingError():
            return "failed"
        case _:
            return "cancelled"
