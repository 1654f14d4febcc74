"""Rules, results and timelines for the tests of the room `rules`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import yaml

from lapwing_collector.model.alerts import Instance, RuleState, Status, Transition
from lapwing_collector.rules import (
    NO_ROWS,
    Outcome,
    QueryFailure,
    Rows,
    Rule,
    Skipped,
    evaluate,
    load_rules,
    rows_from,
)

START = datetime.fromisoformat("2013-03-01")
MINUTE = timedelta(minutes=1)
ALERT = {
    "alert": "High",
    "expr": "SELECT 1 AS value",
    "condition": "value > 10",
    "resolve_condition": "value < 5",
}

CELLS: Mapping[str, Mapping[str, Any]] = {
    "A": {"value": 20.0, "active": True, "clear": False},
    "c": {"value": 1.0, "active": False, "clear": True},
    "-": {"value": 7.0, "active": False, "clear": False},
    "i": {"value": 20.0, "active": True, "clear": False, "sample_count": 9},
    "n": {"value": float("nan"), "active": True, "clear": False},
    "N": {"value": None, "active": None, "clear": None},
    "u": {"value": 20.0, "active": None, "clear": None},
}
"""What a row says: Active, clear, - between both, insufficient samples, NaN, NULL, undecided conditions."""

OTHER = {"name": "other", "value": 1.0, "active": False, "clear": True, "sample_count": 1000}
"""A healthy row that stands beside the one a timeline is about."""


def rule_of(group: Mapping[str, Any] | None = None, **keys: Any) -> Rule:
    """One rule with the keys of `ALERT`, over which `keys` go (`for_` is `for`; None drops a key)."""
    named = {name.rstrip("_"): value for name, value in {**ALERT, **keys}.items()}
    entry = {name: value for name, value in named.items() if value is not None}
    document = {"groups": [{"name": "g", **(group or {}), "rules": [entry]}]}
    (rule,) = load_rules(yaml.safe_dump(document), "rules.yaml")
    return rule


def rows_of(*rows: Mapping[str, Any], truncated: bool = False, labels: Sequence[str] = ("name",)) -> Rows:
    """A result with the label columns `labels`, `value`, `sample_count` and both conditions."""
    columns = [
        *((label, "VARCHAR") for label in labels),
        ("value", "DOUBLE"),
        ("sample_count", "BIGINT"),
        ("lapwing_active", "BOOLEAN"),
        ("lapwing_clear", "BOOLEAN"),
    ]
    tuples = [
        (
            *(row.get(label, "x") for label in labels),
            row["value"],
            row.get("sample_count", 1000),
            row["active"],
            row["clear"],
        )
        for row in rows
    ]
    return rows_from(columns, tuples, truncated=truncated)


def outcome_of(sign: str) -> Outcome:
    """What one sign of a timeline stands for, beside those of `CELLS`.

    `.` the row is missing beside another, `0` no rows at all, `E` the query failed, `S` the slot is skipped.
    """
    match sign:
        case "0":
            return NO_ROWS
        case "E":
            return QueryFailure("out of memory")
        case "S":
            return Skipped()
        case ".":
            return rows_of(OTHER)
        case _:
            return rows_of(CELLS[sign], OTHER)


def is_watched(instance: Instance, rule: Rule) -> bool:
    """Whether it is the alert that a timeline is about, not `OTHER`, nor one about the rule itself."""
    return instance.labels["alertname"] == rule.id.name and instance.labels.get("name") != OTHER["name"]


_EVENTS = {Status.FIRING: "^", Status.RESOLVED: "v"}


class Timeline:
    """A rule evaluated slot after slot; keeps what came of it."""

    def __init__(self, rule: Rule, state: RuleState | None = None) -> None:
        """Begin with `state`, or as a new rule."""
        self.rule = rule
        self.state = state or RuleState(rule.definition)
        self.slot = self.state.slot or START
        self.transitions: list[Transition] = []

    def evaluate(self, outcome: Outcome, **more: Any) -> tuple[Transition, ...]:
        """Evaluate the next slot."""
        self.slot = self.rule.slots.after(self.slot)
        evaluation = evaluate(self.rule, outcome, self.state, self.slot, **more)
        self.state = evaluation.state
        self.transitions.extend(evaluation.transitions)
        return evaluation.transitions

    def skip_time(self) -> None:
        """Let a slot go by without evaluation, as while the collector is down."""
        self.slot = self.rule.slots.after(self.slot)

    def watched(self) -> Instance | None:
        """The instance that is neither `OTHER` nor about the rule itself."""
        found = [i for i in self.state.instances.values() if is_watched(i, self.rule)]
        return found[0] if found else None


def play(rule: Rule, signs: str) -> tuple[str, str, Timeline]:
    """Evaluate a slot per sign (`_` lets one go by); gives states and announcements."""
    timeline = Timeline(rule)
    states, events = "", ""
    for sign in signs:
        if sign == "_":
            timeline.skip_time()
            states += "_"
            events += " "
            continue
        transitions = timeline.evaluate(outcome_of(sign))
        told = [t for t in transitions if is_watched(t.instance, rule)]
        watched = timeline.watched()
        states += watched.state[0].upper() if watched else "."
        events += "".join(_EVENTS[t.status] for t in told) or " "
    return states, events, timeline
