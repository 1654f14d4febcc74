"""Evaluates rules slot by slot as their data becomes complete; each slot is committed by itself."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.engine import identifier
from lapwing_collector.errors import NotSeenYetError, QueryError
from lapwing_collector.metrics import WatermarkPolicy, newest_credible, watermark
from lapwing_collector.model.alerts import RuleId, RuleState
from lapwing_collector.notify import Target, messages_for
from lapwing_collector.rules import (
    NO_ROWS,
    Outcome,
    Query,
    QueryFailure,
    Readiness,
    Rule,
    Skipped,
    due_slots,
    evaluate,
    evaluation_query,
    readiness,
    rows_from,
    rule_deleted,
    wait_query,
)
from lapwing_collector.state import Store

logger = logging.getLogger(__name__)

_TICK_S: Final = 1.0

RunQuery = Callable[[str, Mapping[str, Any], float], pa.Table]
"""Runs SQL with parameters, within seconds."""


class Alerting:
    """Evaluates rules when their slots are due.

    Watermarks are kept by table name in lower case, as SQL tells tables apart.
    """

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        tables: Mapping[RuleId, Collection[str]],
        targets: Sequence[Target],
        store: Store,
        run_query: RunQuery,
        wake: Callable[[str], None],
        policy: WatermarkPolicy,
        clock: Clock,
        workers: int,
    ) -> None:
        """Wire the parts.

        Args:
            rules: As the files have them.
            tables: The models' tables that each rule's SQL names, lower-cased.
            targets: Who is told.
            store: State, outbox and watermarks.
            run_query: Answers SQL over the lake.
            wake: Tells that the outbox has something for a target.
            policy: How watermarks follow data and clock; without an `idle_after` only data closes slots.
            clock: The wall clock.
            workers: How many rules are evaluated at a time; one rule's slots always come one after another.
        """
        self._known = {rule.id for rule in rules}
        self._rules = [rule for rule in rules if rule.enabled]
        self._tables = tables
        self._targets = targets
        self._store = store
        self._run_query = run_query
        self._wake = wake
        self._policy = policy
        self._replaying = policy.idle_after is None
        self._clock = clock
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="lapwing-rule")
        self._states = store.load_rules()
        self._started_at = self._now()
        self._watermarks: dict[str, datetime | None] = dict(store.load_watermarks())
        self._newest: dict[str, datetime] = {}
        self._newest_lock = threading.Lock()
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-rules", daemon=True)

    def start(self) -> None:
        """Resolve what deleted rules had announced, catch up with the lake, and begin."""
        self._forget_deleted_rules()
        self._thread.start()

    def saw(self, times: Mapping[str, pa.Array]) -> None:
        """Take note of event times that are in the lake now, by table."""
        now = self._now()
        with self._newest_lock:
            for table, array in times.items():
                newest = newest_credible(array, now, self._policy)
                if newest is not None:
                    key = table.lower()
                    self._newest[key] = max(newest, self._newest.get(key, newest))
        self._work.set()

    def close(self, timeout_s: float) -> bool:
        """Finish the slot at hand and stop; tells whether it did in time."""
        self._stop.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._workers.shutdown(wait=False)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._catch_up_with_lake()
        while not self._stop.is_set():
            self._work.wait(_TICK_S)
            self._work.clear()
            try:
                self._advance_watermarks()
                self._evaluate_due()
            except Exception:
                # What was not committed is evaluated again with the next tick.
                logger.exception("rules could not be evaluated", extra={"action": "rules_failed"})

    def _now(self) -> datetime:
        return utc_datetime(self._clock.now_ns())

    def _advance_watermarks(self) -> None:
        with self._newest_lock:
            newest = dict(self._newest)
        advanced_to = self._store.advanced_to()
        now = self._now()
        moved: dict[str, datetime] = {}
        for table in {*newest, *self._watermarks}:
            previous = self._watermarks.get(table)
            mark = watermark(previous, newest.get(table), now, self._policy)
            if mark is not None and advanced_to is not None:
                mark = max(mark, advanced_to)
            if mark is not None and mark != previous:
                moved[table] = mark
        self._watermarks.update(moved)
        self._store.save_watermarks(moved)

    def _evaluate_due(self) -> None:
        """Evaluate what is due, in event time over all rules, so that people hear of things in order."""
        due: dict[datetime, list[Rule]] = {}
        for rule in self._rules:
            for slot in self._due_slots(rule):
                due.setdefault(slot, []).append(rule)
        held: set[RuleId] = set()
        for slot in sorted(due):
            rules = [rule for rule in due[slot] if rule.id not in held]
            done = self._workers.map(partial(self._evaluate, slot=slot), rules)
            held.update(rule.id for rule, evaluated in zip(rules, done, strict=True) if not evaluated)

    def _due_slots(self, rule: Rule) -> list[datetime]:
        marks = self._marks(rule)
        now = self._data_clock(marks)
        if now is None or len(marks) < len(self._tables[rule.id]):
            return []  # a model that never predicted has no slots to judge
        return list(due_slots(rule, self._cursor(rule), now, marks))

    def _marks(self, rule: Rule) -> list[datetime]:
        return [mark for table in self._tables[rule.id] if (mark := self._watermarks.get(table)) is not None]

    def _data_clock(self, marks: Collection[datetime]) -> datetime | None:
        """What time it is for a rule over models with these watermarks; None in a replay without data."""
        if not self._replaying:
            return self._now()
        return min(marks or (mark for mark in self._watermarks.values() if mark is not None), default=None)

    def _cursor(self, rule: Rule) -> datetime:
        """The newest evaluated slot; a new rule starts with the present, or in a replay with the data."""
        state = self._states.get(rule.id)
        if state is not None and state.slot is not None:
            return state.slot
        if not self._replaying:
            return self._started_at
        first = self._run_query(
            "SELECT lower(table_name) AS name, min(first_seen) AS at FROM models GROUP BY 1", {}, 30
        )
        seen: dict[str, datetime] = {row["name"]: row["at"] for row in first.to_pylist()}
        named = [seen[table] for table in self._tables[rule.id] if table in seen]
        return min(named or seen.values())

    def _evaluate(self, rule: Rule, slot: datetime) -> bool:
        """Evaluate and commit one slot; False where it has to wait."""
        if self._stop.is_set():
            return False
        complete = self._is_complete(rule, slot)
        outcome: Outcome
        now = self._data_clock(self._marks(rule)) or slot
        match readiness(rule, slot, now, complete=complete):
            case Readiness.HOLD:
                return False
            case Readiness.SKIP:
                outcome = Skipped()
            case Readiness.NO_DATA:
                outcome = NO_ROWS
            case Readiness.EVALUATE:
                outcome = self._outcome(rule, evaluation_query(rule, slot))
        if self._stop.is_set():
            return False  # the query may have been cut off
        state = self._states.get(rule.id, RuleState(rule.definition))
        incomplete = rule.wait_for is not None and not complete
        evaluation = evaluate(rule, outcome, state, slot, incomplete=incomplete)
        messages = [
            message
            for transition in evaluation.transitions
            for message in messages_for(transition, self._targets, rule.condition)
        ]
        self._store.commit(
            rule.id, evaluation.state, evaluation.transitions, messages, evaluation.metrics, self._now()
        )
        self._states[rule.id] = evaluation.state
        for target in {message.target for message in messages}:
            self._wake(target)
        return True

    def _is_complete(self, rule: Rule, slot: datetime) -> bool | None:
        query = wait_query(rule, slot)
        if query is None:
            return None
        try:
            answer = self._run_query(query.sql, query.parameters, rule.timeout.total_seconds())
        except QueryError:
            return None
        return answer.column(0)[0].as_py() if answer.num_rows else None

    def _outcome(self, rule: Rule, query: Query) -> Outcome:
        try:
            answer = self._run_query(query.sql, query.parameters, rule.timeout.total_seconds())
        except NotSeenYetError:
            return NO_ROWS
        except QueryError as error:
            return QueryFailure(str(error))
        columns = [(field.name, str(field.type)) for field in answer.schema]
        return rows_from(columns, [tuple(row.values()) for row in answer.to_pylist()])

    def _forget_deleted_rules(self) -> None:
        for rule_id, state in list(self._states.items()):
            if rule_id not in self._known:
                transitions = rule_deleted(rule_id, state)
                messages = [
                    m for transition in transitions for m in messages_for(transition, self._targets, None)
                ]
                self._store.forget_rule(rule_id, transitions, messages, self._now())
                del self._states[rule_id]

    def _catch_up_with_lake(self) -> None:
        """Learn the newest rows that an earlier process wrote, of which nothing tells this one."""
        for table in {table for tables in self._tables.values() for table in tables}:
            try:
                newest = self._run_query(
                    f"SELECT max(time) AS time FROM predictions_all.{identifier(table)}", {}, 30
                )
            except QueryError:
                continue  # no such model yet
            self.saw({table: newest.column("time").combine_chunks().drop_null().cast(pa.timestamp("us"))})
