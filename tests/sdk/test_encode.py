"""Values as bytes: what we build, the protobuf runtime reads and would have built itself."""

import enum
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lapwing._encode import (
    MAX_DEPTH,
    _fields,
    encode_attribute,
    encode_fields,
    encode_value,
    varint,
)
from lapwing.testing import decode_value

LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(LETTERS)
KEYS = st.text(LETTERS, min_size=1)
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | INT64 | st.floats() | TEXT | st.binary()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


def oracle(value: Any) -> AnyValue:
    """Build the same value with the protobuf runtime."""
    message = AnyValue()
    match value:
        case None:
            pass
        case bool():
            message.bool_value = value
        case int():
            message.int_value = value
        case float():
            message.double_value = value
        case str():
            message.string_value = value
        case bytes():
            message.bytes_value = value
        case list():
            message.array_value.SetInParent()
            message.array_value.MergeFrom(ArrayValue(values=map(oracle, value)))
        case dict():
            message.kvlist_value.SetInParent()
            entries = [KeyValue(key=k, value=oracle(v)) for k, v in value.items()]
            message.kvlist_value.MergeFrom(KeyValueList(values=entries))
    return message


def decoded(value: Any) -> Any:
    """Encode with ours, decode with the protobuf runtime."""
    return decode_value(AnyValue.FromString(encode_value(value)))


@given(VALUES)
def test_bytes_are_those_of_the_protobuf_runtime(value: Any) -> None:
    """Any nested value is encoded to the very bytes that the protobuf runtime makes of it."""
    assert encode_value(value) == oracle(value).SerializeToString()


@given(VALUES)
def test_values_survive_the_round_trip(value: Any) -> None:
    """Any nested value that is encoded comes back equal, NaN and nulls and empty values included."""
    np.testing.assert_equal(decoded(value), value)


@given(TEXT, SCALARS)
def test_attributes_are_read_by_the_runtime(key: str, value: Any) -> None:
    """An attribute of any name and value is read as one attribute of a log record."""
    (attribute,) = LogRecord.FromString(encode_attribute(key, encode_value(value))).attributes
    assert attribute.key == key
    np.testing.assert_equal(decode_value(attribute.value), value)


@given(st.integers(0, 2**64 - 1))
def test_varints_hold_seven_bits_a_byte(number: int) -> None:
    """A varint is its number in groups of seven bits, the last one marked."""
    data = varint(number)
    assert sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(data)) == number
    assert [byte >> 7 for byte in data] == [1] * (len(data) - 1) + [0]
    assert len(data) == max(1, -(-number.bit_length() // 7))


class Plan(enum.Enum):
    """An enum."""

    PRO = "pro"


class Level(enum.IntEnum):
    """An enum that is an integer."""

    HIGH = 3


class Moody:
    """A value whose text cannot be had."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**63, str(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ("a\ud800b", "a\\ud800b"),
        ((1, "a"), [1, "a"]),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({"\udfff": 1}, {"\\udfff": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (bytearray(b"ab"), b"ab"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (Plan.PRO, "pro"),
        (Level.HIGH, 3),
        (Decimal("1.10"), "1.10"),
        (np.int32(7), 7),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array([[1.5, 2.5]]), [[1.5, 2.5]]),
        (np.datetime64("2026-01-02T03:04:05", "ns"), "2026-01-02T03:04:05.000000000"),
        (np.longdouble(0.5), 0.5),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Timestamp("2026-01-02", tz="UTC"), "2026-01-02T00:00:00+00:00"),
        (pd.NaT, None),
        (Moody(), "<Moody that cannot be read>"),
        ([1, Moody()], [1, "<Moody that cannot be read>"]),
        ({"good": 1, "bad": Moody()}, {"good": 1, "bad": "<Moody that cannot be read>"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_python_values_have_a_place(value: Any, expected: Any) -> None:
    """Each kind of Python value travels as documented, whatever library it comes from."""
    found = decoded(value)
    assert found == expected
    assert type(found) is type(expected)


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read the fields of a protobuf message, by number: integers, doubles and what has a length as bytes."""
    at = 0

    def read_varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        tag = read_varint()
        match tag & 7:
            case 0:
                yield tag >> 3, read_varint()
            case 1:
                yield tag >> 3, data[at : at + 8]
                at += 8
            case 2:
                size = read_varint()
                yield tag >> 3, data[at : at + size]
                at += size
            case other:
                raise AssertionError(f"no wire type of OTLP: {other}")
    assert at == len(data)


def read_value(data: bytes) -> Any:  # noqa: PLR0911  # one for each kind
    """Read an `AnyValue` of any depth, which the protobuf runtime cannot."""
    fields = list(read_fields(data))
    if not fields:
        return None
    ((number, content),) = fields
    match number, content:
        case 1, bytes():
            return content.decode()
        case 2, int():
            return bool(content)
        case 3, int():
            return content - 2**64 if content >= 2**63 else content
        case 4, bytes():
            return struct.unpack("<d", content)[0]
        case 5, bytes():
            return [read_value(item) for _, item in read_fields(content) if isinstance(item, bytes)]
        case 6, bytes():
            entries = [
                dict(read_fields(entry)) for _, entry in read_fields(content) if isinstance(entry, bytes)
            ]
            return {entry[1].decode(): read_value(entry[2]) for entry in entries}  # type: ignore[union-attr, arg-type]
        case 7, bytes():
            return content
    raise AssertionError(f"no field of AnyValue: {number}")


def nested(kinds: Iterable[bool], core: Any) -> Any:
    """Put a value into lists (True) and maps (False)."""
    for is_list in kinds:
        core = [core] if is_list else {"in": core}
    return core


@given(st.lists(st.booleans(), max_size=MAX_DEPTH), SCALARS)
def test_values_of_every_depth_can_be_read(kinds: list[bool], core: Any) -> None:
    """Lists and maps up to 64 deep, OpenTelemetry's own limit, come back as they were."""
    np.testing.assert_equal(read_value(encode_value(nested(kinds, core))), nested(kinds, core))


@pytest.mark.parametrize(("kinds", "limit"), [([True], 48), ([False], 32)], ids=["lists", "maps"])
def test_bytes_are_those_of_the_runtime_to_its_own_depth(kinds: list[bool], limit: int) -> None:
    """Down to the depth at which the protobuf runtime gives up, the bytes are the very ones it makes."""
    value = nested(kinds * limit, "core")
    assert encode_value(value) == oracle(value).SerializeToString()
    assert decoded(value) == value


def test_what_is_too_deep_becomes_text() -> None:
    """The containers below the 64th level travel as text."""
    value = nested([False] * 70, "core")
    found, left = read_value(encode_value(value)), value
    for _ in range(MAX_DEPTH):
        found, left = found["in"], left["in"]
    assert found == str(left)


def test_a_wide_map_is_encoded_whole() -> None:
    """5a-34: 200 features of one prediction are all there."""
    features = {f"feature_{number}": number / 7 for number in range(200)}
    assert encode_fields(features) == oracle(features).kvlist_value.SerializeToString()


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "k" * 200]), SCALARS), max_size=20))
def test_fields_that_come_again_are_encoded_as_at_first(pairs: list[tuple[str, Any]]) -> None:
    """What is remembered of earlier values of a key changes nothing: 1, 1.0 and True stay apart."""
    for key, value in pairs:
        assert encode_fields({key: value}) == oracle({key: value}).kvlist_value.SerializeToString()


def test_many_keys_and_values_leave_little_behind() -> None:
    """Keys without end, and values without end, do not fill the memory."""
    for number in range(2000):
        encode_fields({f"key {number}": number, "same": f"value {number}"})
    assert len(_fields) <= 512
    assert sum(len(field) for field in _fields.values()) <= 512 * 32


def test_a_value_inside_itself_ends() -> None:
    """A list that holds itself many times is encoded at once, the inner ones as text."""
    value: list[Any] = [1]
    value.extend([value] * 50)
    assert decoded(value) == [1, *[str(value)] * 50]
