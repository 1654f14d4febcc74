"""Batches of predictions and labels, and deep records, through a whole collector: every row once."""

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from helpers.collector import ask, project, running
from helpers.decode_requests import prediction, request
from helpers.decode_tables import labels, predictions
from helpers.decode_wire import in_record, nested, pair, part, value
from helpers.wal_disk import legacy_frame, write_legacy_log
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.clock import epoch_ns
from lapwing_collector.lake import Lake

START = datetime(2026, 1, 1)
ROWS = 1_000


def at(**offset: int) -> int:
    return epoch_ns(START + timedelta(**offset))


def some_predictions(sequence: int, first: int = 0) -> LogRecord:
    """A batch with `ROWS` rows, a second apart."""
    numbers = range(first, first + ROWS)
    table = pa.table(
        {
            "prediction_id": [f"p{n}" for n in numbers],
            "time": pa.array([at(seconds=n) for n in numbers], pa.timestamp("ns", "UTC")),
            "inputs": [{"n": n, "plan": "free" if n % 2 else None, "vector": [n / 2, 0.5]} for n in numbers],
            "output": [{"score": n / ROWS} for n in numbers],
        }
    )
    attributes = {
        "ml.model.version": "3",
        "region": "eu",
        "ml.batch.rows": ROWS,
        "lapwing.sequence": sequence,
    }
    return predictions(table, attributes, time_unix_nano=at())


def some_labels(sequence: int) -> LogRecord:
    """The truth for every tenth of the predictions."""
    numbers = range(0, ROWS, 10)
    table = pa.table(
        {
            "prediction_id": [f"p{n}" for n in numbers],
            "prediction_time": pa.array([at(seconds=n) for n in numbers], pa.timestamp("ns")),
            "label": [n % 20 == 0 for n in numbers],
        }
    )
    return labels(table, {"lapwing.sequence": sequence}, time_unix_nano=at(days=1))


def sent(*records: LogRecord) -> bytes:
    return request(*records, resource={"lapwing.process.id": "a1", "service.name": "shop"})


def found(data: Path) -> dict[str, Any]:
    """What is in the lake of predictions and labels."""
    (predicted,) = ask(
        data,
        "SELECT count(*) AS rows, count(DISTINCT prediction_id) AS ids, sum(inputs.n) AS total, "
        "count(inputs.plan) AS plans, sum(inputs.vector[1]) AS vectors, min(service) AS service, "
        "min(version) AS version, min(tags['region']) AS region, max(time) AS latest FROM predictions.churn",
    )
    (labelled,) = ask(data, "SELECT count(*) AS labels, count_if(label) AS late FROM labels.churn")
    (joined,) = ask(
        data, "SELECT count(*) AS joined, count(label) AS known, count_if(label) AS true FROM labeled.churn"
    )
    return predicted | labelled | joined


ALL = {
    "rows": ROWS,
    "ids": ROWS,
    "total": ROWS * (ROWS - 1) // 2,
    "plans": ROWS // 2,
    "vectors": ROWS * (ROWS - 1) / 4,
    "service": "shop",
    "version": "3",
    "region": "eu",
    "latest": START + timedelta(seconds=ROWS - 1),
    "labels": ROWS // 10,
    "late": ROWS // 20,
    "joined": ROWS,
    "known": ROWS // 10,
    "true": ROWS // 20,
}


def test_every_row_of_a_batch_is_a_row_once(tmp_path: Path) -> None:
    """Predictions and labels are typed rows, joined, however often they are sent, and after a restart."""
    body = sent(some_predictions(1), some_labels(2))
    with running(project(tmp_path)) as collector:
        assert collector.post(body) == (200, b"")
        assert collector.post(body) == (200, b"")
    assert found(tmp_path) == ALL
    with running(project(tmp_path)) as collector:
        assert collector.post(body) == (200, b"")
    assert found(tmp_path) == ALL


def test_a_batch_is_stored_whole_beside_what_was_stored_before(tmp_path: Path) -> None:
    """A retry that carries a stored batch, a new one and single records adds what is new, all of it."""
    one = prediction({"inputs": {"n": 0}}, {"ml.prediction.id": "single", "lapwing.sequence": 2})
    with running(project(tmp_path)) as collector:
        assert collector.post(sent(some_predictions(1), one))[0] == 200
        assert collector.post(sent(one, some_predictions(1), some_predictions(3, ROWS)))[0] == 200
    assert ask(
        tmp_path, "SELECT count(*) AS n, count(DISTINCT prediction_id) AS ids FROM predictions.churn"
    ) == [{"n": 2 * ROWS + 1, "ids": 2 * ROWS + 1}]


def test_batches_are_replayed_after_a_crash(tmp_path: Path) -> None:
    """Batches that are durable but not in the lake are written at the next start, once."""
    body = sent(some_predictions(1), some_labels(2))
    directory = DataDirectory(tmp_path)
    Lake.open(directory.lake).close()
    write_legacy_log(directory.log, [legacy_frame(at(hours=1), body)])
    with running(project(tmp_path)) as collector:
        assert collector.post(body)[0] == 200
    assert found(tmp_path) == ALL


def test_a_lake_ahead_of_the_journal_gets_no_batch_twice(tmp_path: Path) -> None:
    """A crash between the lake's commit and the note of it beside the log repeats no row."""
    with running(project(tmp_path)) as collector:
        collector.post(sent(some_predictions(1)))
    ledger = DataDirectory(tmp_path).ledger
    shutil.copytree(ledger, tmp_path / "before")
    body = sent(some_labels(2))
    with running(project(tmp_path)) as collector:
        collector.post(body)
    shutil.rmtree(ledger)
    (tmp_path / "before").rename(ledger)
    with running(project(tmp_path)) as collector:
        collector.post(body)
    assert found(tmp_path) == ALL


def test_a_batch_that_can_not_be_read_is_rejected_alone(tmp_path: Path) -> None:
    """The sender is told in a partial success, and everything else in its request is stored."""
    with running(project(tmp_path)) as collector:
        status, answer = collector.post(sent(predictions(b"no stream"), some_predictions(1), some_labels(2)))
    partial = ExportLogsServiceResponse.FromString(answer).partial_success
    assert (status, partial.rejected_log_records) == (200, 1)
    assert "record 0, an ml.prediction.batch: its body can not be read as an Arrow IPC stream" in (
        partial.error_message
    )
    assert found(tmp_path) == ALL


def test_values_nested_64_deep_are_queryable(tmp_path: Path) -> None:
    """Maps become structs as deep as they are, lists go to extra, and what is deeper is rejected."""
    bodies = [
        {"inputs": {"x": nested(64), "n": "a"}},
        {"inputs": {"l": nested(64, lists=True), "n": "b"}},
        {"inputs": {"x": nested(65)}},
    ]
    head = part(12, b"ml.prediction") + pair(6, "ml.model.name", "churn")
    with running(project(tmp_path)) as collector:
        status, answer = collector.post(in_record(*(head + part(5, value(body)) for body in bodies)))
    assert status == 200
    assert ExportLogsServiceResponse.FromString(answer).partial_success.rejected_log_records == 1
    path = ".".join(["x", *["k"] * 64])
    rows = ask(tmp_path, f"SELECT inputs.{path} AS deep, extra FROM predictions.churn ORDER BY inputs.n")
    assert [row["deep"] for row in rows] == ["bottom", None]
    assert json.loads(rows[1]["extra"]) == {"inputs.l": nested(64, lists=True)}
