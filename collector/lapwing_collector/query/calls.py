"""Which metrics a query calls, and for which models."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from lapwing_collector.errors import QueryError
from lapwing_collector.query.library import METRICS, Metric
from lapwing_collector.query.syntax import nodes, syntax_tree


@dataclass(frozen=True, slots=True)
class Call:
    """A metric that is called.

    Attributes:
        metric: Which.
        models: The tables of the models that it is called for.
    """

    metric: Metric
    models: tuple[str, ...]


def calls_in(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Call, ...]:
    """The metrics that a SELECT calls.

    Raises:
        QueryError: It does not parse, or a call does not name its model.
    """
    return tuple(calls_of(syntax_tree(connection, sql)))


def calls_of(tree: Any) -> Iterator[Call]:
    """The metrics that are called in a tree.

    Raises:
        QueryError: A call does not name its model.
    """
    for node in nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            metric = METRICS.get(str(node["function"]["function_name"]).lower())
            if metric is not None:
                yield Call(metric, tuple(_models(metric, node["function"])))


def _models(metric: Metric, function: dict[str, Any]) -> Iterator[str]:
    given = _arguments(metric, function)
    for parameter in metric.parameters:
        if parameter.name not in metric.models:
            continue
        argument = given.get(parameter.name)
        if argument is None and parameter.default is not None:
            continue
        value = (argument or {}).get("value") or {}
        if (
            argument is None
            or argument.get("type") != "VALUE_CONSTANT"
            or not isinstance(value.get("value"), str)
        ):
            raise QueryError(
                f"{metric.name} needs the name of a model as a text, as in "
                f"{metric.name}('churn', …): the argument {parameter.name} is "
                + ("missing" if argument is None else "no constant text"),
                position=function.get("query_location"),
            )
        yield value["value"]


def _arguments(metric: Metric, function: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments of a call by the names of its parameters."""
    names = [parameter.name for parameter in metric.parameters]
    given: dict[str, dict[str, Any]] = {}
    for place, argument in enumerate(function["children"]):
        name = str(argument.get("alias") or "").lower()
        if not name and place < len(names):
            name = names[place]
        given[name] = argument
    return given
