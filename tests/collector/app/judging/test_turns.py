"""Whose turn it is: one piece of work of each key at a time, and slow ones beside quick ones."""

import threading
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.app.judging.turns import SLOW_S, Turns

NOON = datetime(2026, 1, 1, 12)
ONE = datetime(2026, 1, 1, 13)


class Seconds:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def take(turns: Turns[str]) -> str | None:
    turn = turns.take(wait=False)
    return turn[0] if turn else None


def made_slow(turns: Turns[str], clock: Seconds, key: str) -> None:
    turns.offer(key, NOON)
    assert take(turns) == key
    clock.now_s += SLOW_S + 1
    turns.done(key)


def test_a_key_has_one_turn_at_a_time() -> None:
    """Offers are ignored while a key waits or works, and are taken again once it is done."""
    turns = Turns[str](2)
    turns.offer("a", NOON)
    turns.offer("a", ONE)
    assert take(turns) == "a"
    turns.offer("a", ONE)
    assert take(turns) is None
    assert turns.busy("a")
    turns.done("a")
    assert not turns.busy("a")
    turns.offer("a", ONE)
    assert take(turns) == "a"


def test_the_earliest_is_first() -> None:
    """In order of slots, whatever the order of offers; nobody before the time that was set."""
    clock = Seconds()
    turns = Turns[str](4, now_s=clock)
    turns.offer("late", ONE)
    turns.offer("waits", NOON, clock.now_s + 5)
    turns.offer("early", NOON)
    assert [take(turns), take(turns), take(turns)] == ["early", "late", None]
    clock.now_s += 6
    assert turns.take(wait=False) == ("waits", 1.0)


def test_slow_ones_leave_room_for_quick_ones() -> None:
    """Of three takers, two may be at slow work; the third is for who is quick, and a slow one waits."""
    clock = Seconds()
    turns = Turns[str](3, now_s=clock)
    for key in ("slow1", "slow2", "slow3"):
        made_slow(turns, clock, key)
    for key in ("slow1", "slow2", "slow3"):
        turns.offer(key, NOON)
    turns.offer("quick", ONE)
    assert [take(turns) for _ in range(4)] == ["slow1", "slow2", "quick", None]
    turns.done("slow1")
    assert take(turns) == "slow3"


def test_who_is_quick_again_is_not_slow_any_more() -> None:
    """One quick turn makes a key as good as others."""
    clock = Seconds()
    turns = Turns[str](2, now_s=clock)
    made_slow(turns, clock, "a")
    made_slow(turns, clock, "b")
    turns.offer("a", NOON)
    assert take(turns) == "a"
    turns.done("a")
    turns.offer("b", NOON)
    turns.offer("a", ONE)
    assert [take(turns), take(turns)] == ["b", "a"]


def test_with_one_taker_slow_ones_have_their_turn() -> None:
    """There is nobody to keep free."""
    clock = Seconds()
    turns = Turns[str](1, now_s=clock)
    made_slow(turns, clock, "slow")
    turns.offer("slow", NOON)
    assert take(turns) == "slow"


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 20)), max_size=30), st.integers(1, 4))
def test_every_offer_is_served(offers: list[tuple[str, int]], takers: int) -> None:
    """Whatever is offered when, by whom and how long it takes, each key that was offered has its turn."""
    clock = Seconds()
    turns = Turns[str](takers, now_s=clock)
    for key, wait_s in offers:
        turns.offer(key, NOON, clock.now_s + wait_s)
    clock.now_s += 30
    served: list[str] = []
    while (key := take(turns)) is not None:
        served.append(key)
        clock.now_s += 2.0 * (len(served) % 2)
        turns.done(key)
    assert sorted(served) == sorted({key for key, _ in offers})


def test_who_waits_is_woken() -> None:
    """A taker that waits gets what is offered, and ends when no more will be."""
    turns = Turns[str](1)
    found: list[object] = []

    def serve() -> None:
        while turn := turns.take(wait=True):
            found.append(turn[0])
            turns.done(turn[0])
            served.set()

    served = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    turns.offer("a", NOON)
    assert served.wait(30)
    turns.close()
    thread.join(30)
    assert not thread.is_alive()
    turns.offer("b", NOON)
    assert (found, turns.take(wait=True)) == (["a"], None)
