"""A rule's way through the past: what its SQL gives slot by slot, and what the engine makes of it.

`rules run`, `rules test` and `rules backtest` walk alike; they differ in where rows come from, and in what
they do with what comes out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from lapwing_collector.app.evaluating import RunQuery, is_complete, outcome_of
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.rules import (
    ALL_KNOWN,
    NO_ROWS,
    Evaluation,
    Outcome,
    Readiness,
    Rule,
    Skipped,
    evaluate,
    readiness,
)


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


def walk(rule: Rule, looks: Iterable[Look]) -> Iterator[tuple[Look, Evaluation]]:
    """Evaluate a rule from nothing over slots in order; what is remembered is the evaluation's state."""
    state = RuleState(rule.definition)
    for seen in looks:
        evaluation = evaluate(rule, seen.outcome, state, seen.slot, incomplete=seen.incomplete)
        state = evaluation.state
        yield seen, evaluation
