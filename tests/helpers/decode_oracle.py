"""What decoding must make of a request, by a slow walk over the protobuf runtime's objects, row by row."""

import base64
import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from lapwing_collector.model.records import ROWS, UNTYPED, Batch, Decoded, FieldColumn

BatchKey = tuple[str, str, str | None]


@dataclass
class Row:
    """One row: fixed columns, the fields as (kind, value) by path, and the sequence number."""

    columns: dict[str, Any]
    fields: dict[tuple[str, ...], tuple[str, Any]] = field(default_factory=dict)
    sequence: int | None = None


@dataclass
class Outcome:
    """All rows of a request by kind, model and process, and what became of the others."""

    batches: dict[BatchKey, list[Row]] = field(default_factory=dict)
    received: int = 0
    rejected: int = 0
    seen: set[tuple[str, int]] = field(default_factory=set, compare=False)


def expected(payload: bytes, received_at_ns: int) -> Outcome:
    """Decode slowly."""
    outcome = Outcome()
    for resource in ExportLogsServiceRequest.FromString(payload).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                outcome.received += 1
                _add(outcome, resource, scope, record, received_at_ns)
    for rows in outcome.batches.values():
        _type_empty_lists(rows)
    return outcome


def actual(decoded: Decoded) -> Outcome:
    """Bring what `decode_logs` returned to the same form, checking that each batch is well-formed."""
    outcome = Outcome(received=decoded.received, rejected=decoded.rejected)
    for batch in decoded.batches:
        key = (str(batch.kind), batch.model, batch.process_id)
        assert key not in outcome.batches, "two batches of one kind, model and process"
        outcome.batches[key] = _rows(batch)
    assert bool(decoded.message) == bool(decoded.rejected)
    return outcome


KIND_OF_TYPE = {
    pa.string(): "text",
    pa.bool_(): "bool",
    pa.int64(): "int",
    pa.float64(): "double",
    pa.binary(): "bytes",
    UNTYPED: "json",
}
KIND_OF_TYPE |= {pa.list_(of): f"list of {kind}" for of, kind in KIND_OF_TYPE.items() if of != UNTYPED}
_LIST_ORDER = ["list of text", "list of bool", "list of int", "list of double", "list of bytes"]
_JSON_COLUMNS = {"extra", "body", "attributes", "resource", "scope"}


def _rows(batch: Batch) -> list[Row]:
    batch.rows.validate(full=True)
    assert batch.rows.schema == ROWS[batch.kind]
    assert batch.rows.num_rows
    assert batch.sequence.type == pa.int64()
    assert len(batch.sequence) == batch.rows.num_rows
    rows = [
        Row(_comparable(columns, batch), sequence=sequence)
        for columns, sequence in zip(batch.rows.to_pylist(), batch.sequence.to_pylist(), strict=True)
    ]
    seen = set()
    for column in batch.fields:
        _check_field(column, batch)
        assert (column.path, column.values.type) not in seen, "two columns of one path and kind"
        seen.add((column.path, column.values.type))
        kind = KIND_OF_TYPE[column.values.type]
        for row, value in zip(rows, column.values.to_pylist(), strict=True):
            if value is not None:
                assert column.path not in row.fields, "one row has two kinds of one field"
                row.fields[column.path] = (kind, _normal(json.loads(value) if kind == "json" else value))
    return rows


def _check_field(column: FieldColumn, batch: Batch) -> None:
    column.values.validate(full=True)
    assert len(column.values) == batch.rows.num_rows
    assert column.values.null_count < len(column.values), "a column without a value"


def _comparable(columns: dict[str, Any], batch: Batch) -> dict[str, Any]:
    parsed = {}
    for name, value in columns.items():
        if batch.rows.schema.field(name).type == UNTYPED and value is not None:
            parsed[name] = json.loads(value)
        elif name in ("tags", "resource") and value is not None:
            parsed[name] = dict(value)
            assert len(parsed[name]) == len(value), "a map with a key twice"
        else:
            parsed[name] = _normal(value)
    return parsed


def _normal(value: Any) -> Any:
    """A value that equals another exactly if both are the same, NaN and the sign of zero included."""
    if isinstance(value, float):
        return ("double", repr(value))
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return value


def _add(
    outcome: Outcome, resource: ResourceLogs, scope: ScopeLogs, record: LogRecord, received_at_ns: int
) -> None:
    process = _process(resource)
    attributes = _map(record.attributes)
    row = Row({}, sequence=_of(int, attributes.get("lapwing.sequence")))
    if process is not None and row.sequence is not None:
        if (process, row.sequence) in outcome.seen:
            return
        outcome.seen.add((process, row.sequence))
    if record.event_name.endswith(".batch"):
        outcome.rejected += 1  # the strategies make no table
        return
    if record.event_name not in ("ml.prediction", "ml.label"):
        row.columns = _log_columns(resource, scope, record, received_at_ns)
        outcome.batches.setdefault(("log", "", process), []).append(row)
        return
    model = attributes.get("ml.model.name")
    if not _is_name(model):
        outcome.rejected += 1
        return
    extra: dict[str, Any] = {}
    if record.event_name == "ml.prediction":
        row.columns = _prediction_columns(resource, record, attributes, extra, process)
        surplus = _fields(record.body, ("inputs", "output"), row, allow_value=False)
    else:
        row.columns = _label_columns(attributes, extra)
        surplus = _fields(record.body, ("label",), row, allow_value=True)
    for key, value in surplus.items():
        while key in extra:
            key = f"body.{key}"  # noqa: PLW2901  # until it is free
        extra[key] = value
    row.columns["extra"] = _jsonable(extra) if extra else None
    row.columns["time"] = _time(record.time_unix_nano or record.observed_time_unix_nano or received_at_ns)
    row.columns["received_at"] = _time(received_at_ns)
    kind = record.event_name.removeprefix("ml.")
    outcome.batches.setdefault((kind, model, process), []).append(row)


def _process(resource: ResourceLogs) -> str | None:
    """Who sent, as it is known: one with a NUL by its hash; the strategies make no long one."""
    process = _text_or_none(_map(resource.resource.attributes).get("lapwing.process.id")) or None
    if process is None or "\0" not in process:
        return process
    return hashlib.blake2b(process.encode(), digest_size=16).hexdigest()


def _prediction_columns(
    resource: ResourceLogs,
    record: LogRecord,
    attributes: dict[str, Any],
    extra: dict[str, Any],
    process: str | None,
) -> dict[str, Any]:
    typed = {
        "ml.model.name": ("", str),
        "lapwing.sequence": ("", int),
        "ml.prediction.id": ("prediction_id", str),
        "ml.model.version": ("version", str),
        "ml.prediction.duration": ("duration_ms", float),
        "error.type": ("error_type", str),
        "exception.message": ("error_message", str),
        "ml.prediction.weight": ("weight", float),
        "ml.request.id": ("request_id", str),
        "ml.prediction.fallback": ("fallback", bool),
        "ml.model.variant": ("variant", str),
        "ml.model.upstream": ("upstream", str),
        "ml.prediction.stage": ("stage", str),
    }
    columns: dict[str, Any] = {column: None for column, _ in typed.values() if column}
    tags = {}
    for key, value in attributes.items():
        if key in typed:
            column, kind = typed[key]
            taken = _of(kind, value)
            if taken is None and value is not None:
                extra[key] = value
            elif column:
                columns[column] = taken
        elif key == "exception.stacktrace":
            extra[key] = value
        else:
            tags[key] = _text(value)
    if columns["duration_ms"] is not None:
        columns["duration_ms"] *= 1000.0
    if not columns["prediction_id"]:
        sequence = _of(int, attributes.get("lapwing.sequence"))
        content = resource.resource.SerializeToString() + record.SerializeToString()
        columns["prediction_id"] = (
            f"{process}-{sequence}"
            if process is not None and sequence is not None
            else hashlib.blake2b(content, digest_size=16).hexdigest()
        )
    if columns["stage"] is None:
        columns["stage"] = "production"
    resource_attributes = _map(resource.resource.attributes)
    columns |= {
        "service": _text_or_none(resource_attributes.get("service.name")),
        "environment": _text_or_none(resource_attributes.get("deployment.environment.name")),
        "resource": {key: _text(value) for key, value in resource_attributes.items()},
        "tags": tags,
        "trace_id": _hex(record.trace_id, 16),
        "span_id": _hex(record.span_id, 8),
    }
    return {name: _normal(value) for name, value in columns.items()}


def _label_columns(attributes: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    typed = {
        "ml.model.name": ("", str),
        "lapwing.sequence": ("", int),
        "ml.prediction.id": ("prediction_id", str),
        "ml.request.id": ("request_id", str),
        "ml.prediction.time": ("prediction_time", int),
        "ml.label.source": ("source", str),
    }
    columns: dict[str, Any] = {column: None for column, _ in typed.values() if column}
    for key, value in attributes.items():
        column, kind = typed.get(key, ("", None))
        taken = None if kind is None else _of(kind, value)
        if kind is None or (taken is None and value is not None):
            extra[key] = value
        elif column:
            columns[column] = taken
    columns["prediction_time"] = _time(columns["prediction_time"]) if columns["prediction_time"] else None
    return columns


def _log_columns(
    resource: ResourceLogs, scope: ScopeLogs, record: LogRecord, received_at_ns: int
) -> dict[str, Any]:
    resource_json = None
    if resource.HasField("resource"):
        resource_json = {
            "attributes": _jsonable(_map(resource.resource.attributes)),
            "dropped_attributes_count": resource.resource.dropped_attributes_count,
        }
        if resource.resource.entity_refs:
            resource_json["entity_refs"] = [
                {
                    "schema_url": entity.schema_url,
                    "type": entity.type,
                    "id_keys": list(entity.id_keys),
                    "description_keys": list(entity.description_keys),
                }
                for entity in resource.resource.entity_refs
            ]
    scope_json = None
    if scope.HasField("scope"):
        scope_json = {
            "name": scope.scope.name,
            "version": scope.scope.version,
            "attributes": _jsonable(_map(scope.scope.attributes)),
            "dropped_attributes_count": scope.scope.dropped_attributes_count,
        }
    observed = record.observed_time_unix_nano
    return {
        "time": _time(record.time_unix_nano or observed or received_at_ns),
        "time_unix_nano": record.time_unix_nano,
        "observed_time": _time(observed) if observed else None,
        "severity_number": record.severity_number,
        "severity_text": record.severity_text or None,
        "event_name": record.event_name or None,
        "body": _jsonable(_value(record.body)),
        "attributes": _jsonable(_map(record.attributes)),
        "resource": resource_json,
        "scope": scope_json,
        "resource_schema_url": resource.schema_url or None,
        "scope_schema_url": scope.schema_url or None,
        "flags": record.flags % 256,
        "trace_id": _hex(record.trace_id, 16),
        "span_id": _hex(record.span_id, 8),
        "dropped_attributes_count": record.dropped_attributes_count,
        "received_at": _time(received_at_ns),
    }


def _fields(body: AnyValue, roots: Iterable[str], row: Row, *, allow_value: bool) -> dict[str, Any]:
    """Put the fields of a body into `row`; returns what is no field."""
    value = _value(body)
    if value is None:
        return {}
    if not isinstance(value, dict):
        return {"body": value}
    surplus = {}
    for key, held in value.items():
        if key not in roots or not (allow_value or held is None or isinstance(held, dict)):
            surplus[key] = held
        elif held != {} or allow_value:
            _put(row, (key,), held)
    return surplus


def _put(row: Row, path: tuple[str, ...], value: Any) -> None:
    if value is None:
        return
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _put(row, (*path, key), inner)
        return
    kind = _kind(value)
    if kind == "list of double":
        value = [None if item is None else float(item) for item in value]
    row.fields[path] = (kind, _normal(_jsonable(value) if kind == "json" else value))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        kinds = {_kind(item) for item in value if item is not None}
        if kinds == {"int", "double"}:
            exact = all(abs(item) <= 2**53 for item in value if isinstance(item, int))
            return "list of double" if exact else "json"
        if len(kinds) == 1 and f"list of {min(kinds)}" in KIND_OF_TYPE.values():
            return f"list of {min(kinds)}"
        return "json"
    return {str: "text", bool: "bool", int: "int", float: "double", bytes: "bytes", dict: "json"}[type(value)]


def _type_empty_lists(rows: list[Row]) -> None:
    """An empty list has the kind of the field's other lists in the batch."""
    for row in rows:
        for path, (_, value) in row.fields.items():
            if value == []:
                others = {other.fields[path][0] for other in rows if path in other.fields}
                typed = [kind for kind in _LIST_ORDER if kind in others]
                row.fields[path] = (typed[0] if typed else "json", [])


def _of(kind: type, value: Any) -> Any:
    """The value if it is of `kind` (an integer also as a float), else None."""
    if kind is float and type(value) is int:
        return float(value)
    return value if type(value) is kind else None


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _map(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    if value.HasField("kvlist_value"):
        return _map(value.kvlist_value.values)
    if value.HasField("array_value"):
        return [_value(item) for item in value.array_value.values]
    for member in ("string_value", "bool_value", "int_value", "double_value", "bytes_value"):
        if value.HasField(member):
            return getattr(value, member)
    return None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    value = _jsonable(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _is_name(model: Any) -> bool:
    return (
        isinstance(model, str)
        and 0 < len(model) < 129
        and all(unicodedata.category(character) != "Cc" for character in model)
    )


def _hex(identifier: bytes, width: int) -> str | None:
    return identifier.hex() if len(identifier) == width and any(identifier) else None


def _time(nanoseconds: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=nanoseconds // 1000)  # naive UTC
