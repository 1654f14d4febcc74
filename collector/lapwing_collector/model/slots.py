"""The times at which a rule is evaluated: at an interval, or as a cron expression says. All are naive UTC."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # times are naive UTC throughout the collector

_MOMENT: Final = timedelta(microseconds=1)
_MINUTE: Final = timedelta(minutes=1)
_BACK: Final = tuple(timedelta(hours=hours) for hours in (1, 25, 8 * 24, 32 * 24, 367 * 24, 100 * 366 * 24))
"""How far back the slot before is looked for, until one is found."""


@dataclass(frozen=True, slots=True)
class Every:
    """Multiples of an interval since the epoch, whatever the time of start."""

    interval: timedelta

    @property
    def grid(self) -> timedelta:
        """Every slot is a multiple of this since the epoch."""
        return self.interval

    @property
    def step(self) -> timedelta:
        """The time from one slot to the next."""
        return self.interval

    def after(self, moment: datetime) -> datetime:
        """The first slot later than `moment`."""
        return EPOCH + ((moment - EPOCH) // self.interval + 1) * self.interval

    def upto(self, moment: datetime) -> datetime:
        """The newest slot that is not later than `moment`."""
        return EPOCH + ((moment - EPOCH) // self.interval) * self.interval

    def before(self, slot: datetime) -> datetime:
        """The slot before `slot`."""
        return self.upto(slot - _MOMENT)

    def between(self, after: datetime, through: datetime) -> Iterator[datetime]:
        """The slots later than `after`, up to `through`, in order; made as they are taken."""
        slot = self.after(after)
        while slot <= through:
            yield slot
            slot += self.interval


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression of five fields, read in a time zone as Debian's cron reads it.

    Where a clock is set forward, an hour that does not exist is made up for right after; where it is set
    back, what names its hour happens once. What has a `*` for minutes or hours follows the time that passes.

    Attributes:
        expression: Minute, hour, day of month, month, day of week.
        zone: Name of the time zone, such as `Europe/Amsterdam`.
    """

    expression: str
    zone: str

    @property
    def grid(self) -> timedelta:
        """Every slot is a multiple of this since the epoch."""
        return _MINUTE

    @property
    def step(self) -> timedelta:
        """The longest time from one slot to the next, of a year's first hundred."""
        return _longest_step(self)

    def after(self, moment: datetime) -> datetime:
        """The first slot later than `moment`.

        Raises:
            ValueError: There is none within 50 years.
        """
        return _first_after(self, moment)

    def upto(self, moment: datetime) -> datetime:
        """The newest slot that is not later than `moment`.

        Raises:
            ValueError: There is none.
        """
        return _newest_upto(self, moment)

    def before(self, slot: datetime) -> datetime:
        """The slot before `slot`."""
        return self.upto(slot - _MOMENT)

    def between(self, after: datetime, through: datetime) -> Iterator[datetime]:
        """The slots later than `after`, up to `through`, in order; made as they are taken."""
        after = max(after, EPOCH)
        local = after.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone))
        for found in CronSim(self.expression, local):
            slot = found.astimezone(UTC).replace(tzinfo=None)
            if slot > through:
                return
            # In an hour that comes twice, the search begins with the time of day, which was met before.
            if slot > after:
                yield slot


Slots = Every | Cron


def cron(expression: str, zone: str) -> Cron:
    """Check a cron expression.

    Raises:
        ValueError: It is none, it has not five fields, it never comes, or there is no such time zone; the
            message says what is expected.
    """
    expression = " ".join(expression.split())
    if len(expression.split()) != 5:
        raise ValueError(
            f"expected five fields: minute, hour, day of month, month, day of week, not {expression!r}"
        )
    schedule = Cron(expression, zone)
    try:
        schedule.after(EPOCH)
    except CronSimError as error:
        raise ValueError(f"is not a cron expression: {str(error).lower()}") from error
    return schedule


@lru_cache(maxsize=4096)
def _longest_step(schedule: Cron) -> timedelta:
    slots = islice(schedule.between(EPOCH, datetime.max), 100)  # noqa: DTZ901  # naive UTC
    return max((later - earlier for earlier, later in pairwise(slots)), default=timedelta(days=366))


@lru_cache(maxsize=4096)
def _first_after(schedule: Cron, moment: datetime) -> datetime:
    found = next(schedule.between(moment, datetime.max), None)  # noqa: DTZ901  # naive UTC
    if found is None:
        raise ValueError(f"{schedule.expression!r} never comes")
    return found


@lru_cache(maxsize=4096)
def _newest_upto(schedule: Cron, moment: datetime) -> datetime:
    for span in _BACK:
        newest = None
        for newest in schedule.between(max(moment - span, EPOCH), moment):  # noqa: B007  # the last one
            pass
        if newest is not None:
            return newest
    raise ValueError(f"{schedule.expression!r} never came before {moment}")
