"""Slots that are to be evaluated again: kept, taken in order, and never lost between two touches."""

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

from helpers.state_schemas import make_older
from lapwing_collector.model.alerts import MetricRow, RuleId, RuleState
from lapwing_collector.state import LateBacklog, Store

NOON = datetime(2026, 1, 1, 12)
MINUTE = timedelta(minutes=1)
RULE = RuleId("g", "daily")
METRIC = MetricRow("daily", "m", {"region": "eu"}, NOON - MINUTE, NOON, 0.5, 10, 0.9)


def slots(store: Store, now: datetime, limit: int = 10) -> list[datetime]:
    return [late.slot for late in store.late_slots(now, limit)]


def test_slots_come_in_order_of_touch_newest_first(store: Store) -> None:
    """What was touched first comes first; of what was touched together, the newest slot."""
    store.touch(RULE, [NOON, NOON + MINUTE], NOON, NOON)
    store.touch(RULE, [NOON + 9 * MINUTE], NOON + MINUTE, NOON + MINUTE)
    store.touch(RULE, [NOON], NOON + 2 * MINUTE, NOON + 2 * MINUTE)  # again: its turn does not change
    assert slots(store, NOON + 9 * MINUTE) == [NOON + MINUTE, NOON, NOON + 9 * MINUTE]
    assert slots(store, NOON + 9 * MINUTE, limit=1) == [NOON + MINUTE]


def test_a_touch_during_an_evaluation_is_not_lost(store: Store) -> None:
    """A slot that is touched while it is evaluated is evaluated once more, after its rest."""
    store.touch(RULE, [NOON], NOON, NOON)
    (late,) = store.late_slots(NOON, 1)
    store.touch(RULE, [NOON], NOON + MINUTE, NOON + MINUTE)
    store.evaluated_again(late, [METRIC], NOON, NOON + 5 * MINUTE)
    assert slots(store, NOON + MINUTE) == []
    (again,) = store.late_slots(NOON + 5 * MINUTE, 10)
    assert (again.slot, again.changes) == (NOON, 1)
    assert store.queued_metrics(0, 10) == [(1, METRIC, NOON)]
    assert store.queued_of("daily", NOON - MINUTE, NOON) == [(METRIC, NOON)]
    assert store.queued_of("daily", NOON, NOON + MINUTE) == []


def test_a_slot_that_rested_is_forgotten(store: Store) -> None:
    """Once a slot has rested untouched, nothing is left of it; a touch before waits until it has."""
    store.touch(RULE, [NOON], NOON, NOON)
    (late,) = store.late_slots(NOON, 1)
    store.evaluated_again(late, [], NOON, NOON + 5 * MINUTE)
    store.looked_through({RULE: NOON}, NOON + MINUTE)
    store.touch(RULE, [NOON], NOON + MINUTE, NOON + MINUTE)
    assert slots(store, NOON + 4 * MINUTE) == []
    (late,) = store.late_slots(NOON + 5 * MINUTE, 1)
    store.evaluated_again(late, [], NOON, NOON + 10 * MINUTE)
    store.looked_through({}, NOON + 10 * MINUTE)
    store.touch(RULE, [NOON], NOON + 10 * MINUTE, NOON + 10 * MINUTE)
    assert slots(store, NOON + 10 * MINUTE) == [NOON]


def test_failures_are_told_and_tried_again(store: Store) -> None:
    """A failure keeps its reason and its count until it works."""
    store.touch(RULE, [NOON, NOON + MINUTE], NOON, NOON)
    late = store.late_slots(NOON, 2)[0]
    store.not_evaluated_again(late, "out of memory", NOON + MINUTE)
    assert store.late_backlog() == LateBacklog(2, 1, "out of memory")
    assert slots(store, NOON) == [NOON]
    again = store.late_slots(NOON + MINUTE, 1)[0]
    assert (again.slot, again.changes, again.attempts) == (late.slot, 0, 1)
    store.evaluated_again(again, [], NOON, NOON + 2 * MINUTE)
    assert store.late_backlog() == LateBacklog(1, 0, None)


def test_what_is_asked_for_anew_has_not_failed(store: Store) -> None:
    """A slot that a person asks for is tried at once, its old failure forgotten; others keep theirs."""
    store.touch(RULE, [NOON, NOON + MINUTE], NOON, NOON)
    for late in store.late_slots(NOON, 2):
        store.not_evaluated_again(late, "out of memory", NOON + MINUTE)
    store.touch(RULE, [NOON], NOON + MINUTE, NOON)
    assert store.late_backlog() == LateBacklog(2, 2, "out of memory")
    store.touch(RULE, [NOON], NOON + MINUTE, NOON, rested=True)
    assert store.late_backlog() == LateBacklog(2, 1, "out of memory")
    assert [(late.slot, late.attempts) for late in store.late_slots(NOON, 2)] == [(NOON, 0)]


def test_slots_of_some_rules_are_passed_over(store: Store) -> None:
    """They neither come, nor count against how many do."""
    other = RuleId("g", "other")
    store.touch(other, [NOON, NOON + MINUTE], NOON, NOON)
    store.touch(RULE, [NOON], NOON, NOON + MINUTE)
    found = store.late_slots(NOON + MINUTE, 1, but_of=[other, RuleId("h", "daily")])
    assert [late.rule for late in found] == [RULE]
    assert len(store.late_slots(NOON + MINUTE, 10)) == 3


def test_a_rule_that_is_gone_leaves_nothing(store: Store) -> None:
    """Cursors and slots go with their rule."""
    store.commit(RULE, RuleState("d", NOON), (), (), (), NOON)
    store.looked_through({RULE: NOON}, NOON)
    store.touch(RULE, [NOON], NOON, NOON)
    store.forget_rule(RULE, (), (), NOON)
    assert store.late_cursors() == {}
    assert slots(store, NOON) == []


def test_a_database_of_the_first_schema_is_lifted(tmp_path: Path) -> None:
    """What was evaluated before stays as it is: only slots after the newest are evaluated again."""
    path = tmp_path / "state.sqlite"
    make_older(path, 1)
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "INSERT INTO rules VALUES (1, ?, ?, 'd', ?, 'ok', NULL, NULL, NULL)",
            (RULE.group, RULE.name, str(NOON)),
        )
    database.close()
    store = Store.open(path)
    assert store.load_rules()[RULE].since == NOON
    store.touch(RULE, [NOON], NOON, NOON)
    assert slots(store, NOON) == [NOON]
    store.close()
