"""The curve that turns scores into probabilities: the rising one that is nearest to what came."""

from typing import Any, Final

import numpy as np
import pyarrow as pa

TYPE: Final = "STRUCT(score DOUBLE[], probability DOUBLE[])"


def isotonic(scores: Any, inside: Any, outside: Any) -> pa.Array:
    """Isotonic regression of what came on the score, by its corners; between them the curve is straight.

    Args:
        scores: Lists of finite numbers that differ, falling.
        inside: Per score the weight of the rows that were of the class.
        outside: Per score the weight of the others.

    Returns:
        Structs of the scores of the corners, rising, and the probability at each.
    """
    found = [
        _corners(*row) for row in zip(*(_lists(each) for each in (scores, inside, outside)), strict=True)
    ]
    return pa.array(
        [{"score": score, "probability": probability} for score, probability in found],
        pa.struct({"score": pa.list_(pa.float64()), "probability": pa.list_(pa.float64())}),
    )


def _lists(column: Any) -> list[Any]:
    return [np.asarray(each.values, dtype=float)[::-1] for each in column]


def _corners(scores: Any, inside: Any, outside: Any) -> tuple[Any, Any]:
    if not len(scores):
        return scores, scores
    from scipy.optimize import isotonic_regression

    weights = inside + outside
    fitted = isotonic_regression(inside / weights, weights=weights).x
    same = fitted[1:] == fitted[:-1]
    # What lies within a level part of the curve says nothing that its ends do not.
    within = np.concatenate(([False], same)) & np.concatenate((same, [False]))
    return scores[~within], np.clip(fitted[~within], 0, 1)
