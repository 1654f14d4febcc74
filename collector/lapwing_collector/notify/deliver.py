"""Delivery of the outbox: one thread for each target, so that a dead one delays no other."""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

from lapwing_collector.errors import UnavailableError
from lapwing_collector.model.alerts import Message, Spoken
from lapwing_collector.notify.letters import dead_letters
from lapwing_collector.notify.lived import Lived
from lapwing_collector.notify.pace import Pace
from lapwing_collector.notify.reach import ANYWHERE, Reach
from lapwing_collector.notify.retry import GIVE_UP_AFTER, asked_for, next_attempt
from lapwing_collector.notify.superseding import superseded
from lapwing_collector.notify.target import ATTEMPT_LIMIT_S, Outcome, Target, Verdict

_log = logging.getLogger(__name__)

STUCK_AFTER_S: Final = ATTEMPT_LIMIT_S + 30.0
"""An attempt that has not ended by then hangs where no limit reaches."""

_BATCH: Final = 100
_LONGEST_WAIT_S: Final = 10.0
"""Looks into the outbox at least this often: other processes put messages in, and clocks jump."""
_OUTBOX_RETRY_S: Final = 1.0
_OTHERS_TOLD_EVERY: Final = timedelta(hours=1)
_NO_TARGET: Final = "the notify file has no target of this name any more"
_HANGS: Final = Outcome(Verdict.RETRY, "an earlier attempt hangs and cannot be ended; restart the collector")


class QueuedMessage(Protocol):
    """A message that waits to be sent."""

    @property
    def message(self) -> Message:
        """What to send."""
        ...

    @property
    def attempts(self) -> int:
        """Attempts begun before, since it was queued last."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was put in."""
        ...

    @property
    def queued_at(self) -> datetime:
        """When it was put in, or put in again."""
        ...

    @property
    def last_error(self) -> str | None:
        """Why the newest attempt failed."""
        ...

    @property
    def interrupted(self) -> bool:
        """Whether nobody noted what came of the newest attempt."""
        ...


class Outbox(Protocol):
    """Where messages wait, and where what became of them is kept. Times are wall-clock UTC."""

    def recover(self, target: str) -> int:
        """Queue again what was left half sent to `target`."""
        ...

    def give_up_without_target(self, known: Collection[str], before: datetime) -> int:
        """Give up what was queued before a time for other targets than these."""
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

    def mark_dead(
        self, key: str, error: str, letters: Callable[[int, int], Sequence[Message]], now: datetime
    ) -> Sequence[Message]:
        """Give the message up, and put in what tells of it, which is returned.

        `letters` gives that for how many of the alerts that it says fire may still, and how many are over.
        """
        ...

    def hasten(self, target: str, now: datetime) -> None:
        """Let all that waits for `target` be due now."""
        ...

    def waiting_behind(self, key: str) -> Sequence[Message]:
        """Messages of the same group to the same target that wait behind a message, oldest first."""
        ...

    def alerts_of(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, Spoken]]:
        """How messages speak of alerts, by key and fingerprint."""
        ...

    def heard(self, key: str) -> bool:
        """Whether the target may think, from what it was told before a message, that its group fires."""
        ...

    def drop(self, reasons: Mapping[str, str]) -> None:
        """Let messages that wait go unsent, each for its reason, by key."""
        ...


class Deliverer:
    """Sends what the outbox holds, each message at least once.

    A message is sent twice only where the process dies, or the outbox fails, between the target's acceptance
    and the note of it, or where a service accepts a message and does not say so in time; both then carry the
    same key.
    """

    def __init__(
        self,
        outbox: Outbox,
        targets: Sequence[Target],
        now: Callable[[], datetime],
        jitter: Callable[[], float] = random.random,
        *,
        reach: Reach = ANYWHERE,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        others: Mapping[str, Sequence[str]] | None = None,
        noted: Callable[[], None] = lambda: None,
        stuck_after_s: float = STUCK_AFTER_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a thread for each of `targets`.

        Args:
            outbox: Where messages wait; used from all threads.
            targets: With names that differ. Messages to other names stay in the outbox for a day.
            now: Wall-clock time, naive UTC.
            jitter: Share of each retry delay to wait, from 0 to 1.
            reach: Where connections may go.
            fallbacks: Targets that are told what another one did not accept, by its name.
            others: Of a target without, who is told now and then that it did not accept something.
            noted: Called once it stands in the outbox what came of a message; from any thread.
            stuck_after_s: When an attempt that does not end is left behind.
            monotonic_s: Seconds that pass whatever is done to the wall clock.
        """
        self._outbox = outbox
        self._now = now
        self._new_worker = partial(
            _Worker,
            outbox,
            now=now,
            jitter=jitter,
            reach=reach,
            wake=self.wake,
            noted=noted,
            stuck_after_s=stuck_after_s,
            monotonic_s=monotonic_s,
        )
        self._changing = threading.Lock()
        self._started = False
        self._workers: Mapping[str, _Worker] = {}
        self._leaving: Mapping[str, _Worker] = {}
        self.use(targets, fallbacks, others)

    def start(self) -> None:
        """Begin to deliver, first what an earlier process left half sent. Returns at once."""
        lost = 0
        with suppress(UnavailableError):  # the next start will do
            lost = self._outbox.give_up_without_target(tuple(self._workers), self._now() - GIVE_UP_AFTER)
        if lost:
            _log.error(
                "%d messages are given up: the notify file has no targets of their names any more",
                lost,
                extra={"action": "message_dead"},
            )
        with self._changing:
            self._started = True
            for worker in self._workers.values():
                worker.start()

    def use(
        self,
        targets: Sequence[Target],
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        others: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Go on with other targets, as the notify file has them now.

        Those that stay keep their thread, what waits for them, and, under the same address, whether they
        count as down. Of those that are gone no attempt begins any more: what waits is given up, and those of
        their fallbacks that are still there are told.

        Args:
            targets: In place of those so far.
            fallbacks: Targets that are told what another one did not accept, by its name.
            others: Of a target without, who is told now and then that it did not accept something.
        """
        with self._changing:
            workers: dict[str, _Worker] = {}
            for target in targets:
                told = _Instead(
                    tuple((fallbacks or {}).get(target.name, ())), tuple((others or {}).get(target.name, ()))
                )
                known = self._workers.get(target.name) or self._leaving.get(target.name)
                if known is None or not known.use(target, told):
                    known = self._new_worker(target, instead=told)
                    if self._started:
                        known.start()
                workers[target.name] = known
            gone = {name: worker for name, worker in self._workers.items() if name not in workers}
            leaving = {name: worker for name, worker in self._leaving.items() if name not in workers}
            self._workers, self._leaving = workers, leaving | gone
            for worker in gone.values():
                worker.leave(workers.keys())

    def wake(self, target: str) -> None:
        """Say that the outbox may hold something new for `target`; unknown names are fine."""
        if worker := self._workers.get(target):
            worker.wake()

    def stop(self, grace_s: float) -> None:
        """Begin no more attempts, and give those under way `grace_s` seconds to end.

        What hangs longer is left behind, to be sent again at the next start.
        """
        deadline = time.monotonic() + grace_s
        with self._changing:
            workers = [*self._workers.values(), *self._leaving.values()]
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def counts(self) -> Mapping[tuple[str, Verdict], int]:
        """Attempts since the start, by target and verdict."""
        return {
            (name, verdict): worker.counts[verdict]
            for name, worker in self._workers.items()
            for verdict in Verdict
        }

    def down(self) -> Mapping[str, bool]:
        """Which targets count as down."""
        return {name: worker.down for name, worker in self._workers.items()}


@dataclass(frozen=True, slots=True)
class _Instead:
    """Who is told what a target did not accept: fallbacks of all, others, without these, now and then."""

    fallbacks: tuple[str, ...]
    others: tuple[str, ...]

    def among(self, known: Collection[str]) -> "_Instead":
        """Those that are known."""
        return _Instead(
            tuple(name for name in self.fallbacks if name in known),
            tuple(name for name in self.others if name in known),
        )


class _Worker:
    """The thread of one target."""

    def __init__(
        self,
        outbox: Outbox,
        target: Target,
        *,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
        reach: Reach,
        instead: _Instead,
        wake: Callable[[str], None],
        noted: Callable[[], None],
        stuck_after_s: float,
        monotonic_s: Callable[[], float],
    ) -> None:
        self.counts: Counter[Verdict] = Counter()
        self._outbox = outbox
        self._target = target
        self._clock = now
        self._monotonic_s = monotonic_s
        self._lived = Lived()
        self._jitter = jitter
        self._reach = reach
        self._instead = instead
        self._others_told_at: datetime | None = None
        self._wake_other = wake
        self._noted = noted
        self._stuck_after_s = stuck_after_s
        self._pace = Pace(target.rate)
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        self._leaves = self._left = False
        self._following: Target | None = None
        self._unwritten: Callable[[], None] | None = None
        self._unsure = True
        """Whether a message may count as being sent that is not."""
        self._trying: QueuedMessage | None = None
        self._hanging: threading.Thread | None = None
        self._thread = self._new_thread()

    @property
    def down(self) -> bool:
        return self._pace.open

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def use(self, target: Target, instead: _Instead) -> bool:
        """Go on with the target as it is now; False where this worker has left."""
        with self._changed:
            if self._left:
                return False
            self._leaves = False
            self._instead = instead
            self._following = None if target.is_as(self._target) else target
            self._woken = True
            self._changed.notify()
            return True

    def leave(self, known: Collection[str]) -> None:
        """Give up what waits, tell those of the others that are `known`, and end."""
        with self._changed:
            self._leaves = True
            self._instead = self._instead.among(known)
            self._woken = True
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _new_thread(self) -> threading.Thread:
        # A daemon, because a thread that hangs where no limit reaches must not keep the process.
        return threading.Thread(target=self._run, name=f"notify-{self._target.name}", daemon=True)

    def _run(self) -> None:
        while not self._stopping and self._is_mine():
            try:
                self._follow()
                if self._leaves:
                    self._give_all_up()
                    if self._has_left():
                        return
                    continue
                self._deliver_due()
                self._wait(self._until_next_s())
            except UnavailableError:  # the outbox has told why
                self._unsure = True
                self._wait(_OUTBOX_RETRY_S)
            except Exception:  # noqa: BLE001  # logged; whatever ails the outbox, nothing is lost by trying again
                self._unsure = True
                _log.exception(
                    "target %s: the outbox cannot be used",
                    self._target.name,
                    extra={"action": "outbox_failed"},
                )
                self._wait(_OUTBOX_RETRY_S)

    def _follow(self) -> None:
        """Take the target as the notify file has it by now."""
        with self._changed:
            before, following, self._following = self._target, self._following, None
            if following is None:
                return
            self._target = following
        if following.leads_where(before):
            self._pace.keep_to(following.rate)
        else:
            self._pace = Pace(following.rate)
            self._outbox.hasten(following.name, self._now())  # what failed there may arrive here

    def _give_all_up(self) -> None:
        self._get_sure()
        name = self._target.name
        self._outbox.hasten(name, self._now())
        while waiting := self._outbox.due_messages(name, self._now(), _BATCH):
            for queued in waiting:
                if self._stopping or not self._leaves:
                    return
                if self._outbox.mark_sending(queued.message.key):
                    self._unwritten = self._dead(queued, _NO_TARGET, self._now())
                    self._write_outcome()

    def _has_left(self) -> bool:
        with self._changed:
            self._left = self._leaves
            return self._left

    def _is_mine(self) -> bool:
        return self._thread is threading.current_thread()

    def _get_sure(self) -> None:
        """Know of every message that it is not being sent."""
        self._write_outcome()
        if self._unsure:
            self._outbox.recover(self._target.name)
            self._unsure = False

    def _deliver_due(self) -> None:
        self._get_sure()
        for queued in self._outbox.due_messages(self._target.name, self._now(), _BATCH):
            if self._stopping or self._leaves or self._following is not None:
                self.wake()
                return
            now = self._now()
            ready = self._pace.ready_at(now) <= now
            if self._is_over(queued, now):
                self._give_up(queued, now)
            elif ready and self._drop_superseded(queued):
                self.wake()  # what took its place is due
                continue
            elif ready and self._outbox.mark_sending(queued.message.key):
                self._pace.begin(now)
                outcome = self._attempt(queued)
                if outcome is None:
                    return  # another thread has taken over
                self._unwritten = self._noting(queued, outcome)
            else:
                continue
            self._write_outcome()

    def _drop_superseded(self, queued: QueuedMessage) -> bool:
        """Let a message go unsent where a newer one says all that it says."""
        key = queued.message.key
        later = [message for message in self._outbox.waiting_behind(key) if not message.origin]
        if queued.interrupted or queued.message.origin or not later:
            return False  # what may have been taken is told again, so that what follows fits what was heard
        dropped = superseded(
            queued.message,
            later,
            self._outbox.alerts_of([key, *(message.key for message in later)]),
            heard=self._outbox.heard(key),
            tried=queued.attempts > 0 or queued.queued_at != queued.created_at,
        )
        self._outbox.drop(dict(dropped))
        return bool(dropped)

    def _is_over(self, queued: QueuedMessage, now: datetime) -> bool:
        """Whether its time is over, and it gets no chance because the target is down."""
        return self._pace.open and self._lived.since(queued.queued_at, now) > self._target.max_age

    def _now(self) -> datetime:
        now = self._clock()
        self._lived.look(now, self._monotonic_s())
        return now

    def _give_up(self, queued: QueuedMessage, now: datetime) -> None:
        """Give up a message without another attempt."""
        if self._outbox.mark_sending(queued.message.key):
            error = queued.last_error or self._pace.error
            self._unwritten = self._dead(queued, f"not accepted in time: {error}", now)

    def _write_outcome(self) -> None:
        """Note the newest attempt's outcome; where that fails it is noted before anything else is sent."""
        if self._unwritten is not None:
            self._unwritten()
            self._unwritten = None
            self._noted()

    def _attempt(self, queued: QueuedMessage) -> Outcome | None:
        """Send once; None where this thread was given up meanwhile."""
        if self._hanging is not None:
            if self._hanging.is_alive():
                return _HANGS
            self._hanging = None
        watch = threading.Timer(self._stuck_after_s, self._leave_behind, [queued])
        watch.daemon = True
        self._trying = queued
        watch.start()
        try:
            outcome = self._target.send(queued.message, self._reach)
        finally:
            watch.cancel()
        with self._changed:
            if not self._is_mine():
                return None
            self._trying = None
            return outcome

    def _leave_behind(self, queued: QueuedMessage) -> None:
        """Let another thread go on for one that hangs in an attempt; what comes of that is not heard."""
        target = self._target.again()
        with self._changed:
            if self._trying is not queued:
                return  # it has just ended
            self._trying = None
            self._hanging = self._thread
            self._target = target
            self._thread = self._new_thread()
            hangs = Outcome(Verdict.RETRY, f"it did not end within {self._stuck_after_s:g} s")
            self._unwritten = self._noting(queued, hangs)
            self._thread.start()

    def _noting(self, queued: QueuedMessage, outcome: Outcome) -> Callable[[], None]:
        """Judge an outcome; returns what notes it."""
        now = self._now()
        if outcome.verdict is Verdict.RETRY:
            return self._failed(queued, outcome, now)
        was_down = self._pace.succeeded()
        note: Callable[[], None]
        if outcome.verdict is Verdict.SENT:
            self.counts[Verdict.SENT] += 1
            note = partial(self._outbox.mark_sent, queued.message.key, now)
        else:
            note = self._dead(queued, outcome.error, now)

        def note_and_hasten() -> None:
            note()
            self._outbox.hasten(self._target.name, now)

        return note_and_hasten if was_down else note

    def _failed(self, queued: QueuedMessage, outcome: Outcome, now: datetime) -> Callable[[], None]:
        """Judge a failure that may pass."""
        asked = asked_for(outcome.retry_after, now)
        self._pace.failed(now, outcome.error, self._jitter())
        if asked is not None:
            self._pace.hold(asked)
        queued_at = now - self._lived.since(queued.queued_at, now)
        retry_at = next_attempt(
            queued.attempts + 1, queued_at, now, self._jitter(), self._target.max_age, asked
        )
        if retry_at is None:
            return self._dead(queued, outcome.error, now)
        self.counts[Verdict.RETRY] += 1
        _log.warning(
            "target %s: message %s is tried again at %s UTC: %s",
            self._target.name,
            queued.message.key,
            retry_at,
            outcome.error,
            extra={"action": "message_retried"},
        )
        return partial(self._outbox.mark_retry, queued.message.key, retry_at, outcome.error)

    def _dead(self, queued: QueuedMessage, error: str, now: datetime) -> Callable[[], None]:
        """Returns what gives a message up, and tells those who are to know."""
        self.counts[Verdict.DEAD] += 1
        name = self._target.name
        _log.error(
            "target %s: message %s is given up: %s",
            name,
            queued.message.key,
            error,
            extra={"action": "message_dead"},
        )
        told, names = error, self._instead.fallbacks
        if not names and not queued.message.origin and self._may_tell_others(now):
            names = self._instead.others
            told = f"{error} (for an hour nobody is told of others: `lapwing dead` lists them)"
        letters = partial(dead_letters, queued.message, told, names)

        def give_up() -> None:
            for letter in self._outbox.mark_dead(queued.message.key, error, letters, now):
                self._wake_other(letter.target)

        return give_up

    def _may_tell_others(self, now: datetime) -> bool:
        """Whether they have not been told for a while; they are from now on."""
        last, self._others_told_at = self._others_told_at, now
        if last is None or not timedelta() <= now - last < _OTHERS_TOLD_EVERY:
            return True
        self._others_told_at = last
        return False

    def _until_next_s(self) -> float:
        due = self._outbox.next_due(self._target.name)
        if due is None:
            return _LONGEST_WAIT_S
        now = self._now()
        return min(max((max(due, self._pace.ready_at(now)) - now).total_seconds(), 0.0), _LONGEST_WAIT_S)

    def _wait(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._woken or self._stopping, timeout_s)
            self._woken = False
