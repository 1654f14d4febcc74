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

_FREE_BYTES: Final = 16 << 20
_CHECKED_PER_BYTE: Final = 8
"""What is checksummed at most in search of the next record: so much, and this for each byte gone through."""
_CHECK_BYTES: Final = 1024
"""Each checksum takes as long as if it were over so many bytes more."""

_Claim = tuple[int, int, int, int]
"""Position, start and end of the body, and its checksum."""


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
        claim = _claim_at(data, offset, lowest, highest)
        if claim is None or not _is_sealed(view, offset, claim, seal):
            end = _next_record(data, offset + 1, seal, lowest, highest)
            yield Gap(offset, end)
        else:
            position, start, end, checksum = claim
            head = data[offset + HEADER_BYTES : start]
            lowest = position + 1
            if position <= unread:
                yield Entry(position, head, view[:0], end - start)
            elif zlib.crc32(view[start:end]) == checksum:
                yield Entry(position, head, view[start:end], end - start)
            else:
                yield Gap(offset, end)
        offset = end


def _claim_at(data: bytes, offset: int, lowest: int, highest: int) -> _Claim | None:
    """What the bytes at `offset` say that they are, if that can be."""
    if len(data) < offset + HEADER_BYTES:
        return None
    magic, head_size, body_size, position, body_checksum = _CHECKED.unpack_from(data, offset)
    start = offset + HEADER_BYTES + head_size
    if magic != MAGIC or not lowest <= position <= highest or start + body_size > len(data):
        return None
    return position, start, start + body_size, body_checksum


def _is_sealed(view: memoryview, offset: int, claim: _Claim, seal: int) -> bool:
    """Whether what stands at `offset` was written to this file."""
    checked = offset + _CHECKED.size
    sealed = zlib.crc32(view[offset:checked], seal)
    sealed = zlib.crc32(view[offset + HEADER_BYTES : claim[1]], sealed)
    return _CHECKSUM.unpack_from(view, checked) == (sealed,)


def _next_record(data: bytes, offset: int, seal: int, lowest: int, highest: int) -> int:
    """Where the next record after damage begins.

    Bytes that somebody logged may look like the beginnings of a great many records with long heads. Checking
    takes no longer than in proportion to the bytes that are gone through; what asks for more is passed over.
    """
    view = memoryview(data)
    highest = min(highest, lowest + len(data) // HEADER_BYTES)
    patience = _FREE_BYTES
    came_from = offset
    while (offset := data.find(MAGIC, offset)) >= 0:
        patience += _CHECKED_PER_BYTE * (offset - came_from)
        came_from = offset
        claim = _claim_at(data, offset, lowest, highest)
        if claim is not None and (cost := _CHECK_BYTES + claim[1] - offset) <= patience:
            if _is_sealed(view, offset, claim, seal):
                return offset
            patience -= cost
        offset += 1
    return len(data)
