"""Delivery from a real outbox to real receivers: at least once, in order, with one key.

Numbers in docstrings are those of the findings in the decision about Apprise.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from helpers.notify_alerts import NOON, Wall, WatchedOutbox, message, put
from helpers.notify_hostile import answer, http_receiver, stall
from helpers.notify_receivers import WAIT_S, mail_server, webhook
from helpers.ports import free_port
from lapwing_collector.model.alerts import Message, Spoken, Status
from lapwing_collector.model.groups import Told
from lapwing_collector.notify import Deliverer, Outcome, Rate, Reach, Target, Verdict
from lapwing_collector.notify.letters import dead_letters
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
    outbox: Any, *targets: Target, wall: Wall | None = None, jitter: float = 0.0, **options: Any
) -> Iterator[Deliverer]:
    """Deliver `outbox` to `targets` for the length of the block."""
    wall = wall or Wall()
    deliverer = Deliverer(outbox, targets, wall, lambda: jitter, monotonic_s=wall.monotonic_s, **options)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop(10)


def told(key: str, alerts: str) -> Told:
    """A message of one group that speaks of the alerts named by the letters."""
    return Told(message(key, group="g"), dict.fromkeys(alerts, Spoken.FIRING))


def keys(requests: list[Any]) -> list[str]:
    """The idempotency keys of requests or mails."""
    return [getattr(request, "headers", request)["Idempotency-Key"] for request in requests]


def test_whoever_shows_messages_hears_what_came_of_them(store: Store) -> None:
    """It is told once the outbox has it, whether a message was accepted or is tried again."""
    seen: Queue[dict[str, str]] = Queue()

    def noted() -> None:
        seen.put({row.message.key: str(row.delivery) for row in store.outbox_rows()})

    put(store, message("a", "hook"))
    with webhook() as hook, delivering(store, Target("hook", hook.url()), noted=noted):
        assert seen.get(timeout=WAIT_S) == {"a": "sent"}
    put(store, message("b", "nowhere"))
    nowhere = Target("nowhere", f"json://127.0.0.1:{free_port()}")
    # A jitter of 1 puts the next attempt at a time that this clock never comes to.
    with delivering(store, nowhere, jitter=1.0, noted=noted):
        assert seen.get(timeout=WAIT_S) == {"a": "sent", "b": "queued"}
    assert seen.empty()


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
    """Fault 25: a message that failed is not sent again before its delay is over, and is then."""
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


def test_messages_of_a_group_arrive_in_order_and_hold_up_no_other(store: Store) -> None:
    """While a message fails, the later one of its group waits behind it, and other groups go out."""
    outbox, wall = WatchedOutbox(store), Wall()
    store.announce((), [told("first", "a"), told("second", "bc")], NOON)
    put(store, message("other"))
    with (
        webhook(503) as hook,
        delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer,
    ):
        outbox.wait_for(first="queued", second="queued", other="sent")
        wall.now += timedelta(seconds=1)
        deliverer.wake("hook")
        outbox.wait_for(first="sent", second="sent")
    assert keys(hook.inbox.items) == ["first", "other", "first", "second"]


def test_forty_messages_to_one_target_arrive_in_order(store: Store) -> None:
    """A target gets its messages one after another, as they were put in (15)."""
    outbox = WatchedOutbox(store)
    names = [f"m{number:02}" for number in range(40)]
    put(store, *(message(name) for name in names))
    with webhook() as hook, delivering(outbox, Target("hook", hook.url())):
        assert keys(hook.inbox.wait_for(40)) == names


def test_a_newer_message_takes_the_place_of_an_unsent_one(store: Store) -> None:
    """A resolve whose firing failed meanwhile is told instead of it; what was dropped says for which."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, message("fire", group="f"))
    with (
        webhook(503) as hook,
        delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer,
    ):
        hook.inbox.wait_for(1)
        outbox.wait_for(fire="queued")
        put(store, message("resolve", group="f", status=Status.RESOLVED))
        wall.now += timedelta(seconds=1)
        deliverer.wake("hook")
        outbox.wait_for(fire="suppressed", resolve="sent")
    assert keys(hook.inbox.items) == ["fire", "resolve"]
    (row,) = store.outbox_rows(Delivery.SUPPRESSED)
    assert row.last_error == "superseded by message resolve"


def test_what_was_interrupted_is_told_again_before_what_follows(store: Store) -> None:
    """A resolve that may have been taken when its sender died is sent again, not left out for newer ones."""
    outbox = WatchedOutbox(store)
    put(store, message("resolve", group="f", status=Status.RESOLVED))
    store.mark_sending("resolve")
    put(store, message("fire", group="f"), message("over", group="f", status=Status.RESOLVED))
    with webhook() as hook, delivering(outbox, Target("hook", hook.url())):
        outbox.wait_for(resolve="sent", fire="suppressed", over="suppressed")
    assert keys(hook.inbox.items) == ["resolve"]


def test_what_came_and_went_unheard_is_not_told(store: Store) -> None:
    """A firing and its resolve that both wait are dropped, but for a resolve of what the target heard."""
    outbox = WatchedOutbox(store)
    put(store, message("other"), message("f1", group="f"), message("r1", group="f", status=Status.RESOLVED))
    with webhook() as hook:
        with delivering(outbox, Target("hook", hook.url())):
            outbox.wait_for(other="sent", f1="suppressed", r1="suppressed")
        put(store, message("f2", group="f"))
        with delivering(outbox, Target("hook", hook.url())):
            outbox.wait_for(f2="sent")
        put(store, message("f3", group="f"), message("r3", group="f", status=Status.RESOLVED))
        with delivering(outbox, Target("hook", hook.url())):
            outbox.wait_for(f3="suppressed", r3="sent")
    assert keys(hook.inbox.items) == ["other", "f2", "r3"]


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
    """With a dozen receivers stalled, more than Apprise has threads for, another one gets its message (2)."""
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
    """Messages to a name that the notify file no longer has stay in the outbox, for a day."""
    put(store, message("a", "gone"))
    for hours, expected in ((23, Delivery.QUEUED), (25, Delivery.DEAD)):
        deliverer = Deliverer(store, [], Wall(NOON + timedelta(hours=hours)))
        deliverer.start()
        deliverer.wake("gone")
        deliverer.stop(1)
        assert [row.delivery for row in store.outbox_rows()] == [expected]


def test_sending_leaves_the_event_loop_alone(store: Store) -> None:
    """While a receiver stalls, a loop in the same process turns (1)."""
    put(store, message("a"))

    async def turn() -> bool:
        with http_receiver(stall) as stalled:
            deliverer = Deliverer(store, [Target("hook", stalled.url())], Wall())
            deliverer.start()
            await asyncio.to_thread(stalled.inbox.wait_for, 1)
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(turned.set)
            await asyncio.wait_for(turned.wait(), 30)
            under_way = store.outbox_counts() == {("hook", Delivery.SENDING): 1}
            stalled.ended.set()
            await asyncio.to_thread(deliverer.stop, 10)
            return under_way

    assert asyncio.run(turn())


def test_retry_after_holds_for_the_whole_target(store: Store) -> None:
    """After a 429 nothing goes to the target until the time it asked for, whatever the backoff says."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, message("a"), message("b"))
    with (
        http_receiver(answer("429 Slow down", "Retry-After: 90")) as busy,
        delivering(outbox, Target("hook", busy.url()), wall=wall) as deliverer,
    ):
        outbox.wait_for_retry("a", NOON + timedelta(seconds=90))
        wall.now += timedelta(seconds=89)
        deliverer.wake("hook")
        assert store.outbox_counts() == {("hook", Delivery.QUEUED): 2}
        wall.now += timedelta(seconds=1)
        deliverer.wake("hook")
        outbox.wait_for(a="sent", b="sent")
        told = [re.findall(rb"Idempotency-Key: (\w)", request) for request in busy.inbox.items]
        # b may be looked at in the moment in which the clock moves, and a just before.
        assert (told[0], sorted(told[1:])) == ([b"a"], [[b"a"], [b"b"]])


def test_a_rate_spaces_messages_out(store: Store) -> None:
    """A target with a rate gets what the rate allows, and the rest as time goes by."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, *(message(name) for name in "abcd"))
    with webhook() as hook:
        target = Target("hook", hook.url(), rate=Rate(2, timedelta(minutes=1)))
        with delivering(outbox, target, wall=wall) as deliverer:
            outbox.wait_for(a="sent", b="sent", c="queued", d="queued")
            wall.now += timedelta(seconds=30)
            deliverer.wake("hook")
            outbox.wait_for(c="sent", d="queued")
            wall.now += timedelta(seconds=30)
            deliverer.wake("hook")
            outbox.wait_for(d="sent")


def test_a_target_that_is_down_is_tried_with_one_message_at_a_time(store: Store) -> None:
    """After five failures one message tries whether it is up; all others follow once one got through."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, *(message(name) for name in "abcdefgh"), message("late"))
    store.mark_sending("late")
    store.mark_retry("late", NOON + timedelta(minutes=10), "error=503")
    with (
        webhook(*[503] * 6) as hook,
        delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer,
    ):
        outbox.wait_for_retry("e", NOON + timedelta(seconds=1))
        assert deliverer.down() == {"hook": True}
        assert len(hook.inbox.items) == 5
        wall.now += timedelta(seconds=16)
        deliverer.wake("hook")
        outbox.wait_for_retry("a", wall.now + timedelta(seconds=2))
        assert len(hook.inbox.items) == 6
        wall.now += timedelta(seconds=32)
        deliverer.wake("hook")
        outbox.wait_for(**dict.fromkeys("abcdefgh", "sent"), late="sent")
        assert deliverer.down() == {"hook": False}


def test_messages_to_a_dead_target_are_given_up_in_time(store: Store) -> None:
    """Those that had no chance because the target is down are given up with those that had one."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, *(message(name) for name in "abcdefgh"))
    with webhook(*[503] * 5) as hook:
        with delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer:
            outbox.wait_for_retry("e", NOON + timedelta(seconds=1))
            wall.now += timedelta(hours=25)
            deliverer.wake("hook")
            outbox.wait_for(**dict.fromkeys("abcdefgh", "dead"))
        assert len(hook.inbox.items) == 5
    assert {row.last_error and "error=503" in row.last_error for row in store.outbox_rows()} == {True}


def test_a_clock_that_is_set_forward_gives_up_nothing(store: Store) -> None:
    """Days that the clock leaves out count for nothing, neither for what was tried nor for what waits."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, *(message(name) for name in "abcdefgh"))
    with (
        webhook(*[503] * 6) as hook,
        delivering(outbox, Target("hook", hook.url()), wall=wall, jitter=1.0) as deliverer,
    ):
        outbox.wait_for_retry("e", NOON + timedelta(seconds=1))
        wall.leap(timedelta(days=2))
        deliverer.wake("hook")
        outbox.wait_for_retry("a", wall.now + timedelta(seconds=2))
        wall.now += timedelta(seconds=32)
        deliverer.wake("hook")
        outbox.wait_for(**dict.fromkeys("abcdefgh", "sent"))


def test_what_was_tried_before_a_long_stop_is_tried_again(store: Store) -> None:
    """A message that grew too old while nobody ran has one more chance."""
    outbox = WatchedOutbox(store)
    put(store, message("a"))
    store.mark_sending("a")
    store.mark_retry("a", NOON, "error=503")
    late = Wall(NOON + timedelta(days=2))
    with webhook() as hook, delivering(outbox, Target("hook", hook.url()), wall=late):
        outbox.wait_for(a="sent")
    assert keys(hook.inbox.items) == ["a"]


def test_what_a_target_does_not_accept_is_told_elsewhere(store: Store) -> None:
    """A dead message goes to the fallback with what happened; the fallback's own death ends there."""
    outbox = WatchedOutbox(store)
    put(store, message("a", "pager"), message("b", "chat"))
    with http_receiver(answer("404 Gone")) as pager, webhook(404) as chat:
        targets = Target("pager", pager.url()), Target("chat", chat.url())
        fallbacks = {"pager": ("chat",), "chat": ("pager",)}
        with delivering(outbox, *targets, fallbacks=fallbacks):
            outbox.wait_for(a="dead", b="dead")
            first, second = chat.inbox.wait_for(2)
            pager.inbox.wait_for(2)
    assert first.body["title"] == "title b"
    assert second.body["title"] == "[UNDELIVERED to pager] title a"
    assert second.body["message"].startswith("pager did not accept this message: ")
    assert "error=404" in second.body["message"]
    assert second.body["message"].endswith("body a")
    letters = [row.message for row in store.outbox_rows() if row.message.origin]
    assert sorted((letter.origin, letter.target) for letter in letters) == [("a", "chat"), ("b", "pager")]
    assert len({letter.key for letter in letters}) == 2


def test_a_send_that_cannot_be_ended_is_left_behind(store: Store) -> None:
    """Where no limit reaches, another thread goes on with a service of its own; what hung is not heard."""
    outbox, wall = WatchedOutbox(store), Wall()
    hung, free = threading.Event(), threading.Event()
    made: list[Target] = []
    threads: list[threading.Thread] = []

    class Hanging(Target):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

        def send(self, note: Message, reach: Reach = Reach()) -> Outcome:  # noqa: B008  # as its base has it
            if self is made[0]:
                threads.append(threading.current_thread())
                hung.set()
                assert free.wait(60)
                return Outcome(Verdict.SENT)
            return super().send(note, reach)

    put(store, message("a"))
    with (
        webhook() as hook,
        delivering(
            outbox, Hanging("hook", hook.url()), wall=wall, jitter=1.0, stuck_after_s=0.05
        ) as deliverer,
    ):
        assert hung.wait(30)
        outbox.wait_for_error("a", "it did not end within 0.05 s")
        wall.now += timedelta(seconds=1)
        deliverer.wake("hook")
        outbox.wait_for_error("a", "an earlier attempt hangs")
        assert hook.inbox.items == []
        free.set()
        threads[0].join(30)
        wall.now += timedelta(seconds=2)
        deliverer.wake("hook")
        outbox.wait_for(a="sent")
        assert keys(hook.inbox.items) == ["a"]
    assert len(made) == 2


def test_letters_about_letters_are_not_written() -> None:
    """What nobody accepts ends with the fallback; a target is not its own."""
    letter = message("l", "chat", origin="a")
    assert dead_letters(letter, "error", ["pager"]) == []
    assert dead_letters(message("a", "pager"), "error", ["pager"]) == []


def test_targets_that_stay_go_on_and_others_come(store: Store) -> None:
    """One thread per target, whether it was there before; what is down counts as down still."""
    outbox, wall = WatchedOutbox(store), Wall()
    put(store, *(message(f"m{number}", "down") for number in range(5)))
    with webhook(*[503] * 5) as down, webhook() as new:
        with delivering(outbox, Target("down", down.url()), wall=wall, jitter=1.0) as deliverer:
            down.inbox.wait_for(5)
            outbox.wait_for(**{f"m{number}": "queued" for number in range(5)})
            before = {thread for thread in threading.enumerate() if thread.name == "notify-down"}
            deliverer.use([Target("down", down.url(), max_age=timedelta(hours=1)), Target("new", new.url())])
            put(store, message("n", "new"))
            deliverer.wake("new")
            outbox.wait_for(n="sent")
            assert deliverer.down() == {"down": True, "new": False}
            assert {thread for thread in threading.enumerate() if thread.name == "notify-down"} == before
            assert len(down.inbox.items) == 5
        assert keys(new.inbox.items) == ["n"]


def test_what_waits_follows_a_target_to_another_address(store: Store) -> None:
    """At once, however long the old address would have had to rest."""
    outbox = WatchedOutbox(store)
    put(store, *(message(f"m{number}", "hook") for number in range(5)))
    with webhook(*[503] * 5) as old, webhook() as new:
        with delivering(outbox, Target("hook", old.url()), jitter=1.0) as deliverer:
            old.inbox.wait_for(5)
            outbox.wait_for(**{f"m{number}": "queued" for number in range(5)})
            deliverer.use([Target("hook", new.url())])
            outbox.wait_for(**{f"m{number}": "sent" for number in range(5)})
            assert deliverer.down() == {"hook": False}
        assert keys(new.inbox.items) == [f"m{number}" for number in range(5)]


def test_what_waits_for_a_target_that_is_gone_is_told_to_its_fallback(store: Store) -> None:
    """It is dead with its reason, fallbacks that are there hear of it; a target that comes back works."""
    outbox = WatchedOutbox(store)
    put(store, message("a", "gone"), message("b", "gone", group="other"))
    with webhook(503, 503) as gone, webhook() as other:
        targets = Target("gone", gone.url()), Target("other", other.url())
        with delivering(outbox, *targets, jitter=1.0, fallbacks={"gone": ["other", "lost"]}) as deliverer:
            outbox.wait_for(a="queued", b="queued")
            gone.inbox.wait_for(2)
            deliverer.use(targets[1:])
            outbox.wait_for(a="dead", b="dead")
            other.inbox.wait_for(2)
            assert deliverer.down() == {"other": False}
            deliverer.use(targets)
            put(store, message("c", "gone"))
            deliverer.wake("gone")
            outbox.wait_for(c="sent")
    assert keys(gone.inbox.items) == ["a", "b", "c"]
    rows = {row.message.key: row for row in store.outbox_rows()}
    assert rows["a"].last_error == "the notify file has no target of this name any more"
    assert {row.message.target for row in rows.values()} == {"gone", "other"}


def test_without_a_fallback_others_hear_once_an_hour_that_a_target_fails(store: Store) -> None:
    """Of the first message that is given up and none of the next, and never of what tells of that."""
    outbox, wall = WatchedOutbox(store), Wall()
    with webhook(*[404] * 4) as broken, webhook(404) as other:
        targets = Target("broken", broken.url()), Target("other", other.url())
        others = {"broken": ["other"], "other": ["broken"]}
        with delivering(outbox, *targets, wall=wall, others=others) as deliverer:
            for number, minutes in enumerate((0, 30, 61)):
                wall.now = NOON + timedelta(minutes=minutes)
                put(store, message(f"m{number}", "broken"))
                deliverer.wake("broken")
                outbox.wait_for(**{f"m{number}": "dead"})
            other.inbox.wait_for(2)
            letters = {row.message.origin: row for row in store.outbox_rows() if row.message.origin}
            assert letters.keys() == {"m0", "m2"}
            outbox.wait_for(**{letters["m0"].message.key: "dead", letters["m2"].message.key: "sent"})
    first, second = (request.body for request in other.inbox.items)
    assert first["title"].startswith("[UNDELIVERED to broken]")
    assert "for an hour nobody is told of others" in first["message"]
    assert (first["title"][-2:], second["title"][-2:]) == ("m0", "m2")
    assert len(broken.inbox.items) == 3
