"""When rules are evaluated: at intervals, and as cron expressions say of clocks that are set."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapwing_collector.model.slots import EPOCH, Cron, Every, cron

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
CENTURY = timedelta(days=36_525)
AMSTERDAM = "Europe/Amsterdam"
intervals = st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=400))
times = st.datetimes(min_value=EPOCH - CENTURY, max_value=EPOCH + 2 * CENTURY)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@given(times, intervals)
def test_slots_are_multiples_of_the_interval_since_the_epoch(after: datetime, interval: timedelta) -> None:
    """Whatever the interval, slots are aligned, and one on each side of a moment is at most one away."""
    slots = Every(interval)
    slot = slots.after(after)
    assert (slot - EPOCH) % interval == timedelta(0)
    assert timedelta(0) < slot - after <= interval
    assert slots.before(slot) == slots.upto(after) == slot - interval


@pytest.mark.parametrize(
    ("after", "interval", "slot"),
    [
        ("2013-03-01T00:00:00", MINUTE, "2013-03-01T00:01:00"),
        ("2013-03-01T00:00:59.999999", MINUTE, "2013-03-01T00:01:00"),
        ("2013-03-01T10:07:00", 15 * MINUTE, "2013-03-01T10:15:00"),
        ("2013-03-01T10:07:00", DAY, "2013-03-02T00:00:00"),
        ("2013-03-01T10:07:00", 7 * DAY, "2013-03-07T00:00:00"),
        ("1969-12-31T23:59:30", MINUTE, "1970-01-01T00:00:00"),
    ],
)
def test_the_next_slot(after: str, interval: timedelta, slot: str) -> None:
    """Slots are whole minutes, quarters of hours, days; weeks begin on Thursday, as the epoch did."""
    assert Every(interval).after(at(after)) == at(slot)


def test_slots_are_given_lazily() -> None:
    """A century of slots costs nothing until they are taken."""
    for slots in (Every(timedelta(seconds=1)), cron("* * * * *", AMSTERDAM)):
        assert next(slots.between(EPOCH, EPOCH + CENTURY)) == EPOCH + slots.grid


@pytest.mark.parametrize(
    ("expression", "since", "slots"),
    [
        # 2026-03-29: at 02:00 clocks are set to 03:00, from UTC+1 to UTC+2
        ("15 6 * * *", "2026-03-28", ["28 05:15", "29 04:15", "30 04:15"]),
        ("30 2 * * *", "2026-03-28", ["28 01:30", "29 01:00", "30 00:30"]),
        ("0,30 2,3 * * *", "2026-03-29", ["29 01:00", "29 01:30", "30 00:00", "30 00:30", "30 01:00"]),
        ("15 */2 * * *", "2026-03-29", ["28 23:15", "29 02:15", "29 04:15"]),
        # 2026-10-25: at 03:00 clocks are set to 02:00, from UTC+2 to UTC+1
        ("15 6 * * *", "2026-10-24", ["24 04:15", "25 05:15", "26 05:15"]),
        ("30 2 * * *", "2026-10-24", ["24 00:30", "25 00:30", "26 01:30"]),
        ("59 1 * * *", "2026-10-25", ["24 23:59", "26 00:59"]),
        ("*/30 2 * * *", "2026-10-25", ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
    ],
)
def test_local_times_on_days_of_another_length(expression: str, since: str, slots: list[str]) -> None:
    """An hour that is left out is made up for, one that comes twice counts once unless it has a `*`."""
    schedule = cron(expression, AMSTERDAM)
    found = list(schedule.between(at(since) - HOUR, at(since) + 3 * DAY))
    assert [slot.strftime("%d %H:%M") for slot in found][: len(slots)] == slots


@pytest.mark.parametrize(
    "zone", [AMSTERDAM, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
)
@pytest.mark.parametrize(("hour", "minute"), [(2, 30), (1, 45), (0, 0), (23, 59)])
def test_a_time_of_day_comes_once_a_day(zone: str, hour: int, minute: int) -> None:
    """In a year there is one slot on every date, at that time, or right after where it does not exist."""
    start = at("2026-01-01")
    local = [
        slot.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
        for slot in cron(f"{minute} {hour} * * *", zone).between(start, start + 365 * DAY)
    ]
    assert {later.date() - earlier.date() for earlier, later in itertools.pairwise(local)} == {DAY}
    elsewhere = [each for each in local if (each.hour, each.minute) != (hour, minute)]
    for each in elsewhere:  # the first minute that exists: the one before has another distance to UTC
        before = (each.astimezone(UTC) - MINUTE).astimezone(each.tzinfo)
        assert before.utcoffset() != each.utcoffset()
    assert len(elsewhere) <= 1
    assert not any(each.fold for each in local)


@settings(deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "15 6 * * 1-5", "*/20 * * * *", "0 2,3 * * *", "0 0 1 * *"]),
    st.sampled_from([AMSTERDAM, "America/New_York", "Australia/Lord_Howe"]),
    st.integers(0, 2 * 365 * 24 * 60),
    st.sampled_from(["2024-03-31T00:00", "2025-10-26T00:00"]),
)
def test_slots_are_the_same_wherever_one_begins(expression: str, zone: str, minutes: int, since: str) -> None:
    """From any moment on, the next slot is the one that a longer walk meets, and before and after agree."""
    schedule = cron(expression, zone)
    moment = at(since) + minutes * MINUTE
    slot = schedule.after(moment)
    before = schedule.before(slot)
    assert before <= moment < slot
    assert list(schedule.between(before - 40 * DAY, slot))[-2:] in ([before, slot], [slot])
    assert schedule.upto(slot) == slot
    assert schedule.after(before) == slot


def test_no_slot_comes_twice_in_the_hour_that_does() -> None:
    """Whoever begins in the second pass of an hour is not sent back to the first."""
    schedule = cron("30 2 * * *", AMSTERDAM)
    assert schedule.after(at("2026-10-25T01:20")) == at("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("15 6 * *", "five fields"),
        ("0 15 6 * * *", "five fields"),
        ("15 25 * * *", "is not a cron expression: bad hour"),
        ("0 0 31 2 *", "is not a cron expression: bad day-of-month"),
        ("@daily", "five fields"),
    ],
)
def test_what_is_no_schedule_is_refused(expression: str, why: str) -> None:
    """The mistake is told: fields, ranges, days that never come."""
    with pytest.raises(ValueError, match=why):
        cron(expression, "UTC")


def test_equal_schedules_are_equal() -> None:
    """A reload can tell what changed; space between fields does not matter."""
    assert cron("0  6 * * *", "UTC") == cron("0 6 * * *", "UTC") == Cron("0 6 * * *", "UTC")
