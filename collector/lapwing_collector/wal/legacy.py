"""Reading the segments and checkpoints of logs from before bodies were kept as they are.

A record was one payload behind a header; the mark with which records begin was escaped inside payloads.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from lapwing_collector.wal.record import Entry, Gap

_CHECKED: Final = struct.Struct("<4sIQ")
"""Magic, payload length, position: what the checksum covers, together with the payload."""
_CHECKSUM: Final = struct.Struct("<I")
_HEADER_BYTES: Final = _CHECKED.size + _CHECKSUM.size
_MARK: Final = b"\xffLW"
_MAGIC: Final = _MARK + b"\x01"
_ESCAPED: Final = _MARK + b"\x00"


def scan(data: bytes, lowest: int, highest: int) -> Iterator[Entry | Gap]:
    """Find the records in `data`; their payloads are bodies without a head."""
    offset = 0
    while offset < len(data):
        record = _record_at(data, offset, lowest, highest)
        if record is None:
            end = _next_record(data, offset + 1, lowest, highest)
            yield Gap(offset, end)
        else:
            entry, end = record
            yield entry
            lowest = entry.position + 1
        offset = end


def _record_at(data: bytes, offset: int, lowest: int, highest: int) -> tuple[Entry, int] | None:
    """The whole record at `offset` and where it ends; None if there is none."""
    start = offset + _HEADER_BYTES
    if start > len(data):
        return None
    magic, length, position = _CHECKED.unpack_from(data, offset)
    end = start + length
    if magic != _MAGIC or not lowest <= position <= highest or end > len(data):
        return None
    (checksum,) = _CHECKSUM.unpack_from(data, offset + _CHECKED.size)
    escaped = data[start:end]
    if zlib.crc32(escaped, zlib.crc32(data[offset : offset + _CHECKED.size])) != checksum:
        return None
    payload = escaped.replace(_ESCAPED, _MARK)
    return Entry(position, b"", memoryview(payload), len(payload)), end


def _next_record(data: bytes, offset: int, lowest: int, highest: int) -> int:
    while (offset := data.find(_MAGIC, offset)) >= 0:
        if _record_at(data, offset, lowest, highest) is not None:
            return offset
        offset += 1
    return len(data)
