"""Values nested deeper than the protobuf runtime reads, and records that can not be read, beside others."""

import json
from typing import Any

import pytest

from helpers.decode_oracle import actual
from helpers.decode_requests import TIME_NS, prediction, request
from helpers.decode_wire import in_record, nested, nested_groups, nested_value, pair, part, value
from lapwing_collector.decode import decode_logs
from lapwing_collector.decode.deep import MAX_DEPTH
from lapwing_collector.model.records import Decoded

GOOD = prediction({"inputs": {"a": 1}}, {"ml.prediction.id": "good"}).SerializeToString()
NAME = pair(6, "ml.model.name", "churn")


def event(*parts: bytes, name: bytes = b"ml.prediction") -> bytes:
    """A record of the model `churn`."""
    return part(12, name) + NAME + b"".join(parts)


def body(plain: Any) -> bytes:
    """The body of a record."""
    return part(5, value(plain))


def decode(*records: bytes) -> Decoded:
    """What records between two good ones make."""
    return decode_logs(in_record(GOOD, *records, GOOD), TIME_NS)


def goods(decoded: Decoded) -> int:
    """How many of the good records came out."""
    return sum(batch.rows["prediction_id"].to_pylist().count("good") for batch in decoded.batches)


@pytest.mark.parametrize("depth", [31, 32, 48, 63, 64])
def test_maps_of_maps_are_fields_to_the_limit_of_opentelemetry(depth: int) -> None:
    """64 maps inside the two of the body make a path of as many names."""
    decoded = decode(event(body({"inputs": {"x": nested(depth)}})))
    assert (decoded.received, decoded.rejected, decoded.message) == (3, 0, "")
    (batch,) = decoded.batches
    assert {column.path: column.values.to_pylist() for column in batch.fields} == {
        ("inputs", "a"): [1, None, 1],
        ("inputs", "x", *["k"] * depth): [None, "bottom", None],
    }
    assert batch.rows["prediction_id"][1].is_valid


@pytest.mark.parametrize("depth", [47, 48, 64])
def test_lists_of_lists_are_json_to_the_limit_of_opentelemetry(depth: int) -> None:
    """64 lists inside the two maps of the body are kept whole."""
    (batch,) = decode(event(body({"inputs": {"x": nested(depth, lists=True)}}))).batches
    (text,) = (column.values[1].value.as_py() for column in batch.fields if column.path == ("inputs", "x"))
    assert json.loads(text) == nested(depth, lists=True)


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000])
def test_a_record_that_is_too_deep_is_rejected_alone(depth: int, *, lists: bool) -> None:
    """Its neighbours are stored, and the message names it and the limit."""
    decoded = decode(event(part(5, nested_value(depth, lists=lists))))
    assert (decoded.received, decoded.rejected, goods(decoded)) == (3, 1, 2)
    assert decoded.message == (
        "1 of 3 records rejected. For example record 1: its lists and maps are nested more than 66 deep."
    )


def test_attributes_may_be_as_deep() -> None:
    """A deep tag is JSON text; a deep value of a known attribute goes to extra."""
    deep = event(pair(6, "tag", nested(60)), pair(6, "ml.model.version", nested(50, lists=True)))
    (batch,) = decode(deep).batches
    assert json.loads(dict(batch.rows["tags"][1].as_py())["tag"]) == nested(60)
    assert json.loads(batch.rows["extra"].storage[1].as_py()) == {"ml.model.version": nested(50, lists=True)}


def test_logs_keep_deep_bodies_and_attributes() -> None:
    """An ordinary log record is kept whole, too."""
    decoded = decode(event(body(nested(60)), pair(6, "deep", nested(40)), name=b"other"))
    log = decoded.batches[-1].rows.to_pylist()[0]
    assert json.loads(log["body"]) == nested(60)
    assert json.loads(log["attributes"]) == {"ml.model.name": "churn", "deep": nested(40)}


def test_deep_records_keep_their_other_fields() -> None:
    """Time, ids and attributes of a deep record are read as those of any other."""
    deep = event(body({"inputs": {"x": nested(40)}}), b"\x09" + (1_000).to_bytes(8, "little"))
    deep += part(9, b"\xab" * 16) + pair(6, "ml.prediction.id", "p7") + pair(6, "region", "eu")
    (batch,) = decode(deep).batches
    row = batch.rows.to_pylist()[1]
    assert (row["prediction_id"], row["trace_id"], row["tags"]) == ("p7", "ab" * 16, [("region", "eu")])
    assert row["time"].microsecond == 1


def test_made_ids_tell_deep_records_apart() -> None:
    """Without an id, process and sequence, a deep prediction gets one from all of its content."""
    first, second = (event(body({"inputs": {name: nested(40)}})) for name in "ab")
    (batch,) = decode(first, second, first).batches
    _, a, b, again, _ = batch.rows["prediction_id"].to_pylist()
    assert (a == again, a == b) == (True, False)


def test_values_in_parts_are_merged_in_deep_records() -> None:
    """As in protobuf at large, a message that comes twice is the sum of both."""
    halves = body({"inputs": {"x": nested(40)}}) + body({"inputs": {"y": nested(40)}})
    decoded = decode(event(halves))
    (batch,) = decoded.batches
    assert [column.path[1] for column in batch.fields] == [
        "a",
        "y",
    ]  # the key `inputs` repeats: the last counts


UNREADABLE = {
    "text that is not UTF-8": part(5, part(1, b"\xff\xfe")),
    "a key that is not UTF-8": pair(6, "x", "y").replace(b"x", b"\xff"),
    "an event that is not UTF-8": part(12, b"\xff"),
    "a deep record with a severity that is not UTF-8": body(nested(40)) + part(3, b"\xff"),
    "a length beyond the end": b"\x2a\x7f",
    "groups": nested_groups(500_000),
    "groups in a deep record": body(nested(40)) + nested_groups(98),
    "groups in a deep value": part(5, part(6, part(1, part(2, nested_groups(200))))),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_record_that_can_not_be_read_is_rejected_alone(name: str) -> None:
    """Whatever the runtime refuses in a record costs that record."""
    decoded = decode(event(UNREADABLE[name]))
    assert (decoded.received, decoded.rejected, goods(decoded)) == (3, 1, 2)
    assert decoded.message.endswith(
        "For example record 1: it is no LogRecord in protobuf, or has text that is not UTF-8."
    )


def test_shallow_neighbours_decode_as_without_the_deep_record() -> None:
    """A request with a deep record gives the rows of its other records that it gives without."""
    records = [
        prediction({"inputs": {"m": {"n": [1, "x"]}, "v": [0.5]}, "other": 1}, {"tag": ["a"]}),
        prediction("text", {"ml.model.version": 3}),
    ]
    plain = [item.SerializeToString() for item in records]
    alone = actual(decode_logs(request(*records), TIME_NS))
    beside = actual(decode_logs(in_record(*plain, event(body(nested(70)))), TIME_NS))
    assert (beside.rejected, beside.batches) == (1, alone.batches)
