"""Spans of time that come again: work hours, weekends, nights; as Alertmanager writes them. Pure."""

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Span = tuple[int, int]
"""From one number to another; whether the last is part of it depends on what is counted."""

_DAYS: Final = {name.lower(): n for n, name in enumerate(calendar.day_name)}
_MONTHS: Final = {name.lower(): n for n, name in enumerate(calendar.month_name) if name}
_CLOCK: Final = re.compile(r"(\d\d):(\d\d)", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1, 9999
_UTC: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """All moments that are in one of each kind of span; a kind without any is always met.

    Attributes:
        times: Minutes of the day, the last not part of it.
        weekdays: Monday is 0.
        days_of_month: From 1; negative ones count from the end, -1 is the last day.
        months: From 1.
        years: As they are.
        zone: Where the clock hangs.
    """

    times: tuple[Span, ...] = ()
    weekdays: tuple[Span, ...] = ()
    days_of_month: tuple[Span, ...] = ()
    months: tuple[Span, ...] = ()
    years: tuple[Span, ...] = ()
    zone: ZoneInfo = _UTC

    def contains(self, moment: datetime) -> bool:
        """Whether `moment`, naive UTC, is in it."""
        local = moment.replace(tzinfo=UTC).astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        return (
            (not self.times or any(start <= minute < end for start, end in self.times))
            and _within(local.weekday(), self.weekdays)
            and self._day_fits(local)
            and _within(local.month, self.months)
            and _within(local.year, self.years)
        )

    def _day_fits(self, local: datetime) -> bool:
        length = calendar.monthrange(local.year, local.month)[1]
        days = [tuple(day if day > 0 else length + 1 + day for day in span) for span in self.days_of_month]
        return not days or any(first <= local.day <= last for first, last in days)


def _within(number: int, spans: Sequence[Span]) -> bool:
    return not spans or any(first <= number <= last for first, last in spans)


def minutes(start: str, end: str) -> Span:
    """Read times of the day.

    Raises:
        ValueError: They are none, or the end is not after the start.
    """
    first, last = _minute(start), _minute(end)
    if first >= last:
        raise ValueError(
            f"start_time {start} must come before end_time {end}; "
            "write a night as two ranges, one up to 24:00 and one from 00:00"
        )
    return first, last


def _minute(text: str) -> int:
    match = _CLOCK.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else None
    if minute is None or minute > 24 * 60:
        raise ValueError(f"a time of the day such as 08:30, up to 24:00, not {text!r}")
    return minute


def weekdays(text: str) -> Span:
    """Read days of the week: `monday`, `monday:friday`.

    Raises:
        ValueError: They are none.
    """
    return _span(text, "a weekday or a range such as 'monday:friday', in quotes", 0, 6, _DAYS)


def months(text: str) -> Span:
    """Read months, by name or number: `may`, `1:3`.

    Raises:
        ValueError: They are none.
    """
    return _span(text, "a month or a range such as january:march or '1:3', in quotes", 1, 12, _MONTHS)


def years(text: str) -> Span:
    """Read years: `2026`, `2026:2028`.

    Raises:
        ValueError: They are none.
    """
    return _span(text, "a year or a range such as 2026:2028", _FIRST_YEAR, _LAST_YEAR, {})


def days_of_month(text: str) -> Span:
    """Read days of the month: `1:5`, `-3:-1` for the last three.

    Raises:
        ValueError: They are none.
    """
    expected = "a day from 1 to 31 or from the end, -31 to -1, or a range such as 1:5 or -3:-1"
    first, last = _numbers(text, expected, {})
    if not all(1 <= abs(day) <= 31 for day in (first, last)):
        raise ValueError(f"{expected}, not {text!r}")
    if (first > 0) == (last > 0) and first > last:
        raise ValueError(f"{expected}: {text!r} ends before it begins")
    if first < 0 < last:
        raise ValueError(f"{expected}: {text!r} begins from the end, so it must end from the end")
    return first, last


def zone(name: str) -> ZoneInfo:
    """Read a time zone.

    Raises:
        ValueError: There is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"a time zone such as Europe/Amsterdam or UTC, not {name!r}") from error


def _span(text: str, expected: str, least: int, most: int, names: Mapping[str, int]) -> Span:
    first, last = _numbers(text, expected, names)
    if not (least <= first <= most and least <= last <= most):
        raise ValueError(f"{expected}, not {text!r}")
    if first > last:
        raise ValueError(f"{expected}: {text!r} ends before it begins")
    return first, last


def _numbers(text: str, expected: str, names: Mapping[str, int]) -> Span:
    parts = [part.strip().lower() for part in text.split(":")]
    try:
        numbers = [names[part] if part in names else int(part) for part in parts]
    except ValueError as error:
        raise ValueError(f"{expected}, not {text!r}") from error
    if len(numbers) > 2 or (names is _DAYS and not set(parts) <= set(names)):
        raise ValueError(f"{expected}, not {text!r}")
    return numbers[0], numbers[-1]
