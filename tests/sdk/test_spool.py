"""The disk spool: what cannot be delivered survives, in order, within bounds, also the end of its process."""

import errno
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lapwing
from helpers.sdk_receiver import Answer, Receiver, receiver
from lapwing import _process
from lapwing._backlog import Backlog
from lapwing._queue import Queue
from lapwing._spool import Full, Spool, has_leftovers

NOBODY = "http://127.0.0.1:9"
BLOCK = 4096
ROOMY = 1024 * 1024


@pytest.fixture(autouse=True)
def _own_process_state() -> Iterator[None]:
    """Give each test a process that has recorded nothing, and put back what was."""
    before = _process.replace_sink(None)
    yield
    if (sink := _process.replace_sink(before)) is not None:
        sink.shutdown(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the path of a spool that is not there yet."""
    return tmp_path / "deep" / "spool"


def make(root: Path, limit_bytes: int = ROOMY) -> Spool:
    """Make the spool of a new process."""
    return Spool(root, str(uuid4()), limit_bytes)


def drain(spool: Spool) -> list[bytes | None]:
    """Read and remove everything."""
    requests = []
    while spool:
        requests.append(spool.read())
        spool.remove()
    return requests


def files(root: Path) -> list[Path]:
    """Give the requests on disk, in the order of their names."""
    return sorted(root.rglob("*.otlp"), key=lambda path: path.name)


def predict(*numbers: int) -> None:
    """Record a prediction for each number."""
    for number in numbers:
        lapwing.log_prediction(model="m", inputs={"n": number}, output=number)


def arrived(running: Receiver) -> list[int]:
    """Give the numbers that arrived, in their order, each record once, as a collector stores them."""
    records = {
        (r.resource["lapwing.process.id"], r.attributes["lapwing.sequence"]): r for r in running.records
    }
    return [record.inputs["n"] for record in records.values()]


def flush_soon(times: int = 200) -> bool:
    """Flush with little patience again and again; every flush makes the exporter try."""
    return any(lapwing.flush(0.05) for _ in range(times))


def spooled(root: Path, *numbers: int) -> None:
    """Record numbers in this process while nobody listens, a request for each, until they are on disk."""
    lapwing.init(endpoint=NOBODY, spool=root, batch_size=1)
    predict(*numbers)
    while lapwing.stats().pending:
        lapwing.flush(0.01)


# The folder.


@given(st.lists(st.binary(max_size=3 * BLOCK), max_size=6))
@settings(deadline=None)
def test_what_is_added_comes_back_in_order(requests: list[bytes]) -> None:
    """The same bytes come back, oldest first, and nothing stays behind."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "spool"
        spool = make(root)
        for moment, request in enumerate(requests):
            spool.add(request, 1, moment)
        assert len(spool) == len(requests)
        assert drain(spool) == requests
        spool.close()
        assert list(root.iterdir()) == []


def test_a_clock_that_goes_back_does_not_change_the_order(root: Path) -> None:
    """Requests keep the order in which they were added, whatever the time is said to be."""
    spool = make(root)
    for number, moment in enumerate([50, 10, 10, 0]):
        spool.add(bytes([number]), 1, moment)
    spool.close()
    assert drain(make(root)) == [bytes([number]) for number in range(4)]


def test_others_cannot_read_it(root: Path) -> None:
    """Folders are 0700 and files 0600, whatever the umask is."""
    before = os.umask(0)
    try:
        spool = make(root)
        spool.add(b"secret", 1, 0)
    finally:
        os.umask(before)
    (request,) = files(root)
    modes = [path.stat().st_mode & 0o777 for path in (root, request.parent, request, request.parent / "lock")]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_a_request_is_durable_before_it_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced, then renamed, then its folder is synced."""
    spool, seen = make(root), []
    fsync, rename = os.fsync, Path.rename

    def spy_fsync(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def spy_rename(self: Path, target: Path) -> Path:
        seen.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "rename", spy_rename)
    spool.add(b"request", 1, 0)
    assert seen == ["file", "rename", "folder"]


def test_all_files_of_the_folder_count(root: Path) -> None:
    """A request that finds no room beside all processes' files is refused, and fits when there is room."""
    other, spool = make(root, 3 * BLOCK), make(root, 3 * BLOCK)
    other.add(bytes(BLOCK + 1), 1, 0)
    spool.add(b"1", 1, 0)
    with pytest.raises(Full, match=f"{3 * BLOCK} of {3 * BLOCK} bytes"):
        spool.add(b"2", 1, 0)
    spool.remove()
    spool.add(b"3", 1, 0)
    drain(other)
    with pytest.raises(Full):
        spool.add(b"4", 1, 0)
    spool.add(b"5", 1, 5_000_000_000)
    assert drain(spool) == [b"3", b"5"]


def test_the_next_process_adopts_what_the_former_left(root: Path) -> None:
    """Files of several former processes come first, by time, then the own ones; then all folders are gone."""
    first, second = make(root), make(root)
    first.add(b"1", 1, 10)
    second.add(b"2", 1, 20)
    first.add(b"3", 1, 30)
    first.close()
    second.close()
    next_one = make(root)
    next_one.add(b"4", 1, 40)
    owners = []
    while next_one:
        owners.append((next_one.read(), next_one.is_own(next_one.oldest())))
        next_one.remove()
    assert owners == [(b"1", False), (b"2", False), (b"3", False), (b"4", True)]
    next_one.close()
    assert not has_leftovers(root)


def test_what_a_living_process_has_is_its_own(root: Path) -> None:
    """A process does not adopt the folder of one that lives."""
    living = make(root)
    living.add(b"1", 1, 0)
    assert len(make(root)) == 0
    assert drain(living) == [b"1"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"?"])
def test_a_damaged_file_is_set_aside(root: Path, damage: Any) -> None:
    """A file that is not what was written is not sent, but kept as *.bad, and what follows it is sent."""
    spool = make(root)
    spool.add(b"damaged", 1, 0)
    spool.add(b"whole", 1, 1)
    spool.close()
    first = files(root)[0]
    first.write_bytes(damage(first.read_bytes()))
    spool = make(root)
    assert spool.read() is None
    assert spool.set_aside() == root / f"{first.name}.bad"
    assert drain(spool) == [b"whole"]
    spool.close()
    assert [path.name for path in root.iterdir()] == [f"{first.name}.bad"]


@pytest.mark.parametrize("trouble", [errno.EMFILE, errno.EACCES, errno.ENOMEM, None])
def test_what_cannot_be_read_now_waits(
    root: Path, monkeypatch: pytest.MonkeyPatch, trouble: int | None
) -> None:
    """Short of descriptors, rights or memory nothing is set aside: it is read later, and told of once."""
    queue = Queue(capacity=4, batch_size=1, delay_s=0, wait_when_full=False)
    told: list[Any] = []
    backlog = Backlog(make(root), queue, lambda *words: told.append(words))
    for request in (b"1", b"2"):
        queue.put(request)
        backlog.put(queue.take(), request, 0)

    def fail(_: Path) -> bytes:
        raise MemoryError if trouble is None else OSError(trouble, os.strerror(trouble))

    with monkeypatch.context() as patch:
        if trouble == errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        else:
            patch.setattr(Path, "read_bytes", fail)
        try:
            assert backlog.oldest(100.0) is None
        finally:
            if trouble == errno.EMFILE:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 100.2 < backlog.try_at <= 100.5
    assert {kind for kind, *_ in told} == {"spool_read"}
    assert not list(root.glob("*.bad"))
    assert backlog.oldest(101.0) == b"1"
    backlog.settle(1, "")
    assert backlog.oldest(101.0) == b"2"
    assert queue.stats() == lapwing.Stats(2, 1, 0, {}, spooled=1)


@pytest.mark.parametrize("trouble", [errno.EACCES, errno.ESTALE, errno.EISDIR, errno.ELOOP])
def test_a_file_that_cannot_be_read_keeps_no_others_back(
    root: Path, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    """What is behind it, and what comes later, is sent; it stays, and is sent once it can be read."""
    queue = Queue(capacity=4, batch_size=1, delay_s=0, wait_when_full=False)
    backlog = Backlog(make(root), queue, lambda *_: None)

    def put(request: bytes, moment: int) -> None:
        queue.put(request)
        backlog.put(queue.take(), request, moment)

    put(b"1", 0)
    put(b"2", 1)
    first = files(root)[0]
    content = first.read_bytes()
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == first:
            raise OSError(trouble, os.strerror(trouble))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        if trouble == errno.EISDIR:
            first.unlink()
            first.mkdir()
        elif trouble == errno.ELOOP:
            first.unlink()
            first.symlink_to(first)
        else:
            patch.setattr(Path, "read_bytes", read)
        assert backlog.oldest(100.0) == b"2"
        backlog.settle(1, "")
        assert backlog.oldest(100.0) is None
        assert 100.2 < backlog.try_at <= 100.5
        put(b"3", 2)
        assert backlog.try_at <= 100.0
        assert backlog.oldest(100.0) == b"3"
        backlog.postpone(100.0, 60)  # the receiver is away
        put(b"4", 3)
        assert backlog.try_at == 160.0
    if trouble == errno.EISDIR:
        first.rmdir()
    first.unlink(missing_ok=True)
    first.write_bytes(content)
    assert backlog.oldest(200.0) == b"3"
    for request in (b"3", b"4", b"1"):
        assert backlog.oldest(200.0) == request
        backlog.settle(1, "")
    assert not backlog.waits
    assert queue.stats() == lapwing.Stats(4, 4, 0, {})
    backlog.close()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("loss", ["gone", "bad sector"])
def test_what_can_be_read_no_more_is_lost(root: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    """A file that is gone, or on a bad place of the medium, is counted, and does not keep others back."""
    queue = Queue(capacity=4, batch_size=1, delay_s=0, wait_when_full=False)
    backlog = Backlog(make(root), queue, lambda *_: None)
    for request in (b"1", b"2"):
        queue.put(request)
        backlog.put(queue.take(), request, 0)
    first = files(root)[0]
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == first:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read_bytes(path)

    if loss == "gone":
        first.unlink()
    else:
        monkeypatch.setattr(Path, "read_bytes", read)
    assert backlog.oldest(100.0) == b"2"
    assert queue.stats() == lapwing.Stats(2, 0, 0, {"spool_error": 1}, spooled=1)
    assert len(list(root.glob("*.bad"))) == (loss != "gone")


def test_what_was_half_written_is_deleted(root: Path) -> None:
    """A file whose process ended before its last byte is no request, and does not stay."""
    spool = make(root)
    spool.add(b"whole", 1, 0)
    (request,) = files(root)
    request.with_suffix(".part").write_bytes(b"half")
    spool.close()
    assert drain(make(root)) == [b"whole"]
    assert not list(root.rglob("*.part"))


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that could not be written to its end is not there, and the next one is."""
    spool, fsync = make(root), os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        spool.add(b"1", 1, 0)
    assert [path.name for path in root.glob("*/*")] == ["lock"]
    monkeypatch.setattr(os, "fsync", fsync)
    spool.add(b"2", 1, 0)
    assert drain(spool) == [b"2"]


# The accounts and the back-off.


@given(st.lists(st.sampled_from(["put", "put", "settle", "spool", "sent", "refused"]), max_size=60))
def test_spooled_records_are_accounted_for(actions: list[str]) -> None:
    """Whatever happens, recorded = acknowledged + pending + spooled + dropped, and flush tells the truth."""
    queue = Queue(capacity=4, batch_size=2, delay_s=0, wait_when_full=False)
    for action in actions:
        stats = queue.stats()
        if action == "put":
            queue.put(b"r")
        elif action in ("settle", "spool") and stats.pending:
            batch = queue.take()
            queue.spool(batch) if action == "spool" else queue.settle(batch, len(batch), "")
        elif action in ("sent", "refused") and stats.spooled:
            queue.settle_spooled(1 if action == "sent" else 0, "rejected")
        stats = queue.stats()
        whole = stats.acknowledged + stats.pending + stats.spooled + sum(stats.dropped.values())
        assert stats.recorded == whole
        assert queue.flush(0) == (stats.acknowledged == stats.recorded)


def test_flush_does_not_wait_for_what_comes_later() -> None:
    """Records spooled after those that a flush is about do not keep it from saying yes."""
    queue = Queue(capacity=4, batch_size=1, delay_s=0, wait_when_full=False)
    queue.put(b"1")
    with pytest.MonkeyPatch.context() as patch:
        wait_for = queue._progress.wait_for

        def then(predicate: Any, timeout: float) -> bool:
            queue.put(b"2")
            queue.settle(queue.take(), 1, "")
            queue.spool(queue.take())
            return bool(wait_for(predicate, timeout))

        patch.setattr(queue._progress, "wait_for", then)
        assert queue.flush(0)
    assert queue.stats().spooled == 1


def test_delays_grow_up_to_half_a_minute(root: Path) -> None:
    """Attempts are further and further apart, with jitter, at least as the receiver says; success resets."""
    queue = Queue(capacity=4, batch_size=1, delay_s=0, wait_when_full=False)
    backlog = Backlog(make(root), queue, lambda *_: None)
    queue.put(b"1")
    backlog.put(queue.take(), b"1", 0)
    delays = []
    for _ in range(10):
        backlog.postpone(100.0, None)
        delays.append(backlog.try_at - 100)
    bounds = [0.5 * 2**n for n in range(6)] + [30.0] * 4
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    for soon in (0.0, 7.0):
        backlog.postpone(100.0, soon)
        assert backlog.try_at >= 115
    backlog.postpone(100.0, 70.0)
    assert backlog.try_at == 170
    backlog.settle(1, "")
    assert backlog.try_at == 0
    backlog.postpone(100.0, None)
    assert backlog.try_at <= 100.5
    backlog.postpone(100.0, 7.0)
    assert backlog.try_at == 107


# The exporter.


def test_an_outage_costs_nothing_and_keeps_the_order(root: Path) -> None:
    """While the receiver answers 503 records go to disk; later all arrive, in order, and nothing stays."""
    with receiver(*[Answer(503)] * 5) as running:
        lapwing.init(endpoint=running.endpoint, spool=root, batch_size=10)
        predict(*range(35))
        assert not lapwing.flush(0.01)
        while (stats := lapwing.stats()).pending:
            lapwing.flush(0.01)
        assert (stats.recorded, stats.spooled, stats.acknowledged) == (35, 35, 0)
        assert [path.name.split("-")[1] for path in files(root)] == ["10", "10", "10", "5"]
        predict(*range(35, 40))
        assert flush_soon()
        predict(40)
        assert lapwing.flush()
        assert arrived(running) == list(range(41))
        assert lapwing.stats() == lapwing.Stats(41, 41, 0, {})
        assert lapwing.shutdown()
    assert list(root.iterdir()) == []
    bodies = [request.raw for request in running.requests]
    assert bodies[:6] == [bodies[0]] * 6


def test_more_is_sent_than_comes(root: Path) -> None:
    """Under a load that always has a batch ready, what is on disk comes to an end, and the order stays."""
    with receiver(Answer(503)) as running:
        lapwing.init(endpoint=running.endpoint, spool=root, batch_size=1, queue_size=2, on_full="wait")
        predict(*range(50))
        recorded = 50
        while lapwing.stats().spooled and recorded < 20_000:
            predict(recorded)
            recorded += 1
        assert recorded < 20_000
        assert lapwing.flush()
        assert arrived(running) == list(range(recorded))


def test_a_flush_tries_at_once(root: Path) -> None:
    """However long the receiver asked to wait, a flush makes the exporter try, and waits for the answer."""
    with receiver(Answer(503, headers={"Retry-After": "600"})) as running:
        lapwing.init(endpoint=running.endpoint, spool=root)
        predict(1)
        while not lapwing.stats().spooled:
            lapwing.flush(0.01)
        assert flush_soon()
        assert arrived(running) == [1]


def test_a_refused_file_is_dropped(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A request on disk that the receiver refuses counts as rejected, and what is behind it is sent."""
    with receiver(Answer(503), Answer(400)) as running:
        lapwing.init(endpoint=running.endpoint, spool=root, batch_size=2)
        predict(1, 2, 3)
        while lapwing.stats().pending + lapwing.stats().spooled or files(root):
            lapwing.flush(0.05)
        assert lapwing.stats() == lapwing.Stats(3, 1, 0, {"rejected": 2})
        assert not lapwing.flush(0)
    assert files(root) == []
    assert "2 records were dropped (rejected)" in caplog.text


def test_a_full_spool_drops_the_newest(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What finds no room on disk is dropped, counted and told once; what is there is delivered."""
    lapwing.init(endpoint=NOBODY, spool=root, spool_bytes=3 * BLOCK, batch_size=1)
    predict(*range(6))
    while lapwing.stats().pending:
        lapwing.flush(0.01)
    assert lapwing.stats() == lapwing.Stats(6, 0, 0, {"spool_full": 3}, spooled=3)
    assert not lapwing.shutdown()
    assert caplog.text.count("spool_full") == 1
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, spool=root)
        predict(9)
        assert lapwing.flush()
        assert arrived(running) == [0, 1, 2, 9]


def test_a_disk_that_fails_costs_records_not_calls(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Records that cannot be written are dropped, counted and told once, and calls go on."""
    lapwing.init(endpoint=NOBODY, spool=root, batch_size=1)

    def broken(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    predict(1, 2)
    while lapwing.stats().pending:
        lapwing.flush(0.01)
    assert lapwing.stats() == lapwing.Stats(2, 0, 0, {"spool_error": 2})
    assert caplog.text.count("spool_error") == 1


def test_without_a_usable_folder_records_wait_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the folder cannot be made this is told once, and requests are tried again as without it."""
    (tmp_path / "file").touch()
    with receiver(Answer(503)) as running:
        lapwing.init(endpoint=running.endpoint, spool=tmp_path / "file" / "spool")
        predict(1)
        assert lapwing.flush()
    assert lapwing.stats() == lapwing.Stats(1, 1, 0, {})
    assert caplog.text.count("the spool cannot be used") == 1


def test_a_file_that_is_lost_is_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A request damaged on disk is counted as spool_error and told, and flush says no for good."""
    with receiver() as running:
        lapwing.init(endpoint=NOBODY, spool=root, batch_size=1)
        predict(1, 2)
        while lapwing.stats().pending:
            lapwing.flush(0.01)
        files(root)[0].write_bytes(b"damaged")
        lapwing.flush(0.01)
        assert lapwing.stats().dropped == {"spool_error": 1}
        assert "1 records on disk cannot be read" in caplog.text
        assert not lapwing.shutdown()
        lapwing.init(endpoint=running.endpoint, spool=root)
        predict(3)
        assert lapwing.flush()
        assert arrived(running) == [2, 3]


def test_leftovers_are_sent_without_a_new_record(root: Path) -> None:
    """A process that records nothing delivers what a former one left; it is no record of its own."""
    spooled(root, 1, 2)
    lapwing.shutdown(1)
    with receiver() as running:
        got_both = threading.Event()
        running.answer = _noting(running, 2, got_both)  # type: ignore[method-assign]
        lapwing.init(endpoint=running.endpoint, spool=root)
        assert got_both.wait(60)
        assert lapwing.shutdown()
        assert arrived(running) == [1, 2]
    assert lapwing.stats() == lapwing.Stats(0, 0, 0, {}, adopted=2)
    assert list(root.iterdir()) == []


def _noting(running: Receiver, requests: int, done: threading.Event) -> Any:
    answer = running.answer

    def noted(request: Any) -> Answer:
        found = answer(request)
        if len(running.requests) == requests:
            done.set()
        return found

    return noted


def test_shutdown_spools_what_it_cannot_send_in_time(root: Path) -> None:
    """While the receiver hangs, shutdown returns in its time, and everything is on disk for the next one."""
    hanging = threading.Event()
    with receiver(Answer(before=lambda: hanging.wait(60))) as running:
        lapwing.init(endpoint=running.endpoint, spool=root, batch_size=2)
        predict(*range(7))
        started = time.monotonic()
        assert not lapwing.shutdown(timeout_s=0.4)
        assert time.monotonic() - started < 30  # half a second on a machine that does nothing else
        assert lapwing.stats() == lapwing.Stats(7, 0, 0, {}, spooled=7)
        hanging.set()
        lapwing.init(endpoint=running.endpoint, spool=root)
        predict(7)
        assert lapwing.flush()
        assert arrived(running) == list(range(8))
        assert lapwing.stats().adopted == 7


def test_it_is_told_once_that_the_collector_is_away(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says which collector is away, once, however many requests go to disk."""
    with caplog.at_level(logging.WARNING, "lapwing"):
        spooled(root, 1, 2, 3)
    assert len([r for r in caplog.records if r.name == "lapwing"]) == 1
    assert f"{NOBODY}/v1/logs is unavailable" in caplog.text


# Several processes.

SCRIPT = """
import json, os, signal, sys
import lapwing
spool, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
lapwing.init(spool=spool, batch_size=1)
for number in range(first, first + count):
    lapwing.log_prediction(model="m", inputs={"n": number}, output=number)
def settle():
    while lapwing.stats().pending:
        lapwing.flush(0.01)
    print(json.dumps([lapwing.stats().spooled, lapwing.stats().acknowledged]), flush=True)
"""


def start(root: Path, endpoint: str, first: int, count: int, then: str) -> subprocess.Popen[str]:
    """Start a process that records numbers, and then does something."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT + then, str(root), str(first), str(count)],
        env={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_next_process_sends_what_a_killed_one_left(root: Path) -> None:
    """After kill -9 nothing that was on disk is lost: the next process sends it before its own records."""
    killed = start(root, NOBODY, 0, 5, "settle(); os.kill(os.getpid(), signal.SIGKILL)")
    out, _ = killed.communicate(timeout=60)
    assert (killed.returncode, json.loads(out)) == (-signal.SIGKILL, [5, 0])
    with receiver() as running:
        following = start(root, running.endpoint, 5, 2, "assert lapwing.flush(); settle()")
        out, errors = following.communicate(timeout=60)
        assert (json.loads(out), errors) == ([0, 2], "")
        assert arrived(running) == list(range(7))
    assert list(root.iterdir()) == []


def test_processes_share_a_folder(root: Path) -> None:
    """A process that lives keeps what it spooled to itself; when it is killed the next one sends it."""
    living = start(root, NOBODY, 0, 3, "settle(); sys.stdin.read()")
    assert living.stdout is not None
    assert json.loads(living.stdout.readline()) == [3, 0]
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, spool=root)
        predict(10)
        assert lapwing.flush()
        assert lapwing.shutdown()
        assert arrived(running) == [10]
        living.kill()
        living.communicate(timeout=60)
        lapwing.init(endpoint=running.endpoint, spool=root)
        predict(11)
        assert lapwing.flush()
        assert arrived(running) == [10, 0, 1, 2, 11]


def test_a_forked_child_leaves_the_folder_of_its_parent_alone(root: Path) -> None:
    """A child neither sends nor locks what its parent spooled, and has a folder of its own."""
    parent = start(
        root,
        NOBODY,
        0,
        2,
        """
settle()
if os.fork() == 0:
    lapwing.log_prediction(model="m", inputs={"n": 7}, output=7)
    settle()
    sys.stdin.read()
    lapwing.shutdown(1)
    os._exit(0)
os.kill(os.getpid(), signal.SIGSTOP)
""",
    )
    assert parent.stdout is not None
    assert json.loads(parent.stdout.readline()) == [2, 0]
    assert json.loads(parent.stdout.readline()) == [1, 0]
    assert [len(list(folder.glob("*.otlp"))) for folder in sorted(root.iterdir(), key=_requests)] == [1, 2]
    parent.kill()
    parent.wait()
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, spool=root)  # the child lives
        predict(9)
        assert lapwing.flush()
        assert arrived(running) == [0, 1, 9]
    assert parent.stdin is not None
    parent.communicate(timeout=60)
    assert len(files(root)) == 1


def _requests(folder: Path) -> int:
    return len(list(folder.glob("*.otlp")))


def test_a_script_that_just_ends_spools(root: Path) -> None:
    """What is left at the interpreter's exit goes to disk, even where the receiver hangs."""
    hanging = threading.Event()
    with receiver(Answer(before=lambda: hanging.wait(30))) as running:
        ending = start(root, running.endpoint, 0, 4, "")
        _, errors = ending.communicate(timeout=60)
        hanging.set()
    assert ending.returncode == 0
    assert "Traceback" not in errors
    assert len(files(root)) == 4
