"""Records: a header with a checksum, then an opaque payload; and how to find them in damaged bytes."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_CHECKED: Final = struct.Struct("<4sIQ")
"""Magic, payload length, position: what the checksum covers, together with the payload."""
_CHECKSUM: Final = struct.Struct("<I")
HEADER_BYTES: Final = _CHECKED.size + _CHECKSUM.size
_MARK: Final = b"\xffLW"
"""0xff stands in no UTF-8 text, so that logged text seldom needs escaping."""
MAGIC: Final = _MARK + b"\x01"
_ESCAPED: Final = _MARK + b"\x00"
"""How the mark is written inside a payload: the magic then stands nowhere but at the start of records, and
what somebody logs is never taken for a record when the bytes before it are damaged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One payload and its position in the log."""

    position: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes from `start` to `end` (exclusive) that are not a whole record."""

    start: int
    end: int

    @property
    def most_records(self) -> int:
        """How many records may have been here, at most."""
        return -((self.start - self.end) // HEADER_BYTES)


def encode(position: int, payload: bytes) -> bytes:
    """The record of `payload`, as it stands in the file."""
    escaped = payload.replace(_MARK, _ESCAPED)
    checked = _CHECKED.pack(MAGIC, len(escaped), position)
    return checked + _CHECKSUM.pack(zlib.crc32(escaped, zlib.crc32(checked))) + escaped


def scan(data: bytes, lowest: int, highest: int) -> Iterator[Entry | Gap]:
    """Find the records in `data`, whatever else stands between them.

    Args:
        data: Records one after another, of rising positions; perhaps torn, overwritten or with flipped bits.
        lowest: Positions below are not believed.
        highest: Nor are those above.
    """
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
    start = offset + HEADER_BYTES
    if start > len(data):
        return None
    magic, length, position = _CHECKED.unpack_from(data, offset)
    end = start + length
    if magic != MAGIC or not lowest <= position <= highest or end > len(data):
        return None
    (checksum,) = _CHECKSUM.unpack_from(data, offset + _CHECKED.size)
    escaped = data[start:end]
    if zlib.crc32(escaped, zlib.crc32(data[offset : offset + _CHECKED.size])) != checksum:
        return None
    return Entry(position, escaped.replace(_ESCAPED, _MARK)), end


def _next_record(data: bytes, offset: int, lowest: int, highest: int) -> int:
    while (offset := data.find(MAGIC, offset)) >= 0:
        if _record_at(data, offset, lowest, highest) is not None:
            return offset
        offset += 1
    return len(data)
