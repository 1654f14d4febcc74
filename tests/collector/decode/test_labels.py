"""Labels become rows with the columns of LABEL_ROWS and the truth as field `label`."""

import json
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from helpers.decode_requests import TIME_NS, label, prediction, request
from lapwing_collector.decode import decode_logs
from lapwing_collector.model.records import LABEL_ROWS, UNTYPED, Batch, Kind

TIME = datetime(2025, 10, 9, 8, 53, 20, 123456)  # naive UTC, as in the tables


def decode(*records: Any) -> Batch:
    """The only batch that these records make."""
    (batch,) = decode_logs(request(*records, resource={"lapwing.process.id": "a1"}), TIME_NS + 1_000).batches
    return batch


def cells(batch: Batch) -> dict[tuple[tuple[str, ...], pa.DataType], list[Any]]:
    """The fields' values by path and type."""
    return {(column.path, column.values.type): column.values.to_pylist() for column in batch.fields}


def test_a_full_label_fills_every_column() -> None:
    """Ids, the prediction's time in nanoseconds, and the source land in their columns."""
    attributes = {
        "ml.prediction.id": "p7",
        "ml.request.id": "r7",
        "ml.prediction.time": 1_000_000_000,
        "ml.label.source": "import",
        "lapwing.sequence": 9,
    }
    batch = decode(label({"label": True}, attributes))
    assert (batch.kind, batch.model, batch.process_id) == (Kind.LABEL, "churn", "a1")
    assert batch.sequence.to_pylist() == [9]
    assert batch.rows.schema == LABEL_ROWS
    assert batch.rows.to_pylist() == [
        {
            "prediction_id": "p7",
            "request_id": "r7",
            "prediction_time": datetime(1970, 1, 1, 0, 0, 1),
            "time": TIME,
            "received_at": datetime(2025, 10, 9, 8, 53, 20, 123457),
            "source": "import",
            "extra": None,
        }
    ]
    assert cells(batch) == {(("label",), pa.bool_()): [True]}


def test_a_label_is_a_scalar_a_list_or_a_map_of_fields() -> None:
    """Scalars and lists have the path `label`, the keys of a map extend it, null is no label."""
    truths = [1, {"class": "a", "box": {"x": 1}}, [1, 2], None, {}, {"class": "b"}]
    assert cells(decode(*[label({"label": truth}) for truth in truths])) == {
        (("label",), pa.int64()): [1, None, None, None, None, None],
        (("label",), pa.list_(pa.int64())): [None, None, [1, 2], None, None, None],
        (("label",), UNTYPED): [None, None, None, None, "{}", None],
        (("label", "class"), pa.string()): [None, "a", None, None, None, "b"],
        (("label", "box", "x"), pa.int64()): [None, 1, None, None, None, None],
    }


def test_what_a_label_has_besides_goes_to_extra() -> None:
    """Other attributes, other body keys and known attributes of the wrong kind keep their types."""
    record = label(
        {"label": 1, "note": {"by": "ann"}, "who": 2},
        {"who": [1.5], "ml.prediction.time": "yesterday", "gone": None},
    )
    (text,) = decode(record).rows["extra"].storage.to_pylist()
    assert json.loads(text) == {
        "who": [1.5],
        "ml.prediction.time": "yesterday",
        "gone": None,
        "note": {"by": "ann"},
        "body.who": 2,
    }


@pytest.mark.parametrize(
    ("nanoseconds", "time"),
    [
        (None, None),
        (0, None),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999999)),
        (2**63 - 1, datetime(2262, 4, 11, 23, 47, 16, 854775)),
        (-(2**63), datetime(1677, 9, 21, 0, 12, 43, 145224)),
    ],
)
def test_the_predictions_time_is_rounded_down_and_zero_means_unknown(
    nanoseconds: int | None, time: datetime | None
) -> None:
    """Every 64-bit number of nanoseconds but zero has its timestamp."""
    batch = decode(label({"label": 1}, {"ml.prediction.time": nanoseconds}))
    assert batch.rows["prediction_time"].to_pylist() == [time]


def test_a_label_without_truth_or_ids_is_kept() -> None:
    """A row is never lost because something is missing."""
    batch = decode(label(None, {"ml.prediction.id": None}))
    assert batch.rows.to_pylist()[0]["prediction_id"] is None
    assert batch.fields == ()


def test_predictions_and_labels_taking_turns_are_two_batches() -> None:
    """One request may carry both, and the fields of one do not leak into the other."""
    records = [record for n in range(3) for record in (prediction({"inputs": {"n": n}}), label({"label": n}))]
    predictions, labels = decode_logs(request(*records), TIME_NS).batches
    assert (predictions.kind, labels.kind) == (Kind.PREDICTION, Kind.LABEL)
    assert cells(predictions) == {(("inputs", "n"), pa.int64()): [0, 1, 2]}
    assert cells(labels) == {(("label",), pa.int64()): [0, 1, 2]}
