"""Reading SQL without a database."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.rules.sql import names_in, parameters_in, unrepeatable_in

# Neither clock nor chance: they tell of the session, sleep, or fail on purpose.
HARMLESS = {
    "current_connection_id",
    "current_database",
    "current_query",
    "current_query_id",
    "current_schema",
    "current_schemas",
    "current_transaction_id",
    "error",
    "in_search_path",
    "sleep_ms",
    "stats",
    "txid_current",
    "write_log",
}


def test_every_function_that_duckdb_does_not_repeat_is_refused() -> None:
    """DuckDB's own list of functions that are not constant has none that slips through."""
    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    names = {name for (name,) in duckdb.connect().execute(query).fetchall()} - HARMLESS
    assert {name for name in names if not unrepeatable_in(f"SELECT {name}()")} == set()
    assert len(names) > 10


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT now()", ("now()",)),
        ("SELECT NOW ( ) - x, current_date", ("NOW()", "current_date")),
        ("SELECT current_timestamp, localtime", ("current_timestamp", "localtime")),
        ("SELECT 1 WHERE random() < 0.5", ("random()",)),
        ("SELECT system.main.today()", ("today()",)),
        ("SELECT now, random FROM t", ()),
        ("SELECT 'now()', $$random()$$, $a$today()$a$, e'it\\'s now()'", ()),
        ("SELECT 'it''s now()' -- now()", ()),
        ("SELECT 1 /* now()\n today() */ + 2", ()),
        ('SELECT "current_date", "a""now()" FROM t', ()),
        ("SELECT known(), nowadays()", ()),
    ],
)
def test_clock_and_chance_are_found_where_they_are_used(sql: str, found: tuple[str, ...]) -> None:
    """Calls and keywords count; texts, comments, quoted names and columns do not."""
    assert unrepeatable_in(sql) == found


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT $window_start, $slot", {"window_start", "slot"}),
        ("SELECT '$slot', \"$slot\" -- $slot", set()),
        ("SELECT $$a $slot$$, $x$ $slot $x$", set()),
        ("SELECT a$slot", {"slot"}),
        ("SELECT $1", {"1"}),
    ],
)
def test_parameters_are_found_where_they_are_used(sql: str, found: set[str]) -> None:
    """Texts, comments and quoted names hold no parameters."""
    assert parameters_in(sql) == found


def test_names_are_words_and_quoted_identifiers() -> None:
    """Names are compared as DuckDB does, without case."""
    assert names_in("Psi > 0.2 AND \"My Col\" < 'text'") == {"psi", "and", "my col"}


@given(
    st.lists(st.sampled_from(["'", '"', "$", "$$", "--", "/*", "*/", "e'", "\\", "now()", "a", " ", "\n"]))
)
def test_any_text_can_be_read(parts: list[str]) -> None:
    """Unbalanced quotes and comments are read somehow, and in one pass."""
    sql = "".join(parts)
    unrepeatable_in(sql)
    parameters_in(sql)
    names_in(sql)
