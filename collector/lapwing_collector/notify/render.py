"""What a message says: everything a person needs to decide what to do, as plain text."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, Protocol

from lapwing_collector.model.alerts import Health, Message, Status, Transition

_REASONS: Final = {
    "condition": "the condition no longer holds",
    "missing": "its row is no longer in the result",
    "no_data": "no data arrives any more",
    "rule_changed": "the rule was changed",
    "rule_deleted": "the rule was deleted",
}
_LINKS: Final = {"runbook_url": "Runbook", "dashboard_url": "Dashboard"}
_KEY_CHARS: Final = 32


class Addressee(Protocol):
    """What rendering needs to know of a target."""

    @property
    def name(self) -> str:
        """Its name in the notify file."""
        ...

    @property
    def send_resolved(self) -> bool:
        """Whether it wants to hear that an alert is over."""
        ...

    @property
    def title_max(self) -> int:
        """Characters it takes as a title."""
        ...

    def body_max(self, title: str) -> int:
        """Characters it takes as a body beside `title`."""
        ...


def messages_for(
    transition: Transition, targets: Iterable[Addressee], condition: str | None
) -> list[Message]:
    """Render what `targets` are told about `transition`.

    Args:
        transition: What happened.
        targets: Who is told; those that do not want resolves get none.
        condition: The rule's condition as its file has it, shown beside the value; None where it has none.
    """
    resolved = transition.status is Status.RESOLVED
    return [
        _message(transition, target, condition) for target in targets if target.send_resolved or not resolved
    ]


def _message(transition: Transition, target: Addressee, condition: str | None) -> Message:
    title = _cut(_title(transition), target.title_max)
    return Message(
        key=_key(transition, target.name),
        target=target.name,
        status=transition.status,
        fingerprint=transition.instance.fingerprint,
        title=title,
        body=_cut("\n".join(_body(transition, condition)), target.body_max(title)),
    )


def _key(transition: Transition, target: str) -> str:
    """The same for every attempt, and for the same announcement decided again after a crash."""
    rule = transition.rule
    identity = [
        rule.group,
        rule.name,
        transition.instance.fingerprint,
        transition.slot.isoformat(),
        transition.status,
        target,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_KEY_CHARS]


def _title(transition: Transition) -> str:
    labels = dict(transition.instance.labels)
    alert = labels.pop("alertname", transition.rule.name)
    details = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    title = f"[{transition.status.upper()}] {alert}" + (f" ({details})" if details else "")
    return " ".join(title.split())


def _body(transition: Transition, condition: str | None) -> Iterator[str]:
    """The lines of a body, the most needed first, since a service may cut the end off."""
    instance = transition.instance
    annotations = dict(instance.annotations)
    for name in ("summary", "description"):
        if text := annotations.pop(name, ""):
            yield from (text, "")
    yield f"Status:    {_status(transition)}"
    yield f"Value:     {_number(instance.value)}" + (f"   (condition: {condition})" if condition else "")
    if transition.status is Status.RESOLVED:
        yield f"Peak:      {_number(instance.peak)}"
    if instance.health is not Health.OK:
        yield f"Health:    {instance.health}"
    if instance.sample_count is not None:
        yield f"Samples:   {instance.sample_count}"
    yield f"Window:    {_span(transition.window_start, transition.window_end)}"
    yield f"Rule:      {transition.rule}"
    for name, value in annotations.items():
        yield f"{_LINKS.get(name, name) + ':':<10} {value}"
    yield "Labels:"
    yield from (f"  {name} = {value}" for name, value in sorted(instance.labels.items()))


def _status(transition: Transition) -> str:
    instance = transition.instance
    if transition.status is Status.FIRING:
        since = instance.active_at or transition.slot
        return f"firing, active since {_moment(since)}"
    text = f"resolved at {_moment(transition.slot)}"
    if instance.fired_at is not None:
        text += f" after {_duration(transition.slot - instance.fired_at)}"
    return f"{text}: {_REASONS.get(transition.reason, transition.reason)}"


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
