"""Predictions become rows with the columns of PREDICTION_ROWS and one column per logged field and kind."""

import json
import math
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from helpers.decode_requests import TIME_NS, key_values, prediction, record, request
from lapwing_collector.decode import decode_logs, fields
from lapwing_collector.model.records import PREDICTION_ROWS, UNTYPED, Batch, Kind

TIME = datetime(2025, 10, 9, 8, 53, 20, 123456)  # naive UTC, as in the tables
LATER_NS = TIME_NS + 5_000_000_000
LATER = datetime(2025, 10, 9, 8, 53, 25, 123456)


def decode(*records: Any, resource: Any = ()) -> Batch:
    """The only batch that these records make."""
    (batch,) = decode_logs(request(*records, resource=resource), LATER_NS).batches
    return batch


def row(*args: Any, resource: Any = (), **kwargs: Any) -> dict[str, Any]:
    """The only row that a prediction makes."""
    (columns,) = decode(prediction(*args, **kwargs), resource=resource).rows.to_pylist()
    return columns


def cells(batch: Batch) -> dict[tuple[tuple[str, ...], pa.DataType], list[Any]]:
    """The fields' values by path and type."""
    return {(column.path, column.values.type): column.values.to_pylist() for column in batch.fields}


def test_a_full_prediction_fills_every_column() -> None:
    """Each attribute of the wire contract lands in its column, seconds as milliseconds."""
    attributes = {
        "ml.model.version": "2026-11",
        "ml.prediction.id": "p7",
        "ml.prediction.duration": 0.25,
        "ml.prediction.stage": "shadow",
        "ml.prediction.fallback": True,
        "ml.prediction.weight": 2.5,
        "ml.request.id": "r7",
        "ml.model.variant": "b",
        "ml.model.upstream": "features",
        "lapwing.sequence": 41,
        "error.type": "ValueError",
        "exception.message": "no such airport",
        "carrier": "UA",
    }
    resource = {
        "service.name": "api",
        "deployment.environment.name": "prod",
        "lapwing.process.id": "a1",
        "cpus": 2,
    }
    record = prediction({}, attributes, trace_id=bytes(range(16)), span_id=b"\xff" * 8)
    batch = decode(record, resource=resource)
    assert (batch.kind, batch.model, batch.process_id) == (Kind.PREDICTION, "churn", "a1")
    assert batch.sequence.to_pylist() == [41]
    assert batch.rows.schema == PREDICTION_ROWS
    assert batch.rows.to_pylist() == [
        {
            "time": TIME,
            "prediction_id": "p7",
            "version": "2026-11",
            "environment": "prod",
            "service": "api",
            "duration_ms": 250.0,
            "error_type": "ValueError",
            "error_message": "no such airport",
            "weight": 2.5,
            "request_id": "r7",
            "fallback": True,
            "variant": "b",
            "upstream": "features",
            "tags": [("carrier", "UA")],
            "extra": None,
            "resource": [
                ("service.name", "api"),
                ("deployment.environment.name", "prod"),
                ("lapwing.process.id", "a1"),
                ("cpus", "2"),
            ],
            "trace_id": "000102030405060708090a0b0c0d0e0f",
            "span_id": "ffffffffffffffff",
            "stage": "shadow",
            "received_at": LATER,
        }
    ]


def test_a_bare_prediction_has_nulls_and_the_production_stage() -> None:
    """What the record does not say is null, except for the stage."""
    columns = row({})
    filled = {"time", "prediction_id", "tags", "resource", "stage", "received_at"}
    assert {name for name, value in columns.items() if value is not None} == filled
    assert (columns["stage"], columns["tags"], columns["resource"]) == ("production", [], [])


def test_each_kind_of_scalar_becomes_its_own_arrow_type() -> None:
    """Scalars of inputs and output are typed columns, exact to the bit."""
    inputs = {"name": "é", "vip": True, "age": 2**63 - 1, "score": -0.0, "raw": b"\x00\xff", "nan": math.nan}
    found = cells(decode(prediction({"inputs": inputs, "output": {"value": False}})))
    assert found.pop((("inputs", "nan"), pa.float64()))[0] != 0
    assert math.copysign(1, found.pop((("inputs", "score"), pa.float64()))[0]) == -1
    assert found == {
        (("inputs", "name"), pa.string()): ["é"],
        (("inputs", "vip"), pa.bool_()): [True],
        (("inputs", "age"), pa.int64()): [2**63 - 1],
        (("inputs", "raw"), pa.binary()): [b"\x00\xff"],
        (("output", "value"), pa.bool_()): [False],
    }


def test_rows_of_different_shape_share_columns_with_nulls() -> None:
    """A field that only some rows have is null in the others, and keeps the order of arrival."""
    batch = decode(
        prediction({"inputs": {"a": 1, "b": "x"}}),
        prediction({"inputs": {"b": "y"}}),
        prediction({"inputs": {"c": True, "a": 3}}),
        prediction(None),
    )
    assert cells(batch) == {
        (("inputs", "a"), pa.int64()): [1, None, 3, None],
        (("inputs", "b"), pa.string()): ["x", "y", None, None],
        (("inputs", "c"), pa.bool_()): [None, None, True, None],
    }


def test_a_field_of_two_kinds_becomes_two_columns_of_one_path() -> None:
    """Each kind seen under one key has a column, null where the other holds."""
    batch = decode(prediction({"inputs": {"a": 1}}), prediction({"inputs": {"a": "1"}}))
    path = ("inputs", "a")
    assert cells(batch) == {(path, pa.int64()): [1, None], (path, pa.string()): [None, "1"]}


def test_null_is_no_cell_and_differs_from_empty_text() -> None:
    """A key whose value is null in every row has no column; empty text and zero are values."""
    batch = decode(
        prediction({"inputs": {"gone": None, "text": "", "number": 0}}),
        prediction({"inputs": {"gone": None, "text": None, "number": None}}),
    )
    assert cells(batch) == {
        (("inputs", "text"), pa.string()): ["", None],
        (("inputs", "number"), pa.int64()): [0, None],
    }


def test_maps_inside_maps_become_longer_paths() -> None:
    """Nesting extends the path to any depth, beside rows that are flat."""
    batch = decode(
        prediction({"inputs": {"user": {"address": {"city": "Graz"}, "age": 3}, "x": 1}}),
        prediction({"inputs": {"x": 2}}),
    )
    assert cells(batch) == {
        (("inputs", "x"), pa.int64()): [1, 2],
        (("inputs", "user", "address", "city"), pa.string()): ["Graz", None],
        (("inputs", "user", "age"), pa.int64()): [3, None],
    }


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([0.5, -1.5], pa.list_(pa.float64())),
        ([1, 2**63 - 1], pa.list_(pa.int64())),
        (["a", ""], pa.list_(pa.string())),
        ([True, False], pa.list_(pa.bool_())),
        ([b"", b"\x01"], pa.list_(pa.binary())),
        ([1, None, 3], pa.list_(pa.int64())),
        ([1, 0.5, None], pa.list_(pa.float64())),
    ],
)
def test_lists_of_one_scalar_kind_become_list_columns(value: list[Any], kind: pa.DataType) -> None:
    """A list of one kind, nulls aside, is a typed list; integers among doubles count as doubles."""
    batch = decode(prediction({"inputs": {"a": value}}), prediction({"inputs": {}}))
    assert cells(batch) == {(("inputs", "a"), kind): [value, None]}


@pytest.mark.parametrize(
    "value",
    [[1, "a"], [True, 1], [[1], [2]], [{"a": 1}], [None], [2**53 + 1, 0.5], {}],
)
def test_values_without_a_column_type_become_json_cells(value: Any) -> None:
    """Mixed lists, lists of containers or nulls, integers no double holds, and empty maps are JSON text."""
    ((key, (text,)),) = cells(decode(prediction({"inputs": {"a": value}}))).items()
    assert key == (("inputs", "a"), UNTYPED)
    assert json.loads(text) == value


def test_an_empty_list_joins_the_lists_of_its_field() -> None:
    """An empty list has the type of the other rows' lists, and is a JSON cell only where there are none."""
    path = ("output", "items")
    alone = prediction({"output": {"items": []}})
    other = prediction({"output": {"items": ["a"]}})
    assert cells(decode(alone, other)) == {(path, pa.list_(pa.string())): [[], ["a"]]}
    assert cells(decode(alone)) == {(path, UNTYPED): ["[]"]}


def test_of_a_repeated_key_the_last_value_counts() -> None:
    """In bodies, attributes and resources a later value replaces an earlier one, even by null."""
    body = (("inputs", {"lost": 1}), ("inputs", (("a", 1), ("a", "x"), ("b", 1), ("b", None))))
    attributes = {"tag": "x"}
    record = prediction(body, attributes)
    record.attributes.add(key="tag").value.string_value = "y"
    record.attributes.add(key="ml.prediction.id").value.string_value = "p2"
    field = prediction({"inputs": (("a", "w"), ("b", "x"), ("a", "y"))})
    batch = decode(record, field, resource=(("service.name", "old"), ("service.name", "new")))
    path = ("inputs", "a")
    assert cells(batch) == {(path, pa.string()): ["x", "y"], (("inputs", "b"), pa.string()): [None, "x"]}
    columns, _ = batch.rows.to_pylist()
    assert (columns["tags"], columns["prediction_id"]) == ([("tag", "y")], "p2")
    assert (columns["service"], columns["resource"]) == ("new", [("service.name", "new")])


def test_tags_are_text_as_json_spells_it() -> None:
    """Any other attribute is a tag: text as it is, null as null, all else as in JSON."""
    tags = {
        "text": 'a "b"',
        "null": None,
        "yes": True,
        "int": -(2**63),
        "double": 1.0,
        "nan": math.nan,
        "bytes": b"\x00\xff",
        "list": [1, "é"],
        "map": {"a": {"b": -math.inf}},
    }
    assert dict(row({}, tags)["tags"]) == {
        "text": 'a "b"',
        "null": None,
        "yes": "true",
        "int": "-9223372036854775808",
        "double": "1.0",
        "nan": "NaN",
        "bytes": "AP8=",
        "list": '[1, "é"]',
        "map": '{"a": {"b": "-Infinity"}}',
    }


@pytest.mark.parametrize(
    ("key", "column", "value"),
    [
        ("ml.prediction.weight", "weight", "heavy"),
        ("ml.prediction.duration", "duration_ms", "0.5"),
        ("ml.prediction.fallback", "fallback", 1),
        ("ml.model.version", "version", 3),
        ("ml.request.id", "request_id", [1]),
        ("ml.prediction.stage", "stage", {"a": 1}),
    ],
)
def test_a_known_attribute_of_the_wrong_kind_goes_to_extra(key: str, column: str, value: Any) -> None:
    """Its column stays at the default, and the value is kept under the attribute's key."""
    columns = row({}, {key: value})
    assert columns[column] == ("production" if column == "stage" else None)
    assert json.loads(columns["extra"]) == {key: value}


def test_an_integer_is_a_number_where_a_double_is_expected() -> None:
    """Clients that write 2.0 as the integer 2 are understood."""
    columns = row({}, {"ml.prediction.weight": 2, "ml.prediction.duration": 1})
    assert (columns["weight"], columns["duration_ms"], columns["extra"]) == (2.0, 1000.0, None)


def test_a_null_attribute_counts_as_absent() -> None:
    """A known attribute without a value is neither a column's value nor extra."""
    columns = row({}, {"ml.prediction.weight": None, "ml.prediction.stage": None})
    assert (columns["weight"], columns["stage"], columns["extra"]) == (None, "production", None)


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ("just text", {"body": "just text"}),
        ([1], {"body": [1]}),
        ({"inputs": 5, "output": {"value": 1}}, {"inputs": 5}),
        ({"inputs": {}, "explanation": {"a": [0.1]}, "x": None}, {"explanation": {"a": [0.1]}, "x": None}),
    ],
)
def test_what_is_no_field_goes_to_extra(body: Any, extra: dict[str, Any]) -> None:
    """Bodies that are no map, unknown keys of a body and inputs that are no map are kept in extra."""
    assert json.loads(row(body)["extra"]) == extra


def test_extra_keeps_the_stack_trace_and_both_owners_of_one_key() -> None:
    """An attribute keeps its key; the body's value under the same key is renamed, not lost."""
    columns = row({"exception.stacktrace": 1, "inputs": {}}, {"exception.stacktrace": "File …", "tag": "x"})
    assert json.loads(columns["extra"]) == {"exception.stacktrace": "File …", "body.exception.stacktrace": 1}
    assert columns["tags"] == [("tag", "x")]


@pytest.mark.parametrize("identifier", [b"", bytes(16), b"\x01" * 15, b"\x01" * 17, b"\x01" * 8])
def test_an_invalid_trace_id_is_null_and_the_row_kept(identifier: bytes) -> None:
    """An id that is empty, all zero or of the wrong length counts as absent."""
    good = b"\xab" * 16
    batch = decode(prediction({}, trace_id=identifier), prediction({}, trace_id=good))
    assert batch.rows["trace_id"].to_pylist() == [None, "ab" * 16]


@pytest.mark.parametrize(
    ("time_ns", "observed_ns", "time"),
    [
        (TIME_NS, 1, TIME),
        (0, TIME_NS, TIME),
        (0, 0, LATER),
        (1000, 0, datetime(1970, 1, 1, 0, 0, 0, 1)),
        (2**63, 0, datetime(2262, 4, 11, 23, 47, 16, 854775)),
        (2**64 - 1, 0, datetime(2554, 7, 21, 23, 34, 33, 709551)),
    ],
)
def test_time_is_the_events_else_when_observed_else_received(
    time_ns: int, observed_ns: int, time: datetime
) -> None:
    """Zero means unknown, and every 64-bit number of nanoseconds has its timestamp."""
    assert row({}, time_unix_nano=time_ns, observed_time_unix_nano=observed_ns)["time"] == time


def test_a_missing_id_is_made_from_process_and_sequence() -> None:
    """A prediction without an id, or with an empty one, gets one that a retry gets again."""
    attributes = {"ml.prediction.id": "", "lapwing.sequence": 12}
    assert row({}, attributes, resource={"lapwing.process.id": "a1"})["prediction_id"] == "a1-12"


def test_without_process_and_sequence_a_missing_id_is_made_from_the_content() -> None:
    """The id is the same wherever in a request the record stands, and differs with resource or content."""
    first, second = (prediction({"inputs": {"a": a}}, {"ml.prediction.id": None}) for a in (1, 2))
    ids = decode(first, second).rows["prediction_id"].to_pylist()
    assert decode(second).rows["prediction_id"].to_pylist() == ids[1:]
    assert decode(second, resource={"host": "b"}).rows["prediction_id"].to_pylist() != ids[1:]
    assert ids[0] != ids[1]


def test_batches_are_split_by_model_and_process_and_keep_the_order_of_arrival() -> None:
    """Rows of one model are one batch, in order, however they were mixed on the wire."""
    models = ["a", "b", "a", "c", "b", "a"]
    records = [
        prediction({"inputs": {model: place}}, {"ml.model.name": model, "lapwing.sequence": place})
        for place, model in enumerate(models)
    ]
    batches = decode_logs(request(*records), TIME_NS).batches
    assert [batch.model for batch in batches] == ["a", "b", "c"]
    assert [batch.sequence.to_pylist() for batch in batches] == [[0, 2, 5], [1, 4], [3]]
    assert [cells(batch) for batch in batches] == [
        {(("inputs", "a"), pa.int64()): [0, 2, 5]},
        {(("inputs", "b"), pa.int64()): [1, 4]},
        {(("inputs", "c"), pa.int64()): [3]},
    ]


def test_a_process_is_one_batch_over_its_resources() -> None:
    """Resources of one process share a batch, other processes have their own, and an empty id is none."""
    logs = [
        ResourceLogs(
            resource=Resource(
                attributes=key_values({"lapwing.process.id": process, "service.name": service})
            ),
            scope_logs=[ScopeLogs(log_records=[prediction({}, {"lapwing.sequence": place})])],
        )
        for place, (process, service) in enumerate([("a", "x"), ("b", "y"), ("a", "z"), ("", "w")])
    ]
    batches = decode_logs(ExportLogsServiceRequest(resource_logs=logs).SerializeToString(), TIME_NS).batches
    assert {batch.process_id: batch.sequence.to_pylist() for batch in batches} == {
        "a": [0, 2],
        "b": [1],
        None: [3],
    }
    assert {batch.process_id: batch.rows["service"].to_pylist() for batch in batches} == {
        "a": ["x", "z"],
        "b": ["y"],
        None: ["w"],
    }


def test_tens_of_thousands_of_keys_keep_their_paths() -> None:
    """The number of a path, section times field, may exceed 32 bits."""
    names = [f"k{n}" for n in range(47_000)]
    batch = decode(prediction(dict.fromkeys(names, 1)), prediction({"inputs": dict.fromkeys(names, 2)}))
    assert [column.path for column in batch.fields] == [("inputs", name) for name in names]
    assert len(json.loads(batch.rows["extra"].storage[0].as_py())) == len(names)


@pytest.mark.parametrize(
    ("second", "fields_stored", "extra"),
    [
        ({"c": 3, "d": 4}, ["inputs.a", "inputs.b", "inputs.c"], {"inputs.d": 4}),
        ({"m": {"c": 3, "d": 4}}, ["inputs.a", "inputs.b", "inputs.m.c"], {"inputs.m.d": 4}),
    ],
    ids=["read from columns", "read from objects"],
)
def test_fields_beyond_the_cell_limit_go_to_extra(
    second: dict[str, Any], fields_stored: list[str], extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that share no field can not make columns without bound, and lose nothing."""
    monkeypatch.setattr(fields, "MAX_CELLS", 2 * len(fields_stored))
    without_id = {"ml.model.name": "churn"}  # such records are read together, whatever fields they have
    batch = decode(
        record("ml.prediction", {"inputs": {"a": 1, "b": 2}}, without_id),
        record("ml.prediction", {"inputs": second}, without_id),
    )
    assert [".".join(column.path) for column in batch.fields] == fields_stored
    none, text = batch.rows["extra"].storage.to_pylist()
    assert (none, json.loads(text)) == (None, extra)
