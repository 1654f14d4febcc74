"""Sets of integers as sorted, disjoint intervals that never touch; both ends of an interval belong to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Intervals:
    """A set of 64-bit integers, small where they come in runs. It is not empty, except after `remove`.

    Attributes:
        starts: Lower ends, rising.
        ends: Upper ends, rising.
    """

    starts: Int64s
    ends: Int64s

    @classmethod
    def of(cls, pairs: Sequence[Sequence[int]]) -> Self:
        """The set of `[start, end]` pairs, at least one, which rise and do not touch.

        Raises:
            ValueError: They are not like that.
        """
        flat = np.array(pairs, dtype=np.int64)
        if flat.ndim != 2 or flat.shape[1] != 2 or not len(flat):
            raise ValueError("intervals are pairs, at least one")
        starts, ends = flat[:, 0].copy(), flat[:, 1].copy()
        if (starts > ends).any() or (starts[1:] <= ends[:-1]).any() or (starts[1:] - 1 == ends[:-1]).any():
            raise ValueError("intervals must rise and not touch")
        return cls(starts, ends)

    @classmethod
    def runs(cls, values: Int64s) -> Self:
        """The set of `values`, which rise strictly."""
        apart = values[1:] - 1 != values[:-1]
        return cls(
            values[np.append(True, apart)[: len(values)]],
            values[np.append(apart, True)[: len(values)]],
        )

    def pairs(self) -> list[list[int]]:
        """The `[start, end]` pairs."""
        return [[int(start), int(end)] for start, end in zip(self.starts, self.ends, strict=True)]

    def extend(self, start: int, end: int) -> bool:
        """Add `start` to `end` if they follow on the highest number of the set; whether they do."""
        follows = start == int(self.ends[-1]) + 1
        if follows:
            self.ends[-1] = end
        return follows

    def cover(self, start: int, end: int) -> bool:
        """Whether all numbers from `start` to `end` are in the set."""
        index = int(np.searchsorted(self.starts, start, side="right")) - 1
        return index >= 0 and end <= int(self.ends[index])

    def contain(self, values: Int64s) -> Bools:
        """Which of `values` are in the set."""
        index = np.searchsorted(self.starts, values, side="right") - 1
        return (index >= 0) & (values <= self.ends[index])

    def add(self, other: "Intervals") -> None:
        """Add `other`, which has nothing in common with the set."""
        starts = np.concatenate((self.starts, other.starts))
        ends = np.concatenate((self.ends, other.ends))
        order = np.argsort(starts)
        starts, ends = starts[order], ends[order]
        apart = starts[1:] - 1 != ends[:-1]
        self.starts = starts[np.append(True, apart)]
        self.ends = ends[np.append(apart, True)]

    def remove(self, other: "Intervals") -> None:
        """Take out what `other` holds, whether or not it is in the set."""
        for start, end in other.pairs():
            first = np.searchsorted(self.ends, start)
            behind = np.searchsorted(self.starts, end, side="right")
            if first == behind:
                continue
            left, right = int(self.starts[first]), int(self.ends[behind - 1])
            rest = [[left, start - 1]] * (left < start) + [[end + 1, right]] * (end < right)
            middle = np.array(rest, dtype=np.int64).reshape(-1, 2)
            self.starts = np.concatenate((self.starts[:first], middle[:, 0], self.starts[behind:]))
            self.ends = np.concatenate((self.ends[:first], middle[:, 1], self.ends[behind:]))
