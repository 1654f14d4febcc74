"""The range of time of a page: what addresses ask for, its steps, and the ranges beside it."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.errors import DecodeError
from lapwing_collector.web.span import Span

NOW = datetime(2026, 1, 31, 12, 34, 56)


@pytest.mark.parametrize(
    ("asked", "since", "until", "fixed"),
    [
        ({}, NOW - timedelta(days=1), NOW, False),
        ({"last": "7d"}, NOW - timedelta(days=7), NOW, False),
        ({"last": "2w"}, NOW - timedelta(days=14), NOW, False),
        (
            {"from": "2026-01-01T00:00Z", "to": "2026-01-02T01:00:00+01:00"},
            datetime(2026, 1, 1),
            datetime(2026, 1, 2),
            True,
        ),
        ({"to": "2026-01-02T00:00", "last": "6h"}, datetime(2026, 1, 1, 18), datetime(2026, 1, 2), True),
        ({"from": "2026-01-30T00:00", "last": "6h"}, datetime(2026, 1, 30), NOW, True),
        ({"from": "2026-02-01", "last": "6h"}, datetime(2026, 2, 1), datetime(2026, 2, 1, 6), True),
    ],
)
def test_what_an_address_asks_for(
    asked: dict[str, str], since: datetime, until: datetime, fixed: bool
) -> None:
    """A range reaches back from now, or has the ends that are told, brought to UTC."""
    span = Span.of(asked, NOW)
    assert (span.since, span.until, span.fixed) == (since, until, fixed)


@pytest.mark.parametrize(
    "asked",
    [
        {"last": "7"},
        {"last": "0h"},
        {"last": "9" * 30 + "d"},
        {"last": "-1h"},
        {"from": "yesterday"},
        {"from": "0001-01-01"},
        {"to": "9999-12-31"},
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"from": "1950-01-01", "to": "2026-01-01"},
        {"from": "2026-01-01T00:00:00+00:00:99999"},
    ],
)
def test_nonsense_is_told(asked: dict[str, str]) -> None:
    """What is no range of time is refused in words, and not guessed."""
    with pytest.raises(DecodeError, match=r"expected|before|longer"):
        Span.of(asked, NOW)


@given(st.integers(min_value=60, max_value=19 * 366 * 86_400))
def test_steps_are_few_and_stay_where_they_are(seconds: int) -> None:
    """However long the range, a curve has some 250 points or fewer, which stay where they are."""
    span = Span(NOW - timedelta(seconds=seconds), NOW, "24h", fixed=False)
    assert span.start <= span.since < span.start + span.step
    assert (span.start - datetime(1970, 1, 1)) % span.step == timedelta(0)
    assert span.length / span.step <= 252
    assert span.step >= timedelta(hours=1) or span.length < timedelta(days=1)


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=NOW),
    st.integers(min_value=1, max_value=9 * 366 * 86_400),
)
def test_an_address_brings_back_its_range(since: datetime, seconds: int) -> None:
    """What a range says of itself in an address is read as the same range, whenever that is."""
    span = Span(since, since + timedelta(seconds=seconds), "7d", fixed=True)
    assert Span.of(span.asked(), datetime(2030, 1, 1)) == span
    moving = Span.of({"last": "7d"}, NOW)
    assert moving.asked() == {"last": "7d"}
    assert Span.of({}, NOW).asked() == {}


def test_ranges_beside_a_range() -> None:
    """Earlier and later are as long and meet it; wider is twice as long; none reaches beyond now."""
    span = Span(NOW - timedelta(hours=6), NOW - timedelta(hours=4), "24h", fixed=True)
    assert (span.before().since, span.before().until) == (NOW - timedelta(hours=8), span.since)
    assert (span.after(NOW).since, span.after(NOW).until) == (span.until, NOW - timedelta(hours=2))
    assert span.after(NOW - timedelta(hours=3)).until == NOW - timedelta(hours=3)
    assert span.wider(NOW).length == timedelta(hours=4)
    assert Span.of({}, NOW).wider(NOW).until == NOW
