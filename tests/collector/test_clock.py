"""Times of people as naive UTC, against what Python's own aware times say."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.clock import epoch_ns, naive_utc, read_utc, utc_datetime

MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31))  # a day from either end, wherever one is
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS, ZONES)
def test_a_moment_is_the_same_wherever_it_is_told(moment: datetime, zone: timezone) -> None:
    """A time with an offset is the moment that it is in UTC, and one without is UTC already."""
    told = moment.replace(tzinfo=UTC).astimezone(zone)
    assert (
        naive_utc(told)
        == naive_utc(moment)
        == read_utc(told.isoformat())
        == read_utc(moment.isoformat())
        == moment
    )
    assert utc_datetime(epoch_ns(told)) == moment


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_what_is_no_time_is_a_wrong_value(text: str) -> None:
    """A text that is no time, or one outside what can be computed with, is refused in one way."""
    with pytest.raises(ValueError, match=r"isoformat|outside"):
        read_utc(text)
