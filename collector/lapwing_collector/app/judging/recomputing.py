"""Finds slots that late rows and labels touch; those of `record:` rules are evaluated behind live ones.

What was received is looked through up to a cursor that the state database keeps for each rule. A slot that
something in it touches is queued there before the cursor moves on, so that a crash loses none. Slots are then
evaluated again one by one, in a query process of their own; what has changed goes the way of live results.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from lapwing_collector.app.judging.alerting import Reached
from lapwing_collector.app.judging.evaluating import RunQuery, is_complete, or_failing, outcome_of
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.errors import ConfigError, NotSeenYetError, QueryError, StateUnavailableError
from lapwing_collector.metrics import (
    Schedule,
    chunks,
    later_than,
    rest_after,
    retry_after,
    revised,
    touched_slots,
    touching_span,
)
from lapwing_collector.model.alerts import Health, MetricRow, RuleId, RuleState
from lapwing_collector.query import PARTNERS_APART, STORED, TouchedTimes, oldest_times, touched_times
from lapwing_collector.rules import QueryFailure, Rule, evaluate, window_of
from lapwing_collector.state import LateBacklog, LateSlot, Store

logger = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_IDLE_S: Final = 60.0
"""Where no rule looks back, there is next to nothing to do."""
_LOOK_S: Final = 60.0
"""How long looking through what was received may take."""
_SHARE: Final = 0.25
"""Which part of the time it works for; the rest is for live slots and other queries."""
_SLICE: Final = 16
"""Slots that are evaluated before it is looked again."""
_QUEUED_AT_ONCE: Final = 5_000
_MOST_ASKED_FOR: Final = 1_000_000
"""Slots of a rule that a person may ask for at once."""
_SAVE_EVERY_S: Final = 60.0
"""How often cursors are saved that found nothing: as much is looked through again after a crash."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A question to the lake that rules share.

    Attributes:
        asks: What it is.
        received_from: Their cursor.
        grid: Their slots are multiples of it.
        offset: Their windows end this long before one, at most as long as `grid`.
    """

    asks: TouchedTimes
    received_from: datetime
    grid: timedelta
    offset: timedelta


class Recomputing:
    """Evaluates late slots again."""

    def __init__(
        self,
        *,
        rules: Sequence[Rule],
        sources: Mapping[RuleId, Mapping[str, Collection[str]]],
        reached: Callable[[Rule], Reached | None],
        settled: Callable[[], datetime],
        as_of: Callable[[], datetime],
        kept_from: Callable[[str, RunQuery], datetime | None],
        store: Store,
        run_query: RunQuery,
        clock: Clock,
        gather: bool,
        busy: Callable[[], bool],
    ) -> None:
        """Wire the parts.

        Args:
            rules: As the files have them.
            sources: The models' tables that each rule's SQL names, in lower case, and the schemas of each.
            reached: How far a rule has come.
            settled: Every request that came before this moment is in the lake.
            as_of: All that was received up to this moment is.
            kept_from: From when on a table has all rows that it ever had; None for all times.
            store: Cursors, late slots and the queue to the lake.
            run_query: Answers SQL over the lake; live slots use another one.
            clock: The wall clock.
            gather: Let slots rest between two evaluations, so that labels that trickle in are gathered.
            busy: Whether rows wait to be written, so that this had better wait.
        """
        self._cursors: dict[RuleId, datetime] = {}
        self._take_in(rules, sources)
        self._others: tuple[Sequence[Rule], Mapping[RuleId, Mapping[str, Collection[str]]]] | None = None
        self._reached = reached
        self._settled = settled
        self._as_of = as_of
        self._kept_from = kept_from
        self._store = store
        self._run_query = or_failing(run_query)
        self._clock = clock
        self._gather = gather
        self._busy = busy
        self._backfilled: dict[RuleId, datetime] = {}
        self._failing: dict[RuleId, str] = {}
        self._new = {table: self._now() for tables in self._sources.values() for table in tables}
        self._saved_s = time.monotonic()
        self._counts = dict.fromkeys(("changed", "unchanged", "failed"), 0)
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-late", daemon=True)

    def start(self) -> None:
        """Begin; after `prepare`."""
        self._thread.start()

    def load(self) -> None:
        """Begin with what was kept; before anything is looked for."""
        self._cursors = self._store.late_cursors()
        self._backfilled = self._store.backfilled()

    def prepare(self) -> None:
        """Look from now on for what touches new rules; called before any of their slots is evaluated."""
        self._begin_with(self._sources)

    def use(self, rules: Sequence[Rule], sources: Mapping[RuleId, Mapping[str, Collection[str]]]) -> None:
        """Go on with other rules, before any slot of the new ones among them is evaluated.

        Args:
            rules: In place of those so far.
            sources: The models' tables that each rule's SQL names, in lower case, and the schemas of each.
        """
        # First: a look at these rules needs to know from when on.
        self._begin_with(rule.id for rule in rules if rule.enabled and _looks_back(rule) and sources[rule.id])
        with self._lock:
            self._others = rules, sources
        self._work.set()

    @property
    def behind(self) -> bool:
        """Whether the rules that it was given last are to be taken up yet."""
        with self._lock:
            return self._others is not None

    def saw(self, tables: Collection[str]) -> None:
        """Take note that the lake has new rows or labels of these models' tables."""
        now = self._now()
        with self._lock:
            self._new.update((table.lower(), now) for table in tables)
        self._work.set()

    def counts(self) -> Mapping[str, int]:
        """Slots that were evaluated again since the start, by what came out."""
        with self._lock:
            return dict(self._counts)

    def backlog(self) -> LateBacklog:
        """Slots that are to be evaluated again; not those of rules that are switched off."""
        return self._store.late_backlog(but_of=self._of_others)

    def work(self) -> bool:
        """Queue what was touched since the last call, and evaluate some of it; tells whether more is due."""
        with self._lock:
            others, self._others = self._others, None
        if others is not None:
            self._take_in(*others)
            with self._lock:
                self._new |= {table: self._now() for tables in self._sources.values() for table in tables}
        self._look()
        return self._evaluate_some()

    def backfill(self, rule: Rule, after: datetime, through: datetime) -> int:
        """Queue the slots of `rule` after `after`, up to `through`, to be evaluated as late ones; how many.

        Those that end before its tables have rows are left out.

        Raises:
            ConfigError: It is no rule that records, it never was evaluated, or these are too many.
            QueryError: The lake does not answer.
        """
        known = self._reached(rule)
        unknown = rule.id not in self._rules or rule.kind != "record"
        if unknown or known is None or known.committed is None:
            raise ConfigError(
                f"{rule.id}: the collector that runs does not know this rule; restart it (`kill -HUP` is "
                "enough), and ask again"
            )
        after, through = max(after, self._first_end(rule)), min(through, known.committed)
        asked = list(islice(rule.slots.between(after, through), _MOST_ASKED_FOR + 1))
        if len(asked) > _MOST_ASKED_FOR:
            raise ConfigError(
                f"{rule.id}: these are more than {_MOST_ASKED_FOR:,} windows; ask for a shorter span, or for "
                "its parts"
            )
        slots = self._whole(rule, asked)
        if slots:
            self._store.backfill(rule.id, rule.slots.before(slots[0]))
            self._backfilled = self._store.backfilled()
        for part in chunks(slots, _QUEUED_AT_ONCE):
            self._store.touch(rule.id, part, self._settled(), self._now(), rested=True)
        self._work.set()
        return len(slots)

    def _first_end(self, rule: Rule) -> datetime:
        """Slots of a rule up to this one have windows that end before there are rows."""
        sources = self._sources.get(rule.id)
        if sources is None:  # over tables that are of no model
            return datetime.min  # noqa: DTZ901  # naive UTC, as all of the lake's times
        found = []
        for table, schemas in sources.items():
            for sql in oldest_times(schemas, table):
                try:
                    found += self._run_query(sql, {}, _LOOK_S).column(0).to_pylist()
                except NotSeenYetError:
                    continue
        oldest = min((moment for moment in found if moment is not None), default=None)
        return self._now() if oldest is None else oldest + rule.query_offset

    def close(self, timeout_s: float) -> bool:
        """Finish the slot at hand and stop; tells whether it did in time."""
        self._stop.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        more = False
        while not self._stop.is_set():
            if not more:
                self._work.wait(_TICK_S if self._rules else _IDLE_S)
            self._work.clear()
            if self._busy():
                more = False
                self._stop.wait(_TICK_S)
                continue
            began_s = time.monotonic()
            try:
                more = self.work()
            except StateUnavailableError:
                more = False
            except Exception:
                # What was not committed is looked for, or evaluated, with the next tick.
                more = False
                logger.exception("late slots could not be evaluated again", extra={"action": "late_failed"})
            self._stop.wait((time.monotonic() - began_s) * (1 / _SHARE - 1))
        with suppress(StateUnavailableError):
            self._store.looked_through(self._cursors_now(), self._now())

    def _take_in(
        self, rules: Sequence[Rule], sources: Mapping[RuleId, Mapping[str, Collection[str]]]
    ) -> None:
        self._rules = {rule.id: rule for rule in rules if rule.enabled and _looks_back(rule)}
        # Late slots of alerts are judged with the next live one.
        self._of_others = [
            rule.id for rule in rules if _looks_back(rule) and (not rule.enabled or rule.kind == "alert")
        ]
        self._sources = {rule: sources[rule] for rule in self._rules if sources[rule]}

    def _cursors_now(self) -> dict[RuleId, datetime]:
        return {rule: at for rule, at in dict(self._cursors).items() if rule in self._sources}

    def _begin_with(self, rules: Iterable[RuleId]) -> None:
        """Look from now on for what touches those of `rules` that are new."""
        fresh = {rule: self._settled() for rule in rules if rule not in self._cursors}
        self._store.looked_through(fresh, self._now())
        self._cursors |= fresh

    def _now(self) -> datetime:
        return utc_datetime(self._clock.now_ns())

    # Which slots are touched

    def _look(self) -> None:
        """Queue the slots that were touched since the last look."""
        settled = self._settled()  # first: a slot that begins after this sees all that came before
        with self._lock:
            new = dict(self._new)
        reached = {rule: self._known(self._rules[rule]) for rule in self._sources}
        moved = {rule: settled for rule in self._sources if self._cursors[rule] != settled}
        looked = [
            rule for rule in moved if reached[rule] is not None and new.keys() & self._sources[rule].keys()
        ]
        touched = self._touched(looked, reached, settled)
        now = self._now()
        failed: set[str] = set()
        for rule in looked:
            if rule not in touched:  # it could not be looked for
                del moved[rule]
                failed |= self._sources[rule].keys()
            for part in chunks(touched.get(rule, ()), _QUEUED_AT_ONCE):
                self._store.touch(rule, part, settled, now)
        self._cursors |= moved
        with self._lock:  # last: what fails before is looked for with the next tick
            for table, seen in new.items():
                # What is committed and counts as waiting still is found by a later look only.
                if table not in failed and seen < settled and self._new[table] == seen:
                    del self._new[table]
        if any(touched.values()) or time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self._store.looked_through(self._cursors_now(), now)
            self._saved_s = time.monotonic()

    def _touched(
        self, rules: Sequence[RuleId], reached: Mapping[RuleId, Reached | None], settled: datetime
    ) -> dict[RuleId, list[datetime]]:
        """The slots that are touched of each rule; of a rule that cannot be looked for there is nothing."""
        asked: dict[_Look, list[RuleId]] = {}
        for rule_id in rules:
            rule = self._rules[rule_id]
            grid, offset = rule.slots.grid, rule.query_offset % rule.slots.grid
            cursor = min(self._cursors[rule_id], settled)  # where the clock was set back
            for table, schemas in self._sources[rule_id].items():
                for asks in touched_times(schemas, table):
                    asked.setdefault(_Look(asks, cursor, grid, offset), []).append(rule_id)
        times: dict[RuleId, list[datetime]] = {rule: [] for rule in rules}
        for look, askers in asked.items():
            spans = [
                touching_span(_schedule(self._rules[rule]), known.since, known.begun)
                for rule in askers
                if (known := reached[rule]) is not None
            ]
            span = min(first for first, _ in spans), max(before for _, before in spans)
            reach = PARTNERS_APART + max(_longest_window(self._rules[rule]) for rule in askers)
            try:
                found = self._times(look, span, reach, settled)
            except QueryError as error:
                logger.warning("late rows cannot be looked for, it is tried again: %s", error)
                for asker in askers:
                    times.pop(asker, None)
                continue
            for asker in askers:
                if asker in times:
                    times[asker] += found
        return {
            asker: self._slots(self._rules[asker], found, known)
            for asker, found in times.items()
            if (known := reached[asker]) is not None
        }

    def _times(
        self, look: _Look, span: tuple[datetime, datetime], reach: timedelta, settled: datetime
    ) -> list[datetime]:
        microsecond = timedelta(microseconds=1)
        received = {"received_from": look.received_from, "received_to": settled}
        interval = {
            "interval_us": look.grid // microsecond,
            "offset_us": look.offset // microsecond,
        }
        first, before = span
        try:
            if look.asks.near is not None:
                # Of all that was received once and paired, what is near: else all files were read each time.
                received |= {"near_first": first - reach, "near_before": before + reach}
                near = self._run_query(look.asks.near, received, _LOOK_S).to_pylist()[0]
                if near["first"] is None:
                    return []
                first, before = max(first, near["first"] - reach), min(before, near["last"] + reach)
            parameters = received | interval | {"first": first, "before": before}
            answer = self._run_query(look.asks.sql, parameters, _LOOK_S)
        except NotSeenYetError:  # a table that has no rows yet
            return []
        return [moment for moment in answer.column("time").to_pylist() if moment is not None]

    def _slots(self, rule: Rule, times: list[datetime], known: Reached) -> list[datetime]:
        since = known.since if rule.kind == "record" else max(known.since, known.begun - rule.check_late)
        slots = touched_slots(_schedule(rule), times, since, known.begun)
        return self._whole(rule, slots) if slots else slots

    def _known(self, rule: Rule) -> Reached | None:
        known, since = self._reached(rule), self._backfilled.get(rule.id)
        return known if known is None or since is None else replace(known, since=min(known.since, since))

    def _whole(self, rule: Rule, slots: list[datetime]) -> list[datetime]:
        """Those of which the lake has all rows."""
        kept = [self._kept_from(table, self._run_query) for table in self._sources.get(rule.id, ())]
        oldest = max((moment for moment in kept if moment is not None), default=None)
        return [slot for slot in slots if oldest is None or window_of(rule, slot).start >= oldest]

    # Evaluating them again

    def _evaluate_some(self) -> bool:
        """Evaluate some slots again; tells whether more are due."""
        # Of each rule, one slot at most is being evaluated for the first time.
        due = self._store.late_slots(self._now(), _SLICE + len(self._rules), but_of=self._of_others)
        done = 0
        for late in due:
            if self._stop.is_set() or done == _SLICE:
                break
            rule = self._rules.get(late.rule)
            if rule is None:  # it records no more
                self._store.forget_late_slot(late)
                continue
            known = self._reached(rule)
            if known is None or known.committed is None or late.slot > known.committed:
                continue  # it is being evaluated for the first time
            self._try_again(rule, late)
            done += 1
        return done == _SLICE

    def _try_again(self, rule: Rule, late: LateSlot) -> None:
        try:
            outcome, error = self._evaluate(rule, late)
        except StateUnavailableError:
            raise
        except Exception as failure:
            logger.exception("rule %s: slot %s could not be evaluated again", rule.id, late.slot)
            outcome, error = "failed", repr(failure)
        if self._stop.is_set() and error is not None:
            return  # the query may have been cut off
        if error is not None:
            self._store.not_evaluated_again(late, error, self._now() + retry_after(late.attempts + 1))
        if error is not None and self._failing.get(rule.id) != error:
            logger.warning("rule %s: slot %s could not be evaluated again: %s", rule.id, late.slot, error)
        if error is None:
            self._failing.pop(rule.id, None)
        else:
            self._failing[rule.id] = error
        with self._lock:
            self._counts[outcome] += 1

    def _evaluate(self, rule: Rule, late: LateSlot) -> tuple[str, str | None]:
        """Evaluate a slot again and commit what changed; what came out, and why it failed if it did."""
        as_of = self._as_of()
        changes: list[MetricRow] = []
        patient = rule.wait_for is None or rule.wait_for.on_timeout == "evaluate"
        if patient or is_complete(self._run_query, rule, late.slot, as_of):
            outcome = outcome_of(self._run_query, rule, late.slot, as_of)
            if isinstance(outcome, QueryFailure):
                return "failed", outcome.message
            evaluation = evaluate(rule, outcome, RuleState(rule.definition), late.slot)
            if evaluation.state.health is Health.ERROR and not evaluation.metrics:
                return "failed", evaluation.state.error
            stored = self._stored(rule, late.slot)
            changes = revised((row for row, _ in stored), evaluation.metrics)
            as_of = later_than((moment for _, moment in stored), as_of)
        rests = self._gather and bool(changes)
        rest = (
            rest_after(late.slot - rule.slots.before(late.slot), late.changes + 1) if rests else timedelta()
        )
        self._store.evaluated_again(late, changes, as_of, self._now() + rest)
        return "changed" if changes else "unchanged", None

    def _stored(self, rule: Rule, slot: datetime) -> list[tuple[MetricRow, datetime]]:
        """What is stored of a slot's window, with when it was known; of each series the newest last."""
        window = window_of(rule, slot)
        # First what waits, then what is there: a row that moves over in between is merely met twice.
        waiting = self._store.queued_of(rule.id.name, window.start, window.end)
        key = {"metric": rule.id.name, "window_start": window.start, "window_end": window.end}
        there = self._run_query(STORED, key, _LOOK_S).to_pylist(maps_as_pydicts="strict")
        found = [
            (
                MetricRow(
                    rule.id.name,
                    row["model"],
                    row["series"],
                    window.start,
                    window.end,
                    row["value"],
                    row["sample_count"],
                    row["label_coverage"],
                ),
                row["as_of"],
            )
            for row in there
        ]
        return sorted([*found, *waiting], key=lambda each: each[1])


def _looks_back(rule: Rule) -> bool:
    return rule.kind == "record" or bool(rule.check_late)


def _longest_window(rule: Rule) -> timedelta:
    return rule.slots.step if rule.window is None else rule.window


def _schedule(rule: Rule) -> Schedule:
    return Schedule(rule.slots, rule.window, rule.query_offset)
