"""Work that is done again and again in a thread of its own, whatever comes of it."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from lapwing_collector.errors import StateUnavailableError

logger = logging.getLogger(__name__)


class Rounds:
    """Goes on until it is closed. While the alert state is away, work is just tried again."""

    def __init__(  # what is done, in order
        self,
        name: str,
        every_s: float,
        work: Callable[[], None],
        end: Callable[[], None] | None = None,
        *,
        failed: str,
        action: str,
    ) -> None:
        """Prepare.

        Args:
            name: What the thread is called.
            every_s: Seconds between two rounds.
            work: A round.
            end: What is done in the end, once, if anything.
            failed: What people are told where either fails.
            action: The same for machines.
        """
        self._every_s = every_s
        self._work = work
        self._end = end
        self._failed = failed
        self._action = action
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Stop, if it began; tells whether it did in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try_to(self._work)
            self._stop.wait(self._every_s)
        if self._end is not None:
            self._try_to(self._end)

    def _try_to(self, work: Callable[[], None]) -> None:
        try:
            with suppress(StateUnavailableError):
                work()
        except Exception:
            logger.exception(self._failed, extra={"action": self._action})
