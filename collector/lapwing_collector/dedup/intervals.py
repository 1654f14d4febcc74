"""Sets of integers as sorted, disjoint intervals that never touch; both ends of an interval belong to it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


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
        # In Python's integers: the width of the widest intervals does not fit in 64 bits.
        total: int = sum(self.ends.tolist()) - sum(self.starts.tolist()) + len(self)
        return total

    def contain(self, values: Int64s) -> Bools:
        """Which of `values` are in the set."""
        if not len(self):
            return np.zeros(len(values), dtype=np.bool_)
        index = np.searchsorted(self.starts, values, side="right") - 1
        return (index >= 0) & (values <= self.ends[index])

    def __or__(self, other: "Intervals") -> "Intervals":
        """What is in either."""
        starts = np.concatenate((self.starts, other.starts))
        ends = np.concatenate((self.ends, other.ends))
        order = np.argsort(starts, kind="stable")
        starts, reach = starts[order], np.maximum.accumulate(ends[order])
        apart = (starts[1:] > reach[:-1]) & (starts[1:] - 1 != reach[:-1])
        return Intervals(
            starts[np.append(True, apart)[: len(starts)]], reach[np.append(apart, True)[: len(starts)]]
        )

    def __sub__(self, other: "Intervals") -> "Intervals":
        """What is in this one and not in the other."""
        starts, ends = self.starts, self.ends
        for start, end in zip(other.starts.tolist(), other.ends.tolist(), strict=True):
            first = np.searchsorted(ends, start)
            behind = np.searchsorted(starts, end, side="right")
            if first == behind:
                continue
            left, right = int(starts[first]), int(ends[behind - 1])
            rest = [[left, start - 1]] * (left < start) + [[end + 1, right]] * (end < right)
            middle = np.array(rest, dtype=np.int64).reshape(-1, 2)
            starts = np.concatenate((starts[:first], middle[:, 0], starts[behind:]))
            ends = np.concatenate((ends[:first], middle[:, 1], ends[behind:]))
        return Intervals(starts, ends)


NOTHING = Intervals(np.zeros(0, np.int64), np.zeros(0, np.int64))


def is_run(values: Int64s) -> bool:
    """Whether each number is the one before it and one more: the common case, and cheap to tell."""
    if int(values[-1]) - int(values[0]) != len(values) - 1:
        return False
    return bool((values[1:] - 1 == values[:-1]).all())
