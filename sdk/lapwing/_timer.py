"""Time for the exporter's thread, which another thread can make it stop waiting for."""

import time
from threading import Event


class ThreadTimer:
    """Time as the exporter's thread sees it, and the moment at which it runs out."""

    def __init__(self) -> None:
        self._closing = Event()
        self._hurried = False
        self._give_up_at = float("inf")

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Let time pass, except once after the end was announced: what is waited for is then tried."""
        if self._hurried:
            time.sleep(seconds)
        else:
            self._hurried = self._closing.wait(seconds)

    def give_up_at(self) -> float:
        """Moment on the clock of `now` at which time runs out."""
        return self._give_up_at

    def end_within(self, seconds: float) -> None:
        """Announce the end."""
        self._give_up_at = min(self._give_up_at, self.now() + seconds)
        self._closing.set()
