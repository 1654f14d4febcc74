"""What was accepted of each process that numbers its records, and what is missing between."""

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from lapwing_collector.dedup.intervals import NOTHING, Bools, Int64s, Intervals, is_run

MAX_PROCESSES: Final = 200_000
"""Processes that are remembered, about 100 MB; of more, those that were silent longest are forgotten."""

MAX_RUNS: Final = 4_000_000
"""Intervals of all processes together, about 64 MB."""

MAX_GAPS: Final = 100_000
"""Gaps between the numbers of one process; of more, the oldest count as missing for good.

What is accepted of a process with gaps copies their list, a millisecond or two with so many.
"""

_COUNTS: Final = struct.Struct("<IQQqq")
"""Processes, bytes of their ids, intervals, processes and missing records that were forgotten."""

_MOST: Final = 2**63 - 1
"""What a count may come to: whoever numbers a record near this can make sums larger than a snapshot holds."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What is known of one process. It is replaced, never changed, so that a copy of the table is a snapshot.

    Attributes:
        start: Where its highest run of numbers begins.
        end: The highest number.
        below: The numbers below `start`.
        accepted: How many numbers it has.
        seen_ns: When the newest of them came.
    """

    start: int
    end: int
    below: Intervals
    accepted: int
    seen_ns: int

    @classmethod
    def of(cls, numbers: Intervals, accepted: int, seen_ns: int) -> Self:
        """The process with these numbers, at least one."""
        below = Intervals(numbers.starts[:-1], numbers.ends[:-1]) if len(numbers) > 1 else NOTHING
        return cls(int(numbers.starts[-1]), int(numbers.ends[-1]), below, accepted, seen_ns)

    @property
    def numbers(self) -> Intervals:
        """All its numbers."""
        return Intervals(np.append(self.below.starts, self.start), np.append(self.below.ends, self.end))

    @property
    def missing(self) -> int:
        """How many numbers below the highest one never came, counted from 1."""
        return max(0, self.end - self.accepted)


class Senders:
    """Processes by their id, those that were heard of last at the end.

    Attributes:
        forgotten: How many processes there was no room for.
        forgotten_missing: Records that were missing of them, up to 2^63 - 1.
    """

    def __init__(self) -> None:
        """Know no process."""
        self.forgotten = 0
        self.forgotten_missing = 0
        self._known: OrderedDict[str, Sender] = OrderedDict()
        self._runs = 0

    def admit(self, process_id: str, numbers: Int64s, seen_ns: int) -> Bools:
        """Accept what is new among `numbers`, at least one; tells which are."""
        known = self._known.get(process_id)
        first, last = int(numbers[0]), int(numbers[-1])
        if known is not None and is_run(numbers):
            if first == known.end + 1:
                accepted = known.accepted + len(numbers)
                self._keep(process_id, Sender(known.start, last, known.below, accepted, seen_ns))
                return np.ones(len(numbers), np.bool_)
            if known.start <= first and last <= known.end:
                return np.zeros(len(numbers), np.bool_)
        new = np.ones(len(numbers), np.bool_) if known is None else ~known.numbers.contain(numbers)
        if new.any():
            self.add(process_id, Intervals.of(numbers[new]), seen_ns)
        return new

    def add(self, process_id: str, numbers: Intervals, seen_ns: int) -> None:
        """Accept `numbers`, whether or not some of them are known already."""
        known = self._known.get(process_id)
        if known is None:
            self._keep(process_id, Sender.of(numbers, numbers.count, seen_ns))
            return
        seen_ns = max(seen_ns, known.seen_ns)
        if len(numbers) == 1 and int(numbers.starts[0]) == known.end + 1:
            last = int(numbers.ends[0])
            accepted = known.accepted + last - known.end
            self._keep(process_id, Sender(known.start, last, known.below, accepted, seen_ns))
            return
        held = known.numbers
        every = held | numbers
        accepted = known.accepted + every.count - held.count
        self._keep(process_id, Sender.of(every, accepted, seen_ns))

    def remove(self, process_id: str, numbers: Intervals) -> None:
        """Take back `numbers`, so that they are new again."""
        known = self._known.get(process_id)
        if known is None:
            return
        left = without(known, numbers)
        if left is None:
            self._runs -= len(known.below) + 1
            del self._known[process_id]
        else:
            self._keep(process_id, left)

    def close_gaps(self, process_id: str) -> None:
        """Where a process has too many gaps, take what is missing in the oldest for missing for good.

        The numbers in them are known from then on: if they come after all, they are not accepted.
        """
        known = self._known.get(process_id)
        excess = len(known.below) - MAX_GAPS if known else 0
        if known and excess > 0:
            below = known.below
            starts = np.append(below.starts[:1], below.starts[excess + 1 :])
            self._keep(process_id, replace(known, below=Intervals(starts, below.ends[excess:].copy())))

    def items(self) -> list[tuple[str, Sender]]:
        """All processes as they are now."""
        return list(self._known.items())

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, process_id: str) -> bool:
        return process_id in self._known

    def _keep(self, process_id: str, sender: Sender) -> None:
        known = self._known.get(process_id)
        self._runs += len(sender.below) - (len(known.below) if known else -1)
        self._known[process_id] = sender
        self._known.move_to_end(process_id)
        while len(self._known) > MAX_PROCESSES or (self._runs > MAX_RUNS and len(self._known) > 1):
            _, oldest = self._known.popitem(last=False)
            self._runs -= len(oldest.below) + 1
            self.forgotten += 1
            self.forgotten_missing = min(self.forgotten_missing + oldest.missing, _MOST)


def without(sender: Sender, numbers: Intervals) -> Sender | None:
    """`sender` as it was before `numbers` were accepted; None if that is all."""
    held = sender.numbers
    left = held - numbers
    if not len(left):
        return None
    return Sender.of(left, sender.accepted - held.count + left.count, sender.seen_ns)


def encode(senders: list[tuple[str, Sender]], forgotten: int, forgotten_missing: int) -> Iterator[bytes]:
    """Processes as bytes for `decode`."""
    ids = [process_id.encode() for process_id, _ in senders]
    each = [sender for _, sender in senders]
    runs = [len(sender.below) + 1 for sender in each]
    yield _COUNTS.pack(len(ids), sum(map(len, ids)), sum(runs), forgotten, forgotten_missing)
    yield np.array([len(process_id) for process_id in ids], "<u4").tobytes()
    yield np.array(runs, "<u4").tobytes()
    yield np.array([sender.accepted for sender in each], "<i8").tobytes()
    yield np.array([sender.seen_ns for sender in each], "<i8").tobytes()
    yield np.array([sender.start for sender in each], "<i8").tobytes()
    yield np.array([sender.end for sender in each], "<i8").tobytes()
    for sender in each:
        if len(sender.below):
            yield sender.below.starts.astype("<i8").tobytes()
            yield sender.below.ends.astype("<i8").tobytes()
    yield from ids


def decode(data: bytes, offset: int) -> tuple[Senders, int]:
    """The processes that stand in `data` from `offset` on, and where they end.

    Raises:
        ValueError: There are none.
    """
    senders = Senders()
    try:
        count, id_bytes, _, senders.forgotten, senders.forgotten_missing = _COUNTS.unpack_from(data, offset)
    except struct.error as error:
        raise ValueError(str(error)) from error
    at = offset + _COUNTS.size
    sizes, runs = np.frombuffer(data, "<u4", 2 * count, at).reshape(2, count)
    at += 8 * count
    accepted, seen, starts, ends = np.frombuffer(data, "<i8", 4 * count, at).reshape(4, count).tolist()
    at += 32 * count
    belows = []
    for run in runs.tolist():
        if run == 1:
            belows.append(NOTHING)
            continue
        below = np.frombuffer(data, "<i8", 2 * (run - 1), at).reshape(2, run - 1)
        belows.append(Intervals.checked(below[0], below[1]))
        at += 16 * (run - 1)
    ids = np.append(0, np.cumsum(sizes, dtype=np.int64)).tolist()
    if len(data) < at + id_bytes or ids[-1] != id_bytes:
        raise ValueError("process ids are missing")
    for n in range(count):
        process_id = data[at + ids[n] : at + ids[n + 1]].decode()
        senders._keep(process_id, Sender(starts[n], ends[n], belows[n], accepted[n], seen[n]))  # noqa: SLF001
    return senders, at + id_bytes
