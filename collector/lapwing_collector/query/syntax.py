"""SQL as DuckDB's parser sees it, as a tree of dicts and lists."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from lapwing_collector.errors import QueryError


def syntax_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """Parse one SELECT without running it.

    Raises:
        QueryError: It does not parse, or is no SELECT.
    """
    # By its whole name: DuckDB looks for others in the lake first, and reads its newest snapshot for it.
    row = connection.execute("SELECT system.main.json_serialize_sql($sql)", {"sql": sql}).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        raise QueryError(f"this SQL can not be checked: {tree.get('error_message', 'no syntax tree')}")
    return tree


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a tree, each before what is in it."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(reversed(part.values()))
        elif isinstance(part, list):
            waiting.extend(reversed(part))
