"""The columns of a request in a shape that NumPy can index: values by kind, entries by owner and key."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from lapwing_collector.model.records import UNTYPED

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Kinds = npt.NDArray[np.uint8]

NULL: Final = 0
STRING: Final = 1
BOOL: Final = 2
INT: Final = 3
DOUBLE: Final = 4
LIST: Final = 5
MAP: Final = 6
BYTES: Final = 7
LIST_OF: Final = 8
"""Kinds of values: AnyValue's field numbers. `LIST_OF | kind` is a list with elements of one scalar kind."""

SCALARS: Final = {
    STRING: pa.string(),
    BOOL: pa.bool_(),
    INT: pa.int64(),
    DOUBLE: pa.float64(),
    BYTES: pa.binary(),
}
TYPES: Final = SCALARS | {LIST_OF | kind: pa.list_(of) for kind, of in SCALARS.items()}
"""Arrow type of each kind that becomes a typed column."""

EXACT_INTEGER: Final = 2**53
"""Every integer of at most this magnitude is exact as a double."""


class AmbiguousValueError(ValueError):
    """Two members of one value's oneof are on the wire, and columns do not tell which came last."""


class UnusableError(ValueError):
    """A record can not be stored, whatever is tried again; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Values:
    """Many AnyValues.

    Attributes:
        kinds: The kind of each value.
        members: Per kind that has an Arrow type and occurs, an array as long as `kinds`.
    """

    kinds: Kinds
    members: dict[int, pa.Array]


@dataclass(frozen=True, slots=True)
class Entries:
    """The key-value pairs of many owners, one owner's after the other's.

    Attributes:
        owners: Position of each entry's owner, ascending.
        offsets: Position of each owner's first entry, and at the end the number of entries.
        keys: Each entry's key, as position in `names`.
        names: The distinct keys.
        values: Each entry's value.
    """

    owners: Index
    offsets: Index
    keys: Index
    names: list[str]
    values: Values


def read_values(values: pa.StructArray) -> Values:
    """Tell the kind of each value.

    Raises:
        AmbiguousValueError: A value holds two members.
    """
    kinds = np.zeros(len(values), np.uint8)
    members = {}
    for name, number in _MEMBERS.items():
        member = values.field(name)
        if member.null_count == len(member):
            continue
        valid = _validity(member)
        if (kinds.astype(bool) & valid).any():
            raise AmbiguousValueError
        kinds += valid * np.uint8(number)
        if number in SCALARS:
            members[number] = member
        elif number == LIST and member.type.num_fields:
            members |= _read_lists(member.field("values"), kinds)
    return Values(kinds, members)


def read_entries(pairs: pa.ListArray) -> Entries:
    """Flatten the pairs of each owner.

    Raises:
        AmbiguousValueError: A value holds two members.
    """
    entries = pairs.values
    offsets = numpy(pairs.offsets).astype(np.int64)
    owners = np.repeat(np.arange(len(pairs)), np.diff(offsets))
    keys, names = encode(entries.field("key"))
    return Entries(owners, offsets, keys, names, read_values(entries.field("value")))


def encode(texts: pa.StringArray) -> tuple[Index, list[str]]:
    """Number the distinct texts in the order they appear; none may be null."""
    encoded = texts.dictionary_encode()
    return numpy(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()


def numpy(values: pa.Array) -> npt.NDArray[Any]:
    """View a primitive array that holds no null."""
    return values.to_numpy(zero_copy_only=True)  # type: ignore[no-any-return]


def as_json(texts: pa.StringArray | list[str | None]) -> pa.ExtensionArray:
    """Texts that are JSON, as the column type that says so."""
    return pa.ExtensionArray.from_storage(UNTYPED, pa.array(texts, pa.string()))


def select(values: Any, index: Index) -> Any:
    """The values (array or batch) at `index`, distinct and ascending."""
    return values if len(index) == len(values) else values.take(pa.array(index))


def scatter(values: pa.Array, index: Index) -> pa.Array:
    """The values at `index`, null where it is negative."""
    absent = index < 0
    return values.take(pa.array(index, mask=absent if absent.any() else None))


def gather(offsets: Index, owners: Index) -> tuple[Index, Index]:
    """The positions of all entries of `owners`, and for each of them the place of its owner in `owners`."""
    counts = offsets[owners + 1] - offsets[owners]
    places = np.repeat(np.arange(len(owners)), counts)
    ends = np.cumsum(counts)
    return np.arange(len(places)) + (offsets[owners] - ends + counts)[places], places


def groups(*codes: Index) -> list[Index]:
    """The places at which all `codes` agree, ascending within each group."""
    combined = codes[0]
    for code in codes[1:]:
        combined = combined * (code.max() + 1) + code
    if (combined == combined[0]).all():
        return [np.arange(len(combined))]
    order = np.argsort(combined, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(combined[order])) + 1)


def any_of(*kinds: int) -> Mask:
    """A table that says of each kind whether it is among `kinds`."""
    table = np.zeros(256, bool)
    table[list(kinds)] = True
    return table


def repeated(owners: Index, keys: Index) -> Index:
    """The owners (ascending) that have a key more than once, each at least once."""
    if not len(keys):
        return owners
    width = int(keys.max()) + 1
    pairs = owners * width + keys
    if (pairs[1:] > pairs[:-1]).all():  # each owner's keys come in the same order: the usual case
        return owners[:0]
    pairs.sort()
    repeats: Index = pairs[1:][pairs[1:] == pairs[:-1]] // width
    return repeats


_MEMBERS: Final = {
    field.name: field.number for field in AnyValue.DESCRIPTOR.fields if field.number in {LIST, MAP, *SCALARS}
}


def _list_kinds() -> Kinds:
    """The kind of a list by the kinds of its elements, one bit each; null elements fit any kind."""
    kinds = np.full(256, LIST, np.uint8)
    for scalar in SCALARS:
        kinds[[1 << scalar, 1 << scalar | 1 << NULL]] = LIST_OF | scalar
    return kinds


_LIST_KINDS: Final = _list_kinds()
_NUMBERS: Final = [1 << INT | 1 << DOUBLE, 1 << INT | 1 << DOUBLE | 1 << NULL]


def _read_lists(lists: pa.ListArray, kinds: Kinds) -> dict[int, pa.Array]:
    """Mark in `kinds` the lists of one scalar kind; integers among doubles count as doubles where exact."""
    elements = read_values(lists.values)
    offsets = numpy(lists.offsets)
    filled = np.flatnonzero(np.diff(offsets))
    if not len(filled):
        return {}
    held = np.bitwise_or.reduceat(np.left_shift(1, elements.kinds, dtype=np.uint8), offsets[filled])
    kinds[filled] = _LIST_KINDS[held]
    members = elements.members
    mixed = filled[np.isin(held, _NUMBERS)]
    if len(mixed) and _all_exact(members[INT]):
        kinds[mixed] = LIST_OF | DOUBLE
        members = members | {DOUBLE: pc.coalesce(members[DOUBLE], members[INT].cast(pa.float64()))}
    return {
        LIST_OF | kind: pa.ListArray.from_arrays(lists.offsets, member) for kind, member in members.items()
    }


def _all_exact(integers: pa.Array) -> bool:
    least, most = pc.min_max(integers).values()
    return -EXACT_INTEGER <= least.as_py() <= most.as_py() <= EXACT_INTEGER  # type: ignore[no-any-return]


def _validity(values: pa.Array) -> Mask:
    bitmap = values.buffers()[0]
    if bitmap is None:
        return np.ones(len(values), bool)
    bits = np.frombuffer(bitmap, np.uint8)
    end = values.offset + len(values)
    return np.unpackbits(bits, count=end, bitorder="little")[values.offset :].view(bool)
