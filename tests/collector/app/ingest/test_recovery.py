"""Reading the log back after a start."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from helpers.collector import prediction, request
from helpers.wal_disk import legacy_frame, write_legacy_log
from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import Requests, row_count, split_new
from lapwing_collector.app.ingest.pending import LogEntry, Pending
from lapwing_collector.app.ingest.recovery import Recovery
from lapwing_collector.app.ingest.remembering import Memory
from lapwing_collector.clock import epoch_ns, utc_datetime
from lapwing_collector.decode import decode_group
from lapwing_collector.dedup import Admission
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.records import DecodedGroup
from lapwing_collector.wal import Log, sync_data

AT = epoch_ns(datetime(2026, 1, 1))


def body(*numbers: int) -> bytes:
    return request([prediction("m", f"p{n}", AT, inputs={"x": n}, sequence=n) for n in numbers], "p")


def plain(*numbers: int) -> bytes:
    """A request without numbers."""
    return request([prediction("m", f"p{n}", AT, inputs={"x": n}) for n in numbers])


class Process:
    """What a collector has of its log, without a lake."""

    def __init__(self, folder: Path, lake_covers: int = 0, capacity_bytes: int = 1 << 30) -> None:
        self.log = Log.open(folder / "log", after=lake_covers)
        self.memory = Memory.open(self.log, folder / "log" / "ledger", sync=sync_data)
        self.pending = Pending(capacity_bytes)
        self.accounts = Accounts()
        self.decoded: list[int] = []
        self.recovery = Recovery(
            self.log, lake_covers, self.memory, self.pending, self.accounts, self.decode, folder / "dead"
        )

    def decode(self, payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
        self.decoded.append(len(payloads))
        return decode_group(payloads, received_at_ns)

    def accept(self, *payloads: bytes, handed_over: bool = True) -> int:
        """Take requests in as one group; the position of their entry, 0 if nothing in them is new."""
        decoded = decode_group(payloads, AT)
        with self.memory.ledger.admitting(AT) as admitting:
            batches, _ = split_new(decoded.batches, admitting, keep_all=False)
            admission = admitting.done()
        if not batches:
            self.memory.ledger.forget(admission)
            return 0
        requests = Requests(AT, payloads, row_count(batches), admission)
        position = self.log.append(requests.head(), payloads).result()
        self.memory.ledger.keep(admission)
        self.memory.add(position, AT, admission)
        if handed_over:
            self.recovery.hand_over(LogEntry(position, utc_datetime(AT), batches), sum(map(len, payloads)))
        return position

    def queued(self) -> list[tuple[int, list[int]]]:
        """Position and values of x of each entry that waits for the lake."""
        return [
            (entry.position, [x for batch in entry.batches for x in values(batch.fields)])
            for entry in self.pending.peek(1 << 40)
        ]

    def close(self) -> None:
        self.log.close()
        self.memory.close()


def values(fields: Sequence[object]) -> list[int]:
    columns: list[pa.Array] = [field.values for field in fields if field.path == ("inputs", "x")]  # type: ignore[attr-defined]
    return columns[0].to_pylist() if columns else []


@contextmanager
def process(folder: Path, lake_covers: int = 0, *, learn: bool = True, **options: int) -> Iterator[Process]:
    """A process that has read the heads of the log."""
    started = Process(folder, lake_covers, **options)
    try:
        if learn:
            started.recovery.learn()
        yield started
    finally:
        started.close()


def test_heads_alone_tell_what_was_accepted(tmp_path: Path) -> None:
    """After a restart repeats are known before anything is decoded, and the rows that wait are booked."""
    with process(tmp_path) as first:
        first.accept(body(1, 2), body(3))
        first.accept(plain(4, 5))
    with process(tmp_path) as second:
        assert second.decoded == []
        assert second.accounts == Accounts(received=5)
        assert second.accept(body(2, 3), plain(5)) == 0
        assert second.accept(body(3, 9)) == 3


def test_exactly_the_accepted_rows_are_read_back(tmp_path: Path) -> None:
    """Rows of an entry that were repeats when it came are left out, also within the group."""
    with process(tmp_path) as first:
        first.accept(body(1, 2), body(2, 3), plain(10, 10))
        first.accept(body(3, 4), plain(10, 11))
    with process(tmp_path) as second:
        second.recovery.replay()
        assert second.queued() == [(1, [1, 2, 3, 10, 10]), (2, [4, 11])]
        assert second.decoded == [3, 2]
        assert second.accounts == Accounts(received=7)
        assert not second.recovery.replaying


def test_what_the_lake_has_is_not_read_back(tmp_path: Path) -> None:
    """Entries up to the position that the lake covers are known, and not decoded."""
    with process(tmp_path) as first:
        for number in (1, 2, 3):
            first.accept(body(number))
    with process(tmp_path, lake_covers=2) as second:
        second.recovery.replay()
        assert second.queued() == [(3, [3])]
        assert second.accept(body(1), body(2), body(3)) == 0


def test_new_entries_follow_what_is_read_back(tmp_path: Path) -> None:
    """What comes while the log is read back is left in it, and queued behind what came before, once."""
    with process(tmp_path) as first:
        first.accept(body(1))
    with process(tmp_path) as second:
        second.accept(body(2))
        assert second.queued() == []
        second.recovery.replay()
        second.accept(body(3))
        assert second.queued() == [(1, [1]), (2, [2]), (3, [3])]


def test_entries_are_read_back_only_once_they_were_handed_over(tmp_path: Path) -> None:
    """An entry that is durable, and whose hand-over is still to come, is queued by that, not twice."""
    with process(tmp_path) as second:
        position = second.accept(body(2), handed_over=False)
        second.recovery.replay()
        assert second.queued() == []
        batches = decode_group([body(2)], AT).batches
        second.recovery.hand_over(LogEntry(position, utc_datetime(AT), batches), 1)
        assert second.queued() == [(1, [2])]


def test_only_so_much_is_accepted_that_reading_back_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the log is read back requests find room in bounds, and without bounds afterwards."""
    monkeypatch.setattr("lapwing_collector.app.ingest.recovery._AHEAD_BYTES", 1)
    with process(tmp_path) as first:
        first.accept(body(1))
    with process(tmp_path) as second:
        assert second.recovery.has_room
        second.accept(body(2))
        assert not second.recovery.has_room
        second.recovery.replay()
        assert second.recovery.has_room


def test_where_nothing_waits_rows_are_queued_as_they_come(tmp_path: Path) -> None:
    """New rows are behind none that have to be read back first, and are not decoded again."""
    with process(tmp_path) as first:
        first.accept(body(1))
    with process(tmp_path, lake_covers=1) as second:
        assert not second.recovery.replaying
        second.accept(body(2))
        second.recovery.replay()
        assert second.queued() == [(2, [2])]
        assert second.decoded == []


def test_a_full_queue_can_be_left(tmp_path: Path) -> None:
    """With nobody writing the lake, reading back waits for room, and ends when the queue is closed."""
    with process(tmp_path) as first:
        for number in range(1, 9):
            first.accept(body(number))
    with process(tmp_path, capacity_bytes=1) as second:
        reading = threading.Thread(target=second.recovery.replay)
        reading.start()
        second.pending.wait_for_work(20)
        assert second.recovery.replaying
        second.pending.close()
        reading.join(20)
        assert not reading.is_alive()
        assert len(second.queued()) == 1


def test_an_entry_that_cannot_be_read_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was accepted and cannot be decoded any more is kept as a file and booked; the rest goes on."""
    with process(tmp_path) as first:
        first.accept(body(1))
        first.accept(body(2), body(3))
        first.accept(body(4))
    broken = body(2)
    monkeypatch.setattr(
        Process,
        "decode",
        lambda self, payloads, at: decode_group(
            [b"\xff" if each == broken else each for each in payloads], at
        ),
    )
    with process(tmp_path) as second:
        second.recovery.replay()
        assert second.queued() == [(1, [1]), (2, [3]), (3, [4])]
        assert [file.read_bytes() for file in (tmp_path / "dead").iterdir()] == [broken]
        assert second.accounts == Accounts(received=4, dead_lettered=1)


def breaks_over(broken: bytes, error: Exception) -> Callable[[Process, Sequence[bytes], int], DecodedGroup]:
    """A decoder that fails as it never should over a request."""

    def decode(self: Process, payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
        if broken in payloads:
            raise error
        return decode_group(payloads, received_at_ns)

    return decode


def test_a_request_that_breaks_the_decoder_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request over which decoding fails as it never should stops no start, nor others of its entry."""
    with process(tmp_path) as first:
        first.accept(body(1), body(2), plain(7), plain(7))
        first.accept(body(3))
    monkeypatch.setattr(Process, "decode", breaks_over(body(2), ZeroDivisionError()))
    with process(tmp_path) as second:
        second.recovery.replay()
        assert second.queued() == [(1, [1, 7]), (2, [3])]
        assert [file.read_bytes() for file in (tmp_path / "dead").iterdir()] == [body(2)]
        assert second.accounts == Accounts(received=4, dead_lettered=1)


def test_too_little_memory_sets_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for which there is no memory together are read one by one; one alone is left in the log."""
    with process(tmp_path) as first:
        first.accept(body(1), body(2))

    def decode(self: Process, payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
        if len(payloads) > 1:
            raise MemoryError
        return decode_group(payloads, received_at_ns)

    with monkeypatch.context() as patch:
        patch.setattr(Process, "decode", breaks_over(body(2), MemoryError()))
        with process(tmp_path) as second, pytest.raises(MemoryError):
            second.recovery.replay()
    monkeypatch.setattr(Process, "decode", decode)
    with process(tmp_path) as third:
        third.recovery.replay()
        assert third.queued() == [(1, [1, 2])]
    assert not (tmp_path / "dead").exists()


def test_what_cannot_be_set_aside_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request that cannot be read cannot be kept either, the log keeps it, and readiness says why."""
    monkeypatch.setattr(Process, "decode", breaks_over(body(1), ZeroDivisionError()))
    with process(tmp_path) as first:
        first.accept(body(1))
        first.accept(body(2))
    (tmp_path / "dead").touch()
    with process(tmp_path) as second:
        monkeypatch.setattr(second.pending, "wait_until_closed", lambda _: True)
        second.recovery.replay()
        assert "cannot be kept: File exists" in (second.recovery.problem or "")
        assert second.queued() == []
        assert second.recovery.replaying
    with process(tmp_path) as third:

        def wait(_: float) -> bool:
            assert third.recovery.problem
            (tmp_path / "dead").unlink()
            return False

        monkeypatch.setattr(third.pending, "wait_until_closed", wait)
        third.recovery.replay()
        assert third.recovery.problem is None
        assert third.queued() == [(1, []), (2, [2])]
        assert [file.read_bytes() for file in (tmp_path / "dead").iterdir()] == [body(1)]


def test_what_is_damaged_after_the_start_is_booked(tmp_path: Path) -> None:
    """Rows that were whole when the log was first read and are not when they are needed are accounted for."""
    with process(tmp_path) as first:
        first.accept(body(1))
        first.accept(body(2))
    with process(tmp_path) as second:
        (segment,) = (tmp_path / "log").glob("*.log")
        segment.write_bytes(segment.read_bytes().replace(b"p1", b"p7"))
        second.recovery.replay()
        assert second.queued() == [(2, [2])]
        assert second.accounts == Accounts(received=2, dead_lettered=1)


def test_a_log_from_before_heads_is_taken_over(tmp_path: Path) -> None:
    """Fault 27: entries of an earlier Lapwing are decoded to learn what they brought, and stored once."""
    frames = [legacy_frame(AT, each) for each in (body(1, 2), body(2, 3), plain(4))]
    write_legacy_log(tmp_path / "log", frames)
    for _ in range(2):  # also when the first start comes to nothing
        with process(tmp_path) as started:
            assert started.accounts == Accounts(received=4)
            assert started.accept(body(3)) == 0
            started.recovery.replay()
            assert started.queued() == [(1, [1, 2]), (2, [3]), (3, [4])]


def test_a_broken_entry_from_before_heads_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry of an earlier Lapwing over which decoding fails, or that is too short, stops no start."""
    monkeypatch.setattr(Process, "decode", breaks_over(body(1), ZeroDivisionError()))
    write_legacy_log(tmp_path / "log", [legacy_frame(AT, body(1)), b"\xff", legacy_frame(AT, body(2))])
    with process(tmp_path) as started:
        assert started.accounts == Accounts(received=1)
        started.recovery.replay()
        assert started.queued() == [(1, []), (2, []), (3, [2])]
        assert sorted(file.read_bytes() for file in (tmp_path / "dead").iterdir()) == [body(1), b"\xff"]


def test_a_ledger_from_before_the_journal_is_taken_over(tmp_path: Path) -> None:
    """Fault 27: the checkpoint of an earlier Lapwing is read, kept in the new form, and deleted."""
    with Log.open(tmp_path / "log", after=7) as log:
        log.write_checkpoint(7, b'{"version":1,"processes":{"p":[[1,3],[5,5]]}}')
    for _ in range(2):
        with process(tmp_path, lake_covers=7) as started:
            assert started.memory.covers == 7
            assert [started.accept(body(n)) > 0 for n in (1, 3, 5)] == [False] * 3
            assert not (tmp_path / "log" / "checkpoint").exists()


def test_an_entry_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """Fault 27: an entry whose head is of a later version stops the start, and the log stays as it is."""
    with process(tmp_path) as first:
        head = Requests(AT, (), 0, Admission()).head()
        first.log.append(b"\x02" + head[1:], ()).result()
    with (
        pytest.raises(DataDirectoryError, match="start the version of Lapwing that wrote it"),
        process(tmp_path),
    ):
        pass
