"""The outbox: what is due, in which order, and what becomes of it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from helpers.notify_alerts import NOON, message, put
from lapwing_collector.model.alerts import Status
from lapwing_collector.state import Delivery, OutboxRow, Store

SECOND = timedelta(seconds=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store.open(tmp_path / "state.db")
    yield store
    store.close()


def due(store: Store, target: str = "hook", limit: int = 10) -> list[str]:
    """Keys of the messages due at noon."""
    return [row.message.key for row in store.due_messages(target, NOON, limit)]


def test_a_message_is_due_at_once_at_its_own_target(store: Store) -> None:
    """New messages are due in the order they were put in, each at its target alone."""
    put(store, message("c"), message("a"), message("b", "mail"))
    assert (due(store), due(store, "mail"), due(store, "other"), due(store, limit=1)) == (
        ["c", "a"],
        ["b"],
        [],
        ["c"],
    )
    assert (store.next_due("hook"), store.next_due("other")) == (NOON, None)
    assert store.due_messages("hook", NOON - SECOND, 10) == []


def test_a_known_key_is_dropped(store: Store) -> None:
    """A message whose key the outbox knows changes nothing, within a commit or across, sent or not."""
    put(store, message("a"), message("a", title="again"))
    store.mark_sending("a")
    store.mark_sent("a", NOON)
    put(store, message("a", title="later"))
    assert [(row.message.title, row.delivery) for row in store.outbox_rows()] == [("title a", Delivery.SENT)]


def test_a_row_keeps_what_happened(store: Store) -> None:
    """Attempts, times and the last error of a message are kept through a retry to its end."""
    put(store, message("a"))
    assert store.mark_sending("a")
    store.mark_retry("a", NOON + SECOND, "error=500")
    (row,) = store.outbox_rows()
    assert row == OutboxRow(message("a"), Delivery.QUEUED, 1, NOON + SECOND, NOON, None, "error=500")
    assert (due(store), store.next_due("hook")) == ([], NOON + SECOND)
    assert store.mark_sending("a")
    store.mark_sent("a", NOON + 2 * SECOND)
    (row,) = store.outbox_rows()
    assert (row.delivery, row.attempts, row.sent_at, row.last_error) == (
        Delivery.SENT,
        2,
        NOON + 2 * SECOND,
        "error=500",
    )


def test_a_message_is_begun_by_one(store: Store) -> None:
    """Only the first of two who want to send a message may, and a dead or sent one is not sent again."""
    put(store, message("a"))
    assert store.mark_sending("a")
    assert not store.mark_sending("a")
    store.mark_dead("a", "error=404")
    assert not store.mark_sending("a")
    assert not store.mark_sending("unknown")
    (row,) = store.outbox_rows()
    assert (row.delivery, row.attempts, row.last_error) == (Delivery.DEAD, 1, "error=404")


@pytest.mark.parametrize("state", ["queued", "retried", "sending"])
def test_a_resolve_waits_for_its_firing(store: Store, state: str) -> None:
    """While a firing is unsent its resolve is not due; other alerts and other targets are."""
    fire = message("fire", group="f")
    resolve = message("resolve", group="f", status=Status.RESOLVED)
    put(store, fire, resolve, message("other"), message("mailed", "mail", group="f"))
    if state != "queued":
        store.mark_sending("fire")
    if state == "retried":
        store.mark_retry("fire", NOON + SECOND, "error=500")
    assert due(store) == (["fire", "other"] if state == "queued" else ["other"])
    assert due(store, "mail") == ["mailed"]
    store.mark_sending("other")
    store.mark_sent("other", NOON)
    assert store.next_due("hook") == {"queued": NOON, "retried": NOON + SECOND, "sending": None}[state]


@pytest.mark.parametrize("end", ["sent", "dead"])
def test_a_resolve_is_due_once_its_firing_is_over(store: Store, end: str) -> None:
    """A firing that was sent, or given up, holds its resolve no longer."""
    put(store, message("fire", group="f"), message("resolve", group="f"))
    store.mark_sending("fire")
    if end == "sent":
        store.mark_sent("fire", NOON)
    else:
        store.mark_dead("fire", "error=404")
    assert due(store) == ["resolve"]


def test_what_was_left_half_sent_is_queued_again(tmp_path: Path, store: Store) -> None:
    """Opening leaves alone what is being sent; recovery queues it again with its key and attempts."""
    put(store, message("a"), message("b"))
    store.mark_sending("a")
    again = Store.open(tmp_path / "state.db")
    assert [row.message.key for row in again.outbox_rows(Delivery.SENDING)] == ["a"]
    assert again.recover() == 1
    assert again.recover() == 0
    assert [(row.message.key, row.attempts) for row in again.due_messages("hook", NOON, 10)] == [
        ("a", 1),
        ("b", 0),
    ]
    again.close()


def test_rows_are_listed_and_counted(store: Store) -> None:
    """People see the newest rows first, of one delivery if they like, and counts by target."""
    put(store, message("a"), message("b"), message("c", "mail"))
    store.mark_sending("b")
    assert store.unsent() == 3
    store.mark_dead("b", "error=410")
    assert store.unsent() == 2
    assert [row.message.key for row in store.outbox_rows()] == ["c", "b", "a"]
    assert [row.message.key for row in store.outbox_rows(limit=1)] == ["c"]
    assert [row.message.key for row in store.outbox_rows(Delivery.DEAD)] == ["b"]
    assert store.outbox_counts() == {
        ("hook", Delivery.QUEUED): 1,
        ("hook", Delivery.DEAD): 1,
        ("mail", Delivery.QUEUED): 1,
    }
