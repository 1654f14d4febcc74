"""Rows that production is compared with, in the columns and kinds of values that predictions have."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from lapwing_collector.decode.arrow import Arrays, Room
from lapwing_collector.decode.columns import UnusableError
from lapwing_collector.decode.fields import Columns
from lapwing_collector.decode.tags import joined_tags
from lapwing_collector.model.description import dotted, parts
from lapwing_collector.model.profiles import REFERENCE_ROWS
from lapwing_collector.model.records import UNTYPED, Batch, Kind

_ROOTS: Final = frozenset({"inputs", "output", "descriptors", "label"})
_ANY: Final = 1 << 62
"""Memory that values may take: who reads the rows bounds them."""


def reference_batch(
    model: str, reference: str, version: int, columns: Mapping[str, pa.Array], numbers: pa.Array
) -> Batch:
    """Make a batch of rows of a reference.

    Columns of types that are read from nobody are left out, as are values that are none of their column.

    Args:
        model: Whose.
        reference: Its name.
        version: Its version.
        columns: By the dotted name of the field, or as a column of predictions is called.
        numbers: The place of each row in its file.
    """
    count = len(numbers)
    arrays = Arrays(Room(_ANY))
    fields = Columns(count)
    for name, values in columns.items():
        path = parts(name)
        if path[0] in _ROOTS:
            _try_to_add(arrays, fields, path, values)
    own = {
        "reference": pa.repeat(pa.scalar(reference), count),
        "reference_version": pa.repeat(pa.scalar(version, pa.int64()), count),
        "row_number": numbers,
        "extra": pa.ExtensionArray.from_storage(UNTYPED, pa.nulls(count, pa.string())),
        "tags": _tags(arrays, columns, count),
    }
    fixed = [
        own[each.name] if each.name in own else _fitted(arrays, columns.get(each.name), each.type, count)
        for each in REFERENCE_ROWS
    ]
    rows = pa.RecordBatch.from_arrays(fixed, schema=REFERENCE_ROWS)
    return Batch(Kind.PREDICTION, model, None, pa.nulls(count, pa.int64()), rows, fields.finish())


def _try_to_add(arrays: Arrays, fields: Columns, path: tuple[str, ...], values: pa.Array) -> None:
    try:
        arrays.add(fields, path, values)
    except UnusableError:
        return


def _fitted(arrays: Arrays, values: pa.Array | None, kind: pa.DataType, count: int) -> pa.Array:
    """A column of its type; NULL where it is another's, or there is none."""
    if values is None:
        return pa.nulls(count, kind)
    try:
        return arrays.unwrapped(values).cast(kind)
    except (UnusableError, pa.ArrowException):
        return pa.nulls(count, kind)


def _tags(arrays: Arrays, columns: Mapping[str, pa.Array], count: int) -> pa.Array:
    """The tags of each row: of a map, or of columns that are called `tags.region`."""
    told = columns.get("tags")
    inside = {
        dotted(parts(name)[1:]): name for name in columns if parts(name)[0] == "tags" and name != "tags"
    }
    if told is None and inside:
        told = pa.StructArray.from_arrays([columns[name] for name in inside.values()], names=list(inside))
    if told is None:
        told = pa.array([{}] * count, pa.map_(pa.string(), pa.string()))
    try:
        return joined_tags(arrays, told, [])
    except UnusableError:
        return joined_tags(arrays, pa.array([{}] * count, pa.map_(pa.string(), pa.string())), [])
