"""Where time comes from: `app` holds the only real clock and hands times to whatever decides."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # naive UTC


class Clock(Protocol):
    """A source of the current time."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        return time.time_ns()


class SteppingClock:
    """A clock that only moves when told to, for tests and replays."""

    def __init__(self, start_ns: int = 0) -> None:
        """Start at `start_ns` nanoseconds since the epoch."""
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        return self._now_ns

    def step(self, seconds: float) -> None:
        """Move on by `seconds`; negative steps the clock back, as a corrected machine clock would."""
        self._now_ns += round(seconds * 1e9)


def utc_datetime(ns: int) -> datetime:
    """Turn nanoseconds since the epoch into a naive UTC datetime (microseconds, rounded down).

    Raises:
        OverflowError: `ns` lies outside the years 1 to 9999.
    """
    return _EPOCH + timedelta(microseconds=ns // 1000)


def naive_utc(moment: datetime) -> datetime:
    """The same moment as naive UTC, which a naive one is already.

    Raises:
        OverflowError: It lies outside the years 1 to 9999.
    """
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def read_utc(text: str) -> datetime:
    """Read an ISO 8601 time, UTC unless it says otherwise, as naive UTC.

    Raises:
        ValueError: It is none.
    """
    try:
        return naive_utc(datetime.fromisoformat(text))
    except OverflowError as error:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999") from error


def epoch_ns(moment: datetime) -> int:
    """Turn a datetime into nanoseconds since the epoch; a naive one is taken as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000
