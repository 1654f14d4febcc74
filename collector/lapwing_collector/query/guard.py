"""Decides which SQL may run: exactly one SELECT over the lake's tables, with functions that only compute.

READ_ONLY does not suffice: `SELECT * FROM ducklake_cleanup_old_files(…)` is a SELECT that deletes files, and
views of DuckDB's own tell where files lie.
"""

import difflib
from typing import Any, Final

import duckdb

from lapwing_collector import engine
from lapwing_collector.errors import RefusedQueryError
from lapwing_collector.query.calls import calls_of
from lapwing_collector.query.library import METRICS, PRIVATE
from lapwing_collector.query.mistakes import query_error
from lapwing_collector.query.syntax import nodes, syntax_tree

_PROFILES: Final = frozenset({"profiles", "profile_bins"})

_SMALL: Final = _PROFILES | {"reference_bins", "reference_sets", "binnings", "models", "metric_values"}
"""Tables of the lake itself that hold no rows of models."""

_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "repeat", "unnest"})

_FUNCTIONS: Final = frozenset(
    {
        "current_setting",  # tells paths
        "currval",
        "getvariable",
        "json_serialize_plan",  # binds SQL that nobody checked
        "nextval",
        "pg_sleep",
        "sleep_ms",
        "write_log",
    }
)
"""Functions that do something else than compute."""

_SCHEMAS: Final = frozenset(
    {
        "",
        "main",
        "predictions",
        "predictions_all",
        "labels",
        "labeled",
        "reference_rows",
        "information_schema",
    }
)
_OTHERS_TABLES: Final = ("duckdb_", "ducklake_", "pg_", "pragma_", "sqlite_")
"""How views of DuckDB itself begin; some tell paths. They are found without a schema."""

_LISTS: Final = frozenset({'"databases"', '"tables"', "__show_tables_expanded"})

_FILE_MARKS: Final = frozenset("./\\:*?")
_VIRTUAL: Final = frozenset({"file_index", "file_row_number", "filename", "rowid", "snapshot_id"})
"""Columns that DuckLake gives its tables, but not views, unasked; `filename` tells where files lie."""
_VIEWS: Final = frozenset({"predictions", "labeled", "information_schema"})
"""Schemas that hold nothing but views."""


def check_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let `sql` pass if it is one SELECT that can only read tables.

    Args:
        connection: Parses; the SQL is not run.
        sql: What a person wrote.

    Raises:
        RefusedQueryError: It is something else; the message says what.
        QueryError: It does not parse.
    """
    parse_select(connection, sql)
    try:
        tree = syntax_tree(connection, sql)
        _check(tree)
        _check_columns(connection, tree)
        list(calls_of(tree))  # they name their models
    except RecursionError as error:
        raise RefusedQueryError("this SQL is nested too deeply; use WITH to take it apart") from error


def parse_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Let `sql` pass if it is one SELECT, whatever it reads.

    Raises:
        RefusedQueryError: It is something else; the message says what.
        QueryError: It does not parse.
    """
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise query_error(error, sql) from error
    if len(statements) == 2 and statements[0].type == duckdb.StatementType.CREATE:
        raise RefusedQueryError(
            "PIVOT needs its columns named: SELECT * FROM (PIVOT t ON column IN ('a', 'b') USING count(*))"
        )
    if len(statements) != 1:
        raise RefusedQueryError(f"expected one SELECT, not {len(statements)} statements")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise RefusedQueryError(f"expected a SELECT, not {kind.name}: queries can only read")


def tables_in(connection: duckdb.DuckDBPyConnection, sql: str) -> frozenset[tuple[str, str]]:
    """The tables that a SELECT names with their schema, as (schema, table), whether they exist or not.

    A metric that it calls for a model names its `predictions`, or `labeled` if labels have a say in it.

    Raises:
        QueryError: The SQL does not parse.
    """
    tree = syntax_tree(connection, sql)
    named = {
        (node["schema_name"], node["table_name"])
        for node in nodes(tree)
        if node.get("type") == "BASE_TABLE" and node["schema_name"]
    }
    measured = {
        ("labeled" if call.metric.reads_labels else "predictions", model)
        for call in calls_of(tree)
        for model in call.models
    }
    return frozenset(named | measured)


def paired_in(connection: duckdb.DuckDBPyConnection, sql: str) -> frozenset[str]:
    """The models of which predictions of the same request have a say in each other, in a SELECT.

    Raises:
        QueryError: The SQL does not parse.
    """
    calls = calls_of(syntax_tree(connection, sql))
    return frozenset(model for call in calls if call.partners for model in call.models)


def reads_profiles(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether a SELECT names `profiles` or `profile_bins`, which are of all models together.

    Raises:
        QueryError: The SQL does not parse.
    """
    return any(
        node.get("type") == "BASE_TABLE"
        and node["schema_name"].lower() in {"", "main"}
        and node["table_name"].lower() in _PROFILES
        for node in nodes(syntax_tree(connection, sql))
    )


def reads_rows(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether a SELECT reads rows of models, or logs, rather than what was counted of them.

    Raises:
        QueryError: The SQL does not parse.
    """
    tree = syntax_tree(connection, sql)
    own = {name for node in nodes(tree) for name in _with_names(node)}
    return any(not call.metric.reads_bins or call.metric.reads_references for call in calls_of(tree)) or any(
        node.get("type") == "BASE_TABLE"
        and (
            node["schema_name"].lower() not in {"", "main"} or node["table_name"].lower() not in _SMALL | own
        )
        for node in nodes(tree)
    )


def counts_failures(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether a SELECT counts calls that failed: asks whether they have an error, or for their rate.

    Raises:
        QueryError: The SQL does not parse.
    """
    tree = syntax_tree(connection, sql)
    tables = {
        str(node["alias"] or node.get("table_name", "")).lower()
        for node in nodes(tree)
        if "table_name" in node or "subquery" in node
    }
    for node in nodes(tree):
        function = str(node.get("function_name", "")).lower()
        if function == "error_rate":
            return True
        if function == "count" or node.get("type") == "OPERATOR_IS_NOT_NULL":
            for column in (names for child in node["children"] for names in _columns(child)):
                if column[-1] == "error_type" and tables.issuperset(column[-2:-1]):
                    return True  # a column of a table, and no field of that name, as inputs.error_type
    return False


def functions_in(connection: duckdb.DuckDBPyConnection, sql: str) -> frozenset[str]:
    """The functions that a SELECT calls.

    Raises:
        QueryError: The SQL does not parse.
    """
    found = nodes(syntax_tree(connection, sql))
    return frozenset(str(node["function_name"]).lower() for node in found if "function_name" in node)


def _check(tree: Any) -> None:
    for node in nodes(tree):
        for name in _with_names(node):
            _check_no_file(name)
        match node.get("type"):
            case "TABLE_FUNCTION":
                _check_table_function(str(node["function"]["function_name"]).lower())
            case "BASE_TABLE":
                _check_table(node)
            case "SHOW_REF":
                if node["query"] is None and node["table_name"] not in _LISTS:
                    raise RefusedQueryError(f"SHOW {node['table_name']} is not allowed in queries")
            case _:
                name = str(node.get("function_name", "")).lower()
                if name in _FUNCTIONS or name.startswith(PRIVATE):
                    raise RefusedQueryError(f"the function {name} is not allowed in queries")


def _check_columns(connection: duckdb.DuckDBPyConnection, tree: Any) -> None:
    """Refuse DuckLake's virtual columns; fields, and what a SELECT names itself, may be called the same."""
    named = [parts for node in nodes(tree) for parts in _columns(node) if _VIRTUAL.intersection(parts)]
    if not named:
        return
    own = {name for node in nodes(tree) for name in _with_names(node)} - _schemaless(connection)
    tables = {
        str(node["alias"] or node["table_name"]).lower()
        for node in nodes(tree)
        if node.get("type") == "BASE_TABLE"
        and str(node["schema_name"]).lower() not in _VIEWS
        and (node["schema_name"] or str(node["table_name"]).lower() not in own)
    }
    for parts in named:
        for place, part in enumerate(parts):
            if part in _VIRTUAL and (parts[place - 1] in tables if place else tables):
                raise RefusedQueryError(
                    f"the column {part} is not allowed in queries: it tells how the lake keeps its rows; "
                    f"a field of that name is written with what it is in, as inputs.{part}"
                )


def _columns(node: dict[str, Any]) -> list[list[str]]:
    """The columns that a node names itself, each with its qualifiers."""
    if node.get("type") == "COLUMN_REF":
        return [[str(part).lower() for part in node["column_names"]]]
    alone = [*(node.get("using_columns") or ()), *(node.get("groups") or ())]  # of JOIN and of PIVOT
    return [[name.lower()] for name in alone if isinstance(name, str)]


def _schemaless(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The lake's tables that are found without a schema."""
    found = connection.execute(
        "SELECT lower(table_name) FROM information_schema.tables WHERE table_schema = 'main'"
    )
    return {name for (name,) in found.fetchall()}


def _check_table_function(function: str) -> None:
    if function not in _TABLE_FUNCTIONS and function not in METRICS:
        allowed = ", ".join(sorted(_TABLE_FUNCTIONS))
        near = difflib.get_close_matches(function, METRICS, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise RefusedQueryError(
            f"the table function {function} is not allowed in queries (allowed: {allowed}, "
            f"and metrics, which `lapwing metrics` lists){meant}",
            candidates=tuple(near),
        )


def _check_table(node: dict[str, Any]) -> None:
    catalog, schema, table = (str(node[f"{part}_name"]).lower() for part in ("catalog", "schema", "table"))
    if schema == engine.LAKE and not catalog:
        catalog, schema = schema, ""
    full = ".".join(part for part in (catalog, schema, table) if part)
    if catalog not in {"", engine.LAKE} or schema not in _SCHEMAS:
        raise RefusedQueryError(
            f"{full} is not allowed in queries: tables are predictions, predictions_all, labels, labeled "
            "and reference_rows of a model, or stand without a schema; SHOW ALL TABLES lists them"
        )
    if schema in {"", "main"} and table.startswith(_OTHERS_TABLES):
        raise RefusedQueryError(
            f"{full} is not allowed in queries; SHOW ALL TABLES lists the tables that are"
        )
    if schema in {"", "main"}:
        _check_no_file(table)


def _check_no_file(table: str) -> None:
    # Not even where a WITH has that name: beyond its reach, the same name is a file.
    if _FILE_MARKS.intersection(table):
        raise RefusedQueryError(f"{table} looks like a file: queries can only read tables of the lake")


def _with_names(node: dict[str, Any]) -> list[str]:
    entries = node.get("cte_map")
    return [str(entry["key"]).lower() for entry in entries["map"]] if isinstance(entries, dict) else []
