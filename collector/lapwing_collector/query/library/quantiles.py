"""Quantiles of weighted numbers, and of counts in bins."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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
    whole = counts.combine_chunks() if isinstance(counts, pa.ChunkedArray) else counts
    rows, of = whole.flatten(), pc.list_parent_indices(whole).to_numpy()
    first = np.flatnonzero(np.diff(of, prepend=-1))
    asked = np.asarray(shares[0].values, dtype=float)
    found = np.full((len(whole), len(asked)), np.nan)
    if len(first):
        edge = np.asarray(edges[0].values, dtype=float)
        added = np.add.reduceat(rows.flatten().to_numpy().reshape(len(rows), len(edge) + 1), first)
        known = added.any(axis=1)
        found[of[first][known]] = _in_bins(added[known], edge, asked)
    flat = pa.array(found.ravel(), from_pandas=True)
    return pa.FixedSizeListArray.from_arrays(flat, len(asked)).cast(pa.list_(pa.float64()))


def _in_bins(counts: Any, edge: Any, asked: Any) -> Any:
    """Quantiles of each row of counts, all of which are looked for in one sum over all rows."""
    n, reached = counts.ravel(), np.cumsum(counts)
    total = counts.sum(axis=1)
    sought = np.cumsum(total)[:, None] - np.outer(total, 1 - asked)
    at = np.searchsorted(reached, sought)
    place = at % counts.shape[1]
    lower, upper = edge[np.maximum(place - 1, 0)], edge[np.minimum(place, len(edge) - 1)]
    return lower * (upper / lower) ** ((sought - (reached[at] - n[at])) / n[at])


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
