"""Watermarks: up to which event time a model's predictions can be taken as complete. Times are naive UTC."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class WatermarkPolicy:
    """How a watermark follows the data and the clock.

    Attributes:
        lateness: How far a row may lag behind the newest one.
        idle_after: Silence after which the clock takes it on; None for replays, where only data does.
        ahead: Rows further ahead of the clock than this do not move the watermark; None for replays.
    """

    lateness: timedelta
    idle_after: timedelta | None
    ahead: timedelta | None


WALL_CLOCK: Final = WatermarkPolicy(timedelta(seconds=30), timedelta(seconds=60), timedelta(minutes=5))
"""Live traffic."""

DATA_CLOCK: Final = WatermarkPolicy(timedelta(seconds=30), None, None)
"""Replays: time is what the rows say."""


def newest_credible(times: pa.Array, now: datetime, policy: WatermarkPolicy) -> datetime | None:
    """The newest of the event `times` that is not implausibly far ahead of `now`; None if there is none."""
    if policy.ahead is not None:
        times = times.filter(pc.less_equal(times, pa.scalar(now + policy.ahead, times.type)))
    newest: datetime | None = pc.max(times).as_py()
    return newest


def watermark(
    previous: datetime | None, newest_event: datetime | None, now: datetime, policy: WatermarkPolicy
) -> datetime | None:
    """The watermark after rows up to `newest_event` arrived by `now`; it never goes back.

    Returns:
        None while nothing is known: no row has come and the clock has no say.
    """
    known = [previous] if previous is not None else []
    if newest_event is not None:
        known.append(newest_event - policy.lateness)
    if policy.idle_after is not None and known:
        known.append(now - policy.idle_after)
    return max(known, default=None)
