"""Evaluates rules slot by slot as their data becomes complete; each slot is committed by itself."""

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from lapwing_collector.app.briefing import Brief
from lapwing_collector.app.completeness import Completeness
from lapwing_collector.app.dispatching import Dispatcher
from lapwing_collector.app.evaluating import RunQuery, is_complete, outcome_of, sampled
from lapwing_collector.app.lateness import found_late
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.engine import identifier
from lapwing_collector.errors import NotSeenYetError, QueryError
from lapwing_collector.model.alerts import RuleId, RuleState
from lapwing_collector.rules import (
    NO_ROWS,
    Outcome,
    QueryFailure,
    Readiness,
    Rule,
    Skipped,
    due_slots,
    evaluate,
    next_slot,
    readiness,
    rule_deleted,
)
from lapwing_collector.state import SlotCommittedError, Store

logger = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_LOOK_UP_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a rule has come.

    Attributes:
        since: The slots after this one were evaluated.
        begun: The newest slot whose evaluation has begun.
        committed: The newest slot whose evaluation is known.
    """

    since: datetime
    begun: datetime
    committed: datetime | None


class Alerting:
    """Evaluates rules when their slots are due."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        tables: Mapping[RuleId, Collection[str]],
        store: Store,
        completeness: Completeness,
        run_query: RunQuery,
        dispatcher: Dispatcher,
        clock: Clock,
        workers: int,
        brief: Brief = lambda _rule, _tables, transitions, _outcome, _as_of: transitions,
    ) -> None:
        """Wire the parts.

        Args:
            rules: As the files have them.
            tables: The models' tables that each rule's SQL names, lower-cased.
            store: State and outbox.
            completeness: Tells which slots can be judged.
            run_query: Answers SQL over the lake.
            dispatcher: Tells people of transitions.
            clock: The wall clock.
            workers: How many rules are evaluated at a time; one rule's slots always come one after another.
            brief: Gives transitions what people are told beside them.
        """
        self._known = {rule.id for rule in rules}
        self._rules = [rule for rule in rules if rule.enabled]
        self._tables = tables
        self._store = store
        self._completeness = completeness
        self._run_query = run_query
        self._brief = brief
        self._dispatcher = dispatcher
        self._clock = clock
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="lapwing-rule")
        self._states = store.load_rules()
        self._begun: dict[RuleId, datetime] = {}
        self._counts = dict.fromkeys(("evaluated", "no_data", "failed", "skipped"), 0)
        self._counting = threading.Lock()
        self._caught_up = False
        self._evaluated = False
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-rules", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.prepare()
        self._thread.start()

    def prepare(self) -> None:
        """Resolve what deleted rules had announced, and give new ones their first slot."""
        self._forget_deleted_rules()
        if not self._completeness.replaying:
            self.place_new_rules()

    def look(self) -> None:
        """Look now for slots that are due: the lake has new rows."""
        self._work.set()

    @property
    def caught_up(self) -> bool:
        """Whether every rule of which a slot was due at the start has been looked at since."""
        return self._evaluated

    def reached(self, rule: Rule) -> Reached | None:
        """How far `rule` has come; None before its first slot.

        A slot that begins after this call sees all that is in the lake now.
        """
        begun = self._begun.get(rule.id)
        state = self._states.get(rule.id)
        committed = None if state is None else state.slot
        newest = max((slot for slot in (begun, committed) if slot is not None), default=None)
        if newest is None:
            return None
        since = state.since if state is not None and state.since is not None else newest - rule.interval
        return Reached(since, newest, committed)

    def counts(self) -> Mapping[str, int]:
        """Slots committed since the start, by what came out."""
        with self._counting:
            return dict(self._counts)

    def work(self) -> None:
        """Evaluate what is due."""
        if not self._caught_up:
            self._catch_up_with_lake()
            self._caught_up = True
        self._completeness.advance()
        self._evaluate_due()
        self._evaluated = True

    def close(self, timeout_s: float) -> bool:
        """Finish the slot at hand and stop; tells whether it did in time."""
        self._stop.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._workers.shutdown(wait=False)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._work.wait(_TICK_S)
            self._work.clear()
            try:
                self.work()
            except Exception:
                # What was not committed is evaluated again with the next tick.
                logger.exception("rules could not be evaluated", extra={"action": "rules_failed"})

    def _now(self) -> datetime:
        return utc_datetime(self._clock.now_ns())

    def _evaluate_due(self) -> None:
        """Evaluate what is due, in event time over all rules, so that people hear of things in order."""
        due: dict[datetime, list[Rule]] = {}
        for rule in self._rules:
            for slot in self._due_slots(rule):
                due.setdefault(slot, []).append(rule)
        held: set[RuleId] = set()
        for slot in sorted(due):
            rules = [rule for rule in due[slot] if rule.id not in held]
            done = list(self._workers.map(partial(self._try_to_evaluate, slot=slot), rules))
            held.update(rule.id for rule, evaluated in zip(rules, done, strict=True) if not evaluated)

    def _due_slots(self, rule: Rule) -> list[datetime]:
        marks = self._completeness.marks(self._tables[rule.id])
        if marks is None:
            return []
        cursor = self._cursor(rule)
        return list(due_slots(rule, cursor, self._completeness.now(marks), marks)) if cursor else []

    def _cursor(self, rule: Rule) -> datetime | None:
        """The newest evaluated slot; in a replay a new rule starts with the data. None if that is unknown."""
        state = self._states.get(rule.id)
        if state is not None and state.slot is not None:
            return state.slot
        sql = "SELECT lower(table_name) AS name, min(first_seen) AS at FROM models GROUP BY 1"
        try:
            rows = self._run_query(sql, {}, _LOOK_UP_S).to_pylist()
        except QueryError as error:
            logger.warning("rule %s: cannot tell where the data begins: %s", rule.id, error)
            return None
        seen: dict[str, datetime] = {row["name"]: row["at"] for row in rows}
        named = [seen[table] for table in self._tables[rule.id] if table in seen]
        return min(named or seen.values(), default=None)

    def _try_to_evaluate(self, rule: Rule, slot: datetime) -> bool:
        """Evaluate and commit one slot; False where it has to wait. A rule that fails holds up no other."""
        try:
            return not self._stop.is_set() and self._evaluate(rule, slot)
        except SlotCommittedError:
            self._states[rule.id] = self._store.load_rules()[rule.id]
        except Exception:
            logger.exception("rule %s: slot %s could not be evaluated", rule.id, slot)
        return False

    def _evaluate(self, rule: Rule, slot: datetime) -> bool:
        begun_before = self._begun.get(rule.id)
        self._begun[rule.id] = slot  # before anything is looked at: what comes after may be missed
        as_of = self._completeness.as_of()
        complete = is_complete(self._run_query, rule, slot, as_of)
        marks = self._completeness.marks(self._tables[rule.id]) or [slot]
        outcome: Outcome
        match readiness(rule, slot, self._completeness.now(marks), complete=complete):
            case Readiness.HOLD:
                if begun_before is None:
                    del self._begun[rule.id]
                else:
                    self._begun[rule.id] = begun_before
                return False
            case Readiness.SKIP:
                outcome = Skipped()
            case Readiness.NO_DATA:
                outcome = NO_ROWS
            case Readiness.EVALUATE:
                outcome = outcome_of(self._run_query, rule, slot, as_of)
        if self._stop.is_set():
            return False  # the query may have been cut off
        before = self._states.get(rule.id, RuleState(rule.definition))
        incomplete = rule.wait_for is not None and not complete
        found = found_late(self._store, self._run_query, rule, before, as_of)
        evaluation = evaluate(rule, outcome, found.state, slot, incomplete=incomplete)
        evaluation = sampled(self._run_query, rule, outcome, evaluation, slot, as_of)
        evaluation = replace(evaluation, transitions=(*found.transitions, *evaluation.transitions))
        transitions = self._brief(rule, self._tables[rule.id], evaluation.transitions, outcome, as_of)
        self._store.commit(
            rule.id,
            evaluation.state,
            transitions,
            self._dispatcher.changes(transitions, rule.condition),
            evaluation.metrics,
            self._now(),
            as_of=as_of,
        )
        self._states[rule.id] = evaluation.state
        if found.done:
            self._store.looked_at_again(rule.id, found.done)
        with self._counting:
            self._counts[_kind(outcome)] += 1
        if evaluation.state.error is not None and evaluation.state.error != before.error:
            logger.warning("rule %s fails since slot %s: %s", rule.id, slot, evaluation.state.error)
        if evaluation.transitions:
            self._dispatcher.look()
        return True

    def place_new_rules(self) -> None:
        """Let rules never seen before start with the present; a restart then does not move their start."""
        now = self._now()
        for rule in self._rules:
            if rule.id not in self._states:
                current = next_slot(now, rule.interval) - rule.interval
                self._states[rule.id] = RuleState(rule.definition, slot=current, since=current)
                self._store.commit(rule.id, self._states[rule.id], (), (), (), now)

    def _forget_deleted_rules(self) -> None:
        for rule_id, state in list(self._states.items()):
            if rule_id not in self._known:
                transitions = rule_deleted(rule_id, state)
                changes = self._dispatcher.changes(transitions, None)
                self._store.forget_rule(rule_id, transitions, changes, self._now())
                del self._states[rule_id]

    def _catch_up_with_lake(self) -> None:
        """Learn the newest rows that an earlier process wrote, of which nothing tells this one."""
        for table in sorted({table for tables in self._tables.values() for table in tables}):
            sql = f"SELECT max(time) AS time FROM predictions_all.{identifier(table)}"
            try:
                newest = self._run_query(sql, {}, _LOOK_UP_S).column("time").combine_chunks()
            except NotSeenYetError:
                logger.info("rules wait for the first prediction of %s", table)
                continue
            self._completeness.saw({table: newest.drop_null()})


def _kind(outcome: Outcome) -> str:
    match outcome:
        case Skipped():
            return "skipped"
        case QueryFailure():
            return "failed"
        case _:
            return "no_data" if outcome is NO_ROWS else "evaluated"
