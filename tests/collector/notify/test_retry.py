"""The retry schedule."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.notify_alerts import NOON
from lapwing_collector.notify.retry import GIVE_UP_AFTER, LONGEST_HOLD, asked_for, next_attempt


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 512), (11, 600), (12, 600), (5000, 600)]
)
def test_delays_double_up_to_ten_minutes(attempts: int, seconds: int) -> None:
    """The longest delay after attempt n is 2^(n-1) seconds, at most ten minutes."""
    assert next_attempt(attempts, NOON, NOON, 1.0) == NOON + timedelta(seconds=seconds)


@given(
    attempts=st.integers(1, 400), jitter=st.floats(0, 1), age=st.timedeltas(timedelta(0), timedelta(hours=23))
)
def test_jitter_takes_a_share_of_the_whole_delay(attempts: int, jitter: float, age: timedelta) -> None:
    """A delay is the jitter's share of the longest one: nothing at 0, all of it at 1."""
    now = NOON + age
    due, latest = next_attempt(attempts, NOON, now, jitter), next_attempt(attempts, NOON, now, 1.0)
    assert due is not None
    assert latest is not None
    assert (due - now).total_seconds() == pytest.approx((latest - now).total_seconds() * jitter, abs=1e-6)


def test_a_message_is_given_up_after_a_day() -> None:
    """An attempt that would come later than 24 hours after the message was put in is not made."""
    assert next_attempt(50, NOON, NOON + GIVE_UP_AFTER - timedelta(minutes=10), 1.0) == NOON + GIVE_UP_AFTER
    assert next_attempt(50, NOON, NOON + GIVE_UP_AFTER - timedelta(minutes=9), 1.0) is None


def test_what_the_service_asks_for_is_waited_for() -> None:
    """A retry comes no earlier than the service asked, and not at all where that is too late."""
    later = NOON + timedelta(minutes=5)
    assert next_attempt(1, NOON, NOON, 1.0, not_before=later) == later
    assert next_attempt(12, NOON, NOON, 1.0, not_before=later) == NOON + timedelta(minutes=10)
    assert next_attempt(1, NOON, NOON, 1.0, timedelta(minutes=4), later) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("Tue, 05 Mar 2013 12:02:00 GMT", 120),
        ("Tue, 05 Mar 2013 13:02:00 +0100", 120),
        ("999999", LONGEST_HOLD.total_seconds()),
        ("1e300", LONGEST_HOLD.total_seconds()),
        ("inf", LONGEST_HOLD.total_seconds()),
        ("0", None),
        ("-5", None),
        ("-inf", None),
        ("nan", None),
        ("Tue, 05 Mar 2013 11:00:00 GMT", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    """Seconds and dates are read; an hour is the most that is waited, and nonsense is nothing."""
    asked = asked_for(header, NOON)
    assert (asked and (asked - NOON).total_seconds()) == seconds


@given(st.text())
def test_no_header_breaks_it(header: str) -> None:
    """Whatever a service says, the wait is none, or at most an hour."""
    asked = asked_for(header, NOON)
    assert asked is None or NOON < asked <= NOON + LONGEST_HOLD
