"""Lets go of what the alert state keeps no longer: once an hour, in steps that hold no commit up."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.errors import StateUnavailableError
from lapwing_collector.state import Keep, Pruned, Store

logger = logging.getLogger(__name__)

_EVERY_S: Final = 3600.0
_FIRST_S: Final = 60.0
"""After the start, when there is more to do."""
_SHARE: Final = 0.1
"""Which part of the time a step may take while there is more to do."""


class Pruner:
    """Prunes the state of a collector."""

    def __init__(
        self, store: Store, now: Callable[[], datetime], *, alerts: timedelta, messages: timedelta
    ) -> None:
        """Prepare.

        Args:
            store: What is pruned.
            now: Wall-clock time, naive UTC.
            alerts: How long history, messages that were given up, and silences are kept.
            messages: How long messages are that were delivered, or kept back.
        """
        self._store = store
        self._now = now
        self._alerts = alerts
        self._messages = messages
        self._gone: Counter[str] = Counter({"history": 0, "outbox": 0, "silences": 0})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-pruning", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Stop; tells whether it did in time. What is left is for the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def counts(self) -> Mapping[str, int]:
        """How many rows went since the start, by table."""
        return dict(self._gone)

    def work(self) -> None:
        """Let go of all that is old now."""
        now = self._now()
        keep = Keep(alerts=now - self._alerts, messages=now - self._messages)
        self._gone["silences"] += self._store.forget_silences(keep)
        done = Pruned({}, ("history", 0))
        while done.after is not None and not self._stop.is_set():
            began_s = time.monotonic()
            done = self._store.prune(keep, done.after)
            self._gone.update(done.rows)
            if any(done.rows.values()):
                self._stop.wait((time.monotonic() - began_s) * (1 / _SHARE - 1))

    def _run(self) -> None:
        wait_s = _FIRST_S
        while not self._stop.wait(wait_s):
            wait_s = _EVERY_S
            try:
                self.work()
            except StateUnavailableError:
                wait_s = _FIRST_S
            except Exception:
                logger.exception("old alerts and messages stay", extra={"action": "pruning_failed"})
