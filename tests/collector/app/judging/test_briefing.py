"""What is looked up beside an alert."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pyarrow as pa
import pytest

from helpers.rules_build import rule_of
from lapwing_collector.app.judging.briefing import Briefing, Purse, filters_of
from lapwing_collector.app.judging.evaluating import outcome_of
from lapwing_collector.errors import QueryError
from lapwing_collector.model.alerts import Context, RuleState, SegmentValue, Transition
from lapwing_collector.model.description import Feature, ModelDescription
from lapwing_collector.query import counts_failures
from lapwing_collector.rules import ALL_KNOWN, Rule, evaluate

SLOT = datetime(2026, 1, 1, 12)  # times are naive UTC
ERRORS = """
    SELECT version, count(*) AS sample_count, count(error_type) / count(*) AS value, max(time) AS newest
    FROM predictions.flights WHERE time >= $window_start AND time < $window_end GROUP BY version
"""


class Lake:
    """Predictions of half a day, at whose end the carrier UA fails; answers as query processes do."""

    def __init__(self) -> None:
        self.connection = duckdb.connect(":memory:")
        self.connection.execute(
            """
            CREATE SCHEMA predictions;
            CREATE TABLE predictions.flights AS
            SELECT
                TIMESTAMP '2026-01-01' + INTERVAL (i) SECOND AS time,
                'p' || i AS prediction_id,
                'v' || (i % 2) AS version,
                {'carrier': ['UA', 'AA', 'B6'][1 + i % 3]} AS inputs,
                MAP {} AS tags,
                CASE WHEN i % 3 = 0 AND i >= 42900 OR i % 100 = 0 THEN 'ValueError' END AS error_type
            FROM range(43200) AS r(i);
            CREATE TABLE model_descriptions (table_name VARCHAR, description JSON, described_at TIMESTAMP)
            """
        )
        self.describe(ModelDescription(segments=("inputs.carrier", "version")))
        self.asked: list[str] = []
        self.cost: Callable[[], None] = lambda: None

    def describe(self, description: ModelDescription) -> None:
        """Say what is known of the model."""
        self.connection.execute("DELETE FROM model_descriptions")
        row = ["flights", description.to_json(), datetime(2026, 1, 1)]
        self.connection.execute("INSERT INTO model_descriptions VALUES (?, ?, ?)", row)

    def run(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        """Answer a query."""
        assert timeout_s > 0
        self.asked.append(sql)
        self.cost()
        try:
            return self.connection.execute(sql, dict(parameters)).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(str(error)) from error


@pytest.fixture
def lake() -> Iterator[Lake]:
    """A lake of one model."""
    lake = Lake()
    yield lake
    lake.connection.close()


def briefed(lake: Lake, rule: Rule, dashboard: str | None = None, **more: Any) -> list[Transition]:
    """Evaluate a rule from nothing at noon, and brief what came of it."""
    outcome = outcome_of(lake.run, rule, SLOT, ALL_KNOWN)
    transitions = evaluate(rule, outcome, RuleState(rule.definition), SLOT).transitions
    lake.asked.clear()
    briefing = Briefing(run_query=lake.run, dashboard=dashboard, **more)
    told = briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    briefing.close()
    assert [each.instance for each in told] == [each.instance for each in transitions]
    return told


def errors(**keys: Any) -> Rule:
    """A rule that fires at noon for both versions."""
    values = {"expr": ERRORS, "condition": "value > 0.2", "resolve_condition": None, "window": "5m"}
    return rule_of({"labels": {"model": "Flights"}}, **values | keys)


def test_an_alert_comes_with_how_its_value_came_about(lake: Lake) -> None:
    """The values of the windows before stand ahead of the alert's own, one for each slot of the rule."""
    first, second = (each.context for each in briefed(lake, errors()))
    assert len(first.recent) == len(second.recent) == 12
    assert first.step_s == 60
    slots = [SLOT - timedelta(minutes=back) for back in reversed(range(12))]
    for version, context in (("v0", first), ("v1", second)):
        for slot, value in zip(slots, context.recent, strict=True):
            window = [version, slot - timedelta(minutes=5), slot]
            expected = lake.connection.execute(
                "SELECT count(error_type) / count(*) FROM predictions.flights "
                "WHERE version = ? AND time >= ? AND time < ?",
                window,
            ).fetchone()
            assert expected == (pytest.approx(value),)
    assert first.values == {"newest": "2026-01-01 11:59:58"}


def test_a_trend_begins_with_the_first_value(lake: Lake) -> None:
    """Windows before there was anything to see are left out, and one that has nothing in between is not."""
    lake.connection.execute(
        "DELETE FROM predictions.flights WHERE time < '2026-01-01 11:54' OR (time >= '2026-01-01 11:57' "
        "AND time < '2026-01-01 11:58' AND version = 'v0')"
    )
    first, second = (each.context.recent for each in briefed(lake, errors(window="1m")))
    assert len(first) == len(second) == 6
    assert [value is None for value in first] == [False, False, False, True, False, False]
    assert None not in second


def test_an_alert_names_the_segments_that_are_to_blame(lake: Lake) -> None:
    """The rule is asked for the rows of each segment alone; those worse than all together are told."""
    first, _ = (each.context for each in briefed(lake, errors()))
    assert first.segments == (SegmentValue("inputs.carrier=UA", 1.0, 50),)


def test_an_alert_names_some_of_its_predictions(lake: Lake) -> None:
    """The newest of its own rows in the worst segment, those that failed if it is about failures."""
    first, second = (each.context for each in briefed(lake, errors()))
    assert first.examples == ("p43194", "p43188", "p43182")
    assert second.examples == ("p43197", "p43191", "p43185")
    whole = ERRORS.replace("version, ", "").replace("GROUP BY version", "")
    (anywhere,) = (each.context for each in briefed(lake, errors(expr=whole, segments=[])))
    assert anywhere.examples == ("p43197", "p43194", "p43191")  # carriers take turns
    counted = "SELECT count(*) AS value FROM predictions.flights WHERE time >= $window_start"
    (other,) = (each.context for each in briefed(lake, errors(expr=counted, segments=[])))
    assert other.examples == ("p43199", "p43198", "p43197")
    answered = f"{counted} AND error_type IS NULL"
    (right,) = (
        each.context for each in briefed(lake, errors(expr=answered, segments=[]), "https://l.example")
    )
    assert right.examples == other.examples
    assert "error_type" not in right.rows_url


def test_a_rule_says_which_segments_it_wants(lake: Lake) -> None:
    """The key `segments` goes over those of the model; an empty list wants none."""
    rule = errors(expr=ERRORS.replace("version, ", "").replace("GROUP BY version", ""), segments=["version"])
    (context,) = (each.context for each in briefed(lake, rule))
    assert {each.segment for each in context.segments} <= {"version=v0", "version=v1"}
    assert context.segments
    (none,) = (each.context for each in briefed(lake, errors(segments=[], expr=rule.expr)))
    assert none.segments == ()


def test_an_alert_that_fires_below_blames_the_lowest(lake: Lake) -> None:
    """Where small values are bad, segments below the whole are the worse ones."""
    healthy = ERRORS.replace("count(error_type) / count(*)", "1 - count(error_type) / count(*)")
    first, _ = (each.context for each in briefed(lake, errors(expr=healthy, condition="value < 0.8")))
    assert first.segments == (SegmentValue("inputs.carrier=UA", 0.0, 50),)


def test_of_a_count_the_largest_parts_are_told(lake: Lake) -> None:
    """Where the parts add up to the whole, those with most of it are told."""
    counted = """
        SELECT count(*) AS value FROM predictions.flights
        WHERE time >= $window_start AND time < $window_end AND inputs.carrier <> 'AA'
    """
    rule = errors(expr=counted, condition="value > 100", segments=["inputs.carrier", "version"])
    (context,) = (each.context for each in briefed(lake, rule))
    assert context.segments == (
        SegmentValue("inputs.carrier=B6", 100, 100),
        SegmentValue("inputs.carrier=UA", 100, 100),
        SegmentValue("version=v0", 100, 150),
    )


def test_the_rows_behind_an_alert_have_an_address(lake: Lake) -> None:
    """The dashboard's page of rows is told with model, window and the fields that the labels speak of."""
    first, _ = (each.context for each in briefed(lake, errors(), "https://lapwing.example.com/"))
    url = urlsplit(first.rows_url)
    assert (url.scheme, url.netloc, url.path) == ("https", "lapwing.example.com", "/model/rows")
    assert parse_qs(url.query) == {
        "name": ["Flights"],
        "from": ["2026-01-01T11:55:00Z"],
        "to": ["2026-01-01T12:00:00Z"],
        "version": ["v0"],
        "error_type__missing": ["no"],
    }
    assert briefed(lake, errors())[0].context.rows_url == ""


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ("count(error_type) / count(*)", True),
        ("count ( /* calls that failed */ Error_Type )", True),
        ('count("error_type")', True),
        ("count(DISTINCT error_type)", True),
        ("count(flights.error_type)", True),
        ("count(*) FILTER (error_type IS NOT NULL)", True),
        ("avg((error_type NOTNULL)::INT)", True),
        ("(SELECT count(p.error_type) FROM predictions.flights AS p)", True),
        ("(SELECT count(p.error_type) FROM (FROM predictions.flights) AS p)", True),
        ("(SELECT value FROM error_rate('flights', $window_start, $window_end))", True),
        ("count(*) FILTER (error_type IS NULL)", False),
        ("count(*) /* not count(error_type) */", False),
        ("count(*) -- error_type IS NOT NULL\n", False),
        ("count(*) FILTER (tags['note'] = 'error_rate (of us)')", False),
        ("count(*) FILTER (version = 'count(error_type)')", False),
        ('count(*) AS "count(error_type)"', False),
        ('count("error_type IS NOT NULL")', False),
        ("count(inputs.error_type)", False),
        ("count(flights.inputs.error_type)", False),
        ("count(*) FILTER (inputs.error_type IS NOT NULL)", False),
        ("(SELECT value FROM latency_mean('flights', $window_start, $window_end))", False),
    ],
)
def test_a_rule_is_about_failures_by_what_it_counts(select: str, expected: bool) -> None:
    """Its SQL says so as a database reads it: not in texts, comments, aliases or the model's own fields."""
    with duckdb.connect(":memory:") as parser:
        assert counts_failures(parser, f"SELECT {select} FROM predictions.flights") is expected


def test_labels_become_filters_where_they_name_fields() -> None:
    """A label is a filter if it is called as a field is, or as the last part of one."""
    described = ModelDescription(features={"inputs.amount": Feature()}, segments=("tags.region",))
    labels = {"version": "v1", "region": "EU", "feature": "amount", "severity": "page", "inputs.amount": "3"}
    assert filters_of(labels, described) == {
        "version": "v1",
        "tags.region": "EU",
        "field": "inputs.amount",
        "inputs.amount": "3",
    }


def test_looking_costs_a_share_of_the_time_at_most(lake: Lake) -> None:
    """Queries that take their time are cut off: an alert comes with less, and at once where none is left."""
    clock = [0.0]

    def a_while() -> None:
        clock[0] += 0.25

    briefing = Briefing(run_query=lake.run, dashboard=None, monotonic_s=lambda: clock[0])
    rule = errors()
    outcome = outcome_of(lake.run, rule, SLOT, ALL_KNOWN)
    transitions = evaluate(rule, outcome, RuleState(rule.definition), SLOT).transitions
    lake.cost = a_while
    lake.asked.clear()
    (first, _) = briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    assert len(lake.asked) == 4  # within a second, half of it for the trend
    assert len(first.context.recent) == 3
    briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    assert len(lake.asked) == 8
    briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    assert len(lake.asked) == 9  # in two seconds a tenth of that has come back
    (bare, _) = briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    assert len(lake.asked) == 9
    assert bare.context.recent == ()
    assert bare.context.values
    clock[0] += 10
    briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    assert len(lake.asked) == 13
    briefing.close()


@pytest.mark.parametrize("trouble", [QueryError("no"), RuntimeError("broken"), ValueError("odd")])
def test_trouble_keeps_no_alert_back(lake: Lake, trouble: Exception) -> None:
    """Whatever goes wrong while looking, the alert is told, without what could not be found out."""

    def fail() -> None:
        raise trouble

    rule = errors()
    outcome = outcome_of(lake.run, rule, SLOT, ALL_KNOWN)
    transitions = evaluate(rule, outcome, RuleState(rule.definition), SLOT).transitions
    lake.cost = fail
    briefing = Briefing(run_query=lake.run, dashboard=None)
    told = briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    briefing.close()
    assert [each.instance for each in told] == [each.instance for each in transitions]
    assert all(each.context.recent == () and each.context.segments == () for each in told)


def test_an_evaluation_without_news_asks_nothing(lake: Lake) -> None:
    """Where nothing fired or resolved, nothing is looked up."""
    assert briefed(lake, errors(condition="value > 0.9")) == []
    assert lake.asked == []


def test_a_resolve_is_told_with_the_values_of_its_row(lake: Lake) -> None:
    """For a resolve no trend and no segments are looked up."""
    rule = errors()
    fired = evaluate(rule, outcome_of(lake.run, rule, SLOT, ALL_KNOWN), RuleState(rule.definition), SLOT)
    later = SLOT + timedelta(minutes=1)
    lake.connection.execute("UPDATE predictions.flights SET error_type = NULL")
    outcome = outcome_of(lake.run, rule, later, ALL_KNOWN)
    transitions = evaluate(rule, outcome, fired.state, later).transitions
    briefing = Briefing(run_query=lake.run, dashboard=None)
    told = briefing.brief(rule, {"flights"}, transitions, outcome, ALL_KNOWN)
    briefing.close()
    assert [each.context for each in told] == [
        Context(step_s=60, values={"newest": f"2026-01-01 11:59:5{second}"}) for second in (8, 9)
    ]


def test_a_purse_fills_with_a_share_of_the_time() -> None:
    """What is spent comes back as time passes, up to what is saved up at most."""
    clock = [100.0]
    purse = Purse(lambda: clock[0], share=0.1, most_s=2.0)
    assert purse.left_s() == 2.0
    with purse.spending():
        clock[0] += 1.5
    assert purse.left_s() == pytest.approx(0.65)
    clock[0] += 1000
    assert purse.left_s() == 2.0


def test_a_description_that_cannot_be_read_is_passed_over(lake: Lake) -> None:
    """Without a description there are no segments, and all else is told."""
    lake.connection.execute("UPDATE model_descriptions SET description = ?", [json.dumps([1])])
    first, _ = (each.context for each in briefed(lake, errors()))
    assert first.segments == ()
