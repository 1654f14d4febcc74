"""OTLP in JSON becomes OTLP in protobuf, so that everything behind it reads one format. Pure.

What OTLP says of its JSON differs from that of protobuf: ids are hexadecimal, keys lowerCamelCase only,
enumerations numbers only, and unknown keys are ignored. Where it leaves a choice: `null` is as if the key
were not there (in a list of values, a value with nothing in it); of a repeated key, and of several values in
one, the last counts; an id that is not hexadecimal is none; a severity given by name is not read, and the
answer says so.

Only the envelope is walked here, token by token; each record is one call of the standard library's scanner,
and is gone when its bytes are made. So a long request takes no more memory than its text and its bytes, and a
record that is no use costs no other.
"""

import base64
import binascii
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from lapwing_collector.decode.columns import UnusableError
from lapwing_collector.decode.deep import MAX_DEPTH
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.records import Converted

MAX_VALUE_BYTES: Final = 1 << 27
"""What one record, or one resource or scope, may take as Python objects."""


def from_json(body: bytes) -> Converted:
    """Convert the body of an OTLP/HTTP request to `/v1/logs`; nothing at all is a request without records.

    Raises:
        DecodeError: It is not JSON, or not an ExportLogsServiceRequest.
    """
    if not body.strip():
        return Converted(b"")
    return _Request(body).convert()


class _Text:
    """The text of a request, read from the front."""

    def __init__(self, body: bytes) -> None:
        # What is not UTF-8 becomes lone surrogates, which no text of protobuf can have: it costs its record.
        self._text = body.decode("utf-8", "surrogateescape")
        self._at = 0
        self._dense = _weight(self._text, 0, len(self._text)) > MAX_VALUE_BYTES

    def read_object(self, fields: Mapping[str, Callable[[], None]]) -> None:
        """Read an object: the value of each known key by its function, others by nobody; or `null`."""
        if self._take_null() or self._take("{", "}"):
            return
        while True:
            fields.get(self._key(), self._skip)()
            if not self._goes_on("}"):
                return

    def read_array(self, read_element: Callable[[], None]) -> None:
        """Read an array, each of its elements by a function; or `null`."""
        if self._take_null() or self._take("[", "]"):
            return
        while True:
            read_element()
            if not self._goes_on("]"):
                return

    def read_value(self) -> Any:
        """Read any value whole.

        Raises:
            UnusableError: It is JSON, but not to be held; what follows can be read.
        """
        start = self._start()
        if self._dense and self._text.startswith(("{", "["), start):
            end = self._end_of(start)
            if _weight(self._text, start, end) > MAX_VALUE_BYTES:
                self._at = end
                raise UnusableError(f"its values would take more than {MAX_VALUE_BYTES >> 20} MiB")
        try:
            value, self._at = _DECODER.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise self._not_json(error.msg, error.pos) from error
        except RecursionError as error:
            self._at = self._end_of(start)
            raise UnusableError("its objects and arrays are nested too deep") from error
        except ValueError as error:  # what Python says of thousands of digits
            self._at = self._end_of(start)
            raise UnusableError("it has a number of thousands of digits") from error
        return value

    def end(self) -> None:
        """Check that nothing follows."""
        if self._start() < len(self._text):
            raise self._not_json("Extra data", self._at)

    def _skip(self) -> None:
        try:
            self.read_value()
        except UnusableError:
            return

    def _key(self) -> Any:
        start = self._start()
        if not self._text.startswith('"', start):
            raise self._not_json("Expecting a key in double quotes", start)
        key = self.read_value()
        self._expect(":")
        return key

    def _take(self, opening: str, closing: str) -> bool:
        """Go past what opens a container; whether it is closed at once."""
        self._expect(opening)
        if self._text.startswith(closing, self._start()):
            self._at += 1
            return True
        return False

    def _goes_on(self, closing: str) -> bool:
        """Go past what stands behind an element; whether another follows."""
        if self._text.startswith(",", self._start()):
            self._at += 1
            return True
        self._expect(closing)
        return False

    def _take_null(self) -> bool:
        found = self._text.startswith("null", self._start())
        self._at += 4 * found
        return found

    def _expect(self, character: str) -> None:
        if not self._text.startswith(character, self._start()):
            raise self._not_json(f"Expecting {character!r}", self._at)
        self._at += 1

    def _start(self) -> int:
        """Go to where the next token begins."""
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._at

    def _end_of(self, start: int) -> int:
        """Where the object or array that begins at `start` ends, without reading what is in it."""
        if not self._text.startswith(("{", "["), start):
            raise self._not_json("A number of thousands of digits", start)
        depth = 0
        for found in _TO_BRACKET.finditer(self._text, start):
            depth += 1 if found[1] in "{[" else -1
            if depth <= 0:
                return found.end()
        raise self._not_json("Its end is missing", len(self._text))

    def _not_json(self, what: str, position: int) -> DecodeError:
        return DecodeError(
            f"The body is not an OTLP ExportLogsServiceRequest in JSON: {what} at character {position}. "
            "Check that it is sent whole, in UTF-8."
        )


class _Request:
    """Converts one request."""

    def __init__(self, body: bytes) -> None:
        self._text = _Text(body)
        self._payload = bytearray()
        self._records = 0
        self._rejected = 0
        self._reason = ""
        self._named_severities = 0

    def convert(self) -> Converted:
        self._text.read_object({"resourceLogs": lambda: self._text.read_array(self._read_resource_logs)})
        self._text.end()
        return Converted(bytes(self._payload), self._records, self._rejected, self._message())

    def _read_resource_logs(self) -> None:
        content = bytearray()
        self._text.read_object(
            {
                "resource": lambda: _put(content, b"\x0a", self._read("resource", _resource)),
                "scopeLogs": lambda: self._text.read_array(lambda: self._read_scope_logs(content)),
                "schemaUrl": lambda: _put(content, b"\x1a", self._read("schemaUrl", _text)),
            }
        )
        _put(self._payload, b"\x0a", content)

    def _read_scope_logs(self, resource_logs: bytearray) -> None:
        content = bytearray()
        self._text.read_object(
            {
                "scope": lambda: _put(content, b"\x0a", self._read("scope", _scope)),
                "logRecords": lambda: self._text.read_array(lambda: self._read_record(content)),
                "schemaUrl": lambda: _put(content, b"\x1a", self._read("schemaUrl", _text)),
            }
        )
        _put(resource_logs, b"\x12", content)

    def _read(self, what: str, convert: Callable[[Any], bytes]) -> bytes:
        """Read what many records share: without it, they would be said to have none.

        Raises:
            DecodeError: It is no use.
        """
        try:
            value = self._text.read_value()
            return b"" if value is None else convert(value)
        except UnusableError as error:
            raise DecodeError(f"A {what} of the request can not be read: {error}.") from error

    def _read_record(self, scope_logs: bytearray) -> None:
        self._records += 1
        try:
            record = self._text.read_value()
            content = _record(record)
        except UnusableError as error:
            self._rejected += 1
            self._reason = self._reason or f"record {self._records - 1}: {error}"
            return
        self._named_severities += type(record.get("severityNumber")) is str
        _put(scope_logs, b"\x12", content)

    def _message(self) -> str:
        said = []
        if self._rejected:
            said.append(f"{self._rejected} of {self._records} records rejected. For example {self._reason}.")
        if self._named_severities:
            said.append(
                f"severityNumber was not read in {self._named_severities} of {self._records} records: "
                "it must be a number."
            )
        return " ".join(said)


def _record(record: Any) -> bytes:
    return _fields(record, _RECORD, "a record")


def _resource(resource: Any) -> bytes:
    return _fields(resource, _RESOURCE, "it")


def _scope(scope: Any) -> bytes:
    return _fields(scope, _SCOPE, "it")


def _fields(message: Any, writers: "Mapping[str, Callable[[Any], bytes]]", what: str) -> bytes:
    """The fields of a message, each with its tag."""
    if type(message) is not dict:
        raise UnusableError(f"{what} must be an object, not {_shown(message)}")
    parts = []
    for key, held in message.items():
        writer = writers.get(key)
        if writer is not None and held is not None:
            try:
                parts.append(writer(held))
            except UnusableError as error:
                raise UnusableError(f"{key}: {error}") from error
    return b"".join(parts)


def _put(out: bytearray, tag: bytes, content: bytes | bytearray) -> None:
    """Append a length-delimited field."""
    out += tag
    out += _varint(len(content))
    out += content


def _part(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field."""
    size = len(content)
    return tag + (_SMALL[size] if size < 128 else _varint(size)) + content


def _varint(number: int) -> bytes:
    head = bytearray()
    while number > 127:
        head.append(number & 127 | 128)
        number >>= 7
    head.append(number)
    return bytes(head)


def _pairs(pairs: Any, tag: bytes, depth: int) -> bytes:
    """A list of KeyValues, each a field."""
    if type(pairs) is not list:
        raise UnusableError(f"must be an array of pairs, not {_shown(pairs)}")
    return b"".join([_part(tag, _pair(pair, depth)) for pair in pairs])


def _pair(pair: Any, depth: int) -> bytes:
    if type(pair) is not dict:
        raise UnusableError(f"a pair must be an object, not {_shown(pair)}")
    key, value = pair.get("key"), pair.get("value")
    content = b"" if key is None else _part(b"\x0a", _text(key))
    return content if value is None else content + _part(b"\x12", _any_value(value, depth))


def _any_value(value: Any, depth: int) -> bytes:
    if type(value) is not dict:
        raise UnusableError(f"a value must be an object such as {{'intValue': 1}}, not {_shown(value)}")
    content = b""
    for member, held in value.items():
        writer = _MEMBERS.get(member)
        if writer is not None and held is not None:
            content = writer(held, depth)
    return content


def _array(array: Any, depth: int) -> bytes:
    values = _list_of(array, "values", depth)
    return _part(
        b"\x2a",
        b"".join([_part(b"\x0a", b"" if each is None else _any_value(each, depth + 1)) for each in values]),
    )


def _kvlist(kvlist: Any, depth: int) -> bytes:
    return _part(b"\x32", _pairs(_list_of(kvlist, "values", depth), b"\x0a", depth + 1))


def _list_of(container: Any, key: str, depth: int) -> list[Any]:
    if depth == MAX_DEPTH:
        raise UnusableError(f"its lists and maps are nested more than {MAX_DEPTH} deep")
    if type(container) is not dict:
        raise UnusableError(f"a list or map must be an object with {key!r}, not {_shown(container)}")
    held = container.get(key)
    if held is None:
        return []
    if type(held) is not list:
        raise UnusableError(f"{key!r} must be an array, not {_shown(held)}")
    return held


def _text(value: Any) -> bytes:
    if type(value) is not str:
        raise UnusableError(f"must be text, not {_shown(value)}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise UnusableError("it has text that is not UTF-8") from error


def _string(value: Any, _depth: int) -> bytes:
    return _part(b"\x0a", _text(value))


def _bool(value: Any, _depth: int) -> bytes:
    if type(value) is not bool:
        raise UnusableError(f"boolValue must be true or false, not {_shown(value)}")
    return b"\x10\x01" if value else b"\x10\x00"


def _int(value: Any, _depth: int) -> bytes:
    return b"\x18" + _varint(_whole(value, -(1 << 63), (1 << 63) - 1) & _MASK)


def _double(value: Any, _depth: int) -> bytes:
    if type(value) is str and value in _NOT_FINITE:
        return b"\x21" + _DOUBLE.pack(float(value))
    if not (type(value) in {float, int} or (type(value) is str and _NUMBER.fullmatch(value))):
        raise UnusableError(f"doubleValue must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise UnusableError("doubleValue must be a number of 64 bits, and it is one beyond them")
    return b"\x21" + _DOUBLE.pack(number)


def _bytes(value: Any, _depth: int) -> bytes:
    if type(value) is not str:
        raise UnusableError(f"bytesValue must be text in base64, not {_shown(value)}")
    try:
        plain = value.rstrip("=").translate(_URL_SAFE)
        content = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableError(f"bytesValue must be in base64, not {_shown(value)}") from error
    return _part(b"\x3a", content)


def _whole(value: Any, lowest: int, highest: int) -> int:
    """An integer, which may come as text or with a decimal point."""
    if (type(value) is str and _INTEGER.fullmatch(value)) or (type(value) is float and value.is_integer()):
        value = int(value)
    if type(value) is not int or not lowest <= value <= highest:
        raise UnusableError(f"must be an integer from {lowest} to {highest}, not {_shown(value)}")
    return value


def _fixed64(tag: bytes) -> Callable[[Any], bytes]:
    return lambda value: tag + _whole(value, 0, _MASK).to_bytes(8, "little")


def _fixed32(tag: bytes) -> Callable[[Any], bytes]:
    return lambda value: tag + _whole(value, 0, (1 << 32) - 1).to_bytes(4, "little")


def _count(tag: bytes) -> Callable[[Any], bytes]:
    return lambda value: tag + _varint(_whole(value, 0, (1 << 32) - 1))


def _string_field(tag: bytes) -> Callable[[Any], bytes]:
    return lambda value: _part(tag, _text(value))


def _pairs_field(tag: bytes) -> Callable[[Any], bytes]:
    return lambda value: _pairs(value, tag, 0)


def _severity(value: Any) -> bytes:
    if type(value) is str:
        return b""
    return b"\x10" + _varint(_whole(value, -(1 << 31), (1 << 31) - 1) & _MASK)


def _id(tag: bytes) -> Callable[[Any], bytes]:
    def write(value: Any) -> bytes:
        try:
            return _part(tag, binascii.unhexlify(_text(value)))
        except binascii.Error:
            return b""

    return write


def _shown(value: Any) -> str:
    """A value in a few characters, without walking through it."""
    match value:
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return repr(value[:40])
        case int() if abs(value) >= 1 << 64:
            return "one so large"
        case _:
            return repr(value)


def _weight(text: str, start: int, end: int) -> int:
    """About what a part of the text takes as Python objects, and no less."""
    objects, arrays, commas = (text.count(character, start, end) for character in "{[,")
    return 300 * objects + 90 * arrays + 100 * commas


def _refuse_constant(name: str) -> Any:
    raise DecodeError(f"The body is not JSON: {name} is no number there, it must be text.")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_TO_BRACKET: Final = re.compile(
    r'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL
)
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_URL_SAFE: Final = str.maketrans("-_", "+/")
_DOUBLE: Final = struct.Struct("<d")
_MASK: Final = (1 << 64) - 1
_SMALL: Final = tuple(bytes([size]) for size in range(128))
_MEMBERS: Final[Mapping[str, Callable[[Any, int], bytes]]] = {
    "stringValue": _string,
    "boolValue": _bool,
    "intValue": _int,
    "doubleValue": _double,
    "arrayValue": _array,
    "kvlistValue": _kvlist,
    "bytesValue": _bytes,
}
_RESOURCE: Final = {"attributes": _pairs_field(b"\x0a"), "droppedAttributesCount": _count(b"\x10")}
_SCOPE: Final = {
    "name": _string_field(b"\x0a"),
    "version": _string_field(b"\x12"),
    "attributes": _pairs_field(b"\x1a"),
    "droppedAttributesCount": _count(b"\x20"),
}
_RECORD: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "timeUnixNano": _fixed64(b"\x09"),
    "observedTimeUnixNano": _fixed64(b"\x59"),
    "severityNumber": _severity,
    "severityText": _string_field(b"\x1a"),
    "body": lambda value: _part(b"\x2a", _any_value(value, 0)),
    "attributes": _pairs_field(b"\x32"),
    "droppedAttributesCount": _count(b"\x38"),
    "flags": _fixed32(b"\x45"),
    "traceId": _id(b"\x4a"),
    "spanId": _id(b"\x52"),
    "eventName": _string_field(b"\x62"),
}
