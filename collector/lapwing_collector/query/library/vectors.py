"""How far two samples of embeddings are apart.

Samples come as Arrow lists of vectors, bounded, and without NULL, NaN and infinity.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapwing_collector.query.library.apart import BOUND, tell_apart
from lapwing_collector.query.library.counts import LEAST_DEVIATION
from lapwing_collector.query.library.samples import KERNEL, mean_discrepancy

Floats = npt.NDArray[np.float64]
Found = tuple[float, float, float]
"""A distance, where it begins to be drift, and how probable one as large is by chance (NaN: nobody knows)."""

TYPE: Final = pa.struct(
    [
        ("statistic", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("reason", pa.string()),
    ]
)

NO_CLASSIFIER: Final = "scikit-learn is not installed: pip install 'lapwing[ml]'"
"""What to do where the classifier is missing."""

_LARGE: Final = 1000
"""Vectors of the reference from which on the classifier's area is held against a fixed bound."""
_COMPONENT_BOUND: Final = 0.1


def embeddings(methods: Any, reference: Any, current: Any, components: Any) -> pa.Array:
    """Compare two samples of vectors, row by row.

    Args:
        methods: Names in `METHODS`.
        reference: Lists of vectors; those at the start are as good as any.
        current: What is compared with them.
        components: How many principal components of the reference are looked at instead; NULL for none.

    Returns:
        Structs of `TYPE`; `reason` says why where there is nothing to tell.
    """
    columns = (methods, reference, current, components)
    return pa.array([_compared(*row) for row in zip(*columns, strict=True)], TYPE)


def _compared(method: Any, reference: Any, current: Any, components: Any) -> dict[str, Any] | None:
    if not (reference.is_valid and current.is_valid):
        return None
    call = METHODS.get(method.as_py())
    if call is None:
        return {"reason": f"no such method: {method}; there are {', '.join(METHODS)}"}
    lengths = {
        length for side in (reference, current) for length in side.values.value_lengths().unique().to_pylist()
    }
    if len(lengths) > 1:
        return {"reason": f"vectors of {' and '.join(map(str, sorted(lengths)[:3]))} numbers"}
    width = lengths.pop()
    seen, now = (side.values.flatten().to_numpy().reshape(-1, width) for side in (reference, current))
    try:
        if components.is_valid:
            seen, now = _principal(seen, now, components.as_py())
        statistic, threshold, p_value = call(seen, now)
    except (ImportError, ValueError) as error:
        return {"reason": NO_CLASSIFIER if isinstance(error, ImportError) else str(error)}
    if not np.isfinite(statistic):
        return {"reason": "undefined for these vectors"}
    return {
        "statistic": statistic,
        "threshold": threshold,
        "p_value": p_value if np.isfinite(p_value) else None,
        "reason": None,
    }


def _principal(seen: Floats, now: Floats, components: int) -> tuple[Floats, Floats]:
    """Both samples along the directions in which the reference varies most.

    Raises:
        ValueError: It does not vary in so many.
    """
    most = min(seen.shape)
    if not 1 <= components <= most:
        count, width = seen.shape
        raise ValueError(f"components is from 1 to {most} for {count} vectors of {width} numbers")
    middle = seen.mean(axis=0)
    directions = np.linalg.svd(seen - middle, full_matrices=False)[2][:components]
    return (seen - middle) @ directions.T, (now - middle) @ directions.T


def _classifier(seen: Floats, now: Floats) -> Found:
    both = np.concatenate([seen, now])
    spread = both.std(axis=0)
    told = tell_apart((both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0), len(seen))
    return told.area, BOUND if len(seen) >= _LARGE else told.by_chance, told.p_value


def _euclidean(seen: Floats, now: Floats) -> Found:
    return float(np.linalg.norm(seen.mean(axis=0) - now.mean(axis=0))), 0.2, np.nan


def _cosine(seen: Floats, now: Floats) -> Found:
    one, other = seen.mean(axis=0), now.mean(axis=0)
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return 1 - float(one @ other) / lengths if lengths else np.nan, 0.2, np.nan


def _components(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    spread = np.maximum(seen.std(axis=0), LEAST_DEVIATION)
    moved = [
        stats.wasserstein_distance(seen[:, at], now[:, at]) / spread[at] >= _COMPONENT_BOUND
        for at in range(seen.shape[1])
    ]
    return float(np.mean(moved)), 0.2, np.nan


def _mmd(seen: Floats, now: Floats) -> Found:
    seen, now = seen[:KERNEL], now[:KERNEL]
    both = np.concatenate([seen, now])
    lengths = (both**2).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths[None, :] - 2 * both @ both.T, 0.0)
    statistic, p_value = mean_discrepancy(squares, len(seen))
    return statistic, 0.015, p_value


METHODS: Final[Mapping[str, Callable[[Floats, Floats], Found]]] = MappingProxyType(
    {
        "classifier": _classifier,
        "euclidean": _euclidean,
        "cosine": _cosine,
        "components": _components,
        "mmd": _mmd,
    }
)
"""What two samples of vectors are compared by."""
