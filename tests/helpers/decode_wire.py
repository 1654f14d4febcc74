"""Protobuf bytes written by hand: what no runtime would write, and deeper than any would."""

from typing import Any


def varint(number: int) -> bytes:
    """The number in protobuf's variable-length encoding."""
    head = b""
    while number > 0x7F:
        head += bytes([number & 0x7F | 0x80])
        number >>= 7
    return head + bytes([number])


def part(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def in_record(*contents: bytes) -> bytes:
    """A request with one record of each of these bytes."""
    return part(1, part(2, b"".join(part(2, content) for content in contents)))


def value(plain: Any) -> bytes:
    """An AnyValue of text, lists and dicts."""
    if isinstance(plain, str):
        return part(1, plain.encode())
    if isinstance(plain, list):
        return part(5, b"".join(part(1, value(item)) for item in plain))
    return part(6, b"".join(pair(1, key, item) for key, item in plain.items()))


def pair(number: int, key: str, plain: Any) -> bytes:
    """A KeyValue as a field."""
    return part(number, part(1, key.encode()) + part(2, value(plain)))


def nested(depth: int, *, lists: bool = False) -> Any:
    """A text inside so many maps, or lists."""
    plain: Any = "bottom"
    for _ in range(depth):
        plain = [plain] if lists else {"k": plain}
    return plain


def nested_value(depth: int, *, lists: bool = False) -> bytes:
    """An AnyValue with nothing in it, inside so many maps, or lists."""
    content = b""
    for _ in range(depth):
        content = part(5, part(1, content)) if lists else part(6, part(1, part(1, b"k") + part(2, content)))
    return content


def nested_groups(depth: int) -> bytes:
    """Unknown groups, one inside the other."""
    return varint(15 << 3 | 3) * depth + varint(15 << 3 | 4) * depth
