"""Up to which event time the lake is complete, table by table: what lets slots be judged."""

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa

from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.metrics import WatermarkPolicy, newest_credible, watermark
from lapwing_collector.state import Store

_MOMENT: Final = timedelta(microseconds=1)
"""What times are told apart by."""


class Completeness:
    """Watermarks of the models' tables, by table name in lower case, as SQL tells tables apart.

    Rows that are acknowledged but not in the lake yet hold the clock back: it moves a watermark only as far
    as the oldest of them came, so that a backlog is never taken for silence.
    """

    def __init__(
        self,
        *,
        store: Store,
        policy: WatermarkPolicy,
        clock: Clock,
        oldest_waiting: Callable[[], datetime | None],
        others: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """Wire the parts.

        Args:
            store: Keeps watermarks over restarts.
            policy: How watermarks follow data and clock; without an `idle_after` only data moves them.
            clock: The wall clock.
            oldest_waiting: When the oldest request came whose rows may not be in the lake; None if all are.
            others: Every request that came to other collectors before is in the lake; None if there are none.
        """
        self._store = store
        self._policy = policy
        self._clock = clock
        self._oldest_waiting = oldest_waiting
        self._others = others
        self._marks: dict[str, datetime] = {}
        self._newest: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._asked: tuple[datetime | None, datetime] = (None, self._wall())

    def load(self) -> None:
        """Begin with what was kept; before anything is asked."""
        self._marks = self._store.load_watermarks()

    @property
    def replaying(self) -> bool:
        """Whether time is what the rows say."""
        return self._policy.idle_after is None

    @property
    def idle_after(self) -> timedelta | None:
        """Silence after which the clock takes watermarks on; None in a replay."""
        return self._policy.idle_after

    def unknown(self, tables: Collection[str]) -> set[str]:
        """Those of `tables` of which no row is known."""
        with self._lock:
            return set(tables) - self._marks.keys() - self._newest.keys()

    def saw(self, times: Mapping[str, pa.Array]) -> None:
        """Take note of event times that are in the lake now, by table."""
        now = self._wall()
        with self._lock:
            for table, array in times.items():
                self._note(table.lower(), newest_credible(array, now, self._policy))

    def heard(self, newest: Mapping[str, datetime | None]) -> None:
        """Take note of the newest event times that another collector brought, by table."""
        with self._lock:
            for table, moment in newest.items():
                self._note(table, moment)

    def _note(self, table: str, newest: datetime | None) -> None:
        if newest is not None:
            self._newest[table] = max(newest, self._newest.get(table, newest))

    def advance(self) -> None:
        """Move the watermarks to where data, clock and `rules advance` allow."""
        # First what waits, then what is there: a row that moves over in between is then merely seen late.
        settled = self.settled()
        asked = self._asked_for()
        others = self._others()
        with self._lock:
            # What one brought says nothing of what another one still has.
            newest = {table: at if others is None else min(at, others) for table, at in self._newest.items()}
        moved = {}
        for table in {*newest, *self._marks}:
            mark = watermark(self._marks.get(table), newest.get(table), settled, self._policy)
            if mark is not None and asked is not None:
                mark = max(mark, asked)
            if mark is not None and mark != self._marks.get(table):
                moved[table] = mark
        self._marks.update(moved)
        self._store.save_watermarks(moved)

    def marks(self, tables: Collection[str]) -> list[datetime] | None:
        """The watermarks of `tables`; None while one of them has none, since it never had a row.

        For no tables (rules over logs or metrics) it is the one mark that fits all.
        """
        if tables:
            marks = [self._marks[table] for table in tables if table in self._marks]
            return marks if len(marks) == len(tables) else None
        if self._policy.idle_after is not None:
            return [self.settled() - self._policy.idle_after]
        return [min(self._marks.values())] if self._marks else None

    def now(self, marks: Collection[datetime]) -> datetime:
        """What time it is for a rule over tables with these watermarks."""
        return min(marks) if self.replaying else self._wall()

    def settled(self) -> datetime:
        """Every request that came before this is in the lake."""
        now = self._wall()
        return min(now, self._oldest_waiting() or now, self._others() or now)

    def as_of(self) -> datetime:
        """All that was received up to this moment is in the lake."""
        return self.settled() - _MOMENT

    def _wall(self) -> datetime:
        return utc_datetime(self._clock.now_ns())

    def _asked_for(self) -> datetime | None:
        """Up to when a replay's slots are to be closed, once all that came before the wish is in the lake."""
        moment = self._store.advanced_to() if self.replaying else None
        if moment != self._asked[0]:
            self._asked = (moment, self._wall())
        waiting = self._oldest_waiting()
        return moment if waiting is None or waiting > self._asked[1] else None
