"""Which metrics a query calls, and for which models."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from lapwing_collector.errors import QueryError
from lapwing_collector.model.description import dotted
from lapwing_collector.query.arguments import check_values, is_moment
from lapwing_collector.query.library import METRICS, Metric
from lapwing_collector.query.syntax import nodes, syntax_tree


@dataclass(frozen=True, slots=True)
class Call:
    """A metric that is called.

    Attributes:
        metric: Which.
        models: The tables of the models that it is called for.
        fields: The fields that it is to go over, as far as they are written out.
        texts: Arguments that are constant texts, by parameter.
        segments: The column that is given as segments, as inputs.plan, where it is a bare one.
        moments: The parameters of the query that stand for times.
        partners: Whether predictions of the same request have a say in each other: they are compared, or what
            is known of a production prediction holds for those of another stage.
        given: Names of the arguments that are given and not NULL.
    """

    metric: Metric
    models: tuple[str, ...]
    fields: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict, hash=False)
    segments: str | None = None
    moments: tuple[str, ...] = ()
    partners: bool = False
    given: frozenset[str] = frozenset()


def calls_in(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Call, ...]:
    """The metrics that a SELECT calls.

    Raises:
        QueryError: It does not parse, or a call does not name its model.
    """
    return tuple(calls_of(syntax_tree(connection, sql)))


def metrics_in(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Metric, ...]:
    """The metrics that a SELECT calls, each once.

    Raises:
        QueryError: It does not parse, or a call does not name its model.
    """
    return tuple(dict.fromkeys(call.metric for call in calls_in(connection, sql)))


def calls_of(tree: Any) -> Iterator[Call]:
    """The metrics that are called in a tree.

    Raises:
        QueryError: A call does not name its model, or its arguments are not those of the metric or nonsense.
    """
    for node in nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            metric = METRICS.get(str(node["function"]["function_name"]).lower())
            if metric is not None:
                given = _arguments(metric, node["function"])
                place = node["function"].get("query_location")
                models = tuple(_models(metric, given, place))
                _check_arguments(metric, given, place)
                check_values(metric, given, place)
                texts = dict(_texts(given))
                of_others = "stage" in given and texts.get("stage") != "production"
                yield Call(
                    metric,
                    models,
                    tuple(_fields(given)),
                    texts,
                    _segments(given),
                    tuple(_moments(given)),
                    metric.pairs or (metric.reads_labels and of_others),
                    frozenset(name for name, argument in given.items() if not _is_null(argument)),
                )


def _check_arguments(metric: Metric, given: dict[str, dict[str, Any]], place: int | None) -> None:
    names = [parameter.name for parameter in metric.parameters]
    unknown = next((name for name in given if name not in names), None)
    if unknown == "as_of" and metric.reads_bins:
        raise QueryError(
            f"{metric.name} reads profiles, which say what is known now: rows that came late are counted "
            "in the hours that they belong to. Methods over values, such as ks_test and psi_rows, take as_of",
            position=place,
        )
    if unknown is not None:
        near = tuple(difflib.get_close_matches(unknown, names, n=1))
        what = f"has no argument {unknown}" if unknown else "is given too many arguments"
        meant = f", did you mean {near[0]}?" if near else ""
        raise QueryError(
            f"{metric.name} {what}{meant or ':'} it is called as {metric.call}",
            position=place,
            candidates=near,
        )
    required = [p.name for p in metric.parameters if p.default is None and p.name not in metric.models]
    missing = [name for name in required if name not in given]
    if missing:
        raise QueryError(
            f"{metric.name} needs the argument {missing[0]}: it is called as {metric.call}", position=place
        )


def _fields(given: dict[str, dict[str, Any]]) -> Iterator[str]:
    for each in given.get("fields", {}).get("children", ()):
        if isinstance(name := each.get("value", {}).get("value"), str):
            yield name


def _texts(given: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, argument in given.items():
        if argument.get("type") == "VALUE_CONSTANT" and isinstance(
            text := (argument.get("value") or {}).get("value"), str
        ):
            yield name, text


def _is_null(argument: dict[str, Any]) -> bool:
    return argument.get("type") == "VALUE_CONSTANT" and bool((argument.get("value") or {}).get("is_null"))


def _segments(given: dict[str, dict[str, Any]]) -> str | None:
    names = given.get("segments", {}).get("column_names")
    return None if names is None else dotted(tuple(names))


def _moments(given: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, argument in given.items():
        if is_moment(name) and argument.get("type") == "VALUE_PARAMETER":
            yield argument["identifier"]


def _models(metric: Metric, given: dict[str, dict[str, Any]], place: int | None) -> Iterator[str]:
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
                position=place,
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
