"""A drill: what a rule would announce if one of its alerts began to fire, or resolved, with made-up rows."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from lapwing_collector.model.alerts import AlertState, Instance, Status, Transition
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.slots import window_of

_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:e[-+]?\d+)?", re.IGNORECASE)


def drill(rule: Rule, labels: Mapping[str, str], value: float | None, now: datetime) -> Transition:
    """Let an alert of `rule` fire that there is not.

    Its fingerprint is that of no other alert, so that real ones stay as they are.

    Args:
        rule: Whose.
        labels: Label columns of the row that there is not; they win over the rule's, as always.
        value: Its value; the number in the rule's condition if None.
        now: When, naive UTC.
    """
    window = window_of(rule, now)
    if value is None:
        found = _NUMBER.search(rule.condition or "")
        value = float(found[0]) if found else 1.0
    static = {name: text.render({"labels": labels}) for name, text in rule.labels.items()}
    all_labels = {**static, **labels, "alertname": rule.id.name}
    context: dict[str, Any] = {
        "labels": all_labels,
        "value": value,
        "values": {"value": value, "sample_count": 1},
        "sample_count": 1,
        "window_start": window.start,
        "window_end": window.end,
        "slot": now,
    }
    identity = json.dumps(["drill", rule.id.group, rule.id.name, sorted(labels.items()), now.isoformat()])
    instance = Instance(
        fingerprint=hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
        labels=all_labels,
        annotations={name: text.render(context) for name, text in rule.annotations.items()},
        state=AlertState.FIRING,
        value=value,
        peak=value,
        sample_count=1,
        active_at=now,
        fired_at=now,
        last_seen_at=now,
    )
    return Transition(rule.id, Status.FIRING, "", instance, now, window.start, window.end, drill=True)


def drill_over(fired: Transition, now: datetime) -> Transition:
    """Let the alert of a drill resolve."""
    instance = replace(fired.instance, state=AlertState.INACTIVE, resolved_at=now)
    return replace(fired, status=Status.RESOLVED, reason="condition", instance=instance, slot=now)
