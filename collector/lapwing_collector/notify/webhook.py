"""A notification as JSON for programs: version 4 of Alertmanager's webhook, and what Lapwing knows beside."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from lapwing_collector.model.alerts import Alert, Notification, Status

VERSION: Final = "4"
_NEVER: Final = "0001-01-01T00:00:00Z"
"""What Alertmanager writes for the end of an alert that fires."""
_MOST_ALERTS: Final = 200
"""Alerts that a body lists; the others are counted, so that a storm is no request of megabytes."""
_BULKY: Final = ("sample", "segments", "recent", "values")
"""What is left out of an alert that alone would not fit."""


def payload_of(notification: Notification, most_chars: int) -> str:
    """Write a notification as JSON.

    The keys that Alertmanager sends have its names and meanings; Lapwing's own stand beside them. On the way
    Apprise adds `title`, `message`, `type` and `attachments`.

    Args:
        notification: What is told.
        most_chars: How long the list of alerts may be; those that do not fit are counted.
    """
    alerts = notification.firing + notification.resolved
    listed = _listed(notification, most_chars)
    document = {
        "version": VERSION,
        "groupKey": notification.group,
        "truncatedAlerts": len(alerts) - len(listed) + notification.truncated,
        "status": notification.status.value,
        "receiver": notification.receiver,
        "groupLabels": dict(notification.group_labels),
        "commonLabels": _common([alert.labels for alert in alerts]),
        "commonAnnotations": _common([alert.annotations for alert in alerts]),
        "externalURL": "",
        "alerts": listed,
        "reason": notification.reason.value,
        "drill": notification.drill,
    }
    return _written(document)


def _listed(notification: Notification, most_chars: int) -> list[dict[str, Any]]:
    """As many alerts as fit, the first of them in any case."""
    listed: list[dict[str, Any]] = []
    alerts = notification.firing + notification.resolved
    for alert in alerts[:_MOST_ALERTS]:
        told = _finite(_alert(alert, new=alert.fingerprint in notification.changed))
        if len(_written(told)) > most_chars:
            told |= dict.fromkeys(_BULKY)
        most_chars -= len(_written(told))
        if most_chars < 0 and listed:
            break
        listed.append(told)
    return listed


def _written(document: Any) -> str:
    return json.dumps(document, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are null."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def _alert(alert: Alert, *, new: bool) -> dict[str, Any]:
    context = alert.context
    return {
        "status": alert.status.value,
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": _time(alert.active_at or alert.fired_at or alert.slot),
        "endsAt": _NEVER if alert.status is Status.FIRING else _time(alert.resolved_at or alert.slot),
        "generatorURL": context.rows_url,
        "fingerprint": alert.fingerprint,
        "new": new,
        "rule": str(alert.rule),
        "reason": alert.reason,
        "health": alert.health.value,
        "value": alert.value,
        "peak": alert.peak,
        "condition": alert.condition,
        "sampleCount": alert.sample_count,
        "firedAt": None if alert.fired_at is None else _time(alert.fired_at),
        "windowStart": _time(alert.window_start),
        "windowEnd": _time(alert.window_end),
        "slot": _time(alert.slot),
        "late": alert.late,
        "values": dict(context.values),
        "recent": list(context.recent),
        "segments": [asdict(each) for each in context.segments],
        "examples": list(context.examples),
        "sample": [dict(row) for row in alert.sample],
    }


def _common(texts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    shared = dict(texts[0]) if texts else {}
    for each in texts[1:]:
        shared = {name: text for name, text in shared.items() if each.get(name) == text}
    return shared


def _time(at: datetime) -> str:
    return at.isoformat() + "Z"
