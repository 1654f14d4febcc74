"""Closed slots that late rows touched: what should have fired fires, and nothing is taken back."""

from datetime import datetime
from typing import Any

import pytest

from helpers.rules_build import MINUTE, START, Timeline, outcome_of, rule_of
from lapwing_collector.model.alerts import AlertState, Status
from lapwing_collector.rules import evaluate, fingerprint, raise_late, slots_to_judge_again


def at(minute: int) -> datetime:
    """The slot of a minute."""
    return START + minute * MINUTE


def lived(signs: str, **keys: Any) -> Timeline:
    """A rule that saw a slot per sign, the first at minute 1."""
    timeline = Timeline(rule_of(**keys))
    for sign in signs:
        timeline.evaluate(outcome_of(sign))
    return timeline


CASES = [
    # keys, what slots 1, 2, … gave in time, what slots give now, when history has a resolve, what is raised
    ("a slot that is bad now", {}, "cccc", {2: "A"}, None, [2]),
    ("a slot that is as it was", {}, "cccc", {2: "c"}, None, []),
    ("a slot that is good now", {}, "AAcc", {1: "c", 2: "c"}, None, []),
    ("it fires already", {}, "ccAA", {2: "A"}, None, []),
    ("it recovers", {"keep_firing_for": "9m"}, "cAcc", {1: "A"}, None, []),
    ("it fired and resolved after that slot", {}, "ccAc", {2: "A"}, None, []),
    ("it fired and resolved before that slot", {}, "Accc", {3: "A"}, None, [3]),
    ("it fired, resolved and was forgotten", {}, "A...", {1: "A"}, 3, []),
    ("it was forgotten before that slot", {"missing_evals": 1}, "A...", {4: "A"}, 2, [4]),
    ("for is not reached", {"for_": "2m"}, "cccccc", {2: "A", 3: "A"}, None, []),
    ("for is reached", {"for_": "2m"}, "cccccc", {2: "A", 3: "A", 4: "A"}, None, [4]),
    (
        "for is reached with what was bad in time",
        {"for_": "2m"},
        "cAcAcc",
        {2: "A", 3: "A", 4: "A"},
        None,
        [4],
    ),
    ("a pending one", {"for_": "9m"}, "cccA", {4: "A"}, None, []),
    ("few samples", {"min_samples": 10}, "cccc", {2: "i"}, None, []),
    ("NaN", {}, "cccc", {2: "n"}, None, []),
    ("no rows", {"no_data_for": "0s"}, "cccc", {2: "0"}, None, []),
    ("a query that fails", {"error_for": "0s"}, "cccc", {2: "E"}, None, []),
    ("a young label set", {"new_group_delay": "3m"}, "cccc", {2: "A"}, None, []),
    ("a label set of age", {"new_group_delay": "1m"}, "cccc", {3: "A"}, None, [3]),
    ("beyond the limit", {"limit": 1}, "....", {2: "A"}, None, []),
]


@pytest.mark.parametrize(
    ("keys", "signs", "now", "resolved", "raised"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_what_should_have_fired_fires(
    keys: dict[str, Any], signs: str, now: dict[int, str], resolved: int | None, raised: list[int]
) -> None:
    """The table says which closed slots make the alert fire once they are judged again."""
    timeline = lived(signs, **keys)
    key = fingerprint(timeline.rule.id, {"name": "x"})
    again = [(at(minute), outcome_of(sign)) for minute, sign in sorted(now.items())]
    known = {} if resolved is None else {key: at(resolved)}
    state, told = raise_late(timeline.rule, timeline.state, again, known)
    assert [t.slot for t in told] == [at(minute) for minute in raised]
    if not raised:
        assert state is timeline.state
        return
    (fired,) = told
    assert (fired.status, fired.instance.fingerprint) == (Status.FIRING, key)
    assert state.instances[key].state is AlertState.FIRING
    assert fired.instance.annotations["late"].startswith("the rows that show it came after")
    assert state.slot == timeline.slot


def test_the_next_slot_says_how_it_goes_on() -> None:
    """An alert that was raised late resolves as any other, and is not raised again by the same rows."""
    timeline = lived("cccc")
    again = [(at(2), outcome_of("A"))]
    state, (fired,) = raise_late(timeline.rule, timeline.state, again, {})
    after = evaluate(timeline.rule, outcome_of("c"), state, at(5))
    (resolved,) = after.transitions
    assert (resolved.status, resolved.instance.fired_at) == (Status.RESOLVED, fired.slot)
    assert raise_late(timeline.rule, after.state, again, {}) == (after.state, ())


def test_a_changed_rule_looks_at_nothing_late() -> None:
    """What slots gave under another definition is no evidence for this one."""
    timeline = lived("cccc")
    edited = rule_of(condition="value > 11")
    assert raise_late(edited, timeline.state, [(at(2), outcome_of("A"))], {}) == (timeline.state, ())


@pytest.mark.parametrize(
    ("keys", "touched", "expected"),
    [
        ({}, [3], [3]),
        ({"for_": "2m"}, [3], [1, 2, 3, 4, 5]),
        ({"for_": "90s"}, [3, 4], [1, 2, 3, 4, 5, 6]),
        ({"for_": "5m"}, [8], [3, 4, 5, 6, 7, 8]),
    ],
)
def test_slots_around_the_touched_ones_are_judged_with_them(
    keys: dict[str, Any], touched: list[int], expected: list[int]
) -> None:
    """`for` needs the slots before and after, as far as it reaches and as far as slots are closed."""
    slots = slots_to_judge_again(rule_of(**keys), [at(minute) for minute in touched], at(8))
    assert slots == [at(minute) for minute in expected]
