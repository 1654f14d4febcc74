"""Alerts that should have fired, had all rows been there in time: closed slots that late rows touched.

They are walked through anew by the same `evaluate` as live ones, so `for` counts as it would have. What would
have fired then, and did not, fires now. Nothing is resolved, and nothing that people know of is told again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.model.alerts import Health, Instance, RuleState, Status, Transition
from lapwing_collector.rules.evaluate import Outcome, evaluate
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.states import announced
from lapwing_collector.rules.trouble import Trouble, trouble_fingerprint

_MOMENT: Final = timedelta(microseconds=1)
_NOTE: Final = "the rows that show it came after the slot was evaluated"


def slots_to_judge_again(rule: Rule, touched: Sequence[datetime], newest: datetime) -> list[datetime]:
    """Give the closed slots that show whether what touched some of them makes an alert fire.

    These are the touched ones and those around them, as far as `for` reaches.

    Args:
        rule: Whose slots.
        touched: Slots that late rows touched, in order.
        newest: The newest closed slot.
    """
    found: set[datetime] = set()
    for slot in touched:
        first, last = rule.slots.upto(slot - rule.for_), rule.slots.after(slot + rule.for_ - _MOMENT)
        found.update(rule.slots.between(rule.slots.before(first), min(last, newest)))
    return sorted(found)


def raise_late(
    rule: Rule,
    state: RuleState,
    again: Sequence[tuple[datetime, Outcome]],
    resolved: Mapping[str, datetime],
) -> tuple[RuleState, tuple[Transition, ...]]:
    """Let fire what closed slots show now.

    Args:
        rule: The rule.
        state: What is remembered of it.
        again: Closed slots with what their SQL gives now, in order.
        resolved: The newest slot at which each alert resolved, by fingerprint, as far as one knows.

    Returns:
        What is to be remembered, and what is to be told; `state` and nothing where nothing is new.
    """
    if state.definition != rule.definition:
        return state, ()
    own = {trouble_fingerprint(rule.id, trouble) for trouble in Trouble}
    instances = dict(state.instances)
    raised: list[Transition] = []
    for late in _would_have_fired(rule, state, again, own):
        key = late.instance.fingerprint
        known = instances.get(key)
        ends = (None if known is None else known.resolved_at, resolved.get(key))
        over = any(end is not None and end >= late.slot for end in ends)
        told = over or (known is not None and announced(known))
        if told or (known is None and len(instances.keys() - own) >= rule.limit):
            continue
        fired = replace(late.instance, annotations={**late.instance.annotations, "late": _NOTE})
        instances[key] = fired
        raised.append(replace(late, instance=fired))
    return (replace(state, instances=instances), tuple(raised)) if raised else (state, ())


def _would_have_fired(
    rule: Rule, state: RuleState, again: Sequence[tuple[datetime, Outcome]], own: Collection[str]
) -> list[Transition]:
    """Walk through closed slots from nothing but what was seen before."""
    seen = {
        key: Instance(key, known.labels, first_seen_at=known.first_seen_at)
        for key, known in state.instances.items()
        if key not in own
    }
    then = RuleState(rule.definition, instances=seen)
    fired: list[Transition] = []
    for slot, outcome in again:
        evaluation = evaluate(rule, outcome, then, slot)
        then = evaluation.state
        fired += (t for t in evaluation.transitions if t.status is Status.FIRING)
    # Rows that are not there are no news, and what a rule tells of itself was told in its time.
    return [t for t in fired if t.instance.fingerprint not in own and t.instance.health is not Health.NO_DATA]
