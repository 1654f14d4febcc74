"""The budget of background work: a share of the time, less while others have much to do."""

import threading
import time
from collections.abc import Callable
from typing import Final

_LOOK_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
"""So that work goes on, slowly, under a load that never ends."""


class StoppedError(Exception):
    """The process is shutting down: work is left as it is, for the next start."""


class Pacing:
    """Makes background work wait between its parts."""

    def __init__(self, share: float, busy: Callable[[], bool]) -> None:
        """Let work have a share of the time.

        Args:
            share: Above 0, at most 1.
            busy: Whether others have so much to do that background work should wait.
        """
        self._share = share
        self._busy = busy
        self._stop = threading.Event()
        self._hurried = 0
        self._wake = threading.Event()

    def pause(self, worked_s: float) -> None:
        """Wait for as long as the share asks for after some work.

        Raises:
            StoppedError: `stop` was called.
        """
        started = time.monotonic()
        rest_s = min(worked_s * (1 / self._share - 1), _LONGEST_PAUSE_S)
        while not self._stop.is_set() and not self._hurried:
            waited_s = time.monotonic() - started
            if waited_s >= _LONGEST_PAUSE_S or (waited_s >= rest_s and not self._busy()):
                break
            self._wake.wait(max(rest_s - waited_s, _LOOK_S))
        if self._stop.is_set():
            raise StoppedError

    def hurry(self) -> None:
        """Do not wait from now on: somebody waits for the work to end."""
        self._hurried += 1
        self._wake.set()

    def relax(self) -> None:
        """Undo one `hurry`."""
        self._hurried -= 1
        if not self._hurried and not self._stop.is_set():
            self._wake.clear()

    def rest(self, seconds: float) -> bool:
        """Wait while there is nothing to do; False once `stop` was called."""
        return not self._stop.wait(seconds)

    def stop(self) -> None:
        """End every pause, this one and those to come."""
        self._stop.set()
        self._wake.set()
