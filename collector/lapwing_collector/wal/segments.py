"""The files of the log: segments, each named by the position of the first record that it may hold."""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from lapwing_collector.wal.durable import sync_folder, write_all
from lapwing_collector.wal.record import Entry, Gap, scan

_LOGGER: Final = logging.getLogger(__name__)
_SUFFIX: Final = ".log"
_DIGITS: Final = 20
"""Enough for 64 bits, so that names sort as positions do."""
_RESERVE_SHARE: Final = 0.05
_RESERVE_BYTES: Final = 256 * 1024 * 1024
_QUARANTINE: Final = "quarantine"


class Usage(Protocol):
    """How full a file system is, in bytes; what `shutil.disk_usage` answers."""

    @property
    def total(self) -> int:
        """Its size."""
        ...

    @property
    def free(self) -> int:
        """What can still be written."""
        ...


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that should be records and are not.

    Attributes:
        file: The file they are in; a copy is in the folder `quarantine` beside it.
        offset: Where they begin.
        what: What was found, for a person.
    """

    file: Path
    offset: int
    what: str


@dataclass(slots=True)
class Segment:
    """One file of the log.

    Attributes:
        path: Where it is.
        first: Position of the first record it may hold.
        size: Bytes of it that count: durable, or there when the log was opened.
    """

    path: Path
    first: int
    size: int


class Segments:
    """The segments of one folder. Only the newest is written to, and only by one thread.

    A file that an earlier process left is never appended to, nor is one whose write or sync failed:
    what the medium holds of it is no longer known. The newest file is never deleted, because its name
    remembers which positions are taken.

    Attributes:
        damage: What reading came across so far.
    """

    def __init__(
        self,
        folder: Path,
        segment_bytes: int,
        sync: Callable[[int], None],
        usage: Callable[[Path], Usage],
    ) -> None:
        """Find the segments in `folder`.

        Args:
            folder: It exists.
            segment_bytes: A segment takes no more records once it would grow beyond this size.
            sync: Makes the bytes of an open file durable.
            usage: Tells how full the file system is that a folder is on.
        """
        self.damage: list[Damage] = []
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._usage = usage
        self._fd: int | None = None
        self._all = [
            Segment(path, int(path.stem), path.stat().st_size)
            for path in sorted(folder.glob("[0-9]" * _DIGITS + _SUFFIX))
        ]

    @property
    def bytes_held(self) -> int:
        """Size of all segments together."""
        return sum(segment.size for segment in tuple(self._all))

    def room_with(self, size: int) -> int:
        """Bytes that fit in the segment that a record of `size` would go to: the open one, else a new one."""
        left = 0 if self._fd is None else self._segment_bytes - self._all[-1].size
        return left if size <= left else self._segment_bytes

    def last_position(self) -> int:
        """The highest position that a record in these files has, or may have had before it was damaged."""
        if not self._all:
            return 0
        newest = self._all[-1]
        last = newest.first - 1
        for found in self.read(newest, newest.first, 2**63 - 1):
            last = found.position if isinstance(found, Entry) else last + found.most_records
        return last

    def append(self, first: int, data: bytes) -> None:
        """Make `data`, whole records from position `first` on, durable.

        Raises:
            OSError: It is not; the segment is given up, and the next append starts a new one.
        """
        self._keep_reserve(len(data))
        fd = self._fd
        if fd is None or len(data) > self._segment_bytes - self._all[-1].size:
            fd = self._start(first)
        try:
            write_all(fd, data)
            self._sync(fd)
        except BaseException:
            self._give_up()
            raise
        self._all[-1].size += len(data)

    def release(self, through: int, next_position: int) -> None:
        """Delete the segments that hold no position after `through`, where `next_position` comes next.

        Raises:
            OSError: A file could not be deleted, or a new one not be made.
        """
        newest = self._all[-1] if self._all else None
        if newest and next_position - 1 <= through and newest.size > self._segment_bytes // 64:
            self._start(next_position)
        while len(self._all) > 1 and self._all[1].first - 1 <= through:
            self._all[0].path.unlink(missing_ok=True)
            del self._all[0]

    def seal(self) -> None:
        """Close the open segment; nothing is added to it any more."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def between(self, after: int, through: int) -> list[tuple[Segment, int, int]]:
        """The segments that may hold positions after `after`, up to `through`, as they are now.

        Returns:
            Copies, so that reading never meets what is being written, with their lowest and highest position.
        """
        held = [Segment(each.path, each.first, each.size) for each in tuple(self._all)]
        if not held:
            return []
        ends = [following.first - 1 for following in held[1:]] + [through]
        return [
            (segment, segment.first, min(end, through))
            for segment, end in zip(held, ends, strict=True)
            if end > after and segment.first <= through
        ]

    def read(self, segment: Segment, lowest: int, highest: int) -> Iterator[Entry | Gap]:
        """Read what `segment` holds; what is damaged is noted, and its file copied to quarantine."""
        try:
            with segment.path.open("rb") as file:
                data = file.read(segment.size)
        except OSError as error:
            self.report(segment.path, 0, f"cannot be read: {error.strerror}")
            yield Gap(0, segment.size)
            return
        for found in scan(data, lowest, highest):
            if isinstance(found, Gap):
                where = "at the end " if found.end == len(data) else ""
                self.report(
                    segment.path,
                    found.start,
                    f"{found.end - found.start} bytes {where}are not a whole record",
                )
            yield found

    def report(self, file: Path, offset: int, what: str) -> None:
        """Note damage once, keep a copy of the file, and say so."""
        damage = Damage(file, offset, what)
        if damage in self.damage:
            return
        self.damage.append(damage)
        copy = file.parent / _QUARANTINE / file.name
        _LOGGER.warning(
            "%s: at byte %d: %s; a copy is kept as %s",
            file,
            offset,
            what,
            copy,
            extra={"action": "log_damaged"},
        )
        try:
            copy.parent.mkdir(exist_ok=True)
            if not copy.exists():
                shutil.copyfile(file, copy)
        except OSError as error:
            _LOGGER.warning("%s: cannot be copied to quarantine: %s", file, error.strerror)

    def _start(self, first: int) -> int:
        self.seal()
        path = self._folder / f"{first:0{_DIGITS}}{_SUFFIX}"
        fd = self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if not self._all or self._all[-1].path != path:
            self._all.append(Segment(path, first, 0))
        try:
            sync_folder(self._folder)
        except BaseException:
            self._give_up()
            raise
        return fd

    def _give_up(self) -> None:
        """Take back what was written since the last sync, and never write or sync that file again."""
        newest = self._all[-1]
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, newest.size)
        self.seal()
        if newest.size == 0 and len(self._all) > 1:
            del self._all[-1]
            with contextlib.suppress(OSError):
                newest.path.unlink()

    def _keep_reserve(self, size: int) -> None:
        """Refuse to fill the disk: what the lake writes before it releases the log needs room too."""
        usage = self._usage(self._folder)
        reserve = min(int(usage.total * _RESERVE_SHARE), _RESERVE_BYTES)
        if usage.free - size < reserve:
            raise OSError(
                errno.ENOSPC, f"{usage.free} bytes are free, of which {reserve} are kept for the lake"
            )
