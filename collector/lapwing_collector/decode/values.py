"""Single values as Python objects, JSON and text: the slow path, for what columns can not express."""

import base64
import json
import math
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from lapwing_collector.decode.columns import (
    BOOL,
    BYTES,
    DOUBLE,
    EXACT_INTEGER,
    INT,
    LIST,
    LIST_OF,
    MAP,
    NULL,
    SCALARS,
    STRING,
)


def plain(value: AnyValue) -> Any:
    """The value as None, str, bool, int, float, bytes, list or dict."""
    match value.WhichOneof("value"):
        case None | "string_value_strindex":  # an index into a table that logs do not have
            return None
        case "array_value":
            return [plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return plain_map(value.kvlist_value.values)
        case member:
            return getattr(value, member)


def plain_map(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """The pairs as a dict; of a repeated key the last value counts."""
    return {pair.key: plain(pair.value) for pair in pairs}


def kind_of(value: Any) -> int:
    """The kind of a plain value; LIST for one that is empty or whose elements are not of one scalar kind."""
    if isinstance(value, list):
        return _list_kind(value)
    return _KIND_OF_TYPE[type(value)]


def json_text(value: Any) -> str:
    """Write a plain value as JSON: bytes in base64, NaN and the infinities as strings, integers exact."""
    return json.dumps(_jsonable(value), ensure_ascii=False, allow_nan=False)


def text(value: Any) -> str | None:
    """Write a plain value as JSON does, but text without quotes and null as None."""
    if value is None:
        return None
    value = _jsonable(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)


_KIND_OF_TYPE: Final = {
    type(None): NULL,
    str: STRING,
    bool: BOOL,
    int: INT,
    float: DOUBLE,
    bytes: BYTES,
    dict: MAP,
}


def _list_kind(values: list[Any]) -> int:
    kinds = {kind_of(value) for value in values} - {NULL}
    if kinds == {INT, DOUBLE} and all(abs(value) <= EXACT_INTEGER for value in values if type(value) is int):
        return LIST_OF | DOUBLE
    if len(kinds) == 1 and kinds <= SCALARS.keys():
        return LIST_OF | kinds.pop()
    return LIST


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return value
