"""What `decode` makes of a request and `lake` writes: batches of rows per table, with user fields by kind.

The fields that users log (`inputs.age`, `output.late`, `label`) have no schema when they arrive. A batch
therefore carries its fixed columns as one RecordBatch and each user field as one column *per kind of value
seen*: a field that was an integer in one row and text in another comes as two columns, each null where the
other holds. Only `lake`, which knows the table's types, decides what a field's type is and what has to go
to the `extra` column.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import pyarrow as pa

from lapwing_collector.errors import DecodeError


class Kind(StrEnum):
    """Which family of tables a batch belongs to."""

    PREDICTION = "prediction"
    LABEL = "label"
    LOG = "log"


_TIME = pa.timestamp("us")
_STRINGS = pa.map_(pa.string(), pa.string())

UNTYPED: Final = pa.json_(pa.string())
"""Type of a `FieldColumn` whose values have no column type (mixed lists, empty maps): JSON text."""

PREDICTION_ROWS: Final = pa.schema(
    [
        pa.field("time", _TIME, nullable=False),
        pa.field("prediction_id", pa.string()),
        pa.field("version", pa.string()),
        pa.field("environment", pa.string()),
        pa.field("service", pa.string()),
        pa.field("duration_ms", pa.float64()),
        pa.field("error_type", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("weight", pa.float64()),
        pa.field("request_id", pa.string()),
        pa.field("fallback", pa.bool_()),
        pa.field("variant", pa.string()),
        pa.field("upstream", pa.string()),
        pa.field("tags", _STRINGS),
        pa.field("extra", UNTYPED),
        pa.field("resource", _STRINGS),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("received_at", _TIME, nullable=False),
    ]
)
"""Fixed columns of a prediction. `extra` is a JSON object or null."""

LABEL_ROWS: Final = pa.schema(
    [
        pa.field("prediction_id", pa.string()),
        pa.field("request_id", pa.string()),
        pa.field("prediction_time", _TIME),
        pa.field("time", _TIME, nullable=False),
        pa.field("received_at", _TIME, nullable=False),
        pa.field("source", pa.string()),
        pa.field("extra", UNTYPED),
    ]
)
"""Fixed columns of a label. `time` is when the truth became known."""

LOG_ROWS: Final = pa.schema(
    [
        pa.field("time", _TIME, nullable=False),
        pa.field("time_unix_nano", pa.uint64(), nullable=False),
        pa.field("observed_time", _TIME),
        pa.field("severity_number", pa.int32(), nullable=False),
        pa.field("severity_text", pa.string()),
        pa.field("event_name", pa.string()),
        pa.field("body", UNTYPED),
        pa.field("attributes", UNTYPED),
        pa.field("resource", UNTYPED),
        pa.field("scope", UNTYPED),
        pa.field("resource_schema_url", pa.string()),
        pa.field("scope_schema_url", pa.string()),
        pa.field("flags", pa.uint32(), nullable=False),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("dropped_attributes_count", pa.uint32(), nullable=False),
        pa.field("received_at", _TIME, nullable=False),
    ]
)
"""Columns of any other log record. `scope` has name, version, attributes and dropped_attributes_count."""

ROWS: Final = {Kind.PREDICTION: PREDICTION_ROWS, Kind.LABEL: LABEL_ROWS, Kind.LOG: LOG_ROWS}


@dataclass(frozen=True, slots=True)
class FieldColumn:
    """The values of one user field that share one kind.

    Attributes:
        path: Where the field sits: `("inputs", "age")`, `("output", "scores", "cat")`, `("label",)`.
        values: One value per row of the batch, null where the row has none of this kind. Its type is one
            of bool, int64, float64, string, binary, a list of one of these, or `UNTYPED`.
    """

    path: tuple[str, ...]
    values: pa.Array


_COLUMN_BYTES: Final = 1024
"""Arrow's and Python's objects for a column, and buffers padded to cache lines: measured on one row."""

DIGEST: Final = pa.binary(16)
"""Type of `Batch.digest`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one table that came from one process.

    Attributes:
        kind: Which family of tables.
        model: The model's name; empty for logs.
        process_id: The sender's `lapwing.process.id`, None where it gave none.
        sequence: `lapwing.sequence` per row (int64, null where absent); with `process_id` it identifies
            a record. Rows with the same number are one record.
        rows: The fixed columns, in the schema `ROWS[kind]`.
        fields: The user fields; empty for logs.
        digest: What identifies a record that has no number, per row (`DIGEST`, null where it has one): the
            BLAKE2b hash of its resource, scope and content, the same however often and in whatever grouping
            it is sent. None where every record is numbered.
    """

    kind: Kind
    model: str
    process_id: str | None
    sequence: pa.Array
    rows: pa.RecordBatch
    fields: tuple[FieldColumn, ...] = ()
    digest: pa.Array | None = None
    size_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Measure it once: many ask, and each would walk all columns."""
        columns = self.rows.num_columns + len(self.fields)
        values = self.rows.nbytes + sum(f.values.nbytes for f in self.fields)
        object.__setattr__(self, "size_bytes", int(values + columns * _COLUMN_BYTES))

    def filter(self, keep: pa.Array) -> "Batch":
        """Keep the rows where the boolean array `keep` is true."""
        return Batch(
            self.kind,
            self.model,
            self.process_id,
            self.sequence.filter(keep),
            self.rows.filter(keep),
            tuple(FieldColumn(f.path, f.values.filter(keep)) for f in self.fields),
            None if self.digest is None else self.digest.filter(keep),
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one request holds.

    Attributes:
        batches: Rows by kind, model and process, in the order of arrival within each.
        received: Records the request carried.
        rejected: Records that can not be stored, whatever is tried again (a model name that is not allowed).
        message: Says why records were rejected; empty when none were.
    """

    batches: tuple[Batch, ...]
    received: int
    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Converted:
    """A request that came in JSON, as protobuf.

    Attributes:
        payload: The bytes of an ExportLogsServiceRequest, without the records that are no use.
        records: Records the request carried.
        rejected: How many of them are no use.
        message: Why not, or a warning; empty when there is nothing to say.
    """

    payload: bytes
    records: int = 0
    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What decoding says of one request among several that were decoded together.

    Attributes:
        records: Records it carried.
        rejected: Records of it that can not be stored, whatever is tried again.
        message: Why not; empty when there is nothing to say.
        rows: Rows that its records became; a record that is a table has many. Those of records that came
            earlier in the group count, though they are left out.
        rejected_rows: Rows that the rejected records would have become, as far as they say (`ml.batch.rows`);
            1 for each that does not say.
        error: Why it can not be read at all; then the numbers are 0.
    """

    records: int = 0
    rejected: int = 0
    message: str = ""
    rows: int = 0
    rejected_rows: int = 0
    error: DecodeError | None = None


@dataclass(frozen=True, slots=True)
class DecodedGroup:
    """What several requests hold, read in one go.

    Attributes:
        batches: Rows by kind, model and process, in the order of arrival within each, over all requests.
        outcomes: One per request, in their order.
    """

    batches: tuple[Batch, ...]
    outcomes: tuple[Outcome, ...]
