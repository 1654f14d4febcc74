"""Builds batches from plain rows, as decoding would."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from lapwing_collector.model.description import parts
from lapwing_collector.model.records import ROWS, UNTYPED, Batch, FieldColumn, Kind

START = datetime(2026, 1, 1)

_KINDS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}


class Json(str):
    """Text of a value that has no column type, such as a mixed list."""

    __slots__ = ()


def predictions(model: str, rows: Sequence[Mapping[str, Any]], **options: Any) -> Batch:
    """A batch of predictions; dotted keys (`inputs.age`, `inputs."a.b"`) are fields, others fixed columns."""
    return _batch(
        Kind.PREDICTION, model, rows, {"stage": "production", "tags": [], "resource": []}, **options
    )


def labels(model: str, rows: Sequence[Mapping[str, Any]], **options: Any) -> Batch:
    """A batch of labels; `label` and dotted keys below it are fields."""
    return _batch(Kind.LABEL, model, rows, {}, **options)


def logs(rows: Sequence[Mapping[str, Any]], **options: Any) -> Batch:
    """A batch of other log records."""
    fixed = {"time_unix_nano": 0, "severity_number": 0, "flags": 0, "dropped_attributes_count": 0}
    return _batch(Kind.LOG, "", rows, fixed, **options)


def _batch(
    kind: Kind,
    model: str,
    rows: Sequence[Mapping[str, Any]],
    fixed: Mapping[str, Any],
    *,
    process_id: str | None = None,
    first_sequence: int | None = None,
) -> Batch:
    schema = ROWS[kind]
    defaults = {"time": START, "received_at": START + timedelta(seconds=1), **fixed}
    columns = [pa.array([{**defaults, **row}.get(f.name) for row in rows], f.type) for f in schema]
    sequence = [None if first_sequence is None else first_sequence + i for i in range(len(rows))]
    paths = dict.fromkeys(key for row in rows for key in row if key.split(".")[0] not in schema.names)
    return Batch(
        kind,
        model,
        process_id,
        pa.array(sequence, pa.int64()),
        pa.RecordBatch.from_arrays(columns, schema=schema),
        tuple(column for path in paths for column in _columns(path, [row.get(path) for row in rows])),
    )


def _columns(path: str, values: Sequence[Any]) -> list[FieldColumn]:
    kinds = dict.fromkeys(_kind(value) for value in values if value is not None)
    return [
        FieldColumn(
            _place(path),
            _array([v if v is not None and _kind(v) == kind else None for v in values], kind),
        )
        for kind in kinds
    ]


def _place(path: str) -> tuple[str, ...]:
    try:
        return parts(path)
    except ValueError:  # senders may call fields as they like
        return tuple(path.split("."))


def _kind(value: Any) -> pa.DataType:
    if isinstance(value, Json):
        return UNTYPED
    if isinstance(value, list):
        return pa.list_(_KINDS[type(value[0])])
    return _KINDS[type(value)]


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == UNTYPED:
        return pa.ExtensionArray.from_storage(UNTYPED, pa.array(values, pa.string()))
    return pa.array(values, kind)
