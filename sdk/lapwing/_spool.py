"""Requests on disk that wait for the collector: a folder of files, one request each, the oldest first.

Many processes may share the folder. Each has a sub-folder of its own, named by its process id, and holds a
lock on the file `lock` in it as long as it lives, however it ends. What a former process left is adopted
together with its lock, so that no two processes send the same file:

    <folder>/<process id>/lock
    <folder>/<process id>/<nanoseconds since the epoch>-<records>-<CRC-32>.otlp
    <folder>/<name>.bad                                    could not be read back

A file is written under another name, synced and renamed, and then its folder is synced. It holds the bytes of
an OTLP `ExportLogsServiceRequest`, as they are sent.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Final
from zlib import crc32

try:
    import fcntl
except ImportError:  # Windows has no locks that end with their process in the same way
    fcntl = None  # type: ignore[assignment]

SUPPORTED: Final = fcntl is not None
"""Whether this system has the locks that a spool needs."""

_SUFFIX: Final = ".otlp"
_HALF_WRITTEN: Final = ".part"
_LOCK: Final = "lock"
_BLOCK_BYTES: Final = 4096
_MEASURE_EVERY_NS: Final = 5_000_000_000

_locks: Final[set[int]] = set()
"""Descriptors of all locks that this process holds; a forked child inherits them."""


class Full(Exception):  # noqa: N818  # as queue.Full
    """The folder has no room for a request."""


@dataclass(frozen=True, order=True, slots=True)
class Waiting:
    """A request on disk; the order is that of time.

    Attributes:
        name: Of its file; starts with the time.
        folder: The sub-folder that it is in.
    """

    name: str
    folder: Path

    @property
    def records(self) -> int:
        """How many records the request has."""
        return int(self.name.split("-")[1])

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / self.name


class Spool:
    """The requests that this process is to send. Not for use by two threads at a time."""

    def __init__(self, root: Path, process_id: str, limit_bytes: int) -> None:
        """Make a sub-folder for this process, and adopt those of processes that are no more.

        Args:
            root: The folder that processes share.
            process_id: Name of this process, as no other has it.
            limit_bytes: Bytes that all files of the folder may take.

        Raises:
            OSError: The folder cannot be made, or written to.
        """
        self._root: Final = root
        self._own: Final = root / process_id
        self._limit: Final = limit_bytes
        self._waiting: list[Waiting] = []
        self._passed: list[Waiting] = []
        self._adopted: dict[Path, int] = {}
        self._last_ns = self._used = 0
        self._measured_ns: int | None = None
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int = self._make_own()
        self._adopt()

    def __len__(self) -> int:
        """Count the requests that wait."""
        return len(self._waiting) + len(self._passed)

    def add(self, request: bytes, records: int, now_ns: int) -> None:
        """Write a request behind all others; when this returns it survives a loss of power.

        Args:
            request: Its bytes.
            records: How many records it has.
            now_ns: Nanoseconds since the epoch.

        Raises:
            Full: There is no room.
            OSError: It could not be written.
        """
        size = _on_disk(len(request))
        if self._measured_ns is None or abs(now_ns - self._measured_ns) >= _MEASURE_EVERY_NS:
            self._measured_ns, self._used = now_ns, _measure(self._root)
        if self._used + size > self._limit:
            raise Full(f"{self._root} holds {self._used} of {self._limit} bytes")
        self._last_ns = max(now_ns, self._last_ns + 1)  # in order even where the clock goes back
        name = f"{self._last_ns:020d}-{records}-{crc32(request):08x}{_SUFFIX}"
        _write(self._own / name, request)
        self._used += size
        heappush(self._waiting, Waiting(name, self._own))

    def oldest(self) -> Waiting:
        """Give the request that is next, which stays."""
        return self._waiting[0]

    def is_own(self, waiting: Waiting) -> bool:
        """Tell whether a request is of this process, not of a former one."""
        return waiting.folder == self._own

    def read(self) -> bytes | None:
        """Read the oldest request; None where its file is gone or damaged, and must be set aside.

        Raises:
            OSError: It cannot be read now, which does not say that it is lost.
            MemoryError: There is no room for it now.
        """
        waiting = self.oldest()
        try:
            request = waiting.path.read_bytes()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EIO):  # it was deleted, or the medium has lost it
                return None
            raise
        return request if waiting.name.endswith(f"-{crc32(request):08x}{_SUFFIX}") else None

    def pass_over(self) -> bool:
        """Come back to the oldest request behind all others; False where there are none."""
        self._passed.append(heappop(self._waiting))
        others_wait = bool(self._waiting)
        self._move_on()
        return others_wait

    def remove(self) -> None:
        """Forget the oldest request and delete its file.

        Raises:
            OSError: It could not be deleted; the next process sends it again.
        """
        waiting = heappop(self._waiting)
        try:
            size = waiting.path.stat().st_size
            waiting.path.unlink()
            self._used -= _on_disk(size)
        finally:
            self._move_on()

    def set_aside(self) -> Path:
        """Forget the oldest request and keep its file as `*.bad`; returns where.

        Raises:
            OSError: It could not be moved.
        """
        waiting = heappop(self._waiting)
        try:
            return waiting.path.rename(self._root / f"{waiting.name}.bad")
        finally:
            self._move_on()

    def close(self) -> None:
        """Let go of all sub-folders; what is left in them is for the next process."""
        self._waiting.clear()
        self._passed.clear()
        self._move_on()
        _release(self._own, self._lock)

    def _make_own(self) -> int:
        """Make this process's sub-folder, which other processes see only once it is locked."""
        hidden = self._root / f".{self._own.name}"
        hidden.mkdir(mode=0o700)
        lock = _try_lock(hidden)
        if lock is None:
            raise BlockingIOError(f"{hidden} is locked, although it was made just now")
        hidden.rename(self._own)
        _sync(self._root)
        return lock

    def _adopt(self) -> None:
        """Take over the sub-folders whose processes are no more."""
        for folder in _folders(self._root):
            lock = None if folder == self._own else _try_lock(folder)
            if lock is not None:
                self._adopted[folder] = lock
                self._waiting += _find(folder)
        heapify(self._waiting)
        self._move_on()

    def _move_on(self) -> None:
        """Come back to what was passed over, or let go of what former processes left if nothing waits."""
        if not self._waiting:
            self._waiting, self._passed = self._passed, []
            heapify(self._waiting)
        if not self._waiting:
            for folder, lock in self._adopted.items():
                _release(folder, lock)
            self._adopted.clear()


def has_leftovers(root: Path) -> bool:
    """Tell whether the folder has sub-folders, of processes that live or left something."""
    return any(_folders(root))


def _folders(root: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield root / entry.name


def _find(folder: Path) -> Iterator[Waiting]:
    """Find the requests in an adopted sub-folder, and delete those that were never written to their end."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            parts = path.stem.split("-")
            if path.suffix == _SUFFIX and len(parts) == 3 and parts[0].isdecimal() and parts[1].isdecimal():
                yield Waiting(path.name, folder)
            elif path.suffix == _HALF_WRITTEN:
                path.unlink()


def _on_disk(size: int) -> int:
    """Round a file's size up to what a file system allots, which also bounds the number of small files."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _measure(root: Path) -> int:
    """Add up the sizes of all files, those of other processes included."""
    used = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):  # another process deletes its own
                used += _on_disk(os.stat(os.path.join(folder, name)).st_size)  # noqa: PTH116, PTH118  # many
    return used


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(_HALF_WRITTEN)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  # private from its first moment
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        part.rename(path)
        _sync(path.parent)
    except OSError:
        for leftover in (part, path):  # counted as dropped: it must not be sent
            with suppress(OSError):
                leftover.unlink()
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(folder: Path) -> int | None:
    """Lock a sub-folder; returns the lock's descriptor, None where another process has it."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    _locks.add(descriptor)
    return descriptor


def _release(folder: Path, lock: int) -> None:
    """Delete a sub-folder if it is empty, and let go of it; not in the child of a fork, whose it is not."""
    if lock not in _locks:
        return
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()
    _locks.remove(lock)
    os.close(lock)


def _forget_locks() -> None:
    """In the child of a fork, close the parent's locks; they are the parent's until it ends, too."""
    for lock in _locks:
        with suppress(OSError):
            os.close(lock)
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)
