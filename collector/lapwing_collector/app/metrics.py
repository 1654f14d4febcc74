"""What there is to say of the metrics that queries can call, and of the rules that call them."""

import difflib
from pathlib import Path
from typing import Any

import duckdb

from lapwing_collector.app.project import rule_named, rules_of
from lapwing_collector.errors import UnknownMetricError
from lapwing_collector.query import METRICS, Metric, explain, metrics_in, script
from lapwing_collector.rules import evaluation_sql


def list_metrics() -> list[dict[str, Any]]:
    """Name, group, summary and call of each metric, by group and name."""
    metrics = sorted(METRICS.values(), key=lambda metric: (metric.group, metric.name))
    return [
        {"name": each.name, "group": each.group, "summary": each.summary, "call": each.call}
        for each in metrics
    ]


def describe_metric(name: str) -> dict[str, Any]:
    """Everything about one metric, its SQL with what that is made of included.

    Raises:
        UnknownMetricError: There is no such metric.
    """
    metric = _metric(name)
    return {
        "name": metric.name,
        "group": metric.group,
        "summary": metric.summary,
        "formula": metric.formula,
        "source": metric.source,
        "needs": list(metric.needs),
        "parameters": [
            {"name": each.name, "default": each.default, "meaning": each.meaning or None}
            for each in metric.parameters
        ],
        "call": metric.call,
        "example": metric.example,
        "sql": script(explain([metric], {})) + "\n",
    }


def explain_rule(file: Path | None, name: str) -> str:
    """The SQL that a rule is judged by, and what is behind the metrics that it calls.

    Args:
        file: The settings file; `lapwing.yaml` of this folder if None.
        name: The rule, as `group/name`, or its name alone where that says which.

    Raises:
        ConfigError: There is no such rule, or a file has mistakes.
    """
    rule = rule_named(rules_of(file), name)
    sql = evaluation_sql(rule)
    with duckdb.connect(":memory:") as parser:
        behind = explain(metrics_in(parser, sql), {})
    return f"-- rule {rule.id}\n{sql};\n" + (f"\n{script(behind)}\n" if behind else "")


def _metric(name: str) -> Metric:
    metric = METRICS.get(name.lower())
    if metric is None:
        near = difflib.get_close_matches(name.lower(), METRICS, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownMetricError(
            f"there is no metric {name!r}; `lapwing metrics` lists those there are{meant}"
        )
    return metric
