"""Configurations of an OpenTelemetry Collector in front of Lapwing."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.deploying import DEPLOY
from lapwing_collector.config import Settings

FILES = sorted((DEPLOY / "otel-collector").glob("*.yaml"))
KINDS = ("receivers", "processors", "connectors", "exporters")

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    """A configuration."""
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    return document


def exporters(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The exporters that send to Lapwing or to what stands before it."""
    for name, exporter in document["exporters"].items():
        if name != "otlp_grpc/others":
            yield name, exporter


@each_file
def test_whatever_a_pipeline_uses_is_there_and_used(file: Path) -> None:
    """Pipelines name components that are configured, and nothing is configured that none names."""
    document = read(file)
    service = document["service"]
    declared = {name for kind in KINDS for name in document.get(kind, {})}
    used = {
        name for pipeline in service["pipelines"].values() for names in pipeline.values() for name in names
    }
    assert used == declared
    assert set(service["extensions"]) == set(document["extensions"])
    for pipeline in service["pipelines"].values():
        if "processors" in pipeline:
            assert pipeline["processors"][0] == "memory_limiter"


@each_file
def test_nothing_is_given_up_while_lapwing_is_away(file: Path) -> None:
    """What cannot be delivered is kept on disk and tried for ever, or refused to its sender."""
    document = read(file)
    for name, exporter in exporters(document):
        queue, retry = exporter["sending_queue"], exporter["retry_on_failure"]
        if queue.get("enabled", True):
            assert queue["storage"] in document["extensions"], name
            assert document["extensions"][queue["storage"]]["fsync"] is True
            assert retry["max_elapsed_time"] == "0s"
            assert queue["batch"]["max_size"] * 2 <= Settings().http.max_request_bytes
        else:
            assert retry["enabled"] is False, name
    for receiver in document["receivers"].values():
        if "message_marking" in receiver:
            assert receiver["message_marking"]["after"] is True
            assert receiver["message_marking"]["on_error"] is False
            assert receiver["error_backoff"]["max_elapsed_time"] == "0s"


@each_file
def test_variables_are_told_on_the_page(file: Path) -> None:
    """Each variable that a configuration needs is in the documentation."""
    page = (DEPLOY.parent / "docs" / "deploying.md").read_text()
    for name in re.findall(r"\$\{env:(\w+)\}", file.read_text()):
        assert f"`{name}`" in page


@each_file
def test_an_opentelemetry_collector_accepts_it(file: Path, tmp_path: Path) -> None:
    """The Collector itself finds nothing wrong with the configuration."""
    program = shutil.which("otelcol-contrib") or shutil.which("otelcol")
    if program is None:
        pytest.skip("needs otelcol-contrib, which no package index has")
    done = subprocess.run(
        [program, "validate", "--config", str(file)],
        env={
            "LAPWING_ENDPOINT": "http://127.0.0.1:4318",
            "LAPWING_WRITE_TOKEN": "x" * 32,
            "LOGS_ENDPOINT": "http://127.0.0.1:5317",
            "QUEUE_FOLDER": str(tmp_path),
            "KAFKA_BROKER": "127.0.0.1:9092",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
