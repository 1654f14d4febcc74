"""What `pip install lapwing` brings, and what works with that alone: proven with the wheel that is built."""

import json
import socket
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lapwing
from helpers.contract_wheel import ROOT, build_wheel, closure, install, requirements, run_in

HEAVY = ("duckdb", "numpy", "pandas", "pyarrow", "pydantic", "sqlalchemy", "starlette", "typer")
"""Names of distributions, and of the modules in them."""

USE = f"""
import json, threading
from importlib.util import find_spec
import lapwing
threads = threading.active_count()

answer = {{"score": 0.25}}

@lapwing.watch(model="churn", version="3")
def predict(age, plan="free"):
    return answer

same = predict(31) is answer
prediction_id = lapwing.log_prediction(model="churn", inputs={{"age": 31}}, output=0.5)
lapwing.log_label(model="churn", label=True, prediction_id=prediction_id)
flushed = lapwing.flush(timeout_s=0.1)
found = [name for name in {HEAVY} if name in sys.modules or find_spec(name)]
print(json.dumps([threads, same, flushed, lapwing.stats().recorded, found]))
lapwing.shutdown(timeout_s=0.1)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The wheel's own files."""
    return install(tmp_path_factory.mktemp("unpacked"), wheel, ())


@pytest.fixture(scope="module")
def metadata(unpacked: Path) -> Distribution:
    (folder,) = unpacked.glob("*.dist-info")
    return Distribution.at(folder)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, wheel: Path, metadata: Distribution) -> Path:
    """What `pip install lapwing` puts into an empty environment."""
    return install(tmp_path_factory.mktemp("light"), wheel, closure(requirements(metadata)).values())


def command(metadata: Distribution) -> str:
    """What the script `lapwing`, which pip makes from the wheel's entry point, does."""
    (entry,) = metadata.entry_points.select(group="console_scripts", name="lapwing")
    return f"from {entry.module} import {entry.attr} as main; main()"


def test_nothing_heavy_is_required(metadata: Distribution) -> None:
    """Directly or through others, lapwing without extras requires nothing that its extras are there for."""
    extras = {
        canonicalize_name(each.name)
        for each in map(Requirement, metadata.requires or ())
        if "extra ==" in str(each.marker)
    }
    assert extras.issuperset(HEAVY)
    brought = closure(requirements(metadata))
    of_opentelemetry = {"protobuf", "requests"}
    assert extras.intersection(brought) == of_opentelemetry, "OpenTelemetry needs these, and nothing else"
    assert [name for name in brought if name.startswith(HEAVY)] == []


def test_the_sdk_works_alone_with_no_collector_listening(light: Path) -> None:
    """Without a collector, calls are recorded and answer as ever, and flush says that nothing was sent."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, but not listening: connections are refused
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run_in(light, USE, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    threads, same, flushed, recorded, found = json.loads(done.stdout)
    assert (threads, same, flushed, recorded, found) == (1, True, False, 3, [])
    assert "Traceback" not in done.stderr


def test_the_command_tells_its_version(light: Path, metadata: Distribution) -> None:
    """The light install has the command, which knows its version: that of the wheel."""
    done = run_in(light, command(metadata), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lapwing {metadata.version}\n", "")
    assert metadata.version == lapwing.__version__


@pytest.mark.parametrize(
    "present",
    [
        pytest.param((), id="alone"),
        pytest.param(("typer", "rich"), id="beside_typer"),
    ],
)
def test_the_collector_says_what_to_install(
    tmp_path: Path, wheel: Path, metadata: Distribution, present: tuple[str, ...]
) -> None:
    """`lapwing up` names the extra in one line and exits with 2, also where some packages happen to be."""
    wanted = requirements(metadata) + [Requirement(name) for name in present]
    folder = install(tmp_path / "site", wheel, closure(wanted).values())
    done = run_in(folder, command(metadata), "up")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lapwing up needs the collector (there is no module ")
    assert done.stderr.endswith("): pip install 'lapwing[collector]'\n")
    assert done.stderr.count("\n") == 1


def test_the_demo_names_its_own_extra(light: Path, metadata: Distribution) -> None:
    """The demo needs more than the collector, and who has not got it is told all at once."""
    done = run_in(light, command(metadata), "demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("): pip install 'lapwing[demo]'\n")


def test_the_wheel_holds_both_packages_and_nothing_else(unpacked: Path, metadata: Distribution) -> None:
    """Sources, SQL, type markers and the example are in the wheel; tests and documents are not."""
    expected = {
        f"{package.name}/{file.relative_to(package)}"
        for package in (ROOT / "sdk/lapwing", ROOT / "collector/lapwing_collector")
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    } | {f"lapwing_collector/demo/example/{file.name}" for file in (ROOT / "examples/flights").iterdir()}
    assert expected.issuperset(
        {
            "lapwing/py.typed",
            "lapwing_collector/py.typed",
            "lapwing_collector/lake/sql/lake.sql",
            "lapwing_collector/demo/example/rules.yaml",
        }
    )
    info = f"lapwing-{metadata.version}.dist-info"
    files = {str(file.relative_to(unpacked)) for file in unpacked.rglob("*") if file.is_file()}
    assert {file for file in files if not file.startswith(info)} == expected
    assert (unpacked / info / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
