"""Slots: the times in event time at which a rule is evaluated, and the window of data each one judges.

Slots are multiples of the rule's interval since the epoch, whatever the time of start, so that a restart, a
replay and a back-test evaluate the same ones. Slot S is due when the data clock has reached S and every model
that the rule's SQL names has a watermark of at least S minus query_offset, the end of the window. Under
`clock: wall` the data clock is the wall clock; under `clock: data` (replay) it is the smallest of those
watermarks. A due slot with `wait_for` is held until its SQL is TRUE or the data clock reaches S + timeout;
later slots queue behind it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from lapwing_collector.rules.rule import Rule

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # times are naive UTC throughout the collector


@dataclass(frozen=True, slots=True)
class Window:
    """The span of event time that a slot judges: start inclusive, end exclusive, naive UTC."""

    start: datetime
    end: datetime


class Readiness(StrEnum):
    """What to do with a due slot of a rule with `wait_for`."""

    HOLD = "hold"
    EVALUATE = "evaluate"
    SKIP = "skip"
    NO_DATA = "no_data"


def window_of(rule: Rule, slot: datetime) -> Window:
    """Give the window that `slot` judges; it ends `query_offset` before the slot."""
    end = slot - rule.query_offset
    return Window(end - rule.window, end)


def next_slot(after: datetime, interval: timedelta) -> datetime:
    """Give the first slot later than `after`."""
    return EPOCH + ((after - EPOCH) // interval + 1) * interval


def due_slots(
    rule: Rule, cursor: datetime, now: datetime, watermarks: Collection[datetime]
) -> Iterator[datetime]:
    """Give the slots that are due, oldest first.

    Args:
        rule: Whose slots.
        cursor: The newest evaluated slot; for a new rule the time after which its slots begin.
        now: The data clock.
        watermarks: Of every model that the rule's SQL names; none where it names no model.
    """
    reached = min([now, *(watermark + rule.query_offset for watermark in watermarks)])
    slot = next_slot(cursor, rule.interval)
    while slot <= reached:
        yield slot
        slot += rule.interval


def readiness(rule: Rule, slot: datetime, now: datetime, *, complete: bool | None) -> Readiness:
    """Decide what to do with a due slot.

    Args:
        rule: Whose slot.
        slot: A due slot.
        now: The data clock.
        complete: What `wait_for.expr` gave; None for NULL, a failed query, and without `wait_for`.
    """
    if rule.wait_for is None or complete:
        return Readiness.EVALUATE
    if now < slot + rule.wait_for.timeout:
        return Readiness.HOLD
    return Readiness(rule.wait_for.on_timeout)
