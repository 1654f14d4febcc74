"""Files that people bring: which column is what, and the rows that they become."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from lapwing_collector.app.gate.tabled import Columns, Means, labels_of, predictions_of, read_file
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.description import Feature, ModelDescription

AT = datetime(2026, 3, 1)
PLAIN = Means(AT)


def names(columns: dict[str, list], means: Means = PLAIN) -> set[str]:
    """The fields of predictions, and of labels, that columns become."""
    made = predictions_of(pa.table(columns), means, "file")
    return set(made.fields) | set(made.label_fields)


@pytest.mark.parametrize(
    ("column", "means", "field"),
    [
        ("age", PLAIN, "inputs.age"),
        ("inputs.age", PLAIN, "inputs.age"),
        ("output.value", PLAIN, "output.value"),
        ("prediction", PLAIN, "output.value"),
        ("score", PLAIN, "output.score"),
        ("target", PLAIN, "label"),
        ("label.paid", PLAIN, "label.paid"),
        ("a b", PLAIN, "inputs.a b"),
        ("late", Means(AT, ModelDescription(prediction="output.late")), "output.late"),
        ("prediction", Means(AT, ModelDescription(prediction="output.late")), "output.late"),
        ("Age", Means(AT, ModelDescription(features={"inputs.age": Feature()})), "inputs.age"),
        ("target", Means(AT, known={"inputs.target": pa.int64()}), "inputs.target"),
        ("score", Means(AT, known={"inputs.score": pa.float64()}), "inputs.score"),
        ("margin", Means(AT, known={"output.margin": pa.float64()}), "output.margin"),
        ("y", Means(AT, columns=Columns(label="y")), "label"),
        ("p", Means(AT, columns=Columns(score="p")), "output.score"),
    ],
)
def test_a_column_is_the_field_that_somebody_said_or_the_model_knows(
    column: str, means: Means, field: str
) -> None:
    """What is said wins over what the model has, and that over what such columns usually are."""
    assert names({column: [1.0, 2.0]}, means) == {field}


def test_without_time_and_id_rows_are_numbered_and_end_before_labels_are_known() -> None:
    """A missing time is generated, so late that no label is early, and the window holds every row."""
    means = Means(AT, ModelDescription(label_delay=timedelta(days=7)))
    made = predictions_of(pa.table({"x": [1, 2, 3], "label": [1, None, 0]}), means, "file", "v2")
    assert made.predictions.column("prediction_id").to_pylist() == ["0", "1", "2"]
    times = made.predictions.column("time").to_pylist()
    assert made.since == times[0] < times[1] < times[2] < made.until <= AT - timedelta(days=7)
    assert (made.named, made.versions) == (False, ("v2",))
    assert made.labels is not None
    assert made.labels.select(["prediction_id", "label", "time"]).to_pylist() == [
        {"prediction_id": "0", "label": 1, "time": AT},
        {"prediction_id": "2", "label": 0, "time": AT},
    ]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl", "feather"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """Parquet, CSV, tabs, JSON lines and Arrow: times, numbers, texts and truths are what they are."""
    rows = pd.DataFrame(
        {
            "time": ["2026-01-01T00:00:00", "2026-01-02T00:00:00"],
            "age": [1.5, None],
            "plan": ["a", "b"],
            "prediction": [True, False],
        }
    )
    file = tmp_path / f"rows.{suffix}"
    match suffix:
        case "parquet":
            pq.write_table(pa.Table.from_pandas(rows.assign(plan=rows["plan"].astype("category"))), file)
        case "feather":
            pyarrow.feather.write_feather(pa.Table.from_pandas(rows), file)
        case "jsonl":
            told = [
                {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124
                for row in rows.to_dict("records")
            ]
            file.write_text("\n".join(map(json.dumps, told)))
        case _:
            rows.to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    made = predictions_of(read_file(file), PLAIN, str(file))
    fields = made.predictions.select(["time", "inputs.age", "inputs.plan", "output.value"]).to_pylist()
    first = {"inputs.age": 1.5, "inputs.plan": "a", "output.value": True}
    last = {"inputs.age": None, "inputs.plan": "b", "output.value": False}
    assert fields == [{"time": datetime(2026, 1, 1)} | first, {"time": datetime(2026, 1, 2)} | last]


def test_rows_exported_from_a_lake_are_read_as_they_were() -> None:
    """Structs, tags, label and the columns of predictions come back; how they came in is left out."""
    rows = pa.table(
        {
            "time": pa.array([AT], pa.timestamp("us")),
            "prediction_id": ["p"],
            "inputs": [{"age": 3, "deep": {"x": 1.0}}],
            "output": [{"scores": {"a": 0.25, "b": 0.75}}],
            "tags": pa.array([[("region", "eu")]], pa.map_(pa.string(), pa.string())),
            "stage": ["shadow"],
            "extra": ["{}"],
            "received_at": pa.array([AT], pa.timestamp("us")),
            "label": ["a"],
            "label_time": pa.array([AT + timedelta(days=1)], pa.timestamp("us")),
        }
    )
    made = predictions_of(rows, PLAIN, "lake")
    assert set(made.fields) == {"inputs.age", "inputs.deep.x", "output.scores.a", "output.scores.b"}
    assert made.predictions.column("tags").to_pylist() == [[("region", "eu")]]
    assert made.predictions.column("stage").to_pylist() == ["production"]
    assert made.labels is not None
    assert made.labels.column("time").to_pylist() == [AT + timedelta(days=1)]


def test_labels_find_their_rows_by_id_or_where_nothing_is_named_in_order() -> None:
    """A file of labels names predictions; one with as many rows as a file without ids is in its order."""
    named = predictions_of(pa.table({"prediction_id": [7, 8], "x": [1, 2]}), PLAIN, "file")
    told = labels_of(pa.table({"prediction_id": [8, 9], "label": [True, False]}), named, PLAIN, "labels")
    assert told.column("prediction_id").to_pylist() == ["8", "9"]
    bare = predictions_of(pa.table({"x": [1, 2]}), PLAIN, "file")
    assert labels_of(pa.table({"y_true": [0, 1]}), bare, PLAIN, "labels").column(
        "prediction_id"
    ).to_pylist() == ["0", "1"]
    with pytest.raises(ConfigError, match="which predictions its labels are of"):
        labels_of(pa.table({"label": [0, 1]}), named, PLAIN, "labels")
    with pytest.raises(ConfigError, match="no column of labels among x"):
        labels_of(pa.table({"x": [0, 1]}), bare, PLAIN, "labels")


@pytest.mark.parametrize(
    ("columns", "means", "told"),
    [
        ({"x": []}, PLAIN, "has no rows"),
        ({"x": [1]}, Means(AT, columns=Columns(label="y")), "has no column y; it has x"),
        ({"time": ["2026-01-01", "soon"], "x": [1, 2]}, PLAIN, "row 2 has no time"),
    ],
)
def test_what_cannot_be_read_is_told(columns: dict[str, list], means: Means, told: str) -> None:
    """With the file and what is wrong in it."""
    with pytest.raises(ConfigError, match=f"file: .*{told}"):
        predictions_of(pa.table(columns), means, "file")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(Path("nowhere.parquet"))
