"""Requests that hold a canary wherever one can be, and where to look for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import EntityRef, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from helpers.decode_requests import any_value, key_values, label, prediction, record
from helpers.decode_tables import labels, predictions, stream

CANARY = "canary@example.org"
"""Looks like a mail address, which a rule for texts finds."""
VALUES: list[Any] = [
    CANARY,
    f"see {CANARY}, please",
    CANARY.encode(),
    [1, CANARY, None],
    {"deep": [{"deeper": {CANARY: [CANARY]}}]},
    {CANARY: 1},
    ((CANARY, 1), (CANARY, CANARY), ("***", 2)),
]
"""One of each place of an AnyValue that can hold a text."""

_TEXTS = (
    *("ml.model.version", "ml.model.variant", "ml.model.upstream", "ml.prediction.id", "ml.request.id"),
    *("ml.prediction.stage", "ml.prediction.duration", "ml.prediction.weight", "ml.label.source"),
    *("error.type", "exception.message", "exception.stacktrace", "tag", CANARY),
)
_KNOWN = {"ml.model.name": "churn", "ml.prediction.id": "p1"}


def unknown_field(content: str) -> bytes:
    """A field of a message that OTLP does not define."""
    return b"\xa2\x06" + bytes((len(content),)) + content.encode()


def records() -> Iterator[LogRecord]:
    """Records of every kind, each with a canary somewhere in it."""
    for value in VALUES:
        yield prediction({"inputs": {"x": value, CANARY: value}, "output": {"y": value}, "more": value})
        yield prediction({"inputs": value, "output": value, CANARY: 1})
        yield prediction(value)
        yield label({"label": value, "more": value, CANARY: 2})
        yield label(value)
        yield record("checkout", value, {"user": value, "ml.prediction.id": value, "error.type": value})
        yield record("ml.model", value, {"user": value})
        yield record("ml.prediction", {"inputs": {"x": value}})  # rejected, and yet in the same request
        for key in _TEXTS:
            yield prediction({"inputs": {"x": 1}}, {key: value})
            yield label({"label": 1}, {key: value})
        yield predictions({"inputs": value})
    yield prediction({}, {"ml.model.name": f"churn of {CANARY}"})
    yield record("", None, severity_text=CANARY)
    yield record(CANARY, 1)
    yield record("", None, trace_id=CANARY.encode(), span_id=CANARY.encode())
    yield prediction({"inputs": deep(CANARY, 20)})
    yield LogRecord.FromString(prediction({}).SerializeToString() + unknown_field(CANARY))
    for table in tables():
        yield predictions(table, {"exception.message": CANARY, "ml.batch.rows": table.num_rows})
        yield labels(table, {"tag": CANARY})
    yield predictions(CANARY.encode())
    yield predictions(stream(next(tables()))[:-20])


def deep(value: Any, levels: int) -> Any:
    """A value inside maps."""
    for _ in range(levels):
        value = {"a": value}
    return value


def tables() -> Iterator[pa.Table]:
    """Tables with canaries in every kind of column, and out of sight."""
    texts = pa.array([CANARY, f"to {CANARY}", None])
    arrays = {
        "texts": texts,
        "bytes": pa.array([CANARY.encode(), b"", None]),
        "large": texts.cast(pa.large_string()),
        "views": texts.cast(pa.string_view()),
        "dictionary": texts.dictionary_encode(),
        "unused": pa.DictionaryArray.from_arrays(pa.array([0, 0, None]), pa.array(["a", CANARY])),
        "lists": pa.array([[CANARY, "b"], [], None]),
        "fixed": pa.array([[CANARY, "b"], ["a", "b"], None], pa.list_(pa.string(), 2)),
        "structs": pa.array([{"a": CANARY, "b": [{"c": CANARY}]}, None, {"a": "", "b": []}]),
        CANARY: pa.array([1, 2, 3]),
        "named": pa.array([{CANARY: 1}, None, {CANARY: 2}]),
        "maps": pa.array([[(CANARY, "a"), ("a", CANARY)], [], None], pa.map_(pa.string(), pa.string())),
        "json": pa.array(['{"a": "canary@example.org"}', "1", None], pa.json_()),
        "under_null": _hidden(texts),
        "in_null_list": pa.ListArray.from_arrays([0, 1, 2, 3], texts, mask=pa.array([True, True, True])),
        "in_null_map": pa.MapArray.from_arrays(
            pa.array([0, 1, 2, 2], pa.int32()),
            texts.slice(0, 2),
            texts.slice(0, 2),
            mask=pa.array([True] * 3),
        ),
        "in_null_struct": pa.StructArray.from_arrays([texts], ["a"], mask=pa.array([True, True, True])),
        "around": pa.array([CANARY, "a", "b", "c", CANARY]).slice(1, 3),
    }
    names = list(arrays)
    inputs = pa.StructArray.from_arrays(list(arrays.values()), names=names)
    ids = pa.array(["1", "2", "3"])
    metadata = {"note": CANARY}
    for key, column in arrays.items():
        fields = [pa.field("prediction_id", ids.type), pa.field(key, column.type, metadata=metadata)]
        yield pa.table([ids, column], pa.schema(fields, metadata))
        yield pa.table({"inputs": pa.StructArray.from_arrays([column], names=[key]), "label": column})
    yield pa.table({"inputs": inputs, "output": inputs, "tags": inputs, "label": inputs})
    for key in ("version", "error_message", "error_type", "stage", "duration_ms", "time", "source"):
        yield pa.table({"inputs": inputs, "label": ids, "prediction_id": ids, key: texts})


def _hidden(texts: pa.Array) -> pa.Array:
    """Nulls, with the texts still in the buffer."""
    _, offsets, data = texts.buffers()
    nulls = pa.py_buffer(np.zeros(8, np.uint8).tobytes())
    return pa.Array.from_buffers(pa.string(), len(texts), [nulls, offsets, data])


def request_around(*found: LogRecord) -> ExportLogsServiceRequest:
    """A request that has canaries around its records, too."""
    resource = Resource(
        attributes=key_values([("host", CANARY), (CANARY, [CANARY]), ("service.name", CANARY)]),
        entity_refs=[EntityRef(type=CANARY, id_keys=[CANARY], description_keys=[CANARY], schema_url=CANARY)],
    )
    scope = InstrumentationScope(name=CANARY, version=CANARY, attributes=key_values({"a": CANARY, CANARY: 1}))
    logs = ScopeLogs(scope=scope, schema_url=CANARY, log_records=found)
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource, schema_url=CANARY, scope_logs=[logs])]
    )


def holds(content: bytes, canary: str = CANARY) -> bool:
    """Whether the canary is in some bytes, in the bytes that they are base64 of, or in UTF-16."""
    return canary.encode() in content or canary.encode("utf-16-le") in content


def files_that_hold(folder: Path, canary: str = CANARY) -> list[str]:
    """The files below a folder with the canary in them; Parquet is looked into as tables, too."""
    found = []
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        content = [file.read_bytes()]
        if file.suffix == ".parquet":
            content.append(repr(pq.read_table(file).to_pydict()).encode())
        if any(holds(each, canary) for each in content):
            found.append(str(file.relative_to(folder)))
    return found


def deep_record(levels: int) -> bytes:
    """The bytes of a log record whose body is nested deeper than the runtime writes."""
    value = any_value(CANARY).SerializeToString()
    for _ in range(levels):
        value = _sized(b"\x2a", _sized(b"\x0a", value))
    return _sized(b"\x2a", value)


def with_raw_record(content: bytes) -> bytes:
    """A request with a good prediction, and a record given as bytes."""
    good = prediction({"inputs": {"age": 31}}).SerializeToString()
    scope = _sized(b"\x12", good) + _sized(b"\x12", content)
    return _sized(b"\x0a", _sized(b"\x12", scope))


def _sized(tag: bytes, content: bytes) -> bytes:
    size, number = bytearray(), len(content)
    while number >= 0x80:
        size.append(number & 0x7F | 0x80)
        number >>= 7
    size.append(number)
    return tag + bytes(size) + content
