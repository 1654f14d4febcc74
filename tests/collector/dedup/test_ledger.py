"""The ledger of accepted records, against a plain set."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.dedup import Ledger
from lapwing_collector.errors import DataDirectoryError

HIGHEST = 2**63 - 1
LOWEST = -(2**63)
EDGES = [HIGHEST, HIGHEST - 1, HIGHEST - 2, LOWEST, LOWEST + 1]
NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from(EDGES))
RUNS = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda run: list(range(run[0], run[0] + run[1])))
SEQUENCES = st.one_of(st.lists(NUMBERS, max_size=12), RUNS, st.just([HIGHEST, LOWEST]))
STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "admit", "forget", "restart"]), st.sampled_from("ab"), SEQUENCES),
    max_size=25,
)


def int64(numbers: list[int]) -> np.ndarray:
    """`numbers` as the ledger takes them."""
    return np.array(numbers, dtype=np.int64)


@given(steps=STEPS)
def test_it_knows_what_a_set_knows(steps: list[tuple[str, str, list[int]]]) -> None:
    """Whatever is admitted, forgotten and restored in whatever order, the ledger answers as a set would."""
    ledger = Ledger()
    oracle: set[tuple[str, int]] = set()
    for step, process_id, numbers in steps:
        if step == "admit":
            expected = [(process_id, number) not in oracle for number in numbers]
            oracle |= {(process_id, number) for number in numbers}
            admitted = ledger.admit(process_id, int64(numbers))
            assert admitted.dtype == np.bool_
            assert admitted.tolist() == expected
        elif step == "forget":
            ledger.forget(process_id, int64(numbers))
            oracle -= {(process_id, number) for number in numbers}
        else:
            ledger = Ledger.restore(ledger.snapshot())
    remembered = {
        (process_id, number)
        for process_id, intervals in json.loads(ledger.snapshot())["processes"].items()
        for start, end in intervals
        for number in range(start, end + 1)
    }
    assert remembered == oracle


def test_what_comes_in_order_is_one_interval() -> None:
    """A process that lost nothing costs one interval, in whatever order its batches came."""
    ledger = Ledger()
    for start in (1, 11, 31, 21):
        ledger.admit("p", int64(list(range(start, start + 10))))
    assert json.loads(ledger.snapshot())["processes"] == {"p": [[1, 40]]}


def test_the_rows_of_one_record_are_admitted_together_or_not_at_all() -> None:
    """A number that comes several times at once is one record with so many rows, whatever is beside it."""
    ledger = Ledger()
    assert ledger.admit("p", int64([4, 5, 5, 5, 6])).tolist() == [True] * 5
    assert ledger.admit("p", int64([5, 5, 5])).tolist() == [False] * 3
    assert ledger.admit("p", int64([5, 7, 5, 7, 6])).tolist() == [False, True, False, True, False]
    ledger.forget("p", int64([5, 5, 5]))
    assert ledger.admit("p", int64([4, 5, 5, 5])).tolist() == [False, True, True, True]
    assert json.loads(ledger.snapshot())["processes"] == {"p": [[4, 7]]}


def test_a_process_of_which_everything_is_forgotten_costs_nothing() -> None:
    """Nothing is remembered of a process that has no accepted record."""
    ledger = Ledger()
    ledger.admit("p", int64([1, 2, 5]))
    ledger.forget("p", int64([5, 2, 1]))
    ledger.admit("q", int64([]))
    assert json.loads(ledger.snapshot())["processes"] == {}


def test_snapshots_do_not_change_with_the_ledger() -> None:
    """A snapshot and the sequences handed in are independent of what is admitted later."""
    ledger = Ledger()
    sequences = int64([1, 2, 3])
    ledger.admit("p", sequences)
    snapshot = ledger.snapshot()
    ledger.admit("p", int64([4, 5]))
    assert sequences.tolist() == [1, 2, 3]
    assert Ledger.restore(snapshot).admit("p", int64([4])).tolist() == [True]


@pytest.mark.parametrize(
    "snapshot",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"version":1}',
        b'{"version":1,"processes":{"p":[]}}',
        b'{"version":1,"processes":{"p":[[1]]}}',
        b'{"version":1,"processes":{"p":[[2,1]]}}',
        b'{"version":1,"processes":{"p":[[1,2],[3,4]]}}',
        b'{"version":1,"processes":{"p":[[1,9223372036854775808]]}}',
    ],
)
def test_what_is_not_a_snapshot_is_refused(snapshot: bytes) -> None:
    """Bytes that are not a ledger's snapshot are refused by name."""
    with pytest.raises(DataDirectoryError, match="cannot be read"):
        Ledger.restore(snapshot)


def test_a_snapshot_of_another_version_is_refused() -> None:
    """Fault 27: a snapshot that a later version wrote is refused, saying what to do."""
    with pytest.raises(DataDirectoryError, match=r"version 2.*start the version of Lapwing that wrote it"):
        Ledger.restore(b'{"version":2,"processes":{}}')
