"""Looks at a sample of a model's rows: what its fields hold, and how late its labels come."""

from collections.abc import Collection, Iterator, Sequence
from decimal import ROUND_UP, Context
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.model.description import dotted
from lapwing_collector.model.facts import Facts, FieldFacts

MAX_CLASSES: Final = 50
"""Different values up to which a field's are told one by one."""

MIN_LABELS: Final = 100
"""Labels from which on their delay says something."""

DELAY_QUANTILE: Final = 0.95

_TWO_DIGITS_UP: Final = Context(prec=2, rounding=ROUND_UP)
"""A delay that is told too short would have labels missed that are on their way."""

_ROOTS: Final = ("inputs", "output", "label")
_TIME: Final = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"


def facts_of(
    predictions: Sequence[pa.Table],
    labels: Sequence[pa.Table],
    *,
    classes_of: Collection[str],
    predictions_stored: int,
    labels_stored: int,
) -> Facts:
    """Look at rows of a model.

    Args:
        predictions: Some rows of its predictions; columns may differ.
        labels: Some rows of its labels.
        classes_of: Fields whose values are told one by one.
        predictions_stored: How many there are.
        labels_stored: Likewise.
    """
    fields = {}
    for name, values in _columns([*predictions, *labels]).items():
        found = _look_at(values, with_classes=name in classes_of)
        if found is not None:
            fields[name] = found
    return Facts(fields, _delay(predictions, labels), predictions_stored, labels_stored)


def _columns(tables: Sequence[pa.Table]) -> dict[str, list[pa.ChunkedArray]]:
    """The values of every field, from those tables that have it."""
    found: dict[str, list[pa.ChunkedArray]] = {}
    for table in tables:
        for root in _ROOTS:
            if root in table.column_names:
                for path, values in _leaves((root,), table.column(root)):
                    found.setdefault(dotted(path), []).append(values)
    return found


def _leaves(
    path: tuple[str, ...], values: pa.ChunkedArray
) -> Iterator[tuple[tuple[str, ...], pa.ChunkedArray]]:
    if pa.types.is_struct(values.type):
        for place, inner in enumerate(values.type):
            yield from _leaves((*path, inner.name), pc.struct_field(values, [place]))
    else:
        yield path, values


def _look_at(parts: Sequence[pa.ChunkedArray], *, with_classes: bool) -> FieldFacts | None:
    """Look at a field's values; None for what is neither number, text nor boolean."""
    kind = parts[-1].type  # of the oldest or the newest file: a field's type may have been widened
    chunks = [chunk for part in parts if part.type == kind for chunk in part.chunks]
    values = pa.chunked_array(chunks, kind).drop_null()
    if pa.types.is_string(kind):
        return _texts(values, with_classes=with_classes)
    if pa.types.is_boolean(kind):
        distinct, classes = _classes(values, with_classes=with_classes)
        return FieldFacts(len(values), distinct, classes=classes)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(values, with_classes=with_classes)
    return None


def _texts(values: pa.ChunkedArray, *, with_classes: bool) -> FieldFacts:
    distinct, classes = _classes(values, with_classes=with_classes)
    if not len(values):
        return FieldFacts(0, 0)
    words = pc.mean(pc.add(pc.count_substring_regex(pc.utf8_trim_whitespace(values), r"\s+"), 1)).as_py()
    times = pc.mean(pc.match_substring_regex(values, _TIME).cast(pa.int8())).as_py()
    return FieldFacts(len(values), distinct, words=words, times=times, classes=classes)


def _numbers(values: pa.ChunkedArray, *, with_classes: bool) -> FieldFacts:
    if pa.types.is_floating(values.type):
        values = values.filter(pc.is_finite(values))
    bounds = pc.min_max(values).as_py()
    distinct, classes = _classes(values, with_classes=with_classes)
    known = bounds["min"] is not None
    return FieldFacts(
        len(values),
        distinct,
        least=float(bounds["min"]) if known else None,
        greatest=float(bounds["max"]) if known else None,
        classes=classes,
    )


def _classes(values: pa.ChunkedArray, *, with_classes: bool) -> tuple[int, tuple[str, ...]]:
    """How many different values there are, and, where they are few, which."""
    counted = pc.value_counts(values.combine_chunks() if values.num_chunks else pa.array([], values.type))
    distinct = len(counted)
    if not with_classes or distinct > MAX_CLASSES:
        return distinct, ()
    return distinct, tuple(sorted(_as_sql(value) for value in counted.field("values").to_pylist()))


def _as_sql(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _delay(predictions: Sequence[pa.Table], labels: Sequence[pa.Table]) -> float | None:
    """Within how many seconds of their prediction most labels come, up to two digits, so that it rests."""
    made = {
        key: time
        for table in predictions
        for key, time in zip(*_ids_and_times(table, "prediction_id", "time"), strict=True)
    }
    seconds = []
    for table in labels:
        ids, known = _ids_and_times(table, "prediction_id", "prediction_time")
        _, times = _ids_and_times(table, "prediction_id", "time")
        for key, asked, told in zip(ids, known, times, strict=True):
            asked_us = made.get(key) if asked is None else asked
            if asked_us is not None:
                seconds.append(max(told - asked_us, 0) / 1e6)
    if len(seconds) < MIN_LABELS:
        return None
    most = pc.quantile(pa.array(seconds), DELAY_QUANTILE)[0].as_py()
    return float(_TWO_DIGITS_UP.create_decimal(repr(most)))


def _ids_and_times(table: pa.Table, key: str, time: str) -> tuple[list[Any], list[Any]]:
    """Ids, and times in microseconds."""
    return table.column(key).to_pylist(), table.column(time).cast(pa.int64()).to_pylist()
