"""Sets of 128-bit hashes that are remembered for a while, in little more memory than the hashes take."""

from typing import Final

import numpy as np
import numpy.typing as npt

from lapwing_collector.dedup.intervals import Bools

Hashes = npt.NDArray[np.uint64]
"""Hashes as rows of two numbers."""

NO_HASHES: Final = np.zeros((0, 2), np.uint64)


_BITS_PER_HASH: Final = 16


class _Bucket:
    """The hashes of some time, as sorted arrays of which each is much larger than the next.

    Before it, a filter: three bits of one word per hash, which nearly always tell that a hash is not here.
    """

    def __init__(self, newest_ns: int, most: int) -> None:
        self.newest_ns = newest_ns
        self.runs: list[Hashes] = []
        words = max(most * _BITS_PER_HASH // 64, 1)
        self._filter = np.zeros(1 << (words - 1).bit_length(), np.uint64)

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    def contain(self, hashes: Hashes) -> Bools:
        """Which of `hashes`, which are sorted, are here."""
        found = self._may_contain(hashes)
        if found.any():
            likely = np.flatnonzero(found)
            wanted = hashes[likely]
            here = np.zeros(len(wanted), np.bool_)
            for run in self.runs:
                here |= _places(run, wanted) >= 0
            found[likely] = here
        return found

    def add(self, run: Hashes) -> None:
        """Add hashes, which are sorted."""
        words, bits = self._bits(run)
        np.bitwise_or.at(self._filter, words, bits)
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            run = _sorted(np.concatenate((self.runs.pop(), run)))
        self.runs.append(run)

    def forget(self, hashes: Hashes) -> None:
        """Take out hashes, which are sorted; the filter need not know."""
        gone = hashes[self._may_contain(hashes)]
        if not len(gone):
            return
        for number in range(len(self.runs)):
            # Again and again: what shares its first half with others may stand there more than once.
            while (places := _places(self.runs[number], gone)).max() >= 0:
                self.runs[number] = np.delete(self.runs[number], places[places >= 0], axis=0)

    def _may_contain(self, hashes: Hashes) -> Bools:
        """Which of `hashes` the filter does not rule out."""
        words, bits = self._bits(hashes)
        likely: Bools = (self._filter[words] & bits) == bits
        return likely

    def _bits(self, hashes: Hashes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint64]]:
        """Where in the filter each hash leaves its bits, and which."""
        high, low = hashes[:, 0], hashes[:, 1]
        one, six = np.uint64(1), np.uint64(63)
        bits = one << (low & six)
        for shift in (6, 12):
            bits |= one << ((low >> np.uint64(shift)) & six)
        # The last bits of the first half: what it is sorted by stays useful for searching.
        return (high & np.uint64(len(self._filter) - 1)).astype(np.intp), bits


class Keys:
    """Hashes that were seen within a window of time, as far as there is room for them.

    Time is whatever the calls say it is. Where it goes backwards, hashes are kept longer, never shorter.
    Not safe for use by several threads at once.
    """

    def __init__(self, window_ns: int, capacity: int) -> None:
        """Remember hashes for `window_ns`, and about the newest `capacity` of them."""
        self._window_ns = window_ns
        self._capacity = capacity
        self._buckets: list[_Bucket] = []

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def contain(self, hashes: Hashes) -> Bools:
        """Which of `hashes` are remembered."""
        found = np.zeros(len(hashes), np.bool_)
        if not len(hashes) or not self._buckets:
            return found
        order = np.argsort(hashes[:, 0])
        wanted = hashes[order]
        here = np.zeros(len(wanted), np.bool_)
        for bucket in self._buckets:
            here |= bucket.contain(wanted)
        found[order] = here
        return found

    def add(self, hashes: Hashes, at_ns: int) -> None:
        """Remember `hashes`, which were seen at `at_ns`; let go of what is too old, or too much."""
        if not len(hashes):
            return
        newest = self._buckets[-1] if self._buckets else None
        if newest is None or self._is_done(newest, at_ns):
            newest = _Bucket(at_ns, self._capacity // 10 + len(hashes))
            self._buckets.append(newest)
        newest.newest_ns = max(newest.newest_ns, at_ns)
        newest.add(_sorted(hashes))
        while self._buckets[0].newest_ns < at_ns - self._window_ns or (
            len(self._buckets) > 1 and len(self) - len(self._buckets[0]) >= self._capacity
        ):
            del self._buckets[0]
            if not self._buckets:
                return

    def forget(self, hashes: Hashes) -> None:
        """Remember `hashes` no longer."""
        if not len(hashes):
            return
        gone = _sorted(hashes)
        for bucket in self._buckets:
            bucket.forget(gone)

    def dump(self) -> list[tuple[int, Hashes]]:
        """All that is remembered, with the time when it will have been seen once it is added again."""
        return [(bucket.newest_ns, run) for bucket in self._buckets for run in bucket.runs]

    def _is_done(self, bucket: _Bucket, at_ns: int) -> bool:
        """Whether what comes at `at_ns` belongs to the next: a tenth of window or room is used."""
        step_ns = max(self._window_ns // 10, 1)
        return bucket.newest_ns // step_ns < at_ns // step_ns or len(bucket) >= self._capacity // 10


def _sorted(hashes: Hashes) -> Hashes:
    """`hashes` in the order of their first numbers, without repeats."""
    ordered = hashes[np.argsort(hashes[:, 0], kind="stable")]
    first: Hashes = ordered[np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(ordered)]]
    return first


def _places(run: Hashes, wanted: Hashes) -> npt.NDArray[np.intp]:
    """Where in `run` each of `wanted` is, -1 if nowhere; both are sorted by the first of the two numbers."""
    at = np.searchsorted(run[:, 0], wanted[:, 0])
    places = np.full(len(wanted), -1, np.intp)
    looking = np.flatnonzero(at < len(run))
    while len(looking):
        here = run[at[looking]]
        alike = here[:, 0] == wanted[looking, 0]
        same = alike & (here[:, 1] == wanted[looking, 1])
        places[looking[same]] = at[looking[same]]
        looking = looking[alike & ~same]  # two hashes may share their first half
        at[looking] += 1
        looking = looking[at[looking] < len(run)]
    return places
