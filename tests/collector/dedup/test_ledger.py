"""The ledger of accepted records, against plain sets."""

import json
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.dedup import Admission, Hashes, Ledger, Replaying
from lapwing_collector.errors import DataDirectoryError

HIGHEST = 2**63 - 1
LOWEST = -(2**63)
EDGES = [HIGHEST, HIGHEST - 1, HIGHEST - 2, LOWEST, LOWEST + 1]
NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from(EDGES))
RUNS = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda run: list(range(run[0], run[0] + run[1])))
SEQUENCES = st.one_of(st.lists(NUMBERS, min_size=1, max_size=12), RUNS, st.just([HIGHEST, LOWEST]))
PROCESSES = st.sampled_from("ab")
CONTENTS = st.lists(st.integers(0, 12), max_size=6)
ENTRIES = st.tuples(st.lists(st.tuples(PROCESSES, SEQUENCES), max_size=3), CONTENTS, CONTENTS)
STEPS = st.lists(
    st.tuples(st.sampled_from(["keep", "keep", "forget", "leave", "restart"]), ENTRIES), max_size=20
)


def int64(numbers: list[int]) -> np.ndarray:
    """`numbers` as the ledger takes them."""
    return np.array(numbers, dtype=np.int64)


def hashes(contents: Iterable[int]) -> Hashes:
    """A hash for each content; some share their first half."""
    return np.array([[content // 3, content] for content in contents], np.uint64).reshape(-1, 2)


def admit(ledger: Ledger, process_id: str, numbers: list[int], at_ns: int = 0) -> list[bool]:
    """Admit the numbers of one entry, which becomes durable."""
    with ledger.admitting(at_ns) as admitting:
        new: list[bool] = admitting.admit(process_id, int64(numbers)).tolist()
        admission = admitting.done()
    ledger.keep(admission)
    return new


def members(admission: Admission) -> set[object]:
    """What an admission holds, as a set."""
    numbers = {
        (process_id, number)
        for process_id, intervals in admission.numbers.items()
        for start, end in zip(intervals.starts.tolist(), intervals.ends.tolist(), strict=True)
        for number in range(start, end + 1)
    }
    records = {("record", low) for _, low in admission.records.tolist()}
    return numbers | records | {("request", low) for _, low in admission.requests.tolist()}


@given(steps=STEPS)
def test_it_knows_what_a_set_knows(steps: list[tuple[str, tuple[list, list[int], list[int]]]]) -> None:
    """Whatever is admitted, made durable, failed or in doubt at a snapshot, it answers as a set would."""
    ledger = Ledger()
    known: set[object] = set()
    durable: list[Admission] = []
    doubtful: list[tuple[Admission, set[object]]] = []
    for step, (numbered, records, requests) in steps:
        if step == "restart":  # from a snapshot, and what the durable entries say
            ledger = Ledger.restore(ledger.snapshot())
            for _, uncertain in doubtful:
                known -= uncertain
            doubtful.clear()
            for admission in durable:
                again, end = Admission.decode(admission.encode())
                assert end == len(admission.encode())
                ledger.add(again, 0)
            continue
        with ledger.admitting(0) as admitting:
            before = set(known)
            for process_id, numbers in numbered:
                admitted = admitting.admit(process_id, int64(numbers))
                assert admitted.tolist() == [(process_id, number) not in known for number in numbers]
                known |= {(process_id, number) for number in numbers}
            admitted = admitting.admit_records(hashes(records))
            assert admitted.tolist() == [("record", content) not in known for content in records]
            known |= {("record", content) for content in records}
            new = [content for content in dict.fromkeys(requests) if ("request", content) not in known]
            assert ledger_knows(admitting, requests) == [content not in new for content in requests]
            known |= {("request", content) for content in new}
            admission = admitting.done(hashes(new))
        assert members(admission) == known - before
        if step == "keep":
            ledger.keep(admission)
            durable.append(admission)
        elif step == "forget":
            ledger.forget(admission)
            known = before
        else:
            doubtful.append((admission, known - before))
    assert ledger.knows_requests(hashes(range(13))).tolist() == [("request", n) in known for n in range(13)]


def ledger_knows(admitting: object, requests: list[int]) -> list[bool]:
    """What a ledger that is being admitted to knows of requests."""
    return admitting._requests.contain(hashes(requests)).tolist()  # type: ignore[attr-defined]


@given(entry=ENTRIES, other=ENTRIES)
def test_a_replay_finds_what_an_entry_accepted(entry: tuple, other: tuple) -> None:
    """Shown the records of an entry again it picks those that were new then, whatever else is known."""
    ledger = Ledger()
    picked = []
    for numbered, records, _ in (other, entry):
        with ledger.admitting(0) as admitting:
            picked = [
                admitting.admit(process_id, int64(numbers)).tolist() for process_id, numbers in numbered
            ]
            picked.append(admitting.admit_records(hashes(records)).tolist())
            admission = admitting.done()
    replaying = Replaying(Admission.decode(b"before" + admission.encode(), 6)[0])
    numbered, records, _ = entry
    again = [replaying.admit(process_id, int64(numbers)).tolist() for process_id, numbers in numbered]
    assert [*again, replaying.admit_records(hashes(records)).tolist()] == picked


@given(entries=st.lists(ENTRIES, max_size=5))
def test_a_union_is_all_of_its_parts(entries: list[tuple]) -> None:
    """What several entries accepted can be kept as one."""
    ledger = Ledger()
    parts = []
    for numbered, records, _ in entries:
        with ledger.admitting(0) as admitting:
            for process_id, numbers in numbered:
                admitting.admit(process_id, int64(numbers))
            admitting.admit_records(hashes(records))
            parts.append(admitting.done())
    union = Admission.union(parts)
    assert members(union) == set().union(*map(members, parts))
    assert members(Admission.decode(union.encode())[0]) == members(union)


def test_the_rows_of_one_record_are_admitted_together_or_not_at_all() -> None:
    """A number that comes several times at once is one record with so many rows, whatever is beside it."""
    ledger = Ledger()
    assert admit(ledger, "p", [4, 5, 5, 5, 6]) == [True] * 5
    assert admit(ledger, "p", [5, 5, 5]) == [False] * 3
    assert admit(ledger, "p", [5, 7, 5, 7, 6]) == [False, True, False, True, False]


def test_what_fails_in_the_middle_is_taken_back() -> None:
    """An error while an entry is put together leaves nothing accepted that is not stored."""
    ledger = Ledger()

    def fail() -> None:
        with ledger.admitting(0) as admitting:
            admitting.admit("p", int64([1, 2]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert admit(ledger, "p", [1, 2]) == [True, True]


def test_missing_numbers_are_counted_until_they_come() -> None:
    """Below the highest number of a process each that did not come is missing; a late one closes its gap."""
    ledger = Ledger()
    admit(ledger, "whole", [1, 2, 3], at_ns=5)
    admit(ledger, "late", [2, 3, 7], at_ns=6)
    assert (ledger.loss(9).missing, ledger.loss(9).processes) == (4, 2)
    (worst,) = ledger.loss(9).worst
    assert (worst.process_id, worst.highest, worst.accepted, worst.missing, worst.seen_ns) == (
        "late",
        7,
        3,
        4,
        6,
    )
    ledger = Ledger.restore(ledger.snapshot())
    admit(ledger, "late", [1, 5, 6, 4], at_ns=7)
    assert (ledger.loss(9).missing, ledger.loss(9).worst) == (0, ())


def test_the_worst_processes_are_listed_first() -> None:
    """Of many processes with gaps those with the most missing records are told."""
    ledger = Ledger()
    for number in range(1, 6):
        admit(ledger, f"p{number}", [1 + number])
    loss = ledger.loss(2)
    assert [(each.process_id, each.missing) for each in loss.worst] == [("p5", 5), ("p4", 4)]
    assert loss.missing == 15


def test_processes_silent_longest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for so many processes; what was missing of those that are forgotten stays counted."""
    monkeypatch.setattr("lapwing_collector.dedup.senders.MAX_PROCESSES", 2)
    ledger = Ledger()
    admit(ledger, "a", [3])
    admit(ledger, "b", [1])
    admit(ledger, "a", [4])
    admit(ledger, "c", [1])
    ledger = Ledger.restore(ledger.snapshot())
    loss = ledger.loss(9)
    assert (loss.processes, loss.forgotten, loss.missing) == (2, 1, 2)
    assert [admit(ledger, process_id, [number]) for process_id, number in (("a", 4), ("b", 1))] == [
        [False],
        [True],
    ]
    assert ledger.loss(9).missing == 2


def test_scattered_numbers_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that sends every other number costs room; when there is none left, others stay known."""
    monkeypatch.setattr("lapwing_collector.dedup.senders.MAX_RUNS", 10)
    ledger = Ledger()
    admit(ledger, "odd", list(range(1, 19, 2)))
    admit(ledger, "p", [1, 2, 3])
    admit(ledger, "q", [1])
    assert (ledger.loss(9).processes, ledger.loss(9).forgotten, ledger.loss(9).missing) == (2, 1, 8)


@pytest.mark.parametrize("cut", range(1, 40))
def test_what_is_not_a_snapshot_is_refused(cut: int) -> None:
    """Bytes that are not a whole snapshot are refused by name."""
    ledger = Ledger()
    admit(ledger, "p", [1, 2, 5])
    with ledger.admitting(0) as admitting:
        admitting.admit("p", int64([7]))
        admission = admitting.done(hashes([1]))
    ledger.keep(admission)
    snapshot = ledger.snapshot()
    Ledger.restore(snapshot)
    with pytest.raises(DataDirectoryError, match="cannot be read"):
        Ledger.restore(snapshot[:-cut])


def test_a_snapshot_of_another_version_is_refused() -> None:
    """Fault 27: a snapshot that a later version wrote is refused, saying what to do."""
    with pytest.raises(DataDirectoryError, match=r"start the version of Lapwing that wrote it"):
        Ledger.restore(b"lapwing-ledger-3\n")


def test_a_snapshot_from_before_the_journal_is_read() -> None:
    """Fault 27: what an earlier Lapwing kept as JSON is known."""
    document = {"version": 1, "processes": {"p": [[1, 2], [4, 4]], "q": [[LOWEST, HIGHEST]]}}
    ledger = Ledger.restore_legacy(json.dumps(document).encode(), 0)
    assert admit(ledger, "p", [1, 2, 3, 4]) == [False, False, True, False]
    assert admit(ledger, "q", [0]) == [False]
    for broken in (b"", b"[]", b"\xff", b"{}", b'{"processes":{"p":[[1]]}}', b'{"processes":{"p":[[2,1]]}}'):
        with pytest.raises(DataDirectoryError, match="cannot be read"):
            Ledger.restore_legacy(broken, 0)


def test_what_is_missing_of_forgotten_processes_never_outgrows_a_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Processes with the highest numbers there are, forgotten one by one, leave a ledger to be kept."""
    monkeypatch.setattr("lapwing_collector.dedup.senders.MAX_PROCESSES", 1)
    ledger = Ledger()
    for process_id in "abcd":
        admit(ledger, process_id, [HIGHEST])
    again = Ledger.restore(ledger.snapshot())
    assert (again.loss(0).forgotten, again.loss(0).missing) == (3, HIGHEST + HIGHEST - 1)


def test_the_oldest_of_too_many_gaps_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process with more gaps than are remembered the oldest stay missing; nothing else is mistaken."""
    monkeypatch.setattr("lapwing_collector.dedup.senders.MAX_GAPS", 3)
    ledger = Ledger()
    with ledger.admitting(0) as admitting:
        admitting.admit("p", int64(list(range(10, 90, 2))))
        failed = admitting.done()
    ledger.forget(failed)
    admit(ledger, "p", [2, 5])
    admit(ledger, "p", [8, 11, 14, 17])
    for _ in range(2):
        assert (ledger.loss(1).missing, ledger.loss(1).worst[0].accepted) == (11, 6)
        ledger = Ledger.restore(ledger.snapshot())
    assert admit(ledger, "p", [2, 3, 6, 8]) == [False] * 4
    assert admit(ledger, "p", [1]) == [True]
    assert admit(ledger, "p", [9, 12, 15, 16]) == [True] * 4
    assert ledger.loss(1).missing == 6


def test_a_replay_gives_up_no_more_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What entries of the log say was accepted is known after a restart, however many gaps it leaves."""
    monkeypatch.setattr("lapwing_collector.dedup.senders.MAX_GAPS", 3)
    ledger = Ledger()
    admissions = []
    for numbers in ([1, 3, 5, 7, 9, 11, 13], [15, 17], [16]):
        with ledger.admitting(0) as admitting:
            admitting.admit("p", int64(numbers))
            admissions.append(admitting.done())
        ledger.keep(admissions[-1])
    again = Ledger()
    for admission in admissions:
        again.add(admission, 0)
    assert again.loss(1) == ledger.loss(1)
    assert admit(again, "p", [10, 12, 17, 18]) == admit(ledger, "p", [10, 12, 17, 18])
