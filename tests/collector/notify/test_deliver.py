"""Delivery from a real outbox to real receivers: at least once, in order, with one key."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers.notify_alerts import NOON, Wall, WatchedOutbox, message, put
from helpers.notify_receivers import mail_server, webhook
from lapwing_collector.model.alerts import Status
from lapwing_collector.notify import Deliverer, Target, Verdict
from lapwing_collector.notify.retry import GIVE_UP_AFTER
from lapwing_collector.state import Delivery, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = Store.open(tmp_path / "state.db")
    yield store
    store.close()


@contextmanager
def delivering(
    outbox: Any, *targets: Target, wall: Wall | None = None, jitter: float = 0.0
) -> Iterator[Deliverer]:
    """Deliver `outbox` to `targets` for the length of the block."""
    deliverer = Deliverer(outbox, targets, wall or Wall(), lambda: jitter)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop(10)


def keys(requests: list[Any]) -> list[str]:
    """The idempotency keys of requests or mails."""
    return [getattr(request, "headers", request)["Idempotency-Key"] for request in requests]


def test_messages_arrive_once_in_order_at_http_and_mail(store: Store) -> None:
    """Messages that wait, and one that comes later with a wake, reach each target once and in order."""
    outbox = WatchedOutbox(store)
    put(store, message("a", "hook"), message("b", "mail"), message("c", "hook"))
    with webhook() as hook, mail_server() as mail:
        targets = Target("hook", hook.url()), Target("mail", mail.url())
        with delivering(outbox, *targets) as deliverer:
            outbox.wait_for(a="sent", b="sent", c="sent")
            put(store, message("d", "mail"))
            deliverer.wake("mail")
            outbox.wait_for(d="sent")
            assert deliverer.counts()["hook", Verdict.SENT] == 2
            assert deliverer.counts()["mail", Verdict.SENT] == 2
            assert deliverer.counts()["mail", Verdict.RETRY] == 0
    assert keys(hook.inbox.items) == ["a", "c"]
    assert keys(mail.inbox.items) == ["b", "d"]
    row = store.outbox_rows()[0]
    assert (row.message.key, row.attempts, row.sent_at, row.last_error) == ("d", 1, NOON, None)


def test_a_server_error_is_tried_again_with_the_same_key(store: Store) -> None:
    """A 500 and then a 200 make two requests with one key, and one row that counts both."""
    outbox = WatchedOutbox(store)
    put(store, message("a"))
    with webhook(500) as hook, delivering(outbox, Target("hook", hook.url())) as deliverer:
        outbox.wait_for(a="sent")
        assert keys(hook.inbox.items) == ["a", "a"]
    (row,) = store.outbox_rows()
    assert row.attempts == 2
    assert row.last_error is not None
    assert "error=500" in row.last_error
    assert {verdict: deliverer.counts()["hook", verdict] for verdict in Verdict} == {
        Verdict.SENT: 1,
        Verdict.RETRY: 1,
        Verdict.DEAD: 0,
    }


def test_a_retry_waits_for_its_time(store: Store) -> None:
    """A message that failed is not sent again before its delay is over, and is then."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, message("a"))
    with (
        webhook(503) as hook,
        delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer,
    ):
        outbox.wait_for(a="queued")
        hook.inbox.wait_for(1)
        put(store, message("b"))
        deliverer.wake("hook")
        outbox.wait_for(b="sent", a="queued")
        assert keys(hook.inbox.items) == ["a", "b"]
        assert store.next_due("hook") == NOON + timedelta(seconds=1)
        wall.now = NOON + timedelta(seconds=1)
        deliverer.wake("hook")
        outbox.wait_for(a="sent")
    assert keys(hook.inbox.items) == ["a", "b", "a"]


def test_a_resolve_waits_for_its_firing_and_holds_up_no_other_alert(store: Store) -> None:
    """While a firing fails, its resolve waits behind it and other alerts go out."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(
        store,
        message("fire", group="f"),
        message("resolve", group="f", status=Status.RESOLVED),
        message("other"),
    )
    with (
        webhook(503) as hook,
        delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer,
    ):
        outbox.wait_for(fire="queued", resolve="queued", other="sent")
        wall.now += timedelta(seconds=1)
        deliverer.wake("hook")
        outbox.wait_for(fire="sent", resolve="sent")
    assert keys(hook.inbox.items) == ["fire", "other", "fire", "resolve"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_refusal_is_dead_at_once(store: Store, status: int) -> None:
    """A request that the service refuses for good is made once and kept as dead, with the reason."""
    outbox = WatchedOutbox(store)
    put(store, message("a"))
    with webhook(status) as hook, delivering(outbox, Target("hook", hook.url())) as deliverer:
        outbox.wait_for(a="dead")
        assert deliverer.counts()["hook", Verdict.DEAD] == 1
    assert keys(hook.inbox.items) == ["a"]
    (row,) = store.outbox_rows(Delivery.DEAD)
    assert row.last_error is not None
    assert f"error={status}" in row.last_error


def test_a_message_is_given_up_after_a_day(store: Store) -> None:
    """A transient failure of a message that is a day old is its last one."""
    outbox = WatchedOutbox(store)
    put(store, message("a"))
    late = Wall(NOON + GIVE_UP_AFTER + timedelta(seconds=1))
    with webhook(500) as hook, delivering(outbox, Target("hook", hook.url()), wall=late) as deliverer:
        outbox.wait_for(a="dead")
        assert deliverer.counts()["hook", Verdict.DEAD] == 1
        assert deliverer.counts()["hook", Verdict.RETRY] == 0
    assert len(hook.inbox.items) == 1


def test_targets_that_hang_delay_no_other(store: Store) -> None:
    """With a dozen receivers stalled, more than Apprise has threads for, another one gets its message."""
    outbox = WatchedOutbox(store)
    with webhook() as stalled, webhook() as healthy:
        stalled.gate.clear()
        targets = [Target(f"stalled-{n}", stalled.url()) for n in range(12)]
        put(store, *(message(target.name, target.name) for target in targets))
        with delivering(outbox, *targets, Target("healthy", healthy.url())) as deliverer:
            stalled.inbox.wait_for(12)
            put(store, message("a", "healthy"))
            deliverer.wake("healthy")
            outbox.wait_for(a="sent")
            assert store.outbox_counts()["stalled-0", Delivery.SENDING] == 1
            stalled.gate.set()


def test_a_crash_after_acceptance_sends_the_same_key_again(tmp_path: Path) -> None:
    """Where a process dies between the target's acceptance and its note, the next one repeats the message."""
    with webhook() as hook:
        store = Store.open(tmp_path / "state.db")
        put(store, message("a"))
        outbox = WatchedOutbox(store)
        outbox.failing.add("mark_sent")
        with delivering(outbox, Target("hook", hook.url())):
            outbox.wait_for_failure("mark_sent")
        store.close()

        store = Store.open(tmp_path / "state.db")
        assert [row.delivery for row in store.outbox_rows()] == [Delivery.SENDING]
        outbox = WatchedOutbox(store)
        with delivering(outbox, Target("hook", hook.url())):
            outbox.wait_for(a="sent")
        assert [row.attempts for row in store.outbox_rows()] == [2]
        store.close()
    assert keys(hook.inbox.items) == ["a", "a"]


def test_an_outbox_that_fails_for_a_while_costs_no_duplicate(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An outcome that could not be noted is noted once the outbox works, before anything else is sent."""
    monkeypatch.setattr("lapwing_collector.notify.deliver._OUTBOX_RETRY_S", 0.01)
    outbox = WatchedOutbox(store)
    outbox.failing.add("mark_sent")
    put(store, message("a"), message("b"))
    with webhook() as hook, delivering(outbox, Target("hook", hook.url())):
        outbox.wait_for_failure("mark_sent")
        outbox.failing.clear()
        outbox.wait_for(a="sent", b="sent")
    assert keys(hook.inbox.items) == ["a", "b"]
    assert "the outbox cannot be used" in caplog.text


def test_stop_does_not_wait_for_a_target_that_hangs(store: Store) -> None:
    """Stopping returns after its grace although a target holds its request; the row stays half sent."""
    put(store, message("a"))
    with webhook() as hook:
        hook.gate.clear()
        deliverer = Deliverer(store, [Target("hook", hook.url())], Wall())
        deliverer.start()
        hook.inbox.wait_for(1)
        deliverer.stop(0.05)
        assert store.outbox_counts() == {("hook", Delivery.SENDING): 1}
        hook.gate.set()
        deliverer.stop(10)


def test_stop_begins_no_new_attempt(store: Store) -> None:
    """What is due when the stop comes stays queued."""
    put(store, message("a"), message("b"))
    with webhook() as hook:
        hook.gate.clear()
        deliverer = Deliverer(store, [Target("hook", hook.url())], Wall())
        deliverer.start()
        hook.inbox.wait_for(1)
        deliverer.stop(0)
        hook.gate.set()
        deliverer.stop(10)
    assert {row.message.key: row.delivery for row in store.outbox_rows()} == {
        "a": Delivery.SENT,
        "b": Delivery.QUEUED,
    }


def test_a_wake_for_an_unknown_target_is_nothing(store: Store) -> None:
    """Messages to a name that the notify file no longer has stay in the outbox."""
    put(store, message("a", "gone"))
    deliverer = Deliverer(store, [], Wall())
    deliverer.start()
    deliverer.wake("gone")
    deliverer.stop(1)
    assert [row.delivery for row in store.outbox_rows()] == [Delivery.QUEUED]
