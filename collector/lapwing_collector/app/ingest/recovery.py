"""After a start: what the log says was accepted is known at once; its rows are read back behind.

A restart reads the heads of the log's entries, and can then tell repeats from new records: requests are
accepted and acknowledged. The rows of entries that the lake does not have are decoded meanwhile. Until that
is done, new entries are left in the log, too: the writer gets all in their order, and memory stays bounded.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import Requests, row_count, split_new
from lapwing_collector.app.ingest.pending import LogEntry, Pending
from lapwing_collector.app.ingest.remembering import Memory
from lapwing_collector.clock import utc_datetime
from lapwing_collector.dedup import Admission, Replaying
from lapwing_collector.errors import DecodeError
from lapwing_collector.folders import make_folder
from lapwing_collector.model.records import DecodedGroup, Outcome
from lapwing_collector.wal import Entry, Log, write_durably

logger = logging.getLogger(__name__)

_AHEAD_BYTES: Final = 32 << 20
"""How much may be accepted while nothing was read back yet; half as much again as is read back follows."""

_RETRY_S: Final = 1.0
"""Between tries to keep a request that cannot be read as a file."""

Decode = Callable[[Sequence[bytes], int], DecodedGroup]


class _ClosedError(Exception):
    """The queue was closed while something had to be waited for."""


class Recovery:
    """Reads the log back, in two steps: `learn`, then `replay` while requests are accepted."""

    def __init__(  # noqa: PLR0917  # what is read, and where it goes
        self,
        log: Log,
        lake_covers: int,
        memory: Memory,
        pending: Pending,
        accounts: Accounts,
        decode: Decode,
        dead_letters: Path,
    ) -> None:
        """Wire the parts.

        Args:
            log: What is read back.
            lake_covers: Up to which position of the log the lake has the rows.
            memory: Told what entries accepted.
            pending: Gets the rows that the lake does not have.
            accounts: Where the rows that wait are booked.
            decode: Reads the requests of an entry.
            dead_letters: The folder for requests that cannot be read any more.
        """
        self._log = log
        self._lake_covers = lake_covers
        self._memory = memory
        self._pending = pending
        self._accounts = accounts
        self._decode = decode
        self._dead_letters = dead_letters
        self._legacy: dict[int, Admission] = {}
        self._owed: dict[int, int] = {}
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._done = False
        self._last = log.durable_position
        self._ahead_bytes = 0
        self._read_bytes = 0

    def learn(self) -> None:
        """Learn which records the entries accepted that nobody else remembers.

        Raises:
            DataDirectoryError: A later Lapwing wrote one of them.
        """
        after = min(self._memory.covers, self._lake_covers)
        for entry in self._log.replay(after, unread=self._lake_covers):
            requests = Requests.read(entry, bodies=False) or self._read_legacy(entry)
            if entry.position > self._memory.covers:
                self._memory.ledger.add(requests.admission, requests.received_at_ns)
                self._memory.add(entry.position, requests.received_at_ns, requests.admission)
            if entry.position > self._lake_covers:
                self._owed[entry.position] = requests.rows
        self._accounts.add(received=sum(self._owed.values()))
        self._memory.settle(self._lake_covers)
        with self._lock:
            self._done = self._last <= self._lake_covers  # with none to be behind, new ones are queued

    def replay(self) -> None:
        """Queue the rows that the lake does not have, waiting for room; ends early if the queue is closed."""
        through, queued = self._lake_covers, 0
        while True:
            with self._lock:
                last = self._last
                if last <= through:
                    self._done = True
                    break
            for entry in self._log.replay(through, through=last):
                if not self._pending.wait_for_room():
                    return
                try:
                    rows = self._read(entry)
                except _ClosedError:
                    return
                self._pending.put(rows)
                self._read_bytes += entry.size
                queued += 1
            through = last
        self._accounts.add(dead_lettered=sum(self._owed.values()))  # damaged since they were learned of
        self._owed.clear()
        if queued:
            logger.info("read back %d entries of the log", queued, extra={"action": "recovered"})

    def hand_over(self, entry: LogEntry, size: int) -> None:
        """Queue the rows of a new entry of `size` bytes, or leave them to be read back after those before."""
        with self._lock:
            if self._done:
                self._pending.put(entry)
            else:
                self._last = entry.position
                self._ahead_bytes += size

    @property
    def replaying(self) -> bool:
        """Whether rows are still read back."""
        return not self._done

    @property
    def problem(self) -> str | None:
        """Why reading back does not go on at present, for a person; None while it does."""
        return self._problem

    @property
    def has_room(self) -> bool:
        """Whether requests may be accepted: while reading back, only so many that it comes to its end."""
        return self._done or self._ahead_bytes < _AHEAD_BYTES + self._read_bytes // 2

    def _read(self, entry: Entry) -> LogEntry:
        """The rows of an entry that it accepted; what cannot be read any more is kept as a file.

        Raises:
            _ClosedError: It could not be kept until the queue was closed.
        """
        requests = Requests.read(entry)
        if requests is None:
            received_at_ns, payload = Requests.read_legacy(entry)
            admission = self._legacy.pop(entry.position)
            requests = Requests(
                received_at_ns, (payload,), self._owed[entry.position], admission, keeps_all=True
            )
        decoded = self._decode_what_can_be(requests.payloads, requests.received_at_ns)
        judge = Replaying(requests.admission)
        batches, _ = split_new(decoded.batches, judge, keep_all=requests.keeps_all)
        for number, (payload, outcome) in enumerate(zip(requests.payloads, decoded.outcomes, strict=True)):
            if outcome.error is not None:
                self._set_aside(f"{entry.position}-{number}.otlp", payload, outcome.error)
        self._owed.pop(entry.position, None)
        self._accounts.add(dead_lettered=requests.rows - row_count(batches))
        return LogEntry(entry.position, utc_datetime(requests.received_at_ns), batches)

    def _decode_what_can_be(self, payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
        """What requests hold; one over which decoding fails as it never should is told as one with an error.

        Raises:
            MemoryError: There is too little for one request alone, which says nothing about the request.
        """
        try:
            return self._decode(payloads, received_at_ns)
        except Exception as error:
            if len(payloads) == 1:
                if isinstance(error, MemoryError):
                    raise
                return DecodedGroup((), (Outcome(error=_unreadable(error)),))
        parts = [self._decode_what_can_be((payload,), received_at_ns) for payload in payloads]
        return DecodedGroup(
            tuple(batch for part in parts for batch in part.batches),
            tuple(outcome for part in parts for outcome in part.outcomes),
        )

    def _read_legacy(self, entry: Entry) -> Requests:
        """What an entry accepted that does not say so itself: nothing, if it cannot be read any more."""
        received_at_ns, payload = Requests.read_legacy(entry)
        decoded = self._decode_what_can_be((payload,), received_at_ns)
        with self._memory.ledger.admitting(received_at_ns) as admitting:
            batches, _ = split_new(decoded.batches, admitting, keep_all=True)
            admission = admitting.done()
        self._memory.ledger.keep(admission)
        self._legacy[entry.position] = admission
        return Requests(received_at_ns, (), row_count(batches), admission, keeps_all=True)

    def _set_aside(self, name: str, payload: bytes, error: Exception) -> None:
        """Keep a request as a file, however long the disk refuses: the log lets go of it after that."""
        file = self._dead_letters / name
        while not self._is_kept(file, payload):
            if self._pending.wait_until_closed(_RETRY_S):
                raise _ClosedError
        logger.error("a request in the log cannot be read any more; kept as %s: %s", file, error)

    def _is_kept(self, file: Path, payload: bytes) -> bool:
        try:
            make_folder(self._dead_letters)
            write_durably(file, payload)
        except OSError as error:
            problem = f"{file}: a request that cannot be read any more cannot be kept: {error.strerror}"
            if self._problem is None:
                logger.error(  # noqa: TRY400  # the message says it all
                    "%s; it is tried until it works", problem, extra={"action": "recovery_waits"}
                )
            self._problem = problem
            return False
        self._problem = None
        return True


def _unreadable(error: Exception) -> DecodeError:
    return DecodeError(f"decoding failed: {error!r}")
