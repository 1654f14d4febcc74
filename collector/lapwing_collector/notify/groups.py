"""What becomes of alerts on their way to targets: into which groups they come, and what is told when. Pure.

A group is looked at when something in it changed, and when the newest look said so. A look tells each target
what it has not heard, as soon as the times of the route allow it. What a target heard is remembered as the
set of alerts that fire for all it knows: so it hears of a resolve exactly if it heard of the firing.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from lapwing_collector.model.alerts import Alert, Notification, Reason, Spoken, Status
from lapwing_collector.model.groups import (
    Ack,
    Group,
    GroupChange,
    Heard,
    Joining,
    Member,
    Silence,
)
from lapwing_collector.notify.matchers import match_all, parse_matchers
from lapwing_collector.notify.policy import InhibitRule, Listener, Policy, Route

MOST_ALERTS: Final = 100
"""Alerts that fire, and alerts that resolved, of one notification; the rest is counted."""

AWAITED_FOR: Final = timedelta(seconds=1.5)
"""For so long a message waits for what is looked up beside an alert; then it goes without."""

_LOOK_AGAIN: Final = timedelta(minutes=1)
"""What is hushed is looked at again at least so often, or every `group_interval` if that is longer."""

_TOO_EARLY: Final = "over before it was time to tell"
_KEY_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class Hush:
    """Why nobody is told.

    Attributes:
        reason: In words.
        until: When that ends, None where nobody knows.
    """

    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is to be known beside a group to decide what is told.

    Attributes:
        now: The wall clock.
        hush: Tells why nobody is to hear of an alert that came by a route, None where they are.
        acks: By fingerprint.
        held_since: When the collector started, while rules are still to be evaluated for the first time since
            then; None once what is known of alerts is as new as it can be.
    """

    now: datetime
    hush: Callable[[Alert, Route], Hush | None]
    acks: Mapping[str, Ack] = field(default_factory=dict)
    held_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """A notification to be put into the outbox.

    Attributes:
        key: Its idempotency key.
        target: Who is told.
        notification: What.
        alerts: How it speaks of each alert, by fingerprint, those that it leaves out, too.
        suppressed: Why they are not; empty where they are.
    """

    key: str
    target: str
    notification: Notification
    alerts: Mapping[str, Spoken]
    suppressed: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a group came to.

    Attributes:
        group: As it is now; None where it is over.
        tellings: What is told, and what is not and why.
        next_at: When to look again, None if only after a change.
    """

    group: Group | None
    tellings: tuple[Telling, ...]
    next_at: datetime | None


def changes_for(policy: Policy, alerts: Iterable[Alert]) -> list[GroupChange]:
    """Into which groups alerts come that began to fire, or resolved."""
    return [
        GroupChange(alert, () if alert.status is Status.RESOLVED else joinings(policy, alert.labels))
        for alert in alerts
    ]


def joinings(policy: Policy, labels: Mapping[str, str]) -> tuple[Joining, ...]:
    """The groups of an alert with `labels`."""
    return tuple(
        Joining(route.group_key(labels), route.receiver, route.id, route.group_labels(labels))
        for route in policy.routes(labels)
    )


def digests(policy: Policy, alerts: Sequence[Alert]) -> list[Telling]:
    """What is told at once of alerts of the past: a notification for each group of them and target.

    Args:
        policy: Who hears.
        alerts: What began to fire, and resolved, in order.
    """
    groups: dict[str, tuple[Route, list[Alert]]] = {}
    for alert in alerts:
        for route in policy.routes(alert.labels):
            groups.setdefault(route.group_key(alert.labels), (route, []))[1].append(alert)
    tellings = []
    for key, (route, gathered) in groups.items():
        newest = {alert.fingerprint: alert for alert in gathered}
        firing = [alert for alert in newest.values() if alert.status is Status.FIRING]
        over = [alert for alert in gathered if alert.status is Status.RESOLVED]
        notification = Notification(
            # Not the group of today's alerts: what was is none of their news.
            group=_hash([key, "past"]),
            receiver=route.receiver,
            group_labels=route.group_labels(gathered[0].labels),
            status=Status.FIRING if firing else Status.RESOLVED,
            firing=tuple(firing[:MOST_ALERTS]),
            resolved=tuple(over[:MOST_ALERTS]),
            changed=frozenset(newest),
            reason=Reason.DIGEST,
            truncated=max(len(firing) - MOST_ALERTS, 0) + max(len(over) - MOST_ALERTS, 0),
        )
        told = [[alert.fingerprint, alert.status, alert.slot.isoformat()] for alert in gathered]
        tellings += [
            Telling(_hash([key, name, told]), name, notification, dict.fromkeys(newest, Spoken.PAST))
            for name in policy.receivers[route.receiver].targets
        ]
    return tellings


def regroup(
    policy: Policy, groups: Sequence[Group], strays: Iterable[Alert] = ()
) -> tuple[dict[str, frozenset[str]], list[GroupChange]]:
    """What other routes mean to alerts: which of them leave each group, and into which they come.

    Nobody hears of an alert anew because it moved: who heard of it in one group hears there what becomes of
    it. What nobody has heard of yet takes its time with it.

    Args:
        policy: The routes that hold now.
        groups: As they were left.
        strays: Alerts that fire and are in no group.
    """
    places: dict[str, list[_Place]] = {}
    for group in groups:
        for key, member in group.members.items():
            heard = frozenset(name for name, each in group.heard.items() if key in each.firing)
            places.setdefault(key, []).append(_Place(group.key, member, heard))
    leaving: dict[str, set[str]] = {}
    changes = [GroupChange(alert, joinings(policy, alert.labels)) for alert in strays]
    for key, found in places.items():
        for together, taken in _movable(found):
            alert = together[0].member.alert
            wanted = joinings(policy, alert.labels)
            stays = {place.group for place in together if not place.member.leaving}
            for left in stays - {joining.group for joining in wanted}:
                leaving.setdefault(left, set()).add(key)
            joins = [_moved(each, together) for each in wanted if each.group not in stays | taken]
            if joins:
                changes.append(GroupChange(alert, tuple(joins)))
    return {group: frozenset(keys) for group, keys in leaving.items()}, changes


def is_astray(policy: Policy, group: Group) -> bool:
    """Whether an alert fires in a group that no route leads it to, without that being known."""
    return any(
        member.alert.status is Status.FIRING
        and not member.leaving
        and all(route.group_key(labels) != group.key for route in policy.routes(labels))
        for member in group.members.values()
        for labels in [member.alert.labels]
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """An alert in a group, and who knows of it there."""

    group: str
    member: Member
    heard: frozenset[str]

    @property
    def fires(self) -> bool:
        return self.member.alert.status is Status.FIRING


def _movable(places: Sequence[_Place]) -> Iterator[tuple[list[_Place], set[str]]]:
    """Which places of an alert another one may be found for, and which groups that cannot be.

    Where it is over, and somebody is to hear that, it stays; where nobody knows of it, it may move.
    """
    if firing := [place for place in places if place.fires]:
        yield firing, set()
    for place in places:
        if not (place.fires or place.heard or place.member.leaving):
            yield [place], {other.group for other in places}


def _moved(joining: Joining, places: Sequence[_Place]) -> Joining:
    """What an alert takes along from where it is: who knows of it is not told in the new group."""
    others = [place for place in places if place.group != joining.group]
    return replace(
        joining,
        skip=frozenset[str]().union(*(place.heard for place in others)),
        changed_at=min(place.member.changed_at for place in places),
        told_at=min((at for place in others if (at := place.member.told_at) is not None), default=None),
    )


def hush_by(
    policy: Policy,
    silences: Sequence[Silence],
    firing: Mapping[str, Mapping[str, str]],
    now: datetime,
) -> Callable[[Alert, Route], Hush | None]:
    """What keeps alerts from being told now: inhibition, then the route's times, then silences.

    Args:
        policy: Says which alerts inhibit which, and when routes are muted.
        silences: Those that are not over.
        firing: Labels of the alerts that fire, by fingerprint.
        now: The wall clock.
    """
    inhibitors = [_Inhibitor(rule, firing) for rule in policy.inhibit]
    active = [(silence, parse_matchers(silence.matchers)) for silence in silences if is_active(silence, now)]
    muted = {route.id: policy.muted(route, now) for route in policy.root.all()}

    def hush(alert: Alert, route: Route) -> Hush | None:
        for inhibitor in inhibitors:
            if (source := inhibitor.source_of(alert)) is not None:
                return Hush(f"inhibited by {firing[source].get('alertname', 'an alert')} ({source})")
        if (mute := muted.get(route.id)) is not None:
            return Hush(mute)
        for silence, matchers in active:
            if match_all(matchers, alert.labels):
                return Hush(f"silenced by {silence.author} ({silence.key})", silence.ends_at)
        return None

    return hush


def is_active(silence: Silence, now: datetime) -> bool:
    """Whether a silence holds now."""
    return silence.starts_at <= now and (silence.ends_at is None or now < silence.ends_at)


class _Inhibitor:
    """A rule over the alerts that fire, found by the labels that must be equal."""

    def __init__(self, rule: InhibitRule, firing: Mapping[str, Mapping[str, str]]) -> None:
        self._rule = rule
        self._sources: dict[tuple[str, ...], list[str]] = {}
        self._one_sided: dict[tuple[str, ...], list[str]] = {}
        for key, labels in firing.items():
            if match_all(rule.source, labels):
                self._sources.setdefault(rule.shared(labels), []).append(key)
                if not match_all(rule.target, labels):
                    self._one_sided.setdefault(rule.shared(labels), []).append(key)

    def source_of(self, alert: Alert) -> str | None:
        """The fingerprint of an alert that keeps `alert` back; two that are on both sides never do."""
        if not self._sources or not match_all(self._rule.target, alert.labels):
            return None
        both = match_all(self._rule.source, alert.labels)
        sources = (self._one_sided if both else self._sources).get(self._rule.shared(alert.labels), ())
        return next((key for key in sources if key != alert.fingerprint), None)


def look_at(group: Group, policy: Policy, standing: Standing) -> Look:
    """Decide what is told about `group` now.

    Args:
        group: As it was left.
        policy: Who hears, and when. Targets that it has no more hear nothing.
        standing: What else is to be known.
    """
    return _Looking(group, policy, standing).look()


class _Looking:
    """One look at one group."""

    def __init__(self, group: Group, policy: Policy, standing: Standing) -> None:
        self._group = group
        self._policy = policy
        found = policy.route_of(group.route)
        # Where no route leads any more, the times are those of one that leads its alerts elsewhere.
        newest = next((member.alert for _, member in sorted(group.members.items())), None)
        route = found or (policy.root if newest is None else policy.routes(newest.labels)[0])
        self._route = route
        self._listeners = {each.name: each for each in policy.listeners(found, group.heard)}
        self._now = standing.now
        self._acks = standing.acks
        # What was known at the last stop may be over by now: rules have their say first, or the wait passes.
        held = standing.held_since
        self._not_before = standing.now if held is None else held + route.group_wait
        # Where the clock was set back, what seems to come has just been: else nothing was told until then.
        self._members = {key: _not_after(member, self._now) for key, member in group.members.items()}
        self._heard = {
            name: heard if heard.told_at <= self._now else replace(heard, told_at=self._now)
            for name, heard in group.heard.items()
        }
        self._fires = {key for key, member in group.members.items() if member.alert.status is Status.FIRING}
        self._hush = standing.hush
        self._hushes = {
            key: hush
            for key, member in group.members.items()
            if (hush := standing.hush(member.alert, route)) is not None
        }
        self._elsewhere = {
            key: policy.routes(member.alert.labels)
            for key, member in group.members.items()
            if member.leaving and key in self._fires
        }
        self._names: dict[str, frozenset[str]] = {}
        self._tellings: list[Telling] = []
        self._next: list[datetime] = []

    def look(self) -> Look:
        self._forget_targets()
        for listener in self._listeners.values():
            self._tell(listener)
        first = [name for name, listener in self._listeners.items() if listener.after == timedelta(0)]
        self._note_hushed(first)
        self._let_go(first)
        if not self._members:
            # It rests for an interval, so that alerts that come back soon are not told too early.
            for heard in self._heard.values():
                self._wake_at(heard.told_at + self._route.group_interval)
        group = replace(self._group, members=self._members, heard=self._heard)
        over = not self._members and not self._next
        return Look(None if over else group, tuple(self._tellings), min(self._next, default=None))

    def _tell(self, listener: Listener) -> None:
        """Tell a target what it has not heard, or note when that will be."""
        self._forget_unwanted(listener)
        heard = self._heard.get(listener.name)
        known = heard.firing if heard else frozenset[str]()
        news = _News(
            frozenset(key for key in self._fires - known if self._is_news(key, listener)),
            known - self._fires,
            frozenset(key for key in self._members.keys() - known if self._is_digest(key, listener)),
        )
        if news:
            due = max(min(self._ripe(key, listener) for key in news), self._not_before)
            if heard:
                due = max(due, heard.told_at + self._route.group_interval)
            if due > self._now:
                self._wake_at(due)
                return
            self._say(listener, self._reason(listener, known, news), news)
        elif heard and (again := self._repeatable(listener, known)):
            due = max(self._repeat_at(heard, again), self._not_before)
            if due > self._now:
                self._wake_at(due)
                return
            self._say(listener, Reason.REPEAT, _News(), leading=frozenset(again))
        heard = self._heard.get(listener.name)
        if heard and (again := self._repeatable(listener, heard.firing)):
            self._wake_at(self._repeat_at(heard, again))

    def _forget_targets(self) -> None:
        """Keep what targets heard that the file has no more while it holds: they may come back."""
        for name in self._heard.keys() - self._listeners.keys():
            heard = self._heard.pop(name)
            if firing := heard.firing & self._fires:
                self._heard[name] = heard if firing == heard.firing else replace(heard, firing=firing)

    def _forget_unwanted(self, listener: Listener) -> None:
        """Take it that a target knows of resolves that it does not want to hear of."""
        heard = self._heard.get(listener.name)
        if heard is None:
            return
        over = heard.firing - self._fires
        kept_back = {
            key
            for key in over
            if listener.send_resolved and not listener.resolve_silenced and key in self._hushes
        }
        for reason, keys in self._by_reason(kept_back).items():
            self._note(listener.name, f"{reason}; it wants no resolves of such alerts", keys)
        unwanted = kept_back if listener.send_resolved else over
        if unwanted:
            self._heard[listener.name] = replace(heard, firing=heard.firing - unwanted)

    def _is_news(self, key: str, listener: Listener) -> bool:
        """Whether a target that does not know that an alert fires is to hear of it."""
        member = self._members[key]
        if member.leaving or listener.name in member.skip or key in self._hushes or key in self._acks:
            return False
        if listener.after == timedelta(0):
            return True
        if listener.after is None or member.told_at is None:
            return False
        ripe = self._ripe(key, listener)
        if ripe > self._now:
            self._wake_at(ripe)
        return ripe <= self._now

    def _is_digest(self, key: str, listener: Listener) -> bool:
        """Whether a target hears at once that an alert fired and was over while rules caught up."""
        member = self._members[key]
        return (
            key not in self._fires
            and member.alert.late
            and member.told_at is None
            and listener.after == timedelta(0)
            and listener.name not in member.skip
            and key not in self._hushes
        )

    def _ripe(self, key: str, listener: Listener) -> datetime:
        """When a target may hear of what became of an alert, as far as that alert goes."""
        member = self._members[key]
        if key in self._fires and listener.after and member.told_at:
            return member.told_at + listener.after
        awaited = AWAITED_FOR if member.alert.awaits_context else timedelta(0)
        return member.changed_at + max(self._route.group_wait, awaited)

    def _repeatable(self, listener: Listener, known: frozenset[str]) -> dict[str, Route]:
        """What of that which a target knows to fire is worth telling again, and by which route."""
        found = {}
        for key in known & self._fires:
            open_routes = [route for route, hush in self._ways(key, listener) if hush is None]
            if open_routes and key not in self._acks:
                found[key] = open_routes[0]
        return found

    def _ways(self, key: str, listener: Listener) -> list[tuple[Route, Hush | None]]:
        """The routes by which an alert that fires comes to a target now, and what keeps it back there."""
        if key in self._elsewhere:
            alert = self._members[key].alert
            return [
                (route, self._hush(alert, route))
                for route in self._elsewhere[key]
                if listener.name in self._names_at(route)
            ]
        return [] if listener.after is None else [(self._route, self._hushes.get(key))]

    def _names_at(self, route: Route) -> frozenset[str]:
        if route.id not in self._names:
            self._names[route.id] = frozenset(each.name for each in self._policy.listeners(route, ()))
        return self._names[route.id]

    def _repeat_at(self, heard: Heard, again: Mapping[str, Route]) -> datetime:
        routes = {route.id: route for route in again.values()}
        return heard.told_at + min(max(each.repeat_interval, each.group_interval) for each in routes.values())

    def _reason(self, listener: Listener, known: frozenset[str], news: "_News") -> Reason:
        if not news.fired and not news.over:
            return Reason.DIGEST
        if news.fired and listener.after:
            return Reason.ESCALATION
        if news.fired and not known:
            return Reason.FIRST
        return Reason.CHANGED if news.fired or known & self._fires else Reason.RESOLVED

    def _say(
        self, listener: Listener, reason: Reason, news: "_News", leading: frozenset[str] = frozenset()
    ) -> None:
        heard = self._heard.get(listener.name)
        firing = ((heard.firing if heard else frozenset()) | news.fired) & self._fires
        first = news.fired or leading
        shown = [*self._sorted(first), *self._sorted(firing - first)]
        gone = self._sorted(news.over | news.digest)
        key = self._key(listener.name, heard, reason, [*shown, *gone])
        notification = self._notification(reason, shown, gone, set(news))
        spoken = self._spoken((*shown, *gone)) | dict.fromkeys(news.digest, Spoken.PAST)
        self._tellings.append(Telling(key, listener.name, notification, spoken))
        self._heard[listener.name] = Heard(firing, self._now, key)
        for each in news.fired:
            told_at = self._members[each].told_at or self._now
            self._members[each] = replace(self._members[each], told_at=told_at, hushed="")
        for each in news.digest:
            member = self._members[each]
            self._members[each] = replace(member, skip=member.skip | {listener.name})

    def _notification(
        self, reason: Reason, firing: Sequence[str], resolved: Sequence[str], changed: set[str]
    ) -> Notification:
        shown, gone = firing[:MOST_ALERTS], resolved[:MOST_ALERTS]
        alerts = {key: self._members[key].alert for key in (*shown, *gone)}
        return Notification(
            group=self._group.key,
            receiver=self._group.receiver,
            group_labels=self._group.labels,
            status=Status.FIRING if firing else Status.RESOLVED,
            firing=tuple(alerts[key] for key in shown),
            resolved=tuple(alerts[key] for key in gone),
            changed=frozenset(changed & alerts.keys()),
            reason=reason,
            truncated=len(firing) + len(resolved) - len(alerts),
        )

    def _key(self, target: str, heard: Heard | None, reason: str, keys: Iterable[str]) -> str:
        """The same where the same is decided again; it follows from what the target heard before."""
        members = [(key, self._members[key]) for key in keys]
        # Not the slot alone: a rule that is deleted, and written anew, may come to its slots of before.
        told = [[key, each.alert.slot.isoformat(), each.changed_at.isoformat()] for key, each in members]
        return _hash([self._group.key, target, heard.message if heard else "", reason, told])

    def _note_hushed(self, first: Sequence[str]) -> None:
        """Note, once, of what fires and would be told by now why it is not, and see to it that it may be."""
        reasons: dict[str, set[str]] = {}
        for key in self._fires:
            member, hush, ack = self._members[key], self._hushes.get(key), self._acks.get(key)
            if member.leaving:
                self._wait_elsewhere(key)
                continue
            if not (hush or ack):
                continue
            if hush and not ack:  # whatever somebody is to hear: that it fires, that it still does
                self._wait_out(hush, self._route)
            if not self._unknown_to(key, first):
                continue
            ripe = max(member.changed_at + self._route.group_wait, self._not_before)
            if ripe > self._now:
                self._wake_at(ripe)
                continue
            reason = hush.reason if hush else f"acknowledged by {ack.author}" if ack else ""
            if member.hushed != reason:
                reasons.setdefault(reason, set()).add(key)
                self._members[key] = replace(member, hushed=reason)
        for reason, keys in reasons.items():
            for target in first:
                self._note(target, reason, {key for key in keys if self._unknown_to(key, [target])})

    def _wait_elsewhere(self, key: str) -> None:
        """Look again when those who know of an alert that is led elsewhere may hear of it again."""
        for name, heard in self._heard.items():
            if key in heard.firing and key not in self._acks and name in self._listeners:
                for route, hush in self._ways(key, self._listeners[name]):
                    if hush is not None:
                        self._wait_out(hush, route)

    def _wait_out(self, hush: Hush, route: Route) -> None:
        again = self._now + max(route.group_interval, _LOOK_AGAIN)
        self._wake_at(again if hush.until is None else min(again, max(hush.until, self._now)))

    def _unknown_to(self, key: str, targets: Iterable[str]) -> bool:
        """Whether one of `targets` is to hear of an alert here, and has not."""
        skip = self._members[key].skip
        return any(
            target not in skip and (target not in self._heard or key not in self._heard[target].firing)
            for target in targets
        )

    def _let_go(self, first: Sequence[str]) -> None:
        """Forget alerts of which nobody is to hear anything more here."""
        known = frozenset[str]().union(*(heard.firing for heard in self._heard.values()))
        gone, missed = set(), dict[str, set[str]]()
        for key, member in self._members.items():
            if key in known or (key in self._fires and not member.leaving):
                continue
            if key not in self._fires and member.told_at is None and not member.leaving:
                hush = self._hushes.get(key)
                if member.alert.late and hush is None and self._unknown_to(key, first):
                    continue
                if not member.hushed and (hush or not member.alert.late):
                    late = member.alert.late and hush
                    missed.setdefault(late.reason if late else _TOO_EARLY, set()).add(key)
            gone.add(key)
        for reason, keys in missed.items():
            for target in first:
                self._note(target, reason, {key for key in keys if self._unknown_to(key, [target])})
        for key in gone:
            del self._members[key]

    def _by_reason(self, keys: Iterable[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for key in keys:
            found.setdefault(self._hushes[key].reason, set()).add(key)
        return found

    def _note(self, target: str, reason: str, keys: set[str]) -> None:
        """Keep why a target is not told of alerts."""
        if keys:
            firing, over = self._sorted(keys & self._fires), self._sorted(keys - self._fires)
            notification = self._notification(Reason.CHANGED, firing, over, keys)
            key = self._key(target, self._heard.get(target), reason, [*firing, *over])
            self._tellings.append(Telling(key, target, notification, self._spoken(keys), reason))

    def _spoken(self, keys: Iterable[str]) -> dict[str, Spoken]:
        return {key: Spoken.FIRING if key in self._fires else Spoken.RESOLVED for key in keys}

    def _sorted(self, keys: Iterable[str]) -> list[str]:
        """Alerts as people look for them: by their labels."""
        return sorted(keys, key=lambda key: (sorted(self._members[key].alert.labels.items()), key))

    def _wake_at(self, moment: datetime) -> None:
        if moment > self._now:
            self._next.append(moment)


def _not_after(member: Member, now: datetime) -> Member:
    if member.changed_at <= now and (member.told_at is None or member.told_at <= now):
        return member
    told_at = None if member.told_at is None else min(member.told_at, now)
    return replace(member, changed_at=min(member.changed_at, now), told_at=told_at)


@dataclass(frozen=True, slots=True)
class _News:
    """What a target does not know: alerts that fire, that it believes to fire, and that came and went."""

    fired: frozenset[str] = frozenset()
    over: frozenset[str] = frozenset()
    digest: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[str]:
        yield from self.fired
        yield from self.over
        yield from self.digest

    def __bool__(self) -> bool:
        return bool(self.fired or self.over or self.digest)


def _hash(identity: list[Any]) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_KEY_CHARS]
