"""Redaction of Arrow columns: constants at once, other changes once per distinct value, nested types by part.

The only module of redaction that needs pyarrow; it is imported when the first table is redacted.
"""

import json
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Final

from lapwing._arrow import pa, pc
from lapwing._redact_errors import MASK
from lapwing._redactor import DROP, ERROR_FIELDS, REQUIRED, Place, RecordRedactor
from lapwing._values import plain

_UNFIT: Final = (ValueError, TypeError, OverflowError, NotImplementedError)  # Arrow's own derive from these

_VIEWS: Final = (pa.string_view(), pa.binary_view())  # nothing can be taken from these yet
_NUMBERS: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)


def redact_columns(
    record: RecordRedactor, root: Place, section: str, columns: Mapping[str, pa.Array]
) -> dict[str, pa.Array]:
    """Redact the columns of a section, see `RecordRedactor.table`; `root` is the place of records."""
    kept: dict[str, pa.Array] = {}
    for name in sorted(columns, key=ERROR_FIELDS.__contains__):
        place = root[section][name] if section else root[name]
        column = columns[name]
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if not section and name in ERROR_FIELDS and record.taken:
            column = _without_taken(record, column)
        redacted = _redact(record, place, column)
        if not section and name in REQUIRED and redacted is not column:
            redacted = _never_empty(_constant(column, MASK) if redacted is None else redacted)
        if redacted is not None:
            kept[record.rename(place, name, kept) if section else name] = redacted
    return kept


def _redact(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array | None:
    """Redact a column; None where it is dropped, the very same where nothing was to be done."""
    if not place.live or (_holds_numbers(column.type) and not place.numbers):
        return column
    try:
        if place.rules and place.rules[0].constant:
            return _replace(record, place, column)
        if place.deeper and pa.types.is_string(column.type):
            column = _opened(record, place, column)
        return _way(place, column.type)(record, place, column)
    except Exception as error:  # noqa: BLE001  # a type that Arrow cannot handle must not leave as it is
        return _constant(column, record.fail("redaction of a column", error))


def _opened(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array:
    """Redact inside texts that stand for nested values, as columns of mixed values have them."""
    nested = pc.fill_null(pc.match_substring_regex(column, r"^\s*[\[{]"), fill_value=False)
    if not pc.any(nested).as_py():
        return column
    return pa.array(
        [
            _inside(record, place, text) if is_nested else text
            for text, is_nested in zip(column.to_pylist(), nested.to_pylist(), strict=True)
        ],
        column.type,
    )


def _inside(record: RecordRedactor, place: Place, text: str) -> str | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        return record.fail("redaction of the text of a nested value", error)
    redacted = record.value(place, value)
    return None if redacted is DROP else json.dumps(redacted, ensure_ascii=False)


def _replace(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array | None:
    record.taken.add_column(column)
    constant, *others = place.rules
    value = constant.change(place.name, MASK)
    if value is not DROP:
        value = record.apply(place, tuple(others), value)
    return None if value is DROP else _constant(column, value)


def _way(place: Place, kind: pa.DataType) -> Callable[[RecordRedactor, Place, pa.Array], pa.Array]:
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _redact_list
    if not any(dict in rule.whole for rule in place.rules):
        if types.is_struct(kind):
            return _redact_struct
        if types.is_map(kind):
            return _redact_map
    return _redact_distinct


def _redact_struct(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array:
    parts = dict(zip([field.name for field in column.type], column.flatten(), strict=True))
    kept: dict[str, pa.Array] = {}
    for name, part in parts.items():
        below = place[name]
        redacted = _redact(record, below, part)
        if redacted is not None:
            kept[record.rename(below, name, kept)] = redacted
    if kept.keys() == parts.keys() and all(kept[name] is parts[name] for name in kept):
        return column
    if not kept:
        return pa.array([{} if valid else None for valid in column.is_valid().to_pylist()], pa.struct([]))
    return pa.StructArray.from_arrays(list(kept.values()), names=list(kept), mask=column.is_null())


def _redact_list(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array:
    items = column.flatten()  # those of null lists left out
    redacted = _redact(record, place, items)
    if redacted is items:
        return column
    lengths = pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    if pa.types.is_large_list(column.type):
        return pa.LargeListArray.from_arrays(offsets, redacted, mask=column.is_null())
    return pa.ListArray.from_arrays(offsets.cast(pa.int32()), redacted, mask=column.is_null())


def _redact_map(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array:
    """Redact maps one by one: each key may have rules of its own."""
    before = column.to_pylist(maps_as_pydicts="strict")
    maps: list[Any] = [None if entries is None else record.value(place, entries) for entries in before]
    if maps == before:
        return column
    offsets = list(accumulate((len(entries or ()) for entries in maps), initial=0))
    entries = [entry for entries in maps if entries is not None for entry in entries.items()]
    keys = pa.array([_text(key) for key, _ in entries], pa.string())
    items = _array([item for _, item in entries], None)
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, items, mask=column.is_null())


def _redact_distinct(record: RecordRedactor, place: Place, column: pa.Array) -> pa.Array:
    """Redact each distinct value, as a Python value."""
    try:
        encoded = column.dictionary_encode()
        distinct, indices = encoded.dictionary, encoded.indices
    except NotImplementedError:  # Arrow cannot compare values of every type
        distinct, indices = column, None
    values = distinct.to_pylist(maps_as_pydicts="strict")
    kinds = set(map(type, values))
    changed = False
    for position, value in enumerate(values):
        before = plain(value)
        after = record.value(place, before)
        if after is not before:
            changed = True
            values[position] = None if after is DROP else after
    if not changed:
        return column
    fits = kinds.issuperset(map(type, values)) and distinct.type not in _VIEWS
    redacted = _array(values, distinct.type if fits else None)
    return redacted if indices is None else redacted.take(indices)


def _without_taken(record: RecordRedactor, column: pa.Array) -> pa.Array:
    encoded = column.cast(pa.string()).dictionary_encode()
    texts = [text or "" for text in encoded.dictionary.to_pylist()]
    return pa.array(record.taken.hide(texts), pa.string()).take(encoded.indices)


def _never_empty(column: pa.Array) -> pa.Array:
    texts = pc.fill_null(column.cast(pa.string()), "")
    return pc.if_else(pc.equal(texts, ""), MASK, texts)


def _constant(column: pa.Array, value: object) -> pa.Array:
    """Give a column that has the value wherever the other one is not null."""
    constant = pa.scalar(value)
    return pc.if_else(column.is_valid(), constant, pa.scalar(None, constant.type))


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """Make a column: of the type, else of the one that the values have, else of text."""
    for wanted in (kind, None):
        try:
            return pa.array(values, wanted)
        except _UNFIT:
            continue
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: object) -> str:
    return str(plain(value)).encode("utf-8", "backslashreplace").decode()


def _holds_numbers(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return any(is_kind(kind) for is_kind in _NUMBERS)
