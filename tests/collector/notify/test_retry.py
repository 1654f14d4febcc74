"""The retry schedule."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.notify_alerts import NOON
from lapwing_collector.notify.retry import GIVE_UP_AFTER, next_attempt


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
