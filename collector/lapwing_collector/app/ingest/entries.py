"""What the log keeps of the requests that were accepted together: what they brought, and their bodies."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapwing_collector.dedup import Admission, Hashes
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.records import Batch
from lapwing_collector.wal import Entry

_HEAD: Final = struct.Struct("<BBqQI")
"""Version, flags, when the requests came, new rows, requests."""
_VERSION: Final = 1
_KEEPS_ALL: Final = 1
"""Flag: rows without a number were not compared with others."""
_LEGACY_HEAD: Final = struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests that were accepted together, in one entry of the log.

    Attributes:
        received_at_ns: When they came.
        payloads: Their bodies.
        rows: How many of their rows are new.
        admission: Which these are.
        keeps_all: Whether all rows that have no number are, too.
    """

    received_at_ns: int
    payloads: Sequence[bytes]
    rows: int
    admission: Admission
    keeps_all: bool = False

    def head(self) -> bytes:
        """What stands before the payloads."""
        sizes = np.array([len(payload) for payload in self.payloads], "<u4").tobytes()
        flags = _KEEPS_ALL * self.keeps_all
        start = _HEAD.pack(_VERSION, flags, self.received_at_ns, self.rows, len(self.payloads))
        return start + sizes + self.admission.encode()

    @classmethod
    def read(cls, entry: Entry, *, bodies: bool = True) -> Self | None:
        """What `entry` of the log holds; None if it is of a Lapwing that did not keep what was new of it.

        Args:
            entry: Read back from the log.
            bodies: Whether the payloads are wanted; without them there are none.

        Raises:
            DataDirectoryError: A later Lapwing wrote it.
        """
        if not entry.head:
            return None
        version, flags, received_at_ns, rows, count = _HEAD.unpack_from(entry.head)
        if version != _VERSION or flags & ~_KEEPS_ALL:
            raise DataDirectoryError(
                f"entry {entry.position} of the log is of version {version}.{flags}, and this Lapwing reads "
                f"{_VERSION}; start the version of Lapwing that wrote it, nothing was changed"
            )
        sizes = np.frombuffer(entry.head, "<u4", count, _HEAD.size).tolist()
        admission, _ = Admission.decode(entry.head, _HEAD.size + 4 * count)
        payloads = tuple(_cut(entry.body, sizes)) if bodies else ()
        return cls(received_at_ns, payloads, rows, admission, keeps_all=bool(flags))

    @classmethod
    def read_legacy(cls, entry: Entry) -> tuple[int, bytes]:
        """When the one request of an entry came that has no head, and its body; all of one cut too short."""
        if len(entry.body) < _LEGACY_HEAD.size:
            return 0, bytes(entry.body)
        return _LEGACY_HEAD.unpack_from(entry.body)[0], bytes(entry.body[_LEGACY_HEAD.size :])


class Judge(Protocol):
    """Tells which records are new, by number or by the hash of their content."""

    def admit(self, process_id: str, sequences: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which numbers of a process are new."""
        ...

    def admit_records(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Which hashes are new."""
        ...


def split_new(
    batches: Sequence[Batch], judge: Judge, *, keep_all: bool
) -> tuple[tuple[Batch, ...], tuple[Batch, ...]]:
    """The rows of `batches` that `judge` says are new, and the others.

    Args:
        batches: In their order; a record that comes again in a later one is new in the first only.
        judge: Asked once for each batch.
        keep_all: Whether rows without a number are new whatever they hold.
    """
    fresh, known = [], []
    for batch in batches:
        new = _which_are_new(batch, judge, keep_all=keep_all)
        if new.all():
            fresh.append(batch)
        elif not new.any():
            known.append(batch)
        else:
            fresh.append(batch.filter(pa.array(new)))
            known.append(batch.filter(pa.array(~new)))
    return tuple(fresh), tuple(known)


def _which_are_new(batch: Batch, judge: Judge, *, keep_all: bool) -> npt.NDArray[np.bool_]:
    new = np.ones(batch.rows.num_rows, np.bool_)
    if batch.process_id is not None and batch.sequence.null_count < len(batch.sequence):
        numbers = batch.sequence.drop_null().to_numpy(zero_copy_only=False)
        new[_valid(batch.sequence)] = judge.admit(batch.process_id, numbers)
    digest = batch.digest
    if digest is not None and not keep_all and digest.null_count < len(digest):
        new[_valid(digest)] = judge.admit_records(hashes(digest.drop_null()))
    return new


def row_count(batches: Sequence[Batch]) -> int:
    """How many rows `batches` have."""
    return sum(batch.rows.num_rows for batch in batches)


def hashes(digests: pa.Array) -> Hashes:
    """Hashes of records, none of them null, as numbers."""
    data = digests.buffers()[1]
    return np.frombuffer(data, "<u8", 2 * len(digests), 16 * digests.offset).reshape(-1, 2)


def request_hash(payload: bytes) -> bytes:
    """What identifies a request as a whole."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def _valid(array: pa.Array) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _cut(body: memoryview, sizes: Sequence[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield bytes(body[at : at + size])
        at += size
