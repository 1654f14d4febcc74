"""The rules that come with Lapwing."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import duckdb
import pytest

from lapwing_collector.model.alerts import RuleState, Status
from lapwing_collector.rules import (
    INGEST_STALLED,
    WATCHDOG,
    Rule,
    builtin_rules,
    evaluate,
    evaluation_query,
    load_rule_file,
    rows_from,
)

NOW = datetime(2026, 3, 16, 12)  # a Monday
HOUR = timedelta(hours=1)


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """What the rules read of a lake."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE profiles (model VARCHAR, time TIMESTAMP)")
        connection.execute("CREATE SCHEMA predictions_all")
        connection.execute('CREATE TABLE predictions_all."a b" (time TIMESTAMP)')
        yield connection


def stalled_rule() -> Rule:
    """`IngestStalled` of a model."""
    ((), (group,)) = builtin_rules({INGEST_STALLED}, (), ())
    (rule,) = group.rules_of("it's", "a b")
    return rule


def fires(lake: duckdb.DuckDBPyConnection, times: list[datetime], at: datetime) -> bool:
    """Whether it fires at a time, after predictions at some."""
    for time in times:
        lake.execute('INSERT INTO predictions_all."a b" VALUES (?)', [time])
        lake.execute("INSERT INTO profiles VALUES (?, date_trunc('hour', ?::TIMESTAMP))", ["it's", time])
    rule = stalled_rule()
    query = evaluation_query(rule, at)
    result = lake.execute(query.sql, query.parameters)
    columns = [(name, str(kind)) for name, kind, *_ in result.description]
    outcome = rows_from(columns, result.fetchall())
    transitions = evaluate(rule, outcome, RuleState(rule.definition), at).transitions
    assert all(t.instance.labels["model"] == "it's" for t in transitions)
    return [t.status for t in transitions] == [Status.FIRING]


def every(step: timedelta, of: timedelta) -> list[datetime]:
    """Times up to now."""
    return [NOW - n * step for n in range(1, of // step)]


OFFICE = [
    day + hour * HOUR
    for day in (NOW.replace(hour=0) - n * timedelta(days=1) for n in range(14))
    if day.weekday() < 5
    for hour in range(8, 18)
    if day + hour * HOUR < NOW
]


@pytest.mark.parametrize(
    ("times", "at", "expected"),
    [
        pytest.param(every(HOUR / 6, 48 * HOUR), NOW + HOUR / 2, False, id="busy, half an hour"),
        pytest.param(every(HOUR / 6, 48 * HOUR), NOW + HOUR, True, id="busy, an hour"),
        pytest.param(every(24 * HOUR, 240 * HOUR), NOW, False, id="nightly, a day"),
        pytest.param(every(24 * HOUR, 240 * HOUR), NOW + 11 * HOUR, False, id="nightly, a day and a half"),
        pytest.param(every(24 * HOUR, 240 * HOUR), NOW + 13 * HOUR, True, id="nightly, longer"),
        pytest.param(OFFICE, NOW + 20 * HOUR, False, id="in the office, the night"),
        pytest.param(OFFICE, NOW + timedelta(days=5), True, id="in the office, until Saturday"),
        pytest.param([NOW - HOUR * 2], NOW, True, id="once"),
        pytest.param([NOW - timedelta(days=15)], NOW, False, id="long gone"),
        pytest.param([], NOW, False, id="never"),
    ],
)
def test_a_model_is_missed_after_more_than_its_usual_pauses(
    lake: duckdb.DuckDBPyConnection, times: list[datetime], at: datetime, expected: bool
) -> None:
    """How long one waits follows from how the model is used."""
    assert fires(lake, times, at) is expected


def test_the_watchdog_fires_in_the_first_slot_and_never_resolves(lake: duckdb.DuckDBPyConnection) -> None:
    """Whatever the lake holds, there is an alert, and a message."""
    ((rule,), ()) = builtin_rules({WATCHDOG}, (), ())
    state, told = RuleState(rule.definition), []
    for minute in range(3):
        slot = NOW + timedelta(minutes=minute)
        query = evaluation_query(rule, slot)
        result = lake.execute(query.sql, query.parameters)
        rows = rows_from([(name, str(kind)) for name, kind, *_ in result.description], result.fetchall())
        evaluation = evaluate(rule, rows, state, slot)
        state = evaluation.state
        told += [t.status for t in evaluation.transitions]
    assert told == [Status.FIRING]


def test_a_group_of_the_same_name_stands_in_its_place() -> None:
    """People may tune what comes with Lapwing, or leave parts of it out."""
    text = "groups: [{name: %s, %s rules: [{alert: Own, expr: SELECT 1 AS value}]}]"
    own = load_rule_file(text % ("lapwing", ""), "own.yaml")
    models = load_rule_file(text % ("lapwing-ingest", "for_each_model: '*',"), "models.yaml")
    both = {WATCHDOG, INGEST_STALLED}
    assert builtin_rules(both, own.rules, models.model_groups) == ((), ())
    assert builtin_rules((), (), ()) == ((), ())
