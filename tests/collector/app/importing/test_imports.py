"""Importing files into a data directory, with a collector that runs and without one."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from typer.testing import CliRunner

from helpers.collector import ask, project, running
from helpers.waiting import wait_until
from lapwing_collector.app.importing import delivery
from lapwing_collector.app.importing.delivery import OwnDelivery
from lapwing_collector.app.importing.imports import import_labels, import_predictions
from lapwing_collector.app.places.departing import Departure
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.cli.main import app
from lapwing_collector.engine.place import Place
from lapwing_collector.errors import ConfigError, DataDirectoryError, LakeHeldError
from lapwing_collector.importing import source
from lapwing_collector.lake import Lake

START = datetime(2026, 1, 1)
JOINED = "SELECT inputs.flight AS flight, output.score AS score, label FROM labeled.m ORDER BY ALL"
PREDICTIONS = "time,flight,score,tags.order\n2026-01-01,a,0.25,1\n2026-01-02,b,0.5,2\n2026-01-03,c,1,2\n"


def flags(data: Path) -> dict[str, Any]:
    return {"data": data, "write.flush_interval": "10ms"}


def predictions(data: Path, folder: Path, **more: Any) -> int:
    file = folder / "predictions.csv"
    file.write_text(PREDICTIONS)
    done = import_predictions(None, flags(data), tell_nobody, file, "m", None, (), None, "1", None, **more)
    assert done.rejected == []
    return done.stored


def labels(data: Path, file: Path, on: str, **columns: str) -> Any:
    return import_labels(None, flags(data), tell_nobody, file, "m", on, columns, new_model=True)


def test_files_are_imported_without_a_collector(tmp_path: Path) -> None:
    """Into a new data directory: the rows are in the lake at the end, and again they are there once."""
    data = tmp_path / "data"
    told: list[tuple[str, int, int]] = []
    for _ in range(2):
        assert predictions(data, tmp_path) == 3
        file = tmp_path / "labels.csv"
        file.write_text("order,label\n1,true\n2,false\n3,true\n")
        done = import_labels(
            None, flags(data), lambda *step: told.append(step), file, "m", "tags.order", {"key": "order"}
        )
        assert done.stored == 3
        assert [(reject.line, reject.reason) for reject in done.rejected] == [
            (4, "no prediction has tags.order = 3")
        ]
    assert told[-1] == ("rows", file.stat().st_size, file.stat().st_size)
    assert ask(data, JOINED) == [
        {"flight": "a", "score": 0.25, "label": True},
        {"flight": "b", "score": 0.5, "label": False},
        {"flight": "c", "score": 1.0, "label": False},
    ]
    assert ask(
        data, "SELECT count(*) AS n FROM labels.m UNION ALL SELECT count(*) FROM predictions_all.m"
    ) == [
        {"n": 3},
        {"n": 3},
    ]
    assert ask(data, "SELECT DISTINCT version FROM predictions.m") == [{"version": "1"}]


def test_files_are_imported_through_the_collector_that_runs(tmp_path: Path) -> None:
    """What was imported before a collector started is known to it: over HTTP the rows are stored once."""
    data = tmp_path / "data"
    predictions(data, tmp_path)
    rows = ask(data, "SELECT prediction_id, inputs.flight AS flight, time FROM predictions.m ORDER BY time")
    file = tmp_path / "labels.parquet"
    pq.write_table(
        pa.table({"prediction_id": [row["prediction_id"] for row in rows], "truth": [1, 0, 1]}), file
    )
    with running(project(data)):
        assert predictions(data, tmp_path) == 3
        for _ in range(2):
            assert labels(data, file, "prediction_id").stored == 3
        corrected = tmp_path / "corrected.csv"
        corrected.write_text("inputs.flight,label,time\nb,1,2100-01-01\n")
        assert labels(data, corrected, "inputs.flight").stored == 1
        wait_until(lambda: [row["label"] for row in ask(data, JOINED)] == [1, 1, 1])
    assert ask(
        data, "SELECT count(*) AS n FROM labels.m UNION ALL SELECT count(*) FROM predictions_all.m"
    ) == [
        {"n": 4},
        {"n": 3},
    ]
    times = ask(data, "SELECT DISTINCT prediction_time AS time FROM labels.m ORDER BY ALL")
    assert [row["time"] for row in times] == [row["time"] for row in rows]


def test_an_odd_label_does_not_turn_the_others_into_text(tmp_path: Path) -> None:
    """A file is read as the labels that the model has; nothing of it lands beside them."""
    data = tmp_path / "data"
    predictions(data, tmp_path)
    file = tmp_path / "labels.csv"
    file.write_text("flight,label\na,true\n")
    assert labels(data, file, "inputs.flight").stored == 1
    file.write_text("flight,label\nb,1\nc,N/A\n")
    done = labels(data, file, "inputs.flight")
    assert (done.stored, [reject.line for reject in done.rejected]) == (1, [3])
    assert [row["label"] for row in ask(data, JOINED)] == [True, True, None]
    assert ask(data, "SELECT count(*) AS n FROM labels.m WHERE extra IS NOT NULL") == [{"n": 0}]


def test_an_odd_cell_does_not_turn_a_field_into_text(tmp_path: Path) -> None:
    """A file of predictions is read as the fields that the model has; an odd row is told, not stored."""
    data = tmp_path / "data"
    file = tmp_path / "predictions.csv"
    rows = []
    for cells in ("1\n1767268801,2.5", "7\n1767268803,N/A"):
        file.write_text(f"time,age\n1767268800,{cells}\n")
        rows.append(import_predictions(None, flags(data), tell_nobody, file, "m", None, (), None, None, None))
    assert [(done.stored, [reject.line for reject in done.rejected]) for done in rows] == [(2, []), (1, [3])]
    found = ask(data, "SELECT inputs.age AS age, extra FROM predictions.m ORDER BY age")
    assert found == [{"age": age, "extra": None} for age in (1.0, 2.5, 7.0)]


def test_a_misspelt_model_is_refused(tmp_path: Path) -> None:
    """No model comes to be by a slip: the one that may be meant is named, unless somebody insists."""
    data, file = tmp_path / "data", tmp_path / "labels.csv"
    file_of = tmp_path / "predictions.csv"
    file_of.write_text("time,prediction_id,prediction\n2026-01-01,p,3\n")
    import_predictions(None, flags(data), tell_nobody, file_of, "churn", None, (), None, None, None)
    file.write_text("prediction_id,label\np,1\n")
    unknown = "no prediction of a model 'chrun' has come yet; did you mean churn?"

    def import_as(model: str, **options: bool) -> str:
        return import_labels(
            None, flags(data), tell_nobody, file, model, "prediction_id", {}, **options
        ).unknown

    with pytest.raises(ConfigError, match=re.escape(f"{unknown} (--new-model takes labels that come before")):
        import_as("chrun")
    assert ask(data, "SELECT DISTINCT model FROM models") == [{"model": "churn"}]
    for _ in range(2):  # labels of it do not make it known
        assert import_as("chrun", new_model=True) == unknown
    assert import_as("churn") == ""


def test_what_the_collector_does_not_take_is_told(tmp_path: Path) -> None:
    """A model's name that is not allowed, and a collector that is not there."""
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\nr,1\n")
    with pytest.raises(ConfigError, match=r"cannot be stored.*name"):
        import_labels(None, flags(tmp_path / "data"), tell_nobody, file, "", "request_id", {}, new_model=True)
    with pytest.raises(ConfigError, match=r"looked up in the lake"):
        import_labels(None, {}, tell_nobody, file, "m", "tags.x", {"key": "request_id"}, "http://127.0.0.1:1")


def test_parts_without_rows_leave_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all rows of a part are left out, the parts that are sent are numbered on: nothing seems lost."""
    numbers = []

    def send(_: OwnDelivery, request: bytes) -> None:
        (resource,) = ExportLogsServiceRequest.FromString(request).resource_logs
        (record,) = resource.scope_logs[0].log_records
        numbers.extend(each.value.int_value for each in record.attributes if each.key == "lapwing.sequence")

    monkeypatch.setattr(source, "CHUNK_ROWS", 1)
    monkeypatch.setattr(OwnDelivery, "send", send)
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\n,1\nr1,1\n,1\n,1\nr2,1\n")
    assert len(labels(tmp_path / "data", file, "request_id").rejected) == 3
    assert numbers == [1, 2]


def test_a_backlog_that_the_lake_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command neither waits for ever for room, nor loses what the log has."""
    data = tmp_path / "data"

    def refuse(*_: Any) -> None:
        raise OSError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(Lake, "flush", refuse)
        broken.setattr(delivery, "_PATIENCE_S", 1.0)
        for name in ("r1", "r2", "r3"):
            file = tmp_path / f"{name}.csv"
            file.write_text(f"request_id,label\n{name},1\n")
            options = flags(data) | ({"write.max_pending_bytes": 1} if name == "r3" else {})
            with pytest.raises(DataDirectoryError, match="the lake does not take them"):
                import_labels(None, options, tell_nobody, file, "m", "request_id", {}, new_model=True)
    assert labels(data, file, "request_id").stored == 1
    assert ask(data, "SELECT request_id FROM labels.m ORDER BY ALL") == [
        {"request_id": name} for name in ("r1", "r2", "r3")
    ]


def test_a_lake_that_was_taken_elsewhere_takes_no_files(tmp_path: Path) -> None:
    """Who imports into a data directory whose lake is elsewhere is told so at once; nothing is in its log."""
    data = tmp_path / "data"
    directory = DataDirectory(data)
    Lake.open(directory.lake).close()
    Departure.after(None, Place.within(directory.lake), Place.within(tmp_path / "other")).mark(directory)
    with pytest.raises(LakeHeldError, match="the lake was taken from"):
        predictions(data, tmp_path)
    assert not directory.log.exists()


def test_the_command_tells_rejects_by_line(tmp_path: Path) -> None:
    """On standard error, or all of them in a file; the exit code says that there are some."""
    file, kept = tmp_path / "labels.csv", tmp_path / "rejects.csv"
    file.write_text("request_id,label\nr1,1\n,1\n")
    words = [
        "labels",
        "import",
        str(file),
        "--model",
        "m",
        "--on",
        "request_id",
        "--new-model",
        "--data",
        str(tmp_path / "data"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    unknown = "no prediction of a model 'm' has come yet: the labels count once one comes\n"
    assert done.stderr == f"{file}:3: has no request_id\n{unknown}"
    assert done.stdout == "imported 1 labels of m; 1 rows were not taken\n"
    done = CliRunner().invoke(app, words)
    assert done.stdout == "imported 1 labels of m, of which 1 were known already; 1 rows were not taken\n"
    done = CliRunner().invoke(app, [*words, "--rejects", str(kept), "--json"])
    assert (done.stdout, done.stderr) == ('{"imported": 1, "known": 1, "rejected": 1}\n', unknown)
    assert kept.read_text().splitlines() == ["line,reason", "3,has no request_id"]
