"""How far all collectors are together that write one lake, for who judges slots."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.app.replicas.together import Together
from lapwing_collector.model.replicas import Arrival
from lapwing_collector.state import Store

logger = logging.getLogger(__name__)

_FORGET_AFTER: Final = timedelta(days=1)


class Gathering:
    """What other collectors told. One that is this process itself is known better than it tells."""

    def __init__(
        self,
        store: Store,
        *,
        own: str | None,
        patience: timedelta,
        now: Callable[[], datetime],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            store: Where they tell.
            own: This collector's name; None where this process is none.
            patience: How long one that tells nothing is waited for.
            now: Wall-clock time, naive UTC.
            monotonic_s: Seconds that pass whatever is done to the wall clock.
        """
        self._store = store
        self._own = own
        self._patience_s = patience.total_seconds()
        self._now = now
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._together = Together(self._patience_s)
        self._after = 0

    @property
    def settled(self) -> datetime | None:
        """Every request that came to another collector before is in the lake; None if there is no other."""
        return self._together.settled

    @property
    def left_out(self) -> tuple[str, ...]:
        """Addresses of collectors that tell nothing any more and are not waited for."""
        return self._together.left_out

    def begin(self) -> Sequence[Arrival]:
        """Look for the first time since this process leads; all that is in the lake.

        Raises:
            StateUnavailableError: The state is away.
        """
        with self._lock:
            self._together = Together(self._patience_s)
            self._after = 0
        return self.look()

    def look(self) -> Sequence[Arrival]:
        """Hear what collectors tell; what is new in the lake since the last look.

        Raises:
            StateUnavailableError: The state is away.
        """
        with self._lock:
            # First how far they are, then what they brought: what a mark covers was told before it.
            marks = [mark for mark in self._store.marks() if mark.collector != self._own]
            arrivals = self._store.arrivals(self._after)
            before = self._together.left_out
            self._together.look(marks, self._monotonic_s())
            for address in sorted({*self._together.left_out} - {*before}):
                logger.warning(
                    "the collector at %s tells nothing; slots are judged without what it may still have",
                    address,
                    extra={"action": "collector_left_out"},
                )
            self._after = max((each.number for each in arrivals), default=self._after)
            if any(self._now() - mark.seen_at > _FORGET_AFTER for mark in marks):
                self._store.forget_marks(self._now() - _FORGET_AFTER)
            return arrivals
