"""Writes rows as JSON, CSV, Arrow or Parquet, up to a number of rows and bytes."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lapwing_collector.errors import QueryLimitError
from lapwing_collector.formulas import disarmed
from lapwing_collector.model.queries import Ask, Format

Number = int | float

_INFINITE: Final = frozenset(sign * (2**bits - 1) for sign in (1, -1) for bits in (31, 63))
"""DuckDB's dates and times that never come, or never were."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer, written.

    Attributes:
        data: Its bytes, in pieces.
        rows: How many rows are in it.
        truncated: Whether there are more.
    """

    data: list[bytes]
    rows: int
    truncated: bool


def render(rows: pa.RecordBatchReader, ask: Ask) -> Rendered:
    """Write what `ask` wants of `rows`; no more rows are computed than that takes.

    Raises:
        QueryLimitError: There are more than the limits let through, and `ask` wants all or none.
    """
    plain = ask.plain and all(map(_is_plain, rows.schema.types))
    writer = _Plain(rows.schema) if plain else _writer(ask.fmt, rows.schema)
    data: list[bytes] = []
    count = size = 0
    truncated = False
    for batch in rows:
        fitting = _fitting(batch, ask.max_rows - count, ask.max_bytes - size)
        truncated = fitting < batch.num_rows
        if truncated and (ask.whole or not count + fitting):
            raise _too_large(ask, count + fitting)
        part = batch.slice(0, fitting)
        data.append(writer.write(part))
        count += fitting
        size += part.nbytes
        if truncated:
            break
    data.append(writer.end())
    return Rendered([piece for piece in data if piece], count, truncated)


def _fitting(batch: pa.RecordBatch, most_rows: int, most_bytes: int) -> int:
    """How many rows from the first of `batch` on are within the limits."""
    most = min(int(batch.num_rows), most_rows)
    if batch.slice(0, most).nbytes <= most_bytes:
        return most
    fits, exceeds = 0, most
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if batch.slice(0, middle).nbytes <= most_bytes:
            fits = middle
        else:
            exceeds = middle
    return fits


def _too_large(ask: Ask, fitting: int) -> QueryLimitError:
    limit = f"{ask.max_rows:,} rows" if fitting >= ask.max_rows else f"{ask.max_bytes:,} bytes"
    return QueryLimitError(
        f"the answer has more than {limit}: add a LIMIT, select fewer columns or aggregate, "
        "or raise query.max_rows and query.max_bytes in the settings"
    )


class _Writer(Protocol):
    def write(self, batch: pa.RecordBatch) -> bytes: ...

    def end(self) -> bytes: ...


def _writer(fmt: Format, schema: pa.Schema) -> _Writer:
    match fmt:
        case Format.JSON:
            return _Json(schema)
        case Format.COLUMNS:
            return _Columns(schema)
        case Format.CSV:
            return _Csv(schema)
        case Format.ARROW:
            return _Arrow(schema)
        case Format.PARQUET:
            return _Parquet(schema)


class _Json:
    """A list of objects, a line each."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names = _unique(schema.names)
        self._converters = [_converter(field.type) for field in schema]
        self._separator = "[\n"

    def write(self, batch: pa.RecordBatch) -> bytes:
        columns = [
            [convert(value) for value in _values(column)]
            for convert, column in zip(self._converters, batch.columns, strict=True)
        ]
        lines = [
            json.dumps(dict(zip(self._names, values, strict=True)), ensure_ascii=False)
            for values in zip(*columns, strict=True)
        ]
        if not lines:
            return b""
        text = self._separator + ",\n".join(lines)
        self._separator = ",\n"
        return text.encode(errors="replace")

    def end(self) -> bytes:
        return b"[]\n" if self._separator == "[\n" else b"\n]\n"


class _Columns:
    """One object: names and types of the columns, and the values of each as a list."""

    def __init__(self, schema: pa.Schema) -> None:
        self._head = {"names": _unique(schema.names), "types": [str(field.type) for field in schema]}
        self._converters = [_converter(field.type) for field in schema]
        self._columns: list[list[Any]] = [[] for _ in schema]

    def write(self, batch: pa.RecordBatch) -> bytes:
        for into, convert, column in zip(self._columns, self._converters, batch.columns, strict=True):
            values = _values(column)
            into.extend(values if _is_as_json(column) else map(convert, values))
        return b""

    def end(self) -> bytes:
        text = json.dumps(self._head | {"columns": self._columns}, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace")


class _Plain:
    """One object for `Answer.plain`, of values that JSON, as Python reads and writes it, leaves as they are.

    A handful of rows is read from it in a tenth of the time that Arrow takes: its code is large, and from one
    evaluation of a rule to the next it has left the processor's caches.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [(field.name, str(field.type)) for field in schema]
        self._rows: list[tuple[Any, ...]] = []

    def write(self, batch: pa.RecordBatch) -> bytes:
        self._rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return b""

    def end(self) -> bytes:
        return json.dumps({"columns": self._columns, "rows": self._rows}).encode()


class _Csv:
    """A header and a line per row; text that a spreadsheet would take for a formula gets a quote in front."""

    def __init__(self, schema: pa.Schema) -> None:
        self._text = io.StringIO()
        self._lines = csv.writer(self._text)
        self._lines.writerow([_harmless(name) for name in schema.names])

    def write(self, batch: pa.RecordBatch) -> bytes:
        self._lines.writerows([_harmless(cell) for cell in row] for row in cells(batch))
        return self._take()

    def end(self) -> bytes:
        return self._take()

    def _take(self) -> bytes:
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return text.encode()


class _Arrow:
    """An Arrow IPC stream."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = io.BytesIO()
        self._stream = pa.ipc.new_stream(self._sink, schema)

    def write(self, batch: pa.RecordBatch) -> bytes:
        self._stream.write_batch(batch)
        return self._take()

    def end(self) -> bytes:
        self._stream.close()
        return self._take()

    def _take(self) -> bytes:
        data = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return data


class _Parquet:
    """A Parquet file, which has its table of contents at its end."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> bytes:
        self._batches.append(batch)
        return b""

    def end(self) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_batches(self._batches, self._schema), sink, compression="zstd")
        return bytes(sink.getvalue())


def _is_as_json(column: pa.Array) -> bool:
    """Whether JSON can hold all values of a column as Python has them."""
    if pa.types.is_floating(column.type):
        return bool(pc.all(pc.is_finite(column), min_count=0).as_py())
    return _is_plain(column.type)


def _is_plain(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
    )


def cells(batch: pa.RecordBatch) -> Iterator[tuple[str | Number, ...]]:
    """The rows of `batch` for people to read: text, and nested values as JSON; numbers stay numbers."""
    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        convert = _converter(field.type)
        columns.append([_cell(value, convert) for value in _values(column)])
    return zip(*columns, strict=True)


def _values(column: pa.Array) -> list[Any]:
    """The values of a column in Python; times beyond its range, which ends with the year 9999, as text."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (OverflowError, ValueError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        if pa.types.is_map(scalar.type):
            return [(_value(entry["key"]), _value(entry["value"])) for entry in scalar.values]
        if pa.types.is_struct(scalar.type):
            return {name: _value(part) for name, part in scalar.items()}
        if pa.types.is_nested(scalar.type):
            return [_value(item) for item in scalar.values]
        return _far(scalar)


def _far(time: pa.Scalar) -> str:
    """A date or time that Python does not have."""
    if time.value in _INFINITE:
        return "infinity" if time.value > 0 else "-infinity"
    if pa.types.is_timestamp(time.type) and time.type.tz:  # no zones are known in the sandbox
        return f"{pa.scalar(time.value, pa.timestamp(time.type.unit)).cast(pa.string())}Z"
    return str(time.cast(pa.string()))


def _cell(value: Any, convert: "_Convert") -> str | Number:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case dict() | list():
            return json.dumps(convert(value), ensure_ascii=False)
        case bytes() | Decimal():
            return convert(value)  # type: ignore[no-any-return]
        case str() | int() | float():
            return value
        case _:
            return str(value)


def _harmless(cell: str | Number) -> str | Number:
    return disarmed(cell) if isinstance(cell, str) else cell


_Convert = Callable[[Any], Any]


def _converter(kind: pa.DataType) -> _Convert:
    """What makes of a value of `kind`, as Arrow gives it, one that JSON can hold."""
    convert: _Convert
    if pa.types.is_map(kind):
        item = _converter(kind.item_type)
        convert = lambda pairs: {_key(key): item(value) for key, value in pairs}  # noqa: E731  # as the others
    elif pa.types.is_struct(kind):
        fields = {field.name: _converter(field.type) for field in kind}
        convert = lambda value: {name: fields[name](part) for name, part in value.items()}  # noqa: E731
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _converter(kind.value_type)
        convert = lambda values: [item(value) for value in values]  # noqa: E731
    else:
        convert = _plain
    return lambda value: None if value is None else convert(value)


def _key(value: Any) -> str:
    return value if isinstance(value, str) else str(_plain(value))


def _plain(value: Any) -> Any:
    match value:
        case bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat() + ("" if value.tzinfo else "Z")
        case Decimal():  # what sums of integers are
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            return str(value)


def _unique(names: Sequence[str]) -> list[str]:
    """Names that an object can have beside each other: `a` and `a` become `a` and `a_1`."""
    taken: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.append(candidate)
    return taken
