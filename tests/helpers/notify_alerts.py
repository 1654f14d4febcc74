"""Alerts and outboxes for notification tests."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from helpers.notify_receivers import WAIT_S
from lapwing_collector.model.alerts import (
    Alert,
    AlertState,
    Instance,
    Message,
    Notification,
    Reason,
    RuleId,
    Status,
    Transition,
)
from lapwing_collector.model.groups import GroupChange, Joining
from lapwing_collector.notify import Target, alert_of, message_of

NOON = datetime(2013, 3, 5, 12)  # times are naive UTC
RULE = RuleId("flights", "AccuracyLow")


def instance(**changes: Any) -> Instance:
    """An alert instance that fires."""
    values: dict[str, Any] = {
        "fingerprint": "f1",
        "labels": {"alertname": "AccuracyLow", "origin": "JFK", "severity": "page"},
        "annotations": {
            "summary": "Accuracy at JFK is 61%",
            "runbook_url": "https://runbooks.example.com/accuracy",
        },
        "state": AlertState.FIRING,
        "value": 0.6123456789,
        "peak": 0.55,
        "sample_count": 1234,
        "active_at": NOON - timedelta(hours=1),
        "fired_at": NOON,
    }
    return Instance(**values | changes)


def transition(status: Status = Status.FIRING, **changes: Any) -> Transition:
    """An announcement of the alert."""
    resolved = status is Status.RESOLVED
    slot = NOON + timedelta(hours=26, minutes=3) if resolved else NOON
    values: dict[str, Any] = {
        "rule": RULE,
        "status": status,
        "reason": "condition" if resolved else "",
        "instance": instance(),
        "slot": slot,
        "window_start": slot - timedelta(hours=1),
        "window_end": slot,
    }
    return Transition(**values | changes)


def message(key: str = "k1", target: str = "hook", **changes: Any) -> Message:
    """A message to `target` with idempotency key `key`, of an alert of its own unless said otherwise."""
    values: dict[str, Any] = {
        "status": Status.FIRING,
        "group": f"alert-{key}",
        "title": f"title {key}",
        "body": f"body {key}",
    }
    return Message(key=key, target=target, **values | changes)


def alert(status: Status = Status.FIRING, **changes: Any) -> Alert:
    """The alert as notifications speak of it."""
    return replace(alert_of(transition(status), "value < 0.7"), **changes)


def told(happened: Transition, target: Target, condition: str | None, key: str = "k1") -> Message:
    """What `target` is told about one transition, in words."""
    about = alert_of(happened, condition)
    resolved = about.status is Status.RESOLVED
    notification = Notification(
        group=about.fingerprint,
        receiver="team",
        group_labels={},
        status=about.status,
        firing=() if resolved else (about,),
        resolved=(about,) if resolved else (),
        changed=frozenset({about.fingerprint}),
        reason=Reason.RESOLVED if resolved else Reason.FIRST,
    )
    return message_of(notification, key, target)


def joining(about: Alert, *groups: str) -> GroupChange:
    """The alert comes into groups with these keys, or resolves."""
    resolved = about.status is Status.RESOLVED
    joins = () if resolved else tuple(Joining(group, "team", "route", {}) for group in groups or ("g1",))
    return GroupChange(about, joins)


def put(store: Any, *messages: Message, now: datetime = NOON) -> None:
    """Put `messages` into the outbox of `store`."""
    store.enqueue(messages, now)


class WatchedOutbox:
    """An outbox that lets a test wait until something was written to it, and make a method fail."""

    def __init__(self, outbox: Any) -> None:
        self._outbox = outbox
        self._changed = threading.Condition()
        self.failing: set[str] = set()
        self.failures: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._outbox, name)

        def watched(*args: Any) -> Any:
            if name in self.failing:
                with self._changed:
                    self.failures.append(name)
                    self._changed.notify_all()
                raise OSError(f"{name} fails for the test")
            result = method(*args)
            with self._changed:
                self._changed.notify_all()
            return result

        return watched

    def wait_for_failure(self, name: str) -> None:
        """Block until method `name` has failed."""
        with self._changed:
            assert self._changed.wait_for(lambda: name in self.failures, WAIT_S)

    def wait_for(self, **expected: str) -> None:
        """Block until the messages with these keys have come to these deliveries."""

        def reached() -> bool:
            found = {row.message.key: str(row.delivery) for row in self._outbox.outbox_rows()}
            return all(found.get(key) == delivery for key, delivery in expected.items())

        self._wait_until(reached)

    def wait_for_retry(self, key: str, at: datetime) -> None:
        """Block until a message has failed and is due again at a time."""
        self._wait_until(
            lambda: any(
                row.message.key == key and row.delivery == "queued" and row.attempts and row.next_at == at
                for row in self._outbox.outbox_rows()
            )
        )

    def wait_for_error(self, key: str, text: str) -> None:
        """Block until a message has failed with an error that holds `text`."""
        self._wait_until(
            lambda: any(
                row.message.key == key and text in (row.last_error or "")
                for row in self._outbox.outbox_rows()
            )
        )

    def _wait_until(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(reached, WAIT_S), self._outbox.outbox_rows()


def no_letters(_firing: int, _over: int) -> tuple[Message, ...]:
    """Nobody is told of a message that was given up."""
    return ()


class Wall:
    """A wall clock that moves when told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now
        self._gaps_s = 0.0

    def leap(self, span: timedelta) -> None:
        """Be set forward: the time between does not pass."""
        self.now += span
        self._gaps_s += span.total_seconds()

    def monotonic_s(self) -> float:
        """Seconds that passed."""
        return (self.now - NOON).total_seconds() - self._gaps_s

    def __call__(self) -> datetime:
        """The time."""
        return self.now
