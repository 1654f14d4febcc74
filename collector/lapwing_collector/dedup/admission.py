"""What one entry of the log newly accepted, in memory and as bytes."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from lapwing_collector.dedup.intervals import NOTHING, Intervals
from lapwing_collector.dedup.keys import NO_HASHES, Hashes

_COUNTS: Final = struct.Struct("<IIII")
"""Processes, bytes of their ids, record hashes, request hashes."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Records, and requests as a whole, that were not known before.

    Attributes:
        numbers: Sequence numbers by process.
        records: Hashes of records without a number.
        requests: Hashes of requests that held such records.
    """

    numbers: Mapping[str, Intervals] = field(default_factory=dict)
    records: Hashes = field(default_factory=lambda: NO_HASHES)
    requests: Hashes = field(default_factory=lambda: NO_HASHES)

    def __bool__(self) -> bool:
        return bool(self.numbers) or bool(len(self.records)) or bool(len(self.requests))

    @classmethod
    def union(cls, admissions: Iterable["Admission"]) -> Self:
        """All of `admissions` in one."""
        parts = list(admissions)
        numbers: dict[str, list[Intervals]] = {}
        for part in parts:
            for process_id, intervals in part.numbers.items():
                numbers.setdefault(process_id, []).append(intervals)
        return cls(
            {process_id: _joined(intervals) for process_id, intervals in numbers.items()},
            np.concatenate([NO_HASHES, *(part.records for part in parts)]),
            np.concatenate([NO_HASHES, *(part.requests for part in parts)]),
        )

    def encode(self) -> bytes:
        """It as bytes for `decode`."""
        ids = [process_id.encode() for process_id in self.numbers]
        runs = list(self.numbers.values())
        sizes = [len(each) for each in ids] + [len(each) for each in runs]
        return b"".join(
            (
                _COUNTS.pack(len(ids), sum(map(len, ids)), len(self.records), len(self.requests)),
                np.array(sizes, "<u4").tobytes(),
                *ids,
                *(part.astype("<i8").tobytes() for each in runs for part in (each.starts, each.ends)),
                self.records.astype("<u8").tobytes(),
                self.requests.astype("<u8").tobytes(),
            )
        )

    @classmethod
    def decode(cls, data: bytes, offset: int = 0) -> tuple[Self, int]:
        """The admission that stands in `data` from `offset` on, and where it ends.

        Raises:
            ValueError: There is none.
        """
        try:
            processes, id_bytes, records, requests = _COUNTS.unpack_from(data, offset)
            sizes = np.frombuffer(data, "<u4", 2 * processes, offset + _COUNTS.size).tolist()
            at = offset + _COUNTS.size + 8 * processes
            ids = []
            for size in sizes[:processes]:
                ids.append(data[at : at + size].decode())
                at += size
            if sum(sizes[:processes]) != id_bytes:
                raise ValueError("the process ids do not have the length that they should")
            numbers: dict[str, Intervals] = {}
            for process_id, size in zip(ids, sizes[processes:], strict=True):
                starts, ends = np.frombuffer(data, "<i8", 2 * size, at).reshape(2, size)
                numbers[process_id] = Intervals.checked(starts, ends)
                at += 16 * size
            hashes: list[npt.NDArray[np.uint64]] = []
            for count in (records, requests):
                hashes.append(np.frombuffer(data, "<u8", 2 * count, at).reshape(count, 2))
                at += 16 * count
        except struct.error as error:
            raise ValueError(str(error)) from error
        return cls(numbers, hashes[0], hashes[1]), at


def _joined(parts: list[Intervals]) -> Intervals:
    if len(parts) == 1:
        return parts[0]
    starts = np.concatenate([part.starts for part in parts])
    ends = np.concatenate([part.ends for part in parts])
    order = np.argsort(starts, kind="stable")
    return NOTHING | Intervals(starts[order], ends[order])
