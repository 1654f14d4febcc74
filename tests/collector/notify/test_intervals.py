"""Spans of time that come again."""

from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.notify import Policy, read_notify_file
from lapwing_collector.notify.intervals import TimeInterval


def policy(tmp_path: Path, part: str) -> Policy:
    """A file whose route is muted in one interval."""
    path = tmp_path / "notify.yaml"
    path.write_text(
        dedent(
            """
            route: {receiver: team, mute_time_intervals: [quiet]}
            receivers: [{name: team, apprise_configs: [{name: hook, url: "json://127.0.0.1/"}]}]
            time_intervals: [{name: quiet, time_intervals: %s}]
            """
        )
        % part
    )
    return read_notify_file(path)


@pytest.mark.parametrize(
    ("part", "inside", "outside"),
    [
        ("[{}]", "2026-01-01T00:00", None),
        ("[{times: [{start_time: '08:30', end_time: '18:00'}]}]", "2026-01-01T08:30", "2026-01-01T18:00"),
        ("[{times: [{start_time: '00:00', end_time: 17:00}]}]", "2026-01-01T16:59", "2026-01-01T17:00"),
        ("[{times: [{start_time: '22:00', end_time: '24:00'}]}]", "2026-01-01T23:59", "2026-01-01T00:00"),
        ("[{weekdays: ['saturday:sunday']}]", "2026-11-22T12:00", "2026-11-23T12:00"),
        ("[{weekdays: [Monday, wednesday]}]", "2026-11-25T12:00", "2026-11-24T12:00"),
        ("[{days_of_month: ['1:5', 20]}]", "2026-01-20T12:00", "2026-01-06T12:00"),
        ("[{days_of_month: ['-3:-1']}]", "2026-02-26T12:00", "2026-02-25T12:00"),
        ("[{days_of_month: ['28:-1']}]", "2026-02-28T12:00", "2026-02-27T12:00"),
        ("[{months: ['december:december', 1]}]", "2026-12-01T12:00", "2026-02-01T12:00"),
        ("[{months: ['march:may']}]", "2026-05-31T23:59", "2026-06-01T00:00"),
        ("[{years: ['2026:2027']}]", "2027-12-31T12:00", "2028-01-01T12:00"),
        ("[{weekdays: [friday], days_of_month: [13]}]", "2026-11-13T12:00", "2026-11-20T12:00"),
        ("[{weekdays: [friday]}, {days_of_month: [13]}]", "2026-11-20T12:00", "2026-11-19T12:00"),
    ],
)
def test_moments_are_in_an_interval_or_not(
    tmp_path: Path, part: str, inside: str, outside: str | None
) -> None:
    """Each kind of span holds its first moment and not the one after it; kinds add up, parts are either."""
    quiet = policy(tmp_path, part)
    assert quiet.muted(quiet.root, datetime.fromisoformat(inside)) == "muted by the time interval quiet"
    if outside is not None:
        assert quiet.muted(quiet.root, datetime.fromisoformat(outside)) is None


@pytest.mark.parametrize(
    ("utc", "inside"),
    [
        ("2026-03-29T00:59", False),  # 01:59 winter time; at 02:00 clocks go to 03:00
        ("2026-03-29T01:00", True),  # 03:00
        ("2026-10-25T00:30", False),  # 02:30 summer time
        ("2026-10-25T01:30", False),  # 02:30 again
        ("2026-10-25T02:00", True),  # 03:00
        ("2026-07-01T01:00", True),
        ("2026-01-01T01:00", False),
    ],
)
def test_clocks_hang_in_their_zone(tmp_path: Path, utc: str, inside: bool) -> None:
    """Local hours are right in summer, in winter and on the nights between."""
    part = "[{times: [{start_time: '03:00', end_time: '24:00'}], location: Europe/Amsterdam}]"
    quiet = policy(tmp_path, part)
    assert (quiet.muted(quiet.root, datetime.fromisoformat(utc)) is not None) is inside


@given(
    start=st.integers(0, 24 * 60 - 1),
    length=st.integers(1, 24 * 60),
    moment=st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)),
)
def test_times_of_the_day_are_minutes(start: int, length: int, moment: datetime) -> None:
    """In UTC a moment is in a part of the day exactly if its minute is."""
    end = min(start + length, 24 * 60)
    minute = (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)) // timedelta(minutes=1)
    assert TimeInterval(times=((start, end),)).contains(moment) is (start <= minute < end)
