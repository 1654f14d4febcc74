"""Every state of an alert meets everything that an evaluation can bring: what becomes of it, what is told."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from helpers.rules_build import CELLS, MINUTE, OTHER, START, rows_of, rule_of
from lapwing_collector.model.alerts import AlertState, Health, Instance, RuleState, Status
from lapwing_collector.rules import (
    NO_ROWS,
    Outcome,
    QueryFailure,
    Rule,
    Skipped,
    evaluate,
    fingerprint,
    rule_deleted,
)

BEGAN, SLOT = START + 9 * MINUTE, START + 10 * MINUTE
LONG = {"for_": "1h", "keep_firing_for": "1h"}
NOW = {"no_data_for": "0s"}
GONE = {"missing_evals": 1}
BARE = {"condition": None, "resolve_condition": None}


def row(sign: str) -> Outcome:
    """The alert's row beside a healthy one."""
    return rows_of(CELLS[sign], OTHER)


@dataclass(frozen=True)
class Case:
    """What an evaluation brings, and what it makes of each state: `I`, `P`, `F`, `R`, or `.` for forgotten.

    `^` behind it says that people are told of a firing, `v` of a resolve.
    """

    name: str
    outcome: Outcome
    inactive: str
    pending: str
    firing: str
    recovering: str
    keys: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    definition: str | None = None


HELD = ("I", "P", "F", "R")
CASES = [
    Case("the condition holds", row("A"), "F^", "F^", "F", "F"),
    Case("the condition holds, not for long enough", row("A"), "P", "P", "F", "F", LONG),
    Case("the resolve condition holds", row("c"), "I", "I", "Iv", "Iv"),
    Case("the resolve condition holds, not for long enough", row("c"), "I", "I", "R", "R", LONG),
    Case("between both conditions", row("-"), *HELD),
    Case("too few samples", row("i"), *HELD, {"min_samples": 10}),
    Case("NaN", row("n"), *HELD),
    Case("NULL", row("N"), *HELD),
    Case("conditions of NULL", row("u"), *HELD),
    Case(
        "the condition holds for a young label set",
        row("A"),
        *("I", "P", "F", "F"),
        {"new_group_delay": "2m"},
        {"first_seen_at": BEGAN},
    ),
    Case(
        "the resolve condition holds for a young label set",
        row("c"),
        *("I", "P", "Iv", "Iv"),
        {"new_group_delay": "2m"},
        {"first_seen_at": BEGAN},
    ),
    Case(
        "the condition holds for a label set of age",
        row("A"),
        *("F^", "F^", "F", "F"),
        {"new_group_delay": "1m"},
        {"first_seen_at": BEGAN},
    ),
    Case("the row is missing", rows_of(OTHER), *HELD),
    Case("the row is missing for the last time", rows_of(OTHER), ".", ".", ".v", ".v", GONE),
    Case(
        "the row was missing before",
        rows_of(OTHER),
        *(".", ".", ".v", ".v"),
        {"missing_evals": 2},
        {"missing_slots": 1},
    ),
    Case("the row is missing and kept", rows_of(OTHER), ".", "P", "F", "R", {**GONE, "on_missing": "keep"}),
    Case("the row is behind the end of a cut result", rows_of(OTHER, truncated=True), *HELD, GONE),
    Case("without condition, the row is there", row("c"), "F^", "F^", "F", "F", BARE),
    Case("without condition, the row is gone", rows_of(OTHER), ".", ".", ".v", ".v", BARE),
    Case("without condition, the row is just gone", rows_of(OTHER), ".", ".", "R", "R", {**BARE, **LONG}),
    Case("without condition, there are no rows", NO_ROWS, ".", ".", ".v", ".v", BARE),
    Case("no rows", NO_ROWS, *HELD),
    Case("no rows for too long", NO_ROWS, "F^", "F^", "F", "F", NOW),
    Case("no rows for too long, whatever `for` says", NO_ROWS, "F^", "F^", "F", "F", {**NOW, **LONG}),
    Case(
        "no rows for too long, told as the alert",
        NO_ROWS,
        "F^",
        "F^",
        "F",
        "F",
        {**NOW, "on_no_data": "alert"},
    ),
    Case("no rows for too long, which is fine", NO_ROWS, ".", ".", ".v", ".v", {**NOW, "on_no_data": "ok"}),
    Case("no rows for too long, which is held", NO_ROWS, *HELD, {**NOW, "on_no_data": "keep"}),
    Case(
        "no rows for too long, of a young label set",
        NO_ROWS,
        *("I", "P", "F", "F"),
        {**NOW, "new_group_delay": "2m"},
        {"first_seen_at": BEGAN},
    ),
    Case("the query failed", QueryFailure("boom"), *HELD),
    Case("the query failed for too long", QueryFailure("boom"), *HELD, {"error_for": "0s"}),
    Case("the result cannot be judged", rows_of(CELLS["A"], CELLS["c"]), *HELD),
    Case("the slot is passed over", Skipped(), *HELD),
    Case("beyond the limit, but known", rows_of(CELLS["A"], OTHER), "F^", "F^", "F", "F", {"limit": 1}),
    Case("the rule changed and the condition holds", row("A"), "F^", "F^", "F v^", "F v^", definition="old"),
    Case(
        "the rule changed and the resolve condition holds", row("c"), "I", "I", "Iv", "Iv", definition="old"
    ),
    Case(
        "the rule changed and its query failed", QueryFailure("boom"), ".", ".", ".v", ".v", definition="old"
    ),
    Case("the rule changed and its row is gone", rows_of(OTHER), ".", ".", ".v", ".v", definition="old"),
]


def instance(rule: Rule, state: AlertState, **known: Any) -> Instance:
    """An alert in a state that it came to in the slot before."""
    times = {
        AlertState.INACTIVE: {},
        AlertState.PENDING: {"active_at": BEGAN},
        AlertState.FIRING: {"active_at": BEGAN, "fired_at": BEGAN},
        AlertState.RECOVERING: {"active_at": BEGAN, "fired_at": BEGAN, "recovering_at": BEGAN},
    }[state]
    labels = {"alertname": "High", "name": "x"}
    first = {"first_seen_at": START, **known}
    return Instance(fingerprint(rule.id, {"name": "x"}), labels, state=state, **times, **first)


def told(transitions: Any) -> str:
    """What people are told of the alert."""
    marks = {Status.FIRING: "^", Status.RESOLVED: "v"}
    return "".join(marks[t.status] for t in transitions if t.instance.labels.get("name") == "x")


@pytest.mark.parametrize("state", AlertState)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_an_evaluation_makes_of_a_state(case: Case, state: AlertState) -> None:
    """The table has the next state, and what is told, of every state and everything that can happen."""
    rule = rule_of(**case.keys)
    before = instance(rule, state, **case.known)
    remembered = RuleState(
        case.definition or rule.definition, BEGAN, START, instances={before.fingerprint: before}
    )
    evaluation = evaluate(rule, case.outcome, remembered, SLOT)
    after = evaluation.state.instances.get(before.fingerprint)
    came_to = after.state[0].upper() if after else "."
    expected = getattr(case, state).replace(" ", "")
    assert came_to + told(evaluation.transitions) == expected
    for transition in evaluation.transitions:
        announced = transition.instance.state in {AlertState.FIRING, AlertState.RECOVERING}
        assert announced is (transition.status is Status.FIRING)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("inactive", ""), ("pending", ""), ("firing", "v"), ("recovering", "v")],
)
def test_what_the_end_of_a_rule_makes_of_a_state(state: str, expected: str) -> None:
    """What people were told of is resolved, and nothing else is said."""
    rule = rule_of()
    before = instance(rule, AlertState(state))
    remembered = RuleState(rule.definition, BEGAN, START, instances={before.fingerprint: before})
    assert told(rule_deleted(rule.id, remembered)) == expected


@pytest.mark.parametrize("state", [None, *AlertState])
def test_an_alert_beyond_the_limit_is_refused(state: AlertState | None) -> None:
    """Where there is no room an alert that is known goes on, and one that is not known is not taken in."""
    rule = rule_of(limit=1)
    other = instance(rule, AlertState.FIRING)
    known = {other.fingerprint: other}
    if state is not None:
        known = {(one := instance(rule, state)).fingerprint: one}
    evaluation = evaluate(
        rule,
        rows_of({**CELLS["A"], "name": "x"}, {**CELLS["A"], "name": "y"}),
        RuleState(rule.definition, BEGAN, START, instances=known),
        SLOT,
    )
    names = {i.labels.get("name") for i in evaluation.state.instances.values()}
    assert names == {"x", None}  # the one without a name is about the rule
    assert evaluation.state.health is Health.ERROR


def test_a_label_set_is_young_from_its_first_row_on() -> None:
    """What was never seen says nothing for `new_group_delay`, then counts as any other."""
    rule = rule_of(new_group_delay="2m", for_="1m")
    state = RuleState(rule.definition)
    states = ""
    for minute in range(5):
        state = evaluate(rule, row("A"), state, START + minute * MINUTE).state
        states += state.instances[fingerprint(rule.id, {"name": "x"})].state[0]
    assert states == "iipff"


def test_an_edited_rule_knows_its_label_sets() -> None:
    """What was seen under a former definition is not young again: an edit makes nobody blind."""
    old, new = rule_of(new_group_delay="1h"), rule_of(new_group_delay="1h", condition="value > 11")
    state = evaluate(old, row("c"), RuleState(old.definition), START).state
    after = evaluate(new, row("A"), state, START + timedelta(hours=1))
    assert told(after.transitions) == "^"
