"""What one evaluation carries: values, texts, identities, limits, changed rules, metrics."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from helpers.rules_build import CELLS, MINUTE, START, Timeline, outcome_of, play, rows_of, rule_of
from lapwing_collector.model.alerts import AlertState, RuleId, RuleState, Status
from lapwing_collector.rules import (
    QueryFailure,
    Rule,
    evaluate,
    fingerprint,
    load_rules,
    rows_from,
    rule_deleted,
)


def row(value: float, name: str | None = "x", **cells: Any) -> dict[str, Any]:
    """A row that is active above 10 and clear below 5."""
    return {"name": name, "value": value, "active": value > 10, "clear": value < 5, **cells}


def test_a_resolve_carries_value_peak_and_times() -> None:
    """People learn how bad it was, how it stands now, and how long it lasted."""
    timeline = Timeline(rule_of(for_="1m"))
    for value in (11.0, 30.0, 12.0, 1.5):
        timeline.evaluate(rows_of(row(value)))
    fired, resolved = timeline.transitions
    assert (fired.status, fired.reason, fired.instance.value) == (Status.FIRING, "", 30.0)
    assert (resolved.status, resolved.reason) == (Status.RESOLVED, "condition")
    instance = resolved.instance
    assert (instance.value, instance.peak, instance.state) == (1.5, 30.0, AlertState.INACTIVE)
    assert instance.active_at == START + 1 * MINUTE
    assert instance.fired_at == START + 2 * MINUTE
    assert instance.resolved_at == resolved.slot == START + 4 * MINUTE


@pytest.mark.parametrize("condition", ["value < 0.9", "Value<=0.9 AND n > 5", "0.9 > value", "0.9 >= value"])
def test_the_peak_of_a_rule_that_fires_below_is_its_smallest_value(condition: str) -> None:
    """For accuracy and the like, the worst value is the lowest."""
    timeline = Timeline(rule_of(condition=condition, resolve_condition=None))
    for value, active in ((0.8, True), (0.6, True), (0.7, True), (0.95, False)):
        timeline.evaluate(rows_of({"value": value, "active": active, "clear": not active}))
    assert timeline.transitions[-1].instance.peak == 0.6


def test_a_transition_names_the_window_that_was_judged() -> None:
    """The window ends `query_offset` before the slot and is `window` long."""
    timeline = Timeline(rule_of(window="5m", query_offset="30s"))
    (fired,) = timeline.evaluate(rows_of(row(20.0)))
    assert fired.window_end == fired.slot - timedelta(seconds=30)
    assert fired.window_start == fired.window_end - 5 * MINUTE


def test_annotations_are_rendered_from_the_newest_row() -> None:
    """A firing alert's texts follow its value, as long as there is one; a healthy row has none."""
    timeline = Timeline(rule_of(annotations={"summary": "{{ $labels.name }} is {{ $value }}"}))
    texts = []
    for value in (3.0, 20.0, 30.0, float("nan"), 2.0, 1.0):
        timeline.evaluate(rows_of(row(value)))
        texts.append(timeline.watched().annotations.get("summary"))
    assert texts == [None, "x is 20.0", "x is 30.0", "x is 30.0", "x is 2.0", None]


def test_a_template_that_fails_does_not_lose_the_alert() -> None:
    """A text that fails on the data says so in its place, and the alert fires."""
    annotations = {
        "summary": "{{ $labels.nmae }}",
        "description": "{{ 1 / ($value - 20) }}",
        "runbook_url": "http://r",
    }
    timeline = Timeline(rule_of(annotations=annotations))
    (fired,) = timeline.evaluate(rows_of(row(20.0)))
    assert "has no attribute 'nmae'" in fired.instance.annotations["summary"]
    assert "division by zero" in fired.instance.annotations["description"]
    assert fired.instance.annotations["runbook_url"] == "http://r"


def test_labels_are_the_rows_over_the_rules_over_the_groups() -> None:
    """A nearer label wins, and the alert's name is always its own."""
    rule = rule_of(
        group={"labels": {"team": "a", "tier": "group", "name": "group"}},
        labels={"tier": "rule", "place": "{{ $labels.name }}-1"},
        owner="me",
    )
    timeline = Timeline(rule)
    (fired,) = timeline.evaluate(rows_of(row(20.0)))
    assert fired.instance.labels == {
        "alertname": "High",
        "team": "a",
        "tier": "rule",
        "name": "x",
        "place": "x-1",
        "owner": "me",
    }


def test_a_firing_alert_keeps_its_labels_until_it_resolves() -> None:
    """The resolve must reach whom the firing reached, even if the file's labels changed meanwhile."""
    timeline = Timeline(rule_of(labels={"severity": "page"}))
    timeline.evaluate(rows_of(row(20.0)))
    timeline.rule = rule_of(labels={"severity": "ticket"})
    (resolved,) = timeline.evaluate(rows_of(row(1.0)))
    assert resolved.instance.labels["severity"] == "page"
    timeline.evaluate(rows_of(row(1.0)))
    assert timeline.watched().labels["severity"] == "ticket"


def test_identity_never_depends_on_the_value() -> None:
    """The same labels are the same alert whatever the numbers are."""
    timeline = Timeline(rule_of())
    keys = set()
    for value in (20.0, 1.0, 99.0):
        timeline.evaluate(rows_of(row(value)))
        keys |= set(timeline.state.instances)
    assert keys == {fingerprint(RuleId("g", "High"), {"name": "x"})}


def test_identity_may_be_fewer_labels_or_integers() -> None:
    """`identity` picks what tells alerts apart; an integer named there becomes a label."""
    rule = rule_of(identity=["shop"])
    timeline = Timeline(rule)
    columns = [("shop", "BIGINT"), ("city", "VARCHAR"), ("value", "DOUBLE")]
    columns += [("lapwing_active", "BOOLEAN"), ("lapwing_clear", "BOOLEAN")]
    for city in ("Graz", "Wien"):
        timeline.evaluate(rows_from(columns, [(7, city, 20.0, True, False)]))
    (instance,) = timeline.state.instances.values()
    assert instance.labels == {"alertname": "High", "shop": "7", "city": "Graz"}
    assert instance.fingerprint == fingerprint(rule.id, {"shop": "7"})


def test_null_and_empty_labels_are_two_alerts() -> None:
    """A NULL label is shown as empty text but is not the same alert as an empty one."""
    timeline = Timeline(rule_of())
    told = timeline.evaluate(rows_of(row(20.0, name=None), row(20.0, name="")))
    assert len({transition.instance.fingerprint for transition in told}) == 2
    assert {transition.instance.labels["name"] for transition in told} == {""}


def test_equal_rows_fail_the_whole_evaluation() -> None:
    """Two rows with the same labels say two things about one alert, so nothing is believed."""
    timeline = Timeline(rule_of())
    timeline.evaluate(rows_of(row(20.0)))
    told = timeline.evaluate(rows_of(row(1.0), row(2.0), row(20.0, name="y")))
    assert told == ()
    assert timeline.state.error == (
        "2 rows have the same identity (name='x'); group the SQL by its label columns"
    )
    assert {i.labels["alertname"]: i.state for i in timeline.state.instances.values()} == {
        "High": AlertState.FIRING,
        "RuleError": AlertState.PENDING,
    }


@pytest.mark.parametrize("shift", [1, -1])
def test_the_order_of_rows_does_not_matter(shift: int) -> None:
    """A query without ORDER BY gives the same states and announcements in any order."""
    rows = [row(20.0, name=name) for name in "abcdef"]
    rule = rule_of(limit=3)
    first = evaluate(rule, rows_of(*rows), RuleState(rule.definition), START)
    second = evaluate(
        rule, rows_of(*rows[::shift][2:], *rows[::shift][:2]), RuleState(rule.definition), START
    )
    assert first == second


def test_over_the_limit_old_alerts_live_and_new_ones_are_refused() -> None:
    """Too many rows never resolve what fires; the rule's error says how many were left out."""
    timeline = Timeline(rule_of(limit=2))
    timeline.evaluate(rows_of(row(20.0, name="y"), row(20.0, name="z")))
    told = timeline.evaluate(rows_of(*(row(20.0, name=name) for name in "abcyz")))
    assert [t.instance.labels["alertname"] for t in told] == ["RuleLimitExceeded"]
    assert {i.labels.get("name") for i in timeline.state.instances.values()} == {"y", "z", None}
    assert timeline.state.health == "error"
    assert timeline.state.error.startswith("the limit of 2 is reached: 3 new label sets were not taken in")
    timeline.evaluate(rows_of(row(1.0, name="y"), row(20.0, name="z")))
    assert (timeline.state.health, timeline.state.error) == ("ok", None)


def test_a_result_that_was_cut_off_makes_nothing_missing() -> None:
    """A row behind the row limit may exist, so its alert is held."""
    timeline = Timeline(rule_of(missing_evals=1))
    timeline.evaluate(rows_of(row(20.0)))
    assert timeline.evaluate(rows_of(row(20.0, name="a"), truncated=True))[0].instance.labels["name"] == "a"
    assert len(timeline.state.instances) == 2


def test_a_changed_rule_resolves_what_the_old_one_announced() -> None:
    """Another expr or condition is another question, so its answers start from nothing."""
    timeline = Timeline(rule_of())
    timeline.evaluate(rows_of(row(20.0), row(1.0, name="healthy")))
    timeline.rule = rule_of(condition="value > 15")
    resolved, fired = timeline.evaluate(rows_of(row(20.0)))
    assert (resolved.status, resolved.reason, resolved.instance.resolved_at) == (
        Status.RESOLVED,
        "rule_changed",
        timeline.slot,
    )
    assert fired.status is Status.FIRING
    assert timeline.state.definition == timeline.rule.definition
    assert {i.labels["name"] for i in timeline.state.instances.values()} == {"x"}


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({"for_": "9m"}, True),
        ({"labels": {"a": "b"}}, True),
        ({"window": "9m"}, True),
        ({"expr": "SELECT 2 AS value"}, False),
        ({"condition": "value > 11"}, False),
        ({"resolve_condition": "value < 4"}, False),
        ({"identity": ["a"]}, False),
    ],
)
def test_the_definition_is_the_query_its_conditions_and_identity(keys: dict[str, Any], same: bool) -> None:
    """Only what decides the meaning of a row changes the definition."""
    assert (rule_of(**keys).definition == rule_of().definition) is same


def test_a_deleted_rule_resolves_what_it_announced() -> None:
    """What fires or recovers is resolved as of the newest slot; the rest goes in silence."""
    timeline = Timeline(rule_of(keep_firing_for="9m"))
    timeline.evaluate(rows_of(row(20.0, name="a"), row(20.0, name="b"), row(1.0, name="c")))
    timeline.evaluate(rows_of(row(20.0, name="a"), row(1.0, name="b"), row(1.0, name="c")))
    told = rule_deleted(timeline.rule.id, timeline.state)
    assert {t.instance.labels["name"] for t in told} == {"a", "b"}
    assert {(t.status, t.reason, t.slot) for t in told} == {(Status.RESOLVED, "rule_deleted", timeline.slot)}
    assert rule_deleted(timeline.rule.id, RuleState("never evaluated")) == ()


def test_no_data_fires_with_the_alerts_own_labels_and_health() -> None:
    """Routes and silences of the original match, and the text says what is wrong."""
    rule = rule_of(
        no_data_for="1m",
        labels={"severity": "page"},
        annotations={"summary": "is {{ $value }}", "runbook_url": "http://r"},
    )
    _, _, timeline = play(rule, "cc00")
    (fired,) = [t for t in timeline.transitions if t.instance.labels.get("name") == "x"]
    assert fired.instance.labels == {
        "alertname": "High",
        "severity": "page",
        "name": "x",
        "health": "no_data",
    }
    assert fired.instance.annotations == {
        "summary": "no data: the query has returned no rows since 2013-03-01 00:03:00 UTC",
        "runbook_url": "http://r",
    }
    (resolved,) = [t for t in timeline.evaluate(outcome_of("c")) if t.instance.labels["name"] == "x"]
    assert (resolved.reason, resolved.instance.labels["health"]) == ("condition", "no_data")
    timeline.evaluate(outcome_of("c"))
    assert "health" not in timeline.watched().labels


def test_no_data_without_known_instances_fires_once_for_the_rule() -> None:
    """A rule that never saw a row fires with its static labels, and resolves when rows come."""
    labels = {"severity": "page", "place": "{{ $labels.name }}"}
    timeline = Timeline(rule_of(no_data_for="1m", labels=labels))
    timeline.evaluate(outcome_of("0"))
    (fired,) = timeline.evaluate(outcome_of("0"))
    assert fired.instance.labels == {"alertname": "High", "severity": "page", "health": "no_data"}
    assert timeline.evaluate(outcome_of("0")) == ()
    (resolved,) = timeline.evaluate(rows_of(row(1.0)))
    assert (resolved.status, resolved.instance.fingerprint) == (Status.RESOLVED, fired.instance.fingerprint)
    assert [i.labels["name"] for i in timeline.state.instances.values()] == ["x"]


@pytest.mark.parametrize(
    ("evidence", "reason"), [("Ac", "condition"), ("A..", "missing"), ("A000", "no_data")]
)
def test_a_resolve_says_why(evidence: str, reason: str) -> None:
    """The reason is the condition, the missing row, or that no data came."""
    _, _, timeline = play(rule_of(on_no_data="ok", no_data_for="2m"), evidence)
    resolved = [t for t in timeline.transitions if t.status is Status.RESOLVED]
    assert [t.reason for t in resolved] == [reason]


def test_a_nan_in_a_column_that_the_condition_names_is_insufficient() -> None:
    """To SQL, NaN is greater than every number, which must not page anyone."""
    columns = [("psi", "DOUBLE"), ("value", "DOUBLE"), ("note", "DOUBLE")]
    columns += [("lapwing_active", "BOOLEAN"), ("lapwing_clear", "BOOLEAN")]
    nan = float("nan")
    timeline = Timeline(rule_of(condition="psi > 0.2", resolve_condition=None))
    assert timeline.evaluate(rows_from(columns, [(nan, 1.0, 1.0, True, False)])) == ()
    assert timeline.state.health == "insufficient"
    assert len(timeline.evaluate(rows_from(columns, [(0.5, 1.0, nan, True, False)]))) == 1


def test_an_evaluation_after_waiting_in_vain_says_so() -> None:
    """A message about incomplete data tells that it is."""
    rule = rule_of(wait_for={"expr": "SELECT true", "timeout": "2d"})
    timeline = Timeline(rule)
    (fired,) = timeline.evaluate(rows_of(row(20.0)), incomplete=True)
    assert fired.instance.annotations["wait_for"] == (
        "evaluated after waiting 2d 0h 0m 0s in vain: the data may be incomplete"
    )


def test_a_slot_is_never_evaluated_twice() -> None:
    """An evaluation of a slot that is not newer is a mistake of the caller."""
    rule = rule_of()
    state = evaluate(rule, outcome_of("A"), RuleState(rule.definition), START).state
    with pytest.raises(ValueError, match="is not later than"):
        evaluate(rule, outcome_of("A"), state, START)


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        ([("name", "VARCHAR")], {}, "there is no column value, needed unless an alert has no condition"),
        ([("value", "VARCHAR")], {}, "column value must be a number, not VARCHAR"),
        (
            [("value", "DOUBLE")],
            {"min_samples": 5},
            "there is no column sample_count, needed for `min_samples`",
        ),
        (
            [("value", "DOUBLE")],
            {"min_label_coverage": 0.9},
            "there is no column label_coverage, needed for `min_label_coverage`",
        ),
        ([("value", "DOUBLE"), ("s", "STRUCT(a INTEGER)")], {}, "column s has type STRUCT(a INTEGER)"),
        ([("value", "DOUBLE")], {"identity": ["shop"]}, "there is no column shop, named by `identity`"),
        (
            [("value", "DOUBLE"), ("t", "TIMESTAMP")],
            {"identity": ["t"]},
            "column t of type TIMESTAMP can be no part",
        ),
        ([("value", "BIGINT")], {"identity": ["value"]}, "column value of type BIGINT can be no part"),
        ([("value", "DOUBLE"), ("VALUE", "DOUBLE")], {}, "two columns have the same name"),
    ],
)
def test_a_result_that_cannot_be_judged_is_an_error_that_says_why(
    columns: list[tuple[str, str]], keys: dict[str, Any], message: str
) -> None:
    """Columns that are missing or of a wrong type are named; nothing changes."""
    given = [*columns, ("lapwing_active", "BOOLEAN"), ("lapwing_clear", "BOOLEAN")]
    timeline = Timeline(rule_of(**keys))
    assert timeline.evaluate(rows_from(given, [(*[None] * len(columns), True, False)])) == ()
    assert timeline.state.health == "error"
    assert timeline.state.error.startswith(message)


def test_a_condition_that_is_no_yes_or_no_is_an_error() -> None:
    """A condition such as `value` alone is told, not taken for true."""
    rows = rows_from(
        [("value", "DOUBLE"), ("lapwing_active", "DOUBLE"), ("lapwing_clear", "BOOLEAN")], [(1.0, 1.0, False)]
    )
    timeline = Timeline(rule_of())
    timeline.evaluate(rows)
    assert timeline.state.error == "condition must be true or false, but is of type DOUBLE"


def record_rule(**keys: Any) -> Rule:
    """A rule that records `psi` for the group's labels."""
    group = {"labels": {"model": "fraud"}}
    return rule_of(group, alert=None, condition=None, resolve_condition=None, record="psi", **keys)


RECORDED = [
    ("feature", "VARCHAR"),
    ("value", "DOUBLE"),
    ("sample_count", "BIGINT"),
    ("label_coverage", "DOUBLE"),
]
RECORDED += [("lapwing_active", "BOOLEAN"), ("lapwing_clear", "BOOLEAN")]


def test_a_record_rule_stores_every_row() -> None:
    """Each row becomes a metric row with its labels, window and counts; NaN is no value."""
    rule = record_rule(window="1h")
    rows = rows_from(
        RECORDED, [("b", float("nan"), None, None, True, False), ("a", 0.5, 12, 0.9, True, False)]
    )
    evaluation = evaluate(rule, rows, RuleState(rule.definition), START)
    first, second = evaluation.metrics
    assert (first.metric, first.model, first.series) == ("psi", "fraud", {"model": "fraud", "feature": "a"})
    assert (first.value, first.sample_count, first.label_coverage) == (0.5, 12, 0.9)
    assert (first.window_start, first.window_end) == (START - timedelta(hours=1), START)
    assert (second.value, second.sample_count, second.label_coverage) == (None, None, None)
    assert (evaluation.transitions, evaluation.state.instances, evaluation.state.health) == ((), {}, "ok")


def test_a_record_rule_names_its_model() -> None:
    """The key `model` wins over the label, and without both there is none."""
    rows = rows_from(RECORDED, [("a", 0.5, 12, 0.9, True, False)])
    named = record_rule(model="churn")
    bare = rule_of(alert=None, condition=None, resolve_condition=None, record="psi")
    models = [evaluate(r, rows, RuleState(r.definition), START).metrics[0].model for r in (named, bare)]
    assert models == ["churn", None]


def test_a_record_rule_keeps_to_its_limit() -> None:
    """Of too many series the first by label are stored, always the same, and the error says so."""
    rule = record_rule(limit=2)
    rows = rows_from(RECORDED, [(name, 1.0, 1, None, True, False) for name in "dcba"])
    evaluation = evaluate(rule, rows, RuleState(rule.definition), START)
    assert [metric.series["feature"] for metric in evaluation.metrics] == ["a", "b"]
    assert evaluation.state.error.startswith("the limit of 2 is reached: 2 new")


def test_a_record_rule_tells_of_failures_and_of_no_data() -> None:
    """Health follows the newest evaluation, and nothing is stored."""
    timeline = Timeline(record_rule())
    health = []
    for outcome in (
        QueryFailure("boom"),
        rows_from([], []),
        rows_from(RECORDED, [("a", 1.0, 1, None, True, False)]),
    ):
        timeline.evaluate(outcome)
        health.append((timeline.state.health.value, timeline.state.error))
    assert health == [("error", "boom"), ("no_data", None), ("ok", None)]


def test_a_rule_that_turns_from_alert_to_record_resolves_its_alerts() -> None:
    """Alert and record of the same name and SQL are different definitions."""
    text = "groups: [{name: g, rules: [{%s: High, expr: SELECT 1 AS value}]}]"
    (alert,), (record,) = (load_rules(text % kind, "r.yaml") for kind in ("alert", "record"))
    assert alert.definition != record.definition
    timeline = Timeline(alert)
    timeline.evaluate(rows_of(CELLS["A"]))
    timeline.rule = record
    assert [t.reason for t in timeline.evaluate(rows_of(CELLS["A"]))] == ["rule_changed"]


def test_an_evaluation_changes_nothing_that_it_was_given() -> None:
    """States are values: the one before can be kept and evaluated again."""
    rule = rule_of()
    before = evaluate(rule, outcome_of("A"), RuleState(rule.definition), START).state
    copy = dataclasses.replace(before, instances=dict(before.instances))
    evaluate(rule, outcome_of("c"), before, START + MINUTE)
    assert before == copy
