"""Writes a project as this version leaves it behind: what every later version has to go on from.

    python tests/helpers/upgrade_golden.py

It has rows of each kind, a reference, a note, what a rule recorded, an alert that fires, and its message,
which was not delivered. `expected.json` in it says what is to be found there, in words of this version. Each
version that is released has a file, which is never written anew.
"""

import json
import os
import sqlite3
import sys
import tarfile
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

import lapwing
from helpers.collector import Collector, ask, label, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.upkeep.keeping import annotate_in, set_reference_in

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
START = datetime(2026, 1, 1, tzinfo=UTC)
FILES = {
    "lapwing.yaml": "clock: data\nrules: [rules.yaml]\ndelivery: {allow_networks: [127.0.0.0/8]}\n",
    "rules.yaml": """
groups:
  - name: churn
    interval: 1h
    rules:
      - alert: PredictErrors
        expr: "FROM error_rate('churn', $window_start, $window_end, segments := {'version': version})"
        condition: value > 0.1
        annotations: {summary: "{{ $value | humanizePercentage }} fail"}
      - record: prediction_count
        expr: FROM prediction_count('churn', $window_start, $window_end)
""",
    "notify.yaml": """
route: {receiver: team, group_wait: 0s}
receivers:
  - name: team
    apprise_configs: [{name: hook, url: "json://127.0.0.1:${env:LAPWING_TEST_HOOK}/hook"}]
""",
}
ASKED = {
    "predictions": "SELECT prediction_id, time::VARCHAR AS time, version, error_type, inputs.age AS age, "
    "output.score AS score FROM predictions.churn ORDER BY prediction_id",
    "labels": "SELECT prediction_id, label FROM labeled.churn WHERE label IS NOT NULL ORDER BY prediction_id",
    "logs": "SELECT severity_text, event_name FROM logs ORDER BY ALL",
    "recorded": "SELECT metric, window_start::VARCHAR AS window_start, value FROM metric_values_latest "
    "WHERE metric = 'prediction_count' ORDER BY ALL",
    "counts": "SELECT field, sum(list_sum(counts))::BIGINT AS n FROM profiles "
    "WHERE field = 'inputs.age' GROUP BY ALL",
    "references": "SELECT model, reference, version, sample_count FROM reference_sets ORDER BY ALL",
    "notes": "SELECT model, text FROM annotations ORDER BY ALL",
}
"""What is asked of the lake, by the name of the answer."""


def found(data: Path) -> dict[str, Any]:
    """What is in a data directory."""
    return {name: ask(data, sql) for name, sql in ASKED.items()}


def outbox(data: Path) -> list[tuple[str, str]]:
    """Key and delivery of each message."""
    with closing(sqlite3.connect(f"file:{data / 'state.sqlite'}?mode=ro", uri=True)) as state:
        return state.execute("SELECT key, delivery FROM outbox ORDER BY id").fetchall()


def fill(collector: Collector) -> None:
    """Send three hours of predictions, of which some in the second failed, and what belongs to them."""
    hours, records = 3, []
    for number in range(hours * 20):
        at = int((START + timedelta(minutes=3 * number)).timestamp()) * 10**9
        failed = 20 <= number < 40 and number % 5 == 0
        record = prediction(
            "churn",
            f"p{number:02}",
            at,
            inputs={"age": number},
            output=None if failed else {"score": number / 60},
        )
        record.attributes.add(key="ml.model.version").value.string_value = "3"
        if failed:
            record.attributes.add(key="error.type").value.string_value = "ValueError"
        records.append(record)
        if number % 4 == 0:
            records.append(label("churn", f"p{number:02}", at, at + 10**9, number % 8 == 0))
    records.append(LogRecord(time_unix_nano=10**18, severity_text="INFO", event_name="deployed"))
    assert collector.post(request(records))[0] == 200


def write() -> Path:
    """Write the project of this version, as a tar file."""
    file = GOLDEN / f"upgrade-{lapwing.__version__}.tar.xz"
    if file.exists():
        raise SystemExit(f"{file} is there; a later version needs it as it is")
    os.environ |= {"LAPWING_TEST_HOOK": "9", "LAPWING_GRPC__LISTEN": "127.0.0.1:0"}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        root.mkdir()
        for name, text in FILES.items():
            (root / name).write_text(text)
        data = root / "data"
        configured = project(data, root / "lapwing.yaml")
        with running(configured) as collector:
            fill(collector)
            wait_until(lambda: len(outbox(data)) == 1 and len(found(data)["recorded"]) == 2)
            set_reference_in(
                data,
                "churn",
                "train",
                pa.table({"inputs.age": list(range(100))}),
                window=None,
                rolling=None,
                same_hours=None,
                role="drift",
                keep_rows=True,
            )
            annotate_in(
                settings_for(root / "lapwing.yaml", {"data": data}), {"text": "rolled out", "model": "churn"}
            )
        expected = {"found": found(data), "messages": [key for key, _ in outbox(data)]}
        (root / "expected.json").write_text(json.dumps(expected, indent=1, default=str))
        with tarfile.open(file, "w:xz") as tar:
            tar.add(root, "project")
    return file


if __name__ == "__main__":
    sys.stdout.write(f"{write()}\n")
