"""Describes texts by numbers, so that these can be watched and the texts need not be kept.

What a word and a sentence is, the library of metrics says in the same way, in SQL.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.model.records import Batch, DecodedGroup, FieldColumn, Kind

Texts = Mapping[tuple[str, ...], bool]
"""Fields of predictions that are texts: whether the text itself is kept."""

ROOT: Final = "descriptors"
"""The column that descriptors are in, below the place of their text."""

_WORD: Final = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}'\x{2019}]*"
_SENTENCE: Final = r"[\p{L}\p{N}](?:[^.!?\x{2026}\x{3002}\x{FF01}\x{FF1F}]|[.!?\x{2026}]+[\p{L}\p{N}])*"
_NON_LETTER: Final = r"[^\p{L}\p{M}\p{Z}\s]"


def describe_texts(group: DecodedGroup, texts: Mapping[str, Texts]) -> DecodedGroup:
    """Put descriptors beside the texts of predictions, or in their place.

    Args:
        group: What requests hold.
        texts: By model; others stay as they are.
    """
    batches = tuple(
        _described(batch, texts[batch.model])
        if batch.kind is Kind.PREDICTION and batch.model in texts
        else batch
        for batch in group.batches
    )
    return DecodedGroup(batches, group.outcomes)


def _described(batch: Batch, texts: Texts) -> Batch:
    told = [
        found
        for column in batch.fields
        if column.path in texts and pa.types.is_string(column.values.type)
        for found in _descriptors(column)
    ]
    dropped = [path for path, keep in texts.items() if not keep]
    kept = [
        column
        for column in batch.fields
        if not any(column.path[: len(path)] == path for path in dropped)  # whatever came in place of a text
    ]
    return Batch(
        batch.kind,
        batch.model,
        batch.process_id,
        batch.sequence,
        batch.rows,
        (*kept, *told),
        batch.digest,
    )


def _descriptors(column: FieldColumn) -> Iterator[FieldColumn]:
    length = pc.utf8_length(column.values).cast(pa.int64())
    filled = pc.if_else(pc.greater(length, 0), length, None)
    described = {
        "length": length,
        "words": _count(column.values, _WORD),
        "sentences": _count(column.values, _SENTENCE),
        "non_letter_share": pc.divide(
            _count(column.values, _NON_LETTER).cast(pa.float64()), filled.cast(pa.float64())
        ),
    }
    for name, values in described.items():
        yield FieldColumn((ROOT, *column.path, name), values)


def _count(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.count_substring_regex(texts, pattern).cast(pa.int64())
