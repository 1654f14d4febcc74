"""A rule's way through the past: what its SQL gives slot by slot, and what the engine makes of it.

`rules run`, `rules test` and `rules backtest` walk alike; they differ in where rows come from, and in what
they do with what comes out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zlib import crc32

from lapwing_collector.app.judging.evaluating import RunQuery, is_complete, outcome_of, outcomes_of
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.rules import (
    ALL_KNOWN,
    NO_ROWS,
    Evaluation,
    Outcome,
    Readiness,
    Rows,
    Rule,
    Skipped,
    evaluate,
    readiness,
)

_FEW: Final = 8
"""Slots that are asked for one by one where one query does not answer for all of them."""


class DiffersError(Exception):
    """A query for many slots gives something else than queries for each of them."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule's SQL gave at a past slot.

    Attributes:
        slot: When.
        outcome: What became of the SQL.
        incomplete: `wait_for` would have waited in vain.
    """

    slot: datetime
    outcome: Outcome
    incomplete: bool


def look(run_query: RunQuery, rule: Rule, slot: datetime) -> Look:
    """Ask for what a rule sees at a past slot, with all that is known of it by now."""
    complete = is_complete(run_query, rule, slot, ALL_KNOWN)
    incomplete = rule.wait_for is not None and not complete
    latest = slot + rule.wait_for.timeout if rule.wait_for else slot
    match readiness(rule, slot, latest, complete=complete):
        case Readiness.SKIP:
            return Look(slot, Skipped(), incomplete)
        case Readiness.NO_DATA:
            return Look(slot, NO_ROWS, incomplete)
        case _:
            return Look(slot, outcome_of(run_query, rule, slot, ALL_KNOWN), incomplete)


def look_at_once(run_query: RunQuery, rule: Rule, slots: Sequence[datetime]) -> list[Look]:
    """Ask for what a rule sees at past slots in one query, as far as that is possible.

    Raises:
        DiffersError: A slot that is asked for alone gives something else.
    """
    found = outcomes_of(run_query, rule, slots, ALL_KNOWN) if rule.wait_for is None else None
    if found is not None:
        looks = [Look(slot, outcome, False) for slot, outcome in zip(slots, found, strict=True)]
        # What SQL means does not change by being asked for many slots, but the order in which it adds up may.
        tried = crc32(slots[0].isoformat().encode()) % len(slots)  # any of them, and the same each time
        if not _are_alike(looks[tried].outcome, look(run_query, rule, slots[tried]).outcome):
            raise DiffersError
        return looks
    if len(slots) <= _FEW:
        return [look(run_query, rule, slot) for slot in slots]
    half = len(slots) // 2
    return [each for part in (slots[:half], slots[half:]) for each in look_at_once(run_query, rule, part)]


def _are_alike(one: Outcome, other: Outcome) -> bool:
    if not isinstance(one, Rows) or not isinstance(other, Rows):
        return one == other
    # NaN is like no other number, but is written as any; the order of rows means nothing.
    return one.columns == other.columns and sorted(map(repr, one.tuples)) == sorted(map(repr, other.tuples))


def walk(rule: Rule, looks: Iterable[Look]) -> Iterator[tuple[Look, Evaluation]]:
    """Evaluate a rule from nothing over slots in order; what is remembered is the evaluation's state."""
    state = RuleState(rule.definition)
    for seen in looks:
        evaluation = evaluate(rule, seen.outcome, state, seen.slot, incomplete=seen.incomplete)
        state = evaluation.state
        yield seen, evaluation
