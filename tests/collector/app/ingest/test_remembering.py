"""What stays known of accepted records, through failures, restarts and damage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.wal_disk import segments
from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import Requests
from lapwing_collector.app.ingest.pending import Pending
from lapwing_collector.app.ingest.recovery import Recovery
from lapwing_collector.app.ingest.remembering import Memory
from lapwing_collector.dedup import Hashes
from lapwing_collector.dedup.ledger import RECORD_WINDOW_NS
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.wal import Log, leave_to_system

Members = set[tuple[str, int]]
EVERY = [(kind, n) for kind in ("p", "q", "record", "request") for n in range(1, 25)]


def hashes(members: Members, kind: str) -> Hashes:
    return np.array([[n, n] for found, n in sorted(members) if found == kind], np.uint64).reshape(-1, 2)


class Process:
    """A log, what is remembered of it, and nothing to decode."""

    def __init__(self, folder: Path, lake_covers: int) -> None:
        self.log = Log.open(folder, after=lake_covers, segment_bytes=300, sync=leave_to_system)
        self.memory = Memory.open(self.log, folder / "ledger", sync=leave_to_system)
        Recovery(
            self.log,
            lake_covers,
            self.memory,
            Pending(1),
            Accounts(),
            lambda payloads, at_ns: pytest.fail("nothing needs to be decoded"),
            folder / "dead",
        ).learn()

    def accept(self, members: Members, at_ns: int, *, fails: bool = False) -> int:
        """Take in an entry with these records; its position, or 0 if it fails."""
        with self.memory.ledger.admitting(at_ns) as admitting:
            for process_id in ("p", "q"):
                numbers = sorted(n for kind, n in members if kind == process_id)
                if numbers:
                    admitting.admit(process_id, np.array(numbers, np.int64))
            admitting.admit_records(hashes(members, "record"))
            admission = admitting.done(hashes(members, "request"))
        if fails:
            self.memory.ledger.forget(admission)
            return 0
        requests = Requests(at_ns, (), 0, admission)
        position = self.log.append(requests.head(), ()).result()
        self.memory.ledger.keep(admission)
        self.memory.add(position, at_ns, admission)
        return position

    def known(self) -> Members:
        """What it knows, found by asking; it knows more afterwards."""
        found = set()
        with self.memory.ledger.admitting(0) as admitting:
            for kind, n in EVERY:
                one = np.array([[n, n]], np.uint64)
                match kind:
                    case "request":
                        new = ~self.memory.ledger._requests.contain(one)  # the lock is held
                    case "record":
                        new = admitting.admit_records(one)
                    case _:
                        new = admitting.admit(kind, np.array([n]))
                if not new.any():
                    found.add((kind, n))
        return found

    def close(self) -> None:
        self.log.close()
        self.memory.close()


@contextmanager
def process(folder: Path, lake_covers: int = 0) -> Iterator[Process]:
    started = Process(folder, lake_covers)
    try:
        yield started
    finally:
        started.close()


ENTRIES = st.sets(st.sampled_from(EVERY), min_size=1, max_size=5)
STEPS = st.lists(
    st.tuples(st.sampled_from(["accept", "accept", "fail", "settle", "restart"]), ENTRIES), max_size=25
)


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_what_was_accepted_is_known_for_ever(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Members]]
) -> None:
    """Through failures, flushes and restarts in any order exactly what is durable is known."""
    folder = tmp_path_factory.mktemp("log")
    known: Members = set()
    covered = last = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lapwing_collector.app.ingest.remembering._JOURNAL_BYTES", 200)
        patch.setattr("lapwing_collector.app.ingest.remembering._SEGMENT_BYTES", 300)
        current = Process(folder, covered)
        for at_ns, (step, members) in enumerate(steps):
            new = members - known
            if step == "settle":
                covered = last
                current.memory.settle(covered)
            elif step == "restart":
                current.close()
                current = Process(folder, covered)
            elif step == "fail":
                current.accept(new, at_ns, fails=True)
            elif new:
                last = current.accept(new, at_ns)
                known |= new
        current.close()
        with process(folder, covered) as final:
            assert final.known() == known


def grown(folder: Path, at_ns: int = 0) -> tuple[Members, Members]:
    """A log of which a part is settled: what stands in the journal, and what in the log."""
    first = {("p", 1), ("p", 2), ("record", 1), ("request", 1)}
    second = {("p", 3), ("q", 1), ("record", 2), ("request", 2)}
    with process(folder) as started:
        position = started.accept(first, at_ns)
        started.memory.settle(position)
        started.accept(second, at_ns)
        started.log.release(position).result()
    return first, second


@pytest.mark.parametrize("part", ["log", "ledger"])
def test_a_torn_end_invents_nothing_and_loses_only_itself(tmp_path: Path, part: str) -> None:
    """Wherever the log or the journal is cut off, what stands before is known, and nothing else."""
    first, second = grown(tmp_path / "log")
    for file in segments(tmp_path / "log" if part == "log" else tmp_path / "log" / "ledger"):
        size = file.stat().st_size
        for cut in range(size):
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "log", copy)
            torn = copy / file.relative_to(tmp_path / "log")
            torn.write_bytes(file.read_bytes()[:cut])
            with process(copy) as started:
                assert started.known() in (
                    [first, first | second] if part == "log" else [second, first | second]
                )
            shutil.rmtree(copy)


@pytest.mark.parametrize("part", ["log", "ledger"])
def test_a_flipped_byte_invents_nothing(tmp_path: Path, part: str) -> None:
    """Whatever byte of log or journal flips, records of the other are known, and none that never came."""
    first, second = grown(tmp_path / "log")
    for file in segments(tmp_path / "log" if part == "log" else tmp_path / "log" / "ledger"):
        content = file.read_bytes()
        for at in range(0, len(content), 3):
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "log", copy)
            flipped = bytearray(content)
            flipped[at] ^= 1 << at % 8
            (copy / file.relative_to(tmp_path / "log")).write_bytes(flipped)
            with process(copy) as started:
                known = started.known()
            assert (first if part == "log" else second) <= known <= first | second
            shutil.rmtree(copy)


def test_the_journal_forgets_what_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of records leave the disk when their time is over; numbers and requests stay."""
    monkeypatch.setattr("lapwing_collector.app.ingest.remembering._JOURNAL_BYTES", 0)
    monkeypatch.setattr("lapwing_collector.app.ingest.remembering._SEGMENT_BYTES", 1)
    with process(tmp_path) as started:
        for number in range(1, 21):
            at_ns = number * RECORD_WINDOW_NS // 4
            position = started.accept({("p", number), ("record", number), ("request", number)}, at_ns)
            started.memory.settle(position)
        started.memory._journal.barrier().result()
        assert len(segments(tmp_path / "ledger")) < 8
    with process(tmp_path, position) as started:
        known = started.known()
    assert {n for kind, n in known if kind == "record"} >= set(range(17, 21))
    assert {n for kind, n in known if kind == "record"} & set(range(1, 15)) == set()
    assert {(kind, n) for kind, n in known if kind != "record"} == {
        (kind, n) for kind in ("p", "request") for n in range(1, 21)
    }


def test_a_disk_that_fails_only_delays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 5: while the journal cannot be written the log keeps its entries; the next flush catches up."""
    with process(tmp_path) as started:
        position = started.accept({("p", 1)}, 0)

        def fail(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("lapwing_collector.wal.segments.write_all", fail)
            started.memory.settle(position)
            assert started.memory.covers == 0
        started.memory.settle(position)
        assert started.memory.covers == position
    for log_file in segments(tmp_path):
        log_file.unlink()
    with process(tmp_path, position) as started:
        assert started.known() == {("p", 1)}


def test_a_snapshot_that_cannot_be_made_fails_no_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with the ledger as a whole is told; what was settled is, and the next goes on."""
    monkeypatch.setattr("lapwing_collector.app.ingest.remembering._JOURNAL_BYTES", 0)
    with process(tmp_path) as started:
        position = started.accept({("p", 1)}, 0)
        with monkeypatch.context() as patch:
            patch.setattr(started.memory.ledger, "snapshot", lambda: 1 // 0)
            started.memory.settle(position)
        assert "cannot be noted" in caplog.text
        assert started.memory.covers == position
        started.memory.settle(started.accept({("p", 2)}, 0))
        assert started.memory._journal.read_checkpoint() is not None
    with process(tmp_path, position + 1) as started:
        assert started.known() == {("p", 1), ("p", 2)}


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """Fault 27: what a later Lapwing remembered stops the start, and stays as it is."""
    with process(tmp_path) as started:
        started.memory._journal.append(b"\x02" + bytes(40), ()).result()
    with pytest.raises(DataDirectoryError, match="start the version of Lapwing that wrote it"):
        Process(tmp_path, 0)
