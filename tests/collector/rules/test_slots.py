"""Slots, windows and what is due."""

import itertools
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.rules_build import MINUTE, START, rule_of
from lapwing_collector.rules import Readiness, Window, due_slots, next_slot, readiness, window_of
from lapwing_collector.rules.slots import EPOCH

CENTURY = timedelta(days=36_525)
intervals = st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=400))
times = st.datetimes(min_value=EPOCH - CENTURY, max_value=EPOCH + 2 * CENTURY)


@given(times, intervals)
def test_slots_are_multiples_of_the_interval_since_the_epoch(after: datetime, interval: timedelta) -> None:
    """Whatever the interval, the next slot is aligned, later, and at most one interval away."""
    slot = next_slot(after, interval)
    assert (slot - EPOCH) % interval == timedelta(0)
    assert timedelta(0) < slot - after <= interval


@pytest.mark.parametrize(
    ("after", "interval", "slot"),
    [
        ("2013-03-01T00:00:00", MINUTE, "2013-03-01T00:01:00"),
        ("2013-03-01T00:00:59.999999", MINUTE, "2013-03-01T00:01:00"),
        ("2013-03-01T10:07:00", timedelta(minutes=15), "2013-03-01T10:15:00"),
        ("2013-03-01T10:07:00", timedelta(days=1), "2013-03-02T00:00:00"),
        ("2013-03-01T10:07:00", timedelta(days=7), "2013-03-07T00:00:00"),
        ("1969-12-31T23:59:30", MINUTE, "1970-01-01T00:00:00"),
    ],
)
def test_the_next_slot(after: str, interval: timedelta, slot: str) -> None:
    """Slots are whole minutes, quarters of hours, days; weeks begin on Thursday, as the epoch did."""
    assert next_slot(datetime.fromisoformat(after), interval) == datetime.fromisoformat(slot)


def test_a_window_ends_before_its_slot_by_the_offset() -> None:
    """The window has the rule's length and makes room for late rows; by default it is one interval."""
    assert window_of(rule_of(window="1h", query_offset="5m"), START) == Window(
        START - 65 * MINUTE, START - 5 * MINUTE
    )
    assert window_of(rule_of(), START) == Window(START - MINUTE, START)


def test_windows_of_one_interval_join_without_gap() -> None:
    """By default every row is judged exactly once."""
    rule = rule_of({"interval": "7m"})
    slots = list(due_slots(rule, START, START + 100 * MINUTE, []))
    windows = [window_of(rule, slot) for slot in slots]
    assert all(a.end == b.start for a, b in itertools.pairwise(windows))


@pytest.mark.parametrize(
    ("offset", "now", "watermarks", "due"),
    [
        ("0s", 0, [], 0),
        ("0s", 0.9, [], 0),
        ("0s", 1, [], 1),
        ("0s", 3.5, [], 3),
        ("0s", 3.5, [2], 2),
        ("0s", 3.5, [9, 1.5], 1),
        ("0s", 3.5, [9, -5], 0),
        ("2m", 3.5, [0], 2),
        ("2m", 3.5, [9], 3),
    ],
)
def test_a_slot_is_due_when_clock_and_data_have_reached_it(
    offset: str, now: float, watermarks: list[float], due: int
) -> None:
    """The clock must reach the slot, and every model's watermark the end of its window."""
    rule = rule_of(query_offset=offset)
    slots = due_slots(rule, START, START + now * MINUTE, [START + mark * MINUTE for mark in watermarks])
    assert list(slots) == [START + (i + 1) * MINUTE for i in range(due)]


@given(st.lists(st.integers(0, 600), max_size=20), st.sampled_from(["0s", "90s"]))
def test_each_slot_is_due_once_however_often_one_looks(looks: list[int], offset: str) -> None:
    """Looking at any times gives the same slots as looking once at the end."""
    rule = rule_of({"interval": "7s"}, query_offset=offset)
    cursor, seen = START, list[datetime]()
    for second in sorted(looks):
        now = START + timedelta(seconds=second)
        for slot in due_slots(rule, cursor, now, [now]):
            seen.append(slot)
            cursor = slot
    end = START + timedelta(seconds=max(looks, default=0))
    assert seen == list(due_slots(rule, START, end, [end]))


def test_slots_are_given_lazily() -> None:
    """Years of slots cost nothing until they are taken."""
    slots = due_slots(rule_of({"interval": "1s"}), START, START + timedelta(days=36_500), [])
    assert next(slots) == START + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("on_timeout", "complete", "minutes", "expected"),
    [
        ("evaluate", True, 0, Readiness.EVALUATE),
        ("evaluate", False, 0, Readiness.HOLD),
        ("evaluate", None, 59.9, Readiness.HOLD),
        ("evaluate", None, 60, Readiness.EVALUATE),
        ("skip", False, 60, Readiness.SKIP),
        ("skip", True, 99, Readiness.EVALUATE),
        ("no_data", False, 60, Readiness.NO_DATA),
    ],
)
def test_a_slot_waits_until_it_is_complete_or_its_time_is_up(
    on_timeout: str, complete: bool | None, minutes: float, expected: Readiness
) -> None:
    """NULL and failures wait like FALSE; at the timeout the rule says what happens."""
    rule = rule_of(wait_for={"expr": "SELECT true", "timeout": "1h", "on_timeout": on_timeout})
    assert readiness(rule, START, START + minutes * MINUTE, complete=complete) is expected


def test_a_rule_without_wait_for_never_waits() -> None:
    """A due slot is evaluated."""
    assert readiness(rule_of(), START, START, complete=None) is Readiness.EVALUATE
