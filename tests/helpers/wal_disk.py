"""Disks that misbehave on demand, and ways to look at the log's files."""

import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

from lapwing_collector.wal import Log
from lapwing_collector.wal.durable import sync_data

TIMEOUT_S = 20


class GatedSync:
    """A sync that waits until it is let through; counts the calls that began."""

    def __init__(self) -> None:
        self.calls = 0
        self._began = threading.Semaphore(0)
        self._gate = threading.Semaphore(0)

    def __call__(self, fd: int) -> None:
        """Sync `fd` when let through."""
        self.calls += 1
        self._began.release()
        assert self._gate.acquire(timeout=TIMEOUT_S)
        sync_data(fd)

    def wait_for_call(self) -> None:
        """Wait until the next call has begun."""
        assert self._began.acquire(timeout=TIMEOUT_S)

    def let_through(self, calls: int = 1) -> None:
        """Let so many calls go on."""
        self._gate.release(calls)


class FailingSync:
    """A sync that raises what it is given next; None lets it work. Remembers the files it was called for."""

    def __init__(self, *outcomes: OSError | None) -> None:
        self._outcomes = list(outcomes)
        self.inodes: list[int] = []

    def __call__(self, fd: int) -> None:
        """Fail or sync `fd`."""
        self.inodes.append(os.fstat(fd).st_ino)
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is not None:
            raise outcome
        sync_data(fd)


def segments(folder: Path) -> list[Path]:
    """The log's segment files, oldest first."""
    return sorted(folder.glob("*.log"))


def write_log(folder: Path, payloads: list[bytes], segment_bytes: int = 1 << 20) -> None:
    """Make a log of `payloads` from position 1 on, and close it."""
    with Log.open(folder, segment_bytes=segment_bytes) as log:
        for future in [log.append(b"", [payload]) for payload in payloads]:
            future.result(TIMEOUT_S)


def read_log(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    """What a new process finds in the log."""
    with Log.open(folder) as log:
        return bodies(log, after)


def bodies(log: Log, after: int = 0) -> list[tuple[int, bytes]]:
    """Positions and bodies of what is in a log."""
    return [(entry.position, bytes(entry.body)) for entry in log.replay(after)]


def write_legacy_log(folder: Path, payloads: list[bytes]) -> None:
    """Make a log of `payloads` from position 1 on, as Lapwing wrote it before entries had heads."""
    folder.mkdir(parents=True)
    records = b"".join(legacy_record(position, payload) for position, payload in enumerate(payloads, start=1))
    (folder / f"{1:020}.log").write_bytes(records)


def legacy_frame(received_at_ns: int, body: bytes) -> bytes:
    """What a legacy log kept of a request."""
    return struct.pack("<q", received_at_ns) + body


def legacy_record(position: int, payload: bytes) -> bytes:
    """A record as it stands in a legacy log."""
    escaped = payload.replace(b"\xffLW", b"\xffLW\x00")
    checked = struct.pack("<4sIQ", b"\xffLW\x01", len(escaped), position)
    return checked + struct.pack("<I", zlib.crc32(escaped, zlib.crc32(checked))) + escaped


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the bytes of a file by what `change` makes of them."""
    path.write_bytes(change(path.read_bytes()))
