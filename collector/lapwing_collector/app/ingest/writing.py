"""The one thread that writes the lake: gathers durable rows for a moment, then flushes them."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

import pyarrow as pa

from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import row_count
from lapwing_collector.app.ingest.pending import LogEntry, Pending
from lapwing_collector.app.ingest.poison import DeadLetters, Refused, find_refused, is_refusal
from lapwing_collector.errors import LakeHeldError, StateUnavailableError
from lapwing_collector.lake import Lake, Progress, QueuedMetric
from lapwing_collector.model.records import Batch, Kind
from lapwing_collector.state import Store

logger = logging.getLogger(__name__)

_FLUSH_BYTES: Final = 32 << 20
"""As much as is written at once: larger flushes cost less a row and more memory. Half as much is tried after
each failure, down to one entry, and twice as much again after each success."""

_GATHER_S: Final = 0.05
"""How long rows gather at least, so that those that come together are written together."""

_RETRY_S: Final = (0.5, 1.0, 2.0, 5.0)
"""How long to wait after the first, second, … failure in a row."""

_HELD_S: Final = 0.5
"""How often is looked whether a lake may be written again that was to be taken elsewhere."""

_TIDY_S: Final = 1.0
"""How often, while rows are written, memory that is free goes back to the system: it would add up between
what is in use, as bodies and rows of every size come and go."""

_METRICS_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class MetricQueue:
    """Where results of `record:` rules wait for the lake."""

    begin: Callable[[int], None]
    """Nothing is waiting yet, or was put back to an earlier moment: what comes is numbered above this."""
    waiting: Callable[[int, int], Sequence[QueuedMetric]]
    """Those numbered above the first argument, at most as many as the second says."""
    forget: Callable[[int], None]
    """Those up to this number are in the lake."""

    @classmethod
    def of(cls, store: Store, is_mine: Callable[[], bool] = lambda: True) -> Self:
        """That of the state database.

        Args:
            store: Where it is.
            is_mine: Whether it is this process that takes rows out of it, of all that share it.
        """
        begun = threading.Event()

        def begin(after: int) -> None:
            with suppress(StateUnavailableError):  # once it is there
                store.number_metrics_after(after)
                begun.set()

        def waiting(after: int, limit: int) -> list[QueuedMetric]:
            if not is_mine():
                return []
            if not begun.is_set():
                begin(after)
            try:
                queued = store.queued_metrics(after, limit)
            except StateUnavailableError:
                return []  # rows that are received do not wait for it
            return [QueuedMetric(number, row, as_of) for number, row, as_of in queued]

        def forget(through: int) -> None:
            with suppress(StateUnavailableError):  # the next time will do
                store.forget_metrics(through)

        return cls(begin, waiting, forget)


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a commit brought of models.

    Attributes:
        times: Event times of the predictions, by table.
        labelled: Tables of the models that labels came for.
    """

    times: Mapping[str, pa.Array]
    labelled: frozenset[str]


@dataclass(slots=True)
class Flushes:
    """What was written since the start.

    Attributes:
        committed: Flushes that the lake has.
        failed: Flushes that failed, and were tried again.
        seconds: How long those that the lake has took together.
        bytes: Memory of their rows.
    """

    committed: int = 0
    failed: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Work:
    """Entries on their way into the lake.

    Attributes:
        entries: The oldest that wait.
        batches: Their rows, without those that the lake refuses.
        refused: Rows that are kept as dead letters already.
    """

    entries: list[LogEntry]
    batches: list[Batch]
    refused: list[Refused] = field(default_factory=list)

    @classmethod
    def of(cls, entries: list[LogEntry]) -> Self:
        """All rows of `entries`."""
        return cls(entries, [batch for entry in entries for batch in entry.batches])


class Writer:
    """Flushes `pending` into the lake until closed, then once more until nothing is left.

    Attributes:
        flushes: What was written.
    """

    def __init__(
        self,
        *,
        lake: Lake,
        pending: Pending,
        settle: Callable[[int], None],
        accounts: Accounts,
        dead_letters: DeadLetters,
        metrics: MetricQueue,
        interval_s: float,
        on_flushed: Callable[[Flushed], None],
    ) -> None:
        """Wire the parts.

        Args:
            lake: Written by nobody else in this process.
            pending: Rows that are durable.
            settle: Told up to which position of the log the lake has everything, after each commit.
            accounts: Where rows are booked as stored or dead-lettered.
            dead_letters: Where rows go that the lake refuses.
            metrics: Results of `record:` rules that wait.
            interval_s: From the beginning of a flush to that of the next, while rows come all the time and
                neither take longer to write nor fill a flush before.
            on_flushed: Told of each commit, before its rows count as waiting no more.
        """
        self._lake = lake
        self._pending = pending
        self._settled = settle
        self._accounts = accounts
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._interval_s = interval_s
        self._on_flushed = on_flushed
        self.flushes = Flushes()
        self._flush_bytes = _FLUSH_BYTES
        self._tidied_s = time.monotonic()
        self._unfinished: _Work | None = None
        self._failing = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-writer", daemon=True)

    def start(self) -> None:
        """Begin.

        A state that is new, or was restored, may have numbered no row yet as high as the lake has some: what
        rules record would count as being in the lake.
        """
        self._metrics.begin(self._lake.progress.metrics)
        self._thread.start()

    @property
    def failing(self) -> bool:
        """Whether the newest flush failed; it is tried again until it works."""
        return self._failing.is_set()

    def close(self, timeout_s: float) -> bool:
        """Flush what is left and stop; tells whether everything was flushed in time.

        What was not stays in the log and is written after the next start.
        """
        self._stop.set()
        self._pending.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._pending.peek(1)

    def _run(self) -> None:
        failures = 0
        started = -self._interval_s
        while True:
            if self._pending.wait_for_work(self._interval_s) and not self._stop.is_set():
                due_s = started + self._interval_s - time.monotonic()
                self._pending.gather(max(due_s, _GATHER_S), self._flush_bytes)
            started = time.monotonic()
            try:
                self._flush()
            except LakeHeldError:
                # The log keeps the rows, for whoever is started with the settings of the new place.
                if self._stop.wait(_HELD_S):
                    return
            except Exception:
                # Nothing is lost by trying again: the rows stay pending, and the log keeps them.
                if not failures:
                    logger.exception(
                        "flushing to the lake failed; it is tried again until it works",
                        extra={"action": "flush_failed"},
                    )
                failures += 1
                self._expect_less()
                if self._stop.wait(_RETRY_S[min(failures, len(_RETRY_S)) - 1]):
                    return
            else:
                failures = 0
                self._expect_more()
            if self._stop.is_set() and (self._failing.is_set() or not self._pending.peek(1)):
                return

    def _expect_less(self) -> None:
        """Let it be known that a flush failed, and try half as much next time."""
        self._failing.set()
        self.flushes.failed += 1
        tried_bytes = sum(entry.size_bytes for entry in self._pending.peek(self._flush_bytes))
        self._flush_bytes = max(min(tried_bytes, self._flush_bytes) // 2, 1)

    def _expect_more(self) -> None:
        """Let it be known that a flush worked, and try twice as much where it was less."""
        if self._failing.is_set():
            logger.info("flushing to the lake works again", extra={"action": "flush_recovered"})
        self._failing.clear()
        self._flush_bytes = min(2 * self._flush_bytes, _FLUSH_BYTES)

    def _flush(self) -> None:
        """Write what waits."""
        self._lake.look()
        covered = self._lake.confirmed_progress()
        work = self._unfinished or _Work.of(self._pending.peek(self._flush_bytes))
        stored = [entry for entry in work.entries if entry.position <= covered.log]
        if stored:  # by a commit that seemed to fail
            work = work if stored == work.entries else _Work.of(stored)
            self._settle(work, covered, 0)
            return
        metrics = self._metrics.waiting(covered.metrics, _METRICS_AT_ONCE)
        if not work.entries and not metrics:
            return
        began_s = time.monotonic()
        progress = Progress(
            log=work.entries[-1].position if work.entries else covered.log,
            metrics=metrics[-1].number if metrics else covered.metrics,
        )
        try:
            repeated = self._lake.flush(work.batches, metrics, progress)
        except Exception as error:
            if not is_refusal(error):
                raise
            batches, refused = find_refused(work.batches, self._lake.try_out)
            if not refused:
                raise
            self._dead_letters.keep(refused, position=progress.log)
            work = self._unfinished = _Work(work.entries, batches, [*work.refused, *refused])
            repeated = self._lake.flush(work.batches, metrics, progress)
        self.flushes.committed += 1
        self.flushes.seconds += time.monotonic() - began_s
        self.flushes.bytes += sum(entry.size_bytes for entry in work.entries)
        self._settle(work, progress, repeated)
        self._tidy()

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_s >= _TIDY_S:
            pa.default_memory_pool().release_unused()
            self._tidied_s = time.monotonic()

    def _settle(self, work: _Work, progress: Progress, repeated: int) -> None:
        """Let go of what the lake has now, and tell who waits for it."""
        self._unfinished = None
        refused = row_count([batch for batch, _ in work.refused])
        stored = row_count(work.batches) - repeated
        self._accounts.add(stored=stored, deduplicated=repeated, dead_lettered=refused)
        self._on_flushed(Flushed(self._times(work.batches), self._labelled(work.batches)))
        self._pending.drop(work.entries)
        self._metrics.forget(progress.metrics)
        self._settled(min(progress.log, work.entries[-1].position) if work.entries else progress.log)

    def _times(self, batches: list[Batch]) -> dict[str, pa.Array]:
        times: dict[str, list[pa.Array]] = {}
        for batch in batches:
            if batch.kind is Kind.PREDICTION:
                table = self._lake.table_name(batch.model)
                times.setdefault(table, []).append(batch.rows.column("time"))
        return {table: pa.concat_arrays(parts) for table, parts in times.items()}

    def _labelled(self, batches: list[Batch]) -> frozenset[str]:
        return frozenset(self._lake.table_name(batch.model) for batch in batches if batch.kind is Kind.LABEL)
