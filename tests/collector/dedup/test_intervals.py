"""Sets of integers as intervals, against Python's sets."""

import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.dedup.intervals import Intervals

HIGHEST = 2**63 - 1
LOWEST = -(2**63)
NUMBERS = st.one_of(
    st.integers(0, 40), st.sampled_from([LOWEST, LOWEST + 1, LOWEST + 2, HIGHEST - 2, HIGHEST - 1, HIGHEST])
)


def of(numbers: set[int]) -> Intervals:
    """The set of `numbers`."""
    return Intervals.of(np.array(sorted(numbers), np.int64))


def members(intervals: Intervals) -> set[int]:
    """What is in the set, which is as it should be."""
    Intervals.checked(intervals.starts, intervals.ends)
    pairs = zip(intervals.starts.tolist(), intervals.ends.tolist(), strict=True)
    return {number for start, end in pairs for number in range(start, end + 1)}


@given(some=st.sets(NUMBERS), others=st.sets(NUMBERS))
def test_they_are_sets(some: set[int], others: set[int]) -> None:
    """Union, difference, count and membership are those of sets, to both ends of what a number can be."""
    assert members(of(some) | of(others)) == some | others
    assert members(of(some) - of(others)) == some - others
    assert (of(some) - of(others)).count == len(some - others)
    asked = np.array([*some, *others], np.int64)
    assert of(some).contain(asked).tolist() == [number in some for number in asked.tolist()]


def test_all_the_numbers_there_are() -> None:
    """The widest set is counted, and what is taken out of it leaves the rest."""
    every = Intervals(np.array([LOWEST]), np.array([HIGHEST]))
    assert every.count == 2**64
    assert (every - of({LOWEST, 5, HIGHEST})).count == 2**64 - 3
    assert (every - every).count == 0


def test_a_difference_costs_as_much_as_its_operands_are_long() -> None:
    """Every other number of many is taken out in a handful of steps, not in one for each of them."""
    every = Intervals(np.array([1]), np.array([400_000]))
    odd = Intervals.of(np.arange(1, 400_000, 2))
    lines = 0

    def trace(*_: object) -> object:
        nonlocal lines
        lines += 1
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        even, nothing = every - odd, odd - every
    finally:
        sys.settrace(previous)
    assert lines < 1000
    assert (even.starts.tolist(), even.count, len(nothing)) == (list(range(2, 400_001, 2)), 200_000, 0)
