"""References: the distributions that production is compared with, as frozen bins with counts."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

QUANTILE_BINS: Final = 10
"""Bins of a numeric field before equal edges fall together."""

MOST_CATEGORIES: Final = 50
"""Categories that get a bin of their own, the most frequent first; the rest share one."""

REFERENCE_BINS: Final = pa.schema(
    [
        ("field", pa.string()),
        ("kind", pa.string()),
        ("bin", pa.int32()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("category", pa.string()),
        ("n", pa.int64()),
        ("share", pa.float64()),
    ]
)
"""One row per bin. `kind` is `range` (lower <= value < upper), `category`, `other` or `null`."""


def reference_bins(rows: pa.Table) -> pa.Table:
    """Bin every numeric, boolean and text column of `rows`.

    A numeric field gets the bins between its deciles (`numpy.quantile`, linear interpolation; equal edges
    fall together), open at both ends; any other field a bin per category. Every field has a bin for nulls,
    NaN and infinity among them, and categories have one for others, also where these are empty.

    Args:
        rows: Columns are named by the field's path, `inputs.age`.

    Returns:
        Rows of `REFERENCE_BINS`; shares are of all rows. Columns of other types are left out.
    """
    bins = [row for name in rows.column_names for row in _bins(name, rows.column(name).combine_chunks())]
    return pa.Table.from_pylist(bins, schema=REFERENCE_BINS)


def _bins(field: str, values: pa.Array) -> list[dict[str, Any]]:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        bins = _range_bins(values.cast(pa.float64()))
    elif pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        bins = _category_bins(values.cast(pa.string()))
    else:
        return []
    known = sum(row["n"] for row in bins)
    bins.append({"kind": "null", "n": len(values) - known})
    return [
        {"field": field, "bin": number, **row, "share": row["n"] / len(values) if len(values) else 0.0}
        for number, row in enumerate(bins)
    ]


def _range_bins(values: pa.Array) -> list[dict[str, Any]]:
    numbers: npt.NDArray[np.float64] = values.drop_null().to_numpy(zero_copy_only=False)
    numbers = numbers[numbers < np.inf]  # as rules' SQL does: NaN and infinity lie in no range
    finite = numbers[numbers > -np.inf]
    if not len(finite):
        return []
    with np.errstate(over="ignore", invalid="ignore"):  # between numbers near the largest there is
        deciles = np.quantile(finite, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1], method="linear")
    inner = np.unique(deciles[np.isfinite(deciles)])
    places = np.searchsorted(inner, numbers, side="right")
    counts = np.bincount(places, minlength=len(inner) + 1)
    edges = [-np.inf, *inner.tolist(), np.inf]
    return [
        {"kind": "range", "lower": lower, "upper": upper, "n": int(n)}
        for lower, upper, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _category_bins(values: pa.Array) -> list[dict[str, Any]]:
    counted = pc.value_counts(values.drop_null()).to_pylist()
    counted.sort(key=lambda entry: (-entry["counts"], entry["values"]))
    own, rest = counted[:MOST_CATEGORIES], counted[MOST_CATEGORIES:]
    return [
        *({"kind": "category", "category": entry["values"], "n": entry["counts"]} for entry in own),
        {"kind": "other", "n": sum(entry["counts"] for entry in rest)},
    ]
