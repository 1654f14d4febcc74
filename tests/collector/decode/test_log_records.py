"""Every other record lands in `logs` with the OpenTelemetry log data model, nothing dropped."""

import json
import math
from datetime import datetime
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import EntityRef, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from helpers.decode_requests import TIME_NS, key_values, record, request
from lapwing_collector.decode import decode_logs
from lapwing_collector.model.records import LOG_ROWS, Kind


def row(payload: bytes) -> dict[str, Any]:
    """The only row that a request makes, its JSON columns parsed."""
    (batch,) = decode_logs(payload, TIME_NS).batches
    assert (batch.kind, batch.model, batch.fields) == (Kind.LOG, "", ())
    assert batch.rows.schema == LOG_ROWS
    (columns,) = batch.rows.to_pylist()
    return columns


def test_a_full_log_record_keeps_everything() -> None:
    """Times, severity, flags, ids, counts, schema URLs, scope and resource are all there."""
    log = record(
        "checkout.done",
        "paid",
        {"amount": 12.5},
        observed_time_unix_nano=TIME_NS + 1_000,
        severity_number=17,
        severity_text="ERROR",
        flags=0xFFFFFF01,
        trace_id=b"\xab" * 16,
        span_id=b"\xcd" * 8,
        dropped_attributes_count=3,
    )
    scope = InstrumentationScope(
        name="shop", version="1.2", attributes=key_values({"k": 1}), dropped_attributes_count=4
    )
    resource = Resource(
        attributes=key_values({"service.name": "web"}),
        dropped_attributes_count=5,
        entity_refs=[EntityRef(type="service", id_keys=["service.name"])],
    )
    logs = ResourceLogs(
        resource=resource,
        schema_url="https://example.org/r",
        scope_logs=[ScopeLogs(scope=scope, log_records=[log], schema_url="https://example.org/s")],
    )
    columns = row(ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString())
    parsed = {name: json.loads(columns.pop(name)) for name in ("body", "attributes", "resource", "scope")}
    assert parsed == {
        "body": "paid",
        "attributes": {"amount": 12.5},
        "resource": {
            "attributes": {"service.name": "web"},
            "dropped_attributes_count": 5,
            "entity_refs": [
                {"schema_url": "", "type": "service", "id_keys": ["service.name"], "description_keys": []}
            ],
        },
        "scope": {"name": "shop", "version": "1.2", "attributes": {"k": 1}, "dropped_attributes_count": 4},
    }
    time = datetime(2025, 10, 9, 8, 53, 20, 123456)  # naive UTC, as in the table
    assert columns == {
        "time": time,
        "time_unix_nano": TIME_NS,
        "observed_time": time.replace(microsecond=123457),
        "severity_number": 17,
        "severity_text": "ERROR",
        "event_name": "checkout.done",
        "resource_schema_url": "https://example.org/r",
        "scope_schema_url": "https://example.org/s",
        "flags": 1,
        "trace_id": "ab" * 16,
        "span_id": "cd" * 8,
        "dropped_attributes_count": 3,
        "received_at": time,
    }


def test_an_empty_log_record_is_a_row_of_nulls_at_the_time_it_was_received() -> None:
    """What is not there is null, and the time sent, zero, is kept as sent."""
    columns = row(
        ExportLogsServiceRequest(
            resource_logs=[
                ResourceLogs(scope_logs=[ScopeLogs(log_records=[record("", None, time_unix_nano=0)])])
            ]
        ).SerializeToString()
    )
    assert {name: value for name, value in columns.items() if value is not None} == {
        "time": datetime(2025, 10, 9, 8, 53, 20, 123456),
        "time_unix_nano": 0,
        "severity_number": 0,
        "attributes": "{}",
        "flags": 0,
        "dropped_attributes_count": 0,
        "received_at": datetime(2025, 10, 9, 8, 53, 20, 123456),
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        (0, "0"),
        (False, "false"),
        (2**63 - 1, "9223372036854775807"),
        (1.0, "1.0"),
        (math.nan, '"NaN"'),
        (math.inf, '"Infinity"'),
        (-math.inf, '"-Infinity"'),
        (b"\x00\xff", '"AP8="'),
        ([], "[]"),
        ({}, "{}"),
        ([None, [1, "é"], {"a": {}}], '[null, [1, "é"], {"a": {}}]'),
        ((("a", 1), ("b", 2), ("a", None)), '{"a": null, "b": 2}'),
    ],
)
def test_every_kind_of_value_is_json_as_body_and_as_attribute(value: Any, text: str) -> None:
    """Integers are exact, bytes are base64, and a number that JSON has not is a string."""
    columns = row(request(record("", value, {"k": value})))
    assert columns["body"] == text
    assert columns["attributes"] == f'{{"k": {text}}}'


@pytest.mark.parametrize("event", ["ml.model", "ml.sdk.stats", "ml.other"])
def test_events_that_are_not_understood_yet_are_kept_as_logs(event: str) -> None:
    """They need no model name, and nothing of them is lost."""
    columns = row(request(record(event, b"\x01", {"ml.batch.rows": 2})))
    assert (columns["event_name"], columns["body"]) == (event, '"AQ=="')
    assert json.loads(columns["attributes"]) == {"ml.batch.rows": 2}


@pytest.mark.parametrize("depth", [1, 2, 30])
def test_deeply_nested_values_are_kept_whole(depth: int) -> None:
    """Values are whole as deep as the protobuf runtime reads them."""
    value: Any = "bottom"
    for _ in range(depth):
        value = {"k": [value]} if depth < 20 else {"k": value}
    assert json.loads(row(request(record("", value)))["body"]) == value


def test_logs_are_batched_by_process_with_their_sequence() -> None:
    """A log of a process that numbers its records carries the number, and keeps the attribute."""
    log = record("", "x", {"lapwing.sequence": 5})
    (batch,) = decode_logs(request(log, resource={"lapwing.process.id": "a1"}), TIME_NS).batches
    assert (batch.process_id, batch.sequence.to_pylist()) == ("a1", [5])
    assert batch.rows["attributes"].storage.to_pylist() == ['{"lapwing.sequence": 5}']
