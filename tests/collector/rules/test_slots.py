"""Slots, windows and what is due."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.rules_build import MINUTE, START, rule_of
from lapwing_collector.rules import Readiness, Rule, Window, next_due, reached, readiness, window_of


def test_a_window_ends_before_its_slot_by_the_offset() -> None:
    """The window has the rule's length and makes room for late rows; by default it is one interval."""
    assert window_of(rule_of(window="1h", query_offset="5m"), START) == Window(
        START - 65 * MINUTE, START - 5 * MINUTE
    )
    assert window_of(rule_of(), START) == Window(START - MINUTE, START)


def test_the_window_of_a_schedule_begins_with_the_slot_before() -> None:
    """By default a daily rule judges 23 and 25 hours where clocks are set, so that no row is left out."""
    rule = rule_of({"schedule": "0 6 * * *", "timezone": "Europe/Amsterdam"}, query_offset="1h")
    slots = rule.slots.between(datetime(2026, 3, 28), datetime(2026, 10, 27))
    windows = [window_of(rule, slot) for slot in slots]
    assert all(a.end == b.start for a, b in itertools.pairwise(windows))
    lengths = {window.end - window.start for window in windows}
    assert lengths == {timedelta(hours=hours) for hours in (23, 24, 25)}


def test_windows_of_one_interval_join_without_gap() -> None:
    """By default every row is judged exactly once."""
    rule = rule_of({"interval": "7m"})
    windows = [window_of(rule, slot) for slot in rule.slots.between(START, START + 100 * MINUTE)]
    assert all(a.end == b.start for a, b in itertools.pairwise(windows))


@pytest.mark.parametrize(
    ("offset", "now", "watermarks", "due"),
    [
        ("0s", 0, [], 0),
        ("0s", 0.9, [], 0.9),
        ("0s", 3.5, [], 3.5),
        ("0s", 3.5, [2], 2),
        ("0s", 3.5, [9, 1.5], 1.5),
        ("0s", 3.5, [9, -5], -5),
        ("2m", 3.5, [0], 2),
        ("2m", 3.5, [9], 3.5),
    ],
)
def test_slots_are_due_when_clock_and_data_have_reached_them(
    offset: str, now: float, watermarks: list[float], due: float
) -> None:
    """The clock must reach the slot, and every model's watermark the end of its window."""
    rule = rule_of(query_offset=offset)
    marks = [START + mark * MINUTE for mark in watermarks]
    assert reached(rule, START + now * MINUTE, marks) == START + due * MINUTE


def taken(
    rule: Rule, cursor: datetime, due: datetime, now: datetime, started: datetime
) -> Iterator[datetime]:
    """The slots that are evaluated, one after another, at a standstill of the clock."""
    while (slot := next_due(rule, cursor, due, now, started)) is not None:
        yield slot
        cursor = slot


@given(st.lists(st.integers(0, 600), max_size=20), st.sampled_from(["all", "latest", "none"]))
def test_each_slot_is_due_once_however_often_one_looks(looks: list[int], catch_up: str) -> None:
    """Looking at any times gives no slot twice, and with `all` the same slots as looking once at the end."""
    rule = rule_of({"interval": "7s"}, catch_up=catch_up)
    cursor, seen = START, list[datetime]()
    for second in sorted(looks):
        now = START + timedelta(seconds=second)
        for slot in taken(rule, cursor, now, now, START):
            seen.append(slot)
            cursor = slot
    end = START + timedelta(seconds=max(looks, default=0))
    every = list(rule.slots.between(START, end))
    assert seen == (every if catch_up == "all" else sorted(set(seen) & set(every)))
    assert seen[-1:] == every[-1:]  # the newest is never left out


WAIT = {"wait_for": {"expr": "SELECT true", "timeout": "3m"}}


@pytest.mark.parametrize(
    ("keys", "minutes"),
    [
        ({}, range(41, 101)),
        ({"max_catch_up": "5m"}, range(96, 101)),
        ({"max_catch_up": "0s"}, [100]),
        ({"max_catch_up": "1d"}, range(1, 101)),
        ({"max_catch_up": "5m", **WAIT}, range(93, 101)),
        ({"catch_up": "latest"}, [100]),
        ({"catch_up": "latest", **WAIT}, range(97, 101)),
        ({"catch_up": "none"}, [100]),
        ({"catch_up": "none", **WAIT}, range(97, 101)),
    ],
)
def test_slots_that_were_missed_are_made_up_for_as_the_rule_says(
    keys: dict[str, Any], minutes: range | list[int]
) -> None:
    """After 100 minutes: all within bounds, the newest, or those that are no older than the start."""
    rule = rule_of(**keys)
    now = START + 100 * MINUTE
    assert list(taken(rule, START, now, now, now)) == [START + minute * MINUTE for minute in minutes]


def test_none_leaves_a_daily_slot_out_that_latest_makes_up_for() -> None:
    """Down at six and up at ten: `none` waits for the next day."""
    now = START + timedelta(hours=10)
    for catch_up, slots in (("none", []), ("latest", [START + timedelta(hours=6)])):
        rule = rule_of({"schedule": "0 6 * * *"}, catch_up=catch_up)
        assert list(taken(rule, START - timedelta(hours=1), now, now, now)) == slots


def test_what_a_rule_records_has_no_gaps() -> None:
    """A rule that records makes up for everything, unless it says otherwise."""
    rule = rule_of(alert=None, record="r", condition=None, resolve_condition=None)
    now = START + timedelta(days=10)
    assert next_due(rule, START, now, now, now) == START + MINUTE


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
