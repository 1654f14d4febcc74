"""Arrow arrays of any type as the kinds of values that records have, as the SDK encodes single values.

Few bytes can stand for many: a text in a dictionary, or seen by many views, and lists of nulls. What values
take is therefore taken from a `Room` before they are made.
"""

import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.decode.columns import (
    BOOL,
    BYTES,
    DOUBLE,
    INT,
    LIST_OF,
    STRING,
    TYPES,
    Index,
    Mask,
    UnusableError,
    gather,
    numpy,
    scatter,
)
from lapwing_collector.decode.fields import MAX_CELLS, Columns, Path

type_ = pa.types

OBJECT_BYTES: Final = 64
"""About what a value takes as a Python object."""
TEXT_BYTES: Final = 40
"""About what a time or a decimal takes as text."""
_HIGHEST: Final = pa.scalar(2**63 - 1, pa.uint64())


class Room:
    """Memory that values may take."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = 0

    def take(self, size: int) -> None:
        """Take some of it.

        Raises:
            UnusableError: There is less.
        """
        self.taken += int(size)
        if self.taken > self._size:
            raise UnusableError(f"it would take more than {self._size >> 20} MiB: send fewer rows at once")


class Arrays:
    """Reads arrays, taking the memory for what it makes of them from `room`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add(self, columns: Columns, path: Path, array: pa.Array, *, is_root: bool = False) -> None:
        """Add the values of an array, one per row, at `path`; what structs and maps hold has longer paths.

        Args:
            columns: Where to.
            path: The field.
            array: Its values.
            is_root: Whether an empty struct or map is no value.
        """
        array = self.unwrapped(array)
        if type_.is_struct(array.type):
            for name, child in _children(array).items():
                self.add(columns, (*path, name), child)
            if not array.type.num_fields:
                self._add_objects(columns, path, array, is_root=is_root)
        elif type_.is_map(array.type):
            self._add_map(columns, path, array, is_root=is_root)
        elif _is_list(array.type):
            self._add_list(columns, path, array)
        else:
            for kind, values in self.scalars(array).items():
                columns.add_array(path, kind, values)

    def unwrapped(self, array: pa.Array) -> pa.Array:
        """The array without extension types, dictionaries and views.

        Raises:
            UnusableError: Its type is one that is not read.
        """
        kind = array.type
        if isinstance(kind, pa.UuidType):
            return array
        if isinstance(kind, pa.BaseExtensionType):
            return self.unwrapped(array.storage)
        if type_.is_dictionary(kind):
            return self._without_dictionary(array)
        if type_.is_string_view(kind) or type_.is_binary_view(kind):
            return self._without_views(array)
        if type_.is_run_end_encoded(kind) or type_.is_list_view(kind) or type_.is_large_list_view(kind):
            raise UnusableError(f"the type {kind} is not read: send plain arrays")
        return array

    def scalars(self, array: pa.Array) -> dict[int, pa.Array]:
        """The values of an array that is neither a struct nor a map nor a list, by their kind."""
        array = self.unwrapped(array)
        if type_.is_null(array.type):
            return {}
        _, kind, width, read = next(reader for reader in _READERS if reader[0](array.type))
        self._room.take(array.nbytes + len(array) * width)
        if not type_.is_uint64(array.type):
            return {kind: read(array)}
        beyond = pc.greater(array, _HIGHEST)
        if not pc.any(beyond).as_py():
            return {INT: array.cast(pa.int64())}
        none = pa.scalar(None, pa.uint64())
        return {
            INT: pc.if_else(beyond, none, array).cast(pa.int64()),
            STRING: pc.if_else(beyond, array, none).cast(pa.string()),
        }

    def objects(self, array: pa.Array) -> list[Any]:
        """The values as Python objects: those that lists, dicts and scalars of records are read as."""
        array = self.unwrapped(array)
        self._room.take(len(array) * OBJECT_BYTES)
        found: list[Any]
        if type_.is_struct(array.type):
            children = {name: self.objects(child) for name, child in _children(array).items()}
            found = [
                {name: values[place] for name, values in children.items()} for place in range(len(array))
            ]
        elif type_.is_map(array.type):
            codes, names = _keys(self.unwrapped(array.keys))
            pairs = list(
                zip((names[code] for code in codes.tolist()), self.objects(array.items), strict=True)
            )
            found = [dict(pairs[start:end]) for start, end in itertools.pairwise(array.offsets.to_pylist())]
        elif _is_list(array.type):
            elements = self.objects(array.flatten())
            found = [elements[start:end] for start, end in itertools.pairwise(_list_offsets(array).tolist())]
        else:
            found = [None] * len(array)
            for values in self.scalars(array).values():
                found = [
                    old if new is None else new for old, new in zip(found, values.to_pylist(), strict=True)
                ]
            return found
        return [value if valid else None for value, valid in zip(found, _is_valid(array), strict=True)]

    def _without_views(self, array: pa.Array) -> pa.Array:
        validity, views, *data = array.buffers()
        end = array.offset + len(array)
        views = np.frombuffer(views or b"", np.int32).reshape(-1, 4)[:end].copy()
        valid = np.append(np.zeros(array.offset, bool), _is_valid(array))
        views[~valid] = 0  # where values are null pyarrow has checked nothing, and would follow what is there
        self._room.take(views[:, 0].sum(dtype=np.int64))
        sound = pa.Array.from_buffers(
            array.type, len(array), [validity, pa.py_buffer(views), *data], offset=array.offset
        )
        return sound.cast(pa.large_string() if type_.is_string_view(array.type) else pa.large_binary())

    def _without_dictionary(self, array: pa.DictionaryArray) -> pa.Array:
        values = self.unwrapped(array.dictionary)
        if type_.is_nested(values.type):
            raise UnusableError(f"the type {array.type} is not read: send plain arrays")
        indices = array.indices
        if len(values.buffers()) == 3:  # texts and bytes: some may be long, and come often
            lengths = pc.binary_length(values).cast(pa.int64())
            self._room.take(pc.sum(lengths.take(indices)).as_py() or 0)
        self._room.take(len(array) * 8)
        return self.unwrapped(values.take(indices))

    def _add_list(self, columns: Columns, path: Path, array: pa.Array) -> None:
        elements = self.unwrapped(array.flatten())
        scalars = {} if is_container(elements.type) else self.scalars(elements)
        if len(scalars) != 1:  # of containers, of nulls only, or of more than one kind
            self._add_objects(columns, path, array)
            return
        ((kind, values),) = scalars.items()
        offsets = pa.array(_list_offsets(array), pa.int32())
        lists = pa.ListArray.from_arrays(offsets, values, type=TYPES[LIST_OF | kind], mask=array.is_null())
        columns.add_array(path, LIST_OF | kind, lists)

    def _add_map(self, columns: Columns, path: Path, array: pa.MapArray, *, is_root: bool) -> None:
        codes, names = _keys(self.unwrapped(array.keys))
        items = self.unwrapped(array.items)
        if is_container(items.type) or len(names) * len(array) > MAX_CELLS:  # or rows share few keys
            self._add_objects(columns, path, array, is_root=is_root)
            return
        valid = np.flatnonzero(_is_valid(array))
        offsets = numpy(array.offsets).astype(np.int64)
        positions, places = gather(offsets, valid)
        order = np.argsort(codes[positions], kind="stable")
        positions, places = positions[order], places[order]
        ends = np.cumsum(np.bincount(codes[positions], minlength=len(names))).tolist()
        scalars = self.scalars(items)
        for name, start, end in zip(names, [0, *ends], ends, strict=False):
            index = np.full(len(array), -1)
            index[valid[places[start:end]]] = positions[start:end]  # of a repeated key the last one stays
            for kind, values in scalars.items():
                columns.add_array((*path, name), kind, scatter(values, index))
        if not is_root:
            for place in valid[offsets[valid + 1] == offsets[valid]].tolist():
                columns.add_value(place, path, {})

    def _add_objects(self, columns: Columns, path: Path, array: pa.Array, *, is_root: bool = False) -> None:
        for place, value in enumerate(self.objects(array)):
            if value != {} or not is_root:
                columns.add_value(place, path, value)


def _children(array: pa.StructArray) -> dict[str, pa.Array]:
    """The fields of a struct, null where it is null; of a repeated name the last one."""
    return dict(zip((field.name for field in array.type), array.flatten(), strict=True))


def _is_list(kind: pa.DataType) -> bool:
    return bool(type_.is_list(kind) or type_.is_large_list(kind) or type_.is_fixed_size_list(kind))


def is_map(kind: pa.DataType) -> bool:
    """Whether values of the type are read as maps."""
    return bool(type_.is_struct(kind) or type_.is_map(kind))


def is_container(kind: pa.DataType) -> bool:
    """Whether values of the type are read as maps or lists."""
    return is_map(kind) or _is_list(kind)


def _is_valid(array: pa.Array) -> Mask:
    valid: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _list_offsets(array: pa.Array) -> Index:
    """Where the lists begin and end in `array.flatten()`."""
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return np.append(0, np.cumsum(numpy(lengths), dtype=np.int64))


def _keys(keys: pa.Array) -> tuple[Index, list[str]]:
    """Number the distinct keys of maps."""
    encoded = keys.dictionary_encode()
    if encoded.null_count:
        raise UnusableError("a map has a null as key")
    return numpy(encoded.indices).astype(np.int64), [str(key) for key in encoded.dictionary.to_pylist()]


def _seconds(array: pa.DurationArray) -> pa.DoubleArray:
    whole = array.cast(pa.int64()).cast(pa.float64(), safe=False)
    return pc.divide(whole, _PER_SECOND[array.type.unit])


_PER_SECOND: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def _iso(array: pa.Array) -> pa.StringArray:
    """Write times as Python's `isoformat` does: fractions in six digits, or nine, where there are any."""
    texts = array.cast(pa.string())
    for pattern, replacement in _ISO:
        texts = pc.replace_substring_regex(texts, pattern=pattern, replacement=replacement)
    return texts


_ZONE: Final = r"((?:Z|[+-]\d{4})?)$"
_ISO: Final = (
    (r"^(-?\d+-\d\d-\d\d) ", r"\1T"),
    (rf"\.0+{_ZONE}", r"\1"),
    (rf"(\.\d\d\d){_ZONE}", r"\1000\2"),
    (rf"(\.\d{{6}})000{_ZONE}", r"\1\2"),
    (r"(:.*)Z$", r"\1+00:00"),
    (r"(T.*[+-]\d\d)(\d\d)$", r"\1:\2"),
)


def _moments(array: pa.TimestampArray) -> pa.StringArray:
    try:
        return _iso(array)
    except pa.ArrowInvalid:  # the zone has a name that is not known here
        return _iso(array.cast(pa.timestamp(array.type.unit, "UTC")))


def _as_python_writes(array: pa.Array) -> pa.StringArray:
    return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(type_.is_string(kind) or type_.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(type_.is_binary(kind) or type_.is_large_binary(kind) or type_.is_fixed_size_binary(kind))


_READERS: Final[
    tuple[tuple[Callable[[pa.DataType], bool], int, int, Callable[[pa.Array], pa.Array]], ...]
] = (
    (type_.is_boolean, BOOL, 0, lambda array: array),
    (type_.is_integer, INT, 8, lambda array: array.cast(pa.int64())),
    (type_.is_floating, DOUBLE, 8, lambda array: array.cast(pa.float64())),
    (_is_text, STRING, 8, lambda array: array.cast(pa.string())),
    (_is_bytes, BYTES, 8, lambda array: array.cast(pa.binary())),
    (type_.is_timestamp, STRING, TEXT_BYTES, _moments),
    (type_.is_time, STRING, TEXT_BYTES, _iso),
    (type_.is_date, STRING, TEXT_BYTES, lambda array: array.cast(pa.date32()).cast(pa.string())),
    (type_.is_duration, DOUBLE, 8, _seconds),
    (type_.is_decimal, STRING, 2 * TEXT_BYTES, lambda array: array.cast(pa.string())),
    (lambda _: True, STRING, OBJECT_BYTES, _as_python_writes),
)
"""By the test for a type: the kind that its values have, about how many bytes each takes, what makes them."""
