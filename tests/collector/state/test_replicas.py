"""Processes that share a state in PostgreSQL: who is there, who leads, and that no other writes as one."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from helpers.notify_alerts import NOON, RULE, message, put
from helpers.waiting import wait_until
from lapwing_collector.errors import StateUnavailableError
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.model.replicas import Arrival, Leader, Mark, Replica
from lapwing_collector.state import OwnedElsewhereError, PostgresServer, SqliteFile, Store

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.postgres import Server

SHORT_S = 0.2


@pytest.fixture
def place(postgres: "Server") -> PostgresServer:
    """An empty schema, as one process knows it."""
    return PostgresServer(postgres.empty())


@pytest.fixture
def beside(place: PostgresServer, postgres: "Server") -> Iterator[tuple[PostgresServer, Store]]:
    """The same as another process knows it, and what that joined."""
    other = PostgresServer(postgres.url)
    with closing(Store.join(other)) as store:
        yield other, store


Beside = tuple[PostgresServer, Store]


def replica(name: str, beats: int = 1) -> Replica:
    """One that was heard of `beats` minutes after noon."""
    return Replica(name, "up", f"http://{name}", "1", NOON, beats, NOON + timedelta(minutes=beats))


def test_who_is_there_is_known(beside: Beside) -> None:
    """Each tells for itself, again and again; who leaves or is silent for long is forgotten."""
    _, store = beside
    for each in (replica("a"), replica("b", 2), replica("c", 3), replica("a", 4)):
        store.beat(each)
    assert store.replicas() == [replica("a", 4), replica("b", 2), replica("c", 3)]
    store.leave("c")
    store.forget_replicas(NOON + timedelta(minutes=5), but="a")
    assert store.replicas() == [replica("a", 4)]


def test_how_far_collectors_are_is_known(store: Store) -> None:
    """Each has one mark, the newest that it told, until it has brought all or was silent for long."""
    later = Mark("a", "http://b", NOON + timedelta(minutes=1), 2, NOON + timedelta(minutes=2))
    for mark in (Mark("a", "http://a", NOON, 1, NOON), Mark("b", "http://b", NOON, 1, NOON), later):
        store.tell_mark(mark)
    assert store.marks() == [later, Mark("b", "http://b", NOON, 1, NOON)]
    store.forget_marks(NOON + timedelta(minutes=1))
    assert store.marks() == [later]
    store.forget_mark("a")
    assert store.marks() == []


def test_what_collectors_bring_is_told_once_and_in_order(store: Store) -> None:
    """Of each table the newest event time of all is kept, under a number above those told before."""
    store.tell_arrivals({})
    assert store.arrivals(0) == []
    store.tell_arrivals({"m": NOON, "n": None})
    assert store.arrivals(0) == [Arrival("m", NOON, 1), Arrival("n", None, 1)]
    store.tell_arrivals({"m": NOON - timedelta(hours=1)})
    assert store.arrivals(1) == [Arrival("m", NOON, 2)]
    store.tell_arrivals({"m": None, "n": NOON})
    assert store.arrivals(2) == [Arrival("m", NOON, 3), Arrival("n", NOON, 3)]
    assert store.arrivals(3) == []


def test_telling_waits_for_no_writer(place: PostgresServer, beside: Beside) -> None:
    """A leader stopped amid a transaction keeps others from writing, and not from telling and looking."""
    _, store = beside
    with closing(Store.own(place)) as leader:
        begun, go_on = threading.Event(), threading.Event()

        def hang() -> None:
            with leader._database.write():
                begun.set()
                go_on.wait(60)

        thread = threading.Thread(target=hang)
        thread.start()
        try:
            assert begun.wait(60)
            store.beat(replica("a"))
            assert store.holder() == place.session
            assert store.replicas() == [replica("a")]
        finally:
            go_on.set()
            thread.join()


def test_one_leads_and_the_next_has_a_term_of_its_own(place: PostgresServer, beside: Beside) -> None:
    """The lock says who leads now, the term how many have; what needs no leader is open to all."""
    other, store = beside
    assert (store.leader(), store.holder()) == (None, None)
    with closing(Store.own(place, now=NOON)) as first:
        assert store.leader() == Leader(1, place.session, NOON)
        assert store.holder() == place.session
        with pytest.raises(OwnedElsewhereError, match="another collector works with this state"):
            Store.own(other, wait_s=SHORT_S)
        put(store, message("a"))
        assert [row.message.key for row in first.outbox_rows()] == ["a"]
    with closing(Store.own(other, now=NOON)):
        assert store.leader() == Leader(2, other.session, NOON)


def test_a_leader_that_is_silent_is_ended(place: PostgresServer, beside: Beside) -> None:
    """What it had begun is undone, all that it tries is refused, and it learns that another leads."""
    other, store = beside
    with closing(Store.own(place, wait_s=SHORT_S)) as first:
        first.commit(RULE, RuleState("d", NOON), [], [], [], NOON)
        store.evict("somebody else")
        assert store.holder() == place.session

        def forget_all() -> None:
            with first._database.write() as connection:
                connection.exec_driver_sql("DELETE FROM rules")
                store.evict(place.session)
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(StateUnavailableError):
            forget_all()
        with closing(Store.own(other)) as second:
            with pytest.raises(StateUnavailableError):
                first.commit(RULE, RuleState("d", NOON + timedelta(minutes=1)), [], [], [], NOON)
            wait_until(lambda: first.lost)
            with pytest.raises(StateUnavailableError):
                put(first, message("b"))
            assert second.load_rules() == {RULE: RuleState("d", NOON)}
            assert second.outbox_rows() == []


def test_a_leader_whose_session_broke_goes_on_where_nobody_else_led(
    place: PostgresServer, beside: Beside
) -> None:
    """It is as if the database had been away: the term stays, and what it remembers is true."""
    _, store = beside
    with closing(Store.own(place, now=NOON)) as first:
        put(first, message("a"))
        store.evict(place.session)

        def writes_again() -> bool:
            with suppress(StateUnavailableError):
                put(first, message("b"))
            return [row.message.key for row in store.outbox_rows()] == ["b", "a"]

        wait_until(writes_again)
        assert store.holder() == place.session
        assert not first.lost
        assert store.leader() == Leader(1, place.session, NOON)


def test_a_term_is_checked_with_each_transaction(place: PostgresServer, postgres: "Server") -> None:
    """Even where a lock does not hold, as behind a pool of sessions, nothing is written in a past term."""
    with closing(Store.own(place)) as first:
        put(first, message("a"))
        postgres.execute("UPDATE leadership SET term = term + 1")
        with pytest.raises(StateUnavailableError, match="another collector leads, or did meanwhile"):
            put(first, message("b"))
        assert first.lost
        assert postgres.execute("SELECT key FROM outbox") == [["a"]]


def test_what_hangs_in_a_process_that_stood_down_does_not_take_the_lock(
    place: PostgresServer, beside: Beside
) -> None:
    """A closed store of a leader connects no more, whoever still has it."""
    _, store = beside
    first = Store.own(place)
    first.close()
    wait_until(lambda: store.holder() is None)
    with pytest.raises(StateUnavailableError, match="it is closed"):
        put(first, message("a"))
    assert store.holder() is None


def test_a_file_has_one_process_that_leads(tmp_path: "Path") -> None:
    """Nobody else holds a lock of it, and its term is checked at the start alone."""
    with closing(Store.own(SqliteFile(tmp_path / "state.sqlite"))) as store:
        assert store.holder() is None
        assert store.replicas() == []
        assert store.leader() == Leader(1, "this process", None)
