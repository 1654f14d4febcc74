"""The files of the log: segments, whose names say what their records follow on and how these are sealed."""

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from lapwing_collector import crashpoints
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.folders import sync_folder
from lapwing_collector.wal import legacy
from lapwing_collector.wal.durable import write_all
from lapwing_collector.wal.record import Entry, Gap, Record, scan

_LOGGER: Final = logging.getLogger(__name__)
_NAME: Final = re.compile(r"(?P<first>\d{20})(-(?P<after>\d{20})-(?P<seal>[0-9a-f]{8})\.2)?\.log", re.ASCII)
"""Enough digits for 64 bits, so that names sort as positions do."""
_HIGHEST: Final = 2**63 - 1
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
        after: Position of the last durable record when it was begun. Positions between these two failed, and
            what an earlier file may still hold of them does not count.
        seal: What its records are sealed with.
        legacy: Whether it is from before there were seals.
        size: Bytes of it that count: durable, or there when the log was opened.
    """

    path: Path
    first: int
    after: int
    seal: int
    legacy: bool
    size: int

    @classmethod
    def found(cls, path: Path) -> "Segment":
        """The segment that an earlier process left as `path`.

        Raises:
            DataDirectoryError: Its name is not one that this Lapwing gives.
        """
        name = _NAME.fullmatch(path.name)
        if name is None:
            raise DataDirectoryError(
                f"{path}: this file of the log is of no version that this Lapwing reads; "
                "start the version of Lapwing that wrote it, nothing was changed"
            )
        first, after, seal = name["first"], name["after"], name["seal"]
        size = path.stat().st_size
        if seal is None:
            return cls(path, int(first), int(first) - 1, 0, True, size)
        return cls(path, int(first), int(after), int(seal, 16), False, size)

    def scan(self, data: bytes, lowest: int, highest: int, unread: int) -> Iterator[Entry | Gap]:
        """Find the records in its bytes."""
        if self.legacy:
            return legacy.scan(data, lowest, highest)
        return scan(data, self.seal, lowest, highest, unread)


class Segments:
    """The segments of one folder. Only the newest is written to, and only by one thread.

    A file that an earlier process left is never appended to, nor is one whose write or sync failed:
    what the medium holds of it is no longer known. The newest file is never deleted, because its name
    remembers which positions are taken.

    Attributes:
        damage: What reading came across so far.
        durable: Position of the last record that is durable, or was there when the log was opened.
    """

    def __init__(
        self,
        folder: Path,
        segment_bytes: int,
        sync: Callable[[int], None],
        usage: Callable[[Path], Usage] | None,
    ) -> None:
        """Find the segments in `folder`, and make sure that they are on the medium.

        An earlier process may have died between writing and syncing. What is read back, and then counts as
        known, must not be lost by the next power cut.

        Args:
            folder: It exists.
            segment_bytes: A segment takes no more records once it would grow beyond this size.
            sync: Makes the bytes of an open file durable.
            usage: Tells how full the file system is that a folder is on; None to use the last of it, too.

        Raises:
            OSError: They are not.
            DataDirectoryError: A file is of a version that is not known here.
        """
        self.damage: list[Damage] = []
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._usage = usage
        self._fd: int | None = None
        found = [Segment.found(path) for path in folder.glob("*.log")]
        # Of several that begin at the same position only the last was ever written to.
        self._all = sorted(found, key=lambda segment: (segment.first, segment.size))
        for segment in self._all:
            _sync_file(segment.path, sync)
        self.durable = self._last_position()

    @property
    def bytes_held(self) -> int:
        """Size of all segments together."""
        return sum(segment.size for segment in tuple(self._all))

    def room_with(self, size: int) -> int:
        """Bytes that fit in the segment that a record of `size` would go to: the open one, else a new one."""
        left = 0 if self._fd is None else self._segment_bytes - self._all[-1].size
        return left if size <= left else self._segment_bytes

    def append(self, records: Sequence[Record]) -> None:
        """Make `records`, which are not more than `room_with` says, durable.

        Raises:
            OSError: They are not; the segment is given up, and the next append starts a new one.
        """
        size = sum(record.size for record in records)
        self._keep_reserve(size)
        fd = self._fd
        if fd is None or size > self._segment_bytes - self._all[-1].size:
            fd = self._start(records[0].position)
        newest = self._all[-1]
        parts = [part for record in records for part in record.encode(newest.seal)]
        try:
            crashpoints.reach("wal.before_write")
            write_all(fd, parts)
            crashpoints.reach("wal.before_sync")
            self._sync(fd)
            crashpoints.reach("wal.after_sync")
        except BaseException:
            self._give_up()
            raise
        newest.size += size
        self.durable = records[-1].position

    def probe(self, next_position: int) -> None:
        """Find out whether the disk takes records again, after it did not.

        Raises:
            OSError: It does not.
        """
        self._keep_reserve(0)
        fd = self._start(next_position)
        try:
            self._sync(fd)
        except BaseException:
            self._give_up()
            raise

    def release(self, through: int, next_position: int, *, wipe: bool = False) -> None:
        """Delete the segments that hold no position after `through`, where `next_position` comes next.

        With `wipe` not even a small newest segment is kept for further records.

        Raises:
            OSError: A file could not be deleted, or a new one not be made.
        """
        newest = self._all[-1] if self._all else None
        keep_bytes = 0 if wipe else self._segment_bytes // 64
        if newest and next_position - 1 <= through and newest.size > keep_bytes:
            self._start(next_position)
        while len(self._all) > 1 and self._all[1].first - 1 <= through:
            crashpoints.reach("wal.before_release")
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
        parts = []
        highest = through
        for segment in reversed(tuple(self._all)):
            if highest > after and segment.first <= highest:
                parts.append((replace(segment), segment.first, highest))
            highest = min(highest, segment.after)
        return parts[::-1]

    def read(self, segment: Segment, lowest: int, highest: int, unread: int = -1) -> Iterator[Entry | Gap]:
        """Read what `segment` holds; what is damaged is noted, and its file copied to quarantine.

        Args:
            segment: One of `between`.
            lowest: Positions below are not believed.
            highest: Nor are those above.
            unread: Bodies of records up to this position are neither checked nor given.
        """
        try:
            with segment.path.open("rb") as file:
                data = file.read(segment.size)
        except OSError as error:
            self.report(segment.path, 0, f"cannot be read: {error.strerror}")
            yield Gap(0, segment.size)
            return
        for found in segment.scan(data, lowest, _HIGHEST, unread):
            if isinstance(found, Gap):
                where = "at the end " if found.end == len(data) else ""
                self.report(
                    segment.path,
                    found.start,
                    f"{found.end - found.start} bytes {where}are not a whole record",
                )
            elif found.position > highest:
                return
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

    def _last_position(self) -> int:
        """The highest position that a record in these files has, or may have had before it was damaged."""
        if not self._all:
            return 0
        newest = self._all[-1]
        last = newest.first - 1
        for found in self.read(newest, newest.first, _HIGHEST):
            last = found.position if isinstance(found, Entry) else last + found.most_records
        return last

    def _start(self, first: int) -> int:
        self.seal()
        seal = secrets.randbits(32)
        path = self._folder / f"{first:020}-{self.durable:020}-{seal:08x}.2.log"
        fd = self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._all.append(Segment(path, first, self.durable, seal, False, 0))
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
        if self._usage is None:
            return
        usage = self._usage(self._folder)
        reserve = min(int(usage.total * _RESERVE_SHARE), _RESERVE_BYTES)
        if usage.free - size < reserve:
            raise OSError(
                errno.ENOSPC, f"{usage.free} bytes are free, of which {reserve} are kept for the lake"
            )


def _sync_file(path: Path, sync: Callable[[int], None]) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)
