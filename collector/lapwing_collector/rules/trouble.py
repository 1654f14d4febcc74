"""Alerts about a rule itself: its query keeps failing, or its result has more alerts than `limit`.

They stand beside the alerts of the rule's rows, with names of their own, and go through the same states.
Their labels are those of the rule that need no row, so that who is told of its alerts is told of them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from lapwing_collector.model.alerts import Health, Instance, RuleId
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.states import Evidence
from lapwing_collector.rules.template import Template


class Trouble(StrEnum):
    """What can be wrong with a rule, as its alert is called."""

    ERROR = "RuleError"
    """Its query has failed for `error_for`."""
    LIMIT = "RuleLimitExceeded"
    """Its result has alerts beyond `limit`, which were not taken in."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one evaluation says of a trouble: that it is there, that it is over, or nothing.

    Attributes:
        summary: The text for people; None where nothing is said.
    """

    evidence: Evidence
    summary: str | None = None


@lru_cache(8192)  # asked for at every slot
def trouble_fingerprint(rule: RuleId, trouble: Trouble) -> str:
    """Give the identity of the alert about a rule's trouble; no alert of a row has it."""
    return hashlib.blake2b(json.dumps([rule.group, rule.name, trouble]).encode(), digest_size=16).hexdigest()


def waits_for(rule: Rule, trouble: Trouble) -> timedelta:
    """Give how long a trouble lasts until it is told."""
    return rule.error_for if trouble is Trouble.ERROR else timedelta(0)


def troubled(
    rule: Rule, trouble: Trouble, known: Instance | None, said: Said, slot: datetime
) -> Instance | None:
    """Bring the alert about a trouble up to date; None where there is none and need be none."""
    if said.summary is None or (known is None and said.evidence is not Evidence.ACTIVE):
        return known
    instance = known or Instance(
        trouble_fingerprint(rule.id, trouble), trouble_labels(rule, trouble), first_seen_at=slot
    )
    return replace(
        instance,
        annotations={"summary": said.summary},
        health=Health.ERROR if said.evidence is Evidence.ACTIVE else Health.OK,
        last_seen_at=slot,
    )


def trouble_labels(rule: Rule, trouble: Trouble) -> dict[str, str]:
    """Give the labels of the alert about a rule's trouble: `alert` or `record` names the rule."""
    return {
        **constant(rule.labels),
        "group": rule.id.group,
        rule.kind: rule.id.name,
        "alertname": trouble.value,
    }


def constant(templates: Mapping[str, Template]) -> dict[str, str]:
    """Render what needs no row."""
    return {name: text.render({}) for name, text in templates.items() if not text.variables}
