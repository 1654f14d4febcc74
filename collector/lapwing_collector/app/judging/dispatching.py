"""Turns groups of alerts into messages when their time has come."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.errors import StateUnavailableError
from lapwing_collector.model.alerts import Alert, RuleId, Transition
from lapwing_collector.model.groups import Group, GroupChange, Looked, Silence, Told
from lapwing_collector.notify import (
    Policy,
    Standing,
    Target,
    Telling,
    alert_of,
    changes_for,
    hush_by,
    is_active,
    is_astray,
    look_at,
    match_all,
    message_of,
    parse_matchers,
    regroup,
)
from lapwing_collector.state import Store

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 200
_LONGEST_WAIT_S: Final = 5.0
"""Looks for groups that are due at least this often: commands change groups, too, and clocks jump."""
_AFTER_FAILURE: Final = timedelta(minutes=1)


class Dispatcher:
    """Decides with `notify` what is told about groups, and keeps it in the outbox.

    A look and its messages are one transaction, so a stop loses nothing and tells nothing twice.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        store: Store,
        wake: Callable[[str], None],
        now: Callable[[], datetime],
        caught_up: Callable[[], bool],
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        """Join the parts.

        Args:
            policy: Who hears of what.
            store: Groups and outbox.
            wake: Tells that the outbox has something for a target.
            now: Wall-clock time, naive UTC.
            caught_up: Whether every rule that was due at the start has been evaluated since.
            looked: Called after alerts changed and what is due was told.
        """
        self._policy = policy
        self._store = store
        self._wake = wake
        self._now = now
        self._caught_up = caught_up
        self._told_of_look = looked
        self._held_since: datetime | None = now()
        self._looked_at = now()
        self._looking = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-dispatch", daemon=True)

    def changes(
        self, transitions: Iterable[Transition], condition: str | None, *, awaits_context: bool = False
    ) -> Sequence[GroupChange]:
        """What transitions mean to groups.

        Args:
            transitions: What happened to alerts of one rule.
            condition: What it is judged by.
            awaits_context: What helps to judge them is looked up next; people are told with it, or soon.
        """
        alerts = [
            replace(alert_of(transition, condition), awaits_context=awaits_context)
            for transition in transitions
        ]
        return changes_for(self._policy, alerts)

    def know_more(self, committed: int, transitions: Sequence[Transition], condition: str | None) -> None:
        """Tell people of transitions that awaited it with what was looked up, as soon as it is time to."""
        alerts = [alert_of(transition, condition) for transition in transitions]
        self._store.know_more(committed, transitions, alerts, self._now())

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def follow_routes(self, conditions: Mapping[RuleId, str | None]) -> None:
        """Bring every alert that fires into the groups that the routes want now.

        Args:
            conditions: What rules are judged by.
        """
        strays = [alert_of(each, conditions.get(each.rule)) for each in self._store.strays()]
        with self._looking:
            self._regroup(self._policy, strays)
            self._store.look_again(self._now())

    def use(self, policy: Policy) -> None:
        """Go on with what another notify file says; alerts that fire come into the groups that it wants."""
        with self._looking:
            self._regroup(policy)
            self._store.look_again(self._now())
            self._policy = policy  # last: if the state is away, all is as it was
        self.look()

    def look(self) -> None:
        """Tell at once what is due. It is in the outbox then; what fails is tried again before long."""
        try:
            self._look()
        except StateUnavailableError:
            pass
        except Exception:
            logger.exception("groups of alerts wait", extra={"action": "dispatch_failed"})
        self._changed.set()
        self._told_of_look()

    def wait(self) -> None:
        """Know that there is something to tell later, or sooner than it was."""
        self._changed.set()

    def close(self, timeout_s: float) -> bool:
        """Stop; tells whether it did in time. What is not told yet is after the next start."""
        self._stopping.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            wait_s = _LONGEST_WAIT_S
            try:
                self._look()
                wait_s = self._until_next_s()
            except StateUnavailableError:
                pass
            except Exception:
                logger.exception("groups of alerts wait", extra={"action": "dispatch_failed"})
            self._changed.wait(wait_s)
            self._changed.clear()

    def _look(self) -> None:
        with self._looking:
            now = self._now()
            caught_up = self._held_since is not None and self._caught_up()
            if caught_up or now < self._looked_at:
                # What was held back is to be told, or what was to be looked at later was so by a wrong clock.
                self._store.look_again(now)
            self._held_since = None if caught_up else self._held_since
            self._looked_at = now
            regrouped = False
            while groups := self._store.due_groups(self._now(), _AT_ONCE):
                if not regrouped and any(is_astray(self._policy, group) for group in groups):
                    self._regroup(self._policy)  # the file changed while an alert was on its way
                    regrouped = True
                else:
                    self._look_at(groups)

    def _regroup(self, policy: Policy, strays: Iterable[Alert] = ()) -> None:
        self._store.regroup(lambda groups: regroup(policy, groups, strays), self._now())

    def _until_next_s(self) -> float:
        at = self._store.next_look()
        if at is None:
            return _LONGEST_WAIT_S
        return min(max((at - self._now()).total_seconds(), 0.0), _LONGEST_WAIT_S)

    def _look_at(self, groups: Sequence[Group]) -> None:
        now = self._now()
        silences = self._store.silences(now)
        firing = self._store.firing_labels()
        standing = Standing(
            now=now,
            hush=hush_by(self._policy, silences, firing, now),
            acks=self._store.acks(),
            held_since=self._held_since,
        )
        looked = [each for group in groups if (each := self._try_look(group, standing)) is not None]
        kept = self._store.save_looks(looked, now)
        for target in {told.message.target for look in kept for told in look.told if not told.suppressed}:
            self._wake(target)
        self._end_silences(silences, firing.values(), now)

    def _try_look(self, group: Group, standing: Standing) -> Looked | None:
        """Look at one group; one that fails holds up no other."""
        try:
            policy = self._policy
            look = look_at(group, policy, standing)
            return Looked(group, look.group, told_of(look.tellings, policy.targets), look.next_at)
        except Exception:
            logger.exception("group %s waits", group.key, extra={"action": "group_failed"})
            self._store.postpone(group.key, standing.now + _AFTER_FAILURE)
            return None

    def _end_silences(
        self, silences: Sequence[Silence], firing: Iterable[Mapping[str, str]], now: datetime
    ) -> None:
        """End silences that hold until alerts resolve, once none of those fires any more."""
        for silence in silences:
            if silence.ends_at is None and is_active(silence, now):
                matchers = parse_matchers(silence.matchers)
                if not any(match_all(matchers, labels) for labels in firing):
                    self._store.end_silence(silence.key, now)


def told_of(tellings: Iterable[Telling], targets: Iterable[Target]) -> tuple[Told, ...]:
    """Put into words what `targets` are told."""
    known = {target.name: target for target in targets}
    return tuple(
        Told(
            message_of(telling.notification, telling.key, known[telling.target]),
            telling.alerts,
            telling.suppressed,
        )
        for telling in tellings
    )
