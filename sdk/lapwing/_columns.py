"""Columns of any library as Arrow arrays that nobody changes afterwards.

How values travel, beyond what `_values` says of single ones:

    numbers, bool, text, bytes      as themselves; floats of 16 bits as 32, of more than 64 as 64
    NaN                             as itself; null in pandas objects, where it means a missing value
    times, dates, durations         as Arrow's; a time with a zone as the same moment in UTC
    categories                      the values they stand for
    Decimals                        text
    lists, mappings                 list, struct
    what Arrow has no type for      what `_values` makes of each value
    values of several types,        text: each value as JSON, text as it is
    mappings of over 1000 keys
"""

import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from lapwing._arrow import np, pa
from lapwing._encode import MAX_DEPTH, Parents, encode_text
from lapwing._values import as_text, plain, unreadable

MAX_FIELDS: Final = 1000
"""Fields of the structs of one column: mappings with open keys would need one per key."""

MAX_CONSTANT: Final = 1000
"""Bytes, and items of a list, of a value that is repeated in every row."""

_Objects = list[Any] | np.ndarray[Any, Any]

_STRANGERS: Final[dict[int, tuple[type, ...]]] = {
    pa.lib.Type_BINARY: (str,),
    pa.lib.Type_DATE32: (int, datetime),
    pa.lib.Type_DOUBLE: (bool,),
    pa.lib.Type_DURATION: (int,),
    pa.lib.Type_TIME64: (int,),
    pa.lib.Type_TIMESTAMP: (int,),
}
"""By inferred type: values that Arrow takes for ones of that type, though they are not."""

_FLAT: Final = (type(None), int, float, str, bytes, bytearray, date, time, timedelta, Decimal, np.generic)
"""Values that contain no others."""

_KIN: Final[dict[int, pa.DataType]] = {
    pa.lib.Type_LARGE_STRING: pa.string(),
    pa.lib.Type_STRING_VIEW: pa.string(),
    pa.lib.Type_LARGE_BINARY: pa.binary(),
    pa.lib.Type_BINARY_VIEW: pa.binary(),
    pa.lib.Type_FIXED_SIZE_BINARY: pa.binary(),
    pa.lib.Type_DECIMAL32: pa.string(),
    pa.lib.Type_DECIMAL64: pa.string(),
    pa.lib.Type_DECIMAL128: pa.string(),
    pa.lib.Type_DECIMAL256: pa.string(),
    pa.lib.Type_HALF_FLOAT: pa.float32(),
}
"""Types that travel as others, so that receivers have few to know."""

_LISTS: Final = (pa.lib.Type_LIST, pa.lib.Type_LARGE_LIST, pa.lib.Type_FIXED_SIZE_LIST)

_FOREIGN: Final = (
    pa.uuid().id,  # extension types
    pa.lib.Type_INTERVAL_MONTH_DAY_NANO,
    pa.lib.Type_LARGE_LIST_VIEW,
    pa.lib.Type_LIST_VIEW,  # and Arrow's own cast of it to a list is wrong
    pa.lib.Type_RUN_END_ENCODED,
    pa.lib.Type_SPARSE_UNION,
    pa.lib.Type_DENSE_UNION,
)
"""Types that travel value by value."""


def length(values: Any) -> int | None:
    """Count the values of what can be a column; None for anything else."""
    if isinstance(values, (list, pa.Array, pa.ChunkedArray)):
        return len(values)
    shape = getattr(values, "shape", None)
    return int(shape[0]) if shape and hasattr(values, "__array__") else None


def column(values: Any) -> pa.Array:
    """Copy a column.

    Args:
        values: A list; a Series of pandas or polars; an array of pyarrow, of NumPy or its kin, where more
            dimensions than one become lists.
    """
    if isinstance(values, list):
        return _from_objects(values)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return _plain(values)
    if hasattr(values, "isna"):
        return _from_pandas(values)
    if hasattr(values, "to_arrow"):
        return _from_polars(values)
    return _from_numpy(as_numpy(values))


def repeated(value: Any, rows: int) -> pa.Array:
    """Make a column of one value; one that is over `MAX_CONSTANT` becomes the beginning of its text."""
    is_long = (length(value) or 0) > MAX_CONSTANT
    single = _from_objects([value[:MAX_CONSTANT] if is_long else value])
    if is_long or single.nbytes > MAX_CONSTANT:
        text = _texts(single.to_pylist())[0].as_py()
        single = pa.array([text[: MAX_CONSTANT // 4] + "…"])
    return single.take(pa.array(np.zeros(rows, np.int64)))


def as_numpy(values: Any) -> np.ndarray[Any, Any]:
    """Turn an array or a tensor into NumPy's, without a copy where that is possible."""
    if isinstance(values, np.ma.MaskedArray):
        return values
    try:
        return np.asarray(values)
    except (TypeError, RuntimeError):  # a tensor with a gradient, on a device, or of a type NumPy lacks
        return np.asarray(values.tolist())


def _from_pandas(values: Any) -> pa.Array:
    if isinstance(values.dtype, np.dtype):
        return _from_numpy(values.to_numpy(), values.isna)
    try:
        array = pa.array(values.array.copy(), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        array = None
    if array is None or isinstance(array.type, pa.BaseExtensionType):  # sparse; periods and intervals
        return _from_objects(values.to_numpy(dtype=object), values.isna)
    return _plain(array)


def _from_polars(values: Any) -> pa.Array:
    if str(values.dtype) == "Object":  # whose Arrow form is addresses in memory
        return _from_objects(values.to_list())
    try:
        return _plain(values.to_arrow())
    except pa.ArrowException:  # integers of 128 bits
        return _from_objects(values.to_list())
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # which is no Exception; names with a NUL raise it
            raise
        return _from_objects(values.to_list())


def _from_numpy(
    values: np.ndarray[Any, Any], missing: Callable[[], Iterable[bool]] | None = None
) -> pa.Array:
    if values.ndim > 1:
        items = _from_numpy(values.reshape(-1, *values.shape[2:]))
        offsets = np.arange(len(values) + 1) * values.shape[1]
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)
    if values.dtype.kind in "OVc":
        return _from_objects(values, missing)
    # The copy is what makes it safe: Arrow would share the memory of numbers.
    return pa.array(values.astype(_numpy_type(values.dtype)), from_pandas=missing is not None)


def _numpy_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Give the nearest type that Arrow has, too."""
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    if dtype.kind in "Mm" and np.datetime_data(dtype)[0] not in ("s", "ms", "us", "ns"):
        return np.dtype(f"{dtype.kind}8[us]")
    return dtype.newbyteorder("=")


def _from_objects(values: _Objects, missing: Callable[[], Iterable[bool]] | None = None) -> pa.Array:
    """Convert values of any type.

    Args:
        values: The values.
        missing: For those of pandas: tells which of them stand for a missing value.
    """
    array = _inferred(values, from_pandas=missing is not None)
    if array is not None:
        return array
    if missing is not None:
        values = [None if gone else value for value, gone in zip(values, missing(), strict=True)]
    mapped = [_mapped(value) for value in values]
    array = _inferred(mapped)
    return _texts(mapped) if array is None else array


def _inferred(values: _Objects, *, from_pandas: bool = False) -> pa.Array | None:
    """Convert values of a type that Arrow has; None if they are not of one."""
    try:
        if len(values) and isinstance(values[0], str):
            return pa.array(values, pa.string(), from_pandas=from_pandas)
        if not _is_safe(values, MAX_DEPTH):
            return None
        kind = pa.infer_type(values, from_pandas=from_pandas)
        plain_kind, strangers = _plain_type(kind), _STRANGERS.get(kind.id)
        if plain_kind is None or _count_fields(kind) > MAX_FIELDS:
            return None
        if strangers and any(issubclass(each, strangers) for each in set(map(type, values))):
            return None
        return _plain(pa.array(values, kind, from_pandas=from_pandas))
    except Exception:  # noqa: BLE001  # besides Arrow's own errors, the values' methods may raise anything
        return None


def _is_safe(values: Iterable[Any], depth: int) -> bool:
    """Tell whether Arrow may look at values: one that contains itself ends the process with a fault."""
    nested = {kind for kind in set(map(type, values)) if not issubclass(kind, _FLAT)}
    if not nested:
        return True
    return depth > 0 and all(type(v) not in nested or _is_safe_inside(v, depth - 1) for v in values)


def _is_safe_inside(value: Any, depth: int) -> bool:
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    if isinstance(value, dict):
        return _is_safe(value.values(), depth)
    return isinstance(value, (list, tuple)) and _is_safe(value, depth)


def _mapped(value: object, parents: Parents = ()) -> Any:
    """Turn a value, with all inside it, into what OTLP can carry."""
    try:
        found = plain(value)
        if isinstance(found, str):
            return encode_text(found).decode()
        if not isinstance(found, (dict, list)):
            return found
        if len(parents) == MAX_DEPTH or id(value) in parents:
            return as_text(value)
        inside = (*parents, id(value))
        if isinstance(found, list):
            return [_mapped(item, inside) for item in found]
        return {encode_text(str(key)).decode(): _mapped(item, inside) for key, item in found.items()}
    except Exception:  # noqa: BLE001  # a value's own methods may raise anything
        return unreadable(value)


def _texts(values: list[Any]) -> pa.Array:
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: object) -> str:
    """Give a value that stands beside ones of other types as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return json.dumps(value, ensure_ascii=False, default=_text_inside)


def _text_inside(value: object) -> str:
    return _text(value) if isinstance(value, bytes) else str(value)


def _plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give an array one of the types that travel."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = _plain_type(array.type)
    if kind is None:
        return _from_objects(array.to_pylist())
    return array if kind == array.type else array.cast(kind)


@lru_cache(maxsize=256)
def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Give the type as which an Arrow type travels; None if its values travel one by one."""
    if kind.id in _FOREIGN:
        return None
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_nested(kind):
        return _plain_nested(kind)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    return _KIN.get(kind.id, kind)


def _plain_nested(kind: pa.DataType) -> pa.DataType | None:
    inner = [_plain_type(kind.field(i).type) for i in range(kind.num_fields)]
    if None in inner:
        return None
    if kind.id in _LISTS:
        return pa.list_(inner[0])
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    return pa.struct([kind.field(i).with_type(each) for i, each in enumerate(inner)])


def _count_fields(kind: pa.DataType) -> int:
    return sum(1 + _count_fields(kind.field(i).type) for i in range(kind.num_fields))
