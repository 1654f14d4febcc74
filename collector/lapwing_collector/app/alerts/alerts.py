"""Alerts for people: which there are, why somebody was told or not, and what people say about them."""

import difflib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

from lapwing_collector.app.places.project import load_project, notify_policy, settings_for
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.clock import SystemClock, read_utc, utc_datetime
from lapwing_collector.config import parse_duration
from lapwing_collector.errors import ConfigError, NotSeenYetError
from lapwing_collector.model.alerts import Alert, AlertState, Health, Instance, RuleId, Status, Transition
from lapwing_collector.model.groups import Ack, Group, Silence
from lapwing_collector.notify import Matcher, Policy, hush_by, is_active, match_all, parse_matchers
from lapwing_collector.state import Delivery, OutboxRow, Store

_REMEMBERED: Final = 1000
"""Transitions in which labels are looked for."""

_SHOWN: Final = 20
"""Messages and transitions that are shown of an alert."""

_OVER: Final = 1_000
_MOST_OVER: Final = 10_000
"""Alerts that are over and are told of at once, unless it is said how many, and at most."""

_ALL: Final = tuple(AlertState)


@contextmanager
def store_of(file: Path | None, flags: Mapping[str, Any]) -> Iterator[Store]:
    """The state of a data directory, whether its collector runs or not.

    Raises:
        ConfigError: A setting is wrong.
        DataDirectoryError: No collector has run here.
    """
    store = Store.find(state_of(settings_for(file, flags)))
    try:
        yield store
    finally:
        store.close()


def wall_clock() -> datetime:
    """The time, naive UTC."""
    return utc_datetime(SystemClock().now_ns())


def list_alerts(store: Store, now: datetime) -> list[dict[str, Any]]:
    """Alerts that are pending, firing or recovering, with what people said about them, as JSON."""
    acks, silences = store.acks(), store.silences(now)
    knowing: dict[str, list[str]] = {}
    told: dict[str, Alert] = {}
    groups = store.groups()
    heard_last = [heard for group in groups for heard in group.heard.values()]
    waits = store.unaccepted([heard.message for heard in heard_last])
    untold = store.untold({key for heard in heard_last if heard.message in waits for key in heard.firing})
    for group in groups:
        told |= {key: member.alert for key, member in group.members.items()}
        for target, heard in group.heard.items():
            for key in heard.firing:
                knowing.setdefault(key, []).append(target)
    return [
        _alert(rule, instance)
        | _judged(told.get(instance.fingerprint))
        | {
            "acknowledged_by": ack.author if (ack := acks.get(instance.fingerprint)) else None,
            "silences": _matching(silences, instance.labels, now),
            **_told_and_untold(knowing.get(instance.fingerprint, ()), untold.get(instance.fingerprint, {})),
        }
        for rule, instance in store.alerts()
    ]


def why(store: Store, alert: str, now: datetime) -> dict[str, Any]:
    """What became of an alert on its way to people, as JSON.

    Args:
        store: The state.
        alert: Its fingerprint, or the first characters of it.
        now: The wall clock.

    Raises:
        NotSeenYetError: There is no such alert.
        ConfigError: There are several.
    """
    key = _fingerprint(store, alert)
    transitions = store.history(_SHOWN, key)
    rule, instance = _known(store, key, transitions)
    groups = store.groups_of(key)
    knowing = {name for group in groups for name, heard in group.heard.items() if key in heard.firing}
    told = _told_and_untold(knowing, store.untold([key]).get(key, {}))
    ack = store.acks().get(key)
    return (
        _alert(rule, instance)
        | _judged(next((group.members[key].alert for group in groups), None))
        | {
            "acknowledged": None if ack is None else _ack(ack),
            "silences": _matching(store.silences(now), instance.labels, now),
            "groups": [_group(group, key) for group in groups],
            **told,
            "verdict": _verdict(instance, groups, key, told),
            "messages": [_message(row) for row in store.messages_about(key, _SHOWN)],
            "transitions": [
                {
                    "slot": _time(each.slot),
                    "status": str(each.status),
                    "reason": each.reason,
                    "value": each.instance.value,
                }
                for each in transitions
            ],
        }
    )


def episodes(
    store: Store, since: datetime, until: datetime, *, rule: str | None = None, most: int = _OVER
) -> list[dict[str, Any]]:
    """When which alert fired between two times: from when, until when, how far at worst, as JSON.

    Alerts that fire still come first, then those that resolved, newest first, `most` of them at most. Where
    `rule` is given as `group/name`, those of others are left out.
    """
    firing = (AlertState.FIRING, AlertState.RECOVERING)
    begun = [
        (its_rule, each)
        for its_rule, each in store.alerts(firing)
        if (each.fired_at is None or each.fired_at < until) and rule in {None, str(its_rule)}
    ]
    found = store.ended(since, until, most, rule=rule)
    ended = [(each.rule, each.instance, each.slot, each.reason) for each in found]
    return [
        {
            "fingerprint": instance.fingerprint,
            "rule": str(its_rule),
            "labels": dict(instance.labels),
            "fired_at": _time(instance.fired_at),
            "resolved_at": _time(resolved_at),
            "reason": reason or None,
            "peak": instance.peak,
        }
        for its_rule, instance, resolved_at, reason in [*((*each, None, "") for each in begun), *ended]
    ]


def silence(store: Store, asked: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Keep alerts from being told for a while.

    Args:
        store: The state.
        asked: `matchers` or the fingerprint `alert`; `for` or `ends_at`, or `until_resolved`; `starts_at`,
            `author`, `comment`.
        now: The wall clock.

    Raises:
        ConfigError: It says nothing, or too much.
        NotSeenYetError: There is no such alert.
    """
    _only(asked, {"matchers", "alert", "for", "ends_at", "until_resolved", "starts_at", "author", "comment"})
    matchers = _text(asked, "matchers")
    if (alert := _text(asked, "alert")) is not None:
        key = _fingerprint(store, alert)
        _, instance = _known(store, key, store.history(1, key))
        matchers = ", ".join(str(each) for each in _exactly(instance.labels))
    if matchers is None or (alert is not None and "matchers" in asked):
        raise ConfigError("silence: say which alerts: `matchers`, or the fingerprint `alert`")
    try:
        parsed = parse_matchers(matchers)
    except ValueError as error:
        raise ConfigError(f"silence: expected {error}") from error
    starts_at = _moment(asked, "starts_at") or now
    ends_at = _end(asked, starts_at)
    if ends_at is None and not any(match_all(parsed, labels) for labels in store.firing_labels().values()):
        raise ConfigError("silence: no alert fires that these matchers mean; nothing could resolve")
    if ends_at is not None and ends_at <= max(starts_at, now):
        raise ConfigError("silence: it would be over before it begins")
    made = Silence(
        key=secrets.token_hex(4),
        matchers=", ".join(map(str, parsed)),
        starts_at=starts_at,
        ends_at=ends_at,
        author=_text(asked, "author") or "somebody",
        comment=_text(asked, "comment") or "",
        created_at=now,
    )
    store.silence(made)
    meant = sum(match_all(parsed, instance.labels) for _, instance in store.alerts(_ALL))
    return _silence(made, now) | {"alerts": meant}


def misspelt_labels(
    store: Store, file: Path | None, flags: Mapping[str, Any], matchers: str
) -> dict[str, str]:
    """Labels that matchers name and nothing is known to have, where a known one is much like them."""
    known = {"alertname", "model"}
    known.update(*(instance.labels for _, instance in store.alerts(_ALL)))
    known.update(*(each.instance.labels for each in store.history(_REMEMBERED)))
    with suppress(ConfigError):  # a mistake in a rule file is told elsewhere
        project = load_project(file, flags)
        filled = (group.rules_of(group.example, group.example) for group in project.model_groups)
        known.update(*(rule.labels for rule in chain(project.rules, *filled)))
    named = {each.label for each in parse_matchers(matchers)} - known
    near = {label: difflib.get_close_matches(label, sorted(known), n=1) for label in named}
    return {label: found[0] for label, found in near.items() if found}


def silences(store: Store, now: datetime) -> list[dict[str, Any]]:
    """Silences that hold or will, as JSON."""
    return [_silence(each, now) for each in store.silences(now)]


def end_silence(store: Store, asked: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """End the silence `key` now.

    Raises:
        ConfigError: There is none.
    """
    _only(asked, {"key"})
    key = _text(asked, "key")
    if key is None or not store.end_silence(key, now):
        raise ConfigError(f"there is no silence {key}; `lapwing silence` lists those that there are")
    return {"ended": key}


def acknowledge(store: Store, asked: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Take an alert on, or with `withdraw` do so no more.

    Raises:
        ConfigError: It does not fire.
        NotSeenYetError: There is no such alert.
    """
    _only(asked, {"alert", "author", "comment", "withdraw"})
    alert = _text(asked, "alert")
    if alert is None:
        raise ConfigError("ack: expected the fingerprint of an alert as `alert`")
    key = _fingerprint(store, alert)
    if asked.get("withdraw") is True:
        if not store.withdraw_ack(key, now):
            raise ConfigError(f"nobody has acknowledged {key}")
        return {"fingerprint": key, "acknowledged_by": None}
    ack = Ack(key, _text(asked, "author") or "somebody", _text(asked, "comment") or "", now)
    if not store.acknowledge(ack):
        raise ConfigError(f"{key} does not fire, so there is nothing to acknowledge")
    return {"fingerprint": key} | _ack(ack)


def where_told(
    policy: Policy, labels: str, now: datetime, store: Store | None = None
) -> list[dict[str, Any]]:
    """Where an alert with labels such as `severity=page, model=churn` would arrive now, as JSON.

    With the state in `store`, what would keep it back: silences, and alerts that fire.

    Raises:
        ConfigError: These are no labels.
    """
    try:
        parsed = parse_matchers(labels) if labels.strip(" {}") else ()
    except ValueError as error:
        raise ConfigError(f"expected labels such as severity=page, model=churn, not {labels!r}") from error
    if wrong := [str(each) for each in parsed if each.op != "="]:
        raise ConfigError(f"expected labels such as severity=page, model=churn, not {wrong[0]}")
    named = {each.label: each.value for each in parsed}
    hush = hush_by(policy, store.silences(now) if store else (), store.firing_labels() if store else {}, now)
    alert = _imagined(named, now)
    return [
        {
            "route": route.path,
            "receiver": route.receiver,
            "group": route.group_labels(named),
            "group_wait_s": route.group_wait.total_seconds(),
            "group_interval_s": route.group_interval.total_seconds(),
            "repeat_interval_s": route.repeat_interval.total_seconds(),
            "muted": policy.muted(route, now),
            "kept_back": None if (hushed := hush(alert, route)) is None else hushed.reason,
            "targets": [
                {"name": each.name, "after_s": each.after.total_seconds() if each.after else 0.0}
                for each in policy.listeners(route, ())
            ],
        }
        for route in policy.routes(named)
    ]


def routes_for(file: Path | None, flags: Mapping[str, Any], labels: str) -> list[dict[str, Any]]:
    """Where an alert with these labels would arrive, by the notify file of a project, and what keeps it back.

    Raises:
        ConfigError: The file has mistakes, or these are no labels.
    """
    policy = notify_policy(file)
    if not state_of(settings_for(file, flags)).exists():
        return where_told(policy, labels, wall_clock())
    with store_of(file, flags) as store:
        return where_told(policy, labels, wall_clock(), store)


def alert_reads(store: Store, policy: Callable[[], Policy]) -> dict[str, Callable[[Mapping[str, str]], Any]]:
    """What HTTP clients may read of alerts, by address."""
    return {
        "alerts": lambda _: list_alerts(store, wall_clock()),
        "alerts/{fingerprint}": lambda parts: why(store, parts["fingerprint"], wall_clock()),
        "episodes": lambda asked: episodes(
            store, _needed(asked, "from"), _needed(asked, "to"), rule=_text(asked, "rule"), most=_most(asked)
        ),
        "silences": lambda _: silences(store, wall_clock()),
        "routes": lambda _: where_told(policy(), "", wall_clock(), store),
        "routes/{labels:path}": lambda parts: where_told(policy(), parts["labels"], wall_clock(), store),
    }


def alert_duties(
    store: Store, look: Callable[[], None]
) -> dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
    """What HTTP clients may say about alerts, by name; `look` has what follows told at once."""

    def then_look(
        work: Callable[[Store, Mapping[str, Any], datetime], Mapping[str, Any]],
    ) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
        def duty(asked: Mapping[str, Any]) -> Mapping[str, Any]:
            done = work(store, asked, wall_clock())
            look()
            return done

        return duty

    works = {"silence": silence, "end-silence": end_silence, "ack": acknowledge}
    return {name: then_look(work) for name, work in works.items()}


def _known(store: Store, key: str, transitions: Sequence[Transition]) -> tuple[RuleId, Instance]:
    """An alert as it is, or as the newest of its `transitions` left it; while pending it has none."""
    for rule, instance in store.alerts(_ALL):
        if instance.fingerprint == key:
            return rule, instance
    if not transitions:  # it went since it was found
        raise _no_alert(key)
    return transitions[0].rule, transitions[0].instance


def _no_alert(named: str) -> NotSeenYetError:
    return NotSeenYetError(f"there is no alert {named!r}; `lapwing alerts` lists those that there are")


def _fingerprint(store: Store, prefix: str) -> str:
    found = store.instances_named(prefix) if prefix else []
    if not found:
        raise _no_alert(prefix)
    if len(found) > 1 and prefix not in found:
        raise ConfigError(f"{len(found)} or more alerts begin with {prefix!r}; give more of it")
    return prefix if prefix in found else found[0]


def _imagined(labels: Mapping[str, str], now: datetime) -> Alert:
    """An alert of which nothing is known but its labels."""
    return Alert(
        rule=RuleId("", labels.get("alertname", "")),
        fingerprint="",
        labels=labels,
        annotations={},
        status=Status.FIRING,
        reason="",
        health=Health.OK,
        value=None,
        peak=None,
        sample_count=None,
        condition=None,
        active_at=now,
        fired_at=now,
        resolved_at=None,
        window_start=now,
        window_end=now,
        slot=now,
    )


def _exactly(labels: Mapping[str, str]) -> Iterator[Matcher]:
    for name, value in sorted(labels.items()):
        yield Matcher(name, "=", value)


def _end(asked: Mapping[str, Any], starts_at: datetime) -> datetime | None:
    """When a silence ends, None where it holds until its alerts resolve."""
    given = [key for key in ("for", "ends_at", "until_resolved") if asked.get(key)]
    if len(given) != 1:
        raise ConfigError("silence: say how long: one of `for`, `ends_at` and `until_resolved`")
    if given == ["until_resolved"]:
        return None
    if (span := _text(asked, "for")) is None:
        return _moment(asked, "ends_at")
    try:
        return starts_at + parse_duration(span)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"silence: expected {error}") from error


def _moment(asked: Mapping[str, Any], key: str) -> datetime | None:
    text = _text(asked, key)
    if text is None:
        return None
    try:
        return read_utc(text)
    except ValueError as error:
        raise ConfigError(f"{key}: expected a time such as 2026-01-31T12:00, not {text!r}") from error


def _needed(asked: Mapping[str, Any], key: str) -> datetime:
    moment = _moment(asked, key)
    if moment is None:
        raise ConfigError(f"{key}: expected a time such as 2026-01-31T12:00, and there is none")
    return moment


def _most(asked: Mapping[str, Any]) -> int:
    text = _text(asked, "most") or str(_OVER)
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) <= _MOST_OVER):
        raise ConfigError(f"`most`: expected a whole number from 1 to {_MOST_OVER}, not {text[:20]!r}")
    return int(text)


def _text(asked: Mapping[str, Any], key: str) -> str | None:
    value = asked.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"`{key}`: expected a text, not {value!r}")
    return value or None


def _only(asked: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(asked.keys() - known):
        raise ConfigError(f"`{unknown[0]}` is not known here; known are {', '.join(sorted(known))}")


def _matching(known: list[Silence], labels: Mapping[str, str], now: datetime) -> list[str]:
    return [
        each.key
        for each in known
        if is_active(each, now) and match_all(parse_matchers(each.matchers), labels)
    ]


def _alert(rule: RuleId, instance: Instance) -> dict[str, Any]:
    return {
        "fingerprint": instance.fingerprint,
        "rule": str(rule),
        "labels": dict(instance.labels),
        "annotations": dict(instance.annotations),
        "state": str(instance.state),
        "health": str(instance.health),
        "value": instance.value,
        "peak": instance.peak,
        "active_at": _time(instance.active_at),
        "fired_at": _time(instance.fired_at),
        "resolved_at": _time(instance.resolved_at),
    }


def _judged(alert: Alert | None) -> dict[str, Any]:
    """What an alert was judged by when it last began to fire or resolved, and what helps to judge it."""
    if alert is None:
        return {}
    context = alert.context
    return {
        "condition": alert.condition,
        "sample_count": alert.sample_count,
        "window_start": _time(alert.window_start),
        "window_end": _time(alert.window_end),
        "recent": list(context.recent),
        "segments": [
            {"segment": each.segment, "value": each.value, "sample_count": each.sample_count}
            for each in context.segments
        ],
        "examples": list(context.examples),
        "rows_url": context.rows_url or None,
        "sample": [dict(row) for row in alert.sample],
    }


def _told_and_untold(knowing: Collection[str], untold: Mapping[str, Delivery]) -> dict[str, Any]:
    """Who accepted a message that it fires, and of whom one is for how far that has come.

    Args:
        knowing: Targets that were to hear that it fires.
        untold: Those that accepted nothing, with how far the newest message is.
    """
    missing = {name: str(delivery) for name, delivery in sorted(untold.items()) if name in knowing}
    return {"told": sorted(set(knowing) - missing.keys()), "untold": missing}


def _group(group: Group, key: str) -> dict[str, Any]:
    member = group.members[key]
    return {
        "receiver": group.receiver,
        "route": group.route,
        "labels": dict(group.labels),
        "alerts": len(group.members),
        "not_told_because": member.hushed or None,
        "looked_at": _time(group.look_at),
        "targets": [
            {
                "name": target,
                "believes_it_fires": key in heard.firing,
                "told_at": _time(heard.told_at),
            }
            for target, heard in sorted(group.heard.items())
        ],
    }


def _verdict(instance: Instance, groups: list[Group], key: str, reached: Mapping[str, Any]) -> str:
    """In a sentence, how it stands."""
    if instance.state is AlertState.PENDING:
        return "nobody is told while it is pending: the `for` of its rule has not passed"
    if instance.state is AlertState.INACTIVE:
        return "it does not fire"
    if not groups:
        return "it fires, and is in no group: nobody was told"
    told, untold = reached["told"], reached["untold"]
    gave_up = [name for name, delivery in untold.items() if delivery == Delivery.DEAD]
    waits = [name for name in untold if name not in gave_up]
    known = [
        *([f"{', '.join(told)} {'was' if len(told) == 1 else 'were'} told"] if told else []),
        *([f"not yet {', '.join(waits)}, which a message waits for"] if waits else []),
        *([f"{', '.join(gave_up)} could not be told"] if gave_up else []),
    ]
    if known:
        return f"it fires, and {'; '.join(known)}"
    if reasons := sorted({group.members[key].hushed for group in groups} - {""}):
        return f"it fires, and nobody was told: {'; '.join(reasons)}"
    return "it fires, and is told when the wait of its group is over; without a receiver's targets, never"


def _message(row: OutboxRow) -> dict[str, Any]:
    return {
        "key": row.message.key,
        "at": _time(row.created_at),
        "target": row.message.target,
        "status": str(row.message.status),
        "title": row.message.title,
        "delivery": str(row.delivery),
        "attempts": row.attempts,
        "sent_at": _time(row.sent_at),
        "reason": row.last_error,
    }


def _silence(made: Silence, now: datetime) -> dict[str, Any]:
    return {
        "key": made.key,
        "matchers": made.matchers,
        "starts_at": _time(made.starts_at),
        "ends_at": _time(made.ends_at),
        "until_resolved": made.ends_at is None,
        "active": is_active(made, now),
        "author": made.author,
        "comment": made.comment,
    }


def _ack(ack: Ack) -> dict[str, Any]:
    return {"acknowledged_by": ack.author, "comment": ack.comment, "at": _time(ack.created_at)}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.isoformat(timespec='seconds')}Z"
