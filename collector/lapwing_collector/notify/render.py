"""What a message says: everything a person needs to decide what to do, as plain text."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from pydantic import TypeAdapter

from lapwing_collector.model.alerts import Alert, Health, Notification, Status

_REASONS: Final = {
    "condition": "the condition no longer holds",
    "missing": "its row is no longer in the result",
    "no_data": "no data arrives any more",
    "rule_changed": "the rule was changed",
    "rule_deleted": "the rule was deleted",
}
_LINKS: Final = {"runbook_url": "Runbook", "dashboard_url": "Dashboard"}
_DOCUMENT: Final = TypeAdapter(Notification)


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

    def body_max(self, title: str) -> int:
        """Characters it takes as a body beside `title`."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A notification in words.

    Attributes:
        title: One line.
        body: What people read.
        body_format: `text`, `markdown` or `html`: what the body is written in.
        payload: The notification as JSON.
    """

    title: str
    body: str
    body_format: str
    payload: str


def render(notification: Notification, addressee: Addressee) -> Rendered:
    """Put a notification into words that fit who is told."""
    alerts = notification.firing + notification.resolved
    title = _cut(_title(notification, alerts), addressee.title_max)
    body = "\n\n".join("\n".join(_body(alert)) for alert in alerts)
    return Rendered(
        title,
        _cut(body, addressee.body_max(title)),
        "text",
        _DOCUMENT.dump_json(notification).decode(),
    )


def _title(notification: Notification, alerts: tuple[Alert, ...]) -> str:
    """The labels of the alert, or those that all alerts share."""
    shared = dict(alerts[0].labels)
    for alert in alerts[1:]:
        shared = {name: value for name, value in shared.items() if alert.labels.get(name) == value}
    called = shared.pop("alertname", None) or ", ".join(sorted({alert.rule.name for alert in alerts}))
    count = f":{len(alerts)}" if len(alerts) > 1 else ""
    details = ", ".join(f"{name}={value}" for name, value in sorted(shared.items()))
    title = f"[{notification.status.upper()}{count}] {called}" + (f" ({details})" if details else "")
    return " ".join(title.split())


def _body(alert: Alert) -> Iterator[str]:
    """The lines on an alert, the most needed first, since a service may cut the end off."""
    annotations = dict(alert.annotations)
    for name in ("summary", "description"):
        if text := annotations.pop(name, ""):
            yield from (text, "")
    yield f"Status:    {_status(alert)}"
    yield f"Value:     {_number(alert.value)}" + (
        f"   (condition: {alert.condition})" if alert.condition else ""
    )
    if alert.status is Status.RESOLVED:
        yield f"Peak:      {_number(alert.peak)}"
    if alert.health is not Health.OK:
        yield f"Health:    {alert.health}"
    if alert.sample_count is not None:
        yield f"Samples:   {alert.sample_count}"
    yield f"Window:    {_span(alert.window_start, alert.window_end)}"
    yield f"Rule:      {alert.rule}"
    for name, value in annotations.items():
        yield f"{_LINKS.get(name, name) + ':':<10} {value}"
    yield "Labels:"
    yield from (f"  {name} = {value}" for name, value in sorted(alert.labels.items()))


def _status(alert: Alert) -> str:
    if alert.status is Status.FIRING:
        return f"firing, active since {_moment(alert.active_at or alert.slot)}"
    text = f"resolved at {_moment(alert.slot)}"
    if alert.fired_at is not None:
        text += f" after {_duration(alert.slot - alert.fired_at)}"
    return f"{text}: {_REASONS.get(alert.reason, alert.reason)}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _span(start: datetime, end: datetime) -> str:
    return f"{start:%Y-%m-%d %H:%M:%S} to {_moment(end)}"


def _duration(span: timedelta) -> str:
    """The span in its largest units, at least `0s`."""
    rest = int(span.total_seconds())
    parts = []
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
