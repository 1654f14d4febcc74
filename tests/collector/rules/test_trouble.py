"""What a rule tells of itself: that its query fails, and that it has more alerts than its limit."""

from typing import Any

import pytest

from helpers.rules_build import Timeline, outcome_of, rows_of, rule_of
from lapwing_collector.model.alerts import AlertState, Status, Transition
from lapwing_collector.rules import QueryFailure, rule_deleted


def rows(*names: str, value: float = 20.0) -> Any:
    """An active row for each name."""
    return rows_of(*({"name": name, "value": value, "active": True, "clear": False} for name in names))


def about_the_rule(transitions: tuple[Transition, ...]) -> list[tuple[str, Status]]:
    """What is told of the rule, in order."""
    named = ((t.instance.labels["alertname"], t.status) for t in transitions)
    return [(name, status) for name, status in named if name.startswith("Rule")]


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        ("AEEEc", "   ^v"),
        ("AEEc", "    "),
        ("EEEAEEE", "  ^v  ^"),
        ("EEEEEE", "  ^   "),
        ("EESSE", "    ^"),  # a slot that is passed over is no failure
        ("EE__E", "    ^"),  # nor is time in which nothing was evaluated
        ("EEE0", "  ^v"),  # no rows are an answer
    ],
)
def test_failing_for_error_for_is_told_until_it_is_over(signs: str, told: str) -> None:
    """The alert fires once the query failed for `error_for`, and resolves with the first answer."""
    timeline = Timeline(rule_of(error_for="2m"))
    marks = ""
    for sign in signs:
        if sign == "_":
            timeline.skip_time()
            marks += " "
            continue
        statuses = [status for _, status in about_the_rule(timeline.evaluate(outcome_of(sign)))]
        marks += "".join({Status.FIRING: "^", Status.RESOLVED: "v"}[s] for s in statuses) or " "
    assert marks == told


def test_the_alert_about_a_failure_reaches_those_whom_the_rule_reaches() -> None:
    """It has the rule's own labels where these need no row, and names the rule and what failed."""
    rule = rule_of(
        {"labels": {"team": "ml"}}, error_for="0s", labels={"severity": "page", "at": "{{ $labels.name }}"}
    )
    timeline = Timeline(rule)
    (fired,) = timeline.evaluate(QueryFailure("out of memory"))
    assert fired.instance.labels == {
        "alertname": "RuleError",
        "alert": "High",
        "group": "g",
        "team": "ml",
        "severity": "page",
    }
    assert fired.instance.annotations == {
        "summary": "g/High fails since 2013-03-01 00:01:00 UTC: out of memory"
    }
    (resolved,) = timeline.evaluate(outcome_of("c"))
    assert resolved.instance.labels == fired.instance.labels
    assert resolved.instance.annotations == {"summary": "g/High is evaluated again"}
    assert resolved.instance.fingerprint == fired.instance.fingerprint
    assert fired.instance.fingerprint not in timeline.state.instances


def test_a_result_beyond_the_limit_is_told_until_it_fits() -> None:
    """Alerts that are refused are told of at once, and no longer when all are taken in."""
    timeline = Timeline(rule_of(limit=2))
    told = [
        about_the_rule(timeline.evaluate(outcome))
        for outcome in (
            rows("a", "b"),
            rows("a", "b", "c"),
            QueryFailure("boom"),
            rows("a", "b", "c"),
            rows("a"),
        )
    ]
    assert told == [
        [],
        [("RuleLimitExceeded", Status.FIRING)],
        [],
        [],
        [("RuleLimitExceeded", Status.RESOLVED)],
    ]
    fired = next(t for t in timeline.transitions if t.instance.labels["alertname"] == "RuleLimitExceeded")
    assert fired.instance.annotations["summary"].startswith(
        "g/High: the limit of 2 is reached: 1 new label sets were not taken in"
    )


def test_the_alerts_about_a_rule_take_no_place_of_its_own_alerts() -> None:
    """They are beyond `limit`, are never missing, and stay out of what no rows make fire."""
    timeline = Timeline(rule_of(limit=1, missing_evals=1, no_data_for="0s", error_for="0s"))
    timeline.evaluate(QueryFailure("boom"))
    timeline.evaluate(rows("a", "b"))
    timeline.evaluate(outcome_of("0"))
    names = [i.labels["alertname"] for i in timeline.state.instances.values()]
    assert names == ["High"]
    states = {i.labels["name"]: i.state for i in timeline.state.instances.values()}
    assert states == {"a": AlertState.FIRING}


def test_a_rule_that_records_tells_of_itself() -> None:
    """Metrics that are not stored any more are as bad as alerts that do not come."""
    rule = rule_of(alert=None, condition=None, resolve_condition=None, record="psi", error_for="0s", limit=1)
    timeline = Timeline(rule)
    (failing,) = timeline.evaluate(QueryFailure("boom"))
    assert failing.instance.labels == {"alertname": "RuleError", "record": "psi", "group": "g"}
    told = about_the_rule(timeline.evaluate(rows("a", "b")))
    assert told == [("RuleError", Status.RESOLVED), ("RuleLimitExceeded", Status.FIRING)]


def test_a_rule_that_goes_or_changes_tells_nothing_of_itself_any_more() -> None:
    """What was told of it is resolved with the reason, as its alerts are."""
    timeline = Timeline(rule_of(error_for="0s"))
    timeline.evaluate(QueryFailure("boom"))
    (deleted,) = rule_deleted(timeline.rule.id, timeline.state)
    assert (deleted.status, deleted.reason) == (Status.RESOLVED, "rule_deleted")
    timeline.rule = rule_of(error_for="0s", condition="value > 11")
    changed, again = timeline.evaluate(QueryFailure("boom"))
    assert (changed.status, changed.reason, again.status) == (Status.RESOLVED, "rule_changed", Status.FIRING)
