"""The rows of batches: records whose body is a table of predictions or labels, as an Arrow IPC stream.

A table has the columns that rows have in the lake. What the record says of all rows stands where a column
says nothing: it is read as the record of a single prediction or label, and the row it makes is repeated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode import stream
from lapwing_collector.decode.arrow import Arrays, Room, is_container, is_map
from lapwing_collector.decode.attributes import fitting
from lapwing_collector.decode.columns import BOOL, DOUBLE, STRING, TYPES, UnusableError, numpy
from lapwing_collector.decode.events import Event, free_key, with_extra
from lapwing_collector.decode.fields import Columns, Extras
from lapwing_collector.decode.fixed import TIME
from lapwing_collector.decode.labels import LABEL
from lapwing_collector.decode.predictions import PREDICTION
from lapwing_collector.decode.tags import joined_tags
from lapwing_collector.model.records import FieldColumn

type_ = pa.types

LAST_MICROSECOND: Final = (2**63 - 1) // 1000
"""The range of times: that of nanoseconds in 64 bits."""


@dataclass(frozen=True, slots=True)
class TableEvent:
    """How the records of one event become rows.

    Attributes:
        name: The `event_name`.
        row: The event of a single row.
        kinds: The kind of value of each column that is no field.
        times: Columns with times.
        required: Of each set, the table has a column, or the record says it of all rows.
        from_record: What of the required the record may say.
    """

    name: str
    row: Event
    kinds: Mapping[str, int]
    times: frozenset[str]
    required: tuple[frozenset[str], ...]
    from_record: frozenset[str] = frozenset()


PREDICTION_TABLE: Final = TableEvent(
    name=semconv.EVENT_PREDICTION_BATCH,
    row=PREDICTION,
    kinds={
        "prediction_id": STRING,
        "version": STRING,
        "duration_ms": DOUBLE,
        "error_type": STRING,
        "error_message": STRING,
        "weight": DOUBLE,
        "request_id": STRING,
        "fallback": BOOL,
        "variant": STRING,
        "upstream": STRING,
        "stage": STRING,
    },
    times=frozenset({"time"}),
    required=(PREDICTION.roots.keys | {"prediction_id"},),
)
_LABEL_IDS: Final = frozenset({"prediction_id", "request_id"})
LABEL_TABLE: Final = TableEvent(
    name=semconv.EVENT_LABEL_BATCH,
    row=LABEL,
    kinds={"prediction_id": STRING, "request_id": STRING, "source": STRING},
    times=frozenset({"time", "prediction_time"}),
    required=(LABEL.roots.keys, _LABEL_IDS),
    from_record=_LABEL_IDS,
)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a table holds: the fixed columns, and the user's fields."""

    fixed: pa.RecordBatch
    fields: tuple[FieldColumn, ...]


def read_table(event: TableEvent, content: bytes, common: pa.RecordBatch, room: Room) -> Rows:
    """Make the rows of a batch.

    Args:
        event: What it is a batch of.
        content: The body of its record.
        common: One row, with what the record says of all of them.
        room: Memory for all that is made of it.

    Raises:
        UnusableError: The content can not be read, or is not what it should be.
    """
    try:
        size = stream.measure(content)
        room.take(size.bytes + size.rows * common.nbytes)
        table = stream.read(content)
        _check_columns(event, table.schema.names, common)
        return _rows(event, table, common, room)
    except UnusableError:
        raise
    except Exception as error:  # bytes from anyone: whatever pyarrow meets in them costs this record only
        raise UnusableError(f"its body can not be read as an Arrow IPC stream: {error!s:.200}") from error


def _check_columns(event: TableEvent, names: list[str], common: pa.RecordBatch) -> None:
    said = {name for name in event.from_record if common.column(name)[0].is_valid}
    for required in event.required:
        if not required & (said | {*names}):
            raise UnusableError(
                f"its table has no column {' or '.join(sorted(required))}, but {names!r:.200}"
            )


def _rows(event: TableEvent, table: pa.RecordBatch, common: pa.RecordBatch, room: Room) -> Rows:
    count = table.num_rows
    arrays = Arrays(room)
    fields = Columns(count)
    fixed = {name: _repeated(common.column(name), count) for name in common.schema.names}
    if event is PREDICTION_TABLE:
        fixed["prediction_id"] = _numbered(fixed["prediction_id"])
    surplus: dict[str, list[Any]] = {}
    for name, array in zip(table.schema.names, table.columns, strict=True):
        try:
            if name in event.row.roots.keys:
                _add_field(event, arrays, fields, name, array)
            elif name in event.kinds:
                given = _of_kind(arrays, array, event.kinds[name])
                fixed[name] = pc.coalesce(
                    _not_empty(given) if name == "prediction_id" else given, fixed[name]
                )
            elif name in event.times:
                fixed[name] = pc.coalesce(_times(arrays.unwrapped(array)), fixed[name])
            elif name == "tags" and name in fixed:
                _check_map(array)
                fixed[name] = joined_tags(arrays, array, common.column(name)[0].as_py())
            else:
                surplus[name] = arrays.objects(array)
        except UnusableError as error:
            raise UnusableError(f"its column {name!r:.80}: {error}") from error
    rows = pa.RecordBatch.from_pydict(fixed, common.schema)
    return Rows(_with_surplus(rows, surplus, fields.extras), fields.finish())


def _repeated(column: pa.Array, count: int) -> pa.Array:
    if not column[0].is_valid:
        return pa.nulls(count, column.type)
    return column.take(pa.array(np.zeros(count, np.int64)))


def _numbered(ids: pa.StringArray) -> pa.StringArray:
    """Ids for rows that give none: that of the record, and the number of the row in it."""
    return pc.binary_join_element_wise(ids, pa.array(np.arange(len(ids))).cast(pa.string()), "-")


def _not_empty(ids: pa.StringArray) -> pa.StringArray:
    return pc.if_else(pc.equal(ids, ""), None, ids)


def _add_field(event: TableEvent, arrays: Arrays, fields: Columns, name: str, array: pa.Array) -> None:
    if not event.row.roots.scalar:
        _check_map(array)
    arrays.add(fields, (name,), array, is_root=not event.row.roots.scalar)


def _check_map(array: pa.Array) -> None:
    if not (is_map(array.type) or type_.is_null(array.type)):
        raise UnusableError(f"it is of type {array.type}, not a struct or a map")


def _of_kind(arrays: Arrays, array: pa.Array, kind: int) -> pa.Array:
    """The values of a column that takes one kind of value only."""
    array = arrays.unwrapped(array)
    found = None if is_container(array.type) else arrays.scalars(array)
    if found is None or not found.keys() <= {*fitting(kind)}:
        raise UnusableError(f"it is of type {array.type}, not {TYPES[kind]}")
    return next(iter(found.values()), pa.nulls(len(array))).cast(TYPES[kind], safe=False)


def _times(array: pa.Array) -> pa.TimestampArray:
    """Times in microseconds, rounded down; 0 counts as unknown, as it does in OTLP."""
    kind = array.type
    if type_.is_null(kind):
        return array.cast(TIME)
    if type_.is_date(kind):
        array = array.cast(pa.timestamp("ms"))
    elif type_.is_int64(kind):
        array = array.view(pa.timestamp("ns"))
    elif not type_.is_timestamp(kind):
        raise UnusableError(f"it is of type {kind}, not a timestamp or an int64 of nanoseconds")
    times = numpy(pc.fill_null(array.view(pa.int64()), 0))
    factor, divisor = _TO_MICROSECONDS[array.type.unit]
    if len(times) and max(-int(times.min()), int(times.max())) * factor // divisor > LAST_MICROSECOND:
        raise UnusableError("it has a time that is not between the years 1677 and 2262")
    return pa.array((times * factor // divisor).astype("datetime64[us]"), TIME, mask=times == 0)


_TO_MICROSECONDS: Final = {"s": (1_000_000, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


def _with_surplus(rows: pa.RecordBatch, surplus: Mapping[str, list[Any]], extras: Extras) -> pa.RecordBatch:
    """Add to `extra`, where what the record says of all rows is already, what has no column."""
    if not surplus and not extras:
        return rows
    common = json.loads(rows.column("extra").storage[0].as_py() or "{}")
    complete = {}
    for place in range(rows.num_rows):
        extra = dict(common)
        found = {name: values[place] for name, values in surplus.items() if values[place] is not None}
        for key, value in (found | extras.get(place, {})).items():
            extra[free_key(key, extra)] = value
        if extra:
            complete[place] = extra
    return with_extra(rows, complete)
