"""Sets of hashes that are remembered for a while."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.dedup.keys import Hashes, Keys, _places

HALVES = st.one_of(st.integers(0, 3), st.sampled_from([2**64 - 1, 2**63]))
HASHES = st.lists(st.tuples(HALVES, HALVES), max_size=30)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "add", "forget"]), HASHES), max_size=15)


def array(hashes: list[tuple[int, int]]) -> Hashes:
    """`hashes` as they are stored."""
    return np.array(hashes, np.uint64).reshape(-1, 2)


def random(count: int, seed: int) -> Hashes:
    """That many hashes as they are in life."""
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), dtype=np.uint64)


@given(steps=STEPS, asked=HASHES)
def test_it_knows_what_a_set_knows(steps: list[tuple[str, list[tuple[int, int]]]], asked: list) -> None:
    """Within window and room it holds what was added and not forgotten, whatever halves are shared."""
    keys = Keys(window_ns=100, capacity=10_000)
    known: set[tuple[int, int]] = set()
    for at_ns, (step, hashes) in enumerate(steps):
        if step == "add":
            keys.add(array(hashes), at_ns)
            known |= set(hashes)
        else:
            keys.forget(array(hashes))
            known -= set(hashes)
        assert keys.contain(array(asked)).tolist() == [each in known for each in asked]
    again = Keys(window_ns=100, capacity=10_000)
    for at_ns, dumped in keys.dump():
        again.add(dumped, at_ns)
    assert again.contain(array(asked)).tolist() == [each in known for each in asked]


def test_what_is_too_old_is_forgotten() -> None:
    """A hash is known for the whole of its window and not much longer, by the times that it is told."""
    keys = Keys(window_ns=1000, capacity=10_000)
    first, second = random(10, 1), random(10, 2)
    keys.add(first, 0)
    keys.add(second, 990)
    assert keys.contain(first).all()
    keys.add(random(1, 3), 1200)
    assert not keys.contain(first).any()
    assert keys.contain(second).all()


def test_when_the_clock_goes_back_nothing_is_lost() -> None:
    """Fault 14: what is added by a clock that was set back is known, and so is what was added before."""
    keys = Keys(window_ns=1000, capacity=10_000)
    keys.add(random(10, 1), 10_000)
    keys.add(random(10, 2), 5)
    assert keys.contain(np.concatenate((random(10, 1), random(10, 2)))).all()


def test_the_newest_are_kept_when_there_is_no_room() -> None:
    """Beyond its capacity the oldest go, a tenth at a time; memory is 16 bytes a hash and a small filter."""
    keys = Keys(window_ns=10**9, capacity=10_000)
    batches = [random(500, seed) for seed in range(60)]
    for at_ns, batch in enumerate(batches):
        keys.add(batch, at_ns)
        assert len(keys) <= 12_000
    assert all(keys.contain(batch).all() for batch in batches[-20:])
    assert not keys.contain(np.concatenate(batches[:30])).any()


@pytest.mark.parametrize("gone", [0, 1, 2000])
def test_forgetting_reads_little_of_what_is_remembered(monkeypatch: pytest.MonkeyPatch, gone: int) -> None:
    """What a failed append takes back is looked for where it may be; nothing else is read, or copied."""
    keys = Keys(window_ns=10**9, capacity=1_000_000)
    for seed in range(20):
        keys.add(random(50_000, seed), seed)
    newest = random(gone, 99)
    keys.add(newest, 30)
    before = keys.dump()
    asked = []

    def places(run: Hashes, wanted: Hashes) -> np.ndarray:
        asked.append(len(wanted))
        return _places(run, wanted)

    monkeypatch.setattr("lapwing_collector.dedup.keys._places", places)
    keys.forget(newest)
    assert sum(asked) <= 3 * gone
    assert len(keys) == 1_000_000
    assert not keys.contain(newest).any()
    changed = [run for _, run in keys.dump() if not any(run is other for _, other in before)]
    assert len(changed) == (gone > 0)


def test_forgetting_hashes_that_are_not_there() -> None:
    """Hashes that were never added, or are too old by now, are forgotten without harm."""
    keys = Keys(window_ns=10**9, capacity=10_000)
    keys.add(random(100, 1), 0)
    keys.forget(random(100, 2))
    keys.forget(np.concatenate((random(3, 1), random(3, 1))))
    assert keys.contain(random(100, 1)).tolist() == [False] * 3 + [True] * 97
