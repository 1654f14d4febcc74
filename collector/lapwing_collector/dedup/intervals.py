"""Sets of integers as sorted, disjoint intervals that never touch; both ends of an interval belong to it."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Intervals:
    """A set of 64-bit integers, small where they come in runs. Its arrays are never changed.

    Attributes:
        starts: Lower ends, rising.
        ends: Upper ends, rising.
    """

    starts: Int64s
    ends: Int64s

    @classmethod
    def checked(cls, starts: Int64s, ends: Int64s) -> Self:
        """The set with these ends, which come from a file.

        Raises:
            ValueError: They do not rise, or touch.
        """
        if (starts > ends).any() or (starts[1:] <= ends[:-1]).any() or (starts[1:] - 1 == ends[:-1]).any():
            raise ValueError("intervals must rise and not touch")
        return cls(starts, ends)

    @classmethod
    def of(cls, values: Int64s) -> Self:
        """The set of `values`, in any order and however often they stand there."""
        if len(values) and is_run(values):
            return cls(values[:1].copy(), values[-1:].copy())
        values = np.unique(values)
        apart = values[1:] - 1 != values[:-1]
        return cls(
            values[np.append(True, apart)[: len(values)]],
            values[np.append(apart, True)[: len(values)]],
        )

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def count(self) -> int:
        """How many integers it holds."""
        # Without a sign the widths fit in 64 bits, and so does their sum: it is less than 2^64.
        return int((self.ends.view(np.uint64) - self.starts.view(np.uint64)).sum()) + len(self)

    def contain(self, values: Int64s) -> Bools:
        """Which of `values` are in the set."""
        if not len(self):
            return np.zeros(len(values), dtype=np.bool_)
        index = np.searchsorted(self.starts, values, side="right") - 1
        return (index >= 0) & (values <= self.ends[index])

    def __or__(self, other: "Intervals") -> "Intervals":
        """What is in either."""
        if not len(other):
            return self
        # What lies before all of the other, or behind it, stays as it is, however much that is.
        first = np.searchsorted(self.ends, max(int(other.starts[0]) - 1, _LOWEST))
        behind = np.searchsorted(self.starts, min(int(other.ends[-1]) + 1, _HIGHEST), side="right")
        starts = np.concatenate((self.starts[first:behind], other.starts))
        ends = np.concatenate((self.ends[first:behind], other.ends))
        order = np.argsort(starts, kind="stable")
        starts, reach = starts[order], np.maximum.accumulate(ends[order])
        apart = (starts[1:] > reach[:-1]) & (starts[1:] - 1 != reach[:-1])
        return Intervals(
            np.concatenate((self.starts[:first], starts[np.append(True, apart)], self.starts[behind:])),
            np.concatenate((self.ends[:first], reach[np.append(apart, True)], self.ends[behind:])),
        )

    def __sub__(self, other: "Intervals") -> "Intervals":
        """What is in this one and not in the other."""
        rest = other._gaps()
        # Of each interval of this set the gaps of the other that it reaches into, one after another.
        first = np.searchsorted(rest.ends, self.starts)
        reached = np.maximum(np.searchsorted(rest.starts, self.ends, side="right") - first, 0)
        own = np.repeat(np.arange(len(self)), reached)
        gap = np.arange(len(own)) + np.repeat(first - (np.cumsum(reached) - reached), reached)
        return Intervals(
            np.maximum(self.starts[own], rest.starts[gap]), np.minimum(self.ends[own], rest.ends[gap])
        )

    def _gaps(self) -> "Intervals":
        """All that is not in the set."""
        at_lowest = bool(len(self)) and int(self.starts[0]) == _LOWEST
        at_highest = bool(len(self)) and int(self.ends[-1]) == _HIGHEST
        gaps = slice(int(at_lowest), len(self) + 1 - int(at_highest))
        return Intervals(np.append(_LOWEST, self.ends + 1)[gaps], np.append(self.starts - 1, _HIGHEST)[gaps])


NOTHING = Intervals(np.zeros(0, np.int64), np.zeros(0, np.int64))


def is_run(values: Int64s) -> bool:
    """Whether each number is the one before it and one more: the common case, and cheap to tell."""
    if int(values[-1]) - int(values[0]) != len(values) - 1:
        return False
    return bool((values[1:] - 1 == values[:-1]).all())
