"""What the `value` of a SELECT is: that of a metric as it is, or the same as another SELECT's."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import duckdb

from lapwing_collector.errors import QueryError
from lapwing_collector.query.calls import Call, calls_of
from lapwing_collector.query.syntax import syntax_tree

_SAME: Final = frozenset(
    {"since", "until", "as_of", "confidence", "field", "fields", "min_rows", "quantiles", "reference"}
)
"""Arguments with which a value stays what people call the metric; others make another one of it."""
_LEAST: Final = frozenset({"sample_count", "label_coverage", "label_maturity"})
"""What rows are asked for to have enough of; no other rows are measured for that."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a SELECT measures.

    Attributes:
        same: Equal for SELECTs that give the same values.
        call: The metric whose `value` it gives as it is; None where it computes one, or takes a part of
            the rows.
        only: The values that columns of the metric are narrowed to, by column.
    """

    same: str
    call: Call | None = None
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)


def measured_in(connection: duckdb.DuckDBPyConnection, sql: str) -> Measured:
    """What a SELECT measures.

    Raises:
        QueryError: It does not parse, or a call of a metric is wrong.
    """
    node = syntax_tree(connection, sql)["statements"][0]["node"]
    same = json.dumps(_plain(node), sort_keys=True)
    call = _whole_call(node)
    only = {} if call is None else _narrowed(node["where_clause"])
    return Measured(same) if call is None or only is None else Measured(same, call, only)


def _plain(tree: Any) -> Any:
    """A tree without the places of its parts in the text."""
    if isinstance(tree, dict):
        return {name: _plain(part) for name, part in tree.items() if name != "query_location"}
    return [_plain(part) for part in tree] if isinstance(tree, list) else tree


def _whole_call(node: Mapping[str, Any]) -> Call | None:
    """The one metric that a SELECT is of, where its rows and their `value` are those of the metric."""
    source = node.get("from_table") or {}
    if (
        node.get("type") != "SELECT_NODE"
        or source.get("type") != "TABLE_FUNCTION"
        or node["cte_map"]["map"]
        or node["group_expressions"]
        or node["aggregate_handling"] != "STANDARD_HANDLING"
        or node["having"]
        or node["qualify"]
        or not any(map(_is_value, node["select_list"]))
    ):
        return None
    try:
        calls = list(calls_of(source))
    except QueryError:
        return None
    if len(calls) != 1 or calls[0].given - _SAME - set(calls[0].metric.models):
        return None
    return calls[0]


def _is_value(item: Mapping[str, Any]) -> bool:
    """Whether an item of a select list gives the column `value` under its name."""
    if item["type"] == "STAR":
        return not item["replace_list"] and not item["rename_list"] and not item["columns"]
    return _column(item) == "value" and item["alias"].lower() in {"", "value"}


def _narrowed(condition: Any) -> dict[str, frozenset[str]] | None:
    """Which texts columns are to have; None for a condition that says something else, too."""
    found: dict[str, frozenset[str]] = {}
    for part in _parts(condition):
        told = _told(part)
        if told is None:
            return None
        column, texts = told
        if texts:
            found[column] = found.get(column, texts) & texts
    return found


def _parts(condition: Any) -> Iterator[Mapping[str, Any]]:
    if condition is None:
        return
    if condition["type"] == "CONJUNCTION_AND":
        for each in condition["children"]:
            yield from _parts(each)
    else:
        yield condition


def _told(part: Mapping[str, Any]) -> tuple[str, frozenset[str]] | None:
    """A column and the texts it is to be one of, no text where it is to be large; None for anything else."""
    if part["type"] == "COMPARE_IN":
        column, *values = part["children"]
    elif part["class"] == "COMPARISON":
        column, values = part["left"], [part["right"]]
    else:
        return None
    name = _column(column)
    if name in _LEAST:
        return name, frozenset()
    texts = [each["value"].get("value") for each in values if each["type"] == "VALUE_CONSTANT"]
    if name is None or part["type"] not in {"COMPARE_IN", "COMPARE_EQUAL"} or len(texts) != len(values):
        return None
    return name, frozenset(map(str, texts))


def _column(item: Mapping[str, Any]) -> str | None:
    names = item["column_names"] if item["type"] == "COLUMN_REF" else ()
    return str(names[-1]).lower() if names else None
