"""Freezes the bins of fields: fine enough that any coarser view of a distribution is a sum of them."""

import hashlib
import struct
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.metrics.columns import countable, is_number
from lapwing_collector.model.profiles import BINS, BinKind, Binning

Floats = npt.NDArray[np.float64]

_LEAST_BIN: Final = 0.25
"""Part of a usual bin that is worth one of its own."""

MOST_CATEGORIES: Final = 100
"""Texts that get a bin of their own, the most frequent first."""

LONGEST_CATEGORY: Final = 200
"""Characters; longer texts are no categories."""

_IDENTIFIERS: Final = 0.5
"""Where more of the values than this are different ones, they are names of single things, not categories."""


def freeze(sample: pa.Table, whose: str, categories: Collection[str] = ()) -> list[Binning]:
    """Bins for the columns of a sample, from their values.

    A column without values gets none, nor does one whose type is not counted.

    Args:
        sample: Columns are named by the fields.
        whose: Told apart from others by this text, the bins have an id that nobody else has.
        categories: Fields that are categories, even if their values are numbers.
    """
    found = []
    for name, column in zip(sample.schema.names, sample.columns, strict=True):
        values = column.combine_chunks().drop_null()
        if not countable(values.type) or not len(values):
            continue
        if name in categories:
            values = values.cast(pa.string())
        if binning := _binning(name, values, whose):
            found.append(binning)
    return found


def _binning(field: str, values: pa.Array, whose: str) -> Binning | None:
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    if is_number(values.type):
        numbers = numbers_of(values)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return None
        kind, edges = BinKind.NUMBER, number_edges(numbers)
    elif pa.types.is_boolean(values.type):
        kind, categories = BinKind.CATEGORY, ("false", "true")
    else:
        kind, categories = BinKind.CATEGORY, most_frequent(values.cast(pa.string()))
    return Binning(_id(whose, field, edges, categories), field, kind, edges, categories)


def numbers_of(values: pa.Array) -> Floats:
    """Numbers as floats, NaN where there are none."""
    if not pa.types.is_float64(values.type):
        values = values.cast(pa.float64(), safe=False)
    if values.null_count:
        values = values.fill_null(np.nan)
    numbers: Floats = values.to_numpy(zero_copy_only=False)
    return numbers


def number_edges(numbers: Floats) -> tuple[float, ...]:
    """Edges of the bins of finite numbers, at least one of which is given: ascending, two or more.

    Few different numbers get a bin each. Of many, the quantiles are the edges, and a number that is as
    frequent as a bin by itself has one of its own, unless there is hardly anything between it and the next.
    """
    different, frequency = np.unique(numbers, return_counts=True)
    with np.errstate(over="ignore"):  # nothing finite is greater than the greatest number
        if len(different) <= BINS:
            edges = np.append(different, np.nextafter(different[-1], np.inf))
        else:
            quantiles = np.quantile(numbers, np.linspace(0, 1, BINS + 1), method="inverted_cdf")
            once, times = np.unique(quantiles, return_counts=True)
            up_to = np.cumsum(frequency)[different.searchsorted(once)]
            between = np.append(up_to[1:] - frequency[different.searchsorted(once[1:])], np.inf) - up_to
            alone = (times > 1) & (between >= len(numbers) / BINS * _LEAST_BIN)
            edges = np.union1d(once, np.nextafter(once[alone], np.inf))
    edges = np.unique(edges[np.isfinite(edges)] + 0.0)  # -0.0 is 0.0
    if len(edges) < 2:
        edges = np.append(np.nextafter(edges, -np.inf), edges)
    return tuple(edges.tolist())


def most_frequent(texts: pa.Array) -> tuple[str, ...]:
    """The texts that get a bin each, the most frequent first, equally frequent ones by the alphabet."""
    counted: list[dict[str, Any]] = pc.value_counts(texts).to_pylist()
    if len(counted) > MOST_CATEGORIES and len(counted) > _IDENTIFIERS * len(texts):
        return ()
    counted.sort(key=lambda each: (-each["counts"], each["values"]))
    fitting = [each["values"] for each in counted if len(each["values"]) <= LONGEST_CATEGORY]
    return tuple(fitting[:MOST_CATEGORIES])


def _id(whose: str, field: str, edges: tuple[float, ...], categories: tuple[str, ...]) -> str:
    content = "\0".join((whose, field, *categories)).encode() + struct.pack(f"{len(edges)}d", *edges)
    return hashlib.blake2b(content, digest_size=8).hexdigest()
