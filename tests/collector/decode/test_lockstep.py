"""Records of one shape, read in step, come out as they do one by one, and what is amiss drops out."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.decode_oracle import actual, expected
from helpers.decode_requests import TIME_NS, label, prediction, record, request
from helpers.faults_plan import examples
from lapwing_collector.decode import decode_group, decode_logs, group
from lapwing_collector.decode.lockstep import PADDING, match
from lapwing_collector.decode.plan import MAX_KEY_BYTES, learn
from lapwing_collector.errors import DecodeError

PROCESS = {"lapwing.process.id": "a1", "service.name": "api", "replicas": 3}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.lists(st.floats(), min_size=1, max_size=40),
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def alike(draw: st.DrawFn) -> list[LogRecord]:
    """Some records with the same keys in the same order, and any values."""
    inputs = draw(st.lists(KEYS, unique=True, max_size=6))
    output = draw(st.lists(KEYS, unique=True, max_size=3))
    tags = draw(st.lists(KEYS.map("tag.{}".format), unique=True, max_size=3))
    tag = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=200), st.floats())
    records = []
    for number in range(draw(st.integers(1, 12))):
        body = {key: {field: draw(SCALARS) for field in fields} for key, fields in _sections(inputs, output)}
        attributes = {
            "ml.prediction.id": f"p{number}",
            "ml.prediction.duration": draw(st.one_of(st.floats(0, 9), st.integers(0, 9))),
            "lapwing.sequence": number,
        }
        records.append(prediction(body, attributes | {key: draw(tag) for key in tags}))
    return records


def _sections(inputs: list[str], output: list[str]) -> list[tuple[str, list[str]]]:
    return [("inputs", inputs), ("output", output)]


@pytest.fixture
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a record has to be read the general way."""

    def refuse(*_: object) -> None:
        raise AssertionError("a record was not read in step")

    monkeypatch.setattr(group, "read_batches", refuse)


@settings(max_examples=examples(75))
@given(alike())
def test_records_of_one_shape_are_what_the_oracle_says(records: list[LogRecord]) -> None:
    """Values of every kind and length, mixed in one field, come out as the walk over objects gives them."""
    payload = request(*records, resource=PROCESS)
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


@settings(max_examples=examples(75))
@given(alike(), st.data())
def test_a_flipped_byte_never_makes_other_rows(records: list[LogRecord], data: st.DataObject) -> None:
    """Whatever one byte of a request becomes, its rows are those of the oracle, or it is refused as there."""
    payload = bytearray(request(*records, resource=PROCESS))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    try:
        wanted = expected(bytes(payload), TIME_NS)
    except Exception:  # noqa: BLE001  # the runtime refuses it, and then at most some of its records are read
        return
    assert actual(decode_logs(bytes(payload), TIME_NS)) == wanted


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("length", [0, 1, 107, 108, 126, 127, 128, 129, 16_383, 16_384, 70_000])
def test_lengths_take_as_many_bytes_as_they_need(length: int) -> None:
    """Short and long texts in one field, with lengths of one to three bytes around them, stay in step."""
    records = [
        prediction({"inputs": {"text": "x" * size, "n": size}}, {"ml.prediction.id": f"p{size}"})
        for size in (length, 3, length + 1)
    ]
    payload = request(*records)
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


@pytest.mark.usefixtures("nothing_is_left")
def test_failures_and_labels_are_read_in_step() -> None:
    """Failed predictions keep their stack trace in `extra`, and labels their value, scalar or map."""
    failed = {"error.type": "KeyError", "exception.message": "age", "exception.stacktrace": "line 3"}
    records = [prediction({"inputs": {"a": n}}, failed) for n in range(3)]
    records += [label({"label": truth}) for truth in (True, "x", None)]
    records += [label({"label": {"late": True, "minutes": n}}) for n in range(3)]
    payload = request(*records, resource=PROCESS)
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


@pytest.mark.usefixtures("nothing_is_left")
def test_requests_of_the_stock_sdk_are_read_in_step() -> None:
    """Records with a severity, observed times, flags and trace ids have a plan like any other."""
    extra = {"severity_number": 9, "severity_text": "INFO", "observed_time_unix_nano": 5, "flags": 1}
    ids = {"trace_id": b"\x01" * 16, "span_id": b"\x02" * 8}
    records = [
        prediction({"inputs": {"a": n}, "output": {"value": 1.5}}, None, **extra, **ids) for n in range(5)
    ]
    payload = request(*records)
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


def test_what_is_amiss_in_a_record_costs_that_record() -> None:
    """A record that is not UTF-8 where the plan has text, among ordinary ones, is rejected by itself."""
    good = [prediction({"inputs": {"city": f"c{n}"}}, {"ml.prediction.id": f"p{n}"}) for n in range(5)]
    payload = request(*good, resource=PROCESS).replace(b"\n\x02c3", b"\n\x02c\xff")
    decoded = decode_logs(payload, TIME_NS)
    assert (decoded.received, decoded.rejected) == (5, 1)
    assert (
        "For example record 3: it is no LogRecord in protobuf, or has text that is not UTF-8"
        in decoded.message
    )
    assert sorted(id_ for batch in decoded.batches for id_ in batch.rows["prediction_id"].to_pylist()) == [
        "p0",
        "p1",
        "p2",
        "p4",
    ]


def test_requests_that_are_decoded_together_are_told_apart() -> None:
    """Each has its own counts and complaint, one that can not be read costs no other, and rows are shared."""
    fine = request(
        *(prediction({"inputs": {"a": n}}, {"lapwing.sequence": n}) for n in range(3)), resource=PROCESS
    )
    nameless = request(
        prediction({"inputs": {"a": 7}}, {"lapwing.sequence": 9}),
        record("ml.prediction", {"inputs": {"a": 8}}, {"ml.model.name": ""}),
        resource=PROCESS,
    )
    decoded = decode_group([fine, b"\xff", nameless, b""], TIME_NS)
    assert [(each.records, each.rejected, each.rows) for each in decoded.outcomes] == [
        (3, 0, 3),
        (0, 0, 0),
        (2, 1, 1),
        (0, 0, 0),
    ]
    assert isinstance(decoded.outcomes[1].error, DecodeError)
    assert "1 of 2 records rejected. For example record 1, an ml.prediction" in decoded.outcomes[2].message
    (batch,) = decoded.batches
    assert batch.sequence.to_pylist() == [0, 1, 2, 9]


@pytest.mark.parametrize("value", [1, {"b": 2}], ids=["in step", "the general way"])
def test_a_repeat_in_another_request_of_the_group_is_left_out(value: Any) -> None:
    """A retry that is decoded together with the first attempt makes no second row, and still counts."""
    payload = request(
        *(prediction({"inputs": {"a": value}}, {"lapwing.sequence": n}) for n in (4, 5)), resource=PROCESS
    )
    decoded = decode_group([payload, payload], TIME_NS)
    assert [each.rows for each in decoded.outcomes] == [2, 2]
    (batch,) = decoded.batches
    assert batch.sequence.to_pylist() == [4, 5]


@pytest.mark.parametrize("value", [1, {"b": 2}], ids=["in step", "the general way"])
def test_records_that_nobody_numbered_stay_apart_by_request(value: Any) -> None:
    """Whether two of the same content are one record depends on the requests that they came in."""
    same = prediction({"inputs": {"a": value}}, {"tag": "x"})
    decoded = decode_group([request(same, same), request(same)], TIME_NS)
    assert [batch.rows.num_rows for batch in decoded.batches] == [2, 1]
    digests = [batch.digest.to_pylist() for batch in decoded.batches if batch.digest is not None]
    assert len({*digests[0], *digests[1]}) == 1


def test_requests_that_fit_alone_may_not_fit_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few bytes that become many rows are read one request at a time, however many wait."""
    payload = request(prediction({}), resource={"service.name": "x" * 200})
    monkeypatch.setattr(group, "MAX_ROWS_BYTES", 1000)
    assert decode_group([payload], TIME_NS).outcomes[0].rows == 1
    with pytest.raises(MemoryError, match="these 2 requests together"):
        decode_group([payload, payload], TIME_NS)


def test_many_shapes_in_one_request_are_what_the_oracle_says() -> None:
    """Records of which no two are alike are given up on early, and come out right all the same."""
    draw = random.Random(3)
    records = [
        prediction({"inputs": {f"f{n}": 1, f"g{draw.randrange(9)}": draw.random()}}, {"lapwing.sequence": n})
        for n in range(200)
    ]
    payload = request(*records, resource=PROCESS)
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)


def test_records_cut_short_anywhere_drop_out() -> None:
    """Of records that follow a plan but end early, or go on, none is matched, and no byte beyond is read."""
    whole = prediction(
        {"inputs": {"a": 1, "text": "x" * 200, "v": [1.0, 2.0]}}, {"tag": "t"}
    ).SerializeToString()
    sample = learn(whole)
    assert sample is not None
    for cut in range(len(whole)):
        data = np.frombuffer(whole[:cut] + whole + bytes(PADDING), np.uint8)
        starts, ends = np.array([0, cut]), np.array([cut, cut + len(whole)])
        assert match(sample, data, starts, ends).records.tolist() == [1]
    longer = np.frombuffer(whole + b"\x08" + bytes(PADDING), np.uint8)
    assert match(sample, longer, np.array([0]), np.array([len(whole) + 1])).records.tolist() == []


@pytest.mark.parametrize(
    "odd",
    [
        prediction({"inputs": {"a": {"b": 1}}}),
        prediction({"inputs": (("a", 1), ("a", 2))}),
        prediction({"inputs": {"": 1}}),
        prediction({"inputs": {"k" * (MAX_KEY_BYTES + 1): 1}}),
        prediction({"inputs": {"a": ["x"]}}),
        prediction({"inputs": {"a": []}}),
        prediction({"inputs": 1}),
        prediction({"inputs": {"a": 1}, "other": {"b": 2}}),
        prediction("text"),
        prediction({"inputs": {"a": 1}}, {"ml.prediction.id": ""}),
        prediction({"inputs": {"a": 1}}, {"ml.model.version": 3}),
        prediction({"inputs": {"a": 1}}, {"tag": ["x"]}),
        label({"label": {}}),
        label({"label": 1}, {"surplus": 2}),
    ],
    ids=str,
)
def test_what_is_out_of_the_ordinary_is_read_the_general_way(odd: Any) -> None:
    """Odd records among ordinary ones come out as the walk over objects gives them."""
    usual = [prediction({"inputs": {"a": n}}, {"ml.prediction.id": f"p{n}"}) for n in range(3)]
    payload = request(*usual, odd, *usual, resource={"service.name": "api"})
    assert actual(decode_logs(payload, TIME_NS)) == expected(payload, TIME_NS)
