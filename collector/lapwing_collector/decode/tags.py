"""Maps of text: the tags of predictions and the attributes of their resources."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.decode.arrow import Arrays
from lapwing_collector.decode.columns import (
    BOOL,
    INT,
    NULL,
    STRING,
    Index,
    UnusableError,
    any_of,
    gather,
    repeated,
    scatter,
)
from lapwing_collector.decode.fields import Columns
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.values import text
from lapwing_collector.model.records import UNTYPED

_STRINGS: Final = pa.map_(pa.string(), pa.string())


def tag_maps(request: Request, rows: Index, known: frozenset[str]) -> pa.MapArray:
    """The attributes other than `known` of the records `rows` (ascending), as text."""
    entries = request.attributes.entries
    is_tag = np.array([name not in known for name in entries.names], bool)
    if not is_tag.any():
        positions, places = rows[:0], rows[:0]
    else:
        positions, places = gather(entries.offsets, rows)
        tag = is_tag[entries.keys[positions]]
        positions, places = _last_of_each(positions[tag], places[tag], entries.keys[positions[tag]])
    counts = np.bincount(places, minlength=len(rows))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    keys = pa.array(entries.names, pa.string()).take(pa.array(entries.keys[positions]))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, _texts(request, positions))


def joined_tags(arrays: Arrays, column: pa.Array, common: list[tuple[str, str | None]]) -> pa.MapArray:
    """The tags of a table's rows: those in its column, and where a row has no such tag the `common` ones.

    Raises:
        UnusableError: There are too many different tags.
    """
    count = len(column)
    columns = Columns(count)
    arrays.add(columns, (), column, is_root=True)
    if columns.extras:
        raise UnusableError("there are too many different tags for so many rows")
    tags: dict[str, pa.Array] = {key: pa.repeat(pa.scalar(tag, pa.string()), count) for key, tag in common}
    for field in columns.finish():
        key = ".".join(field.path)
        texts = as_texts(field.values)
        tags[key] = pc.coalesce(texts, tags[key]) if key in tags else texts
    if not tags:
        return pa.array([{}] * count, _STRINGS)
    by_row = np.arange(len(tags) * count).reshape(-1, count).T.ravel()
    texts = pa.concat_arrays(tags.values()).take(pa.array(by_row))
    null_is_a_tag = np.array([tag is None for _, tag in common] + [False] * (len(tags) - len(common)))
    keep = texts.is_valid().to_numpy(zero_copy_only=False) | np.tile(null_is_a_tag, count)
    offsets = np.append(0, np.cumsum(keep.reshape(count, -1).sum(axis=1)))
    keys = pa.array(tags, pa.string()).take(pa.array(np.tile(np.arange(len(tags)), count)[keep]))
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, texts.filter(pa.array(keep)))


def text_maps(columns: Mapping[str, pa.StringArray], count: int) -> pa.MapArray:
    """Maps of `count` rows that all have the keys of `columns`."""
    if not columns:
        return _empty_maps(count)
    width = len(columns)
    by_row = np.arange(width * count).reshape(width, count).T.ravel()
    texts = pa.concat_arrays(list(columns.values())).take(pa.array(by_row))
    keys = pa.array(columns, pa.string()).take(pa.array(np.tile(np.arange(width), count)))
    return pa.MapArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * width), keys, texts)


def _empty_maps(count: int) -> pa.MapArray:
    none = pa.array([], pa.string())
    return pa.MapArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), none, none)


def resource_texts(attributes: Sequence[Mapping[str, Any]]) -> pa.MapArray:
    """The attributes of each resource, as text."""
    return pa.array([[(key, text(value)) for key, value in each.items()] for each in attributes], _STRINGS)


def as_texts(values: pa.Array) -> pa.StringArray:
    """Values of one kind as text, as tags are written."""
    if values.type in _ARROWS_SPELLING:
        return values.cast(pa.string())
    if values.type == UNTYPED:
        return values.storage
    return pa.array([text(value) for value in values.to_pylist()], pa.string())


_ARROWS_SPELLING: Final = (pa.string(), pa.bool_(), pa.int64())
_WRITTEN_BY_ARROW: Final = any_of(NULL, STRING, BOOL, INT)


def _texts(request: Request, positions: Index) -> pa.StringArray:
    """The attributes at `positions` as text."""
    values = request.attributes.entries.values
    kinds = values.kinds[positions]
    texts = pa.nulls(len(positions), pa.string())
    for kind in (STRING, BOOL, INT):
        index = np.where(kinds == kind, positions, -1)
        if (index >= 0).any():
            texts = pc.coalesce(texts, scatter(values.members[kind], index).cast(pa.string()))
    rest = ~_WRITTEN_BY_ARROW[kinds]
    if rest.any():
        written = [_text_at(request, position) for position in positions[rest].tolist()]
        texts = pc.replace_with_mask(texts, pa.array(rest), pa.array(written, pa.string()))
    return texts


def _text_at(request: Request, position: int) -> str | None:
    entries = request.attributes.entries
    owner = entries.owners[position]
    return text(request.plain_attribute(owner, position - entries.offsets[owner]))


def _last_of_each(positions: Index, places: Index, keys: Index) -> tuple[Index, Index]:
    """Keep the last position for each place and key."""
    if not len(repeated(places, keys)):
        return positions, places
    pairs = places * (keys.max() + 1) + keys
    _, from_end = np.unique(pairs[::-1], return_index=True)
    last = np.sort(len(pairs) - 1 - from_end)
    return positions[last], places[last]
