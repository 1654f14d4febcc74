"""When a query meets a damaged file: the owner of the lake sets it aside, and the rest is answered."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from lapwing_collector.errors import LapwingError

logger = logging.getLogger(__name__)

PAUSE_S: Final = 60.0
"""Reading files takes a while: what could not be mended is not tried again at once."""


class Mending:
    """Has the file that queries met, or all, looked through, once for all that meet damage at once."""

    def __init__(
        self, scrub: Callable[[str | None], int], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Wire the parts.

        Args:
            scrub: Sets a file aside if it is damaged, or all that are if None; how many is returned.
            now_s: A clock that only goes forward.
        """
        self._scrub = scrub
        self._now_s = now_s
        self._lock = threading.Lock()
        self._looks: dict[str | None, tuple[float, bool]] = {}

    def __call__(self, file: str | None) -> bool:
        """Whether it is worth asking again, because what is damaged was set aside since the caller met it.

        Args:
            file: What it met, from the folder of the lake's files on; None where that is unknown.
        """
        met_s = self._now_s()
        with self._lock:
            self._looks = {name: look for name, look in self._looks.items() if met_s < look[0] + PAUSE_S}
            if file in self._looks:
                ended_s, found = self._looks[file]
                return found and ended_s >= met_s  # somebody else had it done while this one waited
            try:
                found = self._scrub(file) > 0
            except LapwingError as error:
                found = False
                logger.warning(
                    "damaged files could not be set aside: %s", error, extra={"action": "mending_failed"}
                )
            self._looks[file] = self._now_s(), found
            return found
