"""Quantiles of weighted numbers."""

from typing import Any

import numpy as np
import pyarrow as pa


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
