"""Files that people bring: what their cells and columns mean, and which rows are left out, by line."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from lapwing_collector.errors import ConfigError
from lapwing_collector.importing import (
    Part,
    Reject,
    Sender,
    open_source,
    parse_time,
    plan_labels,
    plan_predictions,
)
from lapwing_collector.importing.cells import ROW_TIME, Kind, kind_of, times, values

NOON = datetime(2026, 1, 1, 12)


def read(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def labels_of(
    path: Path,
    found: Any = None,
    on: str = "prediction_id",
    label_type: pa.DataType | None = None,
    **columns: str,
) -> list[Part]:
    source = open_source(path)
    plan = plan_labels(source.names, on, **columns)
    read_as = source.kinds(plan.kinds(label_type))
    return [plan.part(chunk, lambda _: found or {}) for chunk in source.chunks(plan.typed, read_as)]


def rows_of(part: Part) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.Table.from_pydict(dict(part.columns)).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("cells", "kind", "read_as"),
    [
        (["true", "False", ""], Kind.BOOL, [True, False, None]),
        (["1", "-2", ""], Kind.INTEGER, [1, -2, None]),
        (["1", "2.5", "1e3", "nan"], Kind.NUMBER, None),
        (["007", "1"], Kind.TEXT, ["007", "1"]),
        (["1", "true"], Kind.TEXT, ["1", "true"]),
        (["9223372036854775808"], Kind.NUMBER, [9.223372036854775808e18]),
        (["1_000"], Kind.TEXT, ["1_000"]),
        ([""], Kind.NOTHING, [None]),
    ],
)
def test_a_column_is_what_all_of_its_cells_are(
    cells: list[str], kind: Kind, read_as: list[Any] | None
) -> None:
    """One cell that is something else makes the column text; ids with zeros in front stay what they are."""
    assert kind_of(cells) is kind
    if read_as is not None:
        assert values(cells, kind).to_pylist() == read_as


@settings(deadline=None)  # on a busy machine nothing is quick
@given(
    st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | st.booleans() | st.text())
)
def test_no_cell_is_lost(written: list[Any]) -> None:
    """Whatever stands in a column, reading it as what it is gives a value for every cell that has one."""
    cells = [str(value) for value in written]
    found = values(cells, kind_of(cells)).to_pylist()
    assert [value is None for value in found] == [cell == "" for cell in cells]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01 12:00",
        "2026-01-01T12:00:00Z",
        "2026-01-01T14:00:00+02:00",
        "1767268800",
        "1767268800000",
        "1767268800000000",
        "1767268800000000000",
        "1767268800.0",
        "20260101120000",
        "20260101T12",
    ],
)
def test_times_are_read_as_people_write_them(text: str) -> None:
    """ISO 8601 with or without an offset, or a number since the epoch in any usual unit."""
    assert parse_time(text) == NOON


def test_eight_digits_are_a_date() -> None:
    """What tables call 20260131 is that day, and no second of 1970."""
    assert parse_time("20260131") == datetime(2026, 1, 31)


@pytest.mark.parametrize(
    "text", ["yesterday", "0", "1700-01-01", "9" * 22, "9" * 40, "1." + "9" * 40, "20261301", ""]
)
def test_what_is_no_time_is_told(text: str) -> None:
    """Words, and moments that nothing can be stored at."""
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("ms", "Europe/Berlin"), pa.date32(), pa.string()]
)
def test_times_of_parquet_are_utc(kind: pa.DataType) -> None:
    """Whatever type a column of times has, a time zone does not move the moment."""
    midnight = datetime(2026, 1, 1)
    if kind == pa.string():
        column = pa.array(["2026-01-01", None])
    else:
        column = pa.array([midnight, None], pa.timestamp("us")).cast(
            kind if not (pa.types.is_timestamp(kind) and kind.tz) else pa.timestamp("us", "UTC"), safe=False
        )
    found, wrong = times(column)
    assert found.to_pylist() == [midnight, None]
    assert wrong == [False, False]


@pytest.mark.parametrize("seconds", [1767268800, 1767268800.0, 1767268800.25])
def test_numbers_that_became_decimals_are_times(seconds: float) -> None:
    """A column of whole numbers has decimals in a table in which one is missing; parts of a second stay."""
    found, wrong = times(pa.array([seconds, float("nan"), None], pa.float64()))
    assert found.to_pylist() == [NOON + timedelta(seconds=seconds % 1), None, None]
    assert not any(wrong)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1e300, None]),
        pa.array([float("inf"), None]),
        pa.array([[1], None]),
        pa.array([{"a": 1}, None]),
        pa.array([b"\xff", None]),
    ],
)
def test_a_cell_that_is_no_time_costs_its_row(column: pa.Array) -> None:
    """Whatever type a column has, or size a number, the others are read."""
    assert times(column) == (pa.nulls(2, ROW_TIME), [True, False])


def test_rows_that_cannot_be_labels_are_told_by_line(tmp_path: Path) -> None:
    """Each with what is wrong; a text over several lines does not move the others."""
    file = read(
        tmp_path / "a.csv",
        b"prediction_id,label,time,note\r\n"
        b'p1,true,2026-01-01,"two\nlines"\n'  # lines 2 and 3
        b",true,2026-01-01,\n"  # 4
        b"p3,,2026-01-01,\n"  # 5
        b"p4,false,soon,\n"  # 6
        b"p5,true\n"  # 7
        b"\n"
        b"p\xff,true,2026-01-01,\n"  # 9
        b"p7,false,,\n",  # 10
    )
    (part,) = labels_of(file)
    assert part.rejected == [
        Reject(4, "has no prediction_id"),
        Reject(5, "has no label"),
        Reject(6, "time is no time"),
        Reject(7, "has 2 cells, the header has 4"),
        Reject(9, "is not UTF-8"),
    ]
    assert [(row["prediction_id"], row["label"], row["time"]) for row in rows_of(part)] == [
        ("p1", True, datetime(2026, 1, 1)),
        ("p7", False, None),
    ]


def test_one_odd_label_costs_its_row(tmp_path: Path) -> None:
    """Where nearly all cells are of one kind, or the model's labels are, others are told by line."""
    many = "".join(f"p{row},{'true' if row % 2 else 'false'}\n" for row in range(40))
    (part,) = labels_of(read(tmp_path / "a.csv", f"id,label\n{many}q,N/A\n"))
    assert part.rejected == [Reject(42, "label is neither true nor false: N/A")]
    assert (part.rows, part.columns["label"].type) == (40, pa.bool_())
    few = read(tmp_path / "b.csv", "id,label\na,1\nb,N/A\nc,0\n")
    (part,) = labels_of(few)
    assert part.columns["label"].to_pylist() == ["1", "N/A", "0"]
    (part,) = labels_of(few, label_type=pa.bool_())
    assert part.rejected == [Reject(3, "label is neither true nor false: N/A")]
    assert part.columns["label"].to_pylist() == [True, False]
    (part,) = labels_of(few, label_type=pa.float64())
    assert part.rejected == [Reject(3, "label is no whole number: N/A")]
    assert part.columns["label"].to_pylist() == [1, 0]
    (part,) = labels_of(few, label_type=pa.string())
    assert part.columns["label"].to_pylist() == ["1", "N/A", "0"]


def test_labels_of_parquet_are_read_as_those_of_the_model(tmp_path: Path) -> None:
    """Texts and ones become booleans where the model has such; fields do not become one value."""
    file = tmp_path / "a.parquet"
    columns = {"id": ["a", "b", "c"], "label": ["true", "no", "False"], "y": [1.0, float("nan"), 2.0]}
    pq.write_table(pa.table(columns), file)
    (part,) = labels_of(file, label_type=pa.bool_())
    assert (part.columns["label"].to_pylist(), part.rejected) == (
        [True, False],
        [Reject(2, "label is neither true nor false: no")],
    )
    (part,) = labels_of(file, label_type=pa.bool_(), label="y")
    assert part.columns["label"].to_pylist() == [True]
    assert part.rejected == [Reject(2, "has no y"), Reject(3, "y is neither true nor false: 2")]
    with pytest.raises(ConfigError, match=r"have fields, and label is one value: call columns label\.paid"):
        labels_of(file, label_type=pa.struct([("paid", pa.bool_())]))


def test_columns_are_found_by_their_usual_names_or_as_said(tmp_path: Path) -> None:
    """`truth` is a label, `id` an id; other names are said; a wrong one is told with those there are."""
    file = read(tmp_path / "a.csv", "id,truth\np1,3\n")
    (part,) = labels_of(file)
    assert rows_of(part) == [{"prediction_id": "p1", "label": 3, "prediction_time": None}]
    named = read(tmp_path / "b.csv", "order,outcome,when\n7,yes,1767268800\n")
    (part,) = labels_of(named, on="request_id", key="order", label="outcome", time="when")
    assert rows_of(part) == [{"request_id": "7", "label": "yes", "prediction_time": None, "time": NOON}]
    with pytest.raises(ConfigError, match=r"--label.*no column 'outcom'; the file has order, outcome, when"):
        labels_of(named, key="order", label="outcom")
    with pytest.raises(ConfigError, match=r"no column for prediction_id among order, outcome, when.*--key"):
        labels_of(named, label="outcome")
    with pytest.raises(ConfigError, match=r"--on: expected .*tags\.NAME"):
        labels_of(named, on="order")


def test_numbers_that_became_decimals_name_predictions(tmp_path: Path) -> None:
    """Keys of a table in which one is missing are those that were sent, as texts of whole numbers."""
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": pa.array([17.0, None, 2.0**53]), "label": [1, 2, 3]}), file)
    (part,) = labels_of(file)
    assert [row["prediction_id"] for row in rows_of(part)] == ["17", "9007199254740992"]
    assert part.rejected == [Reject(2, "has no id")]


def test_several_columns_are_fields_of_one_label(tmp_path: Path) -> None:
    """Columns `label.x` make a struct; a row without any of them has no label."""
    file = tmp_path / "a.parquet"
    columns = {
        "prediction_id": ["a", "b", "c"],
        "label.paid": [True, None, None],
        "label.days": [3.0, 2.0, float("nan")],
    }
    pq.write_table(pa.table(columns), file)
    (part,) = labels_of(file)
    assert [row["label"] for row in rows_of(part)] == [
        {"paid": True, "days": 3.0},
        {"paid": None, "days": 2.0},
    ]
    assert part.rejected == [Reject(3, "has no label.paid")]


def test_a_key_finds_every_prediction_that_has_it(tmp_path: Path) -> None:
    """By a tag or an input, each prediction gets the label, with its time; a key without one is told."""
    file = read(tmp_path / "a.csv", "order,label\n7,1\n8,0\n")
    found = {"7": [("p1", NOON), ("p2", NOON)]}
    (part,) = labels_of(file, found, on="tags.order")
    assert rows_of(part) == [
        {"prediction_id": name, "label": 1, "prediction_time": NOON} for name in ("p1", "p2")
    ]
    assert part.rejected == [Reject(3, "no prediction has tags.order = 8")]


def test_an_id_gets_the_time_of_its_one_prediction(tmp_path: Path) -> None:
    """What the file says counts; what several predictions disagree on is left open."""
    file = read(tmp_path / "a.csv", "prediction_id,label,prediction_time\np1,1,\np2,1,\np3,1,1767268801\n")
    later = datetime(2026, 1, 1, 12, 0, 1)
    found = {"p1": [("p1", NOON)], "p2": [("p2", NOON), ("p2", later)], "p3": [("p3", NOON)]}
    (part,) = labels_of(file, found)
    assert part.columns["prediction_time"].to_pylist() == [NOON, None, later]


def test_columns_of_predictions_go_where_they_belong(tmp_path: Path) -> None:
    """Dotted names say it, usual names do, and what is left is an input; labels are left out."""
    file = read(
        tmp_path / "a.csv",
        "timestamp,prediction_id,age,tags.region,inputs.plan,y_score,y_pred,margin,stage,label\n"
        "1767268800,p1,31,eu,free,0.5,true,2,shadow,1\n"
        "never,p2,32,eu,free,0.5,true,2,shadow,1\n",
    )
    source = open_source(file)
    plan = plan_predictions(source.names, outputs=["gap=margin"])
    (part,) = [plan.part(chunk) for chunk in source.chunks(plan.typed)]
    assert rows_of(part) == [
        {
            "time": NOON,
            "prediction_id": "p1",
            "stage": "shadow",
            "inputs": {"age": 31, "plan": "free"},
            "output": {"score": 0.5, "value": True, "gap": 2},
            "tags": {"region": "eu"},
        }
    ]
    assert part.rejected == [Reject(3, "timestamp is no time")]
    assert plan.left_out == ("label",)
    with pytest.raises(ConfigError, match="--time"):
        plan_predictions(["age"])


def predictions_of(path: Path, known: dict[str, pa.DataType | None] | None = None) -> Part:
    source = open_source(path)
    plan = plan_predictions(source.names)
    (part,) = [plan.part(chunk) for chunk in source.chunks(plan.typed, source.kinds(plan.kinds(known or {})))]
    return part


def test_one_odd_cell_costs_its_prediction(tmp_path: Path) -> None:
    """Where nearly all cells are numbers, or the model's values are, others are told by line and column."""
    rows = "".join(f"1767268800,{age},free,1.5\n" for age in range(40))
    head = "time,age,plan,weight\n"
    part = predictions_of(read(tmp_path / "a.csv", f"{head}{rows}1767268800,N/A,free,1\n1767268800,,7,x\n"))
    assert part.rejected == [
        Reject(42, "age is no whole number: N/A"),
        Reject(43, "weight is no number: x"),
    ]
    assert part.columns["inputs"].type.field("age").type == pa.int64()
    few = read(tmp_path / "b.csv", f"{head}1767268800,1,free,1\n1767268800,N/A,7,1\n")
    assert predictions_of(few).columns["inputs"].field("age").to_pylist() == ["1", "N/A"]
    known = {"inputs": pa.struct([("age", pa.float64()), ("plan", pa.string())])}
    part = predictions_of(few, known)
    assert part.rejected == [Reject(3, "age is no whole number: N/A")]
    assert rows_of(part)[0]["inputs"] == {"age": 1, "plan": "free"}
    table = pa.table({"time": [1767268800, 1767268800], "age": ["1", "?"], "plan": ["7", "x"]})
    pq.write_table(table, tmp_path / "c.parquet")
    part = predictions_of(tmp_path / "c.parquet", known)
    assert part.rejected == [Reject(2, "age is no number: ?")]
    assert rows_of(part)[0]["inputs"] == {"age": 1, "plan": "7"}


@pytest.mark.parametrize("content", [b"", b"a,a\n1,2\n", b"a,\n1,2\n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    """Nothing, two columns of one name, or one without: the error names the file."""
    with pytest.raises(ConfigError, match=r"a\.csv"):
        open_source(read(tmp_path / "a.csv", content))


def test_large_rows_are_sent_in_smaller_parts(tmp_path: Path) -> None:
    """No part has many more bytes than a request should have; lines count on."""
    long = "x" * 3_000_000
    rows = "".join(f"p{number},{long}\n" for number in range(7))
    file = read(tmp_path / "a.csv", f"prediction_id,label\n{rows}")
    parts = labels_of(file)
    assert [part.rows for part in parts] == [3, 3, 1]
    ids = [row["prediction_id"] for part in parts for row in rows_of(part)]
    assert ids == [f"p{n}" for n in range(7)]


def test_the_same_part_is_the_same_record(tmp_path: Path) -> None:
    """Sender and number follow from the file and what was said of it; by content, from the rows as well."""

    def sent(part: Part, said: str = "", *, by_content: bool = False, time_ns: int = 1) -> tuple[str, int]:
        request = ExportLogsServiceRequest.FromString(
            Sender(b"file", "ml.label.batch", "m", said, by_content=by_content).request(3, part, time_ns)
        )
        (resource,) = request.resource_logs
        names = {each.key: each.value.string_value for each in resource.resource.attributes}
        (record,) = resource.scope_logs[0].log_records
        numbers = {each.key: each.value.int_value for each in record.attributes}
        return names["lapwing.process.id"], numbers["lapwing.sequence"]

    one = Part({"label": pa.array([1])}, 1, ())
    other = Part({"label": pa.array([2])}, 1, ())
    assert sent(one) == sent(other, time_ns=2)
    assert sent(one)[1] == 3
    assert sent(one) != sent(one, "another column")
    assert sent(one, by_content=True) == sent(one, by_content=True, time_ns=2)
    assert sent(one, by_content=True) != sent(other, by_content=True)
