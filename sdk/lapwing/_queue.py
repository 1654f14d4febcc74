"""The bounded queue between the threads that record and the one that exports, and its exact accounts."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, count, islice
from math import inf
from threading import Condition, RLock
from time import monotonic
from typing import Final

REQUEST_BYTES: Final = 1024 * 1024
"""Size that requests aim for; one record may be larger."""
QUEUE_BYTES: Final = 64 * 1024 * 1024
RECORD_BYTES: Final = 63 * 1024 * 1024
"""Leaves room for the envelope under the 64 MiB that OTLP receivers accept."""

Entry = tuple[int, bytes]
"""A record's sequence number and its encoded bytes."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of the records of this process.

    `recorded = acknowledged + pending + spooled + handed_over + the sum of dropped`.

    Attributes:
        recorded: Predictions and labels that were made.
        acknowledged: Of these, accepted by the receiver.
        pending: Waiting to be sent, or sent and not answered yet.
        dropped: The others by reason: `encode_error` (could not be made into a record), `too_large`,
            `queue_full`, `rejected` (by the receiver, for good), `undeliverable` (no answer in time),
            `shutdown` (made after it), `spool_full`, `spool_error` (could not be written to disk, or not read
            back), `no_provider` (the host has none), `no_exporter` (it cannot be had), `internal_error`.
        spooled: On disk, until the collector is back.
        handed_over: Given to the host's LoggerProvider, which does not tell what became of them.
        as_text: Values without a mapping that became text, by the name of their class; in all of the process.
        adopted: Records that former processes left on disk and this one delivered; not among `recorded`.
    """

    recorded: int
    acknowledged: int
    pending: int
    dropped: Mapping[str, int]
    spooled: int = 0
    handed_over: int = 0
    adopted: int = 0
    as_text: Mapping[str, int] = field(default_factory=dict)


class Queue:
    """Records in the order they were made, kept until the receiver's answer is known.

    Every record gets the next sequence number, also those that are dropped, so that the receiver can count
    what never arrived.
    """

    def __init__(self, *, capacity: int, batch_size: int, delay_s: float, wait_when_full: bool) -> None:
        """Make an empty queue.

        Args:
            capacity: Records that fit.
            batch_size: Records in a request, at most.
            delay_s: Seconds that a record waits for others to share its request.
            wait_when_full: Let `put` wait for room instead of dropping the record.
        """
        self._capacity = capacity
        self._batch_size = batch_size
        self._delay_s = delay_s
        self._wait_when_full = wait_when_full
        lock = RLock()  # reentrant, and numbers from an atomic source: a signal handler may record in here
        self._lock = lock
        self._work = Condition(lock)
        self._progress = Condition(lock)
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._numbers = count(1)
        self._recorded = 0
        self._acknowledged = 0
        self._dropped: dict[str, int] = {}
        self._first_dropped: int | None = None
        self._flush_to = 0
        self._due_at: float | None = None
        self._spooled: deque[tuple[int, int]] = deque()  # requests on disk: first number, records
        self._hurried = False
        self._closed = False

    def put(self, record: bytes) -> str | None:
        """Add a record; returns why it was dropped, None if it was not."""
        with self._lock:
            if self._wait_when_full and len(record) <= RECORD_BYTES:
                while not (self._closed or self._has_room(record)):
                    self._progress.wait()
            sequence = self._recorded = next(self._numbers)
            if len(record) > RECORD_BYTES:
                reason = "too_large"
            elif self._closed:
                reason = "shutdown"
            elif not self._has_room(record):
                reason = "queue_full"
            else:
                self._entries.append((sequence, record))
                self._bytes += len(record)
                if len(self._entries) in (1, self._batch_size) or self._bytes >= REQUEST_BYTES:
                    self._work.notify()
                return None
            self._count_dropped(reason, sequence, 1)
            return reason

    def drop(self, reason: str) -> None:
        """Count a record that was never put in."""
        with self._lock:
            sequence = self._recorded = next(self._numbers)
            self._count_dropped(reason, sequence, 1)

    def take(self, wait_s: float | None = None) -> list[Entry]:
        """Wait for a batch to be due and give its entries, which stay until `settle` or `spool`.

        None at the end, after `wait_s` seconds, and once when `flush` asks for what is spooled.
        """
        end = inf if wait_s is None else monotonic() + wait_s
        with self._lock:
            self._wait(lambda: self._entries or self._closed or self._hurried, end)
            if self._entries and self._due_at is None:
                self._due_at = monotonic() + self._delay_s
            if self._entries:
                self._wait(self._is_due, min(self._due_at or end, end))
            if not self._is_due() and not (self._due_at and monotonic() >= self._due_at):
                self._hurried = False
                return []
            self._due_at = None
            batch = list(islice(self._entries, self._batch_size))
        sizes = accumulate(len(record) for _, record in batch)  # without the lock: callers wait for it
        fitting = sum(1 for size in sizes if size <= REQUEST_BYTES)
        return batch[: max(fitting, 1)]

    def settle(self, batch: list[Entry], acknowledged: int, reason: str) -> None:
        """Remove the batch last taken: so many were acknowledged, the others dropped for `reason`."""
        size = _size(batch)
        with self._lock:
            self._remove(batch, size)
            self._count_settled(batch[0][0], len(batch), acknowledged, reason)

    def spool(self, batch: list[Entry]) -> None:
        """Remove the batch last taken, which is on disk, until `settle_spooled`."""
        size = _size(batch)
        with self._lock:
            self._spooled.append((batch[0][0], len(batch)))
            self._remove(batch, size)
            self._progress.notify_all()

    def settle_spooled(self, acknowledged: int, reason: str) -> None:
        """Settle the first batch on disk: so many were acknowledged, the others dropped for `reason`."""
        with self._lock:
            first, records = self._spooled.popleft()
            self._count_settled(first, records, acknowledged, reason)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded before is settled; True if every record was acknowledged."""
        with self._lock:
            last = self._flush_to = self._recorded
            self._hurried = bool(self._spooled)
            self._work.notify()
            settled = self._progress.wait_for(lambda: self._first_open() > last, timeout_s)
            return settled and (self._first_dropped is None or self._first_dropped > last)

    @property
    def closed(self) -> bool:
        """Whether it takes no more records."""
        return self._closed

    def close(self) -> None:
        """Take no more records, and let `take` give what is left without delay."""
        with self._lock:
            self._closed = True
            self._work.notify()
            self._progress.notify_all()

    def abandon(self, reason: str) -> None:
        """Drop everything that is left."""
        with self._lock:
            if self._entries:
                self.settle(list(self._entries), 0, reason)

    def stats(self) -> Stats:
        """Count what became of the records."""
        with self._lock:
            spooled = sum(records for _, records in self._spooled)
            return Stats(self._recorded, self._acknowledged, len(self._entries), dict(self._dropped), spooled)

    def _has_room(self, record: bytes) -> bool:
        return len(self._entries) < self._capacity and self._bytes + len(record) <= QUEUE_BYTES

    def _is_due(self) -> bool:
        entries = self._entries
        return (
            self._closed
            or len(entries) >= self._batch_size
            or self._bytes >= REQUEST_BYTES
            or (bool(entries) and entries[0][0] <= self._flush_to)
        )

    def _wait(self, until: Callable[[], object], end: float) -> None:
        self._work.wait_for(until, None if end == inf else max(end - monotonic(), 0))

    def _remove(self, batch: list[Entry], size: int) -> None:
        for _ in batch:
            self._entries.popleft()
        self._bytes -= size

    def _first_open(self) -> float:
        """Number of the first record whose fate is open."""
        return min((line[0][0] for line in (self._spooled, self._entries) if line), default=inf)

    def _count_settled(self, first: int, records: int, acknowledged: int, reason: str) -> None:
        self._acknowledged += acknowledged
        if acknowledged < records:
            self._count_dropped(reason, first, records - acknowledged)
        self._progress.notify_all()

    def _count_dropped(self, reason: str, sequence: int, records: int) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + records
        self._first_dropped = min(self._first_dropped or sequence, sequence)


def _size(batch: list[Entry]) -> int:
    return sum(len(record) for _, record in batch)
