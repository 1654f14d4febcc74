"""A record that holds a table of predictions or labels becomes one row per row of the table."""

import json
from collections.abc import Callable
from datetime import date, datetime
from struct import pack
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.decode_oracle import actual
from helpers.decode_requests import TIME_NS, label, prediction, record, request
from helpers.decode_tables import labels, predictions, stream
from helpers.faults_plan import examples
from lapwing_collector.decode import batches, decode_logs
from lapwing_collector.decode.stream import measure
from lapwing_collector.model.records import LABEL_ROWS, PREDICTION_ROWS, Batch, Kind

TIME = datetime(2025, 10, 9, 8, 53, 20, 123456)  # naive UTC, as in the tables
PROCESS = {"lapwing.process.id": "a1"}


def decode(*records: LogRecord, resource: Any = PROCESS) -> Batch:
    """The only batch that these records make."""
    decoded = decode_logs(request(*records, resource=resource), TIME_NS + 1_000)
    assert decoded.message == ""
    (batch,) = decoded.batches
    batch.rows.validate(full=True)
    return batch


def column(name: str, array: Any, attributes: Any = None) -> list[Any]:
    """A fixed column of predictions with one column in the table beside `inputs`."""
    table = pa.table({"inputs": [{"a": place} for place in range(len(array))], name: array})
    values: list[Any] = decode(predictions(table, attributes)).rows.column(name).to_pylist()
    return values


def complaint(*records: LogRecord) -> str:
    """Why the first of these records is rejected, which the others are not."""
    decoded = decode_logs(request(*records), TIME_NS)
    assert (decoded.received, decoded.rejected) == (len(records), 1)
    assert sum(batch.rows.num_rows for batch in decoded.batches) == len(records) - 1
    return decoded.message.partition(": ")[2].removesuffix(".")


INPUTS = pa.array([{"age": 31, "plan": "free"}, {"age": 47, "plan": None}])


def test_a_full_batch_fills_every_column() -> None:
    """Columns of the table, then what the record says of all rows, then what a prediction has by default."""
    table = pa.table(
        {
            "prediction_id": ["p1", "p2"],
            "time": pa.array([TIME_NS + 5_000, None], pa.timestamp("ns", "Europe/Vienna")),
            "inputs": INPUTS,
            "output": pa.array([{"score": 0.25}, None]),
            "duration_ms": pa.array([4, None], pa.int32()),
            "weight": pa.array([2.0, None], pa.float32()),
            "request_id": ["r1", None],
            "fallback": [True, None],
            "variant": pa.array(["b", None]).dictionary_encode(),
            "upstream": pa.array(["up", None], pa.large_string()),
            "version": pa.array([None, "4"], pa.string_view()),
            "stage": [None, "shadow"],
            "error_type": [None, "ValueError"],
            "error_message": [None, "no"],
        }
    )
    attributes = {
        "ml.model.version": "3",
        "ml.prediction.duration": 0.5,
        "ml.prediction.weight": 4.0,
        "ml.batch.rows": 2,
        "lapwing.sequence": 9,
        "region": "eu",
    }
    resource = {"lapwing.process.id": "a1", "service.name": "shop", "deployment.environment.name": "live"}
    batch = decode(
        predictions(table, attributes, trace_id=b"\xab" * 16, span_id=b"\xcd" * 8), resource=resource
    )
    assert (batch.kind, batch.model, batch.process_id) == (Kind.PREDICTION, "churn", "a1")
    assert batch.sequence.to_pylist() == [9, 9]
    assert batch.rows.schema == PREDICTION_ROWS
    common = {
        "environment": "live",
        "service": "shop",
        "tags": [("region", "eu")],
        "extra": None,
        "resource": list(resource.items()),
        "trace_id": "ab" * 16,
        "span_id": "cd" * 8,
        "received_at": datetime(2025, 10, 9, 8, 53, 20, 123457),
    }
    first = {
        "time": datetime(2025, 10, 9, 8, 53, 20, 123461),
        "prediction_id": "p1",
        "version": "3",
        "duration_ms": 4.0,
        "error_type": None,
        "error_message": None,
        "weight": 2.0,
        "request_id": "r1",
        "fallback": True,
        "variant": "b",
        "upstream": "up",
        "stage": "production",
    }
    second = {
        "time": TIME,
        "prediction_id": "p2",
        "version": "4",
        "duration_ms": 500.0,
        "error_type": "ValueError",
        "error_message": "no",
        "weight": 4.0,
        "request_id": None,
        "fallback": None,
        "variant": None,
        "upstream": None,
        "stage": "shadow",
    }
    assert batch.rows.to_pylist() == [common | first, common | second]
    assert {field.path: field.values.to_pylist() for field in batch.fields} == {
        ("inputs", "age"): [31, 47],
        ("inputs", "plan"): ["free", None],
        ("output", "score"): [0.25, None],
    }


def test_a_full_batch_of_labels_fills_every_column() -> None:
    """Labels have ids, times, a source and a truth of any type."""
    table = pa.table(
        {
            "prediction_id": ["p1", None],
            "request_id": [None, "r2"],
            "prediction_time": pa.array([1_000_000_000, None], pa.int64()),
            "time": pa.array([None, 1_500], pa.timestamp("ms")),
            "source": [None, "import"],
            "label": [True, False],
        }
    )
    batch = decode(labels(table, {"ml.label.source": "billing", "lapwing.sequence": 3, "by": "hand"}))
    assert (batch.kind, batch.model, batch.sequence.to_pylist()) == (Kind.LABEL, "churn", [3, 3])
    assert batch.rows.schema == LABEL_ROWS
    received_at = datetime(2025, 10, 9, 8, 53, 20, 123457)
    assert [tuple(row.values()) for row in batch.rows.to_pylist()] == [
        ("p1", None, datetime(1970, 1, 1, 0, 0, 1), TIME, received_at, "billing", '{"by": "hand"}'),
        (None, "r2", None, datetime(1970, 1, 1, 0, 0, 1, 500_000), received_at, "import", '{"by": "hand"}'),
    ]
    assert {field.path: field.values.to_pylist() for field in batch.fields} == {("label",): [True, False]}


@pytest.mark.parametrize(
    ("truth", "fields"),
    [
        (pa.array([1.5]), {("label",): [1.5]}),
        (pa.array([["a"]]), {("label",): [["a"]]}),
        (pa.array([{"late": True, "minutes": 4}]), {("label", "late"): [True], ("label", "minutes"): [4]}),
        (pa.array([{}], pa.struct([])), {("label",): ["{}"]}),
        (pa.nulls(1), {}),
    ],
)
def test_a_label_is_a_scalar_a_list_or_a_struct(truth: pa.Array, fields: dict[Any, Any]) -> None:
    """The truth has the shapes that it has in single labels."""
    batch = decode(labels(pa.table({"request_id": ["r"], "label": truth})))
    assert {field.path: field.values.to_pylist() for field in batch.fields} == fields


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("chunk", [None, 1, 40])
def test_streams_may_be_compressed_and_in_many_batches(compression: Any, chunk: int | None) -> None:
    """A record is one batch of rows, however its stream is cut and compressed."""
    table = pa.table(
        {"inputs": [{"n": n, "city": "EWR"} for n in range(100)], "prediction_id": [*map(str, range(100))]}
    )
    batch = decode(predictions(stream(table, compression, chunk), {"lapwing.sequence": 4}))
    assert batch.rows["prediction_id"].to_pylist() == [str(n) for n in range(100)]
    assert batch.sequence.to_pylist() == [4] * 100
    assert batch.fields[0].values.to_pylist() == list(range(100))


def test_dictionaries_may_change_between_the_batches_of_a_stream() -> None:
    """Each batch of a stream may bring a dictionary of its own."""
    parts = [pa.table({"stage": pa.array([name]).dictionary_encode(), "inputs": [{"a": 1}]}) for name in "xy"]
    assert decode(predictions(pa.concat_tables(parts))).rows["stage"].to_pylist() == ["x", "y"]


def test_rows_without_an_id_get_one_that_a_retry_gets_again() -> None:
    """It is made of what identifies the record, and of the row's place in it."""
    table = pa.table({"inputs": [{"a": 1}] * 3, "prediction_id": [None, "own", ""]})
    numbered = predictions(table, {"lapwing.sequence": 12})
    assert decode(numbered).rows["prediction_id"].to_pylist() == ["a1-12-0", "own", "a1-12-2"]
    hashed = decode(predictions(table.drop_columns("prediction_id"))).rows["prediction_id"].to_pylist()
    assert len({*hashed}) == 3
    assert (
        hashed == decode(predictions(table.drop_columns("prediction_id"))).rows["prediction_id"].to_pylist()
    )


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1_500, 0, None], pa.timestamp("ms", "America/New_York")),
        pa.array([1_500_000_999, 0, None], pa.timestamp("ns")),
        pa.array([1_500_000_999, 0, None], pa.int64()),
        pa.array([1_500_000, 0, None], pa.timestamp("us")),
    ],
    ids=lambda times: str(times.type),
)
def test_times_come_in_any_unit(times: pa.Array) -> None:
    """Times are instants, rounded down to microseconds; null and 0 mean that of the record."""
    assert column("time", times) == [datetime(1970, 1, 1, 0, 0, 1, 500_000), TIME, TIME]


def test_a_time_may_be_a_date_or_before_1970() -> None:
    """A date is its midnight in UTC; fractions are rounded down before 1970, too."""
    assert column("time", pa.array([date(2026, 1, 2)])) == [datetime(2026, 1, 2)]
    assert column("time", pa.array([-1], pa.timestamp("ns"))) == [datetime(1969, 12, 31, 23, 59, 59, 999_999)]


def test_tags_of_a_column_join_those_of_the_record() -> None:
    """A row's own tag counts, then that of the record; what a row has not is left out."""
    attributes = {"region": "eu", "plan": "free", "note": None}
    common = [("region", "eu"), ("plan", "free"), ("note", None)]
    structs = pa.array([{"plan": "pro", "n": 1.0}, {"plan": None, "n": None}, None])
    assert column("tags", structs, attributes) == [
        [("region", "eu"), ("plan", "pro"), ("note", None), ("n", "1.0")],
        common,
        common,
    ]
    maps = pa.array([[("a", True), ("a", False)], [], None], pa.map_(pa.string(), pa.bool_()))
    assert column("tags", maps, attributes) == [[*common, ("a", "false")], common, common]
    assert column("tags", pa.nulls(1), attributes) == [common]
    assert column("tags", structs) == [[("plan", "pro"), ("n", "1.0")], [], []]


def test_other_columns_and_attributes_go_to_extra() -> None:
    """Nothing is dropped: a stack trace, an attribute of the wrong kind and unknown columns are kept."""
    table = pa.table({"inputs": INPUTS, "explanation": [[0.5], None], "ml.model.version": ["x", "y"]})
    batch = decode(predictions(table, {"exception.stacktrace": "File …", "ml.model.version": 3}))
    assert [json.loads(text) for text in batch.rows["extra"].storage.to_pylist()] == [
        {
            "ml.model.version": 3,
            "exception.stacktrace": "File …",
            "explanation": [0.5],
            "body.ml.model.version": "x",
        },
        {"ml.model.version": 3, "exception.stacktrace": "File …", "body.ml.model.version": "y"},
    ]
    plain = decode(predictions(pa.table({"inputs": INPUTS}), {"exception.stacktrace": "File …"}))
    assert plain.rows["extra"].storage.to_pylist() == ['{"exception.stacktrace": "File …"}'] * 2


def test_a_table_without_rows_is_no_batch() -> None:
    """An empty table is accepted, and makes nothing."""
    table = pa.table({"inputs": pa.array([], pa.struct([("a", pa.int64())]))})
    decoded = decode_logs(request(predictions(table, {"ml.batch.rows": 0})), TIME_NS)
    assert (decoded.batches, decoded.received, decoded.rejected) == ((), 1, 0)


def test_batches_and_rows_share_a_request() -> None:
    """Rows come as one batch, each table as its own, and what is received is counted in records."""
    table = pa.table({"inputs": INPUTS})
    records = [
        prediction({"inputs": {"age": 1}}, {"lapwing.sequence": 1}),
        predictions(table, {"lapwing.sequence": 2}),
        prediction({"inputs": {"age": 2}}, {"lapwing.sequence": 3}),
        predictions(table, {"lapwing.sequence": 4, "ml.model.name": "other"}),
        label({"label": 1}, {"lapwing.sequence": 5}),
        labels(pa.table({"prediction_id": ["p"], "label": [1]}), {"lapwing.sequence": 6}),
    ]
    decoded = decode_logs(request(*records, resource=PROCESS), TIME_NS)
    assert (decoded.received, decoded.rejected) == (6, 0)
    assert [(batch.kind, batch.model, batch.sequence.to_pylist()) for batch in decoded.batches] == [
        (Kind.PREDICTION, "churn", [1, 3]),
        (Kind.LABEL, "churn", [5]),
        (Kind.PREDICTION, "churn", [2, 2]),
        (Kind.PREDICTION, "other", [4, 4]),
        (Kind.LABEL, "churn", [6]),
    ]


def test_a_record_that_comes_twice_in_a_request_is_taken_once() -> None:
    """Records are told apart by process and sequence, whatever their order."""
    table = pa.table({"inputs": INPUTS})
    numbers = [3, 2, 3, 1, 2]
    rows = [predictions(table, {"lapwing.sequence": number}) for number in numbers]
    rows += [prediction({}, {"lapwing.sequence": number}) for number in (6, 4, 4)]
    rows += [record("other", "x", {"lapwing.sequence": number}) for number in (1, 5, 5)]
    decoded = decode_logs(request(*rows, resource=PROCESS), TIME_NS)
    assert (decoded.received, decoded.rejected) == (11, 0)
    taken = [sorted({*batch.sequence.to_pylist()}) for batch in decoded.batches]
    assert taken == [[4, 6], [5], [3], [2], [1]]
    assert [batch.rows.num_rows for batch in decoded.batches] == [2, 1, 2, 2, 2]
    anonymous = decode_logs(request(*rows), TIME_NS)
    assert sum(batch.rows.num_rows for batch in anonymous.batches) == 5 * 2 + 3 + 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"age": [1], "plan": ["x"]},
            "its table has no column inputs or output or prediction_id, but ['age', 'plan']",
        ),
        ({"inputs": [5]}, "its column 'inputs': it is of type int64, not a struct or a map"),
        (
            {"output": [[{"a": 1}]]},
            "its column 'output': it is of type list<item: struct<a: int64>>, not a struct",
        ),
        ({"inputs": [{}], "tags": ["x"]}, "its column 'tags': it is of type string, not a struct or a map"),
        ({"inputs": [{}], "weight": ["x"]}, "its column 'weight': it is of type string, not double"),
        ({"inputs": [{}], "version": [3]}, "its column 'version': it is of type int64, not string"),
        ({"inputs": [{}], "fallback": [1]}, "its column 'fallback': it is of type int64, not bool"),
        (
            {"inputs": [{}], "variant": [["a"]]},
            "its column 'variant': it is of type list<item: string>, not string",
        ),
        (
            {"inputs": [{}], "time": ["2026-01-01"]},
            "its column 'time': it is of type string, not a timestamp",
        ),
        (
            {"inputs": [{}], "time": pa.array([2**62], pa.timestamp("s"))},
            "its column 'time': it has a time that is not between the years 1677 and 2262",
        ),
    ],
    ids=lambda given: ",".join(given) if isinstance(given, dict) else "",
)
def test_a_table_of_the_wrong_shape_costs_its_record(table: dict[str, Any], message: str) -> None:
    """The message names the column, what it is and what it should be; the neighbour is stored."""
    assert complaint(predictions(pa.table(table)), prediction({})).startswith(message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"prediction_id": ["p"]}, "its table has no column label, but ['prediction_id']"),
        ({"label": [1]}, "its table has no column prediction_id or request_id, but ['label']"),
        ({"label": [1], "request_id": [1]}, "its column 'request_id': it is of type int64, not string"),
    ],
)
def test_a_table_of_labels_of_the_wrong_shape_costs_its_record(table: dict[str, Any], message: str) -> None:
    """A label needs a truth, and an id to be joined by."""
    assert complaint(labels(pa.table(table)), prediction({})).startswith(message)


def test_failed_calls_of_which_nothing_is_kept_are_predictions() -> None:
    """A table with ids only is one of predictions without fields."""
    table = pa.table({"prediction_id": ["a", "b"]})
    batch = decode(predictions(table, {"error.type": "ValueError"}))
    assert (batch.rows["error_type"].to_pylist(), batch.fields) == (["ValueError"] * 2, ())


def test_a_common_id_serves_a_table_of_labels() -> None:
    """The request id may be an attribute, of all labels of one request."""
    batch = decode(labels(pa.table({"label": [1, 2]}), {"ml.request.id": "r"}))
    assert batch.rows["request_id"].to_pylist() == ["r", "r"]


GOOD = stream(pa.table({"inputs": INPUTS}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": {}}, "its body is not bytes"),
        (None, "its body is not bytes"),
        (b"", "its body can not be read as an Arrow IPC stream"),
        (b"ARROW1\x00\x00" + GOOD, "its body can not be read as an Arrow IPC stream"),
        (GOOD[:-20], "its body can not be read as an Arrow IPC stream"),
        (GOOD[: len(GOOD) // 2], "its body can not be read as an Arrow IPC stream"),
        (b"not a stream", "its body can not be read as an Arrow IPC stream"),
    ],
)
def test_a_body_that_is_no_stream_costs_its_record(body: Any, message: str) -> None:
    """Whatever the body holds, the neighbours are stored."""
    assert complaint(predictions(body), prediction({})).startswith(message)


def test_a_stream_that_ends_early_costs_its_record() -> None:
    """Cut between two of its batches a stream looks whole, and its number of rows tells that it is not."""
    table = pa.table({"inputs": [{"a": 1}] * 4})
    body = stream(table, chunk=2)
    last_batch = len(body) - len(stream(table.slice(0, 2)))
    end = 8
    cut = body[: -end - last_batch]
    assert complaint(predictions(cut, {"ml.batch.rows": 4}), prediction({})) == (
        "ml.batch.rows is 4, and its table has 2"
    )


def inputs(array: pa.Array) -> pa.Array:
    """A column with one field."""
    return pa.StructArray.from_arrays([array], ["a"])


def zeros(count: int, kind: type) -> pa.Array:
    return pa.array(np.zeros(count, kind))


def same_text() -> pa.Array:
    """64 GiB, if it were written out."""
    return pa.DictionaryArray.from_arrays(zeros(1 << 16, np.int32), pa.array(["x" * (1 << 20)]))


def list_of_nulls() -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, 1 << 26], pa.int32()), pa.nulls(1 << 26))


BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    "well compressed": lambda: {"inputs": inputs(zeros(1 << 26, np.int64))},
    "rows of nothing": lambda: {"inputs": pa.nulls(1 << 24)},
    "one long text": lambda: {"inputs": inputs(same_text())},
    "one long id": lambda: {"inputs": pa.nulls(1 << 16), "prediction_id": same_text()},
    "lists of nulls": lambda: {"inputs": inputs(list_of_nulls())},
    "nulls in an unknown column": lambda: {"inputs": pa.nulls(1), "x": list_of_nulls()},
    "small integers": lambda: {
        "inputs": inputs(pa.FixedSizeListArray.from_arrays(zeros(1 << 25, np.int8), 1 << 25))
    },
}


@pytest.mark.parametrize("name", BOMBS)
def test_few_bytes_that_stand_for_very_many_cost_their_record(name: str) -> None:
    """What a table takes is known before it is taken, and bounded."""
    body = stream(pa.table(BOMBS[name]()), "zstd")
    assert len(body) < 10 << 20
    assert complaint(predictions(body), prediction({})).endswith(
        "it would take more than 256 MiB: send fewer rows at once"
    )


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("chunk", [None, 1_000])
def test_the_size_of_a_stream_is_known_before_it_is_read(compression: Any, chunk: int | None) -> None:
    """It is that of its rows and dictionaries, however small they are compressed."""
    table = pa.table(
        {
            "a": zeros(10_000, np.int64),
            "b": pa.array(["x" * 100] * 10_000),
            "c": pa.array([f"category {n}" for n in range(10_000)]).dictionary_encode(),
            "d": [[n] for n in range(10_000)],
        }
    )
    size = measure(stream(table, compression, chunk))
    again = 0 if chunk is None else 9 * table["c"].chunk(0).dictionary.nbytes  # it is checked with each batch
    assert size.rows == 10_000
    assert table.nbytes + again <= size.bytes <= 1.1 * (table.nbytes + again)


def test_a_text_seen_by_many_views_costs_its_record() -> None:
    """Views are counted with the length that each has."""
    view = np.array([1 << 20, 0, 0, 0], np.int32)  # length, first bytes, number and place of the buffer
    view[1] = int.from_bytes(b"xxxx", "little")
    buffers = [None, pa.py_buffer(np.tile(view, 1 << 12).tobytes()), pa.py_buffer(b"x" * (1 << 20))]
    views = pa.Array.from_buffers(pa.string_view(), 1 << 12, buffers)
    body = stream(pa.table({"inputs": inputs(views)}))
    assert complaint(predictions(body), prediction({})).endswith("send fewer rows at once")


def test_buffers_that_are_the_same_bytes_count_each() -> None:
    """Columns that claim one stretch of a body as their own are as many columns to check and to read."""
    columns = [zeros(1 << 13, np.int64)] * 100
    table = pa.table({"inputs": pa.StructArray.from_arrays(columns, [f"c{n}" for n in range(100)])})
    schema, batch = pa.ipc.MessageReader.open_stream(stream(table))
    size = columns[0].nbytes
    numbers = np.frombuffer(batch.metadata, np.int64).copy()
    numbers[numbers == 100 * size] = size  # the length of the body
    first = numbers.tolist().index(size, numbers.tolist().index(size) + 1) - 1
    numbers[first : first + 400 : 4] = 0  # the offsets of values, each behind those of a bitmap
    metadata = numbers.tobytes()
    messages = [(schema.metadata.to_pybytes(), b""), (metadata, batch.body.to_pybytes()[:size])]
    body = b"".join(pack("<Ii", 0xFFFFFFFF, len(head)) + head + content for head, content in messages)
    assert pa.ipc.open_stream(body).read_all().equals(table)
    assert len(body) < 2 * size < 100 * size == measure(body).bytes


def test_dictionaries_that_grow_cost_their_record() -> None:
    """Deltas would make each batch hold all dictionaries before it."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    parts = [pa.array(texts).dictionary_encode() for texts in (["a"], ["a", "b"])]
    tables = [pa.table({"inputs": pa.nulls(len(part)), "stage": part}) for part in parts]
    with pa.ipc.new_stream(sink, tables[0].schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)
    assert complaint(predictions(bytes(sink.getvalue())), prediction({})).endswith("write it without deltas")


def test_views_below_nulls_are_not_followed() -> None:
    """What stands where a value is null may point anywhere, and is not read."""
    views = pa.array(["long enough to be elsewhere", None], pa.string_view())
    validity, places, text = views.buffers()
    wild = bytearray(places.to_pybytes())
    wild[16:32] = b"\x7f" * 16
    array = pa.Array.from_buffers(views.type, 2, [validity, pa.py_buffer(bytes(wild)), text])
    (field,) = decode(predictions(pa.table({"inputs": inputs(array)}))).fields
    assert field.values.to_pylist() == ["long enough to be elsewhere", None]
    assert column("version", array) == ["long enough to be elsewhere", None]
    assert column("version", array[1:]) == [None]


def test_the_tables_of_a_request_share_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over the bound of a request is rejected, what is within it is kept."""
    table = pa.table({"inputs": [{"a": n} for n in range(1_000)]})
    monkeypatch.setattr(batches, "MAX_TABLES_BYTES", 1 << 20)
    decoded = decode_logs(request(*[predictions(table)] * 10), TIME_NS)
    kept = 10 - decoded.rejected
    assert 1 <= kept <= 9
    assert [batch.rows.num_rows for batch in decoded.batches] == [1_000] * kept
    assert "send fewer rows at once" in decoded.message


def _streams() -> list[bytes]:
    wild = pa.table(
        {
            "prediction_id": ["a", "b", "c"],
            "time": pa.array([1, 2, None], pa.timestamp("us", "Europe/Vienna")),
            "inputs": [
                {"n": 1, "v": [1.5, 2.5], "m": {"x": [{"y": 1}]}, "c": "red"},
                {"n": None, "v": [], "m": None, "c": "blue"},
                None,
            ],
            "output": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8())),
            "tags": pa.array([{"t": "x"}, None, {"t": "y"}]),
            "stage": pa.array(["a", "b", "a"]).dictionary_encode(),
            "version": pa.array(["short", "long enough to be elsewhere", None], pa.string_view()),
            "x": pa.array([b"1", None, b"3"], pa.binary(1)),
        }
    )
    return [stream(wild, compression, chunk) for compression in (None, "lz4", "zstd") for chunk in (None, 1)]


STREAMS = _streams()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A stream with some of its bytes changed, cut out or doubled."""
    body = bytearray(draw(st.sampled_from(STREAMS)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        place = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["byte", "byte", "number", "number", "cut", "double", "end"])):
            case "byte":
                body[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                place -= place % 8
                body[place : place + 8] = draw(st.integers(-(2**63), 2**63 - 1)).to_bytes(
                    8, "little", signed=True
                )
            case "cut":
                del body[place : place + draw(st.integers(1, 16))]
            case "double":
                body[place:place] = body[place : place + draw(st.integers(1, 16))]
            case "end":
                del body[max(place, 1) :]
    return bytes(body)


@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(mutated())
def test_a_damaged_stream_costs_at_most_its_record(body: bytes) -> None:
    """Whatever its bytes become, a record makes sound rows or is rejected, and its neighbour is stored."""
    outcome = decode_logs(request(predictions(body), prediction({}, {"ml.model.name": "neighbour"})), TIME_NS)
    assert outcome.received == 2
    rows = {key: len(rows) for key, rows in actual(outcome).batches.items()}
    assert rows["prediction", "neighbour", None] == 1
    assert len(rows) + outcome.rejected <= 2
