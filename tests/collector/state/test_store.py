"""The store of rule states, history, metric rows and watermarks."""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from helpers.notify_alerts import NOON, RULE, alert, instance, joining, message, put, transition
from lapwing_collector.model.alerts import (
    AlertState,
    Health,
    Instance,
    MetricRow,
    RuleId,
    RuleState,
    Status,
)
from lapwing_collector.model.groups import Ack, Silence
from lapwing_collector.notify import alert_of
from lapwing_collector.state import Place, PostgresServer, SlotCommittedError, SqliteFile, Store
from lapwing_collector.state.database import Database
from lapwing_collector.state.schema import message_alerts, watermarks

MINUTE = timedelta(minutes=1)
# The fixture's store is shared by the examples of a property on purpose: each uses a rule or key of its own.
shared_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)

characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])  # as people and SQL write
texts = st.text(characters, max_size=40)
labels = st.dictionaries(texts, texts, max_size=4)
times = st.datetimes()
numbers = st.floats(allow_nan=False)
counts = st.integers(0, 2**63 - 1)


def instances_with(fingerprint: st.SearchStrategy[str]) -> st.SearchStrategy[Instance]:
    """Any alert instance."""
    return st.builds(
        Instance,
        fingerprint=fingerprint,
        labels=labels,
        annotations=labels,
        state=st.sampled_from(AlertState),
        health=st.sampled_from(Health),
        value=st.none() | numbers,
        peak=st.none() | numbers,
        sample_count=st.none() | counts,
        active_at=st.none() | times,
        fired_at=st.none() | times,
        recovering_at=st.none() | times,
        resolved_at=st.none() | times,
        last_seen_at=st.none() | times,
        missing_slots=st.integers(0, 2**31 - 1),
        first_seen_at=st.none() | times,
    )


rule_states = st.builds(
    RuleState,
    definition=texts,
    slot=st.none() | times,
    since=st.none() | times,
    health=st.sampled_from(Health),
    no_data_since=st.none() | times,
    error_since=st.none() | times,
    error=st.none() | texts,
    instances=st.lists(
        instances_with(st.text(characters, min_size=1)), max_size=5, unique_by=lambda i: i.fingerprint
    ).map(lambda found: {i.fingerprint: i for i in found}),
)


def run(place: Place, *statements: str) -> None:
    """Run SQL in the database at a place."""
    database = Database(place)
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    database.close()


def commit(store: Store, slot: datetime, *, rule: RuleId = RULE, definition: str = "d", **parts: Any) -> None:
    """Commit a slot with the given instances, transitions, changes of groups and metrics."""
    found = {i.fingerprint: i for i in parts.get("instances", ())}
    state = RuleState(definition, slot, instances=found)
    store.commit(
        rule, state, parts.get("transitions", ()), parts.get("changes", ()), parts.get("metrics", ()), NOON
    )


def metric(name: str = "m", **changes: Any) -> MetricRow:
    """A metric row."""
    values: dict[str, Any] = {
        "metric": name,
        "model": "flights",
        "series": {"origin": "JFK"},
        "window_start": NOON - MINUTE,
        "window_end": NOON,
        "value": 0.5,
        "sample_count": 10,
        "label_coverage": None,
    }
    return MetricRow(**values | changes)


@shared_store
@given(group=texts, name=texts, state=rule_states)
def test_rule_states_come_back_as_they_were(store: Store, group: str, name: str, state: RuleState) -> None:
    """Whatever a rule's state holds, it is loaded as it was committed, after a reopening too."""
    rule = RuleId(group, name)
    store.forget_rule(rule, (), (), NOON)
    store.commit(rule, state, (), (), (), NOON)
    assert store.load_rules()[rule] == state


def moved(state: RuleState, slot: datetime) -> RuleState:
    """The state with its newest slot elsewhere."""
    return replace(state, slot=slot)


@shared_store
@given(
    before=rule_states,
    after=rule_states,
    kept=st.dictionaries(
        st.text(characters, min_size=1), st.tuples(*[instances_with(st.just(""))] * 2), max_size=4
    ),
)
def test_what_differs_from_before_is_enough(
    store: Store, before: RuleState, after: RuleState, kept: dict[str, tuple[Instance, Instance]]
) -> None:
    """Who says what was remembered writes what changed of it, and all is as if all had been written."""
    first, then = {**before.instances}, {**after.instances}
    for key, (one, other) in kept.items():
        first[key] = replace(one, fingerprint=key)
        # What evaluations leave alone, they leave alone.
        then[key] = replace(
            first[key],
            annotations=other.annotations,
            value=other.value,
            peak=other.peak,
            sample_count=other.sample_count,
            last_seen_at=other.last_seen_at,
        )
    before = replace(before, slot=NOON, instances=first)
    after = replace(after, slot=NOON + MINUTE, instances=then)
    store.forget_rule(RULE, (), (), NOON)
    store.commit(RULE, before, (), (), (), NOON)
    store.commit(RULE, after, (), (), (), NOON, before=before)
    assert store.load_rules()[RULE] == after


def test_what_was_remembered_is_not_guessed(store: Store) -> None:
    """A slot that follows something else than what is remembered is refused, and nothing of it is kept."""
    known = RuleState("d", NOON, instances={"f": instance(fingerprint="f")})
    store.commit(RULE, known, (), (), (), NOON)
    after = moved(replace(known, instances={"f": instance(fingerprint="f", value=7.0)}), NOON + 2 * MINUTE)
    guesses = [
        moved(known, NOON - MINUTE),
        moved(known, NOON + MINUTE),
        replace(known, instances={"g": instance(fingerprint="g")}),
    ]
    for guess in guesses:
        then = replace(after, instances={**after.instances, **guess.instances})
        then = replace(then, instances={key: replace(i, value=8.0) for key, i in then.instances.items()})
        with pytest.raises(SlotCommittedError):
            store.commit(RULE, then, (), (), (), NOON, before=guess)
        assert store.load_rules()[RULE] == known
    with pytest.raises(SlotCommittedError):
        store.commit(RULE, known, (), (), (), NOON, before=known)
    store.commit(RULE, after, (), (), (), NOON, before=known)
    assert store.load_rules()[RULE] == after


@shared_store
@given(
    status=st.sampled_from(Status),
    reason=texts,
    happened=instances_with(texts),
    slot=times,
)
def test_transitions_and_alerts_in_groups_come_back_as_they_were(
    store: Store, status: Status, reason: str, happened: Instance, slot: datetime
) -> None:
    """A transition's history and the alert in its group hold all that was committed."""
    event = transition(status, reason=reason, instance=happened, slot=slot)
    fires = replace(alert_of(event, reason), status=Status.FIRING)
    key = f"{status} {reason} {slot} {happened.fingerprint}"
    store.forget_rule(RULE, [event], [joining(fires, key)], NOON)
    assert store.history(1) == [event]
    (group,) = [group for group in store.groups() if group.key == key]
    assert group.members[happened.fingerprint].alert == fires
    over = replace(fires, status=Status.RESOLVED, resolved_at=slot)
    store.forget_rule(RULE, [], [joining(over)], NOON)
    (group,) = [group for group in store.groups() if group.key == key]
    assert group.members[happened.fingerprint].alert == over


@shared_store
@given(
    row=st.builds(
        MetricRow,
        metric=texts,
        model=st.none() | texts,
        series=labels,
        window_start=times,
        window_end=times,
        value=st.none() | numbers,
        sample_count=st.none() | counts,
        label_coverage=st.none() | numbers,
    )
)
def test_metric_rows_come_back_as_they_were(store: Store, row: MetricRow) -> None:
    """A queued metric row holds all that was committed, and its as-of time."""
    store.forget_rule(RULE, (), (), NOON)
    commit(store, NOON, metrics=[row])
    ((number, queued, as_of),) = store.queued_metrics(0, 10)
    assert (queued, as_of) == (row, NOON)
    store.forget_metrics(number)


def test_a_value_that_is_no_number_is_no_value(store: Store) -> None:
    """NaN comes back as None, as the class says."""
    commit(store, NOON, instances=[instance(value=math.nan)])
    assert store.load_rules()[RULE].instances["f1"].value is None


def test_a_commit_replaces_what_was_remembered(store: Store) -> None:
    """Instances that the newest state leaves out are gone; other rules' stay."""
    other = RuleId("flights", "Other")
    commit(store, NOON, rule=other, instances=[instance(fingerprint="x")])
    commit(store, NOON, instances=[instance(fingerprint="a"), instance(fingerprint="b")])
    commit(store, NOON + MINUTE, instances=[instance(fingerprint="b", value=9.0)])
    loaded = store.load_rules()
    assert loaded[RULE].slot == NOON + MINUTE
    assert {key: i.value for key, i in loaded[RULE].instances.items()} == {"b": 9.0}
    assert set(loaded[other].instances) == {"x"}


@pytest.mark.parametrize("slot", [NOON, NOON - MINUTE])
def test_a_slot_commits_at_most_once(store: Store, slot: datetime) -> None:
    """The same slot, or an earlier one, is refused by name and changes nothing at all."""
    commit(store, NOON, instances=[instance()])
    before = store.load_rules()
    with pytest.raises(SlotCommittedError, match="rule flights/AccuracyLow: slot 2013-03-05 1"):
        commit(store, slot, transitions=[transition()], changes=[joining(alert())], metrics=[metric()])
    assert store.load_rules() == before
    assert (store.history(), store.groups(), store.queued_metrics(0, 9)) == ([], [], [])


def test_a_changed_rule_goes_on_after_its_newest_slot(store: Store) -> None:
    """A new definition replaces the old one at the next slot, and gets no committed slot a second time."""
    commit(store, NOON)
    with pytest.raises(SlotCommittedError):
        commit(store, NOON, definition="changed")
    commit(store, NOON + MINUTE, definition="changed")
    assert store.load_rules()[RULE] == RuleState("changed", NOON + MINUTE)


def test_threads_that_race_for_a_slot_commit_it_once(store: Store) -> None:
    """Of eight threads that commit the same slots, one wins each, and its alerts are the only ones."""
    barrier = threading.Barrier(8)
    refused: list[str] = []

    def race(thread: int) -> None:
        for number in range(5):
            barrier.wait()
            try:
                commit(store, NOON + number * MINUTE, changes=[joining(alert(), f"{number} {thread}")])
            except SlotCommittedError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=race, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5 * 7
    assert sorted(group.key[0] for group in store.groups()) == list("01234")


REFUSING = {
    SqliteFile: (
        """CREATE TRIGGER fault BEFORE INSERT ON {0} WHEN (SELECT count(*) FROM {0}) >= 1
        BEGIN SELECT raise(ABORT, 'fault'); END""",
    ),
    PostgresServer: (
        """CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) FROM {0}) >= 1 THEN RAISE 'fault'; END IF; RETURN NEW; END $$""",
        "CREATE TRIGGER fault BEFORE INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION fault()",
    ),
}
"""What makes a table refuse its second row."""


def test_many_wide_rows_are_one_commit(store: Store) -> None:
    """A slot in which hundreds of alerts begin, each with much to say, is kept like any other."""
    said = {f"annotation {n}": "why " * 100 for n in range(5)}
    began = [transition(instance=instance(fingerprint=f"f{n}", annotations=said)) for n in range(500)]
    store.commit(RULE, RuleState("d", NOON), began, [], [], NOON)
    assert len(store.history(1000)) == 500


@pytest.mark.parametrize("table", ["instances", "history", "group_alerts", "metric_queue"])
def test_a_commit_that_fails_midway_leaves_nothing(place: Place, store: Store, table: str) -> None:
    """Where any table refuses a slot's rows, none of the slot is kept, and it can be committed again."""
    commit(store, NOON, instances=[instance(fingerprint="old")])
    before = store.load_rules()
    parts: dict[str, Any] = {
        "instances": [instance(fingerprint=f"new{n}") for n in range(3)],
        "transitions": [transition(), transition(Status.RESOLVED)],
        "changes": [joining(alert(), "g1"), joining(alert(), "g2")],
        "metrics": [metric("m1"), metric("m2")],
    }
    run(place, *(statement.format(table) for statement in REFUSING[type(place)]))
    with pytest.raises(Exception, match="fault"):
        commit(store, NOON + MINUTE, **parts)
    assert store.load_rules() == before
    assert (store.history(), store.groups(), store.queued_metrics(0, 9)) == ([], [], [])
    run(place, f"DROP TRIGGER fault{'' if isinstance(place, SqliteFile) else f' ON {table}'}")
    commit(store, NOON + MINUTE, **parts)
    assert (len(store.history()), len(store.groups()), len(store.queued_metrics(0, 9))) == (2, 2, 2)


def test_what_was_committed_is_there_after_reopening(place: Place, store: Store) -> None:
    """A second opening of the file sees everything the first one committed."""
    commit(store, NOON, instances=[instance()], transitions=[transition()], changes=[joining(alert())])
    again = Store.open(place)
    assert again.load_rules() == store.load_rules()
    assert again.history() == [transition()]
    assert again.groups() == store.groups() != []
    again.close()


def test_a_forgotten_rule_leaves_its_history(store: Store) -> None:
    """A rule that left the files is forgotten with its instances, in the transaction of its last words."""
    commit(store, NOON, instances=[instance()], transitions=[transition()], changes=[joining(alert())])
    gone = transition(Status.RESOLVED, reason="rule_deleted")
    store.forget_rule(RULE, [gone], [joining(alert(Status.RESOLVED))], NOON)
    assert store.load_rules() == {}
    assert store.alerts(tuple(AlertState)) == []
    assert store.history() == [gone, transition()]
    (group,) = store.groups()
    assert [member.alert.status for member in group.members.values()] == [Status.RESOLVED]


def test_queued_metrics_leave_once_the_lake_has_them(store: Store) -> None:
    """Rows are handed out in order after an id and forgotten through one; ids are never used again."""
    commit(store, NOON, metrics=[metric(name) for name in "abc"])
    rows = store.queued_metrics(0, 2)
    assert [row.metric for _, row, _ in rows] == ["a", "b"]
    (last,) = store.queued_metrics(rows[-1][0], 10)
    assert last[1] == metric("c")
    store.forget_metrics(last[0])
    assert store.queued_metrics(0, 10) == []
    commit(store, NOON + MINUTE, metrics=[metric("d")])
    ((number, row, _),) = store.queued_metrics(0, 10)
    assert (number > last[0], row.metric) == (True, "d")


def test_queued_metrics_are_numbered_above_what_the_lake_has(store: Store) -> None:
    """A queue that is behind the lake goes on above it; one that is not, goes on where it was."""
    row = MetricRow("m", None, {}, NOON, NOON, 1.0, 1, None)
    for slot, known in enumerate((0, 40, 40, 7)):
        store.number_metrics_after(known)
        at = NOON + slot * MINUTE
        store.commit(RULE, RuleState("d", at), [], [], [row], at)
    assert [number for number, *_ in store.queued_metrics(0, 10)] == [1, 41, 42, 43]


def test_it_is_said_where_a_text_stands(store: Store) -> None:
    """Texts are found in columns and in documents, whatever marks are in them; others like them are not."""
    said = 'Ann "100%" O_Neil\\'
    began = transition(instance=instance(labels={"customer": said}))
    store.commit(RULE, RuleState("d", NOON), [began], [], [], NOON)
    store.silence(Silence("s1", f"customer={said}", NOON, None, "me", "known", NOON))
    assert store.mentions([said]) == ["history", "silences"]
    assert store.mentions(["nobody", said]) == ["history", "silences"]
    for another in ('Ann "100x" O_Neil\\', 'Ann "100%" OxNeil\\', "ANN", "nobody"):
        assert store.mentions([another]) == [], another
    assert store.mentions([]) == []


def test_it_is_known_whether_alerts_changed(store: Store) -> None:
    """Whatever happens to alerts, or is said of them, makes another value; where nothing does, it stays."""
    done: list[Callable[[], Any]] = [
        lambda: None,
        lambda: store.commit(RULE, RuleState("d", NOON), [transition()], [joining(alert())], [], NOON),
        lambda: put(store, message()),
        lambda: store.acknowledge(Ack(alert().fingerprint, "ann", "", NOON)),
        lambda: store.acknowledge(Ack(alert().fingerprint, "ann", "mine", NOON + MINUTE)),
        lambda: store.withdraw_ack(alert().fingerprint, NOON),
        lambda: store.silence(Silence("s1", "a=b", NOON, None, "ann", "", NOON)),
        lambda: store.end_silence("s1", NOON + MINUTE),
        lambda: store.silence(Silence("s2", "a=b", NOON, NOON + 60 * MINUTE, "ann", "", NOON)),
        lambda: store.end_silence("s2", NOON + MINUTE),
    ]
    seen = []
    for each in done:
        each()
        assert store.alert_changes() == store.alert_changes()
        seen.append(store.alert_changes())
    assert all(before != after for before, after in pairwise(seen))


def test_watermarks_never_go_back(store: Store) -> None:
    """Each model keeps its latest watermark, whatever is saved later."""
    store.save_watermarks({})
    assert store.load_watermarks() == {}
    store.save_watermarks({"a": NOON, "b": NOON})
    store.save_watermarks({"a": NOON - MINUTE, "b": NOON + MINUTE, "c": NOON})
    assert store.load_watermarks() == {"a": NOON, "b": NOON + MINUTE, "c": NOON}


def test_an_advance_never_goes_back(store: Store) -> None:
    """The latest time that anyone asked slots to be closed up to stays."""
    assert store.advanced_to() is None
    for moment in (NOON, NOON + MINUTE, NOON - MINUTE):
        store.advance_to(moment)
    assert store.advanced_to() == NOON + MINUTE


def test_current_alerts_are_listed_by_rule_and_labels(store: Store) -> None:
    """Pending, firing and recovering alerts are listed in a stable order; inactive ones when asked for."""
    early = RuleId("a", "Early")
    jfk, lga = instance(), instance(fingerprint="f2", labels={"origin": "LGA"}, state=AlertState.PENDING)
    calm = instance(fingerprint="f3", state=AlertState.INACTIVE)
    commit(store, NOON, instances=[lga, jfk, calm])
    commit(store, NOON, rule=early, instances=[replace(jfk, state=AlertState.RECOVERING)])
    assert store.alerts() == [(early, replace(jfk, state=AlertState.RECOVERING)), (RULE, jfk), (RULE, lga)]
    assert store.alerts([AlertState.INACTIVE]) == [(RULE, calm)]


def test_the_rows_behind_an_alert_stay_with_its_history(store: Store) -> None:
    """A sample comes back as it was put in, whatever JSON values it has."""
    sample = ({"time": "2013-03-05T12:00:00", "inputs": {"x": [1.5, None, True]}, "é": "[redacted]"}, {})
    commit(store, NOON, transitions=[transition(sample=sample)])
    (event,) = store.history()
    assert event.sample == sample


def test_history_is_newest_first_and_bounded(store: Store) -> None:
    """The history gives the newest transitions first, as many as were asked for."""
    events = [transition(slot=NOON + n * MINUTE) for n in range(4)]
    commit(store, NOON, transitions=events)
    assert store.history(3) == events[:0:-1]


def test_what_cannot_be_committed_leaves_nothing_and_harms_nothing(tmp_path: Path) -> None:
    """Where SQLite refuses at the very end, all is as it was, for the writer after that, too."""
    store = Store.open(SqliteFile(tmp_path / "state.sqlite"))
    database = store._database
    orphan = insert(message_alerts).values(message_id=1, fingerprint="a", spoken="firing")
    with pytest.raises(DBAPIError), database.write() as connection:  # noqa: PT012  # the end of it refuses
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        connection.execute(insert(watermarks).values(model="m", at=NOON))
        connection.execute(orphan)
    assert store.load_watermarks() == {}
    store.save_watermarks({"m": NOON})
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        connection.execute(insert(watermarks).values(model="n", at=1 / 0))
    assert store.load_watermarks() == {"m": NOON}
    store.close()
