"""The query process as the operating system sees it: what it has, and when it ends."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from helpers.query_lake import LIMITS, Readers, make_lake, readers
from helpers.waiting import wait_until
from lapwing_collector import sandbox
from lapwing_collector.errors import QueryError, QueryLimitError
from lapwing_collector.model.queries import Ask, Format
from lapwing_collector.query import QueryProcess, cells
from lapwing_collector.query.child import Spawned
from lapwing_collector.query.origin import Origin

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture(scope="module", params=["spawned", "forked"])
def process(shared: Readers, request: pytest.FixtureRequest) -> Iterator[QueryProcess]:
    """One of each kind that there is: both are held to the same."""
    origin = Origin()
    origin.hold()
    os.environ["LAPWING_CANARY"] = "canary"
    started = QueryProcess(
        shared.folder, LIMITS, start=origin.start if request.param == "forked" else Spawned
    )
    del os.environ["LAPWING_CANARY"]
    yield started
    started.close()
    origin.let_go()


def of(process: QueryProcess, name: str) -> Path:
    return Path(f"/proc/{process._child.pid}/{name}")


def access(process: QueryProcess, descriptor: int) -> int:
    """Whether a descriptor is for reading, for writing, or for both."""
    told = of(process, f"fdinfo/{descriptor}").read_text()
    [flags] = re.findall(r"^flags:\s*([0-7]+)$", told, re.MULTILINE)
    return int(flags, 8) & os.O_ACCMODE


def test_it_has_no_environment_and_no_files_of_ours(process: QueryProcess, shared: Readers) -> None:
    """Secrets in variables and open files stay behind; it has its socket, and reads files of the lake."""
    assert b"canary" not in of(process, "environ").read_bytes()
    assert b"LAPWING" not in of(process, "environ").read_bytes()
    opened = {int(file.name): str(file.readlink()).partition(":")[0] for file in of(process, "fd").iterdir()}
    assert opened.pop(2)  # ours, whatever it is
    assert (opened.pop(0), opened.pop(1)) == ("/dev/null", "/dev/null")
    of_lake = {file for file, path in opened.items() if path.startswith(f"{shared.folder}/")}
    assert [path for file, path in opened.items() if file not in of_lake] == ["socket"]
    assert {access(process, file) for file in of_lake} <= {os.O_RDONLY}
    assert of(process, "cwd").readlink() == Path("/")


def test_it_is_bounded_by_the_kernel(process: QueryProcess) -> None:
    """It can gain no rights, write no file, and map no more memory than its limit lets it."""
    status = of(process, "status").read_text()
    assert "NoNewPrivs:\t1" in status
    limits = {line[:26].strip(): line[26:].split() for line in of(process, "limits").read_text().splitlines()}
    assert limits["Max file size"][:2] == ["0", "0"]
    assert limits["Max core file size"][:2] == ["0", "0"]
    mapped = int(of(process, "statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    assert 0 < int(limits["Max address space"][0]) <= mapped + LIMITS.address_space_bytes
    assert process.landlock == sandbox.landlock_version()


def test_it_loads_nothing_that_it_does_not_need(process: QueryProcess) -> None:
    """It can do without pandas, which Arrow would load wherever it is installed."""
    loaded = of(process, "maps").read_text()
    assert "/pyarrow/" in loaded
    assert "/pandas/" not in loaded


def test_a_parameter_that_it_cannot_know_is_told(process: QueryProcess) -> None:
    """A value of a package that it does not load is an error in words, and the next query is answered."""
    with pytest.raises(QueryError, match="a parameter is nothing that SQL has"):
        process.ask(Ask("SELECT $x", {"x": pd.Period("2026-01")}), 10)
    with process.ask(Ask("SELECT 1 AS one"), 10) as answer:
        assert answer.table().to_pylist() == [{"one": 1}]


def test_it_leaves_the_terminal_alone(process: QueryProcess) -> None:
    """Ctrl-C in the terminal of its owner does not reach it: it is in a session of its own."""
    assert os.getsid(process._child.pid) == process._child.pid


def test_processor_time_is_bounded_by_the_kernel_too(shared: Readers) -> None:
    """Where nobody watches the clock, the kernel ends what computes on and on."""
    process = QueryProcess(shared.folder, LIMITS)
    try:
        process._comes = lambda _timeout: True  # type: ignore[method-assign]  # nobody watches
        with pytest.raises(QueryLimitError, match="died"):
            process.ask(Ask("SELECT count(*) FROM range(1000000000000)"), 0.1)
        assert isinstance(process._child, Spawned)
        assert process._child._process.wait(60) == -signal.SIGXCPU
    finally:
        process.close()


PARENT = """
import sys
from pathlib import Path
from lapwing_collector.model.queries import Ask, Format
from lapwing_collector.query import Limits, QueryProcess
from lapwing_collector.query.child import Spawned
from lapwing_collector.query.origin import ORIGIN
ORIGIN.hold()
start = {"spawned": Spawned, "forked": ORIGIN.start}[sys.argv[2]]
process = QueryProcess(Path(sys.argv[1]), Limits(), start=start)
print(process._child.pid, flush=True)
process.ask(Ask("SELECT count(*) FROM range(1000000000000)"), 600)
"""


@pytest.mark.parametrize("kind", ["spawned", "forked"])
def test_it_dies_with_its_owner(shared: Readers, kind: str) -> None:
    """After kill -9 of its owner, a query in full flight does not go on for nobody."""
    owner = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(shared.folder), kind], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        child = Path(f"/proc/{owner.stdout.readline().strip()}/stat")
        assert runs(child)
        owner.kill()
    wait_until(lambda: not runs(child))


def runs(stat: Path) -> bool:
    """Whether a process is there and not dead; who inherits dead ones may not care to bury them."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


FAR = """
SELECT timestamp 'infinity' AS a, date '20000-01-31' AS b, [timestamp '-infinity', NULL] AS c,
    {'x': date 'infinity', 'y': 1} AS d, map {'k': date '20000-01-31'} AS e,
    timestamptz '12000-01-31 12:00:00+00' AS f,
    map {timestamp 'infinity': 1} AS g, array_value(date '-infinity') AS h, date '0044-03-15 (BC)' AS i,
    timestamp_s '20000-01-31 12:00:00' AS j, timestamp '2026-01-31 12:00:00' AS k
"""
SEEN = {
    "a": "infinity",
    "b": "20000-01-31",
    "c": ["-infinity", None],
    "d": {"x": "infinity", "y": 1},
    "e": {"k": "20000-01-31"},
    "f": "12000-01-31 12:00:00.000000Z",
    "g": {"infinity": 1},
    "h": ["-infinity"],
    "i": "-0043-03-15",
    "j": "20000-01-31 12:00:00",
}


def test_times_beyond_those_of_python_are_text(process: QueryProcess) -> None:
    """JSON, CSV and tables have times that never come, and years without four digits; the process goes on."""
    with process.ask(Ask(FAR, {}, Format.JSON), 30) as answer:
        assert json.loads(b"".join(answer)) == [SEEN | {"k": "2026-01-31T12:00:00Z"}]
    with process.ask(Ask(FAR, {}, Format.CSV), 30) as answer:
        [row] = csv.DictReader(b"".join(answer).decode().splitlines())
    with process.ask(Ask(FAR), 30) as answer:
        [table] = cells(answer.table().to_batches()[0])
    for name, shown in zip(row, table, strict=True):
        wanted = SEEN.get(name, "2026-01-31 12:00:00")
        text = wanted if isinstance(wanted, str) else json.dumps(wanted)
        assert (name, shown) == (name, text)
        assert row[name].removeprefix("'") == text


def test_half_a_character_is_told(process: QueryProcess) -> None:
    """A lone surrogate in SQL or a parameter is a mistake of who asks, and the process goes on."""
    for ask in (Ask("SELECT '\ud800'"), Ask("SELECT $a", {"a": "\ud800"})):
        with pytest.raises(QueryError, match="half a character"):
            process.ask(ask, 30)
    assert process.alive


def test_what_nobody_foresaw_is_told(shared: Readers) -> None:
    """An error of another kind comes as the answer, under its own name, and ends the process."""
    process = QueryProcess(shared.folder, LIMITS)
    try:
        with pytest.raises(QueryError, match="this query cannot be answered: ") as told:
            process.ask(Ask(["no SQL"]), 30)  # type: ignore[arg-type]
        assert not isinstance(told.value, QueryLimitError)
        assert not process.alive
    finally:
        process.close()


def test_it_lets_go_of_the_catalog_when_nobody_asks(shared: Readers, process: QueryProcess) -> None:
    """A moment after an answer nothing keeps the catalog's log from being cut."""
    with closing(sqlite3.connect(shared.folder / "catalog.sqlite", timeout=0)) as catalog:
        catalog.execute("PRAGMA user_version = 1")  # there is something in it
        for file in shared.folder.glob("catalog.sqlite*"):
            os.utime(file, (0, 0))  # and was long ago
        with process.ask(Ask("FROM predictions.churn", whole=True), 30.0, holding=True) as answer:
            assert answer.rows == 10
        wait_until(lambda: catalog.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def test_it_looks_at_what_came_before_it_is_asked_again(shared: Readers, process: QueryProcess) -> None:
    """Something that is committed after an answer is read at once, and not only for the next query."""

    def read() -> int:
        told = dict(line.split(": ") for line in of(process, "io").read_text().splitlines())
        return int(told["rchar"])

    with closing(sqlite3.connect(shared.folder / "catalog.sqlite")) as catalog:
        with process.ask(Ask("FROM models", whole=True), 30.0, holding=True) as answer:
            assert answer.rows == 1
        before = read()
        catalog.execute("PRAGMA user_version = 2")
        wait_until(lambda: read() > before)
