"""Walking through the past: many slots in one query give what each of them gives by itself."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from helpers.batches import predictions
from lapwing_collector.app.judging.evaluating import RunQuery, outcome_of, outcomes_of
from lapwing_collector.app.judging.walking import DiffersError, look, look_at_once
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.places.project import rule_parser
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.errors import QueryError
from lapwing_collector.lake import CatalogKeeper, Lake, Progress
from lapwing_collector.query import Limits, Session, reads_rows
from lapwing_collector.rules import ALL_KNOWN, QueryFailure, Rows, Rule

BEGIN = datetime(2026, 3, 1)
SLOTS = [BEGIN + timedelta(minutes=20 * number) for number in range(1, 24)]  # into hours without rows
WITHIN = "table_name = 'churn' AND segment = '' AND time >= $window_start AND time < $window_end"
OVER_COUNTS = {
    "a metric": "SELECT field AS feature, sample_count, value, p_value, reason "
    "FROM psi('churn', $window_start, $window_end, reference := 'train')",
    "the span before it": "SELECT field, value FROM js_distance('churn', $window_start, $window_end, "
    "reference_since := $window_start - INTERVAL 1 HOUR, reference_until := $window_start)",
    "an hour at a time": "SELECT field, window_start::VARCHAR AS at, value FROM mean_shift('churn', "
    "$window_start, $window_end, reference := 'train', every := INTERVAL 1 HOUR)",
    "groups": f"SELECT field, sum(list_sum(counts)) AS value FROM profiles WHERE {WITHIN} GROUP BY field",
    "no group": f"SELECT count(*) AS value, max(maximum) AS most FROM profiles WHERE {WITHIN}",
    "sums of fractions": f"SELECT field, sum(sum) AS value, sum(sum_squares) AS s FROM profiles "
    f"WHERE {WITHIN} GROUP BY field",
    "the first of them": f"SELECT field, list_sum(counts) AS value FROM profiles WHERE {WITHIN} "
    "ORDER BY time, field LIMIT 2",
    "its own slot": f"WITH p AS (SELECT * FROM profiles WHERE {WITHIN}) SELECT field, count(*) AS value, "
    "($slot - max(time))::VARCHAR AS age FROM p GROUP BY field HAVING count(*) > 0",
    "windows": "SELECT field, value FROM (SELECT field, list_sum(counts) AS value, row_number() OVER "
    f"(PARTITION BY field ORDER BY time DESC) AS n FROM profiles WHERE {WITHIN}) WHERE n = 1",
    "a bin each": f"SELECT field, bin, sum(n) AS value FROM profile_bins WHERE {WITHIN} GROUP BY ALL",
}
"""Queries of rules."""


@pytest.fixture(scope="module")
def run_query(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunQuery]:
    """Answers queries over a few hours of predictions that are counted in bins."""
    data = tmp_path_factory.mktemp("walking")
    draw = np.random.default_rng(3)
    columns = {f"inputs.f{n}": pa.array(draw.normal(size=2_000)) for n in range(2)}
    set_reference(None, {"data": data}, tell_nobody, model="churn", name="train", rows=pa.table(columns))
    lake = Lake.open(data / "lake", profiling=PROFILING)
    rows = [
        {
            "prediction_id": str(number),
            "time": BEGIN + timedelta(seconds=15 * number),
            "inputs.f0": float(draw.normal() + number / 500),
            "inputs.f1": None if number % 7 == 0 else float(draw.normal()),
        }
        for number in range(1_200)
    ]
    lake.flush([predictions("churn", rows)], [], Progress(lake.progress.log + 1, 0))
    lake.close()
    keeper = CatalogKeeper.start(data / "lake")
    session = Session.open(data / "lake", Limits(threads=1), keeper.snapshot)
    yield lambda sql, parameters, _: session.run(sql, parameters)
    session.close()
    keeper.close()


def rule(expr: str) -> Rule:
    """A rule that judges an hour by `expr`."""
    indented = expr.replace("\n", " ")
    text = (
        "groups:\n  - name: g\n    interval: 20m\n    rules:\n      - alert: A\n        window: 1h\n"
        f"        condition: value > 0.2\n        expr: >-\n          {indented}\n"
    )
    with rule_parser() as parse:
        return parse(text, "r.yaml").rules[0]


@pytest.mark.parametrize("expr", OVER_COUNTS.values(), ids=OVER_COUNTS)
def test_one_query_gives_what_many_give(run_query: RunQuery, expr: str) -> None:
    """Columns, types and rows are the same to the last digit, also of windows without any."""
    tried = rule(expr)
    found = outcomes_of(run_query, tried, SLOTS, ALL_KNOWN)
    alone = [outcome_of(run_query, tried, slot, ALL_KNOWN) for slot in SLOTS]
    assert found is not None
    assert any(isinstance(each, Rows) and each.tuples for each in alone)
    assert [told(each) for each in found] == [told(each) for each in alone]
    assert [told(each.outcome) for each in look_at_once(run_query, tried, SLOTS)] == [
        told(each) for each in alone
    ]


def told(outcome: Any) -> Any:
    """An outcome so that it can be compared: the order of rows means nothing, and NaN is NaN."""
    return (outcome.columns, sorted(map(repr, outcome.tuples))) if isinstance(outcome, Rows) else outcome


def test_a_slot_that_fails_fails_alone(run_query: RunQuery) -> None:
    """Where the query for many fails, each slot has what is its own: an error, or rows."""
    failing = rule(
        f"SELECT field, CASE WHEN $slot = TIMESTAMP '{SLOTS[5]}' THEN error('no') ELSE 1 END AS value "
        f"FROM profiles WHERE {WITHIN}"
    )
    looks = look_at_once(run_query, failing, SLOTS)
    assert [each.slot for each in looks] == SLOTS
    assert [isinstance(each.outcome, QueryFailure) for each in looks] == [slot == SLOTS[5] for slot in SLOTS]


def test_what_differs_is_refused(run_query: RunQuery) -> None:
    """An answer for many slots that a single one contradicts is not used."""

    def wrong(sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        if "lapwing_slots" in sql:
            sql = sql.replace("count(*) AS value", "count(*) + 1 AS value")
        return run_query(sql, parameters, timeout_s)

    with pytest.raises(DiffersError):
        look_at_once(wrong, rule(OVER_COUNTS["no group"]), SLOTS)


def test_what_cannot_be_asked_at_once_is_asked_slot_by_slot(run_query: RunQuery) -> None:
    """SQL that takes its times only as they are, or none at all, gives what it gives."""
    asked = []

    def listening(sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        asked.append(sql)
        return run_query(sql, parameters, timeout_s)

    constant = rule("SELECT count(*) AS value FROM profiles")
    assert outcomes_of(listening, constant, SLOTS, ALL_KNOWN) is None
    assert not asked
    ranged = rule(
        "SELECT count(*) AS value FROM range($window_start, $window_end, INTERVAL 1 MINUTE) AS r(t)"
    )
    looks = look_at_once(listening, ranged, SLOTS)
    assert [each.outcome for each in looks] == [look(run_query, ranged, slot).outcome for slot in SLOTS]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (OVER_COUNTS["a metric"], False),
        (OVER_COUNTS["a bin each"], False),
        (OVER_COUNTS["its own slot"], False),
        ("SELECT count(*) FROM main.PROFILES", False),
        ("SELECT count(*) FROM predictions.churn", True),
        ("SELECT value FROM accuracy('churn', $window_start, $window_end)", True),
        ("SELECT value FROM ks_test('churn', $window_start, $window_end, inputs.f0, reference := 'a')", True),
        ("SELECT count(*) FROM profiles, logs", True),
        ("SELECT 1 WHERE 1 IN (SELECT n FROM (SELECT count(*) AS n FROM labels.churn))", True),
    ],
)
def test_who_reads_rows(sql: str, expected: bool) -> None:
    """Rows of models and logs are rows, wherever they are named; what is counted of them is none."""
    with duckdb.connect(":memory:") as parser:
        assert reads_rows(parser, sql) is expected


def test_texts_are_left_alone(run_query: RunQuery) -> None:
    """What looks like a parameter inside a text or a comment is none."""
    quoted = rule(
        f"SELECT '$slot' AS told, $$ $window_end $$ AS more, count(*) AS value FROM profiles WHERE {WITHIN}"
    )
    found = outcomes_of(run_query, quoted, SLOTS[:2], ALL_KNOWN)
    assert found is not None
    assert isinstance(found[0], Rows)
    assert found[0].tuples[0][:2] == ("$slot", " $window_end ")
    with pytest.raises(QueryError):
        run_query("SELECT nonsense", {}, 1.0)
