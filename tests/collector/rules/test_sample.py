"""The rows behind an alert."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from helpers.rules_build import START, rule_of
from lapwing_collector.model.alerts import RuleState, Status
from lapwing_collector.rules import (
    Evaluation,
    Outcome,
    QueryFailure,
    Rule,
    evaluate,
    evaluation_query,
    rows_from,
    sample_rows,
    wanted_samples,
    with_samples,
)

ORDERS = """
CREATE TABLE orders AS
SELECT TIMESTAMP '2013-02-28 23:00' + INTERVAL (i) MINUTE AS time, i AS id,
       CASE WHEN i % 3 = 0 THEN NULL ELSE 'shop' || i % 3 END AS shop, i * 1.5 AS price
FROM range(120) t(i)"""
BY_SHOP = "SELECT shop, count(*) AS value FROM orders GROUP BY shop"
ALL = {"condition": "value > 0", "resolve_condition": None, "window": "1h"}


@pytest.fixture
def orders() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with orders of three shops, one of which has no name."""
    with duckdb.connect() as connection:
        connection.execute(ORDERS)
        yield connection


def outcome(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Outcome:
    """The rule's rows."""
    query = evaluation_query(rule, START)
    result = connection.execute(query.sql, query.parameters)
    return rows_from([(name, str(kind)) for name, kind, *_ in result.description], result.fetchall())


def sampled(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Evaluation:
    """An evaluation with its samples."""
    rows = outcome(connection, rule)
    evaluation = evaluate(rule, rows, RuleState(rule.definition), START)
    samples = {}
    for key, query in wanted_samples(rule, rows, evaluation.transitions).items():
        answer = connection.execute(query.sql, query.parameters)
        names = [name for name, *_ in answer.description]
        samples[key] = sample_rows(rule, names, answer.fetchall())
    return replace(evaluation, transitions=with_samples(evaluation.transitions, samples))


def test_an_alert_shows_the_newest_rows_of_its_labels_and_window(orders: duckdb.DuckDBPyConnection) -> None:
    """Labels are bound as texts, NULL as NULL, times as the window's; the order is that of the query."""
    expr = (
        "SELECT time, id FROM orders WHERE shop IS NOT DISTINCT FROM $shop "
        "AND time >= $window_start AND time < $window_end ORDER BY time DESC;"
    )
    rule = rule_of(expr=BY_SHOP, **ALL, sample={"expr": expr, "limit": 2})
    evaluation = sampled(orders, rule)
    assert {t.instance.labels["shop"]: [row["id"] for row in t.sample] for t in evaluation.transitions} == {
        "": [57, 54],
        "shop1": [58, 55],
        "shop2": [59, 56],
    }
    assert evaluation.transitions[0].sample[0]["time"] == "2013-02-28T23:57:00"


def test_names_of_parameters_are_as_little_case_sensitive_as_columns(
    orders: duckdb.DuckDBPyConnection,
) -> None:
    """SQL does not tell `Shop` from `shop`."""
    rule = rule_of(expr=BY_SHOP, **ALL, sample={"expr": "SELECT $Shop AS s"})
    shown = {t.sample[0]["s"] for t in sampled(orders, rule).transitions}
    assert shown == {None, "shop1", "shop2"}


def test_what_is_redacted_is_shown_nowhere() -> None:
    """A name hides its column, and its field at any depth, in structs, maps, lists and JSON texts."""
    rule = rule_of(sample={"expr": "SELECT 1", "redact": ["Email", "ssn"]})
    rows = sample_rows(
        rule,
        ["email", "inputs", "extra", "note"],
        [
            (
                "a@example.org",
                {"ssn": "1", "people": [{"EMAIL": "b@example.org", "age": 3}], "ok": None},
                '{"email": "c@example.org", "n": 1}',
                "{ no JSON",
            ),
            (None, None, None, None),
        ],
    )
    assert rows == (
        {
            "email": "[redacted]",
            "inputs": {"ssn": "[redacted]", "people": [{"EMAIL": "[redacted]", "age": 3}], "ok": None},
            "extra": {"email": "[redacted]", "n": 1},
            "note": "{ no JSON",
        },
        {"email": None, "inputs": None, "extra": None, "note": None},
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, True),
        (float("nan"), None),
        (float("inf"), None),
        (Decimal("2.50"), 2.5),
        (Decimal("NaN"), None),
        (10**30, 10**30),
        (datetime(2013, 3, 1, 12), "2013-03-01T12:00:00"),
        (timedelta(minutes=90), "1:30:00"),
        (b"\x00\xff", "2 bytes"),
        ("x" * 501, "x" * 499 + "…"),
        (list(range(60)), list(range(50))),
        (START.date(), "2013-03-01"),
    ],
)
def test_values_are_shown_as_json_has_them(value: Any, shown: Any) -> None:
    """Whatever type a column has, it can be kept and sent, at a bounded length."""
    rule = rule_of(sample={"expr": "SELECT 1"})
    assert sample_rows(rule, ["v"], [(value,)]) == ({"v": shown},)


def test_only_what_begins_to_fire_is_asked_for_and_no_more_than_ten() -> None:
    """A storm does not become a storm of queries, and what fires on or resolves costs none."""
    rule = rule_of(expr="SELECT name, 1 AS value", sample={"expr": "SELECT $name"})
    columns = [
        ("name", "VARCHAR"),
        ("value", "DOUBLE"),
        ("lapwing_active", "BOOLEAN"),
        ("lapwing_clear", "BOOLEAN"),
    ]
    storm = rows_from(columns, [(f"n{n:02}", 20.0, True, False) for n in range(12)])
    first = evaluate(rule, storm, RuleState(rule.definition), START)
    assert len(wanted_samples(rule, storm, first.transitions)) == 10
    again = evaluate(rule, storm, first.state, START + rule.slots.grid)
    assert wanted_samples(rule, storm, again.transitions) == {}
    calm = rows_from(columns, [(f"n{n:02}", 1.0, False, True) for n in range(12)])
    over = evaluate(rule, calm, first.state, START + rule.slots.grid)
    assert {t.status for t in over.transitions} == {Status.RESOLVED}
    assert wanted_samples(rule, calm, over.transitions) == {}


@pytest.mark.parametrize(
    "given",
    [
        QueryFailure("boom"),
        rows_from(
            [("s", "STRUCT(a INTEGER)"), ("lapwing_active", "BOOLEAN"), ("lapwing_clear", "BOOLEAN")],
            [(1, True, False)],
        ),
    ],
)
def test_a_rule_that_fails_has_no_rows_to_show(given: Outcome) -> None:
    """The alert about the rule itself asks for no sample."""
    rule = rule_of(sample={"expr": "SELECT 1"}, error_for="0s")
    evaluation = evaluate(rule, given, RuleState(rule.definition), START)
    assert [t.instance.labels["alertname"] for t in evaluation.transitions] == ["RuleError"]
    assert wanted_samples(rule, given, evaluation.transitions) == {}
