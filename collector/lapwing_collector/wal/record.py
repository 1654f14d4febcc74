"""Records: a header with checksums, a head, a body; and how to find them in damaged bytes.

Everything in a segment is sealed with a number of its own, which stands in the file's name only. Bytes that
somebody logs can therefore be kept as they are: whatever they look like, they are no record of that file.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_CHECKED: Final = struct.Struct("<4sIIQI")
"""Magic, length of the head, length of the body, position, checksum of the body."""
_CHECKSUM: Final = struct.Struct("<I")
"""Of what stands before it and of the head, begun with the seal."""
HEADER_BYTES: Final = _CHECKED.size + _CHECKSUM.size
MAGIC: Final = b"\xffLW\x02"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one append brought.

    Attributes:
        position: Its place in the log.
        head: What says what the body is; empty in entries of logs that had none.
        body: The rest; empty where only heads were asked for.
        size: Bytes of the body.
    """

    position: int
    head: bytes
    body: memoryview
    size: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended: the head and the parts of the body, which nobody changes any more."""

    position: int
    head: bytes
    body: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes that it takes in a file."""
        return HEADER_BYTES + len(self.head) + sum(map(len, self.body))

    def encode(self, seal: int) -> list[bytes]:
        """It, in parts, as it stands in a segment with this seal."""
        checksum = 0
        for part in self.body:
            checksum = zlib.crc32(part, checksum)
        size = sum(map(len, self.body))
        checked = _CHECKED.pack(MAGIC, len(self.head), size, self.position, checksum)
        sealed = zlib.crc32(self.head, zlib.crc32(checked, seal))
        return [checked + _CHECKSUM.pack(sealed) + self.head, *self.body]


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes from `start` to `end` (exclusive) that are not a whole record."""

    start: int
    end: int

    @property
    def most_records(self) -> int:
        """How many records may have been here, at most."""
        return -((self.start - self.end) // HEADER_BYTES)


def scan(data: bytes, seal: int, lowest: int, highest: int, unread: int = -1) -> Iterator[Entry | Gap]:
    """Find the records in `data`, whatever else stands between them.

    Args:
        data: Records one after another, of rising positions; perhaps torn, overwritten or with flipped bits.
        seal: The number that they were encoded with.
        lowest: Positions below are not believed.
        highest: Nor are those above.
        unread: Bodies of records up to this position are neither checked nor given.
    """
    view = memoryview(data)
    offset = 0
    while offset < len(data):
        found = _head_at(data, offset, seal, lowest, highest)
        if found is None:
            end = _next_record(data, offset + 1, seal, lowest, highest)
            yield Gap(offset, end)
        else:
            position, head, start, end, checksum = found
            lowest = position + 1
            if position <= unread:
                yield Entry(position, head, view[:0], end - start)
            elif zlib.crc32(view[start:end]) == checksum:
                yield Entry(position, head, view[start:end], end - start)
            else:
                yield Gap(offset, end)
        offset = end


def _head_at(
    data: bytes, offset: int, seal: int, lowest: int, highest: int
) -> tuple[int, bytes, int, int, int] | None:
    """Position, head, start and end of the body, and its checksum, of the record at `offset`."""
    head_start = offset + HEADER_BYTES
    if head_start > len(data):
        return None
    magic, head_size, body_size, position, body_checksum = _CHECKED.unpack_from(data, offset)
    start = head_start + head_size
    end = start + body_size
    if magic != MAGIC or not lowest <= position <= highest or end > len(data):
        return None
    (checksum,) = _CHECKSUM.unpack_from(data, offset + _CHECKED.size)
    head = data[head_start:start]
    if zlib.crc32(head, zlib.crc32(data[offset : offset + _CHECKED.size], seal)) != checksum:
        return None
    return position, head, start, end, body_checksum


def _next_record(data: bytes, offset: int, seal: int, lowest: int, highest: int) -> int:
    while (offset := data.find(MAGIC, offset)) >= 0:
        if _head_at(data, offset, seal, lowest, highest) is not None:
            return offset
        offset += 1
    return len(data)
