"""The lines of rules: which metric each is about, and on which charts it is drawn."""

from datetime import timedelta
from typing import Any

import pytest

from lapwing_collector.app.judging.thresholds import thresholds
from lapwing_collector.rules import Bound, bounds_of, load_rules
from lapwing_collector.web.pages.limits import Limits

SPAN = "$window_start, $window_end"
PAIR = "('inputs.b', 'inputs.a')"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("value > 0.5", [("value", ">", 0.5)]),
        ("value<=-1e-3", [("value", "<=", -0.001)]),
        ("(value < 0.2) OR (value > 0.8 AND sample_count > 9)", [("value", "<", 0.2), ("value", ">", 0.8)]),
        ("high < 0", [("high", "<", 0.0)]),
        ("abs(value) > 3", []),
        ("value > 2 * reference_value", []),
        ("NOT (value > 3)", []),
        ("value BETWEEN 1 AND 2", []),
        ("value > patience", []),
        ("drifted = 1", []),
        (None, []),
    ],
)
def test_numbers_that_a_condition_compares_with(condition: str | None, expected: list[Any]) -> None:
    """Only a bare comparison with a number is a line; anything computed is none."""
    assert bounds_of(condition) == tuple(Bound(*each) for each in expected)


def told(*rules: str, table: str = "churn") -> list[dict[str, Any]]:
    """The lines of rules on a model, written as YAML flows."""
    text = "groups: [{name: g, interval: 1h, rules: [" + ", ".join(f"{{{each}}}" for each in rules) + "]}]"
    return thresholds(load_rules(text, "rules.yaml"), table)


def alert(expr: str, condition: str = "value > 1", more: str = "") -> str:
    return f'alert: A, window: 1d, condition: "{condition}", expr: "{expr}"{more}'


@pytest.mark.parametrize(
    ("expr", "metric", "fields", "only"),
    [
        (f"FROM accuracy('churn', {SPAN})", "accuracy", [], {}),
        (f"FROM accuracy('Churn', {SPAN})", "accuracy", [], {}),
        (f"SELECT value FROM accuracy('churn', {SPAN}) WHERE sample_count > 10", "accuracy", [], {}),
        (f"SELECT value, 1 AS x FROM mae('churn', {SPAN}) AS m WHERE m.value > 0", None, [], {}),
        (
            f"FROM latency_quantiles('churn', {SPAN}) WHERE quantile = '0.95'",
            "latency_quantiles",
            [],
            {"quantile": ["0.95"]},
        ),
        (
            f"SELECT value FROM psi('churn', {SPAN}, fields := 'inputs.*') WHERE field IN {PAIR}",
            "psi",
            ["inputs.*"],
            {"field": ["inputs.a", "inputs.b"]},
        ),
        (f"SELECT 1 - value AS value FROM accuracy('churn', {SPAN})", None, [], {}),
        (f"SELECT max(value) AS value FROM accuracy('churn', {SPAN})", None, [], {}),
        (f"FROM accuracy('churn', {SPAN}, segments := {{'plan': inputs.plan}})", None, [], {}),
        (f"FROM accuracy('churn', {SPAN}, threshold := 0.3)", None, [], {}),
        (f"FROM accuracy('other', {SPAN}) -- churn", None, [], {}),
        ("SELECT count(*) AS value FROM predictions.churn", None, [], {}),
    ],
)
def test_which_metric_a_rule_is_about(
    expr: str, metric: str | None, fields: list[str], only: dict[str, list[str]]
) -> None:
    """A rule is about a metric where its value is that of all production rows, as it is."""
    found = told(alert(expr))
    if metric is None:
        assert found == []
        return
    assert [(each["metric"], each["fields"], each["only"]) for each in found] == [(metric, fields, only)]
    assert found[0]["bounds"] == [{"column": "value", "sign": ">", "number": 1.0}]
    assert (found[0]["rule"], found[0]["window_s"]) == ("g/A", 86400.0)


def test_a_rule_is_about_what_another_records() -> None:
    """The same query over as long a window, however it is spaced, is the same value."""
    sql = "SELECT avg(output.score) AS value FROM predictions.churn WHERE time >= $window_start"
    spaced = sql.replace(" FROM", "  FROM ")
    found = told(
        alert(spaced),
        f'record: mean, window: 1d, expr: "{sql}"',
        f'record: longer, window: 2d, expr: "{sql}"',
    )
    assert [each["recorded_as"] for each in found] == [["mean"]]


def test_rules_that_are_off_or_wrong_have_no_lines() -> None:
    """A rule that is not judged, judges rows, or calls a metric wrongly draws nothing."""
    assert told(alert(f"FROM accuracy('churn', {SPAN})", more=", enabled: false")) == []
    assert told(f"alert: A, expr: \"FROM accuracy('churn', {SPAN})\"") == []
    assert told(alert("FROM accuracy('churn')")) == []


def test_lines_are_on_charts_of_the_same() -> None:
    """A chart has the lines of its metric, field and quantile, by name, side and window."""
    limits = Limits(
        told(
            alert(f"FROM accuracy('churn', {SPAN})", "value < 0.8 OR low < 0.7"),
            alert(f"FROM psi('churn', {SPAN}, fields := 'inputs.*')", "value > 0.2").replace("A,", "B,"),
            alert(f"FROM latency_quantiles('churn', {SPAN}) WHERE quantile = '0.99'").replace("A,", "C,"),
            alert(f"FROM prediction_count('churn', {SPAN})", "value < 5").replace("A,", "D,"),
        )
    )
    lines = [(each.label, each.column, each.sign, each.value, each.over) for each in limits.on("accuracy")]
    assert lines == [("A", "", "<", 0.8, 86400.0), ("A", "low", "<", 0.7, 86400.0)]
    assert limits.on("roc_auc") == ()
    assert [each.rule for each in limits.on("psi", field=("inputs.age",))] == ["g/B"]
    assert limits.on("psi", field=("output.score",)) == ()
    assert limits.on("latency_quantiles", quantile=("0.5", "0.95")) == ()
    assert len(limits.on("latency_quantiles", quantile=("0.5", "0.99"))) == 1
    assert limits.on("prediction_count", window=timedelta(hours=1)) == ()
    assert len(limits.on("prediction_count", window=timedelta(days=1))) == 1
    assert limits.metrics("inputs.age") == ["accuracy", "psi", "latency_quantiles", "prediction_count"]
