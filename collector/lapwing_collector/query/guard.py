"""Decides which SQL may run: exactly one SELECT, and no table function that does more than make rows.

READ_ONLY does not suffice: `SELECT * FROM ducklake_cleanup_old_files(…)` is a SELECT that deletes files.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import duckdb

from lapwing_collector.errors import QueryError

_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "repeat", "unnest"})


def check_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let `sql` pass if it is one SELECT that can only read tables.

    Args:
        connection: Parses; the SQL is not run.
        sql: What a person wrote.

    Raises:
        QueryError: It is something else; the message says what.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from error
    if len(statements) != 1:
        raise QueryError(f"expected one SELECT, not {len(statements)} statements")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise QueryError(f"expected a SELECT, not {kind.name}: queries can only read")
    for node in _nodes(_syntax_tree(connection, sql), "TABLE_FUNCTION"):
        function = str(node["function"]["function_name"]).lower()
        if function not in _TABLE_FUNCTIONS:
            allowed = ", ".join(sorted(_TABLE_FUNCTIONS))
            raise QueryError(f"the table function {function} is not allowed in queries (allowed: {allowed})")


def tables_in(connection: duckdb.DuckDBPyConnection, sql: str) -> frozenset[tuple[str, str]]:
    """The tables that a SELECT names with their schema, as (schema, table), whether they exist or not.

    Raises:
        QueryError: The SQL does not parse.
    """
    return frozenset(
        (node["schema_name"], node["table_name"])
        for node in _nodes(_syntax_tree(connection, sql), "BASE_TABLE")
        if node["schema_name"]
    )


def _syntax_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    row = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree.get("error"):
        raise QueryError(f"this SQL can not be checked: {tree.get('error_message', 'no syntax tree')}")
    return tree


def _nodes(tree: Any, kind: str) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if tree.get("type") == kind:
            yield tree
        for child in tree.values():
            yield from _nodes(child, kind)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child, kind)
