"""The command as people and scripts meet it: real processes, real exit codes."""

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.batches import labels, predictions
from helpers.collector import prediction, request
from helpers.commands import exit_code
from helpers.waiting import wait_until
from lapwing_collector.cli.main import main
from lapwing_collector.cli.output import write_table
from lapwing_collector.clock import epoch_ns
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.listening import listen

COMMAND = [sys.executable, "-m", "lapwing_collector.cli"]


def run(
    *arguments: str, stdin: str | None = None, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        input=stdin.encode() if stdin else None,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command as `run` does, in this process, which has imported what it needs."""

    def run_here(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
        with monkeypatch.context() as patch:
            for name, value in {"COLUMNS": "200", **environment}.items():
                patch.setenv(name, value)
            capfdbinary.readouterr()
            code = exit_code(*arguments)
        sys.stdout.flush()
        return subprocess.CompletedProcess(arguments, code, *capfdbinary.readouterr())

    return run_here


@contextmanager
def up(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A running `lapwing up`, and the address it prints."""
    process = subprocess.Popen(
        [*COMMAND, "up", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = ""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            said += line
            if found := re.search(r"http://(\S+)", line):
                yield process, found[1]
                break
        else:
            pytest.fail(said)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a few rows, and no collector."""
    data = tmp_path_factory.mktemp("data")
    lake = Lake.open(data / "lake")
    rows = [{"prediction_id": "a", "inputs.age": 41, "output.value": 0.5, "tags": [("region", "=1+1")]}]
    lake.flush(
        [predictions("churn", rows), labels("churn", [{"prediction_id": "a", "label": True}])],
        [],
        Progress(1),
    )
    lake.close()
    return data


def test_the_command_line_is_light() -> None:
    """`lapwing --help`, and what becomes the supervisor, load nothing of what commands need."""
    heavy = "{'pyarrow', 'duckdb', 'numpy', 'starlette', 'sqlalchemy', 'grpc', 'pydantic', 'rich'}"
    command = (
        "import sys; from lapwing_collector.cli.main import app; app(['--help'], standalone_mode=False);"
        f"print('loaded:', *{heavy} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert "Usage" in found.stdout
    assert found.stdout.splitlines()[-1] == "loaded:"
    modules = "lapwing_collector.cli.up, lapwing_collector.app.processes.worker"
    command = f"import sys, {modules}; print(*{heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize(("command", "found"), [("sql", False), ("demo", True)])
def test_pandas_stays_where_it_is_needed(command: str, found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command but the demo has a use for pandas, which Arrow would load with a third of a second."""
    monkeypatch.setattr(sys, "argv", ["lapwing", command])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(sys.modules[main.__module__], "app", lambda: None)
    main()
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with nullcontext() if found else pytest.raises(ModuleNotFoundError):
        assert find_spec("pandas")


QUERY = "SELECT prediction_id, inputs.age AS age, inputs, tags, label FROM labeled.churn"


def test_rows_as_json(data: Path) -> None:
    """Scripts get objects, with structs and maps as objects."""
    answer = run("sql", QUERY, "--data", str(data), "--format", "json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [
        {"prediction_id": "a", "age": 41, "inputs": {"age": 41}, "tags": {"region": "=1+1"}, "label": True}
    ]


def test_rows_as_csv(data: Path, here: Run) -> None:
    """Spreadsheets get a header and plain cells."""
    answer = here("sql", QUERY, "--data", str(data), "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(answer.stdout.decode())))
    assert rows == [
        {
            "prediction_id": "a",
            "age": "41",
            "inputs": '{"age": 41}',
            "tags": '{"region": "=1+1"}',
            "label": "true",
        }
    ]


@pytest.mark.parametrize("fmt", ["arrow", "parquet"])
def test_rows_as_columns(data: Path, fmt: str, here: Run) -> None:
    """Programs get typed columns on standard output."""
    answer = here("sql", QUERY, "--data", str(data), "-f", fmt)
    source = pa.BufferReader(answer.stdout)
    rows = pa.ipc.open_stream(source).read_all() if fmt == "arrow" else pq.read_table(source)
    assert rows.column("age").to_pylist() == [41]
    assert rows.schema.field("label").type == pa.bool_()


def test_rows_as_a_table_and_from_standard_input(data: Path) -> None:
    """People get a table; a query can be piped in."""
    answer = run("sql", "-", "--data", str(data), stdin=QUERY)
    assert answer.returncode == 0
    assert b"prediction_id" in answer.stdout
    assert b"41" in answer.stdout


def test_an_answer_is_cut_where_asked(data: Path, here: Run) -> None:
    """Rows beyond --limit are left out, and standard error says that there are more."""
    answer = here("sql", "FROM range(1000)", "--data", str(data), "-f", "csv", "--limit", "2")
    assert (answer.returncode, answer.stdout) == (0, b"range\r\n0\r\n1\r\n")
    assert answer.stderr.startswith(b"lapwing: these are the first 2 rows; there are more")


ENDLESS = "SELECT count(*) FROM range(1000000000000)"


def test_a_query_ends_in_time(data: Path, here: Run) -> None:
    """A query over --timeout is stopped and told of in one line."""
    answer = here("sql", ENDLESS, "--data", str(data), "--timeout", "200ms")
    assert (answer.returncode, answer.stdout) == (1, b"")
    assert answer.stderr.startswith(b"lapwing: the query took longer than 0.2 s and was stopped")


def test_ctrl_c_ends_a_query_and_its_process(data: Path) -> None:
    """Ctrl-C in the middle of a query exits with 130 and leaves no process behind."""
    process = subprocess.Popen([*COMMAND, "sql", ENDLESS, "--data", str(data)], stderr=subprocess.PIPE)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with process:
        # The one that holds the catalog open, and the one that answers.
        wait_until(lambda: len(children.read_text().split()) == 2)
        begun = [Path(f"/proc/{child}/stat") for child in children.read_text().split()]
        wait_until(lambda: any("(python" in stat.read_text() and cpu_ticks(stat) > 50 for stat in begun))
        process.send_signal(signal.SIGINT)
        said = process.stderr.read() if process.stderr else b""
    assert (process.returncode, said) == (130, b"")
    wait_until(lambda: not any(stat.exists() for stat in begun))


def cpu_ticks(stat: Path) -> int:
    """Hundredths of a second that a process has computed."""
    return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sql", "SELECT 1", "--data", "{tmp}/none"], ["no lake here yet", "lapwing up"]),
        (["sql", "DELETE FROM models", "--data", "{data}"], ["expected a SELECT, not DELETE"]),
        (["sql", "SELECT nope FROM predictions.churn", "--data", "{data}"], ["nope"]),
        (
            ["sql", "SELECT 1", "--data", "{data}", "--timeout", "5"],
            ["lapwing: --timeout: expected a duration"],
        ),
        (
            ["up", "--http", "4318", "--grpc", "x", "--web", "", "--data", "{tmp}/d"],
            ["lapwing: --http: ", "127.0.0.1:4318, not '4318'", "\n--grpc: ", "\n--web: "],
        ),
        (
            ["up", "--http", "0.0.0.0:0", "--data", "{tmp}/d"],
            ["http.listen (0.0.0.0:0)", "auth.tokens", "tls.client_authority", "--insecure"],
        ),
        (
            ["up", "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0", "--data", "{tmp}/d"],
            ["grpc.listen (0.0.0.0:0)"],
        ),
        (["up", "--config", "{tmp}/none.yaml"], ["none.yaml", "cannot be read"]),
        (
            ["up", "--data", "/dev/null/d", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"],
            ["/dev/null/d", "is no folder"],
        ),
        (["rules", "advance", "--to", "2026-01-01", "--data", "{data}"], ["clock: data"]),
        (
            ["reference", "set", "m", "r", "--from", "{tmp}/x.parquet", "--data", "{tmp}/d"],
            ["x.parquet: cannot be read as Parquet: No such file or directory\n"],
        ),
        (["demo", "--once", "--data", "{data}"], ["not from an earlier demo"]),
    ],
)
def test_mistakes_get_a_line_and_exit_1(
    arguments: list[str], words: list[str], data: Path, tmp_path: Path, here: Run
) -> None:
    """Wrong input is told in words, without a traceback."""
    takes_over = arguments[0] == "up"  # its process
    answer = (run if takes_over else here)(*(each.format(tmp=tmp_path, data=data) for each in arguments))
    said = answer.stderr.decode()
    assert answer.returncode == 1, said
    assert said.startswith("lapwing: ")
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_a_wrong_option_is_told_in_words(here: Run) -> None:
    """What the library of the command line calls a value error is none to a person."""
    told = here("sql", "SELECT 1", "--format", "xml")
    assert told.returncode == 2
    assert b"'--format' / '-f': 'xml' is not one of 'table', 'json'" in told.stderr


def test_a_wrong_rule_file_stops_before_anything_starts(tmp_path: Path) -> None:
    """File, line, key and what was expected, for each mistake; no data directory is made."""
    (tmp_path / "lapwing.yaml").write_text("rules: [r.yaml]\ndata: data\n")
    (tmp_path / "r.yaml").write_text(
        "groups:\n  - name: g\n    rules:\n"
        "      - alert: A\n        expr: DELETE FROM models\n        fro: 5m\n"
    )
    answer = run("up", "--config", str(tmp_path / "lapwing.yaml"))
    said = answer.stderr.decode()
    assert answer.returncode == 1
    assert f"{tmp_path}/r.yaml:5: " in said
    assert f"{tmp_path}/r.yaml:6: " in said
    assert "expr" in said
    assert "did you mean for?" in said
    assert not (tmp_path / "data").exists()


def test_ctrl_c_drains_and_ends_within_5_s(tmp_path: Path, here: Run) -> None:
    """What was acknowledged a moment before Ctrl-C is in the lake afterwards."""
    with up("--data", str(tmp_path), "--http", "127.0.0.1:0") as (process, address):
        host, _, port = address.rpartition(":")
        records = [
            prediction("m", f"p{i}", epoch_ns(datetime(2026, 1, 1)), inputs={"x": i}) for i in range(500)
        ]
        with socket.create_connection((host, int(port))) as client:
            body = request(records)
            head = f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            client.sendall(f"{head}Content-Type: application/x-protobuf\r\n\r\n".encode() + body)
            assert b"200 OK" in client.recv(4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0  # 5 s on a machine that does nothing else
    answer = here("sql", "SELECT count(*) AS n FROM predictions.m", "--data", str(tmp_path), "-f", "json")
    assert json.loads(answer.stdout) == [{"n": 500}]


def test_a_taken_port(tmp_path: Path) -> None:
    """It gets one clear line and exit code 1."""
    with closing(listen("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        taken = run("up", "--data", str(tmp_path), "--http", address)
    assert taken.returncode == 1
    assert address in taken.stderr.decode()
    assert len(taken.stderr.splitlines()) == 1


def test_references_are_set_from_files(tmp_path: Path, here: Run) -> None:
    """A Parquet or CSV file becomes bins that SQL can read."""
    (tmp_path / "train.csv").write_text("age,plan\n1,a\n2,b\n,b\n")
    answer = here(
        "reference", "set", "churn", "train", "--from", str(tmp_path / "train.csv"), "--data", str(tmp_path)
    )
    assert answer.returncode == 0, answer.stderr
    rows = here(
        "sql", "SELECT DISTINCT field FROM reference_bins ORDER BY 1", "--data", str(tmp_path), "-f", "json"
    )
    assert [row["field"] for row in json.loads(rows.stdout)] == ["inputs.age", "inputs.plan"]
    assert b"warning: no prediction of a model 'churn' has come yet" in answer.stderr
    assert b"3 rows, 3 of them kept" in answer.stdout
    dropped = here("reference", "drop-rows", "churn", "train", "--data", str(tmp_path))
    assert dropped.stdout.decode() == "reference train of churn: 3 rows are gone\n"


def test_rules_check_tells_fine_files(here: Run) -> None:
    """The example's own rules pass."""
    answer = here("rules", "check", str(Path(__file__).parents[3] / "examples/flights/rules.yaml"))
    assert answer.returncode == 0, answer.stderr
    assert b"6 rules" in answer.stdout


def test_settings_come_from_flag_then_environment_then_file(tmp_path: Path, here: Run) -> None:
    """The documented precedence decides where `sql` looks."""
    (tmp_path / "lapwing.yaml").write_text("data: from-file\n")
    config = ("--config", str(tmp_path / "lapwing.yaml"))
    assert f"{tmp_path}/from-file:" in here("sql", "SELECT 1", *config).stderr.decode()
    assert "/from-env:" in here("sql", "SELECT 1", *config, LAPWING_DATA="/from-env").stderr.decode()
    by_flag = here("sql", "SELECT 1", *config, "--data", "/from-flag", LAPWING_DATA="/from-env")
    assert "/from-flag:" in by_flag.stderr.decode()


def test_a_table_shows_six_digits(capsys: pytest.CaptureFixture[str]) -> None:
    """Fractions are shortened for the eye; whole numbers and texts are not."""
    write_table(pa.table({"a": [1 / 3, 1234567.25], "b": [12345678, 1], "c": ["0.123456789", ""]}))
    shown = capsys.readouterr().out.split()
    assert shown[-5:] == ["0.333333", "12345678", "0.123456789", "1234567.25", "1"]
