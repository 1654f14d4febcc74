"""The rows of all other records, in the shape of OpenTelemetry's log data model and with nothing dropped."""

from typing import Final

import numpy as np
import pyarrow as pa
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs

from lapwing_collector.decode.columns import Index, as_json, numpy, select
from lapwing_collector.decode.fixed import constant_time, hex_ids, timestamps
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.values import json_text, plain_map
from lapwing_collector.model.records import LOG_ROWS

_TRACE_FLAGS: Final = 0xFF
"""The low bits of `flags`; the others are reserved."""


def log_rows(request: Request, rows: Index) -> pa.RecordBatch:
    """The records `rows` (ascending) as log rows."""
    records = [request.objects[row] for row in rows.tolist()]
    resources, of_resource = np.unique(request.resources[rows], return_inverse=True)
    scopes, of_scope = np.unique(request.scopes[rows], return_inverse=True)
    resource_logs = [request.message.resource_logs[resource] for resource in resources]
    scope_logs = [request.scope_logs[scope] for scope in scopes]
    observed_ns = numpy(request.records.field("observed_time_unix_nano"))[rows]

    def per_resource(texts: list[str | None]) -> pa.StringArray:
        return pa.array(texts, pa.string()).take(pa.array(of_resource))

    def per_scope(texts: list[str | None]) -> pa.StringArray:
        return pa.array(texts, pa.string()).take(pa.array(of_scope))

    columns = {
        "time": timestamps(request.times[rows]),
        "time_unix_nano": select(request.records.field("time_unix_nano"), rows),
        "observed_time": timestamps(observed_ns, known=observed_ns > 0),
        "severity_number": [record.severity_number for record in records],
        "severity_text": [record.severity_text or None for record in records],
        "event_name": [record.event_name or None for record in records],
        "body": as_json([_body(request, row) for row in rows.tolist()]),
        "attributes": as_json([json_text(request.plain_attributes(row)) for row in rows.tolist()]),
        "resource": as_json(per_resource([_resource(logs) for logs in resource_logs])),
        "scope": as_json(per_scope([_scope(logs) for logs in scope_logs])),
        "resource_schema_url": per_resource([logs.schema_url or None for logs in resource_logs]),
        "scope_schema_url": per_scope([logs.schema_url or None for logs in scope_logs]),
        "flags": [record.flags & _TRACE_FLAGS for record in records],
        "trace_id": hex_ids(select(request.records.field("trace_id"), rows), 16),
        "span_id": hex_ids(select(request.records.field("span_id"), rows), 8),
        "dropped_attributes_count": [record.dropped_attributes_count for record in records],
        "received_at": constant_time(request.received_at_ns, len(rows)),
    }
    return pa.RecordBatch.from_pydict(columns, LOG_ROWS)


def _body(request: Request, row: int) -> str | None:
    body = request.plain_body(row)
    return None if body is None else json_text(body)


def _resource(logs: ResourceLogs) -> str | None:
    """The resource as JSON, None where there is none."""
    if not logs.HasField("resource"):
        return None
    resource = {
        "attributes": plain_map(logs.resource.attributes),
        "dropped_attributes_count": logs.resource.dropped_attributes_count,
    }
    entities = [
        {
            "schema_url": entity.schema_url,
            "type": entity.type,
            "id_keys": list(entity.id_keys),
            "description_keys": list(entity.description_keys),
        }
        for entity in logs.resource.entity_refs
    ]
    return json_text(resource | ({"entity_refs": entities} if entities else {}))


def _scope(logs: ScopeLogs) -> str | None:
    """The instrumentation scope as JSON, None where there is none."""
    if not logs.HasField("scope"):
        return None
    return json_text(
        {
            "name": logs.scope.name,
            "version": logs.scope.version,
            "attributes": plain_map(logs.scope.attributes),
            "dropped_attributes_count": logs.scope.dropped_attributes_count,
        }
    )
