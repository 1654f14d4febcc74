"""Tables among the arguments of a call, recognised without importing the library they come from.

What is found here is turned into Arrow data by `_rows`, which loads pyarrow: only then, not before.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

Kind = Literal["pandas", "polars", "pyarrow", "array", "list"]
"""Whose methods a table or a column has: a library's; `array` for NumPy, torch and their kin."""

_LIBRARIES: Final[Mapping[tuple[str, str], Kind]] = {
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("pyarrow", "Table"): "pyarrow",
    ("pyarrow", "RecordBatch"): "pyarrow",
}
_ORDINARY: Final = frozenset({int, float, str, bool, bytes, dict, tuple, type(None)})


def has_table(arguments: Collection[object]) -> bool:
    """Tell whether one of a call's arguments is a table; 0.3 µs for ten ordinary ones."""
    if _ORDINARY.issuperset(map(type, arguments)):
        return False
    return any(type(value) not in _ORDINARY and is_table(value) for value in arguments)


def is_table(value: object) -> bool:
    """Tell whether a value has a row per prediction.

    Tables are DataFrames of pandas and polars (not lazy ones), Tables and RecordBatches of pyarrow, arrays
    and tensors of two dimensions, and lists of mappings that are not empty. A value whose own methods fail
    is none.
    """
    return table_kind(value) is not None


def is_frame(value: object) -> bool:
    """Tell whether a value is a table with named columns of their own: of pandas, polars or pyarrow."""
    return table_kind(value) in ("pandas", "polars", "pyarrow")


def table_kind(value: Any) -> Kind | None:
    """Tell what kind of table a value is; None if it is none."""
    try:
        kind = _kind(type(value))  # type: ignore[arg-type]  # classes do hash
        if kind == "array":
            return kind if value.ndim == 2 else None
        if kind == "list":
            return kind if _holds_rows(value) else None
    except Exception:  # noqa: BLE001  # a value's own methods may raise anything
        return None
    return kind


def _holds_rows(value: list[Any]) -> bool:
    # The first item alone answers for almost every list, however long.
    if not value or not issubclass(type(value[0]), Mapping):
        return False
    return all(issubclass(kind, Mapping) for kind in set(map(type, value)))


@lru_cache(maxsize=1024)
def _kind(kind: type) -> Kind | None:
    """Tell what kind of table the values of a type are, if they are one."""
    if issubclass(kind, list):
        return "list"
    for base in kind.__mro__:
        library = _LIBRARIES.get((base.__module__.partition(".")[0], base.__name__))
        if library is not None:
            return library
    has_content = hasattr(kind, "__array__") or hasattr(kind, "numpy")
    return "array" if hasattr(kind, "ndim") and has_content else None
