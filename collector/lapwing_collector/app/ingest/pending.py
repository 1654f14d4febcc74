"""Rows that are durable in the log and wait to be written to the lake, in the order of the log."""

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lapwing_collector.model.records import Batch, Kind

_ENTRY_BYTES: Final = 1024
"""What an entry costs beside its rows."""

_TABLES_AT_ONCE: Final = 300
"""So many are written in a second or two, and take some 50 MB meanwhile, however few rows they get."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What one entry of the durable log holds that was not known before.

    Attributes:
        position: The entry's position in the log.
        received_at: When its request came; naive UTC.
        batches: Its new rows.
        size_bytes: Memory that it is charged with.
    """

    position: int
    received_at: datetime
    batches: tuple[Batch, ...]
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        """Measure it once: asking every column takes long."""
        size_bytes = _ENTRY_BYTES + sum(batch.size_bytes for batch in self.batches)
        object.__setattr__(self, "size_bytes", size_bytes)


class Pending:
    """A queue between those who receive and the one who writes, bounded in bytes by those who put in."""

    def __init__(self, capacity_bytes: int) -> None:
        """Call it full at `capacity_bytes`."""
        self._capacity_bytes = capacity_bytes
        self._entries: deque[LogEntry] = deque()
        self._size_bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, entry: LogEntry) -> None:
        """Add an entry; never waits, since what is in the log must be written."""
        with self._changed:
            self._entries.append(entry)
            self._size_bytes += entry.size_bytes
            self._changed.notify_all()

    def full_with(self, more_bytes: int) -> bool:
        """Whether new work should be refused for now, with `more_bytes` that are sure to come."""
        return self._size_bytes + more_bytes >= self._capacity_bytes

    @property
    def size_bytes(self) -> int:
        """Memory of what is queued."""
        return self._size_bytes

    @property
    def filled(self) -> float:
        """How full it is: 1 where new work should be refused, and beyond."""
        return self._size_bytes / self._capacity_bytes

    @property
    def oldest_received_at(self) -> datetime | None:
        """When the request came that waits longest; None while nothing waits."""
        with self._changed:
            return self._entries[0].received_at if self._entries else None

    def wait_for_room(self) -> bool:
        """Wait until the queue is not full; False if it was closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._size_bytes < self._capacity_bytes or self._closed)
            return not self._closed

    def wait_until_below(self, size_bytes: int, timeout_s: float) -> None:
        """Wait, `timeout_s` seconds at most, until less than `size_bytes` are queued or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._size_bytes < size_bytes or self._closed, timeout_s)

    def wait_until_closed(self, timeout_s: float) -> bool:
        """Wait until the queue is closed; False if it is not after `timeout_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, timeout_s)

    def wait_for_work(self, timeout_s: float | None) -> bool:
        """Wait until something is queued or the queue is closed; tells whether something is queued."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed, timeout_s)
            return bool(self._entries)

    def gather(self, timeout_s: float, enough_bytes: int) -> None:
        """Let more entries come, for `timeout_s` seconds, until there are enough or the queue is closed."""
        with self._changed:
            enough_bytes = min(enough_bytes, self._capacity_bytes)
            self._changed.wait_for(lambda: self._closed or self._size_bytes >= enough_bytes, timeout_s)

    def peek(self, limit_bytes: int) -> list[LogEntry]:
        """The oldest entries, at least one and about `limit_bytes` of them; they stay until `drop`.

        Those of very many models are fewer: what is written of each takes time and memory of its own.
        """
        with self._changed:
            taken: list[LogEntry] = []
            tables: set[tuple[Kind, str]] = set()
            size_bytes = 0
            for entry in self._entries:
                tables.update((batch.kind, batch.model) for batch in entry.batches)
                if taken and (size_bytes + entry.size_bytes > limit_bytes or len(tables) > _TABLES_AT_ONCE):
                    break
                taken.append(entry)
                size_bytes += entry.size_bytes
            return taken

    def drop(self, entries: list[LogEntry]) -> None:
        """Forget the oldest entries, which are in the lake now."""
        with self._changed:
            for entry in entries:
                self._entries.popleft()
                self._size_bytes -= entry.size_bytes
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everyone who waits; entries already in remain."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
