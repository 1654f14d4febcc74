"""How long something has waited, whatever is done to the clock meanwhile. Pure."""

from datetime import datetime, timedelta
from typing import Final

_STEP: Final = timedelta(minutes=1)
"""A clock that gains more on the time that passes was set forward, or the machine slept."""


class Lived:
    """Knows of the times that a clock left out, and counts them for nothing."""

    def __init__(self) -> None:
        """Begin to compare."""
        self._looked: tuple[datetime, float] | None = None
        self._gaps: list[tuple[datetime, datetime]] = []

    def look(self, now: datetime, monotonic_s: float) -> None:
        """Compare the clock with the seconds that pass."""
        if self._looked is not None:
            before, before_s = self._looked
            expected = before + timedelta(seconds=monotonic_s - before_s)
            if now - expected > _STEP:
                self._gaps.append((expected, now))
        self._looked = now, monotonic_s

    def since(self, moment: datetime, now: datetime) -> timedelta:
        """The time from `moment` until now."""
        left_out = (min(end, now) - max(begin, moment) for begin, end in self._gaps)
        return now - moment - sum((each for each in left_out if each > timedelta(0)), timedelta(0))
