"""Builds records whose body is a table, as an Arrow IPC stream."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.decode_requests import record


def stream(table: pa.Table, compression: str | None = None, chunk: int | None = None) -> bytes:
    """The table as a stream, of batches of at most `chunk` rows."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue())


def predictions(body: Any, attributes: Mapping[str, Any] | None = None, **fields: Any) -> LogRecord:
    """A batch of predictions of the model `churn`; a table is sent as a stream, anything else as it is."""
    return _batch("ml.prediction.batch", body, attributes, fields)


def labels(body: Any, attributes: Mapping[str, Any] | None = None, **fields: Any) -> LogRecord:
    """A batch of labels of the model `churn`; a table is sent as a stream, anything else as it is."""
    return _batch("ml.label.batch", body, attributes, fields)


def _batch(
    event: str, body: Any, attributes: Mapping[str, Any] | None, fields: Mapping[str, Any]
) -> LogRecord:
    given = {"ml.model.name": "churn"} | dict(attributes or {})
    return record(event, stream(body) if isinstance(body, pa.Table) else body, given, **fields)
