"""Bodies that are not what they claim to be cost one request, never the process."""

import hashlib
import pickle
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs

from helpers.decode_oracle import actual, expected
from helpers.decode_requests import TIME_NS, any_value, key_values, prediction, request, requests
from helpers.decode_wire import in_record, nested_groups, nested_value, part, varint
from helpers.faults_plan import examples
from lapwing_collector.decode import decode_logs
from lapwing_collector.decode.envelope import MAX_RECORDS, count_records
from lapwing_collector.decode.wire import read_columns
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.records import Decoded

HUGE = b"\xff" * 9 + b"\x01"
"""2^64 - 1 as a length."""


HOSTILE = {
    "groups at the top": nested_groups(500_000),
    "groups in a resource": part(1, part(1, nested_groups(500_000))),
    "groups in a scope": part(1, part(2, part(1, nested_groups(500_000)))),
    "a resource too deep": part(1, part(1, part(1, part(2, nested_value(40))))),
    "huge length at the top": b"\x0a" + HUGE,
    "huge length in a record": part(1, part(2, b"\x12" + HUGE)),
    "huge length in an unknown field": varint(99 << 3 | 2) + HUGE,
    "cut short": in_record(part(5, nested_value(3)))[:-1],
    "a resource that is not UTF-8": part(1, part(1, part(1, part(1, b"\xed\xa0\x80")))),
    "JSON": b'{"resourceLogs": []}',
    "field number zero": b"\x00\x00",
    "eleven-byte number": b"\x08" + b"\x80" * 10 + b"\x01",
}
HOSTILE_RECORDS = {
    "groups in a record": in_record(nested_groups(500_000)),
    "groups in a value that columns skip": in_record(part(5, part(5, nested_groups(500_000)))),
    "groups in a field": in_record(part(5, part(6, part(1, part(2, nested_groups(500_000)))))),
    "groups in a deep value": in_record(part(5, nested_value(40) + nested_groups(500_000))),
    "maps 5000 deep": in_record(part(5, nested_value(5_000))),
    "lists 5000 deep": in_record(part(5, nested_value(5_000, lists=True))),
    "text that is not UTF-8": in_record(part(5, part(1, b"\xff\xfe"))),
}


def test_hostile_bodies_are_refused_and_the_process_lives() -> None:
    """Each gets status 400, or costs its record, in a process that then decodes a good request."""
    script = (
        "import pickle, sys\n"
        "from lapwing_collector.decode import decode_logs\n"
        "from lapwing_collector.errors import DecodeError\n"
        "bodies, good = pickle.load(sys.stdin.buffer)\n"
        "for name, body in bodies.items():\n"
        "    try:\n"
        "        print(name, decode_logs(body, 1).rejected, sep=': ')\n"
        "    except DecodeError as error:\n"
        "        print(name, error.status_hint, sep=': ')\n"
        "print('alive', decode_logs(good, 1).received, sep=': ')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps((HOSTILE | HOSTILE_RECORDS, request(prediction({})))),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.decode().splitlines() == [
        *(f"{name}: 400" for name in HOSTILE),
        *(f"{name}: 1" for name in HOSTILE_RECORDS),
        "alive: 1",
    ]
    assert done.returncode == 0, done.stderr.decode()


def test_the_refusal_tells_the_client_what_to_check() -> None:
    """The message says what arrived, what was expected, and what usually is wrong."""
    with pytest.raises(
        DecodeError, match=r"\(3 bytes\) is not an OTLP ExportLogsServiceRequest.*UTF-8"
    ) as caught:
        decode_logs(b"abc", 1)
    assert caught.value.status_hint == 400


def test_a_panic_of_the_column_reader_is_a_decode_error() -> None:
    """Even what the runtime would let through can not raise past a request's bounds."""
    with pytest.raises(DecodeError, match="can not be read as columns"):
        read_columns(b"\x0a" + HUGE)


@pytest.mark.parametrize(
    "logs",
    [[], [ResourceLogs()], [ResourceLogs(scope_logs=[ScopeLogs(), ScopeLogs()]), ResourceLogs()]],
    ids=["zero bytes", "empty resource", "empty scopes"],
)
def test_empty_envelopes_decode_to_nothing(logs: list[ResourceLogs]) -> None:
    """An empty request is valid and holds no record."""
    assert decode_logs(ExportLogsServiceRequest(resource_logs=logs).SerializeToString(), 1) == Decoded((), 0)


def test_short_bodies_that_would_fill_the_memory_are_refused() -> None:
    """Rows repeat their resource, so few bytes can ask for many; the client is told to send less at once."""
    payload = request(*[LogRecord()] * 300, resource={"host": "h" * (1 << 20)})
    with pytest.raises(DecodeError, match=r"would take about \d+ MiB.*Send fewer records") as caught:
        decode_logs(payload, 1)
    assert caught.value.status_hint == 413


def test_each_process_is_charged_with_a_batch() -> None:
    """A request whose few bytes name very many processes would take memory for the columns of each."""
    one = request(LogRecord(), resource={"lapwing.process.id": "p0000000"})
    payload = b"".join(one.replace(b"p0000000", b"p%07d" % n) for n in range(8000))
    with pytest.raises(DecodeError, match="of fewer resources") as caught:
        decode_logs(payload, 1)
    assert caught.value.status_hint == 413


def test_a_request_may_name_so_many_models() -> None:
    """Records of further models are rejected, each would get a table of its own; the others are kept."""
    records = [prediction({}, {"ml.model.name": f"m{n}", "ml.prediction.id": "p"}) for n in range(1030)]
    decoded = decode_logs(request(*records), TIME_NS)
    assert (decoded.received, decoded.rejected) == (1030, 6)
    assert "more than 1024 models" in decoded.message
    assert len({batch.model for batch in decoded.batches}) == 1024


def test_a_long_process_id_is_known_by_its_hash() -> None:
    """What is remembered of a process for as long as it has numbers does not grow with its id."""
    for nested in (1, {"a": 1}):
        payload = request(
            prediction({"inputs": {"x": nested}}, {"lapwing.sequence": 1}),
            resource={"lapwing.process.id": "p" * 10_000},
        )
        (batch,) = decode_logs(payload, TIME_NS).batches
        assert batch.process_id == hashlib.blake2b(b"p" * 10_000, digest_size=16).hexdigest()
        assert dict(batch.rows["resource"].to_pylist()[0])["lapwing.process.id"] == "p" * 10_000


def odd_encodings() -> dict[str, bytes]:
    """Requests that are valid, but that no usual encoder would write so."""
    two_members = any_value(5).SerializeToString() + any_value("x").SerializeToString()
    first, second = (any_value({"inputs": {"a": [n], "b": n}}).SerializeToString() for n in (1, 2))
    head = prediction({}).SerializeToString()
    field = part(1, part(1, b"inputs") + part(2, part(6, part(1, part(1, b"a") + part(2, two_members)))))
    return {
        "a field with two members": in_record(head + part(5, part(6, field))),
        "an attribute with two members": in_record(head + part(6, part(1, b"tag") + part(2, two_members))),
        "a list element with two members": in_record(
            part(
                5,
                part(
                    6,
                    part(
                        1,
                        part(1, b"inputs")
                        + part(2, part(6, part(1, part(2, part(5, part(1, two_members)))))),
                    ),
                ),
            )
            + head
        ),
        "a body with two members": in_record(
            head + part(5, first) + part(5, any_value("x").SerializeToString())
        ),
        "a body in two parts": in_record(head + part(5, first) + part(5, second)),
        "a value in two parts": in_record(
            head + part(5, part(6, part(1, part(1, b"inputs") + part(2, first[2:]) + part(2, second[2:]))))
        ),
        "unknown fields": in_record(head + part(99, b"new") + nested_groups(20) + b"\xf8\x06\x07"),
        "fields in reverse": in_record(part(5, first) + part(12, b"ml.prediction") + head),
        "a wrong wire type": in_record(head + b"\x28\x05"),
        "default values written out": in_record(head + b"\x09" + bytes(8) + part(9, b"") + b"\x38\x00"),
    }


@pytest.mark.parametrize("name", odd_encodings())
def test_valid_but_unusual_encodings_mean_what_the_runtime_says(name: str) -> None:
    """Split messages merge, of several members the last one counts, and unknown fields are skipped."""
    payload = odd_encodings()[name]
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


def test_an_index_into_a_string_table_counts_as_null() -> None:
    """Indexes have a meaning in profiles only, so logs treat them as absent."""
    log = LogRecord(event_name="ml.prediction", body=any_value({"inputs": {"a": 1}}))
    log.body.kvlist_value.values[0].value.kvlist_value.values[0].value.string_value_strindex = 3
    log.attributes.extend(prediction({}).attributes)
    nested = LogRecord()
    nested.CopyFrom(log)
    nested.body.kvlist_value.values[0].value.kvlist_value.values.extend(
        key_values({"deep": {"b": [1, True]}})
    )
    nested.body.kvlist_value.values[0].value.kvlist_value.values[1].value.kvlist_value.values[
        0
    ].value.array_value.values[0].string_value_strindex = 3
    (batch,) = decode_logs(request(log, nested), TIME_NS).batches
    assert [(column.path, column.values.to_pylist()) for column in batch.fields] == [
        (("inputs", "deep", "b"), [None, [None, True]])
    ]


def test_tiny_records_are_counted_before_they_fill_the_memory() -> None:
    """A request of nothing but empty records is refused by their number, a large one before it is parsed."""
    empty = part(1, part(2, b"\x12\x00" * (MAX_RECORDS + 1)))
    large = part(1, part(2, b"\x12\x00" * (1 << 23)))
    for payload in (empty, large):
        with pytest.raises(DecodeError, match=f"more than {MAX_RECORDS} records") as refused:
            decode_logs(payload, TIME_NS)
        assert refused.value.status_hint == 413


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(requests(), st.integers(0, 3))
def test_counting_sees_what_the_runtime_sees(payload: bytes, copies: int) -> None:
    """The number of records that are counted in the bytes is that of the parsed request."""
    message = ExportLogsServiceRequest.FromString(payload * copies)
    records = sum(len(scope.log_records) for logs in message.resource_logs for scope in logs.scope_logs)
    assert count_records(payload * copies, 10_000) == records


@settings(max_examples=examples(150))
@given(st.binary(max_size=60))
def test_counting_bears_any_bytes(junk: bytes) -> None:
    """Bytes that are no request are counted to some number, and left to the runtime to refuse."""
    assert count_records(junk, 1000) <= len(junk)
