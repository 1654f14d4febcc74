"""Keys that have nothing to do for a while."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.app.judging.sleeping import Sleepers

START = datetime(2026, 3, 1)  # naive UTC
MINUTE = timedelta(minutes=1)


def test_all_are_awake_at_first_and_those_that_sleep_wake_in_time() -> None:
    """Whoever sleeps is left out until the very moment, and the next to wake is known."""
    sleepers = Sleepers("abc")
    assert sleepers.awake(START) == (["a", "b", "c"], None)
    sleepers.sleep("b", START + 2 * MINUTE)
    sleepers.sleep("a", START + MINUTE)
    assert sleepers.awake(START) == (["c"], START + MINUTE)
    assert sleepers.awake(START + MINUTE) == (["c", "a"], START + 2 * MINUTE)


def test_who_sleeps_already_or_is_unknown_is_not_put_to_sleep() -> None:
    """A key has one moment at which it wakes, and strangers have none."""
    sleepers = Sleepers("a")
    sleepers.sleep("a", START + MINUTE)
    sleepers.sleep("a", START + 9 * MINUTE)
    sleepers.sleep("stranger", START + MINUTE)
    assert sleepers.awake(START + MINUTE) == (["a"], None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=40))
def test_a_plain_look_at_each_key_finds_the_same(steps: list[tuple[int, int]]) -> None:
    """As the clock goes on, those are awake of which no moment is still to come."""
    sleepers, until, now = Sleepers(range(6)), dict.fromkeys(range(6), START), START
    for key, minutes in steps:
        now += MINUTE
        awake, next_at = sleepers.awake(now)
        assert set(awake) == {each for each, at in until.items() if at <= now}
        assert next_at == min((at for at in until.values() if at > now), default=None)
        if until[key] <= now:
            until[key] = now + minutes * MINUTE
            sleepers.sleep(key, until[key])
