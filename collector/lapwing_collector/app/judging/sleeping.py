"""Whose time has not come: what is looked through again and again is only what may have something to do."""

import heapq
import itertools
import threading
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Sleepers(Generic[Key]):
    """Keys that are awake, and others that are asleep until a moment. May be used from any thread."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """Begin with all of them awake."""
        self._awake = dict.fromkeys(keys)
        self._asleep: list[tuple[datetime, int, Key]] = []
        self._number = itertools.count()
        self._lock = threading.Lock()

    def sleep(self, key: Key, until: datetime) -> None:
        """Leave a key alone until then, where it is awake."""
        with self._lock:
            if key in self._awake:
                del self._awake[key]
                heapq.heappush(self._asleep, (until, next(self._number), key))

    def awake(self, now: datetime) -> tuple[list[Key], datetime | None]:
        """The keys that are awake by now, and when the next of the others wakes; None if none sleeps."""
        with self._lock:
            while self._asleep and self._asleep[0][0] <= now:
                self._awake[heapq.heappop(self._asleep)[2]] = None
            return list(self._awake), self._asleep[0][0] if self._asleep else None
