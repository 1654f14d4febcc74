"""Reads many records of one plan in step: a field of all of them at a time, with NumPy.

Every record has a place in the joined bytes. A step compares what must stand there in all records at once,
notes where the values are, and moves all places on. A record that has something else there, whose lengths do
not add up, or whose numbers are too long, drops out and is left to the general way of reading; what remains
has been checked to the last byte. Places never leave their record, so no byte outside of the buffer is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lapwing_collector.decode.columns import (
    BOOL,
    BYTES,
    DOUBLE,
    INT,
    LIST,
    LIST_OF,
    NULL,
    STRING,
    Index,
    Kinds,
    Mask,
)
from lapwing_collector.decode.plan import (
    ATTRIBUTES,
    BODY,
    EVENT_NAME,
    FIXED32,
    FIXED64,
    MAP,
    MAX_KEY_BYTES,
    SIZED,
    VARINT,
    Attribute,
    Body,
    EventName,
    Sample,
    Scalar,
)

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

PADDING: Final = MAX_KEY_BYTES + 33
"""Bytes that must follow the last record, since blocks are read beyond what they are needed for."""

_MORE: Final = 0x80
"""Set in each byte of a number but the last."""
_MORE_IN_WORD: Final = np.uint64(0x8080808080808080)
_ONE: Final = np.uint64(1)
_ENTRY: Final = 1 << 3 | SIZED
"""Tag of a map's entry, of an entry's key and of a list's element."""
_ENTRY_VALUE: Final = 2 << 3 | SIZED
_TAGS: Final = {
    STRING: STRING << 3 | SIZED,
    BOOL: BOOL << 3 | VARINT,
    INT: INT << 3 | VARINT,
    DOUBLE: DOUBLE << 3 | FIXED64,
    LIST: LIST << 3 | SIZED,
    BYTES: BYTES << 3 | SIZED,
}
_DOUBLE_ELEMENT: Final = np.uint64(int.from_bytes(bytes([_ENTRY, 9, _TAGS[DOUBLE]]), "little"))
_DOUBLE_ELEMENT_BYTES: Final = 11


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one value of the plan is in each record.

    Attributes:
        kinds: The kind of each value; a list is one of doubles.
        bits: Of numbers the value as 64 bits; of texts, bytes and lists where they begin.
        sizes: Of texts, bytes and lists, their bytes.
    """

    kinds: Kinds
    bits: Words
    sizes: Index

    def filter(self, keep: Mask) -> "Slot":
        """Only the values for which `keep` is true."""
        return Slot(self.kinds[keep], self.bits[keep], self.sizes[keep])


@dataclass(frozen=True, slots=True)
class Matched:
    """The records that follow the plan.

    Attributes:
        records: Their places among those that were tried, ascending.
        scalars: By the number of a record's field: numbers as 64 bits.
        texts: By the number of a record's field: where its bytes begin, and how many they are.
        attributes: By key.
        fields: By the keys of section and field; by that of the section alone where it is a value itself.
    """

    records: Index
    scalars: dict[int, Words]
    texts: dict[int, tuple[Index, Index]]
    attributes: dict[str, Slot]
    fields: dict[tuple[str, ...], Slot]

    def filter(self, keep: Mask) -> "Matched":
        """Only the records for which `keep` is true."""
        return Matched(
            self.records[keep],
            {number: bits[keep] for number, bits in self.scalars.items()},
            {number: (at[keep], size[keep]) for number, (at, size) in self.texts.items()},
            {key: slot.filter(keep) for key, slot in self.attributes.items()},
            {path: slot.filter(keep) for path, slot in self.fields.items()},
        )


def match(sample: Sample, data: Bytes, starts: Index, ends: Index) -> Matched:
    """Read the records that follow the plan of `sample`.

    Args:
        sample: What they look like.
        data: All records, and `PADDING` bytes more.
        starts: Where each record begins, ascending.
        ends: Where each ends.
    """
    reader = _Reader(data, starts, ends, iter(sample.heads))
    for step in sample.plan.steps:
        match step:
            case Scalar(wire_type=wire_type) if wire_type == SIZED:
                reader.read_bytes(step)
            case Scalar():
                reader.read_number(step)
            case EventName(name):
                reader.skip(bytes([EVENT_NAME << 3 | SIZED, len(name)]) + name)
            case Attribute(key):
                reader.read_entry(ATTRIBUTES << 3 | SIZED, key, ("attribute", key.decode()))
            case Body():
                reader.read_body(step)
    return reader.finish()


class _Reader:
    def __init__(self, data: Bytes, starts: Index, ends: Index, heads: Iterator[bytes]) -> None:
        self._data = data
        self._heads = heads
        self._at = starts
        self._ends = ends
        self._records: Index = np.arange(len(starts))
        self._open: list[Index] = []
        """Where the containers end that the places are in."""
        self._scalars: dict[int, Words] = {}
        self._texts: dict[int, tuple[Index, Index]] = {}
        self._slots: dict[tuple[str, ...], Slot] = {}
        self._views: dict[int, npt.NDArray[Any]] = {}

    @property
    def _limit(self) -> Index:
        """Where what the places are in ends."""
        return self._open[-1] if self._open else self._ends

    def finish(self) -> Matched:
        self._keep(self._at == self._ends)
        attributes = {path[1]: slot for path, slot in self._slots.items() if path[0] == "attribute"}
        fields = {path[1:]: slot for path, slot in self._slots.items() if path[0] == "body"}
        return Matched(self._records, self._scalars, self._texts, attributes, fields)

    def skip(self, constant: bytes) -> None:
        """Go over bytes that are the same in all records."""
        at = self._at + len(constant)
        (self._at,) = self._keep(self._are(self._at, constant) & (at <= self._limit), at)

    def read_number(self, step: Scalar) -> None:
        """Read a field of the record that is a number."""
        self.skip(bytes([step.tag]))
        if step.wire_type == VARINT:
            bits, width = self._varint(self._at)
            bits, width = self._keep(width > 0, bits, width)
        else:
            bits = self._word(self._at)
            width = np.full(len(bits), 8 if step.wire_type == FIXED64 else 4)
        at = self._at + width
        at, bits = self._keep(at <= self._limit, at, bits)
        if step.wire_type == FIXED32:
            bits &= np.uint64(0xFFFFFFFF)
        self._at = at
        self._scalars[step.number] = bits

    def read_bytes(self, step: Scalar) -> None:
        """Read a field of the record that is text or bytes."""
        self.skip(bytes([step.tag]))
        self._enter()
        end = self._open.pop()
        self._texts[step.number] = (self._at, end - self._at)
        self._at = end

    def read_body(self, step: Body) -> None:
        """Read the body."""
        self.skip(bytes([BODY << 3 | SIZED]))
        self._enter()
        self._enter_map()
        for section in step.sections:
            if section.fields is None:
                self.read_entry(_ENTRY, section.key, ("body", section.key.decode()))
                continue
            self.skip(bytes([_ENTRY]))
            self._enter()
            self.skip(bytes([_ENTRY, len(section.key)]) + section.key + bytes([_ENTRY_VALUE]))
            self._enter()
            self._enter_map()
            for key in section.fields:
                self.read_entry(_ENTRY, key, ("body", section.key.decode(), key.decode()))
            self._leave(3)
        self._leave(2)

    def read_entry(self, tag: int, key: bytes, path: tuple[str, ...]) -> None:
        """Read an entry of a map, or an attribute: key and value."""
        if not len(self._at):
            return  # none of the records follows the plan
        head = bytes([_ENTRY, len(key)]) + key + bytes([_ENTRY_VALUE])
        value_head = next(self._heads)
        size = len(head) + 1 + value_head[0]
        if size >= _MORE or not self._read_expected(path, bytes([tag, size]) + head, value_head):
            self._read_entry(tag, head, path)

    def _read_expected(self, path: tuple[str, ...], head: bytes, value_head: bytes) -> bool:
        """Read an entry whose value has the type and size in all records that it has in the sample.

        Returns:
            Whether it is so; if not, nothing has happened.
        """
        ends = self._at + (len(head) + 1 + value_head[0])
        if not (self._are(self._at, head + value_head) & (ends <= self._limit)).all():
            return False
        at = self._at + (len(head) + len(value_head))
        count = len(at)
        kind = _KINDS.get(value_head[1], LIST) if len(value_head) > 1 else NULL
        sizes = _ZEROS[:count] if count <= len(_ZEROS) else np.zeros(count, np.int64)
        if kind == STRING and value_head[0] == value_head[2] + 2:
            bits, sizes = at.view(np.uint64), np.full(count, value_head[2])
        elif kind == DOUBLE and value_head[0] == 9:
            bits = self._word(at)
        elif kind == NULL and not value_head[0]:
            bits = at.view(np.uint64)
        elif kind in {INT, BOOL} and value_head[0] == 2:
            bits = self._data.take(at).astype(np.uint64)
            if int(bits.max()) >= (_MORE if kind == INT else 2):
                return False
        else:
            return False
        self._slots[path] = Slot(np.full(count, kind, np.uint8), bits, sizes)
        self._at = ends
        return True

    def _read_entry(self, tag: int, head: bytes, path: tuple[str, ...]) -> None:
        place = 2 + len(head)
        block = self._block(self._at, place + 10)
        sizes, kinds = block[:, 1], block[:, place]
        if int(np.bitwise_or.reduce(sizes | kinds)) < _MORE:  # all is short: one look has seen everything
            size = kinds.astype(np.int64)
            at = self._at + (place + 1)
            fits = block[:, 0] == tag
            fits &= self._are(self._at + 2, head)
            fits &= sizes.astype(np.int64) == size + (len(head) + 1)
            fits &= at + size <= self._limit
            value_tags = block[:, place + 1]
            words = np.ascontiguousarray(block[:, place + 2 : place + 10]).view(np.uint64)[:, 0]
            at, size, value_tags, words = self._keep(fits, at, size, value_tags, words)
        else:
            self.skip(bytes([tag]))
            self._enter()
            self.skip(head)
            self._enter()
            end = self._open.pop()
            outer = self._open.pop()
            at, size = self._at, end - self._at
            at, size = self._keep(end == outer, at, size)
            block = self._block(at, 9)
            value_tags = block[:, 0]
            words = np.ascontiguousarray(block[:, 1:9]).view(np.uint64)[:, 0]
        self._at = at
        self._read_value(path, size, value_tags, words)

    def _read_value(self, path: tuple[str, ...], size: Index, tags: Bytes, words: Words) -> None:
        """Read what is `size` bytes long, begins with one of `tags`, and goes on with `words`."""
        slot = Slot(np.zeros(len(tags), np.uint8), words, np.zeros(len(tags), np.int64))
        if len(size) and not size.min():
            tags = np.where(size > 0, tags, np.uint8(0))
        different = np.bincount(tags).nonzero()[0].tolist()
        if len(different) == 1 and different[0]:
            fits = self._read_kind(slot, different[0], slice(None), size)
        else:
            fits = size == 0
            for tag in different:
                if tag:
                    chosen = np.flatnonzero(tags == tag)
                    fits[chosen] = self._read_kind(slot, tag, chosen, size[chosen])
        self._slots[path] = slot
        (self._at,) = self._keep(fits, self._at + size)

    def _read_kind(self, slot: Slot, tag: int, chosen: Any, size: Index) -> Mask:
        """Read those values that begin with `tag`; tells which are what they should be."""
        kind = _KINDS.get(tag, NULL)
        words = slot.bits[chosen]
        fits: Mask
        if kind == DOUBLE:
            fits = size == 9
        elif kind == BOOL:
            words = words & np.uint64(0xFF)
            fits = (size == 2) & (words <= _ONE)
        elif kind == INT:
            words, width = self._varint(self._at[chosen] + 1, words)
            fits = (width > 0) & (size == width + 1)
        elif kind in {STRING, BYTES, LIST}:
            length, width = self._varint(self._at[chosen] + 1, words)
            fits = (width > 0) & (length == (size - width - 1).view(np.uint64))
            at = self._at[chosen] + 1 + width
            inner = np.where(fits, length.view(np.int64), 0)
            if kind == LIST:
                fits &= self._are_doubles(at, inner)
                kind = LIST_OF | DOUBLE
            slot.sizes[chosen] = inner
            words = at.view(np.uint64)
        else:
            return np.zeros(len(size), bool)
        slot.kinds[chosen] = kind
        slot.bits[chosen] = words
        return fits

    def _are_doubles(self, at: Index, size: Index) -> Mask:
        """Which lists have elements, all of them doubles."""
        fits: Mask = (size > 0) & (size % _DOUBLE_ELEMENT_BYTES == 0)
        counts = np.where(fits, size // _DOUBLE_ELEMENT_BYTES, 0)
        places = element_places(at, counts)
        other = (self._word(places) & np.uint64(0xFFFFFF)) != _DOUBLE_ELEMENT
        if other.any():
            fits[np.repeat(np.arange(len(at)), counts)[other]] = False
        return fits

    def _enter_map(self) -> None:
        """Go into a value that is a map."""
        self.skip(bytes([MAP << 3 | SIZED]))
        self._enter()

    def _enter(self) -> None:
        """Read a length, and go into what is so long."""
        lengths, width = self._varint(self._at)
        at = self._at + width
        room = self._limit - at
        fits = (width > 0) & (room >= 0) & (lengths <= np.maximum(room, 0).view(np.uint64))
        at, lengths = self._keep(fits, at, lengths)
        self._at = at
        self._open.append(at + lengths.astype(np.int64))

    def _leave(self, levels: int) -> None:
        """Leave containers, which must all end here."""
        for _ in range(levels):
            self._keep(self._open[-1] == self._at)
            self._open.pop()

    def _keep(self, fits: Mask, *arrays: Any) -> tuple[Any, ...]:
        """Go on with the records that fit; gives back `arrays` for those."""
        if fits.all():
            return arrays
        self._records = self._records[fits]
        self._at, self._ends = self._at[fits], self._ends[fits]
        self._open = [ends[fits] for ends in self._open]
        self._scalars = {number: bits[fits] for number, bits in self._scalars.items()}
        self._texts = {number: (at[fits], size[fits]) for number, (at, size) in self._texts.items()}
        self._slots = {path: slot.filter(fits) for path, slot in self._slots.items()}
        return tuple(array[fits] for array in arrays)

    def _are(self, at: Index, expected: bytes) -> Mask:
        """Where `expected` stands."""
        same: Mask = self._view(len(expected))[at] == np.void(expected)
        return same

    def _block(self, at: Index, size: int) -> Bytes:
        """The `size` bytes at each place, a row per record."""
        return self._view(size)[at].view(np.uint8).reshape(len(at), size)

    def _view(self, size: int) -> npt.NDArray[Any]:
        """What begins at each byte of the buffer and is `size` bytes long."""
        if size not in self._views:
            kind = np.dtype((np.void, size))
            self._views[size] = np.ndarray((len(self._data) - size + 1,), kind, self._data, strides=(1,))
        return self._views[size]

    def _word(self, at: Index) -> Words:
        return np.ndarray((len(self._data) - 7,), "<u8", self._data, strides=(1,))[at]

    def _varint(self, at: Index, words: Words | None = None) -> tuple[Words, Index]:
        """The number at each place and its width; the width is 0 where it is longer than 64 bits."""
        if words is None:
            first = self._data.take(at)
            if not len(first) or int(first.max()) < _MORE:
                return first.astype(np.uint64), np.ones(len(at), np.int64)
            words = self._word(at)
        elif not (words & np.uint64(_MORE)).any():
            return words & np.uint64(0x7F), np.ones(len(at), np.int64)
        stops = ~words & _MORE_IN_WORD
        lowest = stops & (~stops + _ONE)
        below = lowest - _ONE  # all bits where there is no stop
        width = (np.bitwise_count(below).astype(np.int64) >> 3) + 1
        bits = _without_flags(words & below)
        long = np.flatnonzero(stops == 0)
        if len(long):
            ninth = self._data.take(at[long] + 8).astype(np.uint64)
            tenth = self._data.take(at[long] + 9).astype(np.uint64)
            bits[long] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
            is_ten = ninth >= _MORE
            bits[long] |= np.where(is_ten, tenth << np.uint64(63), np.uint64(0))
            width[long] = np.where(is_ten, np.where(tenth <= _ONE, 10, 0), 9)
        return bits, width


_ZEROS: Final = np.zeros(1 << 16, np.int64)
_ZEROS.flags.writeable = False
_KINDS: Final = {tag: kind for kind, tag in _TAGS.items()}


def element_places(at: Index, counts: Index) -> Index:
    """Where the elements of lists of doubles are."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    within = np.arange(total) - np.repeat(ends - counts, counts)
    return np.repeat(at, counts) + within * _DOUBLE_ELEMENT_BYTES


def read_doubles(data: Bytes, at: Index, sizes: Index) -> tuple[Index, npt.NDArray[np.float64]]:
    """The elements of lists of doubles: where each list begins among them, and the elements."""
    counts = sizes // _DOUBLE_ELEMENT_BYTES
    places = element_places(at, counts) + 3
    words = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))[places]
    return np.append(0, np.cumsum(counts)), words.view(np.float64)


def _without_flags(bits: Words) -> Words:
    """Join the groups of seven bits of numbers of up to eight bytes."""
    for mask, shift in _JOINS:
        bits = (bits & mask[0]) | ((bits & mask[1]) >> shift)
    return bits


_JOINS: Final = (
    ((np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00)), np.uint64(1)),
    ((np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000)), np.uint64(2)),
    ((np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000)), np.uint64(4)),
)
