"""Columns of fixed-width values: times in microseconds, trace and span ids in hexadecimal."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapwing_collector.decode.columns import Mask

TIME: Final = pa.timestamp("us")

_HEX_DIGITS: Final = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
"""The two lower-case digits of each byte, as one 16-bit number."""


def timestamps(nanoseconds: npt.NDArray[Any], known: Mask | None = None) -> pa.TimestampArray:
    """Nanoseconds since the epoch as timestamps, rounded down; null where `known` is false.

    Every 64-bit number of nanoseconds is in a timestamp's range: signed from 1677 to 2262, unsigned to 2554.
    """
    microseconds = (nanoseconds // 1000).astype("datetime64[us]")
    return pa.array(microseconds, TIME, mask=None if known is None else ~known)


def constant_time(nanoseconds: int, count: int) -> pa.TimestampArray:
    """The same time `count` times."""
    return timestamps(np.full(count, nanoseconds))


def hex_ids(ids: pa.BinaryArray, width: int) -> pa.StringArray:
    """Ids of `width` bytes in lower-case hexadecimal; null where an id has another width or is all zero."""
    offsets = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset :][: len(ids) + 1]
    data = np.frombuffer(ids.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    valid = lengths == width
    raw = data[offsets[0] : offsets[-1]][np.repeat(valid, lengths)].reshape(-1, width)
    nonzero = raw.any(axis=1)
    if not nonzero.all():
        valid[valid] = nonzero
        raw = raw[nonzero]
    ends = np.cumsum(valid * (2 * width), dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(ids),
        pa.py_buffer(np.concatenate([np.zeros(1, np.int32), ends])),
        pa.py_buffer(_HEX_DIGITS[raw]),
        pa.py_buffer(np.packbits(valid, bitorder="little")),
    )
