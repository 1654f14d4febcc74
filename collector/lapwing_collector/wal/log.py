"""The log: appends become durable together, one sync for all that wait (group commit)."""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lapwing_collector.errors import DataDirectoryError, UnavailableError
from lapwing_collector.folders import make_folder
from lapwing_collector.wal import legacy
from lapwing_collector.wal.durable import sync_data, write_durably
from lapwing_collector.wal.record import Entry, Record, scan
from lapwing_collector.wal.segments import Damage, Segments, Usage

_LOGGER: Final = logging.getLogger(__name__)
_CHECKPOINT: Final = "checkpoint"
_CHECKPOINT_SEAL: Final = 0
_HIGHEST: Final = 2**63 - 1
_PROBE_S: Final = 1.0
"""How often a disk that failed is tried when no request does."""


class LogClosedError(UnavailableError):
    """The log is closed; the process is shutting down."""


@dataclass(frozen=True, slots=True)
class _Append:
    record: Record
    future: Future[int] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Task:
    run: Callable[[], None]
    future: Future[None] = field(default_factory=Future)

    def perform(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001  # it belongs to whoever waits for the future
            self.future.set_exception(error)
        else:
            self.future.set_result(None)


class Log:
    """The durable log in one folder, written by one thread of its own.

    Positions count the appends from 1 and never repeat in the life of the folder, also after everything
    was released and the process restarted. They have gaps: the position of an append that failed is not
    given out again, and neither are those that a damaged end of the log may have held.

    An append that failed is not in the log once a later one is durable. If none is, it may still come back
    in a replay by the next process, as a request that was answered with an error may be stored all the same.

    Every method may be called from any thread.
    """

    def __init__(self, segments: Segments, folder: Path) -> None:
        """Start the writer thread; use `Log.open`."""
        self._segments = segments
        self._folder = folder
        self._last_position = self._durable_position = self._settled_position = segments.durable
        self._waiting_bytes = 0
        self._problem: str | None = None
        self._queue: deque[_Append | _Task] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write_until_closed, name="lapwing-wal", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        segment_bytes: int = 32 * 1024 * 1024,
        after: int = 0,
        sync: Callable[[int], None] = sync_data,
        usage: Callable[[Path], Usage] | None = shutil.disk_usage,
    ) -> Self:
        """Open the log in `folder`, which is made if it is not there.

        Args:
            folder: No other process has it open.
            segment_bytes: Size of the files that the log is kept in, and deleted by.
            after: A position that is known to be taken (what the lake covers), in case files were lost.
            sync: Makes the bytes of an open file durable.
            usage: Tells how full the file system is that a folder is on; None to use the last of it, too.

        Raises:
            DataDirectoryError: The folder cannot be used.
        """
        try:
            make_folder(folder)
            for unfinished in folder.glob("*.tmp"):
                unfinished.unlink()
            segments = Segments(folder, segment_bytes, sync, usage)
            segments.durable = max(after, segments.durable)
            return cls(segments, folder)
        except OSError as error:
            raise DataDirectoryError(
                f"{folder}: the log cannot be kept here: {error.strerror}; "
                "check that the folder belongs to the user who runs Lapwing, or choose another with --data"
            ) from error

    @property
    def last_position(self) -> int:
        """The newest position given out."""
        return self._last_position

    @property
    def durable_position(self) -> int:
        """Up to here every append that did not fail is on the disk."""
        return self._durable_position

    @property
    def bytes_held(self) -> int:
        """Size of the log's files."""
        return self._segments.bytes_held

    @property
    def damage(self) -> list[Damage]:
        """What reading came across so far that should be records and is not."""
        return list(self._segments.damage)

    @property
    def waiting_bytes(self) -> int:
        """Size of the appends that are not settled yet."""
        return self._waiting_bytes

    @property
    def problem(self) -> str | None:
        """Why nothing can be appended at present, for a person; None while the log is written."""
        return self._problem

    def append(self, head: bytes, body: Sequence[bytes]) -> Future[int]:
        """Add an entry of a head and a body in parts; the future has its position once it is durable.

        The future cannot be cancelled, and fails with UnavailableError where the disk does. Futures are
        settled in the order of their positions.

        Raises:
            LogClosedError: The log is closed.
        """
        with self._changed:
            self._refuse_if_closed()
            self._last_position += 1
            item = _Append(Record(self._last_position, head, body))
            self._waiting_bytes += item.record.size
            self._enqueue(item)
        return item.future

    def barrier(self) -> Future[None]:
        """Wait until the appends so far are settled, their futures' callbacks included: durable, or failed.

        Raises:
            LogClosedError: The log is closed.
        """
        return self._submit(lambda: None)

    def release(self, through: int, *, wipe: bool = False) -> Future[None]:
        """Give up what is at or before position `through`; the future is resolved when files are deleted.

        A file goes as a whole, once nothing in it is needed. The newest stays while it is small, unless
        `wipe` asks that nothing of what was given up is left on the disk.

        Raises:
            LogClosedError: The log is closed.
        """
        return self._submit(lambda: self._segments.release(through, self._settled_position + 1, wipe=wipe))

    def replay(self, after: int, *, through: int | None = None, unread: int = -1) -> Iterator[Entry]:
        """Read what is durable now and has a position after `after`, in order; later appends are not met.

        Damaged records are left out and told by `damage`.

        Args:
            after: Where to begin.
            through: The last position to read; None for all.
            unread: Of records up to this position only the heads are checked and given.
        """
        through = self._durable_position if through is None else min(through, self._durable_position)
        parts = self._segments.between(after, through)
        return (
            found
            for segment, lowest, highest in parts
            for found in self._segments.read(segment, lowest, highest, unread)
            if isinstance(found, Entry) and found.position > after
        )

    def write_checkpoint(self, position: int, data: bytes) -> None:
        """Keep `data`, what is to be remembered of the records up to `position`, in place of the last one.

        Raises:
            UnavailableError: It could not be made durable; the last one still holds.
        """
        try:
            write_durably(
                self._folder / _CHECKPOINT, b"".join(Record(position, b"", [data]).encode(_CHECKPOINT_SEAL))
            )
        except OSError as error:
            raise UnavailableError(
                f"{self._folder}: the checkpoint cannot be written: {error.strerror}"
            ) from error

    def read_checkpoint(self) -> tuple[int, bytes] | None:
        """The last checkpoint's position and data; None if there is none, or it is broken (see `damage`)."""
        path = self._folder / _CHECKPOINT
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._segments.report(path, 0, f"cannot be read: {error.strerror}")
            return None
        for read in (scan(data, _CHECKPOINT_SEAL, 0, _HIGHEST), legacy.scan(data, 0, _HIGHEST)):
            match list(read):
                case [Entry() as entry]:
                    return entry.position, bytes(entry.body)
        self._segments.report(path, 0, "is not a whole checkpoint")
        return None

    def drop_checkpoint(self) -> None:
        """Delete the checkpoint."""
        (self._folder / _CHECKPOINT).unlink(missing_ok=True)

    def close(self) -> None:
        """Write what is queued, then stop; further calls do nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._writer.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LogClosedError(f"{self._folder}: the log is closed; the collector is shutting down")

    def _enqueue(self, item: _Append | _Task) -> None:
        item.future.set_running_or_notify_cancel()
        self._queue.append(item)
        self._changed.notify()

    def _submit(self, run: Callable[[], None]) -> Future[None]:
        task = _Task(run)
        with self._changed:
            self._refuse_if_closed()
            self._enqueue(task)
        return task.future

    def _write_until_closed(self) -> None:
        while work := self._next_work():
            if isinstance(work, _Task):
                work.perform()
            else:
                self._write(work)
        self._segments.seal()

    def _next_work(self) -> _Task | list[_Append] | None:
        """The next task, or the next appends as far as they fit one segment; None when closed and drained.

        While the disk fails and nobody asks for anything, looking whether it works again is a task.
        """
        with self._changed:
            patience_s = _PROBE_S if self._problem else None
            if not self._changed.wait_for(lambda: self._queue or self._closed, patience_s):
                return _Task(self._probe)
            if not self._queue:
                return None
            first = self._queue.popleft()
            if isinstance(first, _Task):
                return first
            group = [first]
            room = self._segments.room_with(first.record.size) - first.record.size
            while self._queue and isinstance(item := self._queue[0], _Append) and item.record.size <= room:
                room -= item.record.size
                group.append(item)
                self._queue.popleft()
            return group

    def _write(self, group: list[_Append]) -> None:
        try:
            self._segments.append([item.record for item in group])
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must be told
            self._settle(group)
            self._note(str(error))
            for item in group:
                item.future.set_exception(
                    UnavailableError(f"{self._folder}: the log cannot be written: {error}")
                )
        else:
            self._durable_position = self._settle(group)
            self._note(None)
            for item in group:
                item.future.set_result(item.record.position)

    def _settle(self, group: list[_Append]) -> int:
        with self._changed:
            self._waiting_bytes -= sum(item.record.size for item in group)
        self._settled_position = group[-1].record.position
        return self._settled_position

    def _probe(self) -> None:
        try:
            self._segments.probe(self._settled_position + 1)
        except OSError as error:
            self._note(str(error))
        else:
            self._note(None)

    def _note(self, problem: str | None) -> None:
        """Tell people when writing begins to fail, and when it works again."""
        if problem and not self._problem:
            _LOGGER.error(
                "%s: the log cannot be written: %s", self._folder, problem, extra={"action": "log_failed"}
            )
        elif self._problem and not problem:
            _LOGGER.warning("%s: the log is written again", self._folder, extra={"action": "log_recovered"})
        self._problem = problem
