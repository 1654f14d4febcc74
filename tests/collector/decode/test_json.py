"""OTLP/JSON becomes the protobuf that it stands for."""

import base64
import json
import math
import random
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.decode_json import as_dict, as_json, json_request
from helpers.decode_oracle import actual, expected
from helpers.decode_requests import TIME_NS, any_value, prediction, request, requests
from helpers.faults_plan import examples
from lapwing_collector.decode import decode_logs, from_json
from lapwing_collector.decode.deep import MAX_DEPTH
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.records import Converted

MIB = 1024 * 1024
GOOD = as_dict(request(prediction({"inputs": {"a": 1}})))["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]


def messages(converted: Converted) -> list[LogRecord]:
    """The records of a request with one scope."""
    request = ExportLogsServiceRequest.FromString(converted.payload)
    return list(request.resource_logs[0].scope_logs[0].log_records)


def only(record: Any) -> LogRecord:
    """What a record becomes."""
    converted = from_json(json_request(record))
    assert (converted.records, converted.rejected, converted.message) == (1, 0, "")
    (message,) = messages(converted)
    return message


def refusal(record: Any) -> str:
    """Why a record is rejected beside others, which are not."""
    converted = from_json(json_request(GOOD, record, GOOD))
    assert (converted.records, converted.rejected) == (3, 1)
    assert len(messages(converted)) == 2
    said, _, reason = converted.message.partition(" rejected. For example record 1: ")
    assert said == "1 of 3 records"
    return reason


def body(value: Any) -> AnyValue:
    """What an AnyValue in JSON becomes as a body."""
    return only({"body": value}).body


def wrapped(depth: int, *, lists: bool) -> str:
    """A value inside so many lists, or maps, in JSON."""
    if lists:
        return '{"arrayValue":{"values":[' * depth + '{"stringValue":"bottom"}' + "]}}" * depth
    head = '{"kvlistValue":{"values":[{"key":"k","value":'
    return head * depth + '{"stringValue":"bottom"}' + "}]}}" * depth


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(requests())
def test_json_becomes_the_protobuf_that_it_was_made_of(payload: bytes) -> None:
    """Requests of every shape come back from JSON as they were, and make the rows they would have made."""
    converted = from_json(as_json(payload))
    message = ExportLogsServiceRequest.FromString(converted.payload)
    same = ExportLogsServiceRequest.FromString(payload)
    assert str(message) == str(same)  # as text, where all NaNs are one: JSON has no others
    assert (converted.rejected, converted.message) == (0, "")
    assert actual(decode_logs(converted.payload, TIME_NS)) == expected(payload, TIME_NS)


@settings(max_examples=examples(100))
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@example(b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"\xff"}}]}]}]}')
@example(b'{"resourceLogs":{}}')
def test_any_bytes_are_converted_or_refused(junk: bytes) -> None:
    """Bytes of every kind, alone or where parts of a request stand, raise nothing but DecodeError."""
    whole = json_request(GOOD)
    places = [0, 16, 31, 47, 60, len(whole) - 3, len(whole)]
    for text in (junk, *(whole[:place] + junk + whole[place:] for place in places)):
        with suppress(DecodeError):
            ExportLogsServiceRequest.FromString(from_json(text).payload)


@pytest.mark.parametrize("text", [b"", b" \n", b"{}", b'{"resourceLogs":[]}', b'{"resourceLogs":null}'])
def test_nothing_is_a_request_without_records(text: bytes) -> None:
    """5a-5: an empty body, an empty object and empty envelopes are requests with nothing in them."""
    assert from_json(text) == Converted(b"")


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'"x"',
        b"{",
        b"nonsense",
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[' + b"9" * 5000 + b"]}]}]}",
        b"{}{}",
        b'{"resourceLogs":{}}',
        b'{"resourceLogs":[',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":}]}]}]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]',
        b'{"x":NaN}',
        json_request('{"body":{"doubleValue":NaN}}'),
        json_request('{"body":{"stringValue":"a\nb"}}'),
        b"{'resourceLogs':[]}",
        b'{"resourceLogs":[{"resource":{"attributes":[{"key":3}]}}]}',
        b'{"resourceLogs":[{"schemaUrl":"\xff"}]}',
    ],
)
def test_what_is_no_request_is_refused(text: bytes) -> None:
    """5a-13: what is not JSON, or not the JSON of a request, is a DecodeError."""
    with pytest.raises(DecodeError) as refused:
        from_json(text)
    assert refused.value.status_hint == 400


def test_unknown_keys_are_ignored_at_every_level() -> None:
    """5a-6, 5a-12: what is not of OTLP, spelled in snake_case or nested without end, changes nothing."""
    plain = as_dict(request(prediction({"inputs": {"a": [1, "b"]}}), resource={"service.name": "x"}))
    unknown = {"x": {"y": [None, 1.5]}, "time_unix_nano": "7", "body_": 3, "key_strindex": 2, "": {}}

    def strew(value: Any) -> Any:
        if isinstance(value, dict):
            return {**unknown, **{key: strew(held) for key, held in value.items()}, "z": 1}
        return [strew(item) for item in value] if isinstance(value, list) else value

    deep = '{"a":' * 5000 + "1" + "}" * 5000
    text = json.dumps(strew(plain)).encode()
    assert from_json(text) == from_json(json.dumps(plain).encode())
    assert from_json(text[:-1] + b',"deep":' + deep.encode() + b"}").payload == from_json(text).payload


@pytest.mark.parametrize("number", [0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("form", [str, int])
def test_times_are_exact_as_text_and_as_numbers(number: int, form: type) -> None:
    """5a-7: an unsigned number of 64 bits is exact however it is written."""
    assert only({"timeUnixNano": form(number)}).time_unix_nano == number


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 2**53 + 1, 2**63 - 1])
@pytest.mark.parametrize("form", [str, int])
def test_integers_are_exact_as_text_and_as_numbers(number: int, form: type) -> None:
    """5a-7: a signed number of 64 bits is exact however it is written."""
    assert body({"intValue": form(number)}) == any_value(number)


@pytest.mark.parametrize("value", [1.0, 1e3, "7", "-0"])
def test_whole_numbers_may_have_a_point(value: Any) -> None:
    """An integer may be written as JSON's writers of other languages do."""
    assert body({"intValue": value}).int_value == float(value)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (1, 1.0),
        (-0.0, -0.0),
        ("1.5", 1.5),
        ("-2e3", -2000.0),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        (5e-324, 5e-324),
    ],
)
def test_doubles_are_numbers_or_text(written: Any, number: float) -> None:
    """A double may be a number or its text, and what JSON has no number for is text."""
    assert body({"doubleValue": written}).SerializeToString() == any_value(number).SerializeToString()


def test_nan_is_text() -> None:
    """NaN is written as text."""
    assert math.isnan(body({"doubleValue": "NaN"}).double_value)


@pytest.mark.parametrize("content", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_bytes_are_base64_of_any_alphabet(content: bytes) -> None:
    """Bytes are base64, with or without padding, in the usual or the URL-safe alphabet."""
    usual, safe = (encode(content).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode))
    for text in (usual, safe, usual.rstrip("="), safe.rstrip("=")):
        assert body({"bytesValue": text}) == any_value(content)


@pytest.mark.parametrize("written", ["0af7651916cd43dd8448eb211c80319c", "0AF7651916CD43DD8448EB211C80319C"])
def test_ids_are_hexadecimal_in_any_case(written: str) -> None:
    """5a-8: ids are hexadecimal, with letters of either case."""
    assert only({"traceId": written, "spanId": written[:16]}) == LogRecord(
        trace_id=bytes.fromhex(written), span_id=bytes.fromhex(written)[:8]
    )


@pytest.mark.parametrize("written", ["", "abc", "zz", "0x12", "12 34", "é0"])
def test_what_is_no_id_is_none(written: str) -> None:
    """5a-8: an id that is not hexadecimal is as if there were none, and its record is kept."""
    assert only({"traceId": written, "spanId": written, "eventName": "e"}) == LogRecord(event_name="e")


def test_a_severity_by_name_is_not_read_and_said() -> None:
    """5a-12: enumerations are numbers; a name is not read, its record is kept, and the answer warns."""
    converted = from_json(json_request({"severityNumber": "SEVERITY_NUMBER_INFO"}, {"severityNumber": 9}))
    assert [record.severity_number for record in messages(converted)] == [0, 9]
    assert converted.rejected == 0
    assert converted.message == "severityNumber was not read in 1 of 2 records: it must be a number."


def test_null_is_as_if_it_were_not_there() -> None:
    """A null stands for nothing, and in a list for a value with nothing in it."""
    assert (
        only(dict.fromkeys(("body", "timeUnixNano", "attributes", "traceId", "severityNumber")))
        == LogRecord()
    )
    assert body({"arrayValue": {"values": [None, {}, {"stringValue": None}]}}) == any_value(
        [None, None, None]
    )
    assert body({"arrayValue": {"values": None}}) == any_value([])
    assert (
        from_json(b'{"resourceLogs":[null,{"resource":null,"scopeLogs":[null,{"logRecords":null}]}]}').records
        == 0
    )


def test_of_several_values_the_last_counts() -> None:
    """5a-29: of a repeated key, and of several values in one, the last is read."""
    assert only('{"eventName":"a","eventName":"b"}').event_name == "b"
    assert body({"stringValue": "a", "intValue": 1}) == any_value(1)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (7, "a record must be an object, not 7"),
        (None, "a record must be an object, not None"),
        ({"timeUnixNano": "soon"}, "timeUnixNano: must be an integer from 0"),
        ({"timeUnixNano": -1}, "timeUnixNano: must be an integer from 0"),
        ({"timeUnixNano": 2**64}, "not one so large"),
        ({"timeUnixNano": 1.5}, "not 1.5"),
        ({"timeUnixNano": True}, "not True"),
        ({"timeUnixNano": "1_0"}, "not '1_0'"),
        ({"flags": 2**32}, "flags: must be an integer from 0 to 4294967295"),
        ({"severityNumber": []}, "severityNumber: must be an integer"),
        ({"eventName": 5}, "eventName: must be text, not 5"),
        ({"traceId": 5}, "traceId: must be text, not 5"),
        ({"body": "x"}, "body: a value must be an object such as {'intValue': 1}, not 'x'"),
        ({"body": {"intValue": 2**63}}, "must be an integer from -9223372036854775808"),
        ({"body": {"boolValue": "true"}}, "boolValue must be true or false, not 'true'"),
        ({"body": {"doubleValue": "1,5"}}, "doubleValue must be a number, not '1,5'"),
        ({"body": {"doubleValue": 10**400}}, "doubleValue must be a number of 64 bits"),
        ('{"body":{"doubleValue":1e999}}', "doubleValue must be a number of 64 bits"),
        ({"body": {"bytesValue": "a*b"}}, "bytesValue must be in base64, not 'a*b'"),
        ({"body": {"arrayValue": [1]}}, "a list or map must be an object with 'values', not an array"),
        ({"body": {"kvlistValue": {"values": {}}}}, "'values' must be an array, not an object"),
        ({"attributes": {"a": 1}}, "attributes: must be an array of pairs, not an object"),
        ({"attributes": [{"key": 1}]}, "must be text, not 1"),
        ({"attributes": ["a"]}, "a pair must be an object, not 'a'"),
        ('{"body":{"stringValue":"\\ud800"}}', "it has text that is not UTF-8"),
        ('{"attributes":[{"key":"\\udfff"}]}', "it has text that is not UTF-8"),
        ('{"body":{"intValue":' + "9" * 5000 + "}}", "it has a number of thousands of digits"),
    ],
)
def test_a_record_of_no_use_costs_no_other(record: Any, reason: str) -> None:
    """5a-11: a record that can not be read is rejected alone, by its place, with the reason."""
    assert reason in refusal(record)


def test_bytes_that_are_not_utf8_cost_one_record() -> None:
    """5a-11: a record with bytes that are not UTF-8 is rejected alone among 512."""
    good = json_request(*[GOOD] * 511)
    converted = from_json(
        good.replace(b'"logRecords":[', b'"logRecords":[{"body":{"stringValue":"\xff\xc3"}},')
    )
    assert (converted.records, converted.rejected) == (512, 1)
    assert len(messages(converted)) == 511
    assert "record 0: body: it has text that is not UTF-8" in converted.message


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("place", ["body", "attribute"])
@pytest.mark.parametrize("depth", [32, 48, 64, MAX_DEPTH])
def test_deep_values_are_kept(depth: int, place: str, lists: bool) -> None:
    """5a-10: 64 lists or maps inside each other, and 2 more, are read, as they are in protobuf."""
    value = wrapped(depth, lists=lists)
    record = f'{{"body":{value}}}' if place == "body" else f'{{"attributes":[{{"key":"a","value":{value}}}]}}'
    converted = from_json(json_request(GOOD, record, GOOD))
    assert (converted.records, converted.rejected) == (3, 0)
    decoded = decode_logs(converted.payload, TIME_NS)
    assert (decoded.received, decoded.rejected) == (3, 0)
    (text,) = [
        batch.rows["attributes" if place == "attribute" else "body"][0].as_py()
        for batch in decoded.batches
        if str(batch.kind) == "log"
    ]
    assert text.count("bottom") == 1
    assert text.count("[" if lists else '"k"') == depth


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 5000, 100_000])
def test_deeper_values_cost_their_record(depth: int, lists: bool) -> None:
    """5a-10: a record nested deeper is rejected alone, however deep it is."""
    assert "nested" in refusal(f'{{"body":{wrapped(depth, lists=lists)}}}')


def test_braces_in_text_do_not_hide_the_end_of_a_deep_record() -> None:
    """A record that is skipped ends where its braces say, and those in its texts do not count."""
    inner = wrapped(5000, lists=True).replace("bottom", 'b}]\\"{\\\\')
    assert "nested" in refusal(f'{{"body":{inner},"eventName":"}}"}}')


def test_a_long_request_takes_little_memory() -> None:
    """What a request takes while it is converted is its text and its bytes, not its objects."""
    record = {"body": {"kvlistValue": {"values": [{"key": "k", "value": {"intValue": 1}}] * 40}}}
    text = json_request(*[record] * 800)
    tracemalloc.start()
    try:
        assert from_json(text).records == 800
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


def test_one_record_of_too_many_values_is_rejected() -> None:
    """5b-17: a record that would take more memory than there is for one is skipped without being made."""
    many = '{"body":{"arrayValue":{"values":[' + "{}," * 350_000 + "{}]}}}"
    tracemalloc.start()
    try:
        assert "its values would take more than 128 MiB" in refusal(many)
        assert tracemalloc.get_traced_memory()[1] < 30 * MIB
    finally:
        tracemalloc.stop()


def test_many_tiny_records_take_little_memory() -> None:
    """5b-17: records of two characters each, tens of thousands of them, are converted one after the other."""
    text = json_request(*["{}"] * 40_000)
    tracemalloc.start()
    try:
        assert from_json(text).records == 40_000
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()


def test_spaces_and_order_do_not_matter() -> None:
    """A request is read whatever stands first in it, and however it is spaced."""
    random_ = random.Random(3)
    plain = as_dict(request(prediction({"inputs": {"a": 1}}), resource={"service.name": "x"}))

    def shuffle(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            random_.shuffle(items)
            return {key: shuffle(held) for key, held in items}
        return [shuffle(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(shuffle(plain), indent="\t \r\n").encode()
    read, same = (
        ExportLogsServiceRequest.FromString(from_json(each).payload)
        for each in (text, json.dumps(plain).encode())
    )
    assert read == same
