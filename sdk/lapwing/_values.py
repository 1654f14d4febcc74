"""Python values as what OTLP can carry: None, bool, int, float, str, bytes, lists and dicts.

`plain` turns one level of a value; what lies inside a list or dict is turned when its turn comes. How to turn
a value is chosen once per class, by what the class is or looks like: no other library is imported for it.
`docs/values.md` has the whole table. Beyond it a value becomes text, and is counted by its class.
"""

import re
from collections import UserString
from collections.abc import Callable, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields
from datetime import date, time, timedelta, tzinfo
from enum import Enum
from functools import lru_cache
from math import prod
from threading import RLock
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

TEXT_LENGTH: Final = 1000
"""Characters that are kept of a text made from a value without a mapping."""
ARRAY_LENGTH: Final = 100_000
"""Items up to which an array is listed."""
RANGE_LENGTH: Final = 100_000
"""Numbers up to which a range is listed."""
COUNTED_NAMES: Final = 100
OTHER: Final = "other"

Converter = Callable[[Any], object]

_MISSING: Final = object()
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def plain(value: object) -> object:
    """Turn a value of any class into what OTLP can carry, one level of it.

    Never raises: a value whose own methods fail becomes a text that says so.

    Returns:
        None, or a bool, int (of 64 bits), float, str or bytes, or a list or dict of values of any class;
        never of a class derived from these.
    """
    try:
        return _converter(type(value))(value)  # type: ignore[arg-type]  # classes do hash
    except Exception:  # noqa: BLE001  # a value's own methods may raise anything
        return unreadable(value)


def as_text(value: object) -> str:
    """Turn a value that has no other form into text, and count it.

    The text is cut at 1 000 characters, and tells no addresses in memory: each object would be another value.
    """
    text = _ADDRESS.sub("", _text(value))
    count_as_text(value)
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"


def count_as_text(value: object) -> None:
    """Count a value that becomes text for want of another form."""
    _tally.add(type(value))


def unreadable(value: object) -> str:
    """Give the text that stands for a value whose own methods fail, and count it."""
    _tally.add(type(value))
    return f"<{type(value).__qualname__} that cannot be read>"


def text_counts() -> dict[str, int]:
    """Count the values that became text for want of another form, by the name of their class.

    The first 100 names are told apart, the values of all other classes are under `other`.
    """
    return _tally.counts()


def reset() -> None:
    """Count from zero; in the child of a fork, too, where another thread of the parent may hold the lock."""
    global _tally  # noqa: PLW0603  # one count per process
    _tally = _Tally()


class _Tally:
    """Counts values by class."""

    def __init__(self) -> None:
        self._lock = RLock()  # reentrant: a signal handler may record in here
        self._counts: dict[str, int] = {}

    def add(self, kind: type) -> None:
        name = _qualified(kind)
        with self._lock:
            if name not in self._counts and len(self._counts) >= COUNTED_NAMES:
                name = OTHER
            self._counts[name] = self._counts.get(name, 0) + 1

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


_tally = _Tally()


@lru_cache(maxsize=1024)
def _converter(kind: type) -> Converter:
    """Choose how values of a class are turned. The order counts: an enum may be an int, a record a tuple."""
    if kind in _EXACT:
        return _itself
    for bases, converter in _FIRST:
        if issubclass(kind, bases):
            return converter
    for base in kind.__mro__:
        if named := _BY_NAME.get((base.__module__.partition(".")[0], base.__name__)):
            return named
    if (names := _field_names(kind)) is not None:
        return _fields(names)
    for bases, converter in _LAST:
        if issubclass(kind, bases):
            return converter
    return _by_methods(kind)


def _field_names(kind: Any) -> tuple[str, ...] | None:
    """Give the names of the fields of a dataclass or an attrs class."""
    found = fields(kind) if hasattr(kind, "__dataclass_fields__") else getattr(kind, "__attrs_attrs__", None)
    return None if found is None else tuple(field.name for field in found)


def _by_methods(kind: type) -> Converter:
    """Choose for a class that is only known by its methods."""
    if hasattr(kind, "tolist"):
        return _tensor if hasattr(kind, "detach") and hasattr(kind, "cpu") else _tolist
    if hasattr(kind, "numpy") and hasattr(kind, "shape"):
        return lambda value: plain(value.numpy())
    return as_text


def _itself(value: object) -> object:
    return value


def _null(_value: object) -> None:
    return None


def _int(value: int) -> int | str:
    number = int(value)
    return number if -(2**63) <= number < 2**63 else str(number)


def _text(value: object) -> str:
    return str.__str__(str(value))  # the text of a str's subclass may be of that subclass again


def _enum(value: Enum) -> object:
    return plain(value.value)


def _complex(value: Any) -> dict[str, float]:
    return {"real": float(value.real), "imag": float(value.imag)}


def _moment(value: date | time) -> str | None:
    text = value.isoformat()
    return None if text == "NaT" else text  # pandas' missing time is a datetime that says so


def _qualified(value: Any) -> str:
    """Name a class or function as it is imported."""
    module = getattr(value, "__module__", None)
    name = str(value.__qualname__)
    return name if module in (None, "builtins") else f"{module}.{name}"


def _tuple(value: tuple[object, ...]) -> list[object] | dict[str, object]:
    names = getattr(value, "_fields", None)
    return list(value) if names is None else dict(zip(names, value, strict=True))


def _set(value: AbstractSet[Any]) -> list[object]:
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def _range(value: range) -> list[int] | str:
    return list(value) if len(value[: RANGE_LENGTH + 1]) <= RANGE_LENGTH else as_text(value)


def _fields(names: tuple[str, ...]) -> Converter:
    """Read attributes; one that was never set is left out."""

    def record(value: object) -> dict[str, object]:
        found = ((name, getattr(value, name, _MISSING)) for name in names)
        return {name: item for name, item in found if item is not _MISSING}

    return record


def _pydantic(value: Any) -> object:
    """Read fields and extras where pydantic keeps them: as attributes, deprecated ones would warn."""
    stored = vars(value)
    if getattr(value, "__pydantic_root_model__", False):
        return plain(stored["root"])
    names = getattr(type(value), "model_fields", stored)  # version 1 has all of them in one place
    extras = getattr(value, "__pydantic_extra__", None) or {}
    return {name: stored[name] for name in names if name in stored} | extras


def _tolist(value: Any) -> object:
    if (size := getattr(value, "size", 0)) and isinstance(size, int) and size > ARRAY_LENGTH:
        return _too_large(value)
    found = value.tolist()
    return as_text(value) if type(found) is type(value) else plain(found)


def _tensor(value: Any) -> object:
    if prod(getattr(value, "shape", ())) > ARRAY_LENGTH:
        return _too_large(value)
    return plain(value.detach().cpu().tolist())


def _too_large(value: Any) -> str:
    """Say what an array is that would keep the caller for long: a million items take half a second."""
    count_as_text(value)
    return f"<{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}>"


def _numpy(value: Any) -> object:
    """Turn an array, or a scalar that is no number; both have the same methods."""
    dtype = value.dtype
    if value.size > ARRAY_LENGTH:
        return _too_large(value)
    if dtype.names is not None:
        return list(value) if value.ndim else {name: value[name] for name in dtype.names}
    if dtype.kind == "m" and dtype.str.endswith(("Y]", "M]")):  # years and months, of no certain length
        return as_text(value)
    if dtype.kind in "Mm":
        return plain(_times(value).tolist())
    if narrow := _NARROW.get(dtype.kind + dtype.char):
        value = value.astype(narrow)
    return plain(value.tolist())


_NARROW: Final[Mapping[str, type]] = {"fg": float, "cG": complex}
"""Kinds of long numbers, which NumPy lists as themselves."""


def _times(value: Any) -> Any:
    """Give moments as text and spans as seconds, as Python would, and what is missing as None."""
    flat = value.reshape(-1)
    seconds_or_text = flat.astype(str) if flat.dtype.kind == "M" else flat / flat.dtype.type(1, "s")
    found = seconds_or_text.astype(object)
    found[flat != flat] = None  # noqa: PLR0124  # only a missing time differs from itself
    return found.reshape(value.shape)


def _pandas_values(value: Any) -> list[object]:
    """List what is in a column, a row, an index; pandas' several kinds of missing values are all None."""
    missing = value.isna().tolist()
    return [None if gone else item for item, gone in zip(value.tolist(), missing, strict=True)]


def _pandas_series(value: Any) -> list[object] | dict[str, object]:
    """Turn a row of a frame, which is labelled with the names of columns, into a dict."""
    items, labels = _pandas_values(value), value.index
    return dict(zip(labels, items, strict=True)) if _are_names(labels) else items


def _are_names(labels: Any) -> bool:
    return labels.inferred_type == "string" and labels.is_unique and not labels.hasnans


def _pandas_frame(value: Any) -> list[dict[object, object]]:
    columns = [_pandas_values(column) for _, column in value.items()]
    return [dict(zip(value.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _result_of(method: str) -> Converter:
    return lambda value: plain(getattr(value, method)())


_EXACT: Final = frozenset({type(None), bool, float, str, bytes, list, dict})

_FIRST: Final[tuple[tuple[type | tuple[type, ...], Converter], ...]] = (
    (Enum, _enum),
    (int, _int),
    (float, float),
    ((str, UserString, BaseException), _text),
    ((bytes, bytearray, memoryview), bytes),
)
"""By a base class, also for what libraries derive from it."""

_BY_NAME: Final[Mapping[tuple[str, str], Converter]] = {
    ("decimal", "Decimal"): _text,
    ("starlette", "HTTPConnection"): lambda request: f"{request.scope.get('method', '')} {request.url.path}",
    ("fractions", "Fraction"): _text,
    ("ipaddress", "_IPAddressBase"): _text,
    ("pathlib", "PurePath"): _text,
    ("uuid", "UUID"): _text,
    ("numpy", "bool"): bool,
    ("numpy", "bool_"): bool,
    ("numpy", "timedelta64"): _numpy,  # an integer, says NumPy
    ("numpy", "integer"): _int,
    ("numpy", "floating"): float,
    ("numpy", "complexfloating"): _complex,
    ("numpy", "ndarray"): _numpy,
    ("numpy", "generic"): _numpy,
    ("pandas", "Series"): _pandas_series,
    ("pandas", "DataFrame"): _pandas_frame,
    ("pandas", "Index"): _pandas_values,
    ("pandas", "ExtensionArray"): _pandas_values,
    ("pandas", "NAType"): _null,
    ("pandas", "Interval"): _text,
    ("pandas", "Period"): _text,
    ("polars", "Series"): _result_of("to_list"),
    ("polars", "DataFrame"): _result_of("to_dicts"),
    ("pyarrow", "Scalar"): _result_of("as_py"),
    ("pyarrow", "Array"): _result_of("to_pylist"),
    ("pyarrow", "ChunkedArray"): _result_of("to_pylist"),
    ("pyarrow", "RecordBatch"): _result_of("to_pylist"),
    ("pyarrow", "Table"): _result_of("to_pylist"),
    ("pydantic", "BaseModel"): _pydantic,
    ("pydantic", "_SecretBase"): _text,  # which masks
    ("pydantic", "_BaseUrl"): _text,
    ("pydantic", "_BaseMultiHostUrl"): _text,
    ("pydantic_core", "Url"): _text,
    ("pydantic_core", "MultiHostUrl"): _text,
}
"""By the first part of the module and the name of a class, or of one that it derives from: nothing is
imported to tell."""

_LAST: Final[tuple[tuple[type | tuple[type, ...], Converter], ...]] = (
    ((date, time), _moment),
    (timedelta, timedelta.total_seconds),
    (tzinfo, _text),
    (complex, _complex),
    ((type, FunctionType, BuiltinFunctionType, MethodType), _qualified),
    (tuple, _tuple),
    (range, _range),
    (Mapping, lambda value: dict(value.items())),
    (AbstractSet, _set),
    ((Sequence, MappingView), list),
)
"""By a base class or a protocol, for what is not a record with fields."""
