"""Notifications as people get them, and the words that each service is to get for them.

    python tests/helpers/notify_messages.py

writes the words down anew; read what changed before it is committed.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lapwing_collector.model.alerts import (
    Alert,
    Context,
    Health,
    Notification,
    Reason,
    RuleId,
    SegmentValue,
    Status,
)
from lapwing_collector.notify import Rendered, Target, render

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "messages"
TWO = datetime(2026, 11, 24, 14, 5)  # times are naive UTC

ADDRESSES = {
    "slack": "slack://TAAAAAAAA/BAAAAAAAA/CAAAAAAAAAAAAAAAAAAAAAAA",
    "discord": "discord://1234567890/abcdefghijklmnop",
    "teams": "workflows://example.com:443/workflow/signature",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "mail": "mailto://127.0.0.1:25?from=lapwing@example.com&to=ml@example.com",
    "pagerduty": "pagerduty://key@integration",
    "webhook": "json://127.0.0.1/hook",
    "other": "ntfy://topic",
}
"""A service of each kind."""


def alert(**changes: Any) -> Alert:
    """A feature that drifted, with all that can be known of it."""
    values: dict[str, Any] = {
        "rule": RuleId("fraud-model", "FeatureDrift"),
        "fingerprint": "f-amount",
        "labels": {"alertname": "FeatureDrift", "model": "fraud", "feature": "amount", "severity": "page"},
        "annotations": {
            "summary": "amount drifted: PSI 1.63",
            "description": "Did the payment page change?",
            "runbook_url": "https://runbooks.example.com/drift",
        },
        "status": Status.FIRING,
        "reason": "",
        "health": Health.OK,
        "value": 1.6312,
        "peak": 1.6312,
        "sample_count": 12_345,
        "condition": "value > 0.2",
        "active_at": TWO - timedelta(minutes=15),
        "fired_at": TWO,
        "resolved_at": None,
        "window_start": TWO - timedelta(hours=1),
        "window_end": TWO,
        "slot": TWO,
        "sample": tuple(
            {
                "time": f"2026-11-24T14:0{number}:11",
                "prediction_id": f"0193a5c2-7e1f-7a00-8000-00000000000{number}",
                "value": 250.5 + number,
                "country": "NL",
            }
            for number in range(4)
        ),
        "context": Context(
            recent=(0.02, 0.03, None, 0.05, 0.31, 1.2, 1.6312),
            step_s=300.0,
            values={"label_coverage": 0.962, "reference_count": 80_000},
            segments=(SegmentValue("inputs.country=NL", 2.4, 8000), SegmentValue("inputs.country=DE", 0.21)),
            rows_url="https://lapwing.example.com/model/rows?name=fraud"
            "&from=2026-11-24T13%3A05%3A00Z&to=2026-11-24T14%3A05%3A00Z",
        ),
    }
    return Alert(**values | changes)


def feature(number: int, **changes: Any) -> Alert:
    """One of many features that drifted, of which little is known."""
    values: dict[str, Any] = {
        "fingerprint": f"f-{number}",
        "labels": {
            "alertname": "FeatureDrift",
            "model": "fraud",
            "feature": f"f{number}",
            "kind": "amount" if number % 3 else "count",
        },
        "annotations": {
            "summary": f"f{number} drifted",
            "runbook_url": "https://runbooks.example.com/drift",
        },
        "value": 0.2 + number / 10,
        "sample": (),
        "context": Context(),
    }
    return alert(**values | changes)


def resolved(one: Alert, **changes: Any) -> Alert:
    """How an alert stands after it is over."""
    over = TWO + timedelta(hours=3)
    ended = replace(one, status=Status.RESOLVED, reason="condition", value=0.11, resolved_at=over, slot=over)
    return replace(ended, sample=(), **{"context": Context()} | changes)


def notification(*alerts: Alert, **changes: Any) -> Notification:
    """What is told of alerts of one group, all of them news unless said otherwise."""
    firing = tuple(each for each in alerts if each.status is Status.FIRING)
    values: dict[str, Any] = {
        "group": "g1",
        "receiver": "ml-team",
        "group_labels": {"alertname": "FeatureDrift", "model": "fraud"},
        "status": Status.FIRING if firing else Status.RESOLVED,
        "firing": firing,
        "resolved": tuple(each for each in alerts if each.status is Status.RESOLVED),
        "changed": frozenset(each.fingerprint for each in alerts),
        "reason": Reason.FIRST if firing else Reason.RESOLVED,
    }
    return Notification(**values | changes)


CASES = {
    "one": notification(alert()),
    "resolved": notification(resolved(alert())),
    "few": notification(
        feature(1), feature(2), resolved(feature(3)), reason=Reason.CHANGED, changed=frozenset({"f-2", "f-3"})
    ),
    "storm": notification(*map(feature, range(1, 301)), truncated=4700),
}
"""Notifications, by name."""


def render_for(kind: str, told: Notification) -> Rendered:
    """The words that a service of `kind` is to get."""
    return render(told, Target(kind, ADDRESSES[kind]))


def written(rendered: Rendered) -> str:
    """A message as its golden file has it, with the first of the alerts in its JSON."""
    page = f"{rendered.title}\n({rendered.body_format})\n\n{rendered.body}\n"
    if not rendered.payload:
        return page
    document = json.loads(rendered.payload)
    return f"{page}\n{json.dumps(document | {'alerts': document['alerts'][:1]}, indent=1)}\n"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case, told in CASES.items():
        for kind in ADDRESSES:
            (GOLDEN / f"{case}.{kind}.txt").write_text(written(render_for(kind, told)), encoding="utf-8")
