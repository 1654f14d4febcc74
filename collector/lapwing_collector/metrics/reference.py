"""References: what production is compared with, as counts in the model's own bins and exact statistics."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.metrics.columns import countable, flattened, is_number
from lapwing_collector.metrics.counting import bin_values
from lapwing_collector.model.profiles import REFERENCE_BIN_ROWS, Binning
from lapwing_collector.model.records import PREDICTION_ROWS

PERCENTILES: Final = np.linspace(0, 1, 101)

MOST_KEPT: Final = 100_000
"""Rows of a reference that are kept as they are, beside its counts, which are of all."""

MOST_KEPT_BYTES: Final = 64 << 20
"""What they may take in memory; fewer are kept where they are wide."""

ORDER: Final = "lapwing:order"
"""Column of a file by whose values it is chosen which rows are kept, where it has one."""

_ROOTS: Final = ("inputs", "output", "descriptors", "label", "tags")
_PLAIN: Final = ("label", "duration_ms", "error_type")
"""Columns of predictions and labels that are fields by themselves."""


def field_names(columns: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Which field each column of a file is about.

    A column is named by the field (`inputs.age`), or by its last part: then it is the field of the inputs, or
    of the output, that the model has; else a new one of the inputs. Columns that predictions have beside
    their fields (`time`, `prediction_id`, …) are about none. `Age` is `age`, unless there are both.

    Args:
        columns: Of the file.
        known: Fields that the model has.

    Returns:
        Fields by column; columns that are about none are left out.
    """
    spelled = {name.lower(): name for name in known}
    found = {}
    for column in columns:
        if column in _PLAIN or column.partition(".")[0] in _ROOTS:
            places = [column]
        elif column not in {*PREDICTION_ROWS.names, ORDER}:
            places = [f"{root}.{column}" for root in ("inputs", "output")]
        else:
            continue
        exact = next((place for place in places if place in known), None)
        alike = next((spelled[place.lower()] for place in places if place.lower() in spelled), places[0])
        found[column] = alike if exact is None else exact
    taken = {field for column, field in found.items() if field.endswith(column)}
    return {
        column: field if field.endswith(column) or field not in taken else f"{field[: -len(column)]}{column}"
        for column, field in found.items()
    }


def kept_rows(count: int, order: pa.Array | None = None) -> npt.NDArray[np.int64]:
    """Which rows of a file are kept as they are: their positions, the same whenever it is asked.

    Args:
        count: Of its rows.
        order: A number for each row: those with the least are kept. Without it they have numbers that look
            drawn by chance, and follow from their positions.

    Returns:
        Up to `MOST_KEPT` positions; where there is no room for all, the first ones are to be kept.
    """
    numbers = _scrambled(count) if order is None else order.to_numpy(zero_copy_only=False)
    least = np.argpartition(numbers, MOST_KEPT - 1)[:MOST_KEPT] if count > MOST_KEPT else np.arange(count)
    return least[np.argsort(numbers[least], kind="stable")]


def fitting_rows(rows: int, size_bytes: int) -> int:
    """How many of some rows are kept, by what they take in memory: all, or three quarters of what may be."""
    if size_bytes <= MOST_KEPT_BYTES:
        return rows
    return max(1, int(rows * 0.75 * MOST_KEPT_BYTES / size_bytes))


def _scrambled(count: int) -> npt.NDArray[np.uint64]:
    """A number for each position: SplitMix64, by which no two are equal."""
    z = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def columns_of(rows: pa.Table) -> dict[str, pa.Array]:
    """Columns of a file by name, those inside of structs by their dotted names."""
    plain = {
        name: rows.column(name).combine_chunks()
        for name, kind in zip(rows.schema.names, rows.schema.types, strict=True)
        if not pa.types.is_struct(kind)
    }
    nested = rows.drop_columns(list(plain))
    return {**plain, **(flattened(nested) if nested.num_columns else {})}


def described(values: pa.Array, binning: Binning) -> dict[str, Any]:
    """What a reference keeps of a field: the columns of `REFERENCE_BIN_ROWS` from `field` on.

    Args:
        values: All of them.
        binning: That of the field.
    """
    counts, statistics = bin_values(values, binning)
    row: dict[str, Any] = dict.fromkeys(REFERENCE_BIN_ROWS.names[4:])
    row |= {"field": binning.field, "binning_id": binning.binning_id, "counts": counts.tolist()}
    row["distinct_count"] = pc.count_distinct(values).as_py() if countable(values.type) else None
    row["sum"], row["sum_squares"], row["minimum"], row["maximum"] = (
        None if np.isnan(each) else float(each) for each in statistics
    )
    if is_number(values.type):
        numbers = values.cast(pa.float64(), safe=False).drop_null().to_numpy(zero_copy_only=False)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            row["quantiles"] = np.quantile(numbers, PERCENTILES).tolist()
    return row


def reference_rows(columns: Mapping[str, pa.Array], binnings: Mapping[str, Binning]) -> pa.Table:
    """What a reference keeps of each of its fields that has bins, without whose it is."""
    rows = [described(values, binnings[name]) for name, values in columns.items() if name in binnings]
    schema = pa.schema(list(REFERENCE_BIN_ROWS)[4:])
    return pa.Table.from_pylist(rows, schema)
