"""The states of one alert instance: what each kind of evidence makes of each state.

Everything that moves an instance is in the table `TRANSITIONS`, for every state and every kind of evidence.

`for` and `keep_firing_for` count only time with evidence. They are kept as the slot at which they began, and
slots that say nothing (no row, too few samples, a failed query) or that were never evaluated push that
beginning later by the time they took.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from lapwing_collector.model.alerts import AlertState, Instance


class Evidence(StrEnum):
    """What one evaluation says of one instance."""

    ACTIVE = "active"
    """The condition holds."""
    CLEAR = "clear"
    """The resolve condition holds."""
    HOLD = "hold"
    """Nothing: between both conditions, too few samples, no row yet, no result."""
    GONE = "gone"
    """Its row stayed away for so long that it counts as ended."""
    ALARM = "alarm"
    """Rows stayed away altogether for so long that it fires, whatever `for` says."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The evaluation that brings evidence.

    Attributes:
        slot: Its slot.
        elapsed: Time since the rule's previous evaluation; zero at its first.
        interval: Time since the slot before, the most that one evaluation can speak for.
        for_: The rule's `for`.
        keep_firing_for: The rule's `keep_firing_for`.
    """

    slot: datetime
    elapsed: timedelta
    interval: timedelta
    for_: timedelta
    keep_firing_for: timedelta

    def held(self, since: datetime, *, evidence: bool) -> datetime:
        """Move the beginning of a span of evidence past the time that brought none."""
        spoken_for = min(self.elapsed, self.interval) if evidence else timedelta(0)
        return since + (self.elapsed - spoken_for)


Step = Callable[[Instance, Moment], Instance]


def step(instance: Instance, evidence: Evidence, moment: Moment) -> Instance:
    """Give the instance as it stands after `evidence`."""
    return TRANSITIONS[instance.state, evidence](instance, moment)


def announced(instance: Instance) -> bool:
    """Tell whether people have been told of it: it fires, or fires on while it recovers."""
    return instance.state is AlertState.FIRING or instance.state is AlertState.RECOVERING


def resolve(instance: Instance, slot: datetime) -> Instance:
    """End an announced instance; its times and its peak stay for the message."""
    return replace(instance, state=AlertState.INACTIVE, recovering_at=None, resolved_at=slot)


def _stay(instance: Instance, _: Moment) -> Instance:
    return instance


def _begin(instance: Instance, moment: Moment) -> Instance:
    begun = replace(
        instance,
        state=AlertState.PENDING,
        active_at=moment.slot,
        fired_at=None,
        recovering_at=None,
        resolved_at=None,
        peak=None,
    )
    return _fire_when_due(begun, moment)


def _count(instance: Instance, moment: Moment) -> Instance:
    since = moment.held(instance.active_at or moment.slot, evidence=True)
    return _fire_when_due(replace(instance, active_at=since), moment)


def _fire_when_due(instance: Instance, moment: Moment) -> Instance:
    due = moment.slot - (instance.active_at or moment.slot) >= moment.for_
    return _fire(instance, moment) if due else instance


def _fire(instance: Instance, moment: Moment) -> Instance:
    return replace(instance, state=AlertState.FIRING, fired_at=moment.slot)


def _wait_pending(instance: Instance, moment: Moment) -> Instance:
    return replace(instance, active_at=moment.held(instance.active_at or moment.slot, evidence=False))


def _cancel(instance: Instance, _: Moment) -> Instance:
    return replace(instance, state=AlertState.INACTIVE, active_at=None, peak=None)


def _alarm(instance: Instance, moment: Moment) -> Instance:
    return _fire(_begin(instance, moment), moment)


def _recover(instance: Instance, moment: Moment) -> Instance:
    return _resolve_when_due(
        replace(instance, state=AlertState.RECOVERING, recovering_at=moment.slot), moment
    )


def _count_recovery(instance: Instance, moment: Moment) -> Instance:
    since = moment.held(instance.recovering_at or moment.slot, evidence=True)
    return _resolve_when_due(replace(instance, recovering_at=since), moment)


def _resolve_when_due(instance: Instance, moment: Moment) -> Instance:
    due = moment.slot - (instance.recovering_at or moment.slot) >= moment.keep_firing_for
    return resolve(instance, moment.slot) if due else instance


def _wait_recovering(instance: Instance, moment: Moment) -> Instance:
    return replace(instance, recovering_at=moment.held(instance.recovering_at or moment.slot, evidence=False))


def _fire_on(instance: Instance, _: Moment) -> Instance:
    return replace(instance, state=AlertState.FIRING, recovering_at=None)


def _end(instance: Instance, moment: Moment) -> Instance:
    return resolve(instance, moment.slot)


TRANSITIONS: Final[Mapping[tuple[AlertState, Evidence], Step]] = {
    (AlertState.INACTIVE, Evidence.ACTIVE): _begin,
    (AlertState.INACTIVE, Evidence.CLEAR): _stay,
    (AlertState.INACTIVE, Evidence.HOLD): _stay,
    (AlertState.INACTIVE, Evidence.GONE): _stay,
    (AlertState.INACTIVE, Evidence.ALARM): _alarm,
    (AlertState.PENDING, Evidence.ACTIVE): _count,
    (AlertState.PENDING, Evidence.CLEAR): _cancel,
    (AlertState.PENDING, Evidence.HOLD): _wait_pending,
    (AlertState.PENDING, Evidence.GONE): _cancel,
    (AlertState.PENDING, Evidence.ALARM): _fire,
    (AlertState.FIRING, Evidence.ACTIVE): _stay,
    (AlertState.FIRING, Evidence.CLEAR): _recover,
    (AlertState.FIRING, Evidence.HOLD): _stay,
    (AlertState.FIRING, Evidence.GONE): _end,
    (AlertState.FIRING, Evidence.ALARM): _stay,
    (AlertState.RECOVERING, Evidence.ACTIVE): _fire_on,
    (AlertState.RECOVERING, Evidence.CLEAR): _count_recovery,
    (AlertState.RECOVERING, Evidence.HOLD): _wait_recovering,
    (AlertState.RECOVERING, Evidence.GONE): _end,
    (AlertState.RECOVERING, Evidence.ALARM): _fire_on,
}
"""What evidence does to an instance, by its state."""
