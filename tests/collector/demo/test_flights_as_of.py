"""Accuracy of real flights as it was known at any time: the library and the stored history against pandas."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from helpers.late_bench import LateBench, late_bench

DAY = timedelta(days=1)
START = datetime(2013, 2, 7)  # a storm comes on the second day: flights are late, some are diverted
DAYS = 2
STEP = timedelta(hours=8)
"""How often rows arrive: what happened since the last time comes together."""

RULE = """
groups:
  - name: g
    interval: 1d
    rules:
      - record: accuracy
        model: m
        expr: |
          SELECT carrier, origin, value, sample_count, label_coverage
          FROM accuracy('m', $window_start, $window_end, segments := {'carrier': inputs.carrier, 'origin':
            inputs.origin}, as_of := $as_of, confidence := 0)
"""
MEASURED = """
    SELECT carrier, origin, window_start, value, sample_count, label_coverage
    FROM accuracy('m', $since, $until, segments := {'carrier': inputs.carrier, 'origin': inputs.origin},
      every := INTERVAL 1 DAY, as_of := $as_of, confidence := 0)
"""
STORED = """
    SELECT series['carrier'] AS carrier, series['origin'] AS origin, window_start,
      value, sample_count, label_coverage
    FROM metric_values WHERE as_of <= $as_of
    QUALIFY row_number() OVER (PARTITION BY series, window_start ORDER BY as_of DESC) = 1
"""

Known = dict[tuple[str, str, datetime], tuple[float | None, int, float]]


@pytest.fixture(scope="module")
def flown(flights: pd.DataFrame) -> pd.DataFrame:
    """Flights of some days, what a model says of each, and when it and the truth are told."""
    days = flights[(flights["departed_at"] >= START) & (flights["departed_at"] < START + DAYS * DAY)].copy()
    days["predicted"] = days["dep_delay"] > 10
    for told, happened in (("told_at", "departed_at"), ("truth_told_at", "arrived_at")):
        days[told] = (days[happened] + pd.Timedelta(seconds=1)).dt.ceil(STEP)
    return days


@pytest.fixture(scope="module")
def bench(flown: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LateBench]:
    """A lake and a rule that heard of the flights as they happened."""
    with late_bench(tmp_path_factory.mktemp("flights"), RULE, START) as bench:
        for moment in told_at(flown):
            bench.reach(moment)
            departed = flown[flown["told_at"] == moment]
            arrived = flown[flown["truth_told_at"] == moment]
            bench.receive(
                [
                    {
                        "time": row.departed_at.to_pydatetime(),
                        "prediction_id": row.flight_id,
                        "inputs.carrier": row.carrier,
                        "inputs.origin": row.origin,
                        "output.value": bool(row.predicted),
                    }
                    for row in departed.itertuples()
                ],
                [
                    {
                        "time": row.arrived_at.to_pydatetime(),
                        "prediction_id": row.flight_id,
                        "prediction_time": row.departed_at.to_pydatetime(),
                        "label": bool(row.late),
                    }
                    for row in arrived.itertuples()
                ],
            )
            bench.clock.step(90)
            bench.work()
        yield bench


def told_at(flown: pd.DataFrame) -> list[datetime]:
    """When something arrives."""
    moments = {*flown["told_at"], *flown["truth_told_at"].dropna()}
    return sorted(moment.to_pydatetime() for moment in moments)


def expected(flown: pd.DataFrame, as_of: datetime) -> Known:
    """Accuracy, count and coverage by carrier, origin and day, of what was known at a time, by pandas."""
    known = flown[flown["told_at"] <= as_of]
    truth = known["late"].where(known["truth_told_at"] <= as_of)
    right = (known["predicted"].astype("boolean") == truth).astype("Float64")
    table = known.assign(labelled=truth.notna(), right=right, day=known["departed_at"].dt.floor("D"))
    groups = table.groupby(["carrier", "origin", "day"])
    found = groups.agg(
        value=("right", "mean"), count=("labelled", "sum"), coverage=("labelled", "mean")
    ).reset_index()
    return {
        (row.carrier, row.origin, row.day.to_pydatetime()): (
            None if pd.isna(row.value) else float(row.value),
            int(row.count_),
            float(row.coverage),
        )
        for row in found.rename(columns={"count": "count_"}).itertuples()
    }


def known(rows: list[dict[str, Any]]) -> Known:
    found = {
        (row["carrier"], row["origin"], row["window_start"]): (
            row["value"],
            row["sample_count"],
            row["label_coverage"],
        )
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def agree(found: Known, wanted: Known) -> bool:
    flat = {(*key, place): value for key, values in found.items() for place, value in enumerate(values)}
    assert flat == pytest.approx(
        {(*key, place): value for key, values in wanted.items() for place, value in enumerate(values)},
        abs=1e-12,
    )
    return True


def test_accuracy_at_any_time_is_that_of_pandas(bench: LateBench, flown: pd.DataFrame) -> None:
    """Per day, carrier and origin, with coverage: at every arrival of rows, just before, and at the end."""
    moments = told_at(flown)
    microsecond = timedelta(microseconds=1)
    span = {"since": START, "until": START + DAYS * DAY}
    coverages = set()
    for as_of in [*moments[:4], *(moment - microsecond for moment in moments[2:9:3]), moments[-1]]:
        wanted = expected(flown, as_of)
        assert agree(known(bench.ask(MEASURED, **span, as_of=as_of)), wanted)
        coverages |= {coverage for _, _, coverage in wanted.values()}
    assert min(coverages) == 0.0
    assert len(coverages) > 15
    assert agree(known(bench.ask(MEASURED, **span, as_of=None)), expected(flown, moments[-1]))


def test_the_history_of_a_rule_is_what_pandas_knew_then(bench: LateBench, flown: pd.DataFrame) -> None:
    """What a rule stored reads, at any time, as it was known then: closed windows, labels of then."""
    changed = 0
    for moment in told_at(flown):
        stored = known(bench.ask(STORED, as_of=moment + timedelta(minutes=2)))
        wanted = {key: row for key, row in expected(flown, moment).items() if key[2] + DAY <= moment}
        assert agree(stored, wanted)
        changed += bool(stored)
    assert changed > DAYS
    rows = bench.ask(
        "SELECT count(*) AS n, count(DISTINCT (series, window_start)) AS windows FROM metric_values"
    )
    assert rows[0]["n"] > rows[0]["windows"]  # late arrivals made newer rows
