"""Watermarks follow the data and the clock, and never go back."""

from datetime import datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK, newest_credible, watermark

NOW = datetime(2026, 1, 1, 12)
SECOND = timedelta(seconds=1)


def times(*moments: datetime) -> pa.Array:
    return pa.array(moments, pa.timestamp("us"))


def test_rows_move_it_to_their_time_less_the_lateness() -> None:
    """Data is complete up to 30 s before the newest row."""
    assert watermark(None, NOW, NOW, DATA_CLOCK) == NOW - 30 * SECOND


def test_silence_lets_the_clock_move_it() -> None:
    """A model without traffic is complete up to a minute ago, unless time is what the rows say."""
    old = NOW - timedelta(hours=1)
    assert watermark(old, None, NOW, WALL_CLOCK) == NOW - 60 * SECOND
    assert watermark(old, None, NOW, DATA_CLOCK) == old


def test_nothing_is_known_before_the_first_row() -> None:
    """Without any row there is no watermark, whatever the clock says."""
    assert watermark(None, None, NOW, WALL_CLOCK) is None


def test_rows_from_the_future_do_not_count() -> None:
    """A sender whose clock is an hour ahead closes nobody's window; in a replay there is no future."""
    rows = times(NOW - SECOND, NOW + timedelta(hours=1))
    assert newest_credible(rows, NOW, WALL_CLOCK) == NOW - SECOND
    assert newest_credible(times(NOW + timedelta(hours=1)), NOW, WALL_CLOCK) is None
    assert newest_credible(rows, NOW, DATA_CLOCK) == NOW + timedelta(hours=1)


moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1))


@given(st.lists(st.tuples(st.none() | moments, moments)), st.sampled_from([WALL_CLOCK, DATA_CLOCK]))
def test_it_never_goes_back(steps: list[tuple[datetime | None, datetime]], policy: object) -> None:
    """Late rows and clocks that are set back leave it where it is."""
    mark: datetime | None = None
    for newest, now in steps:
        after = watermark(mark, newest, now, policy)  # type: ignore[arg-type]
        assert mark is None or (after is not None and after >= mark)
        mark = after
