"""What stays known of accepted records when the log lets go of them.

Each entry of the log says what it newly accepted. Before entries are released, that is copied to a journal, a
small log of its own, one record per flush; and now and then the ledger is written as a whole, so that the
journal stays short.
"""

import logging
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from lapwing_collector.dedup import Admission, Ledger
from lapwing_collector.dedup.ledger import RECORD_CAPACITY, RECORD_WINDOW_NS
from lapwing_collector.errors import DataDirectoryError, UnavailableError
from lapwing_collector.wal import Log

logger = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<Bqq")
"""Version, position in the log that is covered, when the newest of the requests came."""
_VERSION: Final = 1
_COVERED: Final = struct.Struct("<q")
_SEGMENT_BYTES: Final = 4 << 20
_JOURNAL_BYTES: Final = 16 << 20
"""How much may be journaled before the ledger is written as a whole, unless that is larger itself."""


@dataclass(frozen=True, slots=True)
class _Journaled:
    """A record of the journal whose hashes of records may still be needed."""

    position: int
    at_ns: int
    records: int


class Memory:
    """The ledger, and how it survives restarts.

    Attributes:
        ledger: What was accepted.
        covers: Up to this position of the log, what entries accepted is kept without them.
    """

    def __init__(self, log: Log, journal: Log) -> None:
        """Read what was kept; use `Memory.open`."""
        self.ledger = Ledger()
        self.covers = 0
        self._log = log
        self._journal = journal
        self._unsettled: deque[tuple[int, int, Admission]] = deque()
        self._lock = threading.Lock()
        self._kept: deque[_Journaled] = deque()
        self._newest_ns = 0
        self._snapshot_at = 0
        self._snapshot_bytes = 0
        self._journaled_bytes = 0
        self._read()

    @classmethod
    def open(cls, log: Log, folder: Path, *, sync: Callable[[int], None]) -> Self:
        """Read what was kept in `folder`.

        Args:
            log: Where entries stand until they are settled.
            folder: Made if it is not there.
            sync: Makes the bytes of an open file durable.

        Raises:
            DataDirectoryError: It cannot be used, or a later Lapwing wrote it.
        """
        # What makes room on a full disk must be able to use the last of it.
        journal = Log.open(folder, segment_bytes=_SEGMENT_BYTES, usage=None, sync=sync)
        try:
            return cls(log, journal)
        except BaseException:
            journal.close()
            raise

    def add(self, position: int, at_ns: int, admission: Admission) -> None:
        """Note what the durable entry at `position`, later than all before, newly accepted."""
        with self._lock:
            self._unsettled.append((position, at_ns, admission))

    def settle(self, position: int) -> None:
        """Let the log go of entries up to `position`, which the lake covers; if anything fails, later.

        The lake has the rows: what fails here is told, and is no reason to write them again. Only one thread
        may call this.
        """
        with self._lock:
            done = [each for each in self._unsettled if each[0] <= position]
        try:
            if done:
                self._write(done)
                with self._lock:
                    for _ in done:
                        self._unsettled.popleft()
            self._log.release(position)
            self._shorten()
        except UnavailableError as error:
            logger.warning("what was accepted cannot be noted: %s", error, extra={"action": "journal_failed"})
        except Exception:
            logger.exception(
                "what was accepted cannot be noted; nothing is lost, the next flush tries again",
                extra={"action": "journal_failed"},
            )

    def close(self) -> None:
        """Stop writing."""
        self._journal.close()

    def _write(self, done: list[tuple[int, int, Admission]]) -> None:
        newest_ns = max(at_ns for _, at_ns, _ in done)
        admission = Admission.union(each for _, _, each in done)
        position = done[-1][0]
        data = _HEAD.pack(_VERSION, position, newest_ns) + admission.encode()
        journaled = self._journal.append(data, ()).result()
        self.covers = position
        self._note(journaled, newest_ns, len(admission.records))
        self._journaled_bytes += len(data)

    def _note(self, journaled: int, newest_ns: int, records: int) -> None:
        self._newest_ns = max(self._newest_ns, newest_ns)
        if records:
            self._kept.append(_Journaled(journaled, newest_ns, records))

    def _shorten(self) -> None:
        """Write the ledger as a whole when it is time, and delete what is not needed of the journal."""
        last = self._journal.last_position
        if self._journaled_bytes > max(_JOURNAL_BYTES, self._snapshot_bytes):
            snapshot = self.ledger.snapshot()
            self._journal.write_checkpoint(last, _COVERED.pack(self.covers) + snapshot)
            self._snapshot_at, self._snapshot_bytes, self._journaled_bytes = last, len(snapshot), 0
        later = sum(each.records for each in self._kept)
        while self._kept:
            later -= self._kept[0].records
            too_old = self._kept[0].at_ns < self._newest_ns - RECORD_WINDOW_NS
            if not too_old and later < RECORD_CAPACITY:
                break
            self._kept.popleft()
        needed = self._kept[0].position - 1 if self._kept else last
        self._journal.release(min(needed, self._snapshot_at))

    def _read(self) -> None:
        kept = self._journal.read_checkpoint()
        if kept is not None:
            self._snapshot_at, data = kept
            (self.covers,) = _COVERED.unpack_from(data)
            self.ledger = Ledger.restore(data[_COVERED.size :])
            self._snapshot_bytes = len(data)
        else:
            self._read_legacy()
        for entry in self._journal.replay(after=0):
            version, covers, newest_ns = _HEAD.unpack_from(entry.head)
            if version != _VERSION:
                raise DataDirectoryError(
                    f"the journal of accepted records is of version {version}, and this Lapwing reads "
                    f"{_VERSION}; start the version of Lapwing that wrote it, nothing was changed"
                )
            admission, _ = Admission.decode(entry.head, _HEAD.size)
            if entry.position <= self._snapshot_at:
                admission = Admission(records=admission.records)
            self.ledger.add(admission, newest_ns)
            self.covers = max(self.covers, covers)
            self._note(entry.position, newest_ns, len(admission.records))
            self._journaled_bytes += len(entry.head)

    def _read_legacy(self) -> None:
        """Take over the checkpoint that Lapwing once wrote at each flush."""
        checkpoint = self._log.read_checkpoint()
        if checkpoint is None:
            return
        self.ledger = Ledger.restore_legacy(checkpoint[1], 0)
        self.covers = checkpoint[0]
        self._journal.write_checkpoint(0, _COVERED.pack(self.covers) + self.ledger.snapshot())
        self._log.drop_checkpoint()
