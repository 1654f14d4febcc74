"""A rule that meets anything in any order, with late rows, restarts, reloads and slots lost in a crash.

The oracle counts evaluations and knows no times: it shares no code and no arithmetic with the engine. What is
remembered goes through the real store, and what people were told is read from its history.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from helpers.rules_build import CELLS, MINUTE, START, rows_of, rule_of
from lapwing_collector.model.alerts import AlertState, RuleState
from lapwing_collector.rules import (
    NO_ROWS,
    Outcome,
    QueryFailure,
    Rule,
    Skipped,
    evaluate,
    raise_late,
    slots_to_judge_again,
)
from lapwing_collector.state import Store

NAMES: Final = "abc"
WHOLE: Final = ""  # stands for the alert of a rule that never saw a row
ERROR, LIMIT = "RuleError", "RuleLimitExceeded"
SIGNS: Final = "Ac-in"

Rows = Mapping[str, str]
"""A sign for each name; none for a slot without rows."""

Told = tuple[str, str]
"""Whose, and `^` for firing or `v` for resolved."""


@dataclass(frozen=True)
class Keys:
    """The keys of the rule, counted in slots."""

    for_: int = 0
    keep_firing_for: int = 0
    missing_evals: int = 2
    on_missing: str = "resolve"
    no_data_for: int = 2
    on_no_data: str = "no_data"
    error_for: int = 2
    limit: int = 2
    new_group_delay: int = 0
    threshold: int = 10

    def rule(self) -> Rule:
        """The rule that they make."""
        spans = ("for_", "keep_firing_for", "no_data_for", "error_for", "new_group_delay")
        minutes = {name: f"{getattr(self, name)}m" for name in spans}
        others = ("missing_evals", "on_missing", "on_no_data", "limit")
        return rule_of(
            **minutes,
            **{name: getattr(self, name) for name in others},
            condition=f"value > {self.threshold}",
            min_samples=10,
        )


keys = st.builds(
    Keys,
    for_=st.integers(0, 3),
    keep_firing_for=st.integers(0, 2),
    missing_evals=st.integers(1, 3),
    on_missing=st.sampled_from(["resolve", "keep"]),
    no_data_for=st.integers(0, 2),
    on_no_data=st.sampled_from(["ok", "keep", "no_data", "alert"]),
    error_for=st.integers(0, 2),
    limit=st.integers(1, 3),
    new_group_delay=st.integers(0, 3),
)


@dataclass
class One:
    """An alert, as one would keep account of it on paper."""

    state: str = "I"
    bad: int = 0  # slots in which the condition held since it began to, but for the first
    good: int = 0  # the same of the resolve condition, since recovery began
    missed: int = 0
    since: int | None = None  # the number of the slot in which it was first seen

    @property
    def announced(self) -> bool:
        """Whether people know of it."""
        return self.state in "FR"

    def sees(self, sign: str, for_: int, keep: int) -> None:
        """Take in `A` (condition), `c` (resolve condition), `-` (nothing), `g` (gone) or `!` (alarm)."""
        match self.state + sign:
            case "IA":
                self.state, self.bad = ("F" if for_ == 0 else "P"), 0
            case "PA":
                self.bad += 1
                self.state = "F" if self.bad >= for_ else "P"
            case "Pc" | "Pg":
                self.state = "I"
            case "I!" | "P!" | "RA" | "R!":
                self.state = "F"
            case "Fc":
                self.state, self.good = ("I" if keep == 0 else "R"), 0
            case "Rc":
                self.good += 1
                self.state = "I" if self.good >= keep else "R"
            case "Fg" | "Rg":
                self.state = "I"


@dataclass
class Oracle:
    """What should be known and told."""

    keys: Keys
    slot: int = 0
    alerts: dict[str, One] = field(default_factory=dict)
    about: dict[str, One] = field(default_factory=lambda: {ERROR: One(), LIMIT: One()})
    empty: int = -1  # evaluations without rows in a row, but for the first
    failed: int = -1
    seen_before: dict[str, int | None] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    over: dict[str, int] = field(default_factory=dict)  # in which slot each alert resolved last

    def looks_back(self, slots: Mapping[int, Rows]) -> None:
        """Rows came late: what slots give now. What would have fired, and is not known, fires."""
        then = Oracle(self.keys, alerts={name: One(since=one.since) for name, one in self.alerts.items()})
        for slot, rows in slots.items():
            then.slot, then.told = slot, []
            then.meets(rows)
            for name, mark in then.told:
                known = self.alerts.get(name)
                told = (known is not None and known.announced) or self.over.get(name, -1) >= slot
                full = known is None and len(self.alerts) >= self.keys.limit
                if mark == "^" and rows and name not in {ERROR, LIMIT} and not told and not full:
                    self.alerts[name] = replace(then.alerts[name])
                    self.told.append((name, "^"))

    def meets(self, rows: Rows) -> None:
        """The rows of a slot."""
        if rows:
            self.has(rows)
        else:
            self.has_none()

    def changes(self, to: Keys) -> None:
        """The rule's definition is another: at its next evaluation it starts from nothing."""
        ended = [name for name, one in {**self.alerts, **self.about}.items() if one.announced]
        self.told += [(name, "v") for name in ended]
        self.over |= dict.fromkeys(ended, self.slot)
        self.seen_before = {name: one.since for name, one in self.alerts.items()}
        self.alerts, self.about = {}, {ERROR: One(), LIMIT: One()}
        self.empty = self.failed = -1
        self.keys = to

    def skips(self) -> None:
        """The slot is passed over."""
        for one in self.alerts.values():
            one.sees("-", 0, 0)

    def fails(self) -> None:
        """The query failed."""
        self.skips()
        self.failed += 1
        self._about(ERROR, "A", self.keys.error_for)

    def has_none(self) -> None:
        """There are no rows at all."""
        self._answers(0)
        self.empty += 1
        lasting = self.empty >= self.keys.no_data_for
        alarm = lasting and self.keys.on_no_data in {"no_data", "alert"}
        if alarm and not self.alerts:
            self.alerts[WHOLE] = One()
        for name, one in list(self.alerts.items()):
            gone = lasting and self.keys.on_no_data == "ok"
            self._sees(name, one, "g" if gone else "!" if alarm and not self._young(one) else "-")
            if gone:
                del self.alerts[name]

    def has(self, rows: Mapping[str, str]) -> None:
        """There are rows."""
        new = [name for name in sorted(rows) if name not in self.alerts]
        room = max(self.keys.limit - len(self.alerts), 0)
        absent = [name for name in self.alerts if name not in rows]
        for name in sorted(rows):
            if name in new[room:]:
                continue
            one = self.alerts.setdefault(name, One(since=self.seen_before.get(name, self.slot)))
            one.missed = 0
            sign = rows[name] if rows[name] in "Ac" else "-"
            self._sees(name, one, "-" if self._young(one) else sign)
        for name in absent:
            self._misses(name, self.alerts[name])
        self.empty = -1
        self._answers(len(new[room:]))

    def _misses(self, name: str, one: One) -> None:
        if name == WHOLE:
            self._sees(name, one, "c")
            if one.state == "I":
                del self.alerts[name]
            return
        one.missed += 1
        kept = self.keys.on_missing == "keep" and one.state != "I"
        if not kept and one.missed >= self.keys.missing_evals:
            self._sees(name, one, "g")
            del self.alerts[name]
        else:
            self._sees(name, one, "-")

    def _young(self, one: One) -> bool:
        return (
            one.since is not None and self.slot - one.since < self.keys.new_group_delay and not one.announced
        )

    def _answers(self, refused: int) -> None:
        self.failed = -1
        self._about(ERROR, "c", self.keys.error_for)
        self._about(LIMIT, "A" if refused else "c", 0)

    def _about(self, name: str, sign: str, for_: int) -> None:
        before = self.about[name].announced
        self.about[name].sees(sign, for_, 0)
        self._tell(name, before, self.about[name])

    def _sees(self, name: str, one: One, sign: str) -> None:
        before = one.announced
        one.sees(sign, self.keys.for_, self.keys.keep_firing_for)
        self._tell(name, before, one)

    def _tell(self, name: str, before: bool, one: One) -> None:
        if before != one.announced:
            self.told.append((name, "^" if one.announced else "v"))
            if not one.announced:
                self.over[name] = self.slot


class RuleMachine(RuleBasedStateMachine):
    """One rule over some time."""

    @initialize(given=keys)
    def begin(self, given: Keys) -> None:
        """A rule that was never evaluated."""
        shm = Path("/dev/shm")  # syncs cost nothing there
        self.folder = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.store = Store.open(self.folder / "state.sqlite")
        self.oracle = Oracle(given)
        self.rule = given.rule()
        self.changed: Keys | None = None
        self.gave: dict[int, Rows] = {}
        self.touched: set[int] = set()

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(rows=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SIGNS), min_size=1))
    def evaluates(self, rows: Mapping[str, str]) -> None:
        """A slot with rows."""
        self._next()
        self.oracle.has(rows)
        self.gave[self.oracle.slot] = rows
        self._commit(outcome_of(rows))

    @rule()
    def finds_no_rows(self) -> None:
        """A slot without rows."""
        self._next()
        self.oracle.has_none()
        self._commit(NO_ROWS)

    @rule()
    def fails(self) -> None:
        """A slot whose query fails."""
        self._next()
        self.oracle.fails()
        self._commit(QueryFailure("boom"))

    @rule()
    def passes_over(self) -> None:
        """A slot that is skipped."""
        self._next()
        self.oracle.skips()
        self._commit(Skipped())

    @rule(
        back=st.integers(0, 4),
        rows=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(f"AAA{SIGNS}"), min_size=1),
    )
    def rows_come_late(self, back: int, rows: Rows) -> None:
        """A closed slot gives other rows now; its alerts are looked at again with the next slot."""
        newest = self._remembered().slot
        slot = 0 if newest is None else number_of(newest) - back
        if slot > 0:
            self.gave[slot] = rows
            self.touched.add(slot)

    @rule(slots=st.integers(1, 3))
    def is_down(self, slots: int) -> None:
        """Time in which nothing runs; then a new process."""
        self.oracle.slot += slots
        self.restarts()

    @rule()
    def restarts(self) -> None:
        """A new process has nothing but what the store has."""
        self.store.close()
        self.store = Store.open(self.folder / "state.sqlite")

    @rule(rows=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SIGNS), min_size=1))
    def dies_before_the_commit(self, rows: Mapping[str, str]) -> None:
        """A slot is evaluated and lost; when it is evaluated again, other rows have come."""
        slot = START + (self.oracle.slot + 1) * MINUTE
        evaluate(self.rule, outcome_of(rows), self._remembered(), slot)
        self.restarts()

    @rule(given=keys)
    def is_reloaded(self, given: Keys) -> None:
        """The file has other keys; what rows mean is the same."""
        self.oracle.keys = replace(given, threshold=self.oracle.keys.threshold)
        if self.changed is not None:
            self.changed = replace(given, threshold=self.changed.threshold)
        self.rule = (self.changed or self.oracle.keys).rule()

    @rule()
    def is_edited(self) -> None:
        """The file has another condition."""
        now = self.changed or self.oracle.keys
        self.changed = replace(now, threshold=now.threshold + 1)
        self.rule = self.changed.rule()

    @invariant()
    def what_was_told_is_what_had_to_be(self) -> None:
        """History and states are the oracle's, down to the order in which things were told."""
        if not hasattr(self, "store"):
            return
        marks = {"firing": "^", "resolved": "v"}
        told = [(name_of(t.instance.labels), marks[t.status]) for t in reversed(self.store.history(10_000))]
        assert by_name(told) == by_name(self.oracle.told)
        expected = {**self.oracle.alerts, **{n: o for n, o in self.oracle.about.items() if o.state != "I"}}
        instances = self._remembered().instances.values()
        if self.changed is None:
            assert {name_of(i.labels): i.state[0].upper() for i in instances} == {
                name: one.state for name, one in expected.items()
            }
        open_alerts = {
            i.fingerprint for i in instances if i.state in {AlertState.FIRING, AlertState.RECOVERING}
        }
        newest = {t.instance.fingerprint: t.status for t in reversed(self.store.history(10_000))}
        assert {key for key, status in newest.items() if status == "firing"} == open_alerts

    def _next(self) -> None:
        self.oracle.slot += 1
        newest = self._remembered().slot
        if self.changed is None and newest is not None:
            self.oracle.looks_back({n: self.gave.get(n, {}) for n in self._around(number_of(newest))})
        elif self.changed is not None:
            if newest is None:  # nothing of it was ever evaluated
                self.oracle.keys = self.changed
            else:
                self.oracle.changes(self.changed)
            self.changed = None

    def _remembered(self) -> RuleState:
        return self.store.load_rules().get(self.rule.id, RuleState(self.rule.definition))

    def _commit(self, outcome: Outcome) -> None:
        slot = START + self.oracle.slot * MINUTE
        before = self._remembered()
        touched = [START + n * MINUTE for n in sorted(self.touched)]
        late = slots_to_judge_again(self.rule, touched, before.slot) if before.slot else []
        again = [(at, outcome_of(self.gave.get(number_of(at), {}))) for at in late]
        resolved = self.store.resolved_since(self.rule.id, late[0]) if late else {}
        before, raised = raise_late(self.rule, before, again, resolved)
        evaluation = evaluate(self.rule, outcome, before, slot)
        self.store.commit(self.rule.id, evaluation.state, raised + evaluation.transitions, (), (), slot)
        self.oracle.seen_before = {}
        self.touched = set()

    def _around(self, newest: int) -> list[int]:
        """The closed slots that late rows may make an alert fire in."""
        reach = range(-self.oracle.keys.for_, self.oracle.keys.for_ + 1)
        return sorted({n for at in self.touched for d in reach if (n := at + d) <= newest})


def outcome_of(rows: Rows) -> Outcome:
    """What a slot with these rows gives."""
    return rows_of(*(CELLS[sign] | {"name": name} for name, sign in rows.items())) if rows else NO_ROWS


def number_of(slot: datetime) -> int:
    """Which slot it is, by number."""
    return (slot - START) // MINUTE


def name_of(labels: Mapping[str, Any]) -> str:
    """What the oracle calls an alert."""
    return labels["alertname"] if labels["alertname"] in {ERROR, LIMIT} else labels.get("name", WHOLE)


def by_name(told: Sequence[Told]) -> dict[str, str]:
    """What was told of each alert, in order."""
    found: dict[str, str] = {}
    for name, mark in told:
        found[name] = found.get(name, "") + mark
    return found


RuleMachine.TestCase.settings = settings(settings.default, stateful_step_count=30)
TestAnythingInAnyOrder = RuleMachine.TestCase
