"""Values of a request, changed where they stand."""

from collections.abc import Callable, MutableSequence
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from lapwing.redact import DROP, Place, RecordRedactor

_MEMBERS: Final = {bool: "bool_value", float: "double_value", bytes: "bytes_value"}
_NUMBERS: Final = frozenset(("int_value", "double_value", "bool_value"))


class Walker:
    """Redacts values of one record."""

    __slots__ = ("_renames", "record")

    def __init__(self, record: RecordRedactor, *, renames: bool) -> None:
        """Take the rules for a record; `renames` tells whether any of them may change a key."""
        self.record = record
        self._renames = renames

    def value(self, place: Place, value: AnyValue) -> bool:
        """Redact a value; False where it is to be left out."""
        member = value.WhichOneof("value")
        if member in _NUMBERS and not place.numbers:
            return True
        if member == "kvlist_value" and not any(dict in rule.whole for rule in place.rules):
            self.entries(place.__getitem__, value.kvlist_value.values)
            return True
        before = plain(value)
        return _replace(value, before, self.record.value(place, before, 1))

    def field(self, name: str, value: AnyValue) -> bool:
        """Redact a field of the record itself; False where it is to be left out."""
        before = plain(value)
        if name == "model" and not before:
            return True  # decoding says what is wrong with it
        return _replace(value, before, self.record.fields("", {name: before}).get(name, DROP))

    def entries(self, place_of: Callable[[str], Place], entries: MutableSequence[KeyValue]) -> None:
        """Redact the values of a map or of attributes, and their keys."""
        doomed = []
        keys: dict[str, str] = {}
        taken: dict[str, object] = {}
        for position, entry in enumerate(entries):
            key = entry.key
            place = place_of(key)
            if place.live and not self.value(place, entry.value):
                doomed.append(position)
            elif self._renames:
                name = keys.get(key)
                if name is None:  # a key that comes again stays one with itself
                    unclear = place.searches or key in taken
                    name = keys[key] = self.record.rename(place, key, taken) if unclear else key
                    taken[name] = None
                if name != key:
                    entry.key = name
        for position in reversed(doomed):
            del entries[position]

    def text(self, place: Place, text: str) -> str:
        """Redact a text; one that is left out becomes empty."""
        if not text or not place.live:
            return text
        after = self.record.value(place, text)
        return "" if after is DROP or after is None else _utf8(str(after))


def plain(value: AnyValue) -> Any:
    """The value as None, str, bool, int, float, bytes, list or dict; of a repeated key the last value."""
    match value.WhichOneof("value"):
        case None | "string_value_strindex":  # an index into a table that logs do not have
            return None
        case "array_value":
            return [plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {entry.key: plain(entry.value) for entry in value.kvlist_value.values}
        case member:
            return getattr(value, member)


def put(value: AnyValue, content: Any) -> None:
    """Make a value hold what `plain` would give again."""
    value.Clear()
    match content:
        case None:
            pass
        case bool() | float() | bytes():
            setattr(value, _MEMBERS[type(content)], content)
        case int() if -(2**63) <= content < 2**63:
            value.int_value = content
        case list():
            value.array_value.SetInParent()
            for item in content:
                put(value.array_value.values.add(), item)
        case dict():
            value.kvlist_value.SetInParent()
            for key, item in content.items():
                put(value.kvlist_value.values.add(key=_utf8(key)).value, item)
        case _:
            value.string_value = _utf8(str(content))


def _replace(value: AnyValue, before: object, after: object) -> bool:
    if after is DROP:
        return False
    if after is not before:
        put(value, after)
    return True


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
