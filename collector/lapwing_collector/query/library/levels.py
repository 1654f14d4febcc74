"""The distinct scores of a class, sorted, with the weights of the rows that have them.

What curves and areas under them are made of. DuckDB groups and sorts a million scores in a second of CPU
time, NumPy in a fifth of it.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LISTS: Final = ("score", "pos", "neg", "pos2", "neg2", "pos_from", "neg_from")
"""What `levels` gives, a list of DOUBLE each: scores, falling; weights of the rows of the class that have a
score, and of the others; their squares; and sums of the weights down from the highest score."""

TYPE: Final = f"STRUCT({', '.join(f'{name} DOUBLE[]' for name in LISTS)})"


def levels(scores: pa.Array, inside: pa.Array, outside: pa.Array) -> pa.Array:
    """The levels of each list of scores.

    Args:
        scores: Lists of numbers, none of them NaN or NULL.
        inside: Per score the weight of its row if it is of the class, else 0.
        outside: Per score the weight of its row if it is not of the class, else 0.

    Returns:
        Structs of the lists that `LISTS` names.
    """
    columns = [_numbers(lists) for lists in (scores, inside, outside)]
    found = [_levels(*lists) for lists in zip(*columns, strict=True)]
    ends = np.cumsum([0, *(len(each[0]) for each in found)])
    lists = [
        pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(np.concatenate([*column, np.empty(0)])))
        for column in zip(*found, strict=True)
    ]
    return pa.StructArray.from_arrays(lists, names=LISTS)


def _numbers(lists: Any) -> list[Numbers]:
    if hasattr(lists, "combine_chunks"):
        lists = lists.combine_chunks()
    values = lists.values.to_numpy(zero_copy_only=False)
    offsets = lists.offsets.to_numpy()
    return [np.asarray(values[start:end]) for start, end in pairwise(offsets)]


def _levels(scores: Numbers, inside: Numbers, outside: Numbers) -> tuple[Numbers, ...]:
    if not len(scores):
        return (scores,) * len(LISTS)
    order = np.argsort(-scores)
    scores, inside, outside = scores[order], inside[order], outside[order]
    firsts = np.flatnonzero(np.concatenate(([True], scores[1:] != scores[:-1])))
    lasts = np.append(firsts[1:], len(scores)) - 1
    return (
        scores[firsts],
        *(np.add.reduceat(each, firsts) for each in (inside, outside, inside**2, outside**2)),
        *(np.cumsum(each)[lasts] for each in (inside, outside)),
    )
