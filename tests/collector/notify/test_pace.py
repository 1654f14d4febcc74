"""When a target may be sent something next: rates, and rest while it is down."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from helpers.notify_alerts import NOON
from lapwing_collector.notify.pace import FAILURES_TO_OPEN, Pace, Rate
from lapwing_collector.notify.retry import LONGEST_DELAY, LONGEST_HOLD

SECOND = timedelta(seconds=1)


def sends(pace: Pace, now: datetime, until: datetime) -> list[datetime]:
    """When a target that always has something to send sends it."""
    times = []
    while (now := pace.ready_at(now)) < until:
        pace.begin(now)
        pace.succeeded()
        times.append(now)
    return times


def test_without_a_rate_nothing_waits() -> None:
    """A target without a rate is ready at any time."""
    pace = Pace(None)
    for _ in range(100):
        assert pace.ready_at(NOON) == NOON
        pace.begin(NOON)


@given(count=st.integers(1, 50), per_s=st.integers(1, 3600), periods=st.integers(1, 5))
def test_no_span_has_more_than_its_share(count: int, per_s: int, periods: int) -> None:
    """In any span there are at most the messages that the bucket holds and those that flow in meanwhile."""
    per = timedelta(seconds=per_s)
    times = sends(Pace(Rate(count, per)), NOON, NOON + per * periods)
    assert times[:count] == [NOON] * count
    for first, begun in enumerate(times):
        for last in range(first, len(times)):
            span = times[last] - begun
            assert last - first + 1 <= count + span / (per / count) + 1e-3
    assert abs(len(times) - count * (periods + 1)) <= 1


def test_a_rate_survives_a_clock_that_is_set_back() -> None:
    """A clock that goes back gives no tokens, and takes none."""
    pace = Pace(Rate(1, SECOND))
    pace.begin(NOON)
    assert pace.ready_at(NOON - timedelta(hours=3)) == NOON - timedelta(hours=3) + SECOND
    assert pace.ready_at(NOON - timedelta(hours=3) + SECOND) == NOON - timedelta(hours=3) + SECOND


def test_a_target_that_fails_in_a_row_rests_longer_and_longer() -> None:
    """From the fifth failure on it rests twice as long after each, ten minutes at most, until a success."""
    pace, rests = Pace(None), []
    for number in range(1, 15):
        pace.failed(NOON, f"error {number}", 1.0)
        assert pace.open == (number >= FAILURES_TO_OPEN)
        rests.append((pace.ready_at(NOON) - NOON).total_seconds())
    assert rests[: FAILURES_TO_OPEN + 1] == [0, 0, 0, 0, 16, 32]
    assert rests[-1] == LONGEST_DELAY.total_seconds()
    assert pace.error == "error 14"
    assert pace.succeeded()
    assert not pace.open
    assert pace.ready_at(NOON) == NOON
    assert not pace.succeeded()


def test_a_hold_holds_for_everything() -> None:
    """What a service asks for in Retry-After holds for the target, however few failures it had."""
    pace = Pace(None)
    pace.failed(NOON, "429", 1.0)
    pace.hold(NOON + timedelta(minutes=3))
    pace.hold(NOON + timedelta(minutes=2))
    assert pace.ready_at(NOON) == NOON + timedelta(minutes=3)
    assert not pace.open


def test_a_rest_is_over_when_the_clock_is_set_back() -> None:
    """A rest that would last longer than any is the work of a clock that was set back."""
    pace = Pace(None)
    pace.hold(NOON + LONGEST_HOLD)
    back = NOON - timedelta(days=1)
    assert pace.ready_at(back) == back
