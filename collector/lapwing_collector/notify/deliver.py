"""Delivery of the outbox: one thread for each target, so that a dead one delays no other."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol

from lapwing_collector.model.alerts import Message
from lapwing_collector.notify.retry import next_attempt
from lapwing_collector.notify.target import Target, Verdict

_log = logging.getLogger(__name__)

_BATCH: Final = 100
_LONGEST_WAIT_S: Final = 10.0
"""Looks into the outbox at least this often: other processes put messages in, and clocks jump."""
_OUTBOX_RETRY_S: Final = 1.0


class QueuedMessage(Protocol):
    """A message that waits to be sent."""

    @property
    def message(self) -> Message:
        """What to send."""
        ...

    @property
    def attempts(self) -> int:
        """Attempts begun before."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was put in."""
        ...


class Outbox(Protocol):
    """Where messages wait, and where what became of them is kept. Times are wall-clock UTC."""

    def recover(self) -> int:
        """Queue again what a process left half sent when it died."""
        ...

    def due_messages(self, target: str, now: datetime, limit: int) -> Sequence[QueuedMessage]:
        """Messages to send to `target` now, in order."""
        ...

    def next_due(self, target: str) -> datetime | None:
        """When the next message to `target` is due, None where none waits."""
        ...

    def mark_sending(self, key: str) -> bool:
        """Count an attempt that is about to begin; False where the message is not waiting any more."""
        ...

    def mark_sent(self, key: str, now: datetime) -> None:
        """Note that the target accepted the message."""
        ...

    def mark_retry(self, key: str, next_at: datetime, error: str) -> None:
        """Queue the message again for `next_at`."""
        ...

    def mark_dead(self, key: str, error: str) -> None:
        """Give the message up."""
        ...


class Deliverer:
    """Sends what the outbox holds, each message at least once.

    A message is sent twice only where the process dies, or the outbox fails, between the target's acceptance
    and the note of it; both then carry the same key.
    """

    def __init__(
        self,
        outbox: Outbox,
        targets: Sequence[Target],
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare a thread for each of `targets`.

        Args:
            outbox: Where messages wait; used from all threads.
            targets: With names that differ. Messages to other names stay in the outbox.
            now: Wall-clock time, naive UTC.
            jitter: Share of each retry delay to wait, from 0 to 1.
        """
        self._outbox = outbox
        self._workers = {target.name: _Worker(outbox, target, now, jitter) for target in targets}

    def start(self) -> None:
        """Queue again what an earlier process left half sent, and begin to deliver. Returns at once."""
        self._outbox.recover()
        for worker in self._workers.values():
            worker.thread.start()

    def wake(self, target: str) -> None:
        """Say that the outbox may hold something new for `target`; unknown names are fine."""
        if worker := self._workers.get(target):
            worker.wake()

    def stop(self, grace_s: float) -> None:
        """Begin no more attempts, and give those under way `grace_s` seconds to end.

        What hangs longer is left behind, to be sent again at the next start.
        """
        deadline = time.monotonic() + grace_s
        for worker in self._workers.values():
            worker.stop()
        for worker in self._workers.values():
            if worker.thread.is_alive():
                worker.thread.join(max(0.0, deadline - time.monotonic()))

    def counts(self) -> Mapping[tuple[str, Verdict], int]:
        """Attempts since the start, by target and verdict."""
        return {
            (name, verdict): worker.counts[verdict]
            for name, worker in self._workers.items()
            for verdict in Verdict
        }


class _Worker:
    """The thread of one target."""

    def __init__(
        self, outbox: Outbox, target: Target, now: Callable[[], datetime], jitter: Callable[[], float]
    ) -> None:
        self.counts: Counter[Verdict] = Counter()
        # A daemon, because no timeout bounds a service that answers a byte at a time.
        self.thread = threading.Thread(target=self._run, name=f"notify-{target.name}", daemon=True)
        self._outbox = outbox
        self._target = target
        self._now = now
        self._jitter = jitter
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        self._unwritten: Callable[[], None] | None = None

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._deliver_due()
                self._wait(self._until_next_s())
            except Exception:  # noqa: BLE001  # logged; whatever ails the outbox, nothing is lost by trying again
                _log.exception(
                    "target %s: the outbox cannot be used",
                    self._target.name,
                    extra={"action": "outbox_failed"},
                )
                self._wait(_OUTBOX_RETRY_S)

    def _deliver_due(self) -> None:
        self._write_outcome()
        for queued in self._outbox.due_messages(self._target.name, self._now(), _BATCH):
            if self._stopping:
                return
            if self._outbox.mark_sending(queued.message.key):
                self._unwritten = self._attempt(queued)
                self._write_outcome()

    def _write_outcome(self) -> None:
        """Note the newest attempt's outcome; where that fails it is noted before anything else is sent."""
        if self._unwritten is not None:
            self._unwritten()
            self._unwritten = None

    def _attempt(self, queued: QueuedMessage) -> Callable[[], None]:
        """Send once; returns what notes the outcome."""
        key, name = queued.message.key, self._target.name
        outcome = self._target.send(queued.message)
        now = self._now()
        verdict, retry_at = outcome.verdict, None
        if verdict is Verdict.RETRY:
            retry_at = next_attempt(queued.attempts + 1, queued.created_at, now, self._jitter())
            verdict = Verdict.RETRY if retry_at else Verdict.DEAD
        self.counts[verdict] += 1
        if verdict is Verdict.SENT:
            return partial(self._outbox.mark_sent, key, now)
        if retry_at is not None:
            _log.warning(
                "target %s: message %s is tried again at %s UTC: %s",
                name,
                key,
                retry_at,
                outcome.error,
                extra={"action": "message_retried"},
            )
            return partial(self._outbox.mark_retry, key, retry_at, outcome.error)
        _log.error(
            "target %s: message %s is given up: %s",
            name,
            key,
            outcome.error,
            extra={"action": "message_dead"},
        )
        return partial(self._outbox.mark_dead, key, outcome.error)

    def _until_next_s(self) -> float:
        due = self._outbox.next_due(self._target.name)
        if due is None:
            return _LONGEST_WAIT_S
        return min(max((due - self._now()).total_seconds(), 0.0), _LONGEST_WAIT_S)

    def _wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._stopping, timeout_s)
            self._woken = False
