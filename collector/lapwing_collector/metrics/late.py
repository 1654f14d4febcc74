"""Rows and labels that come late: which slots of a rule they touch, and what evaluating those again changes.

Times are naive UTC.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.model.alerts import MetricRow
from lapwing_collector.model.slots import Slots

_MICROSECOND: Final = timedelta(microseconds=1)

_LEAST_REST: Final = timedelta(minutes=1)
_RESTS_PER_INTERVAL: Final = 24
_LONGEST_RETRY: Final = timedelta(hours=1)

_RELATIVE: Final = 1e-9
_ABSOLUTE: Final = 1e-12
"""Sums of floats differ by as much with the order of their rows, which is another in each run."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a rule is evaluated, and what each slot judges.

    Attributes:
        slots: When.
        window: Length of what a slot judges; None for the time since the slot before.
        query_offset: How long before the slot that ends.
    """

    slots: Slots
    window: timedelta | None
    query_offset: timedelta


def touched_slots(
    schedule: Schedule, times: Iterable[datetime], after: datetime, through: datetime
) -> list[datetime]:
    """The slots after `after`, up to `through`, whose window holds one of the event `times`; in order."""
    touched: list[datetime] = []
    reached = after
    for time in sorted(times):
        end = time + schedule.query_offset
        last = schedule.slots.after(end) if schedule.window is None else end + schedule.window
        touched.extend(schedule.slots.between(max(end, reached), min(last, through)))
        reached = max(reached, last)
    return touched


def touching_span(schedule: Schedule, after: datetime, through: datetime) -> tuple[datetime, datetime]:
    """The event times, from the first on until before the second, that can touch a slot in that range."""
    first = schedule.slots.upto(after) if schedule.window is None else after - schedule.window
    return first - schedule.query_offset, through - schedule.query_offset


def rest_after(interval: timedelta, changes: int) -> timedelta:
    """How long a slot rests after its first, second, … change in a row.

    Labels that trickle in are gathered: what is stored of a slot grows ever more slowly.
    """
    return _doubled(changes, max(interval / _RESTS_PER_INTERVAL, _LEAST_REST))


def retry_after(attempts: int) -> timedelta:
    """How long to wait after the first, second, … failure."""
    return _doubled(attempts, _LONGEST_RETRY)


def revised(known: Iterable[MetricRow], now: Sequence[MetricRow]) -> list[MetricRow]:
    """The rows to store where one window, of which `known` is stored, now gives `now`.

    A series that is as it was needs none. One that is gone gets a row that says nothing: neither value, nor
    count, nor coverage.
    """
    before = {_series(row): row for row in known}
    after = {_series(row): row for row in now}
    gone = (
        replace(row, value=None, sample_count=None, label_coverage=None)
        for key, row in before.items()
        if key not in after and not _says_nothing(row)
    )
    return [*(row for key, row in after.items() if _differs(before.get(key), row)), *gone]


def later_than(known: Iterable[datetime], as_of: datetime) -> datetime:
    """`as_of`, or the first moment after all `known` ones where one of them is not before it."""
    return max([as_of, *(moment + _MICROSECOND for moment in known)])


def chunks(slots: Sequence[datetime], size: int) -> Iterator[Sequence[datetime]]:
    """Parts of at most `size`."""
    for start in range(0, len(slots), size):
        yield slots[start : start + size]


def _doubled(times: int, longest: timedelta) -> timedelta:
    return min(_LEAST_REST * (1 << min(times - 1, 16)), longest)


def _series(row: MetricRow) -> tuple[str | None, frozenset[tuple[str, str]]]:
    return row.model, frozenset(row.series.items())


def _says_nothing(row: MetricRow) -> bool:
    return row.value is None and row.sample_count is None and row.label_coverage is None


def _differs(before: MetricRow | None, after: MetricRow) -> bool:
    if before is None:
        return not _says_nothing(after)
    return not (
        before.sample_count == after.sample_count
        and _close(before.value, after.value)
        and _close(before.label_coverage, after.label_coverage)
    )


def _close(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return math.isclose(before, after, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
