"""A rule that judges a whole span once, beside what it is compared with."""

from datetime import datetime, timedelta

import duckdb
import pytest

from lapwing_collector.errors import MistakesError
from lapwing_collector.model.alerts import AlertState, RuleState
from lapwing_collector.rules import (
    Row,
    Rule,
    conditions,
    evaluate,
    evaluation_query,
    load_rules,
    once,
    rows_from,
    sides_in,
)

SINCE, UNTIL = datetime(2026, 3, 1, 10, 7), datetime(2026, 3, 2)


def rule(keys: str, expr: str = "SELECT * FROM t") -> Rule:
    text = f"""
groups:
  - name: g
    interval: 1h
    rules:
      - {{alert: a, expr: "{expr}", {keys}}}
"""
    return load_rules(text, "rules.yaml")[0]


def row(value: float | None, count: int = 10, **labels: str | None) -> Row:
    texts = {name: text or "" for name, text in labels.items()}
    return Row(labels, texts, {}, value, count, active=False, clear=True, conclusive=True)


def judged(rule_: Rule, table: str, **sides: list[Row]) -> dict[str, str]:
    """What becomes of each label `l` (`-` without any) for rows that a query makes."""
    whole = once(rule_, SINCE, UNTIL, sides)
    query = evaluation_query(whole, UNTIL)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"CREATE TABLE t AS {table}")
        answer = connection.execute(query.sql, dict(query.parameters)).to_arrow_table()
    rows = rows_from(
        [(field.name, str(field.type)) for field in answer.schema],
        [tuple(each.values()) for each in answer.to_pylist()],
    )
    state = evaluate(whole, rows, RuleState(whole.definition), UNTIL).state
    return {
        each.labels.get("l", "-"): "failed" if each.state is AlertState.FIRING else each.health.value
        for each in state.instances.values()
    }


def test_nothing_waits_in_an_evaluation() -> None:
    """`for`, `keep_firing_for`, `new_group_delay` and `query_offset` mean nothing: the first row decides."""
    slow = rule("condition: value > 1, for: 3h, keep_firing_for: 1h, query_offset: 2h, new_group_delay: 1d")
    assert judged(slow, "SELECT 2 AS value") == {"-": "failed"}
    whole = once(slow, SINCE, UNTIL, {})
    asked = evaluation_query(
        once(rule("condition: value > 1", "SELECT $window_start AS value"), SINCE, UNTIL, {}), UNTIL
    )
    assert asked.parameters["window_start"] == SINCE
    assert whole.window == UNTIL - SINCE
    assert whole.query_offset == timedelta(0)


@pytest.mark.parametrize(
    ("keys", "production", "outcome"),
    [
        ("condition: value < 0.9", 0.99, "ok"),
        ("condition: value < 0.96", 0.99, "failed"),
        ("condition: value < 0.9, gate: value < 0.97 * production_value", 0.99, "failed"),
        ("condition: value < 0.9, gate: value < 0.97 * production_value", 0.96, "ok"),
        ("gate: [value < 0.5, value < production_value - 0.05]", 0.99, "ok"),
        ("gate: [value < 0.5, value < production_value - 0.02]", 0.99, "failed"),
        ("condition: value < 0.9, gate: value < production_value", None, "insufficient"),
        ("condition: value < 0.96, gate: value < production_value", None, "failed"),
    ],
)
def test_any_condition_that_holds_is_bad(keys: str, production: float | None, outcome: str) -> None:
    """`condition` and those of `gate` count alike; what cannot be compared is no pass."""
    assert judged(rule(keys), "SELECT 0.95 AS value", production=[row(production)]) == {"-": outcome}


def test_rows_are_compared_with_those_of_the_same_labels() -> None:
    """NULL is a label, a version tells no rows apart, and a label that is new has nothing beside it."""
    values = "('a''b', 'v2', 1.0), (NULL, 'v2', 1.0), ('new', 'v2', 1.0)"
    table = f"SELECT * FROM (VALUES {values}) AS v(l, version, value)"
    known = [row(2.0, l="a'b", version="v1"), row(1.0, l=None, version="v1")]
    found = judged(rule("gate: value < production_value"), table, production=known)
    assert found == {"a'b": "failed", "": "ok", "new": "insufficient"}


def test_the_version_with_most_rows_stands_for_a_side() -> None:
    """Of several versions in production, the one that answers most is compared with."""
    few, most = row(0.1, 5, version="v1"), row(0.9, 500, version="v2")
    for known in ([few, most], [most, few]):
        assert judged(
            rule("gate: value < production_value"), "SELECT 0.5 AS value, 'v3' AS version", production=known
        ) == {"-": "failed"}


def test_a_rule_for_evaluations_alone_never_alerts() -> None:
    """With `gate` and no `condition` a rule is not evaluated live, and would not fire if it were."""
    alone = rule("gate: value < reference_value")
    assert (alone.enabled, alone.condition) == (False, "false")
    assert conditions(alone) == ("value < reference_value",)
    assert sides_in(alone) == {"reference"}
    assert conditions(rule("condition: value > 1, gate: value > dummy_value")) == (
        "value > 1",
        "value > dummy_value",
    )


def test_a_rule_that_is_not_enabled_has_no_gate() -> None:
    """`enabled: false` keeps a rule out of evaluations, too."""
    off = rule("gate: value < reference_value, enabled: false")
    assert (off.enabled, off.gate) == (False, ())


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("record: r, gate: value > 1", "belongs to rules that alert"),
        ("alert: a, gate: 'value > {{ model }}'", "needs the key for_each_model"),
        ("alert: a, gate: value > random()", "differs in each run"),
        ("alert: a, gate: value > 1, on_no_data: ok", "needs the key condition"),
    ],
)
def test_mistakes_in_a_gate_are_told(keys: str, told: str) -> None:
    """Where they stand, as those of other keys."""
    text = f"groups: [{{name: g, rules: [{{{keys}, expr: SELECT 1 AS value}}]}}]"
    with pytest.raises(MistakesError, match=told):
        load_rules(text, "rules.yaml")
