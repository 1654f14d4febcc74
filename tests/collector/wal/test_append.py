"""Appending: when an append counts as durable, what happens when the disk fails, and how the log ends."""

import errno
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.wal_disk import TIMEOUT_S, FailingSync, GatedSync, bodies, read_log, segments, write_log
from lapwing_collector.errors import DataDirectoryError, UnavailableError
from lapwing_collector.wal import Log, LogClosedError
from lapwing_collector.wal.record import HEADER_BYTES

EIO = OSError(errno.EIO, "Input/output error")


def test_a_future_is_resolved_only_after_the_sync(tmp_path: Path) -> None:
    """Fault 3: an append is acknowledged after its bytes were written and then synced, not before."""
    sync = GatedSync()
    with Log.open(tmp_path, sync=sync) as log:
        future = log.append(b"", [b"payload"])
        sync.wait_for_call()
        assert segments(tmp_path)[0].read_bytes().endswith(b"payload")
        assert not future.done()
        assert (log.last_position, log.durable_position) == (1, 0)
        sync.let_through()
        assert future.result(TIMEOUT_S) == 1
        assert log.durable_position == 1


def test_a_new_segments_name_is_synced_before_its_first_record_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 2: the folder is synced after a segment is made in it, before what it holds is acknowledged."""
    synced: list[tuple[bool, int]] = []
    fsync = os.fsync

    def spy(fd: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), len(segments(tmp_path))))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", spy)
    with Log.open(tmp_path, segment_bytes=10) as log:
        for made in (1, 2):
            log.append(b"", [b"fills a segment"]).result(TIMEOUT_S)
            assert synced[-1] == (True, made)


def test_what_waits_is_synced_together(tmp_path: Path) -> None:
    """Appends that arrive during a sync share the next one."""
    sync = GatedSync()
    with Log.open(tmp_path, sync=sync) as log:
        futures = [log.append(b"", [b"first"])]
        sync.wait_for_call()
        futures += [log.append(b"", [b"%d" % number]) for number in range(100)]
        sync.let_through(2)
        assert [future.result(TIMEOUT_S) for future in futures] == list(range(1, 102))
        assert sync.calls == 2


def test_appends_of_many_threads_keep_their_payloads(tmp_path: Path) -> None:
    """Each append gets its own position, and the log holds its payload there."""
    found: dict[int, bytes] = {}

    def append(log: Log, name: int) -> None:
        for number in range(50):
            payload = b"%d-%d" % (name, number)
            found[log.append(b"", [payload]).result(TIMEOUT_S)] = payload

    with Log.open(tmp_path, segment_bytes=500) as log:
        threads = [threading.Thread(target=append, args=(log, name)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert read_log(tmp_path) == sorted(found.items())
    assert len(found) == 400


def test_a_failed_sync_fails_its_group_and_ends_the_segment(tmp_path: Path) -> None:
    """Fault 4: after EIO the group fails, its file is never synced again, the log goes on in a new one."""
    sync = FailingSync(None, EIO, None)
    with Log.open(tmp_path, sync=sync) as log:
        assert log.append(b"", [b"one"]).result(TIMEOUT_S) == 1
        with pytest.raises(UnavailableError, match="Input/output error"):
            log.append(b"", [b"two"]).result(TIMEOUT_S)
        assert log.append(b"", [b"three"]).result(TIMEOUT_S) == 3
        assert [entry.position for entry in log.replay(0)] == [1, 3]
    first, failed, second = sync.inodes
    assert first == failed != second
    assert read_log(tmp_path) == [(1, b"one"), (3, b"three")]


def test_failing_again_and_again_leaves_no_files_behind(tmp_path: Path) -> None:
    """A disk that stays broken does not fill the folder with empty segments, and positions go on."""
    with Log.open(tmp_path, sync=FailingSync(*[EIO] * 20)) as log:
        for _ in range(20):
            assert isinstance(log.append(b"", [b"x"]).exception(TIMEOUT_S), UnavailableError)
        assert len(segments(tmp_path)) <= 1
        assert log.append(b"", [b"x"]).result(TIMEOUT_S) == 21
    assert read_log(tmp_path) == [(21, b"x")]


def test_a_short_write_is_taken_back(tmp_path: Path) -> None:
    """Fault 5: a record that fits only in part is not acknowledged and leaves nothing that reading finds."""
    script = """
        import resource, sys
        from pathlib import Path
        from lapwing_collector.errors import UnavailableError
        from lapwing_collector.wal import Log

        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        with Log.open(Path(sys.argv[1])) as log:
            log.append(b"", [bytes(4000)]).result()
            assert isinstance(log.append(b"", [bytes(4000)]).exception(), UnavailableError)
            assert log.append(b"", [bytes(3000)]).result() == 3
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], check=True, timeout=TIMEOUT_S)
    with Log.open(tmp_path) as log:
        assert bodies(log) == [(1, bytes(4000)), (3, bytes(3000))]
        assert not log.damage


def test_the_last_of_the_disk_is_left_to_the_lake(tmp_path: Path) -> None:
    """Fault 5: appends are refused while less than 5 % is free, and taken again when space returns."""
    free = [4]
    usage = lambda folder: SimpleNamespace(total=100_000, free=free[0])  # noqa: E731
    with Log.open(tmp_path, usage=usage) as log:
        with pytest.raises(UnavailableError, match="kept for the lake"):
            log.append(b"", [b"x"]).result(TIMEOUT_S)
        assert not segments(tmp_path)
        free[0] = 6000
        assert log.append(b"", [b"x"]).result(TIMEOUT_S) == 2


def test_a_barrier_waits_for_the_appends_before_it(tmp_path: Path) -> None:
    """A barrier is resolved once what was appended before it is durable."""
    sync = GatedSync()
    with Log.open(tmp_path, sync=sync) as log:
        log.append(b"", [b"x"])
        sync.wait_for_call()
        barrier = log.barrier()
        assert not barrier.done()
        sync.let_through()
        assert barrier.result(TIMEOUT_S) is None


def test_a_barrier_is_passed_when_an_append_before_it_failed(tmp_path: Path) -> None:
    """Whoever waited for the appends before, durable or not, finds that those who made them were told."""
    told: list[int] = []
    with Log.open(tmp_path, sync=FailingSync(EIO, None)) as log:
        for number in range(2):
            log.append(b"", [b"x"]).add_done_callback(lambda done, number=number: told.append(number))
        assert log.barrier().result(TIMEOUT_S) is None
        assert told == [0, 1]


def test_a_barrier_of_an_empty_log_is_resolved(tmp_path: Path) -> None:
    """There is nothing to wait for in an empty log."""
    with Log.open(tmp_path) as log:
        assert log.barrier().result(TIMEOUT_S) is None


def test_an_append_cannot_be_cancelled(tmp_path: Path) -> None:
    """A payload that was handed over is written, whatever became of who waited for it."""
    sync = GatedSync()
    with Log.open(tmp_path, sync=sync) as log:
        log.append(b"", [b"first"])
        sync.wait_for_call()
        assert not log.append(b"", [b"second"]).cancel()
        sync.let_through(2)
    assert read_log(tmp_path) == [(1, b"first"), (2, b"second")]


def test_close_drains_and_later_calls_say_so(tmp_path: Path) -> None:
    """Closing writes what is queued, may be repeated, and makes later calls fail by name."""
    log = Log.open(tmp_path)
    futures = [log.append(b"", [b"%d" % number]) for number in range(100)]
    log.close()
    log.close()
    assert all(future.done() and not future.exception() for future in futures)
    for call in (lambda: log.append(b"", [b"x"]), log.barrier, lambda: log.release(1)):
        with pytest.raises(LogClosedError, match="closed"):
            call()


def test_a_payload_larger_than_a_segment_is_kept(tmp_path: Path) -> None:
    """The size of segments does not bound payloads."""
    write_log(tmp_path, [b"a", bytes(5000), b"b"], segment_bytes=100)
    assert read_log(tmp_path) == [(1, b"a"), (2, bytes(5000)), (3, b"b")]
    assert [path.stat().st_size - HEADER_BYTES for path in segments(tmp_path)] == [1, 5000, 1]


def test_an_unusable_folder_is_told(tmp_path: Path) -> None:
    """Fault 12: a log that cannot be kept where it should be is one line naming the place."""
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match=r"file/log: the log cannot be kept here: Not a directory"):
        Log.open(tmp_path / "file" / "log")


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """Fault 1: after kill -9 in the middle of writing, what was acknowledged is there, at its position."""
    script = """
        import sys
        from pathlib import Path
        from lapwing_collector.wal import Log

        log = Log.open(Path(sys.argv[1]), segment_bytes=20_000)
        for number in range(10**9):
            future = log.append(b"", [b"%d " % number * 50])
            future.add_done_callback(lambda f, n=number: print(f.result(), n, flush=True))
            if number % 7 == 0:
                future.result()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        lines = [child.stdout.readline() for _ in range(500)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
    acknowledged = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    found = dict(read_log(tmp_path))
    assert all(found[position] == b"%d " % number * 50 for position, number in acknowledged)
    assert sorted(found) == list(range(1, len(found) + 1))


@pytest.mark.parametrize("count", [1, 40])
def test_callbacks_see_the_durable_position(tmp_path: Path, count: int) -> None:
    """Who is told of an append finds it counted as durable."""
    seen: list[bool] = []
    with Log.open(tmp_path) as log:
        futures = [log.append(b"", [b"x"]) for _ in range(count)]
        for future in futures:
            future.add_done_callback(lambda done: seen.append(log.durable_position >= done.result()))
        wait(futures, TIMEOUT_S)
    assert seen == [True] * count
