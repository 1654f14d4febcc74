"""Arrow IPC streams from anyone: read within bounds, and checked before they are used.

The buffers of a stream may be compressed, and each says how long it becomes; many may be the same bytes. As
pyarrow would read it all, the sum is taken first, from the metadata of the messages: flatbuffers, which it
has verified by then, and of which this reads the few fields it needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import numpy as np
import pyarrow as pa

_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
_VERSION_5: Final = 4
"""Older versions could say in another place that they are compressed."""

_uint8: Final = Struct("<B").unpack_from
_int16: Final = Struct("<h").unpack_from
_uint16: Final = Struct("<H").unpack_from
_uint32: Final = Struct("<I").unpack_from
_int32: Final = Struct("<i").unpack_from
_int64: Final = Struct("<q").unpack_from


@dataclass(frozen=True, slots=True)
class Size:
    """What reading a stream takes.

    Attributes:
        rows: Its rows.
        bytes: The sum of its buffers, decompressed. Dictionaries count for every batch of rows, with each of
            which pyarrow checks them.
    """

    rows: int
    bytes: int


def measure(content: bytes) -> Size:
    """Learn the size of a stream without reading it.

    Raises:
        ValueError: It is one of a kind that is not read.
        Exception: Whatever pyarrow raises for what is no stream.
    """
    rows = size = 0
    dictionaries: dict[int, int] = {}
    for message in pa.ipc.MessageReader.open_stream(content):
        metadata = memoryview(message.metadata)
        table = _target(metadata, 0)
        if _number(_int16, metadata, table, 0) != _VERSION_5:
            raise ValueError("it is of a version of the format before 1.0")
        kind = _number(_uint8, metadata, table, 1)
        batch = _target(metadata, _field(metadata, table, 2))
        if kind == _RECORD_BATCH:
            rows += max(_number(_int64, metadata, batch, 0), 0)
            size += _buffer_bytes(metadata, batch, message.body) + sum(dictionaries.values())
        elif kind == _DICTIONARY_BATCH:
            if _number(_uint8, metadata, batch, 2):  # each batch of rows would join all that came before it
                raise ValueError("it has dictionaries that extend others: write it without deltas")
            values = _target(metadata, _field(metadata, batch, 1))
            dictionaries[_number(_int64, metadata, batch, 0)] = _buffer_bytes(metadata, values, message.body)
    return Size(rows, size)


def read(content: bytes) -> pa.RecordBatch:
    """Read a stream whole, and check every offset, length and text in it.

    Raises:
        Exception: Whatever pyarrow raises for what it can not read.
    """
    table = pa.ipc.open_stream(content).read_all()
    table.validate(full=True)
    table = table.combine_chunks()
    columns = [_only_chunk(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _buffer_bytes(metadata: memoryview, batch: int, body: pa.Buffer) -> int:
    """The sum of the buffers of one message, decompressed."""
    position = _field(metadata, batch, 2)
    if not position:
        return 0
    vector = _target(metadata, position)
    count = int(_uint32(metadata, vector)[0])
    buffers = np.frombuffer(metadata, "<i8", 2 * count, vector + 4).reshape(-1, 2).tolist()
    if not _field(metadata, batch, 3):
        return sum(max(length, 0) for _, length in buffers)
    content = memoryview(body)
    stated = [(length, int(_int64(content, offset)[0])) for offset, length in buffers if length]
    return sum(max(length, becomes, 0) for length, becomes in stated)  # -1 stands for one left as it was


def _target(data: memoryview, position: int) -> int:
    """Where the offset at `position` points."""
    return position + int(_uint32(data, position)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Where the field `number` of a table is, 0 where it has the default."""
    vtable = table - int(_int32(data, table)[0])
    slot = 4 + 2 * number
    offset = int(_uint16(data, vtable + slot)[0]) if slot < _uint16(data, vtable)[0] else 0
    return table + offset if offset else 0


def _number(
    unpack: Callable[[memoryview, int], tuple[Any, ...]], data: memoryview, table: int, number: int
) -> int:
    """The field `number` of a table, which is a number with the default 0."""
    position = _field(data, table, number)
    return int(unpack(data, position)[0]) if position else 0
