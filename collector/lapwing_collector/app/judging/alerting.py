"""Evaluates rules slot by slot as their data becomes complete; each slot is committed by itself."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Self

from lapwing_collector.app.judging.briefing import Brief
from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.app.judging.evaluating import (
    ReadRows,
    RunQuery,
    is_complete,
    or_failing,
    outcome_by,
    reading,
)
from lapwing_collector.app.judging.lateness import found_late, marked_late
from lapwing_collector.app.judging.sleeping import Sleepers
from lapwing_collector.app.judging.turns import Turns
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.engine import identifier
from lapwing_collector.errors import NotSeenYetError, QueryError, StateUnavailableError
from lapwing_collector.model.alerts import RuleId, RuleState, Transition
from lapwing_collector.rules import (
    NO_ROWS,
    Outcome,
    QueryFailure,
    Readiness,
    Rule,
    Skipped,
    evaluate,
    next_due,
    reached,
    readiness,
    rule_deleted,
    rule_disabled,
)
from lapwing_collector.state import SlotCommittedError, Store

logger = logging.getLogger(__name__)

SPACING_S: Final = 0.04

_TICK_S: Final = 1.0
_LOOK_UP_S: Final = 30.0
_BUSY_TICK_S: Final = 0.25
_COUNTED_AT_MOST: Final = 100_000
_AGAIN_S: Final = 5.0
"""How soon a slot that has to wait is tried again."""
_SHORTEST_STEP: Final = timedelta(seconds=1)
_LONGEST_STEP: Final = timedelta(days=1)
"""A clock that is set forward by more was wrong before: it is as if the collector had not run."""


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


@dataclass(frozen=True, slots=True)
class _RuleSet:
    """The rules as the files have them.

    Attributes:
        rules: Those that are enabled.
        known: All of them.
        tables: The models' tables that the SQL of each names, lower-cased.
        read: All of these.
        complete: Whether these are all: those that are not among them are deleted.
        spread_s: How long after its slot is due each begins, where others are due at the same moment.
    """

    rules: Mapping[RuleId, Rule]
    known: frozenset[RuleId]
    tables: Mapping[RuleId, Collection[str]]
    read: frozenset[str]
    complete: bool
    spread_s: Mapping[RuleId, float]

    @classmethod
    def of(
        cls,
        rules: Sequence[Rule],
        tables: Mapping[RuleId, Collection[str]],
        spacing_s: float,
        *,
        complete: bool,
    ) -> Self:
        enabled = sorted((rule for rule in rules if rule.enabled), key=_order)
        spread_s = {
            rule.id: number * min(spacing_s, rule.slots.grid.total_seconds() / 2 / len(enabled))
            for number, rule in enumerate(enabled)
        }
        known = frozenset(rule.id for rule in rules)
        read = frozenset(table for named in tables.values() for table in named)
        return cls({rule.id: rule for rule in enabled}, known, tables, read, complete, spread_s)


@dataclass(slots=True)
class Punctuality:
    """How well rules keep to their slots, since the start.

    Attributes:
        started: Evaluations that began.
        delay_s: By how much these began late, together: after the slot was due and its rule's turn.
        overruns: Evaluations during which the next slot of the rule became due.
        missed: Slots that were passed over, since they were too late, or as their rule says.
    """

    started: int = 0
    delay_s: float = 0.0
    overruns: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True)
class _Decided:
    """A slot that is committed.

    Attributes:
        transitions: What it led to.
        outcome: What the rule's SQL gave.
        as_of: All that was received up to then was looked at.
        committed: Where the state has the transitions.
    """

    transitions: Sequence[Transition]
    outcome: Outcome
    as_of: datetime
    committed: int


class Alerting:
    """Evaluates rules when their slots are due: of each rule one slot at a time, some rules at a time."""

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
        read_rows: ReadRows | None = None,
        brief: Brief | None = None,
        spacing_s: float = SPACING_S,
        monotonic_s: Callable[[], float] = time.monotonic,
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
            read_rows: Answers the SQL of rules, where that is quicker than `run_query`.
            brief: Gives transitions what people are told beside them; nothing if None.
            spacing_s: From the start of one rule to that of the next where slots of both are due at the same
                moment, lest all queue behind each other.
            monotonic_s: Seconds that pass whatever is done to the wall clock.
        """
        self._store = store
        self._completeness = completeness
        self._run_query = or_failing(run_query)
        self._read_rows = or_failing(read_rows or reading(run_query))
        self._brief = brief
        self._dispatcher = dispatcher
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._states: dict[RuleId, RuleState] = {}
        self._begun: dict[RuleId, datetime] = {}
        self._waits_until_s: dict[RuleId, float] = {}
        self._counts = dict.fromkeys(("evaluated", "no_data", "failed", "skipped"), 0)
        self._punctuality = Punctuality()
        self._counting = threading.Lock()
        self._spacing_s = spacing_s
        self._set = _RuleSet.of(rules, tables, spacing_s, complete=True)
        self._sleepers = Sleepers(self._set.rules)
        self._ended: _RuleSet | None = None
        self._started = self._now()
        self._anchor = self._started, monotonic_s(), timedelta()
        self._to_come: set[RuleId] | None = None
        self._coming = threading.Lock()
        self._caught_up = threading.Event()
        self._learnt: set[str] = set()
        self._turns: Turns[RuleId] = Turns(workers, now_s=monotonic_s)
        self._work = threading.Event()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch, name="lapwing-rules", daemon=True)]
        self._threads += [
            threading.Thread(target=self._serve, name=f"lapwing-rule-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        """Begin; after `prepare`."""
        for thread in self._threads:
            thread.start()

    def load(self) -> None:
        """Begin with what was kept; before anything is evaluated."""
        self._states = self._store.load_rules()
        self._ended = None

    def prepare(self) -> None:
        """Resolve what deleted rules had announced, and give new ones their first slot."""
        self._end_rules()
        if not self._completeness.replaying:
            self.place_new_rules()

    def use(
        self, rules: Sequence[Rule], tables: Mapping[RuleId, Collection[str]], *, complete: bool = True
    ) -> None:
        """Go on with other rules, as files have them now; what is remembered of those that stay is kept.

        Args:
            rules: In place of those so far.
            tables: The models' tables that each rule's SQL names, lower-cased.
            complete: Whether there are no others; if not, nothing is taken for deleted.
        """
        self._set = _RuleSet.of(rules, tables, self._spacing_s, complete=complete)
        self._sleepers = Sleepers(self._set.rules)
        if not self._completeness.replaying:
            self.place_new_rules()
        self._work.set()

    def look(self) -> None:
        """Look now for slots that are due: the lake has new rows."""
        self._work.set()

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
        since = state.since if state is not None and state.since is not None else rule.slots.before(newest)
        return Reached(since, newest, committed)

    def counts(self) -> Mapping[str, int]:
        """Slots committed since the start, by what came out."""
        with self._counting:
            return dict(self._counts)

    def punctuality(self) -> Punctuality:
        """How well rules keep to their slots."""
        with self._counting:
            return replace(self._punctuality)

    @property
    def caught_up(self) -> bool:
        """Whether every rule of which a slot was due at the start has had an evaluation."""
        return self._caught_up.is_set()

    def work(self) -> None:
        """Evaluate what is due, here and now."""
        self._waits_until_s.clear()
        self._look(spread=False)
        while turn := self._turns.take(wait=False):
            self._serve_one(*turn, spread=False)

    def close(self, timeout_s: float) -> bool:
        """Finish the slots at hand and stop; tells whether they were in time."""
        self._stop.set()
        self._work.set()
        self._turns.close()
        until_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(until_s - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    # What is due

    def _watch(self) -> None:
        """Look for slots that are due whenever one may be."""
        patience_s = 0.0
        while not self._stop.is_set():
            self._work.wait(patience_s)
            self._work.clear()
            try:
                patience_s = self._look(spread=True)
            except StateUnavailableError:
                patience_s = _TICK_S
            except Exception:
                patience_s = _TICK_S
                logger.exception("rules could not be looked after", extra={"action": "rules_failed"})

    def _look(self, *, spread: bool) -> float:
        """Offer what is due; gives the seconds after which there is more to offer, if nothing comes before.

        Args:
            spread: Let rules that are due at the same moment start one after another.
        """
        self._catch_up_with_lake()
        self._end_rules()
        self._completeness.advance()
        patience_s = _TICK_S
        now = self._now()
        rules = self._set.rules
        begins = self._to_come is None and self._set.complete
        if begins:  # before any is offered: from then on each may end at any moment
            with self._coming:
                self._to_come = set(rules)
        awake, next_at = self._sleepers.awake(now)
        if next_at is not None:
            patience_s = min(patience_s, (next_at - now).total_seconds())
        for rule in filter(None, map(rules.get, awake)):
            if not self._turns.busy(rule.id):
                patience_s = min(patience_s, self._try_to_offer(rule, now, spread=spread))
        if begins:
            self._come([rule for rule in rules if not self._turns.busy(rule)])
        return patience_s

    def _try_to_offer(self, rule: Rule, now: datetime, *, spread: bool) -> float:
        """The same for a rule of which it may fail; then it is tried again with a turn, before long."""
        try:
            return self._offer(rule, now, spread=spread)
        except StateUnavailableError:
            again_s = _TICK_S
        except Exception:
            again_s = _AGAIN_S
            logger.exception("rule %s: it cannot be told what is due", rule.id)
        self._turns.offer(rule.id, now, self._monotonic_s() + again_s)
        return _TICK_S

    def _offer(self, rule: Rule, now: datetime, *, spread: bool) -> float:
        """Let a rule have its turn if one of its slots is due; gives the seconds until one may be."""
        sleepers = self._sleepers
        found = self._due(rule)
        if found is None:
            return _TICK_S
        slot, due, cursor = found
        if slot is None:
            slot = rule.slots.after(cursor)
            # Nothing of it can be due before, whatever comes, unless its file is another one by now.
            if not self._completeness.replaying and self._set.rules.get(rule.id) is rule:
                sleepers.sleep(rule.id, slot)
            return self._seconds_until(rule, slot, now)
        # In a replay those with the earliest slots go first, so that people hear of things in order.
        begins_s = 0.0 if self._completeness.replaying else self._monotonic_s()
        if begins_s and spread and self.caught_up and rule.slots.after(slot) > due:
            begins_s += self._set.spread_s.get(rule.id, 0.0)
        self._turns.offer(rule.id, slot, max(begins_s, self._waits_until_s.get(rule.id, 0.0)))
        return _TICK_S

    def _due(self, rule: Rule) -> tuple[datetime | None, datetime, datetime] | None:
        """The slot that is due of a rule, up to when slots are, and its cursor; None if that is unknown."""
        marks = self._completeness.marks(self._set.tables.get(rule.id, ()))
        cursor = self._cursor(rule) if marks is not None else None
        if marks is None or cursor is None:
            return None
        due = reached(rule, self._completeness.now(marks), marks)
        if self._completeness.replaying:  # nothing is ever late
            return next_due(rule, cursor, due, cursor, cursor), due, cursor
        return next_due(rule, cursor, due, self._lived(), self._started), due, cursor

    def _lived(self) -> datetime:
        """The time; but what the clock left out where it was set forward has not passed by unused."""
        now = self._now()
        since, since_s, behind = self._anchor
        lag = now - since - timedelta(seconds=self._monotonic_s() - since_s)
        if lag - behind > _LONGEST_STEP:
            logger.warning("the clock was set forward by %s", lag - behind, extra={"action": "clock_stepped"})
            self._started = now
        if lag - behind > _LONGEST_STEP or lag < -_SHORTEST_STEP:
            self._anchor = now, self._monotonic_s(), timedelta()
            return now
        lag = max(lag, timedelta())
        self._anchor = since, since_s, lag
        return now - lag

    def _seconds_until(self, rule: Rule, slot: datetime, now: datetime) -> float:
        """When a slot may be due: when its time comes, or at the latest, unless rows wait to be written."""
        idle_after = self._completeness.idle_after
        if idle_after is None:
            return _TICK_S
        moments = slot, slot - rule.query_offset + idle_after
        return (
            min((at - now).total_seconds() for at in moments if at > now)
            if max(moments) > now
            else _BUSY_TICK_S
        )

    # Whose turn it is

    def _serve(self) -> None:
        """Evaluate one slot after another."""
        while turn := self._turns.take(wait=True):
            self._serve_one(*turn, spread=True)

    def _serve_one(self, rule_id: RuleId, late_s: float, *, spread: bool) -> None:
        rule = self._set.rules.get(rule_id)
        done = False
        try:
            done = rule is not None and not self._stop.is_set() and self._try_to_evaluate(rule, late_s)
            if done:
                self._waits_until_s.pop(rule_id, None)
            else:
                self._waits_until_s[rule_id] = self._monotonic_s() + _AGAIN_S
        finally:
            self._turns.done(rule_id)
            self._come([rule_id])
        if rule is not None and done and self._try_to_offer(rule, self._now(), spread=spread) < _TICK_S:
            self._work.set()  # it may be due before it is looked for

    def _come(self, rules: Iterable[RuleId]) -> None:
        """Take note that these had an evaluation since the start, or that none of their slots was due."""
        if self._caught_up.is_set():
            return
        with self._coming:
            if self._to_come is None:
                return
            self._to_come.difference_update(rules)
            if self._to_come or self._caught_up.is_set():
                return
            self._caught_up.set()
        self._dispatcher.look()  # it holds back what it has to tell until now

    def _now(self) -> datetime:
        return utc_datetime(self._clock.now_ns())

    def _cursor(self, rule: Rule) -> datetime | None:
        """The newest evaluated slot; in a replay a new rule starts with the data. None if that is unknown."""
        state = self._states.get(rule.id)
        if state is not None and state.slot is not None:
            return state.slot
        if state is None and not self._completeness.replaying:
            return None  # it was read just now, and is given a first slot next
        sql = "SELECT lower(table_name) AS name, min(first_seen) AS at FROM models GROUP BY 1"
        try:
            rows = self._run_query(sql, {}, _LOOK_UP_S).to_pylist()
        except QueryError as error:
            logger.warning("rule %s: cannot tell where the data begins: %s", rule.id, error)
            return None
        seen: dict[str, datetime] = {row["name"]: row["at"] for row in rows}
        named = [seen[table] for table in self._set.tables.get(rule.id, ()) if table in seen]
        return min(named or seen.values(), default=None)

    def _try_to_evaluate(self, rule: Rule, late_s: float) -> bool:
        """Evaluate and commit what is due; False where it has to wait, or failed."""
        try:
            return self._evaluate_due(rule, late_s)
        except StateUnavailableError:
            return False
        except Exception:
            logger.exception("rule %s could not be evaluated", rule.id)
            return False

    def _evaluate_due(self, rule: Rule, late_s: float) -> bool:
        found = self._due(rule)
        slot, due, _ = found or (None, None, None)
        if slot is None or due is None:
            return True  # there is nothing any more that it could wait for
        if not self._completeness.replaying:
            with self._counting:
                self._punctuality.started += 1
                self._punctuality.delay_s += late_s
        try:
            decided = self._evaluate(rule, slot, late=rule.slots.after(slot) <= due)
        except SlotCommittedError:
            self._learn_again(rule)
            return False
        if decided is None:
            return False
        following = rule.slots.after(slot)
        if not self._completeness.replaying and due < following <= self._now():
            with self._counting:
                self._punctuality.overruns += 1
        if decided.transitions:
            self._tell(rule, decided)
        return True

    def _tell(self, rule: Rule, decided: _Decided) -> None:
        """Let people be told of transitions that are committed, with what can be found out beside them."""
        if self._brief is not None:
            if rule.sample is not None:
                self._dispatcher.wait()  # for what may take longer than people are to wait
            try:
                tables = self._set.tables.get(rule.id, ())
                briefed = self._brief(rule, tables, decided.transitions, decided.outcome, decided.as_of)
                self._dispatcher.know_more(decided.committed, briefed, rule.condition)
            except StateUnavailableError:
                pass
            except Exception:
                logger.exception("alerts of rule %s are told as they are", rule.id)
        self._dispatcher.look()

    def _learn_again(self, rule: Rule) -> None:
        """Go on from what was committed, by whomever: by this process, where the answer to it was lost."""
        with suppress(StateUnavailableError):  # then it is refused once more
            self._states[rule.id] = self._store.load_rules()[rule.id]
        self._dispatcher.look()

    def _evaluate(self, rule: Rule, slot: datetime, *, late: bool) -> _Decided | None:
        """Evaluate and commit a slot; None where it has to wait."""
        begun_before = self._begun.get(rule.id)
        self._begun[rule.id] = slot  # before anything is looked at: what comes after may be missed
        as_of = self._completeness.as_of()
        complete = is_complete(self._run_query, rule, slot, as_of)
        marks = self._completeness.marks(self._set.tables.get(rule.id, ())) or [slot]
        outcome: Outcome
        match readiness(rule, slot, self._completeness.now(marks), complete=complete):
            case Readiness.HOLD:
                if begun_before is None:
                    del self._begun[rule.id]
                else:
                    self._begun[rule.id] = begun_before
                return None
            case Readiness.SKIP:
                outcome = Skipped()
            case Readiness.NO_DATA:
                outcome = NO_ROWS
            case Readiness.EVALUATE:
                outcome = outcome_by(self._read_rows, rule, slot, as_of)
        if self._stop.is_set():
            return None  # the query may have been cut off
        before = self._states.get(rule.id, RuleState(rule.definition))
        incomplete = rule.wait_for is not None and not complete
        found = found_late(self._store, self._run_query, rule, before, as_of)
        evaluation = evaluate(rule, outcome, found.state, slot, incomplete=incomplete)
        transitions = marked_late((*found.transitions, *evaluation.transitions), slot, late=late)
        committed = self._store.commit(
            rule.id,
            evaluation.state,
            transitions,
            self._dispatcher.changes(transitions, rule.condition, awaits_context=self._brief is not None),
            evaluation.metrics,
            self._now(),
            before=before,
            as_of=as_of,
        )
        self._states[rule.id] = evaluation.state
        if found.done:
            self._store.looked_at_again(rule.id, found.done)
        missed = self._missed(rule, before.slot, slot)
        with self._counting:
            self._counts[_kind(outcome)] += 1
            self._punctuality.missed += missed
        if evaluation.state.error is not None and evaluation.state.error != before.error:
            logger.warning("rule %s fails since slot %s: %s", rule.id, slot, evaluation.state.error)
        return _Decided(transitions, outcome, as_of, committed)

    def _missed(self, rule: Rule, before: datetime | None, slot: datetime) -> int:
        """How many slots were passed over from one to the other."""
        if before is None or rule.slots.before(slot) <= before:
            return 0
        missed = sum(1 for _ in islice(rule.slots.between(before, slot), _COUNTED_AT_MOST)) - 1
        logger.warning(
            "rule %s: %d slots after %s are passed over, as catch_up says",
            rule.id,
            missed,
            before,
            extra={"action": "slots_missed"},
        )
        return missed

    # Rules that come and go

    def place_new_rules(self) -> None:
        """Let rules never seen before start with the present; a restart then does not move their start."""
        now = self._now()
        new = {}
        for rule in self._set.rules.values():
            if rule.id not in self._states:
                current = rule.slots.upto(now)
                new[rule.id] = RuleState(rule.definition, slot=current, since=current)
        self._store.place(new)
        self._states |= new

    def _end_rules(self) -> None:
        """Let rules that are deleted or switched off say what is over."""
        states = [*self._states.items()]  # first: rules that are read meanwhile are not taken for deleted
        rules = self._set
        if self._ended is rules or not rules.complete:
            return
        busy = False
        for rule_id, state in states:
            if rule_id in rules.rules:
                continue
            if self._turns.busy(rule_id):  # what it decides at the moment is not to come after its last words
                busy = True
            elif rule_id not in rules.known:
                transitions = rule_deleted(rule_id, state)
                changes = self._dispatcher.changes(transitions, None)
                self._store.forget_rule(rule_id, transitions, changes, self._now())
                del self._states[rule_id]
            elif state.instances:
                transitions = rule_disabled(rule_id, state)
                changes = self._dispatcher.changes(transitions, None)
                self._store.forget_alerts(rule_id, transitions, changes, self._now())
                self._states[rule_id] = replace(state, instances={})
        if not busy:
            self._ended = rules

    def _catch_up_with_lake(self) -> None:
        """Learn the newest rows of tables of which nothing told this process yet."""
        tables = set(self._set.read - self._learnt)
        for table in sorted(tables if self._completeness.replaying else self._completeness.unknown(tables)):
            sql = f"SELECT max(time) AS time FROM predictions_all.{identifier(table)}"
            try:
                newest = self._run_query(sql, {}, _LOOK_UP_S).column("time").combine_chunks()
            except NotSeenYetError:
                logger.info("rules wait for the first prediction of %s", table)
            except QueryError as error:
                logger.warning("the newest row of %s is not known, it is tried again: %s", table, error)
                tables.discard(table)
            else:
                self._completeness.saw({table: newest.drop_null()})
        self._learnt |= tables


def _order(rule: Rule) -> bytes:
    """By chance, and the same whenever it is asked."""
    return hashlib.blake2b(str(rule.id).encode(), digest_size=8).digest()


def _kind(outcome: Outcome) -> str:
    match outcome:
        case Skipped():
            return "skipped"
        case QueryFailure():
            return "failed"
        case _:
            return "no_data" if outcome is NO_ROWS else "evaluated"
