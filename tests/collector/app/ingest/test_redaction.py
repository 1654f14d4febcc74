"""Redaction in a whole collector: what rules cover is in no file, whenever one looks."""

import contextlib
import json
import time
import urllib.request
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from helpers.collector import ask, project, running
from helpers.decode_requests import label, prediction, request
from helpers.faults_victim import Victim
from helpers.redact_requests import (
    CANARY,
    deep_record,
    files_that_hold,
    records,
    request_around,
    with_raw_record,
)
from lapwing_collector.errors import ConfigError, QueryError

MAILS = 'rules: [{mask: "**", matching: EMAIL}]'
PAYLOADS = (
    request_around(*list(records())[::5]).SerializeToString(),
    with_raw_record(deep_record(60)),
    request(prediction({"inputs": {"mail": CANARY}})),
    request(label({"label": CANARY})),
)

IN_JSON = json.dumps(
    {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": "host", "value": {"stringValue": CANARY}}]},
                "scopeLogs": [{"logRecords": [{"severityText": CANARY, "body": {"stringValue": CANARY}}]}],
            }
        ]
    }
).encode()


def configured(folder: Path, policy: str) -> Path:
    """A settings file with a redaction file beside it."""
    folder.mkdir()
    (folder / "redact.yaml").write_text(policy)
    settings = folder / "lapwing.yaml"
    settings.write_text("")
    return settings


def mails(data: Path) -> list[dict[str, object]]:
    """The input `mail` of all predictions, once there is one."""
    query = "SELECT inputs.mail AS mail FROM predictions.churn WHERE inputs.mail IS NOT NULL"
    found: list[dict[str, object]] = []
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        with contextlib.suppress(QueryError):  # the table, or its field, is not there yet
            found = ask(data, query)
    return found


@pytest.mark.parametrize(("policy", "kept"), [(MAILS, False), ("rules: []", True)], ids=["rules", "none"])
def test_a_canary_is_in_no_file(tmp_path: Path, policy: str, kept: bool) -> None:
    """What a rule covers is neither in the log nor in the lake; without the rule it is in both."""
    data = tmp_path / "data"
    with running(project(data, configured(tmp_path / "config", policy))) as collector:
        for payload in PAYLOADS:
            assert collector.post(payload)[0] == 200
        assert collector.post(IN_JSON, "application/json") == (200, b"{}")
        assert bool(files_that_hold(data)) is kept
    found = files_that_hold(data)
    assert any(file.endswith(".parquet") for file in found) is kept
    assert bool(found) is kept
    (row,) = ask(data, "SELECT count(*) AS n, count(label) AS labels FROM labeled.churn")
    assert row["n"] > 20
    assert row["labels"] > 0


def test_a_canary_is_in_no_file_after_a_kill(tmp_path: Path) -> None:
    """What the log holds when the collector is killed is redacted, and so is what is made of it."""
    data, config = tmp_path / "data", configured(tmp_path / "config", MAILS)
    killed = Victim(data, {"write": {"flush_interval": "1h"}, "redact": str(config.with_name("redact.yaml"))})
    try:
        killed.start()
        for payload in PAYLOADS:
            assert killed.post(payload) == 200
    finally:
        killed.clear()
    assert [file for file in (data / "log").iterdir() if file.stat().st_size > 10_000]
    assert files_that_hold(data) == []
    with running(project(data, config)):
        assert mails(data) == [{"mail": "***"}]
    assert files_that_hold(data) == []


def test_what_is_withheld_is_told(tmp_path: Path) -> None:
    """The sender learns that a record was rejected, metrics count it, and rows say what was applied."""
    data = tmp_path / "data"
    with running(project(data, configured(tmp_path / "config", MAILS))) as collector:
        status, answer = collector.post(with_raw_record(deep_record(60)))
        with urllib.request.urlopen(f"http://{collector.web}/metrics", timeout=60) as metrics:
            assert b"\nlapwing_redaction_withheld_total 1.0\n" in metrics.read()
    told = ExportLogsServiceResponse.FromString(answer).partial_success
    assert (status, told.rejected_log_records) == (200, 1)
    (row,) = ask(
        data, "SELECT inputs.age AS age, resource['lapwing.redaction'] AS policy FROM predictions.churn"
    )
    assert row["age"] == 31
    assert len(row["policy"]) == 12


def test_a_policy_that_is_missing_or_wrong_starts_nothing(tmp_path: Path) -> None:
    """A redaction file that is named must be there, and fit; nothing is received without it."""
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        project(tmp_path, redact="absent.yaml")
    with pytest.raises(ConfigError, match=r"redact\.yaml:1: "):
        project(tmp_path, configured(tmp_path / "config", "rules: [{drop: ssn}]"))
