"""Which slots late event times touch, and what evaluating them again changes."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapwing_collector.metrics import Schedule, later_than, rest_after, retry_after, revised, touched_slots
from lapwing_collector.metrics.late import touching_span
from lapwing_collector.model.alerts import MetricRow
from lapwing_collector.model.slots import Every, cron

START = datetime(2026, 1, 1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

minutes = st.integers(1, 200).map(lambda count: count * MINUTE)
crons = st.sampled_from(["*/20 * * * *", "30 2 * * *", "15 6,18 * * 1-5"]).map(
    lambda expression: cron(expression, "Europe/Amsterdam")
)
schedules = st.builds(
    Schedule,
    minutes.map(Every) | crons,
    st.none() | minutes,
    st.integers(0, 300).map(lambda count: count * MINUTE),
)
times = st.lists(st.integers(-3000, 3000).map(lambda count: START + count * MINUTE), max_size=6)


def row(**changes: object) -> MetricRow:
    """A row of a daily metric."""
    values = {
        "metric": "accuracy",
        "model": "m",
        "series": {"region": "eu"},
        "window_start": START,
        "window_end": START + DAY,
        "value": 0.5,
        "sample_count": 10,
        "label_coverage": 0.9,
    }
    return MetricRow(**(values | changes))  # type: ignore[arg-type]


@settings(deadline=None)  # on a busy machine nothing is quick
@given(schedule=schedules, found=times)
def test_a_slot_is_touched_where_its_window_holds_a_time(schedule: Schedule, found: list[datetime]) -> None:
    """Sliding, gapped and offset windows: exactly the slots in the range whose window holds a time."""
    after, through = START - DAY, START + DAY
    first, before = touching_span(schedule, after, through)
    expected = []
    slot = schedule.slots.after(after)
    while slot <= through:
        end = slot - schedule.query_offset
        start = schedule.slots.before(slot) - schedule.query_offset
        if schedule.window is not None:
            start = end - schedule.window
        held = [time for time in found if start <= time < end]
        if held:
            expected.append(slot)
            assert all(first <= time < before for time in held)
        slot = schedule.slots.after(slot)
    assert touched_slots(schedule, found, after, through) == expected


def test_rows_are_stored_where_something_changed() -> None:
    """A changed and a new series are stored; one that is as it was is not, but for the order of its sum."""
    same, changed, new = row(), row(series={"region": "us"}), row(series={"region": "ap"})
    now = [row(value=0.5 + 1e-13), replace(changed, sample_count=11), new]
    assert revised([same, changed], now) == now[1:]


def test_a_series_that_is_gone_is_told_once() -> None:
    """It gets a row that says nothing, and none after that; such a row counts as no series at all."""
    (gone,) = revised([row()], [])
    assert gone == row(value=None, sample_count=None, label_coverage=None)
    assert revised([gone], []) == []
    assert revised([], [gone]) == []
    assert revised([gone], [row()]) == [row()]


@pytest.mark.parametrize("value", [None, float("inf"), 0.0, -3.5])
def test_values_of_any_kind_are_compared(value: float | None) -> None:
    """Nothing, infinity and zero equal themselves, and differ from another number."""
    assert revised([row(value=value)], [row(value=value)]) == []
    assert revised([row(value=value)], [row(value=1.5)]) == [row(value=1.5)]


def test_models_tell_series_apart() -> None:
    """Rows of two models with equal labels are two series."""
    assert revised([row()], [row(), row(model="other")]) == [row(model="other")]


def test_what_is_known_later_says_so() -> None:
    """A new result of a window is later than all that is stored of it, whatever the clock did."""
    assert later_than([], START) == START
    assert later_than([START - DAY], START) == START
    assert later_than([START, START - DAY], START) == START + timedelta(microseconds=1)


def test_rests_and_retries_are_bounded() -> None:
    """Both grow from a minute on: rests up to a part of the interval, waits after failures up to an hour."""
    assert [rest_after(MINUTE, n) / MINUTE for n in (1, 2, 9)] == [1, 1, 1]
    assert [rest_after(DAY, n) / MINUTE for n in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]
    assert [retry_after(n) for n in (1, 2, 3, 7, 1000)] == [
        MINUTE,
        2 * MINUTE,
        4 * MINUTE,
        60 * MINUTE,
        60 * MINUTE,
    ]
