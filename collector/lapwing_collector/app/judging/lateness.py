"""Alerts that late rows show: closed slots of a rule with `check_late` that were touched, judged again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from lapwing_collector.app.judging.evaluating import RunQuery, outcome_of
from lapwing_collector.model.alerts import RuleState, Transition
from lapwing_collector.rules import QueryFailure, Rule, raise_late, slots_to_judge_again
from lapwing_collector.state import Store

_AT_ONCE: Final = 60
"""Closed slots that are judged beside one live slot, which waits for them; the others are with the next."""


@dataclass(frozen=True, slots=True)
class Found:
    """What late rows show.

    Attributes:
        state: What is to be remembered of the rule.
        transitions: What people are to be told.
        done: Slots that need not be looked at again, with when they were touched.
    """

    state: RuleState
    transitions: tuple[Transition, ...]
    done: Mapping[datetime, datetime]


def found_late(store: Store, run_query: RunQuery, rule: Rule, state: RuleState, as_of: datetime) -> Found:
    """Judge closed slots of a rule again that late rows touched, before its next slot is.

    Args:
        store: Knows which these are, and what was told.
        run_query: Answers SQL over the lake.
        rule: Whose.
        state: What is remembered of it.
        as_of: All that was received up to then is in the lake.
    """
    newest = state.slot
    touched = store.touched(rule.id) if rule.check_late and newest is not None else {}
    if newest is None or not touched:
        return Found(state, (), {})
    oldest = newest - rule.check_late
    done: dict[datetime, datetime] = {}
    again: list[datetime] = []
    for slot, touched_at in touched.items():
        if oldest < slot <= newest:
            more = slots_to_judge_again(rule, [*done, slot], newest)
            if again and len(more) > _AT_ONCE:
                break
            again = more
        if slot <= newest:
            done[slot] = touched_at
    outcomes = [(slot, outcome_of(run_query, rule, slot, as_of)) for slot in again]
    resolved = store.resolved_since(rule.id, again[0]) if again else {}
    after, transitions = raise_late(rule, state, outcomes, resolved)
    failed = any(isinstance(outcome, QueryFailure) for _, outcome in outcomes)
    return Found(after, transitions, {} if failed else done)


def marked_late(transitions: Sequence[Transition], slot: datetime, *, late: bool) -> list[Transition]:
    """Mark what people hear of when it is past; an alert that late rows show, with its end at once, too.

    Args:
        transitions: What the evaluation of a slot came to, with what late rows show.
        slot: That slot.
        late: Whether the slot itself is evaluated late.
    """
    shown = {each.instance.fingerprint for each in transitions if each.slot < slot}
    return [replace(each, late=late or each.instance.fingerprint in shown) for each in transitions]
