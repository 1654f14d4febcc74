"""Tells who judges slots how far this collector is, and what it brought."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lapwing_collector.app.background.rounds import Rounds
from lapwing_collector.app.ingest.writing import Flushed
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK, WatermarkPolicy, newest_credible
from lapwing_collector.model.replicas import Mark
from lapwing_collector.state import Store

_TELL_S: Final = 0.5

POLICIES: Final = {"wall": WALL_CLOCK, "data": DATA_CLOCK}
"""How watermarks follow, by the setting `clock`."""


class Brought:
    """What came into the lake of which nobody has been told yet."""

    def __init__(self, policy: WatermarkPolicy, now: Callable[[], datetime]) -> None:
        """Begin with nothing.

        Args:
            policy: Which event times can be believed.
            now: Wall-clock time, naive UTC.
        """
        self._policy = policy
        self._now = now
        self._newest: dict[str, datetime | None] = {}
        self._lock = threading.Lock()

    def saw(self, flushed: Flushed) -> None:
        """Take note of what is in the lake now, before its rows count as waiting no more."""
        now = self._now()
        with self._lock:
            for table in flushed.labelled:
                self._newest.setdefault(table.lower(), None)
            for table, times in flushed.times.items():
                self._add(table.lower(), newest_credible(times, now, self._policy))

    def tell(self, store: Store) -> None:
        """Tell of it.

        Raises:
            StateUnavailableError: The state is away; it is told the next time.
        """
        with self._lock:
            newest, self._newest = self._newest, {}
        try:
            store.tell_arrivals(newest)
        except BaseException:
            with self._lock:
                for table, at in newest.items():
                    self._add(table, at)
            raise

    def _add(self, table: str, newest: datetime | None) -> None:
        known = self._newest.get(table)
        self._newest[table] = newest if known is None else max(known, newest or known)


@dataclass(frozen=True, slots=True)
class Teller:
    """Who tells.

    Attributes:
        collector: The name of its data directory.
        address: Where it answers, as a URL.
    """

    collector: str
    address: str


class Marking:
    """Tells twice a second, from a thread of its own, once the log is read back.

    What was brought is told before the mark that covers it, so that nothing is judged of which nobody knows.
    While the state is away nothing can be told, and nothing is judged either.
    """

    def __init__(
        self,
        store: Store,
        *,
        policy: WatermarkPolicy,
        oldest_waiting: Callable[[], datetime | None],
        now: Callable[[], datetime],
    ) -> None:
        """Join the parts.

        Args:
            store: What is shared.
            policy: Which event times can be believed.
            oldest_waiting: When the oldest request came whose rows may not be in the lake; None if all are.
            now: Wall-clock time, naive UTC.
        """
        self._store = store
        self._brought = Brought(policy, now)
        self._oldest_waiting = oldest_waiting
        self._now = now
        self._beats = 0
        self._teller: Teller | None = None
        self._rounds = Rounds(
            "lapwing-marks",
            _TELL_S,
            self.tell,
            self._end,
            failed="how far this collector is is told later",
            action="mark_failed",
        )

    def saw(self, flushed: Flushed) -> None:
        """Take note of what is in the lake now, before its rows count as waiting no more."""
        self._brought.saw(flushed)

    def start(self, teller: Teller) -> None:
        """Begin to tell."""
        self._teller = teller
        self._rounds.start()

    def close(self, timeout_s: float) -> bool:
        """Stop; where all that came is in the lake, nobody waits for this collector any more."""
        return self._rounds.close(timeout_s)

    def tell(self) -> None:
        """Tell how far this collector is, and what it brought.

        Raises:
            StateUnavailableError: The state is away; it is told the next time.
        """
        assert self._teller is not None  # noqa: S101  # it is set before the thread starts
        now = self._now()
        settled = min(now, self._oldest_waiting() or now)  # first: all that it covers was brought before
        self._brought.tell(self._store)
        self._beats += 1
        self._store.tell_mark(Mark(self._teller.collector, self._teller.address, settled, self._beats, now))

    def _end(self) -> None:
        assert self._teller is not None  # noqa: S101  # as above
        self.tell()
        if self._oldest_waiting() is None:
            self._store.forget_mark(self._teller.collector)
