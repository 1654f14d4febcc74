"""The plan of a record: which fields, attributes and keys it has, in which order, but not their values.

A service logs records of few shapes. One record of a shape is read here, a byte at a time, to learn its plan;
all others of that shape are then read in step by `lockstep`. What is out of the ordinary has no plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

VARINT: Final = 0
FIXED64: Final = 1
SIZED: Final = 2
FIXED32: Final = 5
"""How a field is written: protobuf's wire types."""

_NUMBER: Final = {field.name: field.number for field in LogRecord.DESCRIPTOR.fields}
TIME: Final = _NUMBER["time_unix_nano"]
OBSERVED_TIME: Final = _NUMBER["observed_time_unix_nano"]
EVENT_NAME: Final = _NUMBER["event_name"]
ATTRIBUTES: Final = _NUMBER["attributes"]
BODY: Final = _NUMBER["body"]
TRACE_ID: Final = _NUMBER["trace_id"]
SPAN_ID: Final = _NUMBER["span_id"]
SEVERITY_TEXT: Final = _NUMBER["severity_text"]
_WIRE_TYPES: Final = {
    TIME: FIXED64,
    OBSERVED_TIME: FIXED64,
    _NUMBER["severity_number"]: VARINT,
    SEVERITY_TEXT: SIZED,
    _NUMBER["dropped_attributes_count"]: VARINT,
    _NUMBER["flags"]: FIXED32,
    TRACE_ID: SIZED,
    SPAN_ID: SIZED,
}
STRING: Final = AnyValue.DESCRIPTOR.fields_by_name["string_value"].number
MAP: Final = AnyValue.DESCRIPTOR.fields_by_name["kvlist_value"].number
_KEY: Final = KeyValue.DESCRIPTOR.fields_by_name["key"].number
_VALUE: Final = KeyValue.DESCRIPTOR.fields_by_name["value"].number
_PAIRS: Final = KeyValueList.DESCRIPTOR.fields_by_name["values"].number

MAX_VALUES: Final = 4096
"""Wider records are read the general way."""

MAX_KEY_BYTES: Final = 127
"""Longest key whose length is written in one byte."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A field of the record that is a number, or bytes."""

    number: int
    wire_type: int

    @property
    def tag(self) -> int:
        """The byte in front of the field."""
        return self.number << 3 | self.wire_type


@dataclass(frozen=True, slots=True)
class EventName:
    """The field that says what the record is."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute with a value that is no list and no map."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the body.

    Attributes:
        key: Its key.
        fields: The keys of the map that it is; None where it is another value.
    """

    key: bytes
    fields: tuple[bytes, ...] | None


@dataclass(frozen=True, slots=True)
class Body:
    """The body, a map."""

    sections: tuple[Section, ...]


Step = Scalar | EventName | Attribute | Body


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes after what in a record; every field, attribute and key once.

    Attributes:
        event: The event name.
        steps: In the order of the bytes.
    """

    event: str
    steps: tuple[Step, ...]

    @property
    def size(self) -> int:
        """How many values it has."""
        sections = [section for step in self.steps if isinstance(step, Body) for section in step.sections]
        return len(self.steps) + sum(1 + len(section.fields or ()) for section in sections)


@dataclass(frozen=True, slots=True)
class Sample:
    """The record that a plan was learned from.

    Attributes:
        plan: The plan.
        heads: Per attribute and key of the body, in their order, how its value begins: the bytes that are the
            same in other records where these have a value of the same type and, if it is text, length.
    """

    plan: Plan
    heads: tuple[bytes, ...]


class _NoPlanError(ValueError):
    """The record is out of the ordinary."""


def learn(record: bytes) -> Sample | None:
    """The plan of a record; None where it is out of the ordinary."""
    heads: list[bytes] = []
    try:
        steps = tuple(_steps(record, heads))
        (event,) = (step.name.decode() for step in steps if isinstance(step, EventName))
    except (ValueError, IndexError):
        return None
    once = [step.number if isinstance(step, Scalar) else step for step in steps if not isinstance(step, Body)]
    bodies = sum(isinstance(step, Body) for step in steps)
    plan = Plan(event, steps)
    if len({*once}) < len(once) or bodies > 1 or plan.size > MAX_VALUES:
        return None
    return Sample(plan, tuple(heads))


def _steps(record: bytes, heads: list[bytes]) -> Iterator[Step]:
    for number, wire_type, content in _fields(record):
        if number == EVENT_NAME and wire_type == SIZED:
            yield EventName(content)
        elif number == ATTRIBUTES and wire_type == SIZED:
            key, value = _pair(content)
            heads.append(_head(value))
            yield Attribute(key)
        elif number == BODY and wire_type == SIZED:
            yield Body(_distinct([_section(*_pair(pair), heads) for pair in _pairs(content)]))
        elif _WIRE_TYPES.get(number) == wire_type:
            yield Scalar(number, wire_type)
        else:
            raise _NoPlanError


def _section(key: bytes, value: bytes, heads: list[bytes]) -> Section:
    if not value or value[0] != MAP << 3 | SIZED:
        heads.append(_head(value))
        return Section(key, None)
    pairs = [_pair(pair) for pair in _pairs(value)]
    heads += [_head(inner) for _, inner in pairs]
    if len({field for field, _ in pairs}) < len(pairs):
        raise _NoPlanError
    return Section(key, tuple(field for field, _ in pairs))


def _head(value: bytes) -> bytes:
    """Length and tag of a value, and of text its own length; of a long one it says 127."""
    has_size = value[:1] == bytes([STRING << 3 | SIZED])
    return bytes([min(len(value), 0x7F)]) + value[: 2 if has_size else 1]


def _distinct(sections: list[Section]) -> tuple[Section, ...]:
    if len({section.key for section in sections}) < len(sections):
        raise _NoPlanError
    return tuple(sections)


def _pairs(value: bytes) -> list[bytes]:
    """The entries of a value that must be a map."""
    ((number, wire_type, content),) = _fields(value)
    if (number, wire_type) != (MAP, SIZED):
        raise _NoPlanError
    found = list(_fields(content))
    if any((number, wire_type) != (_PAIRS, SIZED) for number, wire_type, _ in found):
        raise _NoPlanError
    return [pair for _, _, pair in found]


def _pair(content: bytes) -> tuple[bytes, bytes]:
    """Key and value of a map's entry that has both, in this order."""
    (key_number, key_type, key), (value_number, value_type, value) = _fields(content)
    if (key_number, key_type, value_number, value_type) != (_KEY, SIZED, _VALUE, SIZED):
        raise _NoPlanError
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise _NoPlanError
    key.decode()
    return key, value


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, wire type and content of each field; numbers have none."""
    place = 0
    while place < len(message):
        tag = message[place]
        if tag >= 0x80:  # no field of ours has such a number
            raise _NoPlanError
        place += 1
        wire_type, size = tag & 7, 0
        if wire_type == SIZED:
            size, place = _varint(message, place)
        elif wire_type == VARINT:
            _, place = _varint(message, place)
        elif wire_type in {FIXED64, FIXED32}:
            place += 8 if wire_type == FIXED64 else 4
        else:
            raise _NoPlanError
        end = place + size
        if end > len(message):
            raise _NoPlanError
        yield tag >> 3, wire_type, message[place:end]
        place = end


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and where it ends."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
        if shift >= 70:
            raise _NoPlanError
