"""What the resource says about the sender, and where it knows it from."""

import sys
from pathlib import Path
from typing import Any

import pytest

import lapwing
from lapwing._config import resolve
from lapwing._resource import resource_attributes


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without OpenTelemetry's variables."""
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with a detector that works and one that does not."""
    (tmp_path / "some_detectors.py").write_text(
        """
from opentelemetry.sdk.resources import Resource, ResourceDetector

class Cloud(ResourceDetector):
    def detect(self):
        return Resource({"cloud.region": "eu", "service.name": "cloud", "team": "cloud"})

class Broken(ResourceDetector):
    def detect(self):
        raise RuntimeError("no metadata service")
"""
    )
    info = tmp_path / "some_detectors-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-detectors\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_resource_detector]\ncloud = some_detectors:Cloud\nbroken = some_detectors:Broken\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_detectors", raising=False)


def resource(**arguments: Any) -> dict[str, object]:
    """Give the attributes for some settings."""
    return resource_attributes(resolve(arguments, {}, pytest.fail), "p-1")


def test_the_resource_says_who_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource joins OpenTelemetry's variable with the SDK's own name and the process's id."""
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "service.name=env,deployment.environment.name=test,team=a%20b"
    )
    assert resource() == {
        "service.name": "env",
        "deployment.environment.name": "test",
        "team": "a b",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "lapwing",
        "telemetry.sdk.version": lapwing.__version__,
        "lapwing.process.id": "p-1",
    }


def test_settings_win_over_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service and environment of the settings win over those among the resource attributes."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=env,deployment.environment.name=test")
    attributes = resource(service="mine", environment="live")
    assert (attributes["service.name"], attributes["deployment.environment.name"]) == ("mine", "live")


def test_the_service_has_a_name_in_any_case() -> None:
    """Without a name the service is unknown, with that of the executable."""
    assert str(resource()["service.name"]).startswith("unknown_service:python")


@pytest.mark.usefixtures("detectors")
def test_detectors_are_run_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectors named by OpenTelemetry's variable add attributes; the resource variable wins over them."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=mine")
    assert "cloud.region" not in resource()
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "cloud, process")
    attributes = resource()
    assert (attributes["cloud.region"], attributes["team"]) == ("eu", "mine")
    assert attributes["service.name"] == "cloud"
    assert "process.pid" in attributes
    assert resource(service="named")["service.name"] == "named"


@pytest.mark.usefixtures("detectors")
def test_the_order_of_detectors_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later detector wins over an earlier one, also over the one for the resource variable."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=mine")
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "otel,cloud")
    assert resource()["team"] == "cloud"


@pytest.mark.usefixtures("detectors")
@pytest.mark.parametrize(
    ("name", "failing"), [("broken", "broken"), ("nonesuch", "nonesuch"), ("*", "broken")]
)
def test_a_failing_detector_costs_its_own_attributes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, failing: str
) -> None:
    """A detector that fails or does not exist is told about, and the resource goes without."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=mine")
    monkeypatch.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", f"{name},cloud")
    attributes = resource()
    assert (attributes["team"], attributes["cloud.region"]) == ("mine", "eu")
    (told,) = [record.getMessage() for record in caplog.records if record.name == "lapwing"]
    assert told.startswith(f"the resource detector {failing!r} failed: ")
