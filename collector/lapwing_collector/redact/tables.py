"""The tables of batches: their columns are redacted as the SDK does, and written anew.

A table may hold what nobody sees in it: what stands under nulls, between the slices of a buffer, in metadata.
None of it is taken along.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.redact.record import STAGES, Shape
from lapwing_collector.redact.values import Walker

ReadTable = Callable[[bytes], pa.RecordBatch]
"""Reads an Arrow IPC stream from anyone, within bounds; raises whatever it likes for one that it can not."""

_SECTIONS: Final = frozenset(("inputs", "output", "tags"))
_NAMED: Final = frozenset(
    (
        *("label", "prediction_id", "request_id", "version", "variant", "upstream", "source"),
        *("error_type", "error_message"),
    )
)
_MADE: Final = frozenset(("time", "prediction_time", "duration_ms", "weight", "fallback", "stage"))
_VIEWS: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}

types = pa.types


def redact_table(walker: Walker, shape: Shape, content: bytes, read: ReadTable) -> bytes:
    """Redact the table of a batch.

    Args:
        walker: Has the rules.
        shape: What the record is.
        content: The table, as an Arrow IPC stream.
        read: Reads it.

    Raises:
        Exception: It can not be read, or not be written anew.
    """
    table = read(content)
    columns = {name: _compact(column) for name, column in zip(table.schema.names, table.columns, strict=True)}
    record = walker.record
    redacted: dict[str, pa.Array] = {}
    rest: dict[str, pa.Array] = {}
    named: dict[str, pa.Array] = {}
    for name, column in columns.items():
        if name in _SECTIONS and types.is_struct(column.type):
            redacted[name] = _struct(column, record.table(name, _parts(column)))
        elif name in _SECTIONS or name in _NAMED:
            named[name] = column
        elif name in _MADE and _is_made(column):
            redacted[name] = column
        elif name in _MADE:
            if left := [*record.table("extra", {name: column}).values()]:  # whatever its name has become
                redacted[name] = left[0]
        else:
            rest[name] = column
    redacted |= record.table("extra", rest)
    redacted |= record.table("", named)  # with the errors, last
    kept = {name: redacted[name] for name in sorted(redacted, key=_order(columns))}
    if not shape.sections & kept.keys() and shape.sections & columns.keys():
        kept |= _empty(shape, table.num_rows)
    return _written(kept)


def _order(columns: Mapping[str, pa.Array]) -> Callable[[str], int]:
    places = {name: place for place, name in enumerate(columns)}
    return lambda name: places.get(name, len(places))


def _empty(shape: Shape, rows: int) -> dict[str, pa.Array]:
    """What a table must have where nothing of it is left."""
    if "label" in shape.sections:
        return {"label": pa.nulls(rows)}
    return {"inputs": _struct(pa.nulls(rows, pa.struct([])), {})}


def _is_made(column: pa.Array) -> bool:
    """Whether a column holds what no rule touches: numbers, times, bools, or names of stages."""
    kind = column.type
    if types.is_string(kind):
        return set(pc.unique(column).to_pylist()) <= {*STAGES, "", None}
    return bool(types.is_primitive(kind) or types.is_null(kind))


def _parts(column: pa.StructArray) -> dict[str, pa.Array]:
    return dict(zip([field.name for field in column.type], column.flatten(), strict=True))


def _struct(column: pa.Array, parts: Mapping[str, pa.Array]) -> pa.StructArray:
    """A struct with nulls where `column` has them."""
    if not parts:
        return pa.array([{} if valid else None for valid in column.is_valid().to_pylist()], pa.struct([]))
    return pa.StructArray.from_arrays(list(parts.values()), names=list(parts), mask=column.is_null())


def _written(columns: Mapping[str, pa.Array]) -> bytes:
    batch = pa.RecordBatch.from_pydict(dict(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _compact(column: pa.Array) -> pa.Array:
    """The same values, with nothing else in the buffers.

    Raises:
        ValueError: It is of a type that is not read anyhow.
    """
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _compact(column.storage)
    if types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(_without_hidden(column.indices), _compact(column.dictionary))
    if types.is_struct(kind):
        return _struct(column, {name: _compact(part) for name, part in _parts(column).items()})
    if types.is_map(kind):
        return _compact_map(column)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _compact_list(column)
    if types.is_nested(kind) or types.is_run_end_encoded(kind):
        raise ValueError(f"{kind} is not read")
    return _without_hidden(column.cast(_VIEWS[kind]) if kind in _VIEWS else column)


def _compact_list(column: pa.Array) -> pa.Array:
    offsets = _offsets(pc.list_value_length(column))
    items = _compact(column.flatten())  # those of null lists left out
    if types.is_large_list(column.type):
        return pa.LargeListArray.from_arrays(offsets, items, mask=column.is_null())
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), items, mask=column.is_null())


def _compact_map(column: pa.MapArray) -> pa.MapArray:
    kind = column.type
    pairs = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
    lists = _compact_list(column.cast(pa.list_(pairs)))
    keys, items = lists.values.flatten()
    return pa.MapArray.from_arrays(lists.offsets, keys, items, mask=column.is_null())


def _offsets(lengths: pa.Array) -> pa.Array:
    lengths = pc.fill_null(lengths, 0).cast(pa.int64())
    return pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])


def _without_hidden(column: pa.Array) -> pa.Array:
    """Values that hold no others, copied one by one; what a null is made of is zero."""
    if column.null_count == len(column):
        return pa.nulls(len(column), column.type)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return column.drop_null().take(pa.array(np.cumsum(valid) - 1, mask=~valid))
