"""What waits on disk while the collector is away: when it is tried again, and its exact accounts."""

import errno
from collections.abc import Callable
from random import uniform
from typing import Final

from lapwing._queue import Entry, Queue
from lapwing._spool import Full, Spool

_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
_LONGEST_RETRY_AFTER_S: Final = 3600.0
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Of what this process has no more to read any file."""

Tell = Callable[..., None]
"""Logs a warning: its kind, of which only the first is told, then message and details as for a logger."""


class Backlog:
    """The requests of a spool, sent in order; the queue counts those of this process."""

    def __init__(self, spool: Spool, queue: Queue, tell: Tell) -> None:
        """Begin with what former processes left, to be tried at once."""
        self._spool: Final = spool
        self._queue: Final = queue
        self._tell: Final = tell
        self._delay_s = _FIRST_DELAY_S
        self._all_unreadable = False
        self.try_at = 0.0
        """Moment, in seconds of a clock that never goes back, at which the oldest request is due."""
        self.adopted = 0
        """Records of former processes that were delivered."""

    @property
    def waits(self) -> bool:
        """Whether there is anything."""
        return len(self._spool) > 0

    def put(self, batch: list[Entry], request: bytes, now_ns: int) -> None:
        """Put the batch last taken from the queue behind all others, or drop it where that is not possible.

        Args:
            batch: The batch.
            request: The same, encoded.
            now_ns: Nanoseconds since the epoch.
        """
        try:
            self._spool.add(request, len(batch), now_ns)
        except Full as error:
            self._drop(batch, "spool_full", error)
        except OSError as error:
            self._drop(batch, "spool_error", error)
        else:
            self._queue.spool(batch)
            if self._all_unreadable:  # it need not wait for them
                self.try_at = 0.0

    def oldest(self, now: float) -> bytes | None:
        """Give the request to send next; None where nothing waits, or none can be read now and is due later.

        What is damaged is set aside; a file that cannot be read for another reason keeps no others back.
        """
        while self._spool:
            try:
                request = self._spool.read()
            except (OSError, MemoryError) as error:
                self._tell("spool_read", "what waits on disk cannot be read now: %r", error)
                short = isinstance(error, MemoryError) or error.errno in _SHORT
                if not short and self._spool.pass_over():
                    continue
                self.postpone(now, None)
                self._all_unreadable = not short
                return None
            if request is not None:
                return request
            own, records = self._spool.is_own(self._spool.oldest()), self._spool.oldest().records
            try:
                where = str(self._spool.set_aside())
            except OSError as error:
                where = repr(error)
            self._tell("spool_error", "%d records on disk cannot be read (spool_error): %s", records, where)
            if own:
                self._queue.settle_spooled(0, "spool_error")
        return None

    def settle(self, acknowledged: int, reason: str) -> None:
        """Remove the oldest request: so many of its records were acknowledged, the others were not."""
        if self._spool.is_own(self._spool.oldest()):
            self._queue.settle_spooled(acknowledged, reason)
        else:
            self.adopted += acknowledged
        try:
            self._spool.remove()
        except OSError as error:
            self._tell("spool_delete", "a file of the spool cannot be deleted: %r", error)
        self._delay_s, self.try_at = _FIRST_DELAY_S, 0.0

    def postpone(self, now: float, retry_after_s: float | None) -> None:
        """Wait before the next attempt: longer each time, and at least as long as the receiver says."""
        delay_s = self._delay_s * uniform(0.5, 1.0)  # noqa: S311  # spreads clients, keeps no secret
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        delay_s = max(delay_s, min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S))
        self.try_at = now + delay_s
        self._all_unreadable = False

    def records(self) -> int:
        """Count the records of the oldest request."""
        return self._spool.oldest().records

    def close(self) -> None:
        """Leave what waits to the next process."""
        self._spool.close()

    def _drop(self, batch: list[Entry], reason: str, error: Exception) -> None:
        self._tell(reason, "%d records were dropped (%s): %s", len(batch), reason, error)
        self._queue.settle(batch, 0, reason)
