"""References freeze a distribution into bins that count every row once."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.metrics import reference_bins


def test_numeric_bins_are_deciles() -> None:
    """Edges are numpy's linear deciles, open at both ends, and shares are of all rows, nulls among them."""
    values = [float(v) for v in np.random.default_rng(1).normal(size=1000)] + [None] * 24
    bins = reference_bins(pa.table({"inputs.x": values})).to_pylist()
    known = np.array(values[:1000])
    edges = [-math.inf, *np.quantile(known, np.arange(1, 10) / 10), math.inf]
    ranges = [row for row in bins if row["kind"] == "range"]
    assert np.allclose([row["lower"] for row in ranges], edges[:-1])
    assert np.allclose([row["upper"] for row in ranges], edges[1:])
    assert [row["n"] for row in ranges] == [100] * 10
    assert bins[-1] | {"kind": "null", "n": 24, "share": 24 / 1024} == bins[-1]


def test_categories_are_counted_most_frequent_first() -> None:
    """Each category has a bin, the 51st and later share one, and nulls have theirs."""
    values = [f"c{i:02}" for i in range(60) for _ in range(60 - i)] + [None]
    bins = reference_bins(pa.table({"inputs.c": values})).to_pylist()
    counts = pd.Series(values).value_counts()
    own = [row for row in bins if row["kind"] == "category"]
    assert {row["category"]: row["n"] for row in own} == counts.nlargest(50).to_dict()
    assert [row["n"] for row in bins if row["kind"] == "other"] == [counts.nsmallest(10).sum()]
    assert [row["n"] for row in bins if row["kind"] == "null"] == [1]


@given(
    st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=50),
    st.lists(st.none() | st.booleans() | st.text(max_size=2).map(str), max_size=50),
)
def test_every_row_is_in_exactly_one_bin(numbers: list[float | None], texts: list[object]) -> None:
    """Counts add up to the rows, whatever the values, and every range holds the values it says."""
    labels = [None if text is None else str(text) for text in texts]
    for name, column in (
        ("inputs.n", pa.array(numbers, pa.float64(), from_pandas=False)),
        ("inputs.t", pa.array(labels, pa.string())),
    ):
        bins = reference_bins(pa.table({name: column})).to_pylist()
        assert sum(row["n"] for row in bins) == len(column)
        for row in bins:
            if row["kind"] == "range":
                inside = [v for v in numbers if v is not None and row["lower"] <= v < row["upper"]]
                assert row["n"] == len(inside)


def test_columns_that_cannot_be_binned_are_left_out() -> None:
    """Lists and structs have no bins."""
    assert reference_bins(pa.table({"inputs.e": [[1.0]], "inputs.s": [{"a": 1}]})).num_rows == 0
