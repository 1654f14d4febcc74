"""The SDK in processes of its own: imports, exit, fork, the command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lapwing
from helpers.sdk_receiver import receiver


def run(
    script: str, endpoint: str = "http://127.0.0.1:9", *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a Python script in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        env={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_import_is_light() -> None:
    """Importing lapwing brings none of the heavy modules, starts no thread, and opens no socket."""
    script = """
import sys, socket, threading
def refuse(*_): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
import lapwing, json
heavy = "pyarrow duckdb numpy pandas requests urllib3 google.protobuf opentelemetry.sdk asyncio".split()
print(json.dumps([[name for name in heavy if name in sys.modules], threading.active_count()]))
"""
    done = run(script)
    assert (done.stderr, json.loads(done.stdout)) == ("", [[], 1])


def test_a_script_that_just_ends_delivers() -> None:
    """What a script recorded is delivered when it ends, without a word from it, even when it ends at once."""
    with receiver() as running:
        done = run(
            "import lapwing; lapwing.log_prediction(model='m', inputs={'n': 1}, output=2)", running.endpoint
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [record.inputs for record in running.records] == [{"n": 1}]


def test_exit_is_bounded() -> None:
    """A process ends soon although the collector does not answer, and says what it lost."""
    script = """
import lapwing, logging, sys
from lapwing import _process
_process.EXIT_TIMEOUT_S = 0.3
logging.basicConfig(format="%(message)s")
lapwing.log_prediction(model="m", inputs={}, output=1)
"""
    done = run(script)
    assert done.returncode == 0
    assert re.search(r"1 records were (dropped \(undeliverable\)|not acknowledged)", done.stderr)


def test_an_exporter_that_cannot_be_had_costs_records_not_calls() -> None:
    """Where the exporter that the environment asks for does not work, calls go on, and it is told once."""
    script = """
import json, logging, os, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry.sdk._logs":
            raise ImportError("it was renamed")
sys.meta_path.insert(0, Absent())
os.environ["OTEL_LOGS_EXPORTER"] = "console"
import lapwing
logging.basicConfig(format="%(message)s")
@lapwing.watch(model="m", task="regression")
def predict(x): return 2 * x
@lapwing.watch(model="m")
def stream(x): yield x
assert [predict(1), *stream(2)] == [2, 2]
lapwing.log_prediction(model="m", inputs={}, output=1)
lapwing.log_label(model="m", label=1, prediction_id="p")
lapwing.log_labels([1], model="m", prediction_ids=["p"])
lapwing.log_model(model="m", task="classification")
with lapwing.prediction(model="m") as made: made.output = 1
assert not lapwing.flush()
if hasattr(os, "fork") and not os.fork():
    os._exit(predict(1) != 2 or lapwing.stats().recorded != 2)
if hasattr(os, "fork"):
    assert os.wait()[1] == 0
try:
    lapwing.init()
except ImportError as error:
    assert "renamed" in str(error)
assert not lapwing.shutdown()
print(json.dumps([lapwing.stats().recorded, dict(lapwing.stats().dropped)]))
"""
    done = run(script)
    assert done.returncode == 0, done.stderr
    recorded, dropped = json.loads(done.stdout)
    assert dropped == {"no_exporter": recorded}
    assert recorded == 8
    [told] = done.stderr.splitlines()
    assert "no_exporter" in told
    assert "it was renamed" in told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_is_a_sender_of_its_own() -> None:
    """Parent and child each deliver their own records once, with their own process id and numbers from 1."""
    script = """
import lapwing, os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
def predict(n): lapwing.log_prediction(model="m", inputs={"n": n}, output=n)
predict(1)
predict(2)
child = os.fork()
if child == 0:
    assert lapwing.stats() == lapwing.Stats(0, 0, 0, {})
    predict(3)
    os._exit(0 if lapwing.flush() else 1)
assert os.waitpid(child, 0)[1] == 0
predict(4)
sys.exit(0 if lapwing.flush() else 1)
"""
    with receiver() as running:
        done = run(script, running.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    senders: dict[str, list[tuple[int, int]]] = {}
    for record in running.records:
        numbered = (record.attributes["lapwing.sequence"], record.inputs["n"])
        senders.setdefault(record.resource["lapwing.process.id"], []).append(numbered)
    assert sorted(senders.values()) == [[(1, 1), (2, 2), (3, 4)], [(1, 3)]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_at_a_bad_moment_is_safe() -> None:
    """5a-34: a child forked inside a watched call, while a thread holds every lock, records and delivers."""
    script = """
import lapwing, os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from lapwing import _process
held, release = threading.Event(), threading.Event()
def hold():
    with _process._lock, _process.sink()._queue._lock:
        held.set()
        release.wait()
@lapwing.watch(model="m")
def predict():
    child = os.fork()
    if child:
        release.set()
    return child
lapwing.log_prediction(model="m", inputs={}, output=0)
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = predict()
if child:
    assert os.waitpid(child, 0)[1] == 0
assert lapwing.flush()
os._exit(0)
"""
    with receiver() as running:
        done = run(script, running.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(record.attributes["lapwing.sequence"] for record in running.records) == [1, 1, 2]


def test_the_command_tells_its_version() -> None:
    """`lapwing --version` works without the collector."""
    script = "import sys; sys.modules['lapwing_collector'] = None; from lapwing._command import main; main()"
    done = run(script, "", "--version")
    assert (done.returncode, done.stdout) == (0, f"lapwing {lapwing.__version__}\n")


def test_the_command_says_what_to_install() -> None:
    """Without the collector's dependencies, the command says in one line what to install; exit code 2."""
    script = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("duckdb", "pyarrow", "typer", "lapwing_collector"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from lapwing._command import main
main()
"""
    done = run(script, "", "up")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lapwing up needs the collector (there is no module ")
    assert done.stderr.endswith("): pip install 'lapwing[collector]'\n")
    assert done.stderr.count("\n") == 1


def test_the_command_runs_the_collectors() -> None:
    """With the collector, the command is the collector's command line."""
    script = """
import sys, types
from importlib.machinery import ModuleSpec
sys.modules["duckdb"] = types.ModuleType("duckdb")
sys.modules["duckdb"].__spec__ = ModuleSpec("duckdb", None)
cli = types.ModuleType("lapwing_collector.cli")
cli.main = lambda: print("collector", sys.argv[1:])
sys.modules["lapwing_collector"] = types.ModuleType("lapwing_collector")
sys.modules["lapwing_collector.cli"] = cli
from lapwing._command import main
main()
"""
    done = run(script, "", "up", "--version")
    assert done.stdout == "collector ['up', '--version']\n"


def test_examples_of_the_guides_run(tmp_path: Path) -> None:
    """Every Python example in the SDK's guides runs, one after the other, against a receiver."""
    docs = Path(__file__).parents[2] / "docs"
    for guide in ("sdk.md", "conventions.md"):
        text = (docs / guide).read_text(encoding="utf-8")
        blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
        assert blocks
        with receiver() as running:
            script = tmp_path / "guide.py"
            script.write_text("\n".join(blocks).replace("http://localhost:4318", running.endpoint))
            done = run(script.read_text(), running.endpoint)
            assert (done.returncode, done.stderr) == (0, ""), guide
            assert running.records
