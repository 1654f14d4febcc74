"""The one range of time that everything on a page shows, as its address has it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from lapwing_collector.clock import read_utc
from lapwing_collector.errors import DecodeError

PRESETS: Final = ("1h", "6h", "24h", "7d", "30d", "90d")
"""What is offered; an address may have any."""

DEFAULT: Final = "24h"

_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(days=7),
}
_LAST: Final = re.compile(r"([1-9]\d{0,5})([mhdw])", re.ASCII)
_LONGEST: Final = timedelta(days=20 * 366)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_MOST_STEPS: Final = 250
"""Points of a curve that a person can tell apart, and that a query computes in a moment."""
_STEPS: Final = (
    *(timedelta(seconds=seconds) for seconds in (10, 30, 60, 120, 300, 600, 1800)),
    *(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24)),
    *(timedelta(days=days) for days in (7, 28)),
)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # naive UTC


@dataclass(frozen=True, slots=True)
class Span:
    """A range of time, in naive UTC.

    Attributes:
        since: Its begin, inclusive.
        until: Its end, exclusive.
        last: How far it reaches back from now, as the address says: where it does not move with time, what
            the page goes back to.
        fixed: Whether both ends are told, so that it does not move with time.
    """

    since: datetime
    until: datetime
    last: str
    fixed: bool

    @classmethod
    def of(cls, asked: Mapping[str, str], now: datetime) -> Self:
        """The range that an address asks for: `last=24h`, or `from` and `to`, of which one may be missing.

        Args:
            asked: The parameters of the address.
            now: What `last` is counted from.

        Raises:
            DecodeError: It asks for nonsense.
        """
        last = asked.get("last") or DEFAULT
        reach = _reach(last)
        since, until = (moment_of(asked[name], name) if asked.get(name) else None for name in ("from", "to"))
        fixed = since is not None or until is not None
        until = until if until is not None else now if since is None else max(now, since + reach)
        since = since if since is not None else until - reach
        if since >= until:
            raise DecodeError(f"from, {_iso(since)}, is not before to, {_iso(until)}")
        if until - since > _LONGEST:
            raise DecodeError("the range of time is longer than 20 years; choose a shorter one")
        return cls(since, until, last, fixed)

    @property
    def length(self) -> timedelta:
        """From one end to the other."""
        return self.until - self.since

    def along(self, begun: datetime, ended: datetime) -> tuple[float, float]:
        """Where along the range a stretch of time begins, and how much of the range it is: shares of 1."""
        left, right = (min(1.0, max(0.0, (at - self.since) / self.length)) for at in (begun, ended))
        return left, max(0.0, right - left)

    @property
    def step(self) -> timedelta:
        """What a point of a curve stands for: whole hours from a day on, which profiles are kept by."""
        fits = (step for step in _STEPS if self.length <= step * _MOST_STEPS)
        step = next(fits, _STEPS[-1])
        return max(step, _HOUR) if self.length >= _DAY else step

    def in_steps(self, most: int) -> timedelta:
        """The shortest usual step, an hour at least, by which the range has `most` steps or fewer."""
        fits = (step for step in _STEPS if step >= _HOUR and self.length <= step * most)
        return max(next(fits, _STEPS[-1]), self.step)

    @property
    def start(self) -> datetime:
        """Where the first step begins: steps stay where they are while the range moves with time."""
        return _EPOCH + (self.since - _EPOCH) // self.step * self.step

    def before(self) -> Self:
        """The range of the same length before this one."""
        return replace(self, since=self.since - self.length, until=self.since, fixed=True)

    def after(self, now: datetime) -> Self:
        """The range of the same length after this one; up to `now` where it would reach beyond."""
        until = max(min(self.until + self.length, now), self.until)
        return replace(self, since=until - self.length, until=until, fixed=True)

    def wider(self, now: datetime) -> Self:
        """A range twice as long around this one; up to `now` where it would reach beyond."""
        length = min(self.length * 2, _LONGEST)
        until = max(min(self.until + (length - self.length) / 2, now), self.until)
        return replace(self, since=until - length, until=until, fixed=True)

    def asked(self) -> dict[str, str]:
        """What an address has to say to mean this range; nothing where it is the usual one."""
        ends = {"from": _iso(self.since), "to": _iso(self.until)} if self.fixed else {}
        return ends | ({"last": self.last} if self.last != DEFAULT else {})


def _reach(last: str) -> timedelta:
    found = _LAST.fullmatch(last)
    reach = int(found[1]) * _UNITS[found[2]] if found else None
    if reach is None or reach > _LONGEST:
        raise DecodeError(f"last: expected a time such as 6h or 7d, not {last[:40]!r}")
    return reach


def interval(step: timedelta) -> str:
    """A step as queries are told it: a text that DuckDB reads as an interval."""
    return f"{int(step.total_seconds())} seconds"


def moment_of(text: str, name: str) -> datetime:
    """A time of an address, naive UTC, far from the ends of what can be computed with.

    Args:
        text: As the address has it.
        name: What the address calls it.

    Raises:
        DecodeError: It is none.
    """
    try:
        moment = read_utc(text)
    except ValueError:
        raise DecodeError(f"{name}: expected a time such as 2026-01-31T12:00Z, not {text[:40]!r}") from None
    if not datetime(1900, 1, 1) <= moment <= datetime(2200, 1, 1):  # noqa: DTZ001  # naive UTC
        raise DecodeError(f"{name}: expected a time between 1900 and 2200, not {text[:40]!r}")
    return moment


def _iso(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"
