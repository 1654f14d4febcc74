"""The conformance list, item by item, over HTTP and gRPC against a whole collector, down to the stored rows.

Items that need no rows, or a server with other settings, have more tests beside the receiver's own.
"""

import gzip
import http.client
import itertools
import json
import math
import os
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import zstandard
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.collector import project, running
from helpers.conformance import ENCODINGS, JSON, PROTOBUF, Wire, new_event, request_of
from helpers.decode_json import as_json, json_request
from helpers.decode_requests import any_value, key_values
from helpers.decode_wire import in_record, nested, pair, part, value
from helpers.memory import PeakMemory
from helpers.receive_grpc import EXPORT, call
from lapwing_collector.app.ingest import ingest, receiving
from lapwing_collector.wal import durable

MIB = 1024 * 1024
TIME_NS = 1_795_417_426_321_042_154
TIME = datetime(2026, 11, 23, 7, 3, 46, 321042)

_sequence = itertools.count(1)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A collector as it is out of the box, but patient: that the machine is busy is no finding here."""
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(ingest, "_PATIENCE_S", 60.0)
        patient.setattr(receiving, "Limits", partial(receiving.Limits, answer_s=60.0))
        with running(project(tmp_path_factory.mktemp("collector"))) as collector:
            wire = Wire(collector)
            yield wire
            wire.close()


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    """Each way to send, one after the other."""
    encoding: str = request.param
    return encoding


def log(event: str, **fields: Any) -> LogRecord:
    """A record, which differs from all others by when it was observed."""
    given = {"time_unix_nano": TIME_NS, "observed_time_unix_nano": TIME_NS + next(_sequence) * 1000} | fields
    return LogRecord(event_name=event, **given)


def accepted(wire: Wire, encoding: str, *records: LogRecord) -> None:
    """Send records that are all stored."""
    reply = wire.send(encoding, request_of(*records))
    assert (reply.ok, reply.rejected, reply.message) == (True, 0, "")


FULL_ATTRIBUTES = {"text": "é", "yes": True, "int": -7, "double": 0.5, "list": [1, "a"], "map": {"k": "v"}}


def test_a_request_is_stored_field_by_field(wire: Wire, encoding: str) -> None:
    """5a-1, 5a-28: every field of record, scope and resource is in the row, as it was sent."""
    event = new_event()
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add(schema_url="https://example.org/resource/1")
    resource.resource.attributes.extend(key_values({"service.name": "shop"}))
    resource.resource.dropped_attributes_count = 1
    scope = resource.scope_logs.add(schema_url="https://example.org/scope/2")
    scope.scope.name, scope.scope.version = "shop.models", "3"
    scope.scope.attributes.extend(key_values({"a": 1}))
    scope.scope.dropped_attributes_count = 2
    observed = TIME_NS + 1_000_000
    scope.log_records.add(
        time_unix_nano=TIME_NS,
        observed_time_unix_nano=observed,
        severity_number=9,
        severity_text="Information",
        event_name=event,
        body=any_value({"x": [1, None, {"y": b"\xff"}]}),
        attributes=key_values(FULL_ATTRIBUTES),
        dropped_attributes_count=3,
        flags=1,
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
    )
    reply = wire.send(encoding, request.SerializeToString())
    assert (reply.ok, reply.rejected) == (True, 0)
    (row,) = wire.rows(event)
    parsed = {key: json.loads(row.pop(key)) for key in ("body", "attributes", "resource", "scope")}
    assert parsed == {
        "body": {"x": [1, None, {"y": "/w=="}]},
        "attributes": FULL_ATTRIBUTES,
        "resource": {"attributes": {"service.name": "shop"}, "dropped_attributes_count": 1},
        "scope": {
            "name": "shop.models",
            "version": "3",
            "attributes": {"a": 1},
            "dropped_attributes_count": 2,
        },
    }
    assert abs(row.pop("received_at").timestamp() - time.time()) < 86_400  # in any time zone
    assert row == {
        "time": TIME,
        "time_unix_nano": TIME_NS,
        "observed_time": TIME + timedelta(milliseconds=1),
        "severity_number": 9,
        "severity_text": "Information",
        "event_name": event,
        "resource_schema_url": "https://example.org/resource/1",
        "scope_schema_url": "https://example.org/scope/2",
        "flags": 1,
        "trace_id": bytes(range(16)).hex(),
        "span_id": bytes(range(8)).hex(),
        "dropped_attributes_count": 3,
    }


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("application/x-protobuf", PROTOBUF),
        ("Application/X-Protobuf; v=1", PROTOBUF),
        ("application/json", JSON),
        ("APPLICATION/JSON;charset=utf-8", JSON),
    ],
)
def test_the_answer_has_the_content_type_of_the_request(wire: Wire, sent: str, answered: str) -> None:
    """5a-2: case and parameters of the request's Content-Type do not matter, and the answer has the same."""
    reply = wire.request("POST", "/v1/logs", b"", {"Content-Type": sent})
    assert (reply.code, reply.headers["Content-Type"]) == (200, answered)


def test_full_success_says_nothing(wire: Wire, encoding: str) -> None:
    """5a-3: partial_success is absent when all was stored: no bytes, or an empty JSON object."""
    event = new_event()
    reply = wire.send(encoding, request_of(log(event)))
    assert reply.body == (b"{}" if encoding == "J" else b"")
    wire.rows(event)


def test_encodings_of_bodies_are_undone(wire: Wire, encoding: str) -> None:
    """5a-4: gzip over every protocol; over HTTP also gzip of several members, identity, deflate and zstd."""
    event = new_event()
    bodies = [request_of(log(event)) for _ in range(6)]
    if encoding == "J":
        bodies = [as_json(body) for body in bodies]
    assert wire.gzipped(encoding, bodies[0]).ok
    if encoding == "G":
        wire.rows(event, 1)
        return
    halves = gzip.compress(bodies[1][:50]) + gzip.compress(bodies[1][50:])
    assert wire.send_raw(encoding, halves, content_encoding="GZIP").ok
    assert wire.send_raw(encoding, bodies[2], content_encoding="identity").ok
    assert wire.send_raw(encoding, zlib.compress(bodies[3]), content_encoding="deflate").ok
    assert wire.send_raw(encoding, zstandard.compress(bodies[4]), content_encoding="zstd").ok
    assert wire.send_raw(encoding, bodies[5]).ok
    wire.rows(event, 6)


def test_nothing_is_success(wire: Wire, encoding: str) -> None:
    """5a-5: an empty body, an empty object and empty envelopes succeed, and no row comes of them."""
    empty = ExportLogsServiceRequest()
    empty.resource_logs.add().scope_logs.add()
    before = wire.count()
    for payload in (b"", ExportLogsServiceRequest().SerializeToString(), empty.SerializeToString()):
        assert wire.send(encoding, payload).ok
    assert wire.send_raw(encoding, b"").ok
    event = new_event()
    accepted(wire, encoding, log(event))
    wire.rows(event)
    assert wire.count() == before + 1


def test_unknown_fields_are_ignored(wire: Wire) -> None:
    """5a-6: fields that OTLP does not have, at the top and inside, change nothing."""
    event = new_event()
    unknown = part(1000, b"new") + bytes([0xF8, 0x3E, 1])
    record = log(event).SerializeToString() + unknown
    body = part(1, part(2, part(2, record) + unknown) + unknown) + unknown
    assert wire.send_raw("P", body).ok
    assert wire.send_raw("G", body.replace(b"new", b"two")).ok
    plain = json.loads(as_json(request_of(log(event, body=any_value({"a": 1})))))
    (scope,) = plain["resourceLogs"][0]["scopeLogs"]
    for level in (
        plain,
        plain["resourceLogs"][0],
        scope,
        scope["logRecords"][0],
        scope["logRecords"][0]["body"],
    ):
        level["unknown"] = {"nested": [1, {"deeper": None}]}
    assert wire.send_raw("J", json.dumps(plain).encode()).ok
    assert sorted(str(row["body"]) for row in wire.rows(event, 3)) == ["None", "None", '{"a": 1}']


def test_integers_are_exact(wire: Wire, encoding: str) -> None:
    """5a-7: 64-bit integers, signed in values and unsigned in times, are stored to the last digit."""
    event = new_event()
    numbers = [-(2**63), 2**63 - 1, 2**53 + 1]
    accepted(wire, encoding, log(event, body=any_value(numbers), time_unix_nano=2**63 + 5))
    (row,) = wire.rows(event)
    assert json.loads(row["body"]) == numbers
    assert row["time_unix_nano"] == 2**63 + 5


def test_integers_in_json_are_text_or_numbers(wire: Wire) -> None:
    """5a-7: in JSON a 64-bit integer may be text or a number, and is the same."""
    event = new_event()
    number = 2**63 - 1
    for form in (str, int):
        record = {
            "eventName": event,
            "timeUnixNano": form(TIME_NS),
            "observedTimeUnixNano": form(TIME_NS + next(_sequence)),
            "body": {"intValue": form(number)},
        }
        assert wire.send_raw("J", json_request(record)).ok
    rows = wire.rows(event, 2)
    assert [(row["body"], row["time_unix_nano"]) for row in rows] == [(str(number), TIME_NS)] * 2


def test_ids_in_json_are_hexadecimal(wire: Wire) -> None:
    """5a-8: ids in JSON may have letters of either case; one that is none is as if there were none."""
    event = new_event()
    trace, span = "0AF7651916cd43dd8448eb211c80319c", "B7ad6b7169203331"
    ids = [(trace, span), ("", ""), (trace[:-1], span[:-1]), ("zz" * 16, "zz" * 8)]
    for trace_id, span_id in ids:
        record = {
            "eventName": event,
            "traceId": trace_id,
            "spanId": span_id,
            "observedTimeUnixNano": TIME_NS + next(_sequence) * 1000,
        }
        assert wire.send_raw("J", json_request(record)).ok
    stored = [(row["trace_id"], row["span_id"]) for row in wire.rows(event, 4)]
    assert stored == [(trace.lower(), span.lower())] + [(None, None)] * 3


def test_ids_of_no_use_are_absent(wire: Wire, encoding: str) -> None:
    """5a-8: an id that is empty, of another length or all zero is absent, and its record is kept."""
    event = new_event()
    lengths = [(b"", b""), (b"\x01" * 15, b"\x01" * 9), (bytes(16), bytes(8))]
    accepted(wire, encoding, *[log(event, trace_id=trace, span_id=span) for trace, span in lengths])
    assert [(row["trace_id"], row["span_id"]) for row in wire.rows(event, 3)] == [(None, None)] * 3


KINDS = {
    "empty": None,
    "no text": "",
    "text": "é🐦\x00",
    "false": False,
    "zero": 0,
    "int": -1,
    "nothing": 0.0,
    "double": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "no bytes": b"",
    "bytes": b"\x00\xff",
    "no list": [],
    "list": [1, "a", None, 2.5, [True]],
    "no map": {},
    "map": {"a": {"b": [None]}, "": ""},
}
STORED = KINDS | {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "no bytes": "", "bytes": "AP8="}


def test_every_kind_of_value_is_kept_everywhere(wire: Wire, encoding: str) -> None:
    """5a-9: every kind of value is kept in bodies and all attributes, and null, "" and missing differ."""
    event = new_event()
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.extend(key_values(KINDS))
    scope = resource.scope_logs.add()
    scope.scope.attributes.extend(key_values(KINDS))
    scope.log_records.append(log(event, attributes=key_values(KINDS), body=any_value(KINDS)))
    for kind in KINDS.values():
        scope.log_records.append(log(event, body=any_value(kind)))
    assert wire.send(encoding, request.SerializeToString()).ok
    first, *others = wire.rows(event, 1 + len(KINDS))
    assert json.loads(first["body"]) == STORED
    assert json.loads(first["attributes"]) == STORED
    assert json.loads(first["resource"])["attributes"] == STORED
    assert json.loads(first["scope"])["attributes"] == STORED
    bodies = [None if row["body"] is None else json.loads(row["body"]) for row in others]
    assert bodies == list(STORED.values())


@pytest.mark.parametrize("lists", [False, True])
def test_deep_values_are_kept(wire: Wire, encoding: str, lists: bool) -> None:
    """5a-10: 64 maps or lists inside each other are stored whole, as body and as attribute."""
    event = new_event()
    deep = nested(64, lists=lists)
    head = part(12, event.encode()) + b"\x59" + (TIME_NS + next(_sequence)).to_bytes(8, "little")
    body = in_record(head + part(5, value(deep)) + pair(6, "a", deep))
    assert wire.send_raw(encoding, json_of(event, deep) if encoding == "J" else body).ok
    (row,) = wire.rows(event)
    assert json.loads(row["body"]) == deep
    assert json.loads(row["attributes"]) == {"a": deep}


def test_too_deep_a_value_costs_its_record(wire: Wire, encoding: str) -> None:
    """5a-10: 5 000 lists inside each other are rejected, and the collector goes on."""
    if encoding == "J":
        text = '{"arrayValue":{"values":[' * 5000 + "]}}" * 5000
        reply = wire.send_raw("J", json_request(f'{{"body":{text}}}'))
    else:
        deep = b""
        for _ in range(5000):
            deep = part(5, part(1, deep))
        reply = wire.send_raw(encoding, in_record(part(5, deep)))
    assert (reply.ok, reply.rejected) == (True, 1)
    event = new_event()
    accepted(wire, encoding, log(event))
    wire.rows(event)


@pytest.mark.parametrize("poison", ["deep", "not UTF-8"])
def test_one_poison_record_costs_one_record(wire: Wire, encoding: str, poison: str) -> None:
    """5a-11: of 512 records, one of which can not be read, 511 are stored, and the answer names the one."""
    event = new_event()
    good = [log(event) for _ in range(511)]
    if encoding == "J":
        bad = {
            "deep": '{"body":' + '{"arrayValue":{"values":[' * 300 + "]}}" * 300 + "}",
            "not UTF-8": '{"body":{"stringValue":"@"}}',
        }[poison]
        whole = json.loads(as_json(request_of(*good)))
        records: list[Any] = whole["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        body = json_request(*records[:300], bad, *records[300:]).replace(b"@", b"\xff")
    else:
        contents = [record.SerializeToString() for record in good]
        deep = part(5, value(nested(300, lists=True)))
        bad_bytes = deep if poison == "deep" else part(5, part(1, b"\xff"))
        body = in_record(*contents[:300], bad_bytes, *contents[300:])
    reply = wire.send_raw(encoding, body)
    assert (reply.ok, reply.rejected) == (True, 1)
    assert "record 300" in reply.message
    wire.rows(event, 511, "event_name, observed_time, time")


def test_names_of_another_spelling_are_unknown(wire: Wire) -> None:
    """5a-12: keys in snake_case are unknown; a severity by name is not read, which the answer says."""
    event = new_event()
    record = {
        "eventName": event,
        "observedTimeUnixNano": TIME_NS,
        "severity_text": "x",
        "severityNumber": "SEVERITY_NUMBER_INFO",
    }
    reply = wire.send_raw("J", json_request(record))
    assert (reply.ok, reply.rejected) == (True, 0)
    assert "severityNumber was not read in 1 of 1 records" in reply.message
    (row,) = wire.rows(event)
    assert (row["severity_text"], row["severity_number"]) == (None, 0)


@pytest.mark.parametrize("body", [b"\xff", b"nonsense", part(1, b"x")[:-1]], ids=["byte", "text", "cut"])
def test_what_is_no_request_is_refused(wire: Wire, encoding: str, body: bytes) -> None:
    """5a-13: a malformed body is 400 or INVALID_ARGUMENT, with Status and BadRequest in its encoding."""
    reply = wire.send_raw(encoding, body)
    assert reply.code == ("INVALID_ARGUMENT" if encoding == "G" else 400)
    assert reply.status is not None
    assert reply.status.code == code_pb2.INVALID_ARGUMENT
    assert reply.status.message == reply.message
    detail = BadRequest()
    assert reply.status.details[0].Unpack(detail)
    assert detail.field_violations[0].description == reply.message
    if encoding != "G":
        assert reply.headers["Content-Type"] == (PROTOBUF if encoding == "P" else JSON)


WHOLE = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("body", [b"x", WHOLE[:-4], WHOLE + b"x", b""], ids=["none", "cut", "more", "empty"])
@pytest.mark.parametrize("encoding", ["P", "J"])
def test_bad_gzip_is_refused(wire: Wire, encoding: str, body: bytes) -> None:
    """5a-14: what is not gzip, or cut off, is 400 with a Status."""
    reply = wire.send_raw(encoding, body, content_encoding="gzip")
    assert reply.code == 400
    assert reply.status is not None
    assert "gzip" in reply.status.message


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/logs", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v1/logs", {}, 415),
        ("POST", "/v1/logs", {"Content-Type": PROTOBUF, "Content-Encoding": "br"}, 415),
        ("POST", "/v1/logs", {"Content-Type": JSON, "Content-Encoding": "snappy"}, 415),
        ("GET", "/v1/logs", {}, 405),
        ("PUT", "/v1/logs", {"Content-Type": JSON}, 405),
        ("POST", "/v1/other", {"Content-Type": JSON}, 404),
    ],
)
def test_what_is_not_offered_is_refused(
    wire: Wire, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """5a-15: unknown types, encodings, methods and paths have their statuses, each with a Status."""
    reply = wire.request(method, path, b"{}", headers)
    assert reply.code == status
    assert reply.status is not None
    assert reply.status.message
    assert reply.headers["Allow"] == ("POST" if status == 405 else None)


def sized(encoding: str, size: int) -> bytes:
    """A request of so many bytes, all of it a field that nobody knows."""
    if encoding == "J":
        return b'{"x":"' + b"x" * (size - 8) + b'"}'
    return part(1000, bytes(size - len(part(1000, bytes(size))) + size))


def test_the_largest_request_is_taken(wire: Wire, encoding: str) -> None:
    """5a-16: 64 MiB are accepted; one byte more is 413 or RESOURCE_EXHAUSTED, which asks for no retry."""
    whole = sized(encoding, 64 * MIB)
    assert len(whole) == 64 * MIB
    assert wire.send_raw(encoding, whole).ok
    reply = wire.send_raw(encoding, sized(encoding, 64 * MIB + 1))
    assert reply.code == ("RESOURCE_EXHAUSTED" if encoding == "G" else 413)
    assert not {"Retry-After", "google.rpc.retryinfo-bin"} & {*reply.headers}


@pytest.mark.parametrize("encoding", ["P", "J"])
def test_a_bomb_is_refused(wire: Wire, encoding: str) -> None:
    """5a-17: a body that decompresses to 1 GiB is 413, and memory grows by less than 100 MB."""
    bomb = gzip.compress(b" " * MIB) * 1024
    with PeakMemory() as peak:
        assert wire.send_raw(encoding, bomb, content_encoding="gzip").code == 413
    assert peak.grown_bytes < 100 * MIB


def test_limits_can_be_set(tmp_path: Any) -> None:
    """5a-18: the limit of a request is what the settings say, over HTTP and gRPC."""
    with running(project(tmp_path, **{"http.max_request_bytes": 1000})) as collector:
        wire = Wire(collector)
        for encoding in ENCODINGS:
            assert wire.send_raw(encoding, sized(encoding, 1000)).ok
            reply = wire.send_once(encoding, sized(encoding, 1001))
            assert reply.code == ("RESOURCE_EXHAUSTED" if encoding == "G" else 413)
            assert wire.gzipped(encoding, sized(encoding, 100_000)).code == reply.code
        wire.close()


def unavailable(wire: Wire) -> None:
    """Check that nothing is taken now, and how clients are told."""
    body = request_of(log(new_event()))
    with ThreadPoolExecutor() as clients:
        sent = [
            clients.submit(wire.send_once, encoding, as_json(body) if encoding == "J" else body)
            for encoding in ENCODINGS
        ]
    for encoding, answer in zip(ENCODINGS, sent, strict=True):
        reply = answer.result()
        assert reply.code == ("UNAVAILABLE" if encoding == "G" else 503)
        assert reply.status is not None
        assert reply.status.code == code_pb2.UNAVAILABLE
        if encoding == "G":
            in_status, own = RetryInfo(), RetryInfo.FromString(reply.headers["google.rpc.retryinfo-bin"])
            assert reply.status.details[0].Unpack(in_status)
            assert 1 <= in_status.retry_delay.seconds == own.retry_delay.seconds <= 3
        else:
            assert 1 <= int(reply.headers["Retry-After"]) <= 3


def test_overload_asks_to_come_back_soon(tmp_path: Any) -> None:
    """5a-19: where there is no room, the answer is 503 or UNAVAILABLE, with a delay of 1 to 3 seconds."""
    limits = {"http.max_request_bytes": 9000, "http.max_in_flight_bytes": 12}
    with running(project(tmp_path, **limits)) as collector:
        wire = Wire(collector)
        host, _, port = collector.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(f"POST /v1/logs HTTP/1.1\r\nHost: h\r\nContent-Type: {PROTOBUF}\r\n".encode())
            slow.sendall(b"Content-Length: 9000\r\n\r\n" + bytes(8999))
            unavailable(wire)
        accepted(wire, "P", log(new_event()))
        wire.close()


def test_a_store_that_fails_is_unavailable(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """5a-20, 5a-30: while nothing can be stored, requests are 503 or UNAVAILABLE, and health says so."""

    def fail(fd: int) -> None:
        raise OSError(5, os.strerror(5))

    with running(project(tmp_path)) as collector:
        wire = Wire(collector)
        assert health(wire) == (200, "SERVING")
        with monkeypatch.context() as broken:
            broken.setattr(durable.os, "fdatasync", fail)
            unavailable(wire)
            assert health(wire) == (503, "NOT_SERVING")
        wire.close()


def health(wire: Wire) -> tuple[int, str]:
    """What /readyz and grpc.health.v1 say."""
    connection = http.client.HTTPConnection(wire.collector.address, timeout=60)
    connection.request("GET", "/readyz")
    status = connection.getresponse().status
    connection.close()
    stub = health_pb2_grpc.HealthStub(wire.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
    return status, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def test_the_answer_stays_small(wire: Wire, encoding: str) -> None:
    """5a-21: the answer to 100 000 rejected records counts them, and is far below 4 MiB."""
    reply = wire.send(encoding, request_of(*[LogRecord(event_name="ml.prediction")] * 100_000))
    assert (reply.ok, reply.rejected) == (True, 100_000)
    assert 0 < len(reply.body) < 32 * 1024


def test_http_in_all_its_ways(wire: Wire) -> None:
    """5a-22: keep-alive, chunks, Expect, requests sent ahead, and HTTP/1.0 store their records."""
    event = new_event()

    def body() -> bytes:
        return request_of(log(event))

    host, _, port = wire.collector.address.rpartition(":")
    connection = http.client.HTTPConnection(wire.collector.address, timeout=60)
    whole = body()
    for content in (body(), iter([whole[:9], whole[9:]]), body()):
        chunked = isinstance(content, Iterator)
        connection.request("POST", "/v1/logs", content, {"Content-Type": PROTOBUF}, encode_chunked=chunked)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()

    def head(version: str, length: int, *more: str) -> bytes:
        lines = [f"POST /v1/logs HTTP/{version}", "Host: h", f"Content-Type: {PROTOBUF}", *more]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()

    with socket.create_connection((host, int(port)), timeout=60) as plain:
        first, second, third = body(), body(), body()
        plain.sendall(head("1.1", len(first), "Expect: 100-continue"))
        assert plain.recv(100).startswith(b"HTTP/1.1 100")
        plain.sendall(first)
        plain.sendall(
            head("1.1", len(second)) + second + head("1.1", len(third), "Connection: close") + third
        )
        assert b"".join(iter(lambda: plain.recv(65536), b"")).count(b"HTTP/1.1 200") == 3
    with socket.create_connection((host, int(port)), timeout=60) as old:
        old.sendall(head("1.0", len(last := body())) + last)
        assert b" 200 OK" in b"".join(iter(lambda: old.recv(65536), b""))
    wire.rows(event, 7)


def test_many_calls_at_once_are_stored(wire: Wire) -> None:
    """5a-23: five hundred calls that are sent at the same time are all answered, and their records stored."""
    event = new_event()
    export = wire.channel.unary_unary(EXPORT)
    waiting = [request_of(log(event)) for _ in range(500)]
    while waiting:  # again, if a busy machine could not take all in time
        calls = [(body, export.future(body, timeout=60)) for body in waiting]
        failures = [(body, call_.exception()) for body, call_ in calls if call_.exception()]
        assert {failure.code().name for _, failure in failures} <= {"UNAVAILABLE"}
        waiting = [body for body, _ in failures]
    wire.rows(event, 500, "event_name, observed_time, time")


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_other_signals_are_not_taken(wire: Wire, signal: str) -> None:
    """5a-25: traces and metrics are 404 and UNIMPLEMENTED, never OK."""
    reply = wire.request("POST", f"/v1/{signal}", b"", {"Content-Type": PROTOBUF})
    assert (reply.code, reply.status and reply.status.code) == (404, code_pb2.NOT_FOUND)
    service = {"traces": "trace.v1.TraceService", "metrics": "metrics.v1.MetricsService"}[signal]
    method = f"/opentelemetry.proto.collector.{service}/Export"
    assert call(wire.channel, b"", method).code.name == "UNIMPLEMENTED"


def test_times_of_every_age_are_kept(wire: Wire, encoding: str) -> None:
    """5a-26: a record without a time has its observed one; those of 1970, 2262 and later are kept."""
    event = new_event()
    day_ns = 86_400_000_000_000
    times = [0, 1_000, TIME_NS, TIME_NS - 30 * day_ns, 2**63 + 1_000, 2**64 - 1]
    records = [log(event, time_unix_nano=time_ns) for time_ns in times]
    accepted(wire, encoding, *reversed(records[3:]), *records[:3])
    rows = {row["time_unix_nano"]: row for row in wire.rows(event, len(times))}
    epoch = datetime(1970, 1, 1)
    expected = {time_ns: epoch + timedelta(microseconds=time_ns // 1000) for time_ns in times}
    expected[0] = epoch + timedelta(microseconds=records[0].observed_time_unix_nano // 1000)
    assert {time_ns: row["time"] for time_ns, row in rows.items()} == expected


def test_without_any_time_a_record_happened_when_it_came(wire: Wire, encoding: str) -> None:
    """5a-26: a record without time and observed time has the time at which it was received."""
    event = new_event()
    accepted(wire, encoding, LogRecord(event_name=event))
    (row,) = wire.rows(event)
    assert row["time"] == row["received_at"]
    assert (row["time_unix_nano"], row["observed_time"]) == (0, None)


def test_severity_and_flags_are_kept(wire: Wire, encoding: str) -> None:
    """5a-27: of flags the low 8 bits count; severities of 0 to 24, others and their texts are kept."""
    event = new_event()
    numbers: list[Any] = [*range(25), 99]
    flags = [0, 1, 0x1FF, 0xFFFFFF00]
    texts = ["", "INFO", "Wärn"]
    accepted(
        wire,
        encoding,
        *[
            log(event, severity_number=number, flags=flags[place % 4], severity_text=texts[place % 3])
            for place, number in enumerate(numbers)
        ],
    )
    rows = wire.rows(event, len(numbers))
    assert [row["severity_number"] for row in rows] == numbers
    assert [row["flags"] for row in rows] == [flags[place % 4] & 0xFF for place in range(len(numbers))]
    assert [row["severity_text"] for row in rows] == [texts[n % 3] or None for n in range(len(numbers))]


def test_of_repeated_keys_the_last_counts(wire: Wire, encoding: str) -> None:
    """5a-29: of a key that stands twice, in attributes and bodies, the last value is stored."""
    event = new_event()
    twice = key_values([("a", 1), ("b", 2), ("a", "last")])
    accepted(wire, encoding, log(event, attributes=twice, body=any_value((("k", 1), ("k", 2)))))
    (row,) = wire.rows(event)
    assert json.loads(row["attributes"]) == {"a": "last", "b": 2}
    assert json.loads(row["body"]) == {"k": 2}


def test_health_is_told(wire: Wire) -> None:
    """5a-30: a collector that takes requests says so at /healthz, /readyz and grpc.health.v1."""
    assert health(wire) == (200, "SERVING")
    connection = http.client.HTTPConnection(wire.collector.address, timeout=60)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


def json_of(event: str, plain: Any) -> bytes:
    """A request in JSON of one record with a value as body and as attribute, however deep."""

    def written(inner: Any) -> str:
        if isinstance(inner, str):
            return json.dumps({"stringValue": inner})
        if isinstance(inner, list):
            return f'{{"arrayValue":{{"values":[{",".join(map(written, inner))}]}}}}'
        pairs = ",".join(
            f'{{"key":{json.dumps(key)},"value":{written(item)}}}' for key, item in inner.items()
        )
        return f'{{"kvlistValue":{{"values":[{pairs}]}}}}'

    text = written(plain)
    observed = TIME_NS + next(_sequence)
    return json_request(
        f'{{"eventName":"{event}","observedTimeUnixNano":{observed},"body":{text},'
        f'"attributes":[{{"key":"a","value":{text}}}]}}'
    )
