"""Slots while clocks are set, collectors are down, rules are slow and files change."""

import errno
import itertools
import math
import random
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from helpers.rule_bench import RuleBench, alert, group, rule_bench
from helpers.waiting import wait_until
from lapwing_collector.errors import DataDirectoryError, StateUnavailableError, UnavailableError
from lapwing_collector.model.alerts import RuleId
from lapwing_collector.rules import Rule, next_due

START = datetime(2026, 1, 1)
MINUTE = timedelta(minutes=1)
HOUR_S = 3600.0
WAITS = "        wait_for: {expr: SELECT true, timeout: 1m}\n"
AT_NIGHT = "CASE WHEN hour($slot) < 6 THEN 1 ELSE 0 END"


def minutes(first: int, last: int) -> list[datetime]:
    return [START + minute * MINUTE for minute in range(first, last + 1)]


def contiguous(slots: Sequence[datetime]) -> bool:
    return list(slots) == [slots[0] + number * MINUTE for number in range(len(slots))]


@pytest.mark.parametrize("seed", range(4))
def test_a_clock_that_is_set_fires_nothing_twice_and_skips_nothing(tmp_path: Path, seed: int) -> None:
    """Back and forward by hours, again and again: each slot once, in order, and alerts take turns."""
    draw = random.Random(seed)
    text = group(alert("a", AT_NIGHT), keys="    interval: 15m\n")
    with rule_bench(tmp_path, text, START) as bench:
        for _ in range(30):
            bench.let_pass(draw.uniform(0, 2400))
            if draw.random() < 0.4:
                bench.set_clock(draw.uniform(-4 * HOUR_S, 6 * HOUR_S))
            bench.alerting.work()
        slots = bench.slots_of("a")
        assert slots == [START + number * 15 * MINUTE for number in range(1, len(slots) + 1)]
        assert bench.alerting.punctuality().missed == 0
        statuses = [status for _, status, _ in bench.told()]
        assert len(statuses) > 0
        assert statuses == (["firing", "resolved"] * len(statuses))[: len(statuses)]


def test_rules_stand_still_while_the_clock_is_behind(tmp_path: Path) -> None:
    """Set back by an hour, slots go on after the newest one that was evaluated."""
    with rule_bench(tmp_path, group(alert("a")), START) as bench:
        bench.let_pass(600)
        bench.alerting.work()
        bench.set_clock(-HOUR_S)
        for _ in range(61):
            bench.let_pass(60)
            bench.alerting.work()
        assert bench.slots_of("a") == minutes(1, 11)


def test_a_clock_that_was_years_behind_starts_rules_anew(tmp_path: Path) -> None:
    """A machine that wakes in 1970 does not evaluate half a century once it knows the time."""
    with rule_bench(tmp_path, group(alert("a")), datetime(1970, 1, 1)) as bench:
        bench.set_clock((START - bench.now).total_seconds())
        bench.alerting.work()
        assert bench.slots_of("a") == minutes(-59, 0)


def test_a_restart_makes_up_for_the_slots_of_an_hour(tmp_path: Path) -> None:
    """By default alerts look back an hour; what is older is passed over, and counted."""
    with rule_bench(tmp_path, group(alert("a")), START) as bench:
        bench.let_pass(120)
        bench.alerting.work()
    with rule_bench(tmp_path, group(alert("a")), START + 180 * MINUTE) as bench:
        bench.alerting.work()
        assert bench.slots_of("a") == minutes(121, 180)
        assert bench.alerting.punctuality().missed == 118


def test_alerts_of_slots_that_were_missed_are_marked_as_late(tmp_path: Path) -> None:
    """What fired and resolved while the collector was down says so; the newest slot is of now."""
    value = "CASE WHEN minute($slot) IN (20, 40) THEN 1 ELSE 0 END"
    with rule_bench(tmp_path, group(alert("a", value)), START):
        pass
    with rule_bench(tmp_path, group(alert("a", value)), START + 40 * MINUTE) as bench:
        told: list[tuple[int, bool]] = []
        commit = bench.store.commit

        def watched(
            rule: RuleId, state: object, transitions: Sequence[object], *more: object, **named: object
        ) -> None:
            told.extend((each.slot.minute, each.late) for each in transitions)
            commit(rule, state, transitions, *more, **named)

        bench.store.commit = watched
        bench.alerting.work()
    assert told == [(20, True), (21, True), (40, False)]


def test_latest_makes_up_for_one_slot(tmp_path: Path) -> None:
    """Of three hours, one slot is evaluated."""
    text = group(alert("a"), keys="    catch_up: latest\n")
    with rule_bench(tmp_path, text, START) as bench:
        bench.let_pass(3 * HOUR_S)
        bench.alerting.work()
        assert bench.slots_of("a") == minutes(180, 180)
        assert bench.alerting.punctuality().missed == 179


def reached(bench: RuleBench, name: str, minute: int) -> bool:
    evaluated = START + minute * MINUTE in bench.slots_of(name)
    return evaluated and not bench.alerting._turns.busy(RuleId("g", name))


def running(bench: RuleBench) -> None:
    bench.alerting.start()
    wait_until(lambda: bench.alerting.caught_up)


def test_slow_rules_hold_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rules that hang have one of two workers between them; others go on, slot by slot."""
    text = group(alert("hangs1"), alert("hangs2"), alert("quick1"), alert("quick2"))
    freed = threading.Event()
    with rule_bench(tmp_path, text, START) as bench:
        monkeypatch.setattr("lapwing_collector.app.judging.turns.SLOW_S", math.inf)  # none but those
        bench.alerting._turns._slow.update(RuleId("g", name) for name in ("hangs1", "hangs2"))
        bench.before_query = lambda name: "hangs" in name and freed.wait(60)
        running(bench)
        try:
            for minute in range(1, 6):
                bench.let_pass((START + minute * MINUTE - bench.now).total_seconds() + 1)
                bench.alerting.look()
                for name in ("quick1", "quick2"):
                    wait_until(
                        lambda name=name, minute=minute: START + minute * MINUTE in bench.slots_of(name)
                    )
        finally:
            freed.set()
        for name in ("hangs1", "hangs2"):
            wait_until(partial(reached, bench, name, 5))
            assert contiguous(bench.slots_of(name))


@pytest.mark.parametrize(("keys", "failed"), [("", 4), (WAITS, 3)], ids=["at once", "after a wait"])
@pytest.mark.parametrize(
    "error",
    [DataDirectoryError("lake: cannot be read"), OSError(errno.EMFILE, "full"), UnavailableError("busy")],
    ids=["no lake", "no descriptors", "turned away"],
)
def test_a_lake_that_cannot_be_asked_fails_rules(
    tmp_path: Path, error: Exception, keys: str, failed: int
) -> None:
    """Slots go on as of failed queries: alerts stay, `error_for` is told once, and is over with the lake."""
    with rule_bench(tmp_path, group(alert("a", keys="        error_for: 2m\n" + keys)), START) as bench:
        for away in (None, error, error, error, error, None, None):
            bench.away = away
            bench.let_pass(60)
            bench.alerting.work()
        told = [(str(each.status), each.instance.labels["alertname"]) for each in bench.store.history()]
        assert told[::-1] == [("firing", "a"), ("firing", "RuleError"), ("resolved", "RuleError")]
        counts = bench.alerting.counts()
        assert (counts["failed"], counts["evaluated"]) == (failed, 7 - failed)


@pytest.mark.parametrize("at", ["looking", "evaluating", "going on"])
def test_a_rule_that_cannot_be_looked_at_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at: str
) -> None:
    """Where finding out what is due fails, it is told once and tried again; all others have their slots."""
    others = [f"other{number}" for number in range(6)]
    failing = {"looking": 1, "evaluating": 2, "going on": 3}[at]
    calls = itertools.count(1)

    def faulty(rule: Rule, *positions: datetime) -> datetime | None:
        if rule.id.name == "faulty" and next(calls) == failing:
            raise RuntimeError("a fault")
        return next_due(rule, *positions)

    monkeypatch.setattr("lapwing_collector.app.judging.alerting.next_due", faulty)
    with rule_bench(tmp_path, group(alert("faulty"), *map(alert, others)), START) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        assert all(bench.slots_of(name) == minutes(1, 1) for name in others)
        assert bench.slots_of("faulty") == (minutes(1, 1) if at == "going on" else [])
        (told,) = caplog.records
        assert (told.levelname, "g/faulty" in told.getMessage()) == ("ERROR", True)
        bench.let_pass(5)
        bench.alerting.work()
        bench.let_pass(60)
        bench.alerting.work()
        assert all(bench.slots_of(name) == minutes(1, 2) for name in ("faulty", *others))
        assert len(caplog.records) == 1


def test_a_rule_that_ends_while_it_is_looked_who_is_at_work_is_not_waited_for(tmp_path: Path) -> None:
    """Rules have caught up once each had its first evaluation, however short that was."""
    with rule_bench(tmp_path, group(alert("a")), START) as bench:
        turns = bench.alerting._turns
        busy = turns.busy

        def ends_just_then(rule: RuleId) -> bool:
            found = busy(rule)
            if found and (turn := turns.take(wait=False)):
                bench.alerting._serve_one(*turn, spread=False)
            return found

        turns.busy = ends_just_then
        bench.let_pass(60)
        bench.alerting.work()
        assert bench.slots_of("a") == minutes(1, 1)
        assert bench.alerting.caught_up


def test_a_rule_that_has_no_first_slot_yet_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the state goes away as files are read again, new rules begin with the present once it is back."""
    with rule_bench(tmp_path, group(alert("a")), START) as bench:

        def away(_: object) -> None:
            raise StateUnavailableError("away")

        bench._duckdb.execute(
            "CREATE TABLE models AS SELECT 'm' AS table_name, $at AS first_seen", {"at": START}
        )
        monkeypatch.setattr(bench.store, "place", away)
        with pytest.raises(StateUnavailableError):
            bench.use(group(alert("a"), alert("new")))
        for _ in range(2):
            bench.let_pass(60)
            bench.alerting.work()
        monkeypatch.undo()
        bench.use(group(alert("a"), alert("new")))
        bench.let_pass(60)
        bench.alerting.work()
        assert (bench.slots_of("a"), bench.slots_of("new")) == (minutes(1, 3), minutes(3, 3))


def test_an_evaluation_that_takes_longer_than_its_interval_is_an_overrun(tmp_path: Path) -> None:
    """It is counted, and the slots that came meanwhile are evaluated after it, never beside it."""
    with rule_bench(tmp_path, group(alert("a")), START) as bench:
        inside = threading.Lock()

        def before(_: str) -> None:
            assert inside.acquire(blocking=False)
            if len(bench.evaluated) == 0:
                bench.let_pass(150)
            inside.release()

        bench.before_query = before
        bench.let_pass(60)
        bench.alerting.work()
        assert bench.slots_of("a") == minutes(1, 3)
        assert bench.alerting.punctuality().overruns == 1


def test_a_slot_that_waits_is_tried_again_after_a_while(tmp_path: Path) -> None:
    """Its own query is asked again some seconds later, not in a hurry."""
    waits = "        wait_for: {expr: SELECT false, timeout: 10m}\n"
    with rule_bench(tmp_path, group(alert("waits", keys=waits), alert("a")), START) as bench:
        asked = 0
        run = bench._run  # watched

        def watched(sql: str, *more: object) -> object:
            nonlocal asked
            asked += "false" in sql.lower() and "lapwing_active" not in sql
            return run(sql, *more)

        bench.alerting._run_query = watched
        bench.let_pass(60)
        running(bench)
        for minute in range(2, 12):
            bench.let_pass(60)
            bench.alerting.look()
            wait_until(partial(reached, bench, "a", minute))
        wait_until(lambda: bench.slots_of("waits") == minutes(1, 1))
        assert asked <= 13


OLD = group(alert("stays"), alert("changes"), alert("goes"))
NEW = group(alert("stays", keys="        for: 5m\n"), alert("changes", "2"), alert("comes"))


def test_other_files_keep_the_state_of_rules_that_stay(tmp_path: Path) -> None:
    """What fires goes on firing, a rule that means something else begins anew, one that is gone resolves."""
    with rule_bench(tmp_path, OLD, START) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        fired = bench.store.load_rules()[RuleId("g", "stays")]
        bench.use(NEW)
        bench.let_pass(60)
        bench.alerting.work()
        states = bench.store.load_rules()
        (instance,) = states[RuleId("g", "stays")].instances.values()
        (before,) = fired.instances.values()
        assert (instance.fired_at, instance.fingerprint) == (before.fired_at, before.fingerprint)
        assert set(states) == {RuleId("g", name) for name in ("stays", "changes", "comes")}
        assert sorted(bench.told()) == [
            ("changes", "firing", ""),
            ("changes", "firing", ""),
            ("changes", "resolved", "rule_changed"),
            ("comes", "firing", ""),
            ("goes", "firing", ""),
            ("goes", "resolved", "rule_deleted"),
            ("stays", "firing", ""),
        ]
        assert bench.slots_of("comes") == minutes(2, 2)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_rule_that_is_switched_off_ends_what_it_announced(tmp_path: Path, restarts: bool) -> None:
    """What fires resolves, once; switched on again the rule goes on behind the slots that it had."""
    off = group(alert("a", keys="        enabled: false\n"))
    with rule_bench(tmp_path, group(alert("a")), START) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        if not restarts:
            bench.use(off)
            bench.alerting.work()
            bench.alerting.work()
    with rule_bench(tmp_path, off, START + timedelta(minutes=1)) as bench:
        bench.alerting.prepare()
        bench.alerting.work()
        assert bench.told() == [("a", "firing", ""), ("a", "resolved", "rule_disabled")]
        assert bench.store.alerts() == []
        bench.use(group(alert("a")))
        bench.let_pass(60)
        bench.alerting.work()
        assert bench.told()[2:] == [("a", "firing", "")]
        assert bench.slots_of("a") == minutes(2, 2)


def test_a_rule_with_another_interval_wakes_in_time(tmp_path: Path) -> None:
    """What was to be looked at tomorrow is due in a minute; what it was evaluated at counts on."""
    with rule_bench(tmp_path, group(alert("a"), keys="    interval: 1d\n"), START) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        assert bench.evaluated == []
        bench.use(group(alert("a")))
        bench.alerting.work()
        bench.let_pass(60)
        bench.alerting.work()
        assert bench.slots_of("a") == minutes(1, 2)


def test_a_rule_that_is_deleted_while_it_is_evaluated_has_its_last_words_last(tmp_path: Path) -> None:
    """The slot at hand is finished; only then what it announced resolves, and nothing is left of it."""
    with rule_bench(tmp_path, OLD, START) as bench:

        def before(name: str) -> None:
            if name == "goes":
                bench.use(NEW)

        bench.before_query = before
        bench.let_pass(60)
        bench.alerting.work()
        bench.alerting.work()
        assert [what for what in bench.told() if what[0] == "goes"] == [
            ("goes", "firing", ""),
            ("goes", "resolved", "rule_deleted"),
        ]
        assert RuleId("g", "goes") not in bench.store.load_rules()


def test_rules_that_may_not_be_all_are_not_taken_for_deleted(tmp_path: Path) -> None:
    """While it is unknown which models there are, what their rules announced stays."""
    with rule_bench(tmp_path, OLD, START) as bench:
        bench.let_pass(60)
        bench.alerting.work()
        bench.alerting.use((), {}, complete=False)
        bench.alerting.work()
        assert len(bench.store.load_rules()) == 3


def test_rules_start_one_after_another(tmp_path: Path) -> None:
    """Each has its own place behind a slot, at every slot and after a restart the same."""
    names = [f"r{number}" for number in range(60)]
    orders = []
    for _ in range(2):
        with rule_bench(tmp_path, group(*map(alert, names)), START, spacing_s=0.02) as bench:
            spread = bench.alerting._set.spread_s
            assert max(spread.values()) == pytest.approx(59 * 0.02)
            orders.append(sorted(spread, key=lambda rule: spread[rule]))
            assert len(set(spread.values())) == len(names)
    assert orders[0] == orders[1] != sorted(orders[0], key=str)


def test_people_are_told_nothing_before_every_rule_was_evaluated_once(tmp_path: Path) -> None:
    """Catching up is over when each rule of which a slot was due has had one evaluation."""
    with rule_bench(tmp_path, group(alert("a"), alert("b")), START) as bench:
        seen: list[bool] = []
        bench.before_query = lambda _: seen.append(bench.alerting.caught_up)
        bench.let_pass(180)
        assert not bench.alerting.caught_up
        bench.alerting.work()
        assert seen == [False, False, True, True, True, True]
        assert bench.alerting.caught_up
