"""The ledger of accepted records: by process and number, or by the hash of their content."""

import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from lapwing_collector.dedup import senders
from lapwing_collector.dedup.admission import Admission
from lapwing_collector.dedup.intervals import Bools, Int64s, Intervals
from lapwing_collector.dedup.keys import NO_HASHES, Hashes, Keys
from lapwing_collector.dedup.senders import Senders
from lapwing_collector.errors import DataDirectoryError

_MINUTE_NS: Final = 60 * 10**9
RECORD_WINDOW_NS: Final = 10 * _MINUTE_NS
RECORD_CAPACITY: Final = 10_000_000
"""Hashes of records, 16 bytes each."""
REQUEST_WINDOW_NS: Final = 24 * 60 * _MINUTE_NS
REQUEST_CAPACITY: Final = 2_000_000
_COUNT: Final = struct.Struct("<I")
_BUCKET: Final = struct.Struct("<qI")
"""When the newest of its hashes came, and how many they are."""
_FORMAT: Final = b"lapwing-ledger-2\n"


@dataclass(frozen=True, slots=True)
class SenderLoss:
    """What the numbers of one process say about records that did not come.

    Attributes:
        process_id: Who numbered them.
        highest: The highest number that came.
        accepted: How many came.
        missing: How many below the highest did not, so far.
        seen_ns: When the newest came.
    """

    process_id: str
    highest: int
    accepted: int
    missing: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Loss:
    """What the numbers of all processes say about records that did not come.

    Attributes:
        missing: How many, also of processes that are forgotten.
        processes: How many processes are known.
        forgotten: How many processes there was no room for any more.
        worst: Those with the most missing records, of those with any.
    """

    missing: int
    processes: int
    forgotten: int
    worst: tuple[SenderLoss, ...]


class Ledger:
    """Which records were accepted: numbered ones without a limit of time, others for a while.

    A process numbers its records from 1, and exporters send them nearly in order, so that what is
    remembered of a process is normally one interval. Records without a number are known by a hash of their
    content for 10 minutes, and requests that hold such records by a hash of their bytes for 24 hours, as far
    as there is room.

    Time is an argument. Every method may be called from any thread.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._senders = Senders()
        self._records = Keys(RECORD_WINDOW_NS, RECORD_CAPACITY)
        self._requests = Keys(REQUEST_WINDOW_NS, REQUEST_CAPACITY)
        self._uncertain: dict[int, Admission] = {}
        self._lock = threading.Lock()

    @contextmanager
    def admitting(self, at_ns: int) -> Iterator["Admitting"]:
        """Accept records that came at `at_ns`; nothing else happens to the ledger meanwhile.

        What `Admitting.done` gives stays uncertain until `keep` or `forget` is called with it.
        """
        with self._lock:
            admitting = Admitting(self._senders, self._records, self._requests, self._uncertain, at_ns)
            try:
                yield admitting
            except BaseException:
                self._take_back(admitting.done())
                raise

    def knows_requests(self, hashes: Hashes) -> Bools:
        """Which of these requests were accepted as a whole."""
        with self._lock:
            return self._requests.contain(hashes)

    def add(self, admission: Admission, at_ns: int) -> None:
        """Accept what an entry of the log says was accepted when it was written, known already or not."""
        with self._lock:
            for process_id, numbers in admission.numbers.items():
                self._senders.add(process_id, numbers, at_ns)
                self._senders.close_gaps(process_id)
            self._records.add(admission.records, at_ns)
            self._requests.add(admission.requests, at_ns)

    def keep(self, admission: Admission) -> None:
        """What was accepted is durable."""
        with self._lock:
            del self._uncertain[id(admission)]
            # Not earlier: gaps that only what fails would leave are none.
            for process_id in admission.numbers:
                self._senders.close_gaps(process_id)

    def forget(self, admission: Admission) -> None:
        """Take back what was accepted and then not stored, so that a retry is new again."""
        with self._lock:
            self._take_back(admission)

    def sizes(self) -> dict[str, int]:
        """How many hashes of requests and of records are remembered."""
        with self._lock:
            return {"requests": len(self._requests), "records": len(self._records)}

    def loss(self, worst: int) -> Loss:
        """What is missing, and of whom: of `worst` processes at most."""
        with self._lock:
            known = self._senders.items()
            forgotten, missing = self._senders.forgotten, self._senders.forgotten_missing
        lossy = [(sender.missing, process_id, sender) for process_id, sender in known if sender.missing]
        lossy.sort(key=lambda each: (-each[0], each[1]))
        return Loss(
            missing + sum(each[0] for each in lossy),
            len(known),
            forgotten,
            tuple(
                SenderLoss(process_id, sender.end, sender.accepted, count, sender.seen_ns)
                for count, process_id, sender in lossy[:worst]
            ),
        )

    def snapshot(self) -> bytes:
        """What is known of processes and requests, as bytes for `restore`.

        Hashes of records are left out, and so is what is uncertain: it must not be taken for known if it
        never becomes durable.
        """
        with self._lock:
            known = self._senders.items()
            forgotten, missing = self._senders.forgotten, self._senders.forgotten_missing
            requests = self._requests.dump()
            uncertain = Admission.union(self._uncertain.values())
        if uncertain.numbers:
            held = dict(known)
            for process_id, numbers in uncertain.numbers.items():
                left = senders.without(held[process_id], numbers) if process_id in held else None
                if left is not None:
                    held[process_id] = left
                else:
                    held.pop(process_id, None)
            known = list(held.items())
        gone = Keys(0, len(uncertain.requests) + 1)
        gone.add(uncertain.requests, 0)
        parts = [_FORMAT, *senders.encode(known, forgotten, missing)]
        parts.append(_COUNT.pack(len(requests)))
        for newest_ns, hashes in requests:
            kept = hashes[~gone.contain(hashes)]
            parts += [_BUCKET.pack(newest_ns, len(kept)), kept.astype("<u8").tobytes()]
        return b"".join(parts)

    def _take_back(self, admission: Admission) -> None:
        del self._uncertain[id(admission)]
        for process_id, numbers in admission.numbers.items():
            self._senders.remove(process_id, numbers)
        self._records.forget(admission.records)
        self._requests.forget(admission.requests)

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        """The ledger that `snapshot` was taken of.

        Raises:
            DataDirectoryError: The bytes are not a snapshot, or one of another version.
        """
        if not snapshot.startswith(_FORMAT):
            raise DataDirectoryError(
                "the ledger of accepted records is of no version that this Lapwing reads; start the version "
                "of Lapwing that wrote it, nothing was changed"
            )
        ledger = cls()
        try:
            ledger._senders, at = senders.decode(snapshot, len(_FORMAT))
            (buckets,) = _COUNT.unpack_from(snapshot, at)
            at += _COUNT.size
            for _ in range(buckets):
                newest_ns, count = _BUCKET.unpack_from(snapshot, at)
                at += _BUCKET.size
                hashes = np.frombuffer(snapshot, "<u8", 2 * count, at).reshape(count, 2)
                ledger._requests.add(hashes, newest_ns)
                at += 16 * count
        except (ValueError, struct.error) as error:
            raise DataDirectoryError(f"the ledger of accepted records cannot be read: {error}") from error
        return ledger

    @classmethod
    def restore_legacy(cls, checkpoint: bytes, at_ns: int) -> Self:
        """The ledger of a Lapwing that kept it as JSON.

        Raises:
            DataDirectoryError: The bytes are not one.
        """
        ledger = cls()
        try:
            for process_id, pairs in json.loads(checkpoint)["processes"].items():
                starts, ends = np.array(pairs, np.int64).reshape(-1, 2).T
                ledger._senders.add(process_id, Intervals.checked(starts.copy(), ends.copy()), at_ns)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataDirectoryError(f"the ledger of accepted records cannot be read: {error!r}") from error
        return ledger


class Admitting:
    """Accepts records on behalf of one entry of the log, and notes what was new; see `Ledger.admitting`."""

    def __init__(  # the parts of a ledger
        self, senders: Senders, records: Keys, requests: Keys, uncertain: dict[int, Admission], at_ns: int
    ) -> None:
        """Accept into these."""
        self._senders = senders
        self._records = records
        self._requests = requests
        self._uncertain = uncertain
        self._at_ns = at_ns
        self._new_numbers: dict[str, list[Int64s]] = {}
        self._new_records: list[Hashes] = []

    def admit(self, process_id: str, sequences: Int64s) -> Bools:
        """Accept what is new among the numbers of a process, at least one.

        Args:
            process_id: Who numbered the records.
            sequences: Their numbers, in any order. Where one is repeated, these are rows of one record.

        Returns:
            True where a number was not accepted by an earlier call, so that a record's rows share its fate.
        """
        new = self._senders.admit(process_id, sequences, self._at_ns)
        if new.any():
            fresh = sequences if new.all() else sequences[new]
            self._new_numbers.setdefault(process_id, []).append(fresh)
        return new

    def admit_records(self, hashes: Hashes) -> Bools:
        """Accept what is new among records without a number; those with the same hash share its fate."""
        new = ~self._records.contain(hashes)
        self._records.add(hashes[new], self._at_ns)
        self._new_records.append(hashes[new])
        return new

    def done(self, requests: Hashes = NO_HASHES) -> Admission:
        """What was newly accepted, with the hashes of the requests that are stored as a whole by that."""
        self._requests.add(requests, self._at_ns)
        admission = Admission(
            {
                process_id: Intervals.of(parts[0] if len(parts) == 1 else np.concatenate(parts))
                for process_id, parts in self._new_numbers.items()
            },
            np.concatenate([NO_HASHES, *self._new_records]),
            requests,
        )
        self._uncertain[id(admission)] = admission
        return admission


class Replaying:
    """Finds again, in the rows of an entry that is read back, those that its admission accepted."""

    def __init__(self, admission: Admission) -> None:
        """Accept what `admission` holds, once."""
        self._admission = admission
        self._records = Keys(1, len(admission.records) + 1)
        self._records.add(admission.records, 0)
        self._taken = Admitting(Senders(), Keys(1, len(admission.records) + 1), Keys(1, 1), {}, 0)

    def admit(self, process_id: str, sequences: Int64s) -> Bools:
        """Which records are those of the entry, and have not come before in it."""
        expected = self._admission.numbers.get(process_id)
        if expected is None:
            return np.zeros(len(sequences), np.bool_)
        return expected.contain(sequences) & self._taken.admit(process_id, sequences)

    def admit_records(self, hashes: Hashes) -> Bools:
        """As `admit`, for records without a number."""
        return self._records.contain(hashes) & self._taken.admit_records(hashes)
