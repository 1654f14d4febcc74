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


def bin_quantiles(places: Any, counts: Any, edges: Any, shares: Any) -> pa.Array:
    """Quantiles of durations that were counted in bins of equal width on a logarithmic scale.

    The quantile of a share lies in the first bin up to which that share of the counts is, as far along its
    width as the share is along its count. Windows over a few thousand bins take DuckDB several times as long.

    Args:
        places: Lists of bins that have counts, in any order: 1 is what is below the first edge.
        counts: How many are in each, above 0.
        edges: Lists of the edges between bins.
        shares: Lists of what quantiles are asked for, between 0 and 1.

    Returns:
        A list of quantiles for each list.
    """
    at, of = _flat(places)
    order = np.lexsort((at, of))
    at, n = at[order], _flat(counts)[0][order].astype(float)
    first = np.searchsorted(of, np.arange(len(places)))
    reached = np.cumsum(n)
    reached -= (reached - n)[first][of]
    known = np.add.reduceat(n, first)
    edge, edge_of = _flat(edges)
    edge_first = np.searchsorted(edge_of, np.arange(len(places)))
    last = np.bincount(edge_of) - 1
    columns = []
    for share in np.asarray(shares[0].values, dtype=float):
        sought = share * known
        found = first + np.add.reduceat(reached < sought[of], first)
        lower = edge[edge_first + np.clip(at[found] - 2, 0, last)]
        upper = edge[edge_first + np.minimum(at[found] - 1, last)]
        columns.append(lower * (upper / lower) ** ((sought - (reached[found] - n[found])) / n[found]))
    flat = pa.array(np.column_stack(columns).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, len(columns)).cast(pa.list_(pa.float64()))


def _flat(lists: Any) -> tuple[Any, Any]:
    """The values of all lists, and of each value the number of its list."""
    whole = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return whole.flatten().to_numpy(), pc.list_parent_indices(whole).to_numpy()


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
