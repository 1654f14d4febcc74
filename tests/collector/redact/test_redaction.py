"""Redaction of requests: what rules cover is gone wherever it stands, and everything else is as it was."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers import redact_requests as canaries
from helpers.decode_requests import label, prediction, record, request, requests
from helpers.decode_tables import labels, predictions, stream
from helpers.redact_requests import CANARY
from lapwing import redact, semconv
from lapwing.redact import Redactor
from lapwing_collector.app.ingest.redaction import redaction
from lapwing_collector.decode import decode_logs
from lapwing_collector.errors import DecodeError
from lapwing_collector.redact import Redaction, read_policy
from lapwing_collector.redact.values import plain

SALT = "0123456789abcdef"
MAILS = 'rules: [{mask: "**", matching: EMAIL}]'


def redacting(text: str) -> Redaction:
    """Compile the text of a redaction file."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "redact.yaml")
        file.write_text(text)
        found = redaction(read_policy(file))
    assert found is not None
    return found


def parsed(payload: bytes) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest.FromString(payload)


def records_of(payload: bytes) -> Iterator[LogRecord]:
    for logs in parsed(payload).resource_logs:
        for scope in logs.scope_logs:
            yield from scope.log_records


def redacted(policy: str, *records: LogRecord) -> list[tuple[Any, dict[str, Any]]]:
    """The bodies and attributes that are left of records."""
    found = records_of(redacting(policy)(request(*records)))
    return [(plain(each.body), {pair.key: plain(pair.value) for pair in each.attributes}) for each in found]


def tables_in(payload: bytes) -> bytes:
    """The tables of a request's batches, with their buffers as they are, not compressed."""
    bodies = [each.body.bytes_value for each in records_of(payload) if each.event_name.endswith(".batch")]
    return b"".join(stream(pa.ipc.open_stream(body).read_all()) for body in bodies if body)


def unstamped(message: ExportLogsServiceRequest) -> ExportLogsServiceRequest:
    """A request without the marks of a policy."""
    for logs in message.resource_logs:
        if not logs.HasField("resource"):
            logs.resource.SetInParent()
        holders = [logs.resource, *(each for scope in logs.scope_logs for each in scope.log_records)]
        for holder in holders:
            kept = [pair for pair in holder.attributes if pair.key != semconv.REDACTION]
            del holder.attributes[:]
            holder.attributes.extend(kept)
    return message


def normal(message: ExportLogsServiceRequest) -> str:
    """What a request says: ids of a wrong length are none, of a repeated key the last value counts."""

    def pairs(entries: Any) -> dict[str, Any]:
        return {pair.key: plain(pair.value) for pair in entries}

    said = []
    for logs in unstamped(message).resource_logs:
        for scope in logs.scope_logs:
            for each in scope.log_records:
                is_batch = each.event_name.endswith(".batch")  # a body that is no table is rejected anyhow
                body, attributes = None if is_batch else plain(each.body), pairs(each.attributes)
                each.ClearField("body")
                del each.attributes[:]
                each.trace_id = each.trace_id if len(each.trace_id) == 16 else b""
                each.span_id = each.span_id if len(each.span_id) == 8 else b""
                said.append((body, attributes))
            said.append(pairs(scope.scope.attributes))
            del scope.scope.attributes[:]
            scope.scope.SetInParent()
        said.append(pairs(logs.resource.attributes))
        del logs.resource.attributes[:]
    return repr((said, message.SerializeToString(deterministic=True)))


@given(requests())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize(
    "policy",
    [
        "rules: [{drop: [inputs.nobody, resource.nobody, tags.nobody, extra.nobody]}]",
        'rules: [{mask: "**", matching: "nobody has this"}]',
        "models: {nobody: {allow: label}}",
    ],
    ids=["paths", "texts", "other_models"],
)
def test_what_no_rule_covers_is_as_it_was(policy: str, payload: bytes) -> None:
    """A request without anything that rules cover says what it said, as the protobuf runtime reads it."""
    assert normal(parsed(redacting(policy)(payload))) == normal(parsed(payload))


def test_a_canary_is_nowhere_in_what_is_left() -> None:
    """A mail address is gone from every place of a request in which a text can be, seen or not."""
    apply = redacting(MAILS)
    message = canaries.request_around(*canaries.records())
    payload = message.SerializeToString() + canaries.unknown_field(CANARY)
    left = apply(payload)
    assert canaries.holds(payload)
    assert not canaries.holds(left + tables_in(left))
    decoded = decode_logs(left, 1)
    assert decoded.rejected == decode_logs(payload, 1).rejected
    batches = decoded.batches
    fields = [field.values.to_pylist() for batch in batches for field in batch.fields]
    assert CANARY not in repr((fields, [batch.rows.to_pylist() for batch in batches]))
    assert apply.failures == 0
    assert apply.withheld == 2  # the two that are no Arrow streams


@pytest.mark.parametrize("shape", ["scalar", "list", "table"])
def test_what_is_under_nulls_is_gone(shape: str) -> None:
    """Numbers that stand in a table's buffers under nulls are not taken along."""
    secret = 0x4141414141414141
    hidden = pa.Array.from_buffers(
        pa.int64(), 2, [pa.py_buffer(bytes(8)), pa.array([secret, secret]).buffers()[1]]
    )
    column = {
        "scalar": hidden,
        "list": pa.ListArray.from_arrays([0, 1, 2], hidden),
        "table": pa.StructArray.from_arrays([hidden], ["a"]),
    }[shape]
    payload = request(predictions(pa.table({"prediction_id": ["a", "b"], "x": column})))
    assert b"AAAAAAAA" in payload
    assert len(left := tables_in(redacting(MAILS)(payload)))
    assert b"AAAAAAAA" not in left


TEXTS = st.sampled_from(["Annabel", "bob@example.org", "to ann@example.org!", ""])
SINGLES = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 2.0, b"bob@example.org"])
INNER_KEYS = st.sampled_from(["name", "x", "a@b.de", "c@b.de"])
SECTION = st.dictionaries(
    st.sampled_from(["name", "age", "mail", "a.b", "***", "bob@example.org"]),
    st.recursive(
        SINGLES | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER_KEYS, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
RULES = {
    "rules: [{drop: inputs.name}, {hash: [tags.*, inputs.age], salt: S}]": [
        redact.drop("inputs.name"),
        redact.hash("tags.*", "inputs.age", salt="S"),
    ],
    'rules: [{mask: "**", matching: EMAIL, with: <mail>}, {truncate: inputs.mail, length: 3}]': [
        redact.mask(matching=redact.EMAIL, with_="<mail>"),
        redact.truncate("inputs.mail", length=3),
    ],
    'rules: [{hash: ["inputs", "output"], salt: S, matching: EMAIL}, {mask: inputs.**.x, with: 0}]': [
        redact.hash("inputs", "output", salt="S", matching=redact.EMAIL),
        redact.mask("inputs.**.x", with_=0),
    ],
    "models: {'C*N': {allow: [inputs.age, inputs.name.x, output]}}": [
        redact.allow("inputs.age", "inputs.name.x", "output")
    ],
    "rules: [{mask: [inputs, prediction_id, error_message]}]": [
        redact.mask("inputs", "prediction_id", "error_message")
    ],
}


@given(SECTION, SECTION, SECTION, st.sampled_from(["Annabel said 3", "x"]))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("policy", RULES)
def test_results_are_those_of_the_sdk(
    policy: str, inputs: dict[str, Any], output: dict[str, Any], tags: dict[str, Any], error: str
) -> None:
    """The same rules make the same of a prediction here and in the SDK, its error included."""
    sdk = Redactor(RULES[policy], pytest.fail).record()
    body = {name: dict(sdk.fields(name, values)) for name, values in (("inputs", inputs), ("output", output))}
    kept = dict(sdk.fields("tags", tags))
    named = {"ml.prediction.id": "prediction_id", "exception.message": "error_message"}
    last = sdk.fields("", {"prediction_id": "p1", "error_message": error})
    kept |= {attribute: last[name] for attribute, name in named.items() if name in last}
    sent = prediction({"inputs": inputs, "output": output}, {**tags, "exception.message": error})
    ((left, attributes),) = redacted(policy, sent)
    assert repr(left) == repr(body)
    assert {key: repr(value) for key, value in attributes.items()} == {
        key: repr(value) for key, value in {**kept, "ml.model.name": "churn"}.items()
    }


def test_tables_are_what_the_sdk_makes_of_them() -> None:
    """Columns are dropped, masked, hashed and searched, with errors freed of what was taken out."""
    policy = """
    rules: [{drop: inputs.ssn}, {hash: tags.user, salt: S}, {mask: [output.name, label.who]}]
    """
    table = pa.table(
        {
            "inputs": [{"age": 1, "ssn": "078-05-1120"}, None],
            "output": pa.array([[("name", "Ann")], []], pa.map_(pa.string(), pa.string())),
            "tags": [{"user": "ann"}, {"user": None}],
            "error_message": ["no 078-05-1120", "Ann?"],
            "prediction_id": ["1", "2"],
        }
    )
    decoded = decode_logs(redacting(policy)(request(predictions(table))), 1)
    (batch,) = decoded.batches
    hashed = Redactor([redact.hash("tags.user", salt="S")], pytest.fail).fields("tags", {"user": "ann"})[
        "user"
    ]
    assert [{"".join(field.path[1:]): field.values.to_pylist()} for field in batch.fields] == [
        {"age": [1, None]},
        {"name": ["***", None]},
    ]
    rows = batch.rows.to_pylist()
    assert [dict(row["tags"]) for row in rows] == [{"user": hashed}, {}]
    assert [row["error_message"] for row in rows] == ["no ***", "***?"]
    truths = pa.table({"prediction_id": ["1"], "label": [{"who": "Ann", "paid": True}]})
    (batch,) = decode_logs(redacting(policy)(request(labels(truths))), 1).batches
    assert {field.path: field.values.to_pylist() for field in batch.fields} == {
        ("label", "who"): ["***"],
        ("label", "paid"): [True],
    }


def test_rows_stay_where_nothing_of_them_is_allowed() -> None:
    """A table of which no field is left still has its rows."""
    policy = "models: {churn: {allow: tags.region}}"
    table = pa.table({"inputs": [{"age": 1}, {"age": 2}], "tags": [{"region": "eu", "user": "u"}] * 2})
    decoded = decode_logs(redacting(policy)(request(predictions(table))), 1)
    assert decoded.rejected == 0
    assert [dict(row["tags"]) for row in decoded.batches[0].rows.to_pylist()] == [{"region": "eu"}] * 2
    assert decoded.batches[0].fields == ()
    truths = pa.table({"prediction_id": ["1"], "label": [True]})
    assert decode_logs(redacting(policy)(request(labels(truths))), 1).batches[0].rows.num_rows == 1


def test_rules_for_models_are_for_their_records() -> None:
    """A model's list and rules hold for its predictions and labels, in any capitals, and for no others."""
    policy = """
    rules: [{drop: inputs.ssn}]
    models:
      fraud*: {allow: [inputs.amount, output, label], rules: [{hash: prediction_id, salt: S}]}
    """
    body = {"inputs": {"amount": 1, "name": "Ann", "ssn": 3}, "output": {"value": 1}, "more": 2}
    of_fraud = {"ml.model.name": "Fraud-EU", "who": "Ann"}
    (fraud, other, truth) = redacted(
        policy, prediction(body, of_fraud), prediction(body), label({"label": 1}, of_fraud)
    )
    assert fraud[0] == {"inputs": {"amount": 1}, "output": {"value": 1}}
    assert fraud[1].keys() == {"ml.model.name", "ml.prediction.id"}
    assert other[0] == {"inputs": {"amount": 1, "name": "Ann"}, "output": {"value": 1}, "more": 2}
    assert truth[0] == {"label": 1}
    assert truth[1]["ml.prediction.id"] == fraud[1]["ml.prediction.id"] != "p1"
    assert "who" not in truth[1]


def test_ordinary_logs_are_covered_by_their_columns() -> None:
    """Bodies, attributes and texts of ordinary logs are found by the names of their columns."""
    policy = """
    rules:
      - drop: [body.user.name, attributes.user.*, scope.attributes.a, resource.host]
      - mask: [severity_text, scope.name, event_name]
      - hash: prediction_id
        salt: S
    """
    sent = record(
        "bought",
        {"user": {"name": "Ann", "age": 1}},
        {"user.mail": "m", "ml.prediction.id": "p1"},
        severity_text="Ann",
    )
    message = canaries.request_around(sent)
    (logs,) = parsed(redacting(policy)(message.SerializeToString())).resource_logs
    (scope,) = logs.scope_logs
    (left,) = scope.log_records
    assert plain(left.body) == {"user": {"age": 1}}
    assert [pair.key for pair in left.attributes] == ["ml.prediction.id"]
    assert len(left.attributes[0].value.string_value) == 32
    assert (left.severity_text, left.event_name, scope.scope.name) == ("***", "***", "***")
    assert [pair.key for pair in scope.scope.attributes] == [CANARY]
    assert [pair.key for pair in logs.resource.attributes] == [CANARY, "service.name", "lapwing.redaction"]


def test_what_can_not_be_read_is_withheld_and_rejected_alone() -> None:
    """A record that is nested too deep, or is none, is rejected and leaves nothing; the others are stored."""
    apply = redacting(MAILS)
    for content in (canaries.deep_record(60), canaries.deep_record(200), b"\xff" + CANARY.encode()):
        payload = canaries.with_raw_record(content)
        left = apply(payload)
        assert canaries.holds(payload)
        assert not canaries.holds(left)
        decoded = decode_logs(left, 1)
        assert (decoded.received, decoded.rejected) == (2, 1)
        assert decoded.batches[0].rows.num_rows == 1
    assert apply.withheld == 3


def test_a_table_that_can_not_be_read_is_withheld() -> None:
    """What is no Arrow stream, or too large a one, is rejected, says so, and leaves nothing."""
    apply = redacting(MAILS)
    zeros = pa.array(np.zeros(9 << 20))
    large = pa.table({"inputs": pa.StructArray.from_arrays([zeros], ["a"])})
    for body in (CANARY.encode(), stream(large, "zstd")):
        left = apply(request(predictions(body), prediction({})))
        assert not canaries.holds(left)
        assert len(left) < 500
        decoded = decode_logs(left, 1)
        assert (decoded.received, decoded.rejected) == (2, 1)
        assert "can not be read as an Arrow IPC stream" in decoded.message
    assert apply.withheld == 2
    assert apply(request(predictions(CANARY))) == apply(request(predictions(None)))


def test_what_is_no_request_is_refused() -> None:
    """Bytes that are no request, or whose resource can not be read, are refused as a whole."""
    for payload in (b"\xff", b"\x0a\x04\x0a\x02\x0a\xff"):
        with pytest.raises(DecodeError, match="not an OTLP ExportLogsServiceRequest"):
            redacting(MAILS)(payload)


def test_the_policy_is_recorded_whatever_the_sender_says() -> None:
    """Rows tell the policy that was applied, predictions and logs in their resource, labels in `extra`."""
    apply = redacting(MAILS)
    lie = {"lapwing.redaction": "none"}
    left = apply(request(prediction({}), label({"label": 1}, lie), record("x", 1), resource=lie))
    rows = {batch.kind: batch.rows.to_pylist()[0] for batch in decode_logs(left, 1).batches}
    assert dict(rows["prediction"]["resource"]) == {"lapwing.redaction": apply.version}
    assert apply.version in rows["log"]["resource"]
    assert rows["label"]["extra"] == f'{{"lapwing.redaction": "{apply.version}"}}'
    assert apply(left) == left
