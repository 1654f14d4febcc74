"""The outbox: what is due, in which order, and what becomes of it."""

from datetime import timedelta

import pytest

from helpers.notify_alerts import NOON, message, no_letters, put
from lapwing_collector.model.alerts import Message, Spoken, Status
from lapwing_collector.model.groups import Told
from lapwing_collector.state import Delivery, OutboxRow, Place, Store

SECOND = timedelta(seconds=1)


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


def test_a_clock_that_is_set_back_holds_nothing_up(store: Store) -> None:
    """What a clock that was ahead put in is due, and so is what it would have tried again; waits are kept."""
    ahead = NOON + timedelta(days=365)
    store.enqueue([message("a"), message("b"), message("c")], ahead)
    for key, again_at in (("b", ahead + SECOND), ("c", NOON + SECOND)):
        store.mark_sending(key)
        store.mark_retry(key, again_at, "error=500")
    assert due(store) == ["a", "b"]


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
    assert row == OutboxRow(message("a"), Delivery.QUEUED, 1, NOON + SECOND, NOON, NOON, None, "error=500")
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
    store.mark_dead("a", "error=404", no_letters, NOON)
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
        store.mark_dead("fire", "error=404", no_letters, NOON)
    assert due(store) == ["resolve"]


def test_what_was_left_half_sent_is_queued_again(place: Place, store: Store) -> None:
    """Opening leaves alone what is being sent; recovery queues it again with its key and attempts."""
    put(store, message("a"), message("b"))
    store.mark_sending("a")
    again = Store.open(place)
    assert [row.message.key for row in again.outbox_rows(Delivery.SENDING)] == ["a"]
    assert again.recover("hook") == 1
    assert again.recover("hook") == 0
    assert [
        (row.message.key, row.attempts, row.interrupted) for row in again.due_messages("hook", NOON, 10)
    ] == [
        ("a", 1, True),
        ("b", 0, False),
    ]
    again.mark_sending("a")
    again.mark_retry("a", NOON, "error=500")
    assert not again.due_messages("hook", NOON, 10)[0].interrupted
    again.close()


def test_rows_are_listed_and_counted(store: Store) -> None:
    """People see the newest rows first, of one delivery if they like, and counts by target."""
    put(store, message("a"), message("b"), message("c", "mail"))
    store.mark_sending("b")
    assert store.unsent() == 3
    store.mark_dead("b", "error=410", no_letters, NOON)
    assert store.unsent() == 2
    assert [row.message.key for row in store.outbox_rows()] == ["c", "b", "a"]
    assert [row.message.key for row in store.outbox_rows(limit=1)] == ["c"]
    assert [row.message.key for row in store.outbox_rows(Delivery.DEAD)] == ["b"]
    assert store.outbox_counts() == {
        ("hook", Delivery.QUEUED): 1,
        ("hook", Delivery.DEAD): 1,
        ("mail", Delivery.QUEUED): 1,
    }


def kill(store: Store, *keys: str, letters: tuple[Message, ...] = ()) -> None:
    """Give messages up."""
    for key in keys:
        assert store.mark_sending(key)
        store.mark_dead(key, "error=404", lambda *_: letters, NOON)


def deliveries(store: Store) -> dict[str, Delivery]:
    """What became of each message."""
    return {row.message.key: row.delivery for row in store.outbox_rows()}


def test_a_death_and_what_tells_of_it_are_one(store: Store) -> None:
    """Letters are put in with the death, once: not for a message that was not being sent."""
    put(store, message("a"))
    letter = message("l", "mail", origin="a")
    store.mark_dead("a", "too early", lambda *_: [letter], NOON)
    assert deliveries(store) == {"a": Delivery.QUEUED}
    kill(store, "a", letters=(letter,))
    assert deliveries(store) == {"a": Delivery.DEAD, "l": Delivery.QUEUED}
    assert store.dead_counts() == {"hook": 1}
    assert [row.message for row in store.due_messages("mail", NOON, 10)] == [letter]


def test_dead_messages_are_queued_again_as_new(store: Store) -> None:
    """They keep their keys and when they were made; attempts and age begin anew."""
    put(store, message("a"), message("b"), message("c"))
    kill(store, "a", "b")
    later = NOON + timedelta(days=2)
    assert store.requeue(["a", "c", "unknown"], later) == {"a"}
    row = next(row for row in store.outbox_rows() if row.message.key == "a")
    assert (row.delivery, row.attempts, row.created_at) == (Delivery.QUEUED, 0, NOON)
    assert (row.next_at, row.queued_at, row.last_error) == (later, later, "error=404")
    assert deliveries(store) == {"a": Delivery.QUEUED, "b": Delivery.DEAD, "c": Delivery.QUEUED}


def test_what_is_outdated_is_not_queued_again(store: Store) -> None:
    """A firing whose resolve is sent, or was, stays dead; one of another target or group does not matter."""
    put(
        store,
        message("fire", group="g"),
        message("resolve", group="g", status=Status.RESOLVED),
        message("elsewhere", "mail", group="g"),
    )
    kill(store, "fire", "elsewhere")
    store.mark_sending("resolve")
    assert store.requeue(["fire"], NOON) == set()  # it would be sent after what is under way
    store.mark_sent("resolve", NOON)
    assert store.requeue(["fire", "elsewhere"], NOON) == {"elsewhere"}


def test_dead_messages_are_listed_by_target(store: Store) -> None:
    """The newest come first, those of one target where one is named."""
    put(store, message("a"), message("b", "mail"), message("c"), message("d"))
    kill(store, "a", "b", "c")
    assert [row.message.key for row in store.outbox_rows(Delivery.DEAD)] == ["c", "b", "a"]
    assert [row.message.key for row in store.outbox_rows(Delivery.DEAD, None, "hook")] == ["c", "a"]
    assert [row.message.key for row in store.outbox_rows(Delivery.DEAD, 1, "hook")] == ["c"]


def test_what_waits_behind_a_message_is_of_its_group_and_target(store: Store) -> None:
    """Later messages that wait are found, in order; sent ones and others are not."""
    put(
        store,
        message("before", group="g"),
        message("a", group="g"),
        message("other"),
        message("b", group="g"),
        message("elsewhere", "mail", group="g"),
        message("c", group="g"),
    )
    assert [each.key for each in store.waiting_behind("a")] == ["b", "c"]
    store.drop({"b": "superseded", "unknown": "no such message"})
    assert [each.key for each in store.waiting_behind("a")] == ["c"]
    assert store.waiting_behind("c") == []


def test_what_a_target_may_have_heard_is_known(store: Store) -> None:
    """A target that was told of a firing, or may have been, knows that it is over once it accepted that."""
    put(store, *(message(key, group="g") for key in "abc"))
    assert not store.heard("c")
    store.mark_sending("a")
    assert store.heard("c")
    store.mark_sent("a", NOON)
    assert store.heard("c")
    put(store, message("d", group="g", status=Status.RESOLVED), message("e", group="g"))
    store.drop({"b": "dropped", "c": "dropped"})
    assert store.heard("d")
    store.mark_sending("d")
    store.mark_dead("d", "error=500", no_letters, NOON)
    assert store.heard("e")
    store.requeue(["d"], NOON)
    store.mark_sending("d")
    store.mark_sent("d", NOON)
    assert not store.heard("e")


def test_targets_that_accepted_nothing_of_an_alert_are_known(store: Store) -> None:
    """As long as none that it fires was accepted since it was last over, with how far the newest one is."""
    one, other = Spoken.FIRING, Spoken.RESOLVED

    def tell(key: str, target: str, **spoken: Spoken) -> None:
        store.announce([], [Told(message(key, target, group="g"), spoken)], NOON)

    tell("a", "hook", x=one, y=one)
    tell("b", "mail", x=one)
    assert store.untold(["x", "y"]) == {"x": {"hook": "queued", "mail": "queued"}, "y": {"hook": "queued"}}
    assert store.untold(["y"]) == {"y": {"hook": "queued"}}
    assert (store.untold([]), store.unaccepted(["a", "b", "nosuch"])) == ({}, {"a", "b"})
    store.mark_sending("a")
    store.mark_sent("a", NOON)
    store.mark_sending("b")
    store.mark_dead("b", "error=500", no_letters, NOON)
    assert store.unaccepted(["a", "b"]) == {"b"}
    assert store.untold(["x", "y"]) == {"x": {"mail": "dead"}}
    tell("c", "hook", x=one)  # a reminder
    assert store.untold(["x", "y"]) == {"x": {"mail": "dead"}}
    tell("d", "hook", x=other)
    assert store.untold(["x", "y"]) == {"x": {"mail": "dead"}}
    tell("e", "hook", x=one)  # it fires again
    assert store.untold(["x", "y"]) == {"x": {"hook": "queued", "mail": "dead"}}


def test_what_waits_is_hastened(store: Store) -> None:
    """Messages of a target that wait for their time are due at once, others are left alone."""
    put(store, message("a"), message("b", "mail"))
    for key in "ab":
        store.mark_sending(key)
        store.mark_retry(key, NOON + SECOND, "error=500")
    store.hasten("hook", NOON)
    assert (store.next_due("hook"), store.next_due("mail")) == (NOON, NOON + SECOND)
