"""What a message says: what is wrong, where, since when, how far over, and where to look. Pure.

A message is made of parts. Each is whole: none is ever cut in the middle of its markup. Where not all of them
fit a service, the less needed ones are left out, and the message says so.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from lapwing_collector.model.alerts import RESOLVED_BECAUSE, Alert, Health, Notification, Reason, Status
from lapwing_collector.notify.attachment import ATTACHMENTS, FILE_NAME, samples_csv
from lapwing_collector.notify.dialects import DIALECTS, PLAIN, Dialect, safe_url
from lapwing_collector.notify.webhook import payload_of
from lapwing_collector.notify.wording import (
    clean,
    comparison,
    cut,
    duration,
    length,
    line,
    lines,
    moment,
    number,
    percent,
    span,
    sparkline,
    told,
)

_HEALTH: Final = {
    Health.NO_DATA: "no data arrives",
    Health.MISSING: "its row is missing from the result",
    Health.ERROR: "the query fails; the state is the last one known",
    Health.INSUFFICIENT: "too few samples to judge by; the state is the last one known",
}
_WHY: Final = {
    Reason.REPEAT: "Still firing; this is a reminder.",
    Reason.ESCALATION: "Nobody has acknowledged this yet.",
    Reason.DIGEST: "This is of the past: it is told now that Lapwing has caught up.",
}
_LINKS: Final = {"runbook_url": "Runbook", "dashboard_url": "Dashboard"}
_LEADING: Final = frozenset({"summary", "description", *_LINKS})

_MAILS: Final = frozenset({"mailto", "mailtos"})
_PAYLOAD_MAX: Final = {"json": 1 << 20, "jsons": 1 << 20, "pagerduty": 100_000}
"""Characters of JSON for the services that take it; PagerDuty refuses events of half a megabyte."""
_TITLE_MAX: Final = 150
"""More of a title shows on no lock screen."""
_BODY_MAX: Final = {"slack": 3000, "mailto": 20_000, "mailtos": 20_000}
"""Where a service takes more than a person reads."""

_SUMMARY_MAX: Final = 400
_DESCRIPTION_MAX: Final = 1500
_LABEL_MAX: Final = 80
_NOTE_MAX: Final = 300
_WHERE_MAX: Final = 160
_ROWS: Final = 5
_TABLE_WIDTH: Final = 60
_CELL_MAX: Final = 19
_IDS: Final = 3
_SEGMENTS: Final = 3
_VALUES: Final = 6
_WHOLE: Final = 1
"""Alerts of a message that tells all it knows of each."""
_SOME: Final = 8
"""Alerts of a message that gives a few lines to each."""
_MOST: Final = 25
"""Alerts that a message names at all: nobody reads more of them on a phone."""


class Addressee(Protocol):
    """What rendering needs to know of a target."""

    @property
    def kind(self) -> str:
        """What service it is: the scheme of its Apprise address."""
        ...

    @property
    def title_max(self) -> int:
        """Characters it takes as a title."""
        ...

    @property
    def takes_files(self) -> bool:
        """Whether files can come with a message."""
        ...

    def body_max(self, title: str) -> int:
        """Characters it takes as a body beside `title`."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A notification in words.

    Attributes:
        title: One line; of mails the same for all that is told of a group, so that they make one thread.
        body: What people read.
        body_format: `text`, `markdown` or `html`: what the body is written in.
        payload: The notification as JSON for services that take it; files for those that take them; or empty.
    """

    title: str
    body: str
    body_format: str
    payload: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a body: markup that is complete in itself. The lower `rank` is, the more it is needed."""

    rank: int
    markup: str


def render(notification: Notification, addressee: Addressee) -> Rendered:
    """Put a notification into words that fit who is told."""
    kind = addressee.kind
    say = DIALECTS.get(kind, PLAIN)
    plain_title = _thread_title(notification) if kind in _MAILS else _title(notification)
    title = _in_title(plain_title, say, kind, min(addressee.title_max, _TITLE_MAX))
    room = min(addressee.body_max(title), _BODY_MAX.get(kind, addressee.body_max(title)))
    body = _body(notification, say, room)
    payload = payload_of(notification, _PAYLOAD_MAX[kind]) if kind in _PAYLOAD_MAX else ""
    if kind not in _PAYLOAD_MAX and addressee.takes_files:
        payload = _attached(notification)
    return Rendered(title, body, say.body_format, payload)


def _attached(notification: Notification) -> str:
    """The rows behind what is news, as a file; repeats bring no file again."""
    told = samples_csv(alert for alert in notification.firing if alert.fingerprint in notification.changed)
    return json.dumps({ATTACHMENTS: [{"name": FILE_NAME, "text": told}]}) if told else ""


# Titles


def _title(notification: Notification) -> str:
    """What a lock screen shows: how it stands, what it is, and what tells it from others of its kind."""
    alerts = notification.firing + notification.resolved
    ahead = notification.firing or notification.resolved
    count = len(ahead) + (notification.truncated if notification.firing else 0)
    counted = f":{count}" if count > 1 else ""
    drill = "[DRILL] " if notification.drill else ""
    named, details = _named(_shared(alerts), alerts)
    return f"{drill}[{notification.status.upper()}{counted}] {named}{details}"


def _thread_title(notification: Notification) -> str:
    """A subject that never changes as long as the group lives."""
    drill = "[DRILL] " if notification.drill else ""
    alerts = notification.firing + notification.resolved
    labels = notification.group_labels
    if not labels and len(alerts) == 1 and alerts[0].fingerprint == notification.group:
        labels = alerts[0].labels
    if not labels:
        return f"{drill}Alerts" + (f" for {notification.receiver}" if notification.receiver else "")
    named, details = _named(labels, alerts if "alertname" in labels else ())
    return f"{drill}{named}{details}"


def _named(labels: Mapping[str, str], alerts: Sequence[Alert]) -> tuple[str, str]:
    """The name of what all alerts are, and the labels that say more."""
    names = sorted({alert.rule.name for alert in alerts})
    many = ", ".join(names) if len(names) <= 2 else f"{len(names)} kinds of alerts"
    named = labels.get("alertname") or many or "Alerts"
    details = _pairs({name: value for name, value in labels.items() if name != "alertname"})
    return named, f" ({details})" if details else ""


def _in_title(title: str, say: Dialect, kind: str, most: int) -> str:
    """The title as the service takes it: those that put it into their markup need it written in that."""
    escaped = say.text if kind in {"tgram", "discord", "workflows", "workflow"} else PLAIN.text
    kept = most
    while length(written := escaped(line(title, kept))) > most and kept > 0:
        kept -= length(written) - most
    return written


# Bodies


def _body(notification: Notification, say: Dialect, room: int) -> str:
    alerts = notification.firing + notification.resolved
    why = _why(notification, say)
    if len(alerts) <= _WHOLE and not notification.truncated:
        parts = [*why, *(part for alert in alerts for part in _whole(alert, say))]
        return _fitted(parts, say, room)
    return _many(notification, say, room, why)


def _why(notification: Notification, say: Dialect) -> list[_Part]:
    words = []
    if notification.drill:
        words.append("This is a drill: nothing happened.")
    if said := _WHY.get(notification.reason):
        words.append(said)
    return [_Part(0, say.text(" ".join(words)))] if words else []


def _fitted(parts: Sequence[_Part], say: Dialect, room: int) -> str:
    """As many parts as there is room for, the most needed first, in their order."""
    parts = [part for part in parts if part.markup]
    more = say.text("…")
    whole = say.newline.join(part.markup for part in parts)
    if length(whole) <= room:
        return whole
    left = room - length(more)
    kept: set[int] = set()
    for index, part in sorted(enumerate(parts), key=lambda each: each[1].rank):
        needed = length(part.markup) + length(say.newline)
        if needed <= left:
            kept.add(index)
            left -= needed
        elif not kept:  # the first of all is worth its beginning
            return _beginning(part.markup, say, room)
    return say.newline.join([*(parts[index].markup for index in sorted(kept)), more])


def _beginning(markup: str, say: Dialect, room: int) -> str:
    """What fits of a part that does not; without markup, as half of it would break the rest."""
    return cut(markup, room) if say is PLAIN else cut(say.text("…"), room)


def _whole(alert: Alert, say: Dialect) -> Iterator[_Part]:
    """All that is known of an alert."""
    summary = alert.annotations.get("summary") or _alertname(alert)
    stands = "Resolved: " if alert.status is Status.RESOLVED else ""
    yield _Part(0, say.bold(stands + line(summary, _SUMMARY_MAX)))
    if description := alert.annotations.get("description"):
        yield _Part(7, say.newline.join(map(say.text, lines(description, _DESCRIPTION_MAX))))
    yield _Part(1, _fact("", _status(alert), say))
    yield _Part(2, _fact("Value", _value(alert), say))
    if alert.status is Status.RESOLVED and alert.peak is not None:
        yield _Part(4, _fact("Peak", number(alert.peak), say))
    if alert.health is not Health.OK:
        yield _Part(3, _fact("Health", _HEALTH[alert.health], say))
    yield _Part(4, _fact("Trend", _trend(alert), say))
    yield _Part(5, _fact("Samples", _samples(alert), say))
    yield _Part(9, _fact("Also", _others(alert), say))
    yield _Part(8, _fact("Window", span(alert.window_start, alert.window_end), say))
    yield _Part(6, _segments(alert, say))
    yield _Part(3, _links(alert, say))
    yield _Part(10, _examples(alert, say))
    yield _Part(12, _table(alert, say))
    yield _Part(5, _labels(alert.labels, say))
    for name, text in alert.annotations.items():
        if name not in _LEADING:
            yield _Part(11, _fact(line(name, _LABEL_MAX), line(text, _NOTE_MAX), say))
    yield _Part(9, _fact("Rule", line(str(alert.rule), _WHERE_MAX), say))


def _fact(name: str, told: str, say: Dialect) -> str:
    if not told:
        return ""
    return f"{say.bold(name + ':')} {say.text(told)}" if name else say.text(told)


def _alertname(alert: Alert) -> str:
    return alert.labels.get("alertname") or alert.rule.name


def _status(alert: Alert) -> str:
    late = ", found late" if alert.late else ""
    if alert.status is Status.FIRING:
        fired = alert.fired_at or alert.slot
        active = alert.active_at or fired
        bad = f"{active:%H:%M}" if active.date() == fired.date() else moment(active)
        before = f", bad since {bad}" if active < fired else ""
        return f"Firing since {moment(fired)}{before}{late}"
    at = alert.resolved_at or alert.slot
    lasted = f" after {duration(at - alert.fired_at)}" if alert.fired_at is not None else ""
    why = RESOLVED_BECAUSE.get(alert.reason) or line(alert.reason, _NOTE_MAX)
    return f"Resolved at {moment(at)}{lasted}{late}: {why}"


def _value(alert: Alert) -> str:
    """The value against what the rule allows."""
    value, judged = alert.value, comparison(alert.condition)
    if judged is not None and judged.column == "value":
        if value is not None and judged.holds(value):
            return f"{number(value)}, {judged}"
        return f"{number(value)} (fires {judged})"
    if alert.condition:
        return f"{number(value)} (fires when {line(alert.condition, _NOTE_MAX)})"
    return number(value) if value is not None else ""


def _trend(alert: Alert) -> str:
    recent = alert.context.recent
    known = [value for value in recent if value is not None]
    if len(known) < 2:
        return ""
    ends = f"{number(known[0])} → {number(known[-1])}"
    step = timedelta(seconds=alert.context.step_s)
    return f"{sparkline(recent)} {ends}" + (f", one each {duration(step)}" if step else "")


def _samples(alert: Alert) -> str:
    words = []
    if alert.sample_count is not None:
        words.append(number(alert.sample_count))
    coverage = alert.context.values.get("label_coverage")
    if isinstance(coverage, int | float):
        words.append(f"{percent(coverage)} with a label")
    return ", ".join(words)


def _others(alert: Alert) -> str:
    """Other columns of the row, bounds and references among them; those that the condition names lead."""
    others = {name: value for name, value in alert.context.values.items() if name != "label_coverage"}
    condition = (alert.condition or "").lower()
    ordered = sorted(others.items(), key=lambda each: each[0].lower() not in condition)
    named = [f"{line(name, _LABEL_MAX)} {line(told(value), _LABEL_MAX)}" for name, value in ordered]
    return ", ".join(named[:_VALUES])


def _segments(alert: Alert, say: Dialect) -> str:
    parts = [
        f"{line(each.segment, _LABEL_MAX)} {number(each.value)}"
        + (f" ({number(each.sample_count)} rows)" if each.sample_count is not None else "")
        for each in alert.context.segments[:_SEGMENTS]
    ]
    return _fact("Worst parts", ", ".join(parts), say)


def _links(alert: Alert, say: Dialect) -> str:
    urls = {"Rows": alert.context.rows_url} | {
        words: alert.annotations.get(name, "") for name, words in _LINKS.items()
    }
    safe = {words: safe_url(clean(url)) for words, url in urls.items() if url}
    links = [say.link(words, url) for words, url in safe.items() if url is not None]
    # An address that is none is told as the text that it is.
    texts = [_fact(words, line(urls[words], _NOTE_MAX), say) for words, url in safe.items() if url is None]
    between = say.newline if say is PLAIN else say.text(" · ")
    return say.newline.join([*([between.join(links)] if links else []), *texts])


def _examples(alert: Alert, say: Dialect) -> str:
    sampled = [str(row["prediction_id"]) for row in alert.sample if row.get("prediction_id")]
    ids = sampled or alert.context.examples
    if not ids:
        return ""
    shown = " ".join(say.code(line(each, _LABEL_MAX)) for each in ids[:_IDS])
    return f"{say.bold('Predictions:')} {shown}"


def _table(alert: Alert, say: Dialect) -> str:
    """The first rows behind an alert, as many columns as a screen is wide; ids are told apart."""
    columns = dict.fromkeys(name for row in alert.sample for name in row if name != "prediction_id")
    cells = {
        name: [
            line(name, _CELL_MAX),
            *(line(told(row.get(name)), _CELL_MAX) for row in alert.sample[:_ROWS]),
        ]
        for name in columns
    }
    shown: list[list[str]] = []
    width = 0
    for texts in cells.values():
        wide = max(map(len, texts))
        if shown and width + 2 + wide > _TABLE_WIDTH:
            break
        width += wide + (2 if shown else 0)
        shown.append([text.ljust(wide) for text in texts])
    if not shown:
        return ""
    rows = ["  ".join(row).rstrip() for row in zip(*shown, strict=True)]
    left_out = (
        (len(alert.sample) - _ROWS, "row"),
        (len(cells) - len(shown), "column"),
    )
    more = [f"{count} more {what}{'s' * (count > 1)}" for count, what in left_out if count > 0]
    return say.table([*rows, *([f"and {' and '.join(more)}"] if more else [])])


def _labels(labels: Mapping[str, str], say: Dialect) -> str:
    named = [
        say.code(f"{line(name, _LABEL_MAX)}={line(value, _LABEL_MAX)}")
        for name, value in _ordered(labels)
        if name != "alertname"
    ]
    between = ", " if say is PLAIN else " "
    return f"{say.bold('Labels:')} {between.join(named)}" if named else ""


def _ordered(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """The model first: it is what people look for."""
    return sorted(labels.items(), key=lambda each: (each[0] != "model", each[0]))


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(
        f"{line(name, _LABEL_MAX)}={line(value, _LABEL_MAX)}" for name, value in _ordered(labels)
    )


def _shared(alerts: Sequence[Alert]) -> dict[str, str]:
    """The labels that all alerts have."""
    shared = dict(alerts[0].labels) if alerts else {}
    for alert in alerts[1:]:
        shared = {name: value for name, value in shared.items() if alert.labels.get(name) == value}
    return shared


# Many alerts at once


def _many(notification: Notification, say: Dialect, room: int, why: Sequence[_Part]) -> str:
    """How many fire and resolved, what they have in common, and a few lines for each, as far as they fit."""
    alerts = _news_first(notification)
    shared = _shared(alerts)
    head = [
        *why,
        _Part(0, say.bold(_counts(notification))),
        _Part(3, _labels(shared, say)),
        _Part(2, _spread(alerts, shared, say, truncated=notification.truncated > 0)),
        _Part(1, _group_links(alerts, say)),
    ]
    if len(alerts) <= _SOME and not notification.truncated:
        entries = [_entry(alert, shared, say) for alert in alerts]
        opened = say.newline.join(part.markup for part in head if part.markup)
        body = say.gap.join([opened, *entries])
        if length(body) <= room:
            return body
    entries = [_one_line(alert, shared, say) for alert in alerts[:_MOST]]
    more = len(alerts) - len(entries) + notification.truncated
    return _as_many_as_fit(head, entries, more, say, room)


def _news_first(notification: Notification) -> list[Alert]:
    alerts = notification.firing + notification.resolved
    return sorted(alerts, key=lambda alert: alert.fingerprint not in notification.changed)


def _as_many_as_fit(head: Sequence[_Part], entries: Sequence[str], more: int, say: Dialect, room: int) -> str:
    """Entries as far as there is room for them, and how many there are beside these."""

    def rest(shown: int) -> str:
        left = len(entries) - shown + more
        return say.text(f"and {number(left)} more") if left else ""

    reserved = length(rest(0)) + length(say.newline)
    opened = _fitted(head, say, room - reserved)
    used, shown = length(opened) + reserved, 0
    for entry in entries:
        used += length(entry) + length(say.newline)
        if used > room:
            break
        shown += 1
    body = say.newline.join(each for each in (opened, *entries[:shown], rest(shown)) if each)
    return body if length(body) <= room else _beginning(body, say, room)


def _counts(notification: Notification) -> str:
    firing, resolved = len(notification.firing), len(notification.resolved)
    if notification.firing:
        firing += notification.truncated
    else:
        resolved += notification.truncated
    words = [
        f"{number(count)} {what}" for count, what in ((firing, "firing"), (resolved, "resolved")) if count
    ]
    alerts = notification.firing + notification.resolved
    new = sum(alert.fingerprint in notification.changed for alert in alerts)
    if notification.reason is Reason.CHANGED and new < len(alerts):
        words.append(f"{number(new)} of them new" if new else "none of them new")
    return ", ".join(words)


def _spread(alerts: Sequence[Alert], shared: Mapping[str, str], say: Dialect, *, truncated: bool) -> str:
    """Which values of labels most of many alerts have: what a storm has in common."""
    if len(alerts) <= _SOME:
        return ""
    among = f" (of {number(len(alerts))})" if truncated else ""
    names = dict.fromkeys(name for alert in alerts for name in alert.labels if name not in shared)
    told = []
    for name in sorted(names):
        counts = Counter(alert.labels.get(name, "") for alert in alerts)
        if len(counts) <= len(alerts) / 2:
            most = counts.most_common(3)
            listed = ", ".join(f"{line(value, _LABEL_MAX) or 'none'} {number(n)}" for value, n in most)
            more = f" and {len(counts) - len(most)} more" if len(counts) > len(most) else ""
            told.append(_fact(f"By {line(name, _LABEL_MAX)}{among}", listed + more, say))
    return say.newline.join(told[:2])


def _group_links(alerts: Sequence[Alert], say: Dialect) -> str:
    """The links that lead all alerts to the same place."""
    common = {words: {alert.annotations.get(name, "") for alert in alerts} for name, words in _LINKS.items()}
    links = [
        say.link(words, safe)
        for words, urls in common.items()
        if len(urls) == 1 and (safe := safe_url(clean(next(iter(urls))))) is not None
    ]
    return (say.newline if say is PLAIN else say.text(" · ")).join(links)


def _entry(alert: Alert, shared: Mapping[str, str], say: Dialect) -> str:
    """A few lines: what and where, how much and since when, and how it came about."""
    summary = alert.annotations.get("summary", "")
    told = [
        _fact("", line(summary, _SUMMARY_MAX), say),
        say.text(f"{_status(alert)}"),
        _fact("Value", _value(alert), say),
        _fact("Trend", _trend(alert), say),
        _segments(alert, say),
        _row_link(alert, say),
    ]
    where = say.bold(f"{_mark(alert)} {_where(alert, shared)}")
    return say.newline.join([where, *(each for each in told if each)])


def _one_line(alert: Alert, shared: Mapping[str, str], say: Dialect) -> str:
    told = _value(alert) or line(alert.annotations.get("summary", ""), _WHERE_MAX)
    return f"{_mark(alert)} {say.bold(_where(alert, shared))}: {say.text(line(told, _WHERE_MAX))}"


def _row_link(alert: Alert, say: Dialect) -> str:
    url = safe_url(alert.context.rows_url) if alert.context.rows_url else None
    return say.link("Rows", url) if url is not None else ""


def _mark(alert: Alert) -> str:
    return "▲" if alert.status is Status.FIRING else "✓"


def _where(alert: Alert, shared: Mapping[str, str]) -> str:
    """What tells an alert from the others of its message."""
    apart = {name: value for name, value in alert.labels.items() if name not in shared}
    named = apart.pop("alertname", "")
    where = " ".join(part for part in (named, _pairs(apart)) if part) or _alertname(alert)
    return line(where, _WHERE_MAX)
