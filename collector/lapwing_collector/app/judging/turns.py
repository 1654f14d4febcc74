"""Whose turn it is: of each key one piece of work at a time, the earliest first."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

SLOW_S: Final = 1.0
"""Who takes longer is slow until it is quicker again."""


class Turns(Generic[Key]):
    """Hands out work to as many as ask for it.

    All takers but one may be at slow work, so that slow keys hold up each other and nobody else. With one
    taker, all are alike.
    """

    def __init__(self, takers: int, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Hand out to so many at a time."""
        self._now_s = now_s
        self._slow_room = max(takers - 1, 1)
        self._one = takers == 1
        self._waiting: dict[bool, list[tuple[float, datetime, int, Key]]] = {False: [], True: []}
        self._number = itertools.count()
        self._known: set[Key] = set()
        self._taken: dict[Key, tuple[float, bool]] = {}
        self._slow: set[Key] = set()
        self._closed = False
        self._changed = threading.Condition()

    def offer(self, key: Key, order: datetime, at_s: float = 0.0) -> None:
        """Let `key` have a turn, unless it waits for one or has one.

        Args:
            key: Whose.
            order: Of those whose time has come at the same moment, the smallest is first.
            at_s: Not before this time.
        """
        with self._changed:
            if key in self._known or self._closed:
                return
            self._known.add(key)
            entry = (at_s, order, next(self._number), key)
            heapq.heappush(self._waiting[not self._one and key in self._slow], entry)
            self._changed.notify()

    def take(self, *, wait: bool) -> tuple[Key, float] | None:
        """Begin a turn; who calls this must call `done` in the end.

        Args:
            wait: Until there is one.

        Returns:
            Whose turn it is, and how many seconds late; None if there is none, or no more will be.
        """
        with self._changed:
            while not self._closed:
                waiting = self._next()
                now_s = self._now_s()
                if waiting and waiting[0][0] <= now_s:
                    at_s, _, _, key = heapq.heappop(waiting)
                    self._taken[key] = now_s, waiting is self._waiting[True]
                    self._changed.notify()  # somebody else may wait for the one after
                    return key, now_s - at_s
                if not wait:
                    return None
                self._changed.wait(waiting[0][0] - now_s if waiting else None)
            return None

    def done(self, key: Key) -> None:
        """End a turn; the key may be offered again."""
        with self._changed:
            began_s, _ = self._taken.pop(key)
            (self._slow.add if self._now_s() - began_s > SLOW_S else self._slow.discard)(key)
            self._known.discard(key)
            self._changed.notify_all()

    def busy(self, key: Key) -> bool:
        """Whether `key` waits for its turn or has it."""
        with self._changed:
            return key in self._known

    def close(self) -> None:
        """Hand out no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> list[tuple[float, datetime, int, Key]]:
        """The queue whose first is next; it may be empty."""
        quick, slow = self._waiting[False], self._waiting[True]
        room = sum(slowly for _, slowly in self._taken.values()) < self._slow_room
        return slow if slow and room and (not quick or slow[0] < quick[0]) else quick
