"""OTLP/JSON written by protobuf's own JSON writer, brought to what OTLP says: an oracle for the decoder."""

import base64
import json
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


def as_json(payload: bytes) -> bytes:
    """A request in protobuf as OTLP/JSON."""
    return json.dumps(as_dict(payload), ensure_ascii=False).encode()


def as_dict(payload: bytes) -> Any:
    """A request in protobuf as the value of its OTLP/JSON."""
    message = ExportLogsServiceRequest.FromString(payload)
    plain = json_format.MessageToDict(message, use_integers_for_enums=True)
    for resource in plain.get("resourceLogs", []):
        for scope in resource.get("scopeLogs", []):
            for record in scope.get("logRecords", []):
                for key in ("traceId", "spanId"):
                    if key in record:
                        record[key] = base64.b64decode(record[key]).hex()
    return plain


def json_request(*records: Any) -> bytes:
    """A request of these records, each a value of JSON or its text."""
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{",".join(texts)}]}}]}}]}}'.encode()
