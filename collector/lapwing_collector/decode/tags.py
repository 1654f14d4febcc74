"""Maps of text: the tags of predictions and the attributes of their resources."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.decode.columns import BOOL, INT, NULL, STRING, Index, any_of, gather, repeated, scatter
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.values import plain, text

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


def resource_maps(request: Request, rows: Index) -> pa.MapArray:
    """All attributes of the resource of each of the records `rows`, as text."""
    maps = [
        [(key, text(value)) for key, value in attributes.items()]
        for attributes in request.resource_attributes
    ]
    return pa.array(maps, _STRINGS).take(pa.array(request.resources[rows]))


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
    return text(plain(request.objects[owner].attributes[position - entries.offsets[owner]].value))


def _last_of_each(positions: Index, places: Index, keys: Index) -> tuple[Index, Index]:
    """Keep the last position for each place and key."""
    if not len(repeated(places, keys)):
        return positions, places
    pairs = places * (keys.max() + 1) + keys
    _, from_end = np.unique(pairs[::-1], return_index=True)
    last = np.sort(len(pairs) - 1 - from_end)
    return positions[last], places[last]
