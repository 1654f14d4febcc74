"""OTLP values as protobuf bytes, without protobuf objects.

A protobuf message is its fields one after the other, each a tag, a length where the field has one, and the
content. So an `AnyValue` is bytes, a map is the joined bytes of its entries, and what surrounds a value
depends on its size alone.

What a service logs comes again and again under the same keys: a `Field` keeps, for one key, an encoder per
type of value, and the finished entries of the small numbers and short texts that it has seen. Types that
protobuf does not know become plain values first, see `_values`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from struct import Struct
from types import NoneType
from typing import Any, Final

from lapwing._values import as_text, plain, unreadable

MAX_DEPTH: Final = 64
"""Lists and maps inside each other: OpenTelemetry's own limit. What lies deeper travels as text."""

Parents = tuple[int, ...]
"""Identities of the containers around a value; their number is its depth, one that recurs is a cycle."""

EntryEncoder = Callable[[Any], bytes]
"""Turns a value into the bytes of a map's entry, key included."""

_KEPT_ENTRIES: Final = 128
_KEPT_TYPES: Final = 32
_KEPT_KEYS: Final = 512
_KEPT_TEXT: Final = 64

_ONE_BYTE: Final = tuple(bytes((n,)) for n in range(128))
_TRUE: Final = b"\x10\x01"
_FALSE: Final = b"\x10\x00"
_pack_double: Final = Struct("<d").pack


def varint(number: int) -> bytes:
    """Encode an unsigned integer below 2^64."""
    if number < 0x80:
        return _ONE_BYTE[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def sized(tag: bytes, content: bytes) -> bytes:
    """Encode a field that has a length: `tag`, the size of `content`, `content`."""
    return tag + varint(len(content)) + content


def encode_text(text: str) -> bytes:
    r"""Encode text as UTF-8; what has no UTF-8 form (a lone surrogate) is written as `\udc80`."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def encode_value(value: Any, parents: Parents = ()) -> bytes:
    """Encode any Python value as the content of an `AnyValue`.

    A value whose own methods fail costs that value, which travels as a text that says so, not the record.
    """
    encoder = _CONTENT.get(type(value), _converted)
    try:
        return encoder(value, parents)
    except Exception:  # noqa: BLE001  # a value's own methods may raise anything
        return encode_string(unreadable(value))


def encode_entries(pairs: Iterable[tuple[object, Any]], parents: Parents = ()) -> bytes:
    """Encode the entries of a map, which are also the attributes of a resource."""
    parts: list[bytes] = []
    for key, value in pairs:
        content = encode_value(value, parents)
        parts += (entry_head(b"\x0a", key if type(key) is str else str(plain(key)), len(content)), content)
    return b"".join(parts)


def encode_attribute(key: str, content: bytes) -> bytes:
    """Encode an attribute of a log record whose value is encoded already."""
    return entry_head(b"\x32", key, len(content)) + content


def encode_map(entries: bytes) -> bytes:
    """Encode a map, as the content of an `AnyValue`, from its encoded entries."""
    return sized(b"\x32", entries)


def encode_double(value: float, _parents: Parents = ()) -> bytes:
    """Encode a number, as the content of an `AnyValue`."""
    return b"\x21" + _pack_double(value)


def encode_string(value: str, _parents: Parents = ()) -> bytes:
    """Encode text, as the content of an `AnyValue`."""
    content = encode_text(value)
    return b"\x0a" + varint(len(content)) + content


class Field(dict[type, EntryEncoder]):
    """Encodes the entries that one key has in map after map: `field[type(value)](value)`."""

    def __init__(self, key: str) -> None:
        """Know the key; encoders are made when a value of their type first comes."""
        super().__init__()
        self._key = key

    def __missing__(self, kind: type) -> EntryEncoder:
        encoder = self._encoder(kind)
        if len(self) < _KEPT_TYPES:
            self[kind] = encoder
        return encoder

    def _encoder(self, kind: type) -> EntryEncoder:
        if kind is float:
            return self._doubles()
        if kind is int:
            return self._remembering(_int, lambda value: -0x8000 <= value < 0x8000)
        if kind is str:
            return self._remembering(encode_string, lambda text: len(text) <= _KEPT_TEXT)
        if kind is bool:
            true, false = self._entry(_TRUE), self._entry(_FALSE)
            return lambda value: true if value else false
        if kind is NoneType:
            null = self._entry(b"")
            return lambda _value: null
        return lambda value: self._entry(encode_value(value))

    def _entry(self, content: bytes) -> bytes:
        return entry_head(b"\x0a", self._key, len(content)) + content

    def _doubles(self) -> EntryEncoder:
        head, pack = entry_head(b"\x0a", self._key, 9) + b"\x21", _pack_double
        return lambda value: head + pack(value)

    def _remembering(
        self, encode: Callable[[Any, Parents], bytes], worth_it: Callable[[Any], bool]
    ) -> EntryEncoder:
        """Keep the first entries that are worth it: most features have few values, and these come first."""
        seen: dict[Any, bytes] = {}

        def encoder(value: Any) -> bytes:
            entry = seen.get(value)
            if entry is None:
                entry = self._entry(encode(value, ()))
                if len(seen) < _KEPT_ENTRIES and worth_it(value):
                    seen[value] = entry
            return entry

        return encoder


class _Fields(dict[object, Field]):
    """The fields of the keys that came so far, up to a number."""

    def __missing__(self, key: object) -> Field:
        if type(key) is not str or len(key) > _KEPT_TEXT:
            return Field(str(plain(key)))
        if len(self) == _KEPT_KEYS:
            self.clear()
        field = self[key] = Field(key)
        return field


_fields: Final = _Fields()


def encode_fields(values: Mapping[Any, Any]) -> bytes:
    """Encode the entries of a map whose keys come again: inputs, output."""
    return b"".join([_fields[key][type(value)](value) for key, value in values.items()])


@lru_cache(maxsize=4096)
def _known_head(tag: bytes, key: str, size: int) -> bytes:
    head = sized(b"\x0a", encode_text(key)) + b"\x12" + varint(size)
    return tag + varint(len(head) + size) + head


def entry_head(tag: bytes, key: str, size: int) -> bytes:
    """Encode all of a `KeyValue` field that stands before a value of `size` bytes."""
    return (_known_head if len(key) <= _KEPT_TEXT else _known_head.__wrapped__)(tag, key, size)


def _none(_value: None, _parents: Parents) -> bytes:
    return b""  # an AnyValue with nothing set: null is a value, a missing key is not


def _bool(value: bool, _parents: Parents) -> bytes:
    return _TRUE if value else _FALSE


def _int(value: int, _parents: Parents) -> bytes:
    if 0 <= value < 0x80:
        return b"\x18" + _ONE_BYTE[value]
    if -0x8000_0000_0000_0000 <= value < 0x8000_0000_0000_0000:
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return encode_string(str(value))


def _bytes(value: bytes, _parents: Parents) -> bytes:
    return sized(b"\x3a", value)


def _mapping(value: dict[object, object], parents: Parents, identity: int | None = None) -> bytes:
    identity = id(value) if identity is None else identity
    if len(parents) == MAX_DEPTH or identity in parents:
        return encode_string(as_text(value))
    return encode_map(encode_entries(value.items(), (*parents, identity)))


def _list(value: list[object] | tuple[object, ...], parents: Parents, identity: int | None = None) -> bytes:
    identity = id(value) if identity is None else identity
    if len(parents) == MAX_DEPTH or identity in parents:
        return encode_string(as_text(value))
    inside = (*parents, identity)
    return sized(b"\x2a", b"".join([sized(b"\x0a", encode_value(item, inside)) for item in value]))


def _converted(value: object, parents: Parents) -> bytes:
    """Encode a value of another type by what it is made of, which may be a container of more such values."""
    known = plain(value)
    if type(known) is dict:
        return _mapping(known, parents, id(value))
    if type(known) is list:
        return _list(known, parents, id(value))
    return _CONTENT[type(known)](known, parents)


_CONTENT: Final[dict[type, Callable[[Any, Parents], bytes]]] = {
    NoneType: _none,
    bool: _bool,
    int: _int,
    float: encode_double,
    str: encode_string,
    bytes: _bytes,
    dict: _mapping,
    list: _list,
    tuple: _list,
}
