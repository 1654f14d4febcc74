"""Quantiles of weighted numbers, and of counts in bins."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.model.profiles import BINS


def quantiles(numbers: Any, weights: Any, shares: Any) -> pa.Array:
    """Quantiles of lists of numbers, as scikit-learn takes the median of weighted rows.

    The quantile of a share is the least number up to which that share of the weight is, or the middle between
    it and the next, where it is just that share.

    Args:
        numbers: Lists of finite numbers.
        weights: The weight of each, above 0.
        shares: Lists of what quantiles are asked for; what lies beyond 0 and 1 counts as these.

    Returns:
        A list of quantiles for each list; NULLs where there are no numbers.
    """
    rows = zip(_lists(numbers), _lists(weights), _lists(shares), strict=True)
    return pa.array([_quantiles(*row) for row in rows], pa.list_(pa.float64()))


def bin_quantiles(counts: Any, edges: Any, shares: Any) -> pa.Array:
    """Quantiles of durations that were counted in bins of equal width on a logarithmic scale.

    The quantile of a share lies in the first bin up to which that share of the counts is, as far along its
    width as the share is along its count. Windows over a few thousand bins take DuckDB several times as long.

    Args:
        counts: Lists of lists of counts, which are added up: each has one for every bin, first for what is
            below the first edge.
        edges: Lists of the edges between bins, all the same.
        shares: Lists of what quantiles are asked for, above 0 and up to 1, all the same.

    Returns:
        A list of quantiles for each list; NULLs where nothing was counted.
    """
    asked = np.asarray(shares[0].values, dtype=float) if len(counts) else np.empty(0)
    found = np.full((len(counts), len(asked)), np.nan)
    if len(counts):
        edge = np.asarray(edges[0].values, dtype=float)
        added = _added(counts, len(edge) + 1)
        known = added.any(axis=1)
        place, along = _sought(added[known], asked)
        lower, upper = edge[np.maximum(place - 1, 0)], edge[np.minimum(place, len(edge) - 1)]
        found[known] = lower * (upper / lower) ** along
    flat = pa.array(found.ravel(), from_pandas=True)
    return pa.FixedSizeListArray.from_arrays(flat, len(asked)).cast(pa.list_(pa.float64()))


def bin_medians(counts: Any, edges: Any, least: Any, most: Any) -> pa.Array:
    """Medians of numbers that were counted in bins.

    As quantiles of durations, but on a linear scale, and between the least and the greatest number of all.
    Where there are fewer bins than many different numbers would have, each stands for one number, its lower
    edge.

    Args:
        counts: Lists of lists of counts, as for `bin_quantiles`.
        edges: Lists of the edges between the bins of these, two at least.
        least: The least number of those that were counted.
        most: The greatest one.

    Returns:
        A median for each list; NULL where nothing was counted.
    """
    whole, bounds = _whole(counts), _whole(edges)
    ends = np.column_stack([each.to_numpy(zero_copy_only=False) for each in (_whole(least), _whole(most))])
    length = pc.list_value_length(bounds).to_numpy(zero_copy_only=False)
    found = np.full(len(whole), np.nan)
    for edge_count in np.unique(length):
        of = np.flatnonzero(length == edge_count)
        added = _added(whole.take(of), edge_count + 1)
        of, added = of[added.any(axis=1)], added[added.any(axis=1)]
        between = bounds.take(of).flatten().to_numpy().reshape(-1, edge_count)
        edge = np.column_stack([ends[of, 0], between, ends[of, 1]])
        place, along = (each[:, 0] for each in _sought(added, np.array([0.5])))
        row = np.arange(len(of))
        lower, upper = edge[row, place], edge[row, place + 1]
        found[of] = lower if edge_count <= BINS else lower * (1 - along) + upper * along
    return pa.array(found, from_pandas=True)


def _added(lists: Any, width: int) -> Any:
    """Lists of lists of counts, each added up to one row of `width` counts."""
    whole = _whole(lists)
    rows, of = whole.flatten(), pc.list_parent_indices(whole).to_numpy()
    first = np.flatnonzero(np.diff(of, prepend=-1))
    added = np.zeros((len(whole), width), dtype=np.int64)
    if len(first):
        added[of[first]] = np.add.reduceat(rows.flatten().to_numpy().reshape(-1, width), first)
    return added


def _sought(counts: Any, shares: Any) -> tuple[Any, Any]:
    """The bins up to which shares of each row of counts are, and how far along these; in one sum over all."""
    n, reached = counts.ravel(), np.cumsum(counts)
    total = counts.sum(axis=1)
    sought = np.cumsum(total)[:, None] - np.outer(total, 1 - shares)
    at = np.searchsorted(reached, sought)
    return at % counts.shape[1], (sought - (reached[at] - n[at])) / n[at]


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _lists(column: Any) -> list[Any]:
    return [np.asarray(each.values, dtype=float) for each in column]


def _quantiles(numbers: Any, weights: Any, shares: Any) -> list[float | None]:
    if not len(numbers):
        return [None] * len(shares)
    order = np.argsort(numbers)
    numbers = numbers[order]
    reached = np.cumsum(weights[order])
    sought = np.clip(shares, 0, 1) * reached[-1]
    # Sums of weights that differ by rounding alone are the same.
    near = 1e-12 * reached[-1]
    lower = np.searchsorted(reached, sought - near, side="left")
    upper = np.searchsorted(reached, sought + near, side="right")
    last = len(numbers) - 1
    found = (numbers[np.minimum(lower, last)] + numbers[np.minimum(upper, last)]) / 2
    return [float(each) for each in found]
