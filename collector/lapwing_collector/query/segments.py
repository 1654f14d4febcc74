"""A query over one segment of the rows that it reads: what it gives for these alone."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import duckdb

from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import QueryError
from lapwing_collector.model.description import parts
from lapwing_collector.query.library import METRICS
from lapwing_collector.query.syntax import syntax_tree

SEGMENT: Final = "lapwing_segment"
"""Parameter of the query that is made: the segment's value, as text."""

_ROWS: Final = frozenset({"predictions", "predictions_all", "labeled"})
_Change = Callable[[dict[str, Any]], dict[str, Any] | None]


def segment_values(table: str, field: str) -> str:
    """SQL that gives the most frequent values of a field from `$window_start` to `$window_end`, as texts."""
    return (
        f"SELECT ({_place(field)})::VARCHAR AS segment, count(*) AS n FROM predictions.{identifier(table)}\n"
        "WHERE time >= $window_start AND time < $window_end AND segment IS NOT NULL\n"
        "GROUP BY segment ORDER BY n DESC, segment LIMIT $most"
    )


def example_ids(table: str, fields: Sequence[str], *, failed_first: bool) -> str:
    """SQL that gives the newest ids from `$window_start` to `$window_end` whose fields are `$value_0`, ….

    Args:
        table: The model's table.
        fields: Fields of predictions, by their dotted names; their values are bound as texts, in order.
        failed_first: Whether calls that failed come before others that are newer.
    """
    narrowed = "".join(
        f"AND ({_place(field)})::VARCHAR = $value_{number}\n" for number, field in enumerate(fields)
    )
    first = "error_type IS NULL, " if failed_first else ""
    return (
        f"SELECT prediction_id FROM predictions.{identifier(table)}\n"
        "WHERE time >= $window_start AND time < $window_end AND prediction_id IS NOT NULL\n"
        f"{narrowed}ORDER BY {first}time DESC, prediction_id LIMIT $most"
    )


def within_segment(connection: duckdb.DuckDBPyConnection, sql: str, field: str, value: str) -> str | None:
    """The same query over the rows whose field has a value; None where it reads nothing that has rows.

    Tables of predictions, and metrics, are each replaced by what is left of them. Metrics that read profiles
    give an answer only where profiles are kept apart by the field.

    Args:
        connection: Parses; nothing is run.
        sql: One SELECT.
        field: A field of predictions, by its dotted name.
        value: As text; the query has it as the parameter `SEGMENT`.

    Raises:
        QueryError: The SQL does not parse.
    """
    place = _place(field)

    def source(sql: str) -> dict[str, Any]:
        tree: dict[str, Any] = syntax_tree(connection, f"FROM {sql}")["statements"][0]["node"]["from_table"]
        return tree

    def narrowed(node: dict[str, Any]) -> dict[str, Any] | None:
        match node.get("type"):
            case "BASE_TABLE" if str(node["schema_name"]).lower() in _ROWS:
                table = f"{identifier(node['schema_name'])}.{identifier(node['table_name'])}"
                made = source(f"(FROM {table} WHERE ({place})::VARCHAR = ${SEGMENT}) AS t")
                return made | {"alias": node["alias"] or node["table_name"], "sample": node["sample"]}
            case "TABLE_FUNCTION":
                return _narrowed_metric(node, field, value, source)
        return None

    tree = syntax_tree(connection, sql)
    changed, changes = _changed(tree, narrowed)
    if not changes:
        return None
    row = connection.execute("SELECT json_deserialize_sql($tree)", {"tree": json.dumps(changed)}).fetchone()
    if row is None:
        raise QueryError("this SQL can not be written down again")
    return str(row[0])


def _narrowed_metric(
    node: dict[str, Any], field: str, value: str, source: Callable[[str], dict[str, Any]]
) -> dict[str, Any] | None:
    """A call of a metric for one segment: by its rows, or by the profiles that are kept apart."""
    metric = METRICS.get(str(node["function"]["function_name"]).lower())
    if metric is None:
        return None
    takes = {parameter.name for parameter in metric.parameters}
    given = {str(argument.get("alias") or "").lower(): argument for argument in node["function"]["children"]}
    if "segments" in takes:
        wanted = f"{{'segment': 'all', '{SEGMENT}': ({_place(field)})::VARCHAR}}"
        made = source(
            f"(SELECT * EXCLUDE ({SEGMENT}) FROM f(segments := {wanted}) WHERE {SEGMENT} = ${SEGMENT}) AS t"
        )
        (argument,) = _function(made)["children"]
        if (own := given.get("segments")) is not None:
            if own.get("function_name") != "struct_pack":
                return None
            argument["children"] = [*own["children"], argument["children"][-1]]
        _function(made).update(
            function_name=metric.name,
            children=[
                *(each for each in node["function"]["children"] if each is not given.get("segments")),
                argument,
            ],
        )
        return made | {"alias": node["alias"] or metric.name, "sample": node["sample"]}
    if "segment" in takes and "segment" not in given:
        made = source(f"f(segment := {literal(f'{field}={value}')})")
        function = node["function"]
        added = [*function["children"], *made["function"]["children"]]
        return node | {"function": function | {"children": added}}
    return None


def _function(made: dict[str, Any]) -> dict[str, Any]:
    """The call inside of a subquery that was made of one."""
    function: dict[str, Any] = made["subquery"]["node"]["from_table"]["function"]
    return function


def _changed(tree: Any, change: _Change) -> tuple[Any, int]:
    """A tree whose nodes are what `change` makes of them, and how many it made; those are left alone."""
    if isinstance(tree, dict):
        if (made := change(tree)) is not None:
            return made, 1
        found = {name: _changed(child, change) for name, child in tree.items()}
        return {name: child for name, (child, _) in found.items()}, sum(n for _, n in found.values())
    if isinstance(tree, list):
        listed = [_changed(child, change) for child in tree]
        return [child for child, _ in listed], sum(n for _, n in listed)
    return tree, 0


def _place(field: str) -> str:
    """A field as SQL reads it; a tag is a value of a map."""
    names = parts(field)
    if names[0] == "tags" and len(names) == 2:
        return f"tags[{literal(names[1])}]"
    return ".".join(map(identifier, names))
