"""Calls with a table: arguments, results and labels as Arrow columns, a row per prediction, and as bytes.

Import this module when a table has been seen, not before: it loads pyarrow.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from lapwing import _time, semconv
from lapwing._arrow import np, pa, pc
from lapwing._columns import MAX_FIELDS, as_numpy, column, length, repeated
from lapwing._encode import encode_text
from lapwing._table import is_frame, is_table, table_kind
from lapwing._time import new_prediction_id

STREAM_BYTES: Final = 2**20
"""Arrow data in one stream, before compression. With 8 MiB all took twice the CPU time: the allocator fetches
large buffers from the system anew, for every copy on the way out."""

STREAM_ROWS: Final = 1000
"""Rows that stay together up to `MAX_STREAM_BYTES`: with many columns a stream would be mostly its schema."""

MAX_STREAM_BYTES: Final = 8 * 2**20
"""Arrow data in a stream of more than one row, at most."""

Select = Callable[[Iterable[str]], Mapping[str, str]]
"""Chooses among names: gives those to keep, each with its new name."""

_Fields = Sequence[tuple[object, Any]]
"""Names of columns, which may be of any type and come twice, and values as the user has them."""

_SCORES: Final = "scores"

_ID_TEXT: Final = np.dtype([("first", "S19"), ("third", "S4"), ("dash", "S1"), ("rest", "S12")])
_ID_DIGITS: Final = np.dtype([("third", "S4"), ("rest", "S12")])

_LABEL_IDS: Final = ("prediction_id", "request_id")


class Inputs(NamedTuple):
    """What a call was given.

    Attributes:
        rows: Rows of the table, and predictions of the call.
        columns: A struct of them, with a field per column; None if none is selected.
    """

    rows: int
    columns: pa.StructArray | None


def copy_inputs(
    arguments: Mapping[str, object], names: Sequence[str] | None = None, select: Select | None = None
) -> Inputs | None:
    """Copy the arguments of a call whose first table has a row per prediction; None if there is no table.

    The table's columns keep their names, as text; a name that comes again gets `~2`, `~3`, …. Of the other
    arguments, an array, a Series or a list with as many items as the table has rows is a column, a table
    with as many rows is a struct, and anything else a constant.

    Args:
        arguments: By name.
        names: Of the columns of a table that is an array; default: `x0`, `x1`, …
        select: What to record.
    """
    name = next((name for name, value in arguments.items() if is_table(value)), None)
    if name is None:
        return None
    table: Any = arguments[name]
    others = [(other, value) for other, value in arguments.items() if other != name]
    rows = len(table)
    return Inputs(rows, _struct([*_fields(table, name, names), *others], rows, select))


def copy_output(
    result: Any, rows: int, select: Select | None = None, classes: Sequence[object] | None = None
) -> pa.StructArray | None:
    """Copy what a call answered; None if that is not one item per row, or nothing of it is selected.

    A table's columns are fields, and so are the entries of a mapping with a column in it. A single column is
    `value`, an array of several is `scores`.

    Args:
        result: What the function returned.
        rows: Rows of what it was given.
        select: What to record.
        classes: Names of the columns of `scores`, which is then a struct; without them it is a list.
    """
    fields = _output_fields(result, rows, classes)
    return None if fields is None else _struct(fields, rows, select)


def new_prediction_ids(time: int, rows: int) -> pa.StringArray:
    """Make a UUIDv7 per row for one event time in nanoseconds; each sorts after the one before it.

    Their times are as in `new_prediction_id`. The 62 bits after the time are a number that counts up from row
    to row, from a start of 61 random bits: batches of n rows, made for the same quarter of a microsecond,
    share an id with a probability of n / 2^60.
    """
    start = _time.random_bits() >> 1 | 1 << 63  # first the two bits 10 of a UUID's variant
    numbers = np.arange(rows, dtype=np.uint64) + np.uint64(start)
    digits = np.frombuffer(numbers.astype(">u8").tobytes().hex().encode(), _ID_DIGITS)
    ids = np.frombuffer(bytearray(new_prediction_id(time).encode() * rows), _ID_TEXT)
    for part in ("third", "rest"):
        ids[part] = digits[part]
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(_ID_TEXT.itemsize)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(ids))


def streams(columns: Mapping[str, pa.Array | None]) -> Iterator[tuple[int, bytes]]:
    """Write columns as Arrow IPC streams, each with its number of rows; no rows make no stream.

    Buffers are compressed with lz4: zstd makes them a third smaller, and takes twice the time.

    Args:
        columns: By name; what is None is left out.
    """
    given = {name: values for name, values in columns.items() if values is not None}
    batch = pa.RecordBatch.from_pydict(given)
    if batch.num_rows:
        for part in _parts(batch):
            yield part.num_rows, _stream(part)


def label_columns(labels: Any, beside: Mapping[str, Any] | None = None) -> dict[str, pa.Array]:
    """Copy labels, as the columns of a batch.

    Args:
        labels: A table with the columns `prediction_id` or `request_id` or both, `label`, and if wanted
            `prediction_time`, `time` and `source`. Without `label`, the columns of other names together are
            it. Or a column of labels, with the ids beside it.
        beside: Columns by those names, or values for all labels, where the table has none; what is None is
            left out.

    Raises:
        ValueError: A column is missing, unknown, or of a wrong length or type, or a row has no id.
    """
    given = {name: values for name, values in (beside or {}).items() if values is not None}
    if any(name in given for name in _LABEL_IDS):
        parts = {**given, semconv.BODY_LABEL: labels}
    elif is_table(labels):
        parts = {**given, **_named(_fields(labels, semconv.BODY_LABEL))}
    else:
        raise ValueError(
            "labels are a DataFrame, a Table or a list of dicts with a prediction_id or request_id, "
            f"or a list with the ids beside it; not {type(labels).__qualname__}"
        )
    rows = len(labels)
    for name in _LABEL_IDS:
        if name in given and length(given[name]) != rows:
            raise ValueError(f"{rows} labels need as many values of {name}, not {length(given[name])}")
    columns = _as_label(parts, rows)
    ids = [columns[name] for name in _LABEL_IDS if name in columns]
    without = pc.coalesce(*ids).null_count if ids else rows
    if without:
        raise ValueError(f"{without} of {rows} labels have neither a prediction_id nor a request_id")
    return columns


def _fields(table: Any, name: str, names: Sequence[object] | None = None) -> _Fields:
    """Take a table apart.

    Args:
        table: The table.
        name: Of the column that stands for a list of mappings with too many keys.
        names: Of the columns of an array, used if there are as many.
    """
    match table_kind(table):
        case "pandas":
            return list(table.items())
        case "polars":
            return [(series.name, series) for series in table.iter_columns()]
        case "pyarrow":
            return list(zip(table.column_names, table.columns, strict=True))
        case "list":
            keys = dict.fromkeys(chain.from_iterable(table))
            if len(keys) > MAX_FIELDS:
                return [(name, table)]
            return [(key, [row.get(key) for row in table]) for key in keys]
        case _:
            # One pass over the memory; columns of an array that is ordered by rows are far apart.
            columns = np.array(as_numpy(table).T, order="C", subok=True)
            if names is None or len(names) != len(columns):
                names = [f"x{number}" for number in range(len(columns))]
            return list(zip(names, columns, strict=True))


def _output_fields(result: Any, rows: int, classes: Sequence[object] | None) -> _Fields | None:
    kind = table_kind(result)
    if kind is None and isinstance(result, Mapping):
        return list(result.items()) if any(length(v) == rows for v in result.values()) else None
    if (length(result) if kind is None else len(result)) != rows:
        return None
    if kind == "array":
        columns = _fields(result, "", classes)
        if len(columns) == 1:
            return [(semconv.OUTPUT_VALUE, columns[0][1])]
        named = classes is not None and len(classes) == len(columns)
        return [(_SCORES, _struct(columns, rows) if named else result)]
    return [(semconv.OUTPUT_VALUE, result)] if kind is None else _fields(result, semconv.OUTPUT_VALUE)


def _struct(fields: _Fields, rows: int, select: Select | None = None) -> pa.StructArray | None:
    values = _named(fields)
    if select is not None:
        values = _named([(new, values[name]) for name, new in select(values).items()])
    if not values:
        return None
    return pa.StructArray.from_arrays([_column(each, rows) for each in values.values()], names=list(values))


def _column(values: Any, rows: int) -> pa.Array:
    if is_frame(values) and len(values) == rows:
        values = _struct(_fields(values, ""), rows)
    return column(values) if length(values) == rows else repeated(values, rows)


def _named(fields: _Fields) -> dict[str, Any]:
    """Turn names into texts that are all different."""
    named: dict[str, Any] = {}
    for name, values in fields:
        text = unique = encode_text(str(name)).decode()
        number = 1
        while unique in named:
            number += 1
            unique = f"{text}~{number}"
        named[unique] = values
    return named


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    limit = STREAM_BYTES if batch.num_rows > STREAM_ROWS else MAX_STREAM_BYTES
    if batch.nbytes <= limit or batch.num_rows == 1:
        yield batch
    else:
        half = batch.num_rows // 2
        yield from _parts(batch.slice(0, half))
        yield from _parts(batch.slice(half))


def _stream(batch: pa.RecordBatch) -> bytes:
    # Threads of Arrow's own would make it faster by the clock, and dearer in CPU time.
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _as_label(given: Mapping[str, Any], rows: int) -> dict[str, pa.Array]:
    """Copy the columns of labels; those that are no other part of a label are the label."""
    known = {*_LABEL_PARTS, semconv.BODY_LABEL}
    others = [(name, values) for name, values in given.items() if name not in known]
    if others and semconv.BODY_LABEL in given:
        unknown = ", ".join(name for name, _ in others)
        raise ValueError(f"beside `label`, labels have the columns {', '.join(_LABEL_PARTS)}; not {unknown}")
    if not others and semconv.BODY_LABEL not in given:
        raise ValueError("labels need a column `label`")
    columns = {name: _column(values, rows) for name, values in given.items() if name in known}
    columns = {
        name: _LABEL_PARTS[name](name, array) if name in _LABEL_PARTS else array
        for name, array in columns.items()
    }
    return {**columns, semconv.BODY_LABEL: _struct(others, rows)} if others else columns


def _as_text(name: str, array: pa.Array) -> pa.Array:
    try:
        if pa.types.is_floating(array.type):  # integers beside missing values, in pandas
            array = array.cast(pa.int64())
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{name} of labels is text, not {array.type}") from error


def _as_time(name: str, array: pa.Array) -> pa.Array:
    if pa.types.is_null(array.type) or pa.types.is_integer(array.type):
        return array.cast(pa.int64()).cast(pa.timestamp("ns", "UTC"))
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp(array.type.unit, "UTC"))
    raise ValueError(f"{name} of labels is datetimes or nanoseconds since the epoch, not {array.type}")


_LABEL_PARTS: Final = {
    "prediction_id": _as_text,
    "request_id": _as_text,
    "prediction_time": _as_time,
    "time": _as_time,
    "source": _as_text,
}
"""What may stand beside a label, and the type it gets."""
