r"""OTLP values as protobuf bytes, without protobuf objects.

A protobuf message is its fields one after the other, each a tag, a length where the field has one, and the
content. So an `AnyValue` is bytes, a map is the joined bytes of its entries, and what surrounds a value
depends on its size alone: `_known_head` keeps it per key and size.

How Python values travel:

    bool, int, float, str, bytes    as themselves; an integer outside 64 bits and text that is no valid
                                    Unicode (lone surrogates, written as \udc80) as text
    None                            an AnyValue with nothing set: null is a value, a missing key is not
    list, tuple                     array
    dict, any Mapping               map; keys that are not text become text
    datetime, date, time            ISO 8601 text
    enum members                    by value
    NumPy scalars and arrays, anything else with `tolist()`    as the Python values these give
    anything else                   text, `str(value)`
    too deep, or inside itself      text, `str(value)`

A value whose own methods fail costs that value, which travels as a text that says so, not the record.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from functools import lru_cache
from struct import Struct
from typing import Any, Final

MAX_DEPTH: Final = 16
"""Lists and maps inside each other; protobuf parsers stop at 32 maps, and two are the record's own."""

Parents = tuple[int, ...]
"""Identities of the containers around a value; their number is its depth, one that recurs is a cycle."""

_Encoder = Callable[[Any, Parents], bytes]

_ONE_BYTE: Final = tuple(bytes((n,)) for n in range(128))
_TRUE: Final = b"\x10\x01"
_FALSE: Final = b"\x10\x00"
_pack_double: Final = Struct("<Bd").pack


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
    """Encode text as UTF-8, with escapes for what has no UTF-8 form."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def encode_value(value: Any, parents: Parents = ()) -> bytes:
    """Encode any Python value as the content of an `AnyValue`."""
    try:
        return _encoder(type(value))(value, parents)  # type: ignore[arg-type]  # types do hash
    except Exception:  # noqa: BLE001  # a value's own methods may raise anything
        return _unreadable(value)


def encode_entries(pairs: Iterable[tuple[object, Any]], parents: Parents = ()) -> bytes:
    """Encode the entries of a map, which are also the attributes of a resource."""
    parts = []
    for key, value in pairs:
        try:  # encode_value, written out: this is where the time of a prediction goes
            content = _encoder(type(value))(value, parents)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001
            content = _unreadable(value)
        text = key if type(key) is str else str(key)
        head = _known_head if len(text) <= 100 else _entry_head
        parts.append(head(b"\x0a", text, len(content)))
        parts.append(content)
    return b"".join(parts)


def encode_attribute(key: str, content: bytes) -> bytes:
    """Encode an attribute of a log record whose value is encoded already."""
    return _known_head(b"\x32", key, len(content)) + content


def encode_map(entries: bytes) -> bytes:
    """Encode a map, as the content of an `AnyValue`, from its encoded entries."""
    return sized(b"\x32", entries)


def map_entry(key: str, content: bytes) -> bytes:
    """Encode an entry of a map whose value is encoded already."""
    return _known_head(b"\x0a", key, len(content)) + content


def _entry_head(tag: bytes, key: str, size: int) -> bytes:
    """Encode all of a `KeyValue` field that stands before a value of `size` bytes."""
    head = sized(b"\x0a", encode_text(key)) + b"\x12" + varint(size)
    return tag + varint(len(head) + size) + head


_known_head = lru_cache(maxsize=4096)(_entry_head)
"""The same for keys that come again, which long ones hardly do: they would fill the memory."""


@lru_cache(maxsize=1024)
def _encoder(kind: type) -> _Encoder:
    """Choose how values of a type travel, in an order: a bool is an int, too, and an enum may be one."""
    for base, encoder in _ENCODERS:
        if issubclass(kind, base):
            return encoder
    return _listed if hasattr(kind, "tolist") else _text


def _none(_value: None, _parents: Parents) -> bytes:
    return b""


def _bool(value: bool, _parents: Parents) -> bytes:
    return _TRUE if value else _FALSE


def _int(value: int, _parents: Parents) -> bytes:
    if 0 <= value < 0x80:
        return b"\x18" + _ONE_BYTE[value]
    if -0x8000_0000_0000_0000 <= value < 0x8000_0000_0000_0000:
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    return encode_string(str(value))


def encode_double(value: float, _parents: Parents = ()) -> bytes:
    """Encode a number, as the content of an `AnyValue`."""
    return _pack_double(0x21, value)


def encode_string(value: str, _parents: Parents = ()) -> bytes:
    """Encode text, as the content of an `AnyValue`."""
    content = encode_text(value)
    return b"\x0a" + varint(len(content)) + content


def _bytes(value: bytes | bytearray | memoryview, _parents: Parents) -> bytes:
    return sized(b"\x3a", bytes(value))


def _moment(value: datetime | date | time, _parents: Parents) -> bytes:
    text = value.isoformat()
    return b"" if text == "NaT" else encode_string(text)  # pandas' missing time is a datetime that says so


def _enum(value: Enum, parents: Parents) -> bytes:
    return encode_value(value.value, parents)


def _mapping(value: Mapping[object, object], parents: Parents) -> bytes:
    if len(parents) == MAX_DEPTH or id(value) in parents:
        return _text(value, ())
    return encode_map(encode_entries(value.items(), (*parents, id(value))))


def _list(value: list[object] | tuple[object, ...], parents: Parents) -> bytes:
    if len(parents) == MAX_DEPTH or id(value) in parents:
        return _text(value, ())
    inside = (*parents, id(value))
    return sized(b"\x2a", b"".join([sized(b"\x0a", encode_value(item, inside)) for item in value]))


def _listed(value: Any, parents: Parents) -> bytes:
    """Encode what NumPy's scalars and arrays, and their kin, give as Python values."""
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    plain = (value.astype(str) if kind in ("M", "m") else value).tolist()  # times would become bare integers
    return _text(value, ()) if type(plain) is type(value) else encode_value(plain, parents)


def _unreadable(value: object) -> bytes:
    return encode_string(f"<{type(value).__qualname__} that cannot be read>")


def _text(value: object, _parents: Parents) -> bytes:
    return encode_string(str(value))


_ENCODERS: Final[tuple[tuple[type | tuple[type, ...], _Encoder], ...]] = (
    (type(None), _none),
    (Enum, _enum),
    (bool, _bool),
    (int, _int),
    (float, encode_double),
    (str, encode_string),
    ((bytes, bytearray, memoryview), _bytes),
    ((datetime, date, time), _moment),
    (Mapping, _mapping),
    ((list, tuple), _list),
)
