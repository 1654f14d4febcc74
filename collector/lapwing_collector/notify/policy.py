"""Who hears of which alerts, in which groups and when: what a notify file says. Pure."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.notify.intervals import TimeInterval
from lapwing_collector.notify.matchers import Matcher, match_all
from lapwing_collector.notify.target import Target

BY_ALL_LABELS: Final = "..."
"""In `group_by`: every alert is a group of its own."""

FIRST_ROUTE: Final = "{}"
"""The identity of the route that every alert comes to."""

_STALLED: Final = "IngestStalled"
_BUILT_IN: Final = (_STALLED, "RuleError", "RuleLimitExceeded", "Watchdog")
_KEY_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class Listener:
    """What is to be known of a target to decide what it is told.

    Attributes:
        name: The target's.
        send_resolved: Whether it wants to hear that alerts are over.
        resolve_silenced: Whether it does even if the alert is silenced, muted or inhibited by then.
        after: How long others must have known of an alert, without an ack, before this target hears of it;
            None if it hears of nothing new.
    """

    name: str
    send_resolved: bool = True
    resolve_silenced: bool = True
    after: timedelta | None = timedelta(0)


@dataclass(frozen=True, slots=True)
class Receiver:
    """A name for some targets.

    Attributes:
        targets: Their names.
        fallback: The receiver that is told what these did not accept; None for none.
    """

    name: str
    targets: tuple[str, ...]
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who else hears of an alert that nobody has acknowledged."""

    after: timedelta
    receiver: str


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree, with what it has from those above it.

    Attributes:
        path: Its place in the file: `route`, `route.routes[1]`.
        receiver: Who hears.
        group_by: The labels that alerts of a group share; `...` alone for all of them.
        group_wait: A new group is told so long after its first alert, with all that has come until then.
        group_interval: The shortest time between two messages about a group.
        repeat_interval: What fires on is told again after this time.
        matchers: Which alerts come here.
        goes_on: Alerts that come here are offered to the routes that stand behind it, too.
        muted_in: Names of intervals in which nothing is told.
        active_in: Names of intervals outside of which nothing is told; always if there are none.
        escalate: Who else hears, and when.
        routes: The nodes below.
        id: What tells it from the others whatever stands before it in the file: the matchers on the way to
            it, and the receivers that are named there.
    """

    path: str
    receiver: str
    group_by: tuple[str, ...]
    group_wait: timedelta
    group_interval: timedelta
    repeat_interval: timedelta
    matchers: tuple[Matcher, ...] = ()
    goes_on: bool = False
    muted_in: tuple[str, ...] = ()
    active_in: tuple[str, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    routes: tuple["Route", ...] = ()
    id: str = FIRST_ROUTE

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that name the group of an alert which comes here."""
        if self.group_by == (BY_ALL_LABELS,):
            return dict(labels)
        return {name: labels[name] for name in self.group_by if name in labels}

    def group_key(self, labels: Mapping[str, str]) -> str:
        """Identity of the group of an alert which comes here, whatever the times and who hears."""
        identity = [self.id, sorted(self.group_labels(labels).items())]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_KEY_CHARS]

    def leads(self, labels: Mapping[str, str]) -> Iterator["Route"]:
        """The nodes at which an alert with `labels` arrives: Alertmanager's walk, depth first."""
        if not match_all(self.matchers, labels):
            return
        inner = False
        for route in self.routes:
            for found in route.leads(labels):
                inner = True
                yield found
            if not route.goes_on and match_all(route.matchers, labels):
                break
        if not inner:
            yield self

    def all(self) -> Iterator["Route"]:
        """This node and those below."""
        yield self
        for route in self.routes:
            yield from route.all()


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """While one alert fires, others need not be told.

    Attributes:
        source: Which alerts keep others back.
        target: Which alerts are kept back.
        equal: Labels that both must have alike; without one is the same as empty.
    """

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    def shared(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The values that must be equal."""
        return tuple(labels.get(name, "") for name in self.equal)


STALLED_INGEST: Final = InhibitRule(
    (Matcher("alertname", "=", _STALLED), Matcher("model", "!=", "")),
    (Matcher("alertname", "!~", "|".join(_BUILT_IN)),),
    ("model",),
)
"""While a model sends nothing, what its rules say of it is no news."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All that a notify file says.

    Attributes:
        root: The tree of routes.
        receivers: By name.
        targets: All of the file, in its order.
        inhibit: Who keeps whom back, those of the file and those that always hold.
        intervals: By name; a moment is in one if it is in any of its parts.
    """

    root: Route
    receivers: Mapping[str, Receiver]
    targets: tuple[Target, ...]
    inhibit: tuple[InhibitRule, ...] = (STALLED_INGEST,)
    intervals: Mapping[str, Sequence[TimeInterval]] = field(default_factory=dict)

    def routes(self, labels: Mapping[str, str]) -> list[Route]:
        """Where an alert with `labels` arrives."""
        return list(self.root.leads(labels))

    def route_of(self, identity: str) -> Route | None:
        """The route of an identity, None where the file has none any more."""
        return next((route for route in self.root.all() if route.id == identity), None)

    def listeners(self, route: Route | None, heard: Iterable[str]) -> list[Listener]:
        """Who hears of what arrives at `route`, each once, as early as it may.

        Args:
            route: The route; None if the file has none any more.
            heard: Names of targets that know of alerts, which others of them hear nothing new of.
        """
        found: dict[str, Listener] = {}
        known = {target.name: target for target in self.targets}
        steps = [] if route is None else [(timedelta(0), route.receiver)]
        steps += [] if route is None else [(step.after, step.receiver) for step in route.escalate]
        waits: list[tuple[timedelta | None, str]] = [
            (after, name)
            for after, receiver in sorted(steps, key=lambda step: step[0])
            for name in self.receivers[receiver].targets
        ]
        waits += [(None, name) for name in heard if name in known]
        for after, name in waits:
            target = known[name]
            found.setdefault(name, Listener(name, target.send_resolved, target.resolve_silenced, after))
        return list(found.values())

    def fallbacks(self) -> dict[str, tuple[str, ...]]:
        """Of each target that has any, the targets that are told what it did not accept."""
        return {
            target: self.receivers[receiver.fallback].targets
            for receiver in self.receivers.values()
            if receiver.fallback is not None
            for target in receiver.targets
        }

    def others(self) -> dict[str, tuple[str, ...]]:
        """Of each target, who may be told that it fails: all of the top route, else all there are."""
        known = [target.name for target in self.targets]
        top = self.receivers[self.root.receiver].targets
        return {
            name: tuple(each for each in top if each != name) or tuple(each for each in known if each != name)
            for name in known
        }

    def muted(self, route: Route, now: datetime) -> str | None:
        """Why nothing is told at `route` now, None where it is."""
        for name in route.muted_in:
            if self._within(name, now):
                return f"muted by the time interval {name}"
        if route.active_in and not any(self._within(name, now) for name in route.active_in):
            return f"outside of the time interval {' or '.join(route.active_in)}"
        return None

    def _within(self, name: str, now: datetime) -> bool:
        return any(interval.contains(now) for interval in self.intervals[name])


NOBODY: Final = Policy(
    Route("route", "", (BY_ALL_LABELS,), timedelta(0), timedelta(0), timedelta(days=1)),
    {"": Receiver("", ())},
    (),
)
"""What holds without a notify file."""
