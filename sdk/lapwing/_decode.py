"""OTLP values as Python values, from the protobuf runtime's objects. Heavy: import it late."""

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


def decode_value(value: AnyValue) -> Any:
    """Turn an `AnyValue` into a Python value; one with nothing set is None."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "kvlist_value":
            return decode_entries(value.kvlist_value.values)
        case "array_value":
            return [decode_value(item) for item in value.array_value.values]
        case scalar:
            return getattr(value, scalar)


def decode_entries(entries: Iterable[KeyValue]) -> dict[str, Any]:
    """Turn the entries of a map, or attributes, into a dict."""
    return {entry.key: decode_value(entry.value) for entry in entries}
