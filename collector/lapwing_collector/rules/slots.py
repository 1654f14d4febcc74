"""Slots: the times in event time at which a rule is evaluated, and the window of data each one judges.

Slots are what `model.slots` makes of the rule's interval or schedule, whatever the time of start, so that a
restart, a replay and a back-test evaluate the same ones. Slot S is due when the data clock has reached S and
every model that the rule's SQL names has a watermark of at least S minus query_offset, the end of the window.
Under `clock: wall` the data clock is the wall clock; under `clock: data` (replay) it is the smallest of those
watermarks. A due slot with `wait_for` is held until its SQL is TRUE or the data clock reaches S + timeout;
later slots queue behind it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from lapwing_collector.rules.rule import Rule

_JUST_NOW: Final = timedelta(minutes=2)
"""Slots as young as this when the collector started may merely have waited for their data."""


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
    start = rule.slots.before(slot) if rule.window is None else slot - rule.window
    return Window(start - rule.query_offset, slot - rule.query_offset)


def reached(rule: Rule, now: datetime, watermarks: Collection[datetime]) -> datetime:
    """Give the time up to which slots are due.

    Args:
        rule: Whose slots.
        now: The data clock.
        watermarks: Of every model that the rule's SQL names; none where it names no model.
    """
    return min([now, *(watermark + rule.query_offset for watermark in watermarks)])


def next_due(
    rule: Rule, cursor: datetime, due: datetime, now: datetime, started: datetime
) -> datetime | None:
    """Give the slot to evaluate next; None if none is due. Those before it that are not evaluated are missed.

    A slot is not missed while it may wait: with `wait_for`, that long after its time.

    Args:
        rule: Whose slots.
        cursor: The newest evaluated slot; for a new rule the time after which its slots begin.
        due: Up to when slots are due.
        now: The wall clock, less what it was set forward by since.
        started: When the collector started.
    """
    waits = rule.wait_for.timeout if rule.wait_for else timedelta(0)
    match rule.catch_up:
        case "all" if rule.max_catch_up is not None:
            oldest = now - waits - rule.max_catch_up
            if oldest > cursor:  # but the newest is never too late
                cursor = max(cursor, min(oldest, rule.slots.before(rule.slots.upto(due))))
        case "none":
            cursor = max(cursor, started - waits - _JUST_NOW)
    if rule.catch_up != "all" and cursor < (newest := rule.slots.upto(min(due, now - waits))):
        return newest
    slot = rule.slots.after(cursor)
    return slot if slot <= due else None


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
