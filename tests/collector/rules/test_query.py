"""The composed SQL, run by DuckDB."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pytest

from helpers.rules_build import START, Timeline, rule_of
from lapwing_collector.rules import Query, Rows, evaluation_query, rows_from, wait_query
from lapwing_collector.rules.rows import ColumnKind, ResultError, read_rows

Read = Callable[[duckdb.DuckDBPyConnection, Query], Rows]

SHOPS = """SELECT *
FROM (VALUES ('a', 20.0), ('b', 7.0), ('c', 1.0), ('d', NULL), ('e', 'nan'::DOUBLE)) t(name, value)"""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database."""
    with duckdb.connect() as connection:
        yield connection


def described(connection: duckdb.DuckDBPyConnection, query: Query) -> Rows:
    """The result as DuckDB describes it."""
    result = connection.execute(query.sql, query.parameters)
    columns = [(name, str(kind)) for name, kind, *_ in result.description]
    return rows_from(columns, result.fetchall())


def arrow(connection: duckdb.DuckDBPyConnection, query: Query) -> Rows:
    """The result as it comes through Arrow."""
    table = connection.execute(query.sql, query.parameters).to_arrow_table()
    columns = [(field.name, str(field.type)) for field in table.schema]
    return rows_from(columns, [tuple(row.values()) for row in table.to_pylist()])


@pytest.mark.parametrize("read", [described, arrow])
def test_reasons_and_lists_tell_no_instances_apart(connection: duckdb.DuckDBPyConnection, read: Read) -> None:
    """What metrics say to people comes and goes: it is shown with the values, unless identity names it."""
    expr = "SELECT 'a' AS name, NULL::DOUBLE AS value, 'few' AS reason, ['x', 'y'] AS top_fields"
    rows = read(connection, evaluation_query(rule_of(expr=expr), START))
    (row,) = read_rows(rule_of(expr=expr), rows)
    assert (row.identity, row.labels) == ({"name": "a"}, {"name": "a"})
    assert (row.values["reason"], row.values["top_fields"]) == ("few", "x, y")
    (named,) = read_rows(rule_of(expr=expr, identity=["reason"]), rows)
    assert named.identity == {"reason": "few"}
    twice = f"{expr} UNION ALL SELECT 'a', 1.0, 'enough', []"
    with pytest.raises(ResultError, match="unless `identity` names it"):
        read_rows(rule_of(expr=twice), read(connection, evaluation_query(rule_of(expr=twice), START)))


@pytest.mark.parametrize("read", [described, arrow])
@pytest.mark.parametrize(
    "expr", [SHOPS, f"{SHOPS};", f"{SHOPS} -- a comment", f"WITH s AS ({SHOPS}) FROM s /* all */ ;\n ; "]
)
def test_conditions_are_judged_by_duckdb_row_by_row(
    connection: duckdb.DuckDBPyConnection, expr: str, read: Read
) -> None:
    """One query gives rows and both conditions, however the SQL ends."""
    rule = rule_of(expr=expr, condition="value > 10 -- high", resolve_condition="value < 5")
    timeline = Timeline(rule)
    timeline.evaluate(read(connection, evaluation_query(rule, START)))
    assert {i.labels["name"]: (i.state.value, i.health.value) for i in timeline.state.instances.values()} == {
        "a": ("firing", "ok"),
        "b": ("inactive", "ok"),
        "c": ("inactive", "ok"),
        "d": ("inactive", "insufficient"),
        "e": ("inactive", "insufficient"),
    }


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"condition": "value > 10", "resolve_condition": None},
            [(True, False), (False, True), (None, None)],
        ),
        (
            {"condition": "value > 10 OR value < 2", "resolve_condition": None},
            [(True, False), (True, False), (None, None)],
        ),
        ({"condition": None, "resolve_condition": None}, [(True, False)] * 3),
    ],
)
def test_the_resolve_condition_is_the_opposite_unless_given(
    connection: duckdb.DuckDBPyConnection,
    keys: dict[str, Any],
    expected: list[tuple[bool | None, bool | None]],
) -> None:
    """NOT stands round the whole condition; without condition every row is active."""
    rule = rule_of(expr="FROM (VALUES (20), (1), (NULL)) t(value)", **keys)
    query = evaluation_query(rule, START)
    assert [row[1:] for row in connection.execute(query.sql).fetchall()] == expected


def test_only_mentioned_parameters_are_bound(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB refuses values for parameters that a statement does not use."""
    expr = "SELECT $window_start AS since, $window_end AS until, '$slot' AS text, 1 AS value"
    rule = rule_of({"interval": "1h"}, expr=expr, query_offset="5m")
    query = evaluation_query(rule, START)
    assert query.parameters == {
        "window_start": START - timedelta(minutes=65),
        "window_end": START - timedelta(minutes=5),
    }
    (row,) = connection.execute(query.sql, query.parameters).fetchall()
    assert row[:2] == (START - timedelta(minutes=65), START - timedelta(minutes=5))
    assert evaluation_query(rule_of(), START).parameters == {}
    assert evaluation_query(rule_of(condition="$slot > '2000-01-01'"), START).parameters == {"slot": START}


def test_the_waiting_query_has_its_own_parameters(connection: duckdb.DuckDBPyConnection) -> None:
    """`wait_for.expr` judges the same slot; a rule without it has nothing to ask."""
    rule = rule_of(wait_for={"expr": "SELECT $slot = '2013-03-01';", "timeout": "1h"})
    query = wait_query(rule, START)
    assert query.parameters == {"slot": START}
    assert connection.execute(query.sql, query.parameters).fetchall() == [(True,)]
    assert wait_query(rule_of(), START) is None


KINDS = {
    "'a'": ColumnKind.LABEL,
    "'a'::ENUM('a', 'b')": ColumnKind.LABEL,
    "uuid '00000000-0000-0000-0000-000000000001'": ColumnKind.LABEL,
    "true": ColumnKind.LABEL,
    "1::TINYINT": ColumnKind.INTEGER,
    "1::USMALLINT": ColumnKind.INTEGER,
    "1::INTEGER": ColumnKind.INTEGER,
    "1::BIGINT": ColumnKind.INTEGER,
    "1::UBIGINT": ColumnKind.INTEGER,
    "1::FLOAT": ColumnKind.NUMBER,
    "1::DOUBLE": ColumnKind.NUMBER,
    "1.5::DECIMAL(10, 2)": ColumnKind.NUMBER,
    "TIMESTAMP '2013-03-01'": ColumnKind.TIME,
    "TIMESTAMP_S '2013-03-01'": ColumnKind.TIME,
    "TIMESTAMP_NS '2013-03-01'": ColumnKind.TIME,
    "DATE '2013-03-01'": ColumnKind.TIME,
    "TIME '10:00:00'": ColumnKind.TIME,
    "INTERVAL 1 HOUR": ColumnKind.TIME,
    "[1]": ColumnKind.OTHER,
    "[TIMESTAMP '2013-03-01']": ColumnKind.OTHER,
    "['a']": ColumnKind.TEXTS,
    "[1, 2]::INTEGER[2]": ColumnKind.OTHER,
    "{'a': 1}": ColumnKind.OTHER,
    "MAP {'a': 1}": ColumnKind.OTHER,
    "'a'::BLOB": ColumnKind.OTHER,
}


@pytest.mark.parametrize(("sql", "kind"), KINDS.items())
def test_a_columns_type_says_what_it_is(
    connection: duckdb.DuckDBPyConnection, sql: str, kind: ColumnKind
) -> None:
    """DuckDB's and Arrow's names of a type mean the same; lists and structs are neither label nor value."""
    result = connection.execute(f"SELECT {sql} AS x")
    names = [str(result.description[0][1]), str(result.to_arrow_table().schema.field("x").type)]
    assert [rows_from([("x", name)], []).columns[0].kind for name in names] == [kind, kind]


def test_labels_are_texts_and_sums_are_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    """A UUID, an ENUM and a BOOLEAN become text; a HUGEINT and a DECIMAL become plain numbers."""
    expr = """SELECT true AS flag, 'x'::ENUM('x') AS e, uuid '00000000-0000-0000-0000-000000000001' AS id,
              sum(2) AS value, 1.5::DECIMAL(4, 1) AS share, 3.0::DECIMAL(4, 1) AS whole"""
    rule = rule_of(
        expr=expr, condition="value > 1", annotations={"summary": "{{ $value }} {{ $values.share }}"}
    )
    for read in (described, arrow):
        timeline = Timeline(rule)
        (fired,) = timeline.evaluate(read(connection, evaluation_query(rule, START)))
        assert fired.instance.labels == {
            "alertname": "High",
            "flag": "true",
            "e": "x",
            "id": "00000000-0000-0000-0000-000000000001",
        }
        assert fired.instance.annotations == {"summary": "2 1.5"}


def test_infinite_numbers_are_judged_but_counted_as_unknown(connection: duckdb.DuckDBPyConnection) -> None:
    """Infinity is a value beyond every limit; as a sample count it is none."""
    rule = rule_of(expr="SELECT 'inf'::DOUBLE AS value, 'inf'::DOUBLE AS sample_count", min_samples=5)
    (fired,) = Timeline(rule).evaluate(described(connection, evaluation_query(rule, START)))
    assert (fired.instance.value, fired.instance.sample_count) == (float("inf"), None)


def test_conditions_may_name_the_label_coverage(connection: duckdb.DuckDBPyConnection) -> None:
    """It is a column as others: with too few labels such a condition is false, and the alert resolves."""
    coverage = "CASE WHEN $slot > '2013-03-01 00:01' THEN 0.4 ELSE 0.9 END"
    expr = f"SELECT 0.5 AS value, {coverage} AS label_coverage"
    for keys, told in (
        ({"condition": "value < 0.8 AND label_coverage >= 0.6"}, ["firing", "resolved"]),
        ({"condition": "value < 0.8", "min_label_coverage": 0.6}, ["firing"]),
    ):
        rule = rule_of(expr=expr, resolve_condition=None, **keys)
        timeline = Timeline(rule)
        for minute in (1, 2, 3):
            slot = START + timedelta(minutes=minute)
            timeline.evaluate(described(connection, evaluation_query(rule, slot)))
        assert [str(transition.status) for transition in timeline.transitions] == told
        watched = next(iter(timeline.state.instances.values()))
        assert watched.health == ("insufficient" if "min_label_coverage" in keys else "ok")


def test_special_columns_are_found_in_any_case(connection: duckdb.DuckDBPyConnection) -> None:
    """SQL does not tell `Value` from `value`."""
    rule = rule_of(expr="SELECT 20 AS Value, 5 AS Sample_Count", min_samples=5)
    timeline = Timeline(rule)
    (fired,) = timeline.evaluate(described(connection, evaluation_query(rule, START)))
    assert (fired.instance.value, fired.instance.sample_count) == (20.0, 5)
