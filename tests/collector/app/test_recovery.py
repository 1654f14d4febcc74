"""Reading the log back after a start."""

from datetime import datetime
from pathlib import Path

from helpers.collector import prediction, request
from lapwing_collector.app.ingest import frame
from lapwing_collector.app.pending import Pending
from lapwing_collector.app.recovery import Recovery
from lapwing_collector.clock import epoch_ns
from lapwing_collector.lake import Lake
from lapwing_collector.wal import Log

AT = epoch_ns(datetime(2026, 1, 1))


def a_log(folder: Path, *bodies: bytes) -> Log:
    log = Log.open(folder / "log")
    for body in bodies:
        log.append(frame(AT, body)).result()
    return log


def body(number: int) -> bytes:
    return request([prediction("m", f"p{number}", AT, inputs={"x": number}, sequence=number)], "p")


def test_a_full_queue_can_be_left(tmp_path: Path) -> None:
    """With nobody writing the lake, recovery waits for room, and ends when the queue is closed."""
    lake = Lake.open(tmp_path / "lake")
    log = a_log(tmp_path, *(body(number) for number in range(1, 9)))
    pending = Pending(capacity_bytes=1)
    recovery = Recovery(log, lake, pending, tmp_path / "dead")
    pending.close()
    recovery.queue_uncovered()
    assert not pending.peek(1)
    log.close()
    lake.close()


def test_an_entry_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    """What an older version accepted and this one cannot read is kept as a file; the rest goes on."""
    lake = Lake.open(tmp_path / "lake")
    log = a_log(tmp_path, body(1), b"\xff\xffnot a request", body(2))
    pending = Pending(capacity_bytes=1 << 20)
    recovery = Recovery(log, lake, pending, tmp_path / "dead")
    recovery.admit_covered()
    recovery.queue_uncovered()
    entries = pending.peek(1 << 20)
    assert [sum(batch.rows.num_rows for batch in entry.batches) for entry in entries] == [1, 0, 1]
    assert [file.read_bytes() for file in (tmp_path / "dead").iterdir()] == [b"\xff\xffnot a request"]
    log.close()
    lake.close()
