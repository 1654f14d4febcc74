"""When a query meets a damaged file: the owner of the lake sets it aside, and the rest is answered."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from lapwing_collector.errors import LapwingError

logger = logging.getLogger(__name__)

PAUSE_S: Final = 60.0
"""Reading every file of a lake takes a while: what could not be mended is not tried again at once."""


class Mending:
    """Has all files of the lake looked through, once for all queries that meet damage at the same time."""

    def __init__(self, scrub: Callable[[], int], now_s: Callable[[], float] = time.monotonic) -> None:
        """Wire the parts.

        Args:
            scrub: Sets damaged files aside; how many is returned.
            now_s: A clock that only goes forward.
        """
        self._scrub = scrub
        self._now_s = now_s
        self._lock = threading.Lock()
        self._ended_s = -PAUSE_S
        self._found = False

    def __call__(self) -> bool:
        """Whether it is worth asking again, because damaged files were set aside since the caller met one."""
        met_s = self._now_s()
        with self._lock:
            if self._ended_s >= met_s:
                return self._found  # somebody else had it done while this one waited
            if met_s < self._ended_s + PAUSE_S:
                return False
            try:
                self._found = self._scrub() > 0
            except LapwingError as error:
                self._found = False
                logger.warning(
                    "damaged files could not be set aside: %s", error, extra={"action": "mending_failed"}
                )
            self._ended_s = self._now_s()
            return self._found
