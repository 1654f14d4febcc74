"""Maintenance of a running collector, and by commands where none runs."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from helpers.collector import Collector, ask, label, prediction, project, request, running
from lapwing_collector import engine
from lapwing_collector.app import maintenance
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.doctor import examine
from lapwing_collector.app.keeping import backup, compact, erase, orders, owning, restore, retain, retype
from lapwing_collector.app.maintenance import Maintenance, tell_nobody
from lapwing_collector.app.owner_socket import OwnerSocket, ask_owner
from lapwing_collector.app.pacing import Pacing, StoppedError
from lapwing_collector.errors import ConfigError, DataDirectoryError, NotSeenYetError, UnavailableError

SECOND = 10**9
DAY = 86_400 * SECOND


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def send(collector: Collector, first: int, count: int, *, time_ns: int | None = None) -> None:
    """Predictions with ids `p-<number>` in one request, with a label each for even numbers."""
    at = time.time_ns() if time_ns is None else time_ns
    records = [
        prediction("m", f"p-{n}", at + n, inputs={"n": n}, sequence=2 * n + 1)
        for n in range(first, first + count)
    ]
    records += [label("m", f"p-{n}", at + n, at, n, 2 * n + 2) for n in range(first, first + count, 2)]
    status, _ = collector.post(request(records, "process"))
    assert status == 200


def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.05)


def numbers(data: Path) -> list[int]:
    """The predictions that a query finds, none before their field is known."""
    with suppress(NotSeenYetError):
        return [row["n"] for row in ask(data, "SELECT inputs.n AS n FROM predictions.m ORDER BY 1")]
    return []


def files(data: Path, where: str = "true") -> set[Path]:
    """The files with the predictions of m that meet a condition, which queries do not tell."""
    with engine.connect() as connection:
        engine.attach(connection, DataDirectory(data).lake, read_only=True)
        found = connection.execute(f"SELECT DISTINCT filename FROM predictions_all.m WHERE {where}")
        return {Path(name) for (name,) in found.fetchall()}


@contextmanager
def alone(data: Path) -> Iterator[Maintenance]:
    """Own a data directory as a command does."""
    with owning(DataDirectory(data), project(data).settings) as maintenance:
        yield maintenance


def test_a_running_collector_merges_by_itself(data: Path) -> None:
    """Small files of a table that receives rows all the time become few, while every row stays."""
    with running(project(data)) as collector:
        for number in range(20):
            send(collector, number, 1)
            until(lambda upto=number: len(numbers(data)) == upto + 1)  # type: ignore[misc]
        until(lambda: len(files(data)) < 16)
        assert numbers(data) == list(range(20))


def test_commands_ask_the_owner_or_do_it_themselves(data: Path) -> None:
    """`compact` and `retain` work beside a running collector and without one, with the same outcome."""
    with running(project(data)) as collector:
        for number in range(3):
            send(collector, number, 1)
            until(lambda upto=number: len(numbers(data)) == upto + 1)  # type: ignore[misc]
        told: list[tuple[str, int, int]] = []
        done = compact(None, {"data": data}, lambda *news: told.append(news))
        assert done["files_after"] < done["files_before"]
        assert told[-1][1] == told[-1][2]
        send(collector, 3, 1, time_ns=time.time_ns() - 100 * DAY)
        until(lambda: len(numbers(data)) == 4)
    assert not (data / "owner.sock").exists()
    done = compact(None, {"data": data}, tell_nobody)
    assert done["files_after"] < done["files_before"]
    assert numbers(data) == [0, 1, 2, 3]
    assert retain(None, {"data": data}, tell_nobody) == {"rows_removed": 0, "files_removed": 0}
    done = retain(None, {"data": data, "retention.models": "m: 90d"}, tell_nobody)
    assert done["rows_removed"] == 2  # and its label
    assert numbers(data) == [0, 1, 2]


def test_a_field_gets_another_type_while_rows_come(data: Path) -> None:
    """The owner writes the rows anew for the command, and what comes afterwards has the new type."""
    with running(project(data)) as collector:
        for number, value in enumerate(("7", "x", 8)):
            row = prediction("m", f"p-{number}", time.time_ns(), inputs={"n": value}, sequence=number + 1)
            assert collector.post(request([row], "process"))[0] == 200
            until(lambda upto=number: len(numbers(data)) == upto + 1)  # type: ignore[misc]
        done = retype(None, {"data": data}, tell_nobody, "m", "inputs.n", "BIGINT")
        assert done == {"rows": 3, "into_column": 0, "into_extra": 1}
        send(collector, 9, 1)
        until(lambda: len(numbers(data)) == 4)
        assert numbers(data) == [7, 8, 9, None]


def test_an_erased_subject_is_in_no_file(data: Path) -> None:
    """Neither log nor lake, its catalog, the copy of it or the state holds an erased id."""
    canary = "canary-5d1e-name"
    with running(project(data)) as collector:
        send(collector, 0, 4)
        records = [
            prediction("m", canary, time.time_ns(), inputs={"n": 100, "who": canary}, sequence=501),
            label("m", canary, time.time_ns(), time.time_ns(), 1, 502),
        ]
        assert collector.post(request(records, "process"))[0] == 200
        done = erase(
            None,
            {"data": data},
            tell_nobody,
            table="m",
            ids=[canary],
            request_ids=[],
            where=[f"inputs.who={canary}"],
        )
        assert (done["predictions"], done["labels"], done["remaining"]) == (1, 1, [])
        assert done["verified"]
        assert traces(data, canary) == []
        send(collector, 4, 2)
        until(lambda: len(numbers(data)) == 6)
    assert traces(data, canary) == []
    with running(project(data)):
        assert numbers(data) == list(range(6))
    [proof] = ask(data, "SELECT model, predictions, labels, verified, len(asked) AS asked FROM erasures")
    assert proof == {"model": "m", "predictions": 1, "labels": 1, "verified": True, "asked": 2}


def traces(data: Path, needle: str) -> list[str]:
    """Files in whose bytes a text stands, and Parquet files in whose values it does."""
    return [
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file()
        and (
            needle.encode() in path.read_bytes()
            or (path.suffix == ".parquet" and needle in str(pq.read_table(path).to_pylist()))
        )
    ]


def test_an_erasure_tells_what_it_cannot_reach(data: Path) -> None:
    """A dead letter that names the subject is listed, and the proof says that something is left."""
    with running(project(data)) as collector:
        send(collector, 0, 2)
        until(lambda: len(numbers(data)) == 2)
        letter = data / "dead-letters" / "7.otlp"
        letter.parent.mkdir(exist_ok=True)
        letter.write_bytes(b"\x00prediction-1 and so on")
        done = erase(
            None, {"data": data}, tell_nobody, table="m", ids=["prediction-1"], request_ids=[], where=[]
        )
    assert done["remaining"] == [str(letter)]
    assert ask(data, "SELECT verified FROM erasures") == [{"verified": False}]


def test_a_file_that_goes_meanwhile_is_no_trace(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log lets go of files while they are looked through; one that cannot be read is listed."""
    opened = Path.open

    def open_(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == "vanishing.log":
            path.unlink()
        elif path.name == "unreadable":
            raise PermissionError(13, "Permission denied")
        return opened(path, *how, **more)

    with running(project(data)) as collector:
        send(collector, 0, 2)
        until(lambda: len(numbers(data)) == 2)
        (data / "vanishing.log").write_text("prediction-1")
        (data / "unreadable").touch()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_)
            done = erase(None, {"data": data}, tell_nobody, table="m", ids=["p-1"], request_ids=[], where=[])
    assert not (data / "vanishing.log").exists()
    assert done["remaining"] == [f"{data / 'unreadable'} (cannot be read: Permission denied)"]


def test_an_erasure_is_recorded_even_where_its_proof_fails(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are gone leave a record, which says that it is not proven, and why."""

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with running(project(data)) as collector:
        send(collector, 0, 2)
        until(lambda: len(numbers(data)) == 2)
        with monkeypatch.context() as patch:
            patch.setattr(maintenance, "vacuum_catalog", fail)
            done = erase(None, {"data": data}, tell_nobody, table="m", ids=["p-0"], request_ids=[], where=[])
        assert (done["predictions"], done["verified"]) == (1, False)
        assert "the disk is full" in done["remaining"][0]
        assert numbers(data) == [1]
    assert ask(data, "SELECT predictions, verified FROM erasures") == [{"predictions": 1, "verified": False}]


def test_the_doctor_does_not_mind_files_that_go_meanwhile(data: Path) -> None:
    """Parts of the log may be removed while they are counted: a name that leads nowhere is as good."""
    with running(project(data)) as collector:
        send(collector, 0, 1)
        until(lambda: len(numbers(data)) == 1)
        (data / "log" / "vanishing.log").symlink_to("nowhere")
        assert not any(each.wrong for each in examine(None, {"data": data}, tell_nobody))


def test_a_user_without_a_name_erases_by_number(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user has no name, as in containers, the record has the number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with running(project(data)) as collector:
        send(collector, 0, 1)
        until(lambda: len(numbers(data)) == 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getuid", lambda: 54_321)
            erase(None, {"data": data}, tell_nobody, table="m", ids=["p-0"], request_ids=[], where=[])
    assert ask(data, "SELECT requested_by FROM erasures") == [{"requested_by": "54321"}]


def test_rows_that_wait_are_not_erased_without_their_writer(data: Path) -> None:
    """Where the log holds rows that no running collector writes, erasing is refused: they would come back."""
    with running(project(data)) as collector:
        send(collector, 0, 1)
        until(lambda: len(numbers(data)) == 1)
    spare = data.with_name("before")
    shutil.copytree(data, spare)
    with running(project(data)) as collector:
        send(collector, 1, 1)
        until(lambda: len(numbers(data)) == 2)
        for segment in (data / "log").glob("*.log"):
            shutil.copy(segment, spare / "log" / segment.name)
    with pytest.raises(UnavailableError, match="not in the lake yet"):
        erase(None, {"data": spare}, tell_nobody, table="m", ids=["p-0"], request_ids=[], where=[])


@pytest.mark.parametrize("where", ["tags.user", "=x", "tags.user="])
def test_a_condition_that_is_none_is_told(data: Path, where: str) -> None:
    """`--where` takes a field and a value, and something must be asked."""
    with pytest.raises(ConfigError, match="FIELD=VALUE"):
        erase(None, {"data": data}, tell_nobody, table="m", ids=[], request_ids=[], where=[where])
    with pytest.raises(ConfigError, match="whose rows"):
        erase(None, {"data": data}, tell_nobody, table="m", ids=[], request_ids=[], where=[])


def test_a_backup_of_a_busy_collector_has_every_acknowledged_row(data: Path, tmp_path: Path) -> None:
    """Fault 30: a backup taken while rows flow restores to all that was acknowledged before, once."""
    stop = threading.Event()
    acknowledged = [0]
    with running(project(data)) as collector:

        def flow() -> None:
            while not stop.is_set():
                send(collector, acknowledged[0], 1)
                acknowledged[0] += 1

        sender = threading.Thread(target=flow)
        sender.start()
        try:
            until(lambda: acknowledged[0] > 20 and bool(numbers(data)))
            before = acknowledged[0]
            done = backup(None, {"data": data}, tell_nobody, tmp_path / "backup")
        finally:
            stop.set()
            sender.join()
    assert done["files"] > 0
    restored = tmp_path / "restored"
    restore(None, {"data": restored}, tell_nobody, tmp_path / "backup")
    with running(project(restored)) as collector:
        until(lambda: len(numbers(restored)) >= before)
        send(collector, 0, before)  # a client that did not hear the answers sends again
        send(collector, 10_000, 1)
        until(lambda: 10_000 in numbers(restored))
        stored = numbers(restored)[:-1]
    assert stored == list(range(len(stored)))
    assert before <= len(stored) <= acknowledged[0]


def test_a_backup_is_refused_where_something_is(data: Path, tmp_path: Path) -> None:
    """Neither a backup nor a restore writes into a folder that holds something, and damage is told."""
    with running(project(data)) as collector:
        send(collector, 0, 2)
        until(lambda: len(numbers(data)) == 2)
    with pytest.raises(DataDirectoryError, match="not empty"):
        backup(None, {"data": data}, tell_nobody, tmp_path)
    with pytest.raises(DataDirectoryError, match="inside"):
        backup(None, {"data": data}, tell_nobody, data / "backup")
    backup(None, {"data": data}, tell_nobody, tmp_path / "backup")
    with pytest.raises(DataDirectoryError, match="not empty"):
        restore(None, {"data": data}, tell_nobody, tmp_path / "backup")
    with pytest.raises(DataDirectoryError, match="no backup"):
        restore(None, {"data": tmp_path / "new"}, tell_nobody, data)
    shutil.copytree(tmp_path / "backup", tmp_path / "moved")
    file = next((tmp_path / "moved" / "lake" / "data" / "predictions_all").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataDirectoryError, match="bytes instead of"):
        restore(None, {"data": tmp_path / "new"}, tell_nobody, tmp_path / "moved")
    assert not (tmp_path / "new").exists()


def test_half_a_backup_never_stays(data: Path, tmp_path: Path) -> None:
    """Whatever ends it, a backup that is not whole is gone, and the folder can be used again."""
    with running(project(data)) as collector:
        send(collector, 0, 4)
        until(lambda: len(numbers(data)) == 4)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(None, {"data": data}, interrupt, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    backup(None, {"data": data}, tell_nobody, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


def wrong(findings: list[Any]) -> set[str]:
    return {each.subject for each in findings if each.wrong}


def test_the_doctor_finds_nothing_wrong(data: Path) -> None:
    """A data directory is fine while its collector runs and after it stopped."""
    with running(project(data)) as collector:
        send(collector, 0, 4)
        until(lambda: len(numbers(data)) == 4)
        found = examine(None, {"data": data}, tell_nobody, scrub_files=True)
        assert wrong(found) == set()
        assert any(f"pid {os.getpid()}" in each.text for each in found)
        told = {each.subject: each.text for each in found}
        assert told["rows since the start"].startswith("6 received, 6 stored, 0 deduplicated")
        assert told["senders"].startswith("1 processes number their records; ")
    found = examine(None, {"data": data}, tell_nobody)
    assert wrong(found) == set()
    assert any(each.text == "no collector runs" for each in found)


def test_the_doctor_finds_what_is_wrong(data: Path, tmp_path: Path) -> None:
    """Missing and foreign files, dead letters, a broken log or catalog: each is told with what to do."""
    assert wrong(examine(None, {"data": data}, tell_nobody)) == {"data directory"}
    with running(project(data)) as collector:
        send(collector, 0, 4)
        until(lambda: len(numbers(data)) == 4)
        send(collector, 4, 4)
        until(lambda: len(numbers(data)) == 8)
    next((data / "lake" / "data" / "labels").rglob("*.parquet")).unlink()
    foreign = data / "lake" / "data" / "notes.txt"
    foreign.write_text("mine")
    os.utime(foreign, (1, 1))
    (data / "dead-letters").mkdir(exist_ok=True)
    (data / "dead-letters" / "1.otlp").write_bytes(b"x")
    segment = next((data / "log").glob("*.log"))
    segment.write_bytes(segment.read_bytes()[:-3])
    assert wrong(examine(None, {"data": data}, tell_nobody)) == {
        "files",
        "foreign files",
        "dead letters",
        "log",
        "log quarantine",
    }
    catalog = data / "lake" / "catalog.sqlite"
    catalog.write_bytes(b"no database at all" * 1000)
    assert "catalog" in wrong(examine(None, {"data": data}, tell_nobody))
    config = tmp_path / "lapwing.yaml"
    config.write_text("clokc: wall\n")
    assert wrong(examine(config, {"data": data}, tell_nobody)) == {"settings"}


def test_a_damaged_catalog_is_replaced_by_its_copy(data: Path) -> None:
    """After a rebuild old rows are there once, newer ones as far as the log has them; files are kept."""
    with running(project(data)) as collector:
        send(collector, 0, 4)
        until(lambda: len(numbers(data)) == 4)
        copy = data / "catalog-copy" / "catalog.sqlite"
        until(copy.exists)
    with alone(data) as maintenance:
        os.utime(copy, (1, 1))
        while maintenance.work():
            pass
    with running(project(data)) as collector:
        send(collector, 4, 4)
        until(lambda: len(numbers(data)) == 8)
    (data / "lake" / "catalog.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(DataDirectoryError, match="lapwing doctor"), running(project(data)):
        pass
    found = examine(None, {"data": data}, tell_nobody, rebuild=True)
    assert wrong(found) == {"unclaimed files"}
    with running(project(data)):
        until(lambda: len(numbers(data)) >= 4)
    stored = numbers(data)
    aside = [
        row["inputs"]["n"]
        for file in (data / "lake" / "unclaimed" / "predictions_all").rglob("*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    assert stored == sorted(set(stored))
    assert set(stored) | set(aside) == set(range(8))
    assert (next((data / "lake").glob("catalog-*")) / "catalog.sqlite").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_costs_its_bad_part(data: Path, damage: str) -> None:
    """A scrub finds a flipped byte, a cut or missing file; queries then answer from the rest."""
    with running(project(data)) as collector:
        send(collector, 0, 40)
        until(lambda: len(numbers(data)) == 40)
        send(collector, 40, 4)
        until(lambda: len(numbers(data)) == 44)
        [bad] = files(data, "inputs.n = 0")
        content = bytearray(bad.read_bytes())
        column = pq.read_metadata(bad).row_group(0).column(0)
        content[column.data_page_offset + column.total_compressed_size - 2] ^= 0x10
        if damage == "gone":
            bad.unlink()
        else:
            bad.write_bytes({"flip": content, "cut": content[:-200]}[damage])
        found = examine(None, {"data": data}, tell_nobody, scrub_files=True)
        assert "scrub" in wrong(found)
        assert numbers(data) == list(range(40, 44))
        assert ask(data, "SELECT count(*) AS n FROM predictions.m") == [{"n": 4}]
        send(collector, 50, 1)
        until(lambda: 50 in numbers(data))
        compact(None, {"data": data}, tell_nobody)
        assert numbers(data) == [40, 41, 42, 43, 50]
        assert "scrub" not in wrong(examine(None, {"data": data}, tell_nobody, scrub_files=True))
    aside = list((data / "lake" / "quarantine").rglob("*.parquet"))
    assert len(aside) == (damage != "gone")


def test_commands_answer_people_and_scripts(data: Path) -> None:
    """The command line prints one sentence, or JSON, and its exit code says how it went."""

    def lapwing(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "lapwing_collector.cli", *arguments, "--data", str(data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    refused = lapwing("compact")
    assert (refused.returncode, "no lake here yet" in refused.stderr) == (1, True)
    with running(project(data)) as collector:
        send(collector, 0, 2)
        until(lambda: len(numbers(data)) == 2)
        erased = lapwing("erase", "--model", "m", "--id", "p-0")
        assert erased.returncode == 0
        assert "1 predictions and 1 labels of m are erased" in erased.stdout
        report = lapwing("doctor", "--json")
        assert report.returncode == 0
        assert {"subject", "text", "wrong"} == set(json.loads(report.stdout)[0])
    assert lapwing("erase", "--model", "nosuch", "--id", "p-0").returncode == 1
    (data / "dead-letters").mkdir(exist_ok=True)
    (data / "dead-letters" / "1.otlp").write_bytes(b"x")
    report = lapwing("doctor")
    assert (report.returncode, "dead letters" in report.stdout) == (1, True)


def test_orders_are_for_the_owner_of_the_files(data: Path) -> None:
    """The socket is its owner's only, a long path is no obstacle, and refusals keep their kind."""
    deep = data / ("long" * 30)
    deep.mkdir(parents=True)

    def refuse(arguments: Any, tell: Any) -> Any:
        tell("work", 1, 2)
        raise ConfigError(f"not {arguments['what']}")

    for folder in (data, deep):
        server = OwnerSocket.open(folder, {"refuse": refuse, "echo": lambda arguments, _: arguments})
        path = Path((folder / "owner.socket").read_text().strip())
        assert path.stat().st_mode & 0o077 == 0
        told: list[tuple[str, int, int]] = []
        with pytest.raises(ConfigError, match="not this"):
            ask_owner(folder, "refuse", {"what": "this"}, lambda *news: told.append(news))  # noqa: B023
        assert told == [("work", 1, 2)]
        assert ask_owner(folder, "echo", {"a": [1, "é"]}, tell_nobody) == {"a": [1, "é"]}
        with pytest.raises(Exception, match="knows no order"):
            ask_owner(folder, "nosuch", {}, tell_nobody)
        server.close()
        assert ask_owner(folder, "echo", {}, tell_nobody) is None
        assert not path.exists()


@pytest.mark.parametrize(
    "line", [b"\n", b"none\n", b"[1]\n", b"{}\n", b'{"order": "echo"}\n', b'{"order": [], "arguments": {}}\n']
)
def test_what_is_no_order_is_refused(data: Path, line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is no order is answered as such, and nothing of it shows in the collector's output."""
    data.mkdir()
    server = OwnerSocket.open(data, {"echo": lambda arguments, _: arguments})
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(data / "owner.sock"))
            connection.sendall(line)
            with connection.makefile("rb") as answers:
                assert "expected" in json.loads(answers.readline())["refused"]
                assert answers.read() == b""
    finally:
        server.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("said", [b"", b'{"doing": "work", "done": 1, "of": 2}\n{"ans'])
def test_an_owner_that_dies_is_told(data: Path, said: bytes) -> None:
    """Whether it resets the connection at once or dies within a line, the command says what to do."""
    data.mkdir()
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(data / "owner.sock"))
        owner.listen()
        (data / "owner.socket").write_text(f"{data / 'owner.sock'}\n")

        def die() -> None:
            connection, _ = owner.accept()
            connection.sendall(said)
            connection.close()  # with the order unread: the command's side is reset

        dying = threading.Thread(target=die)
        dying.start()
        with pytest.raises(UnavailableError, match="went away"):
            ask_owner(data, "echo", {"much": "x" * 5_000_000}, tell_nobody)
        dying.join()


def test_an_order_that_lacks_something_says_what(data: Path) -> None:
    """An order with arguments missing, or of another kind, is a mistake of who asks, and nothing is done."""
    subject = {"table": "m", "ids": [], "request_ids": [], "values": [], "by": "me"}
    with running(project(data)):
        pass
    with alone(data) as own:
        for order, arguments in (
            ("erase", {}),
            ("erase", subject | {"ids": [1]}),
            ("erase", subject | {"values": [["tags.user"]]}),
            ("backup", {}),
            ("backup", {"target": "somewhere"}),
        ):
            with pytest.raises(ConfigError, match=f"{order}: "):
                orders(own)[order](arguments, tell_nobody)


def test_over_http_nothing_is_taken_away(data: Path) -> None:
    """Whoever reaches the port may not erase, scrub or have a backup written where they say."""
    with running(project(data)) as collector:
        send(collector, 0, 2)
        until(lambda: len(numbers(data)) == 2)

        def order(name: str, **arguments: Any) -> int:
            asked = urllib.request.Request(
                f"http://{collector.web}/api/v1/admin/{name}",
                json.dumps(arguments).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        subject = {"table": "m", "ids": ["p-0"], "request_ids": [], "values": [], "by": "somebody else"}
        refused = [order("erase", **subject), order("backup", target=f"{data}-copy"), order("scrub")]
        assert refused == [404, 404, 404]
        assert [order(name) for name in ("compact", "retain", "status", "senders")] == [200] * 4
        assert numbers(data) == [0, 1]
    assert not Path(f"{data}-copy").exists()


def test_background_work_keeps_to_its_share() -> None:
    """Work pauses as its share asks, longer while rows wait, not at all for a person, and ends at a stop."""
    busy = [False]
    pacing = Pacing(0.25, lambda: busy[0])
    started = time.monotonic()
    pacing.pause(0.05)
    assert time.monotonic() - started > 0.14
    busy[0] = True
    waiting = threading.Thread(target=pacing.pause, args=(0.0,))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    pacing.hurry()
    waiting.join(30)
    assert not waiting.is_alive()
    pacing.pause(1000.0)
    pacing.relax()
    pacing.stop()
    with pytest.raises(StoppedError):
        pacing.pause(1000.0)
    assert not pacing.rest(1000.0)


def test_files_stay_until_the_catalog_was_copied_without_them(data: Path) -> None:
    """What the last copy of the catalog names is on the disk, so that the copy can be restored."""
    with running(project(data, **{"maintenance.longest_query": "1s"})) as collector:
        for number in range(3):
            send(collector, number, 1)
            until(lambda upto=number: len(numbers(data)) == upto + 1)  # type: ignore[misc]
        copy = data / "catalog-copy" / "catalog.sqlite"
        until(copy.exists)
    with alone(data) as maintenance:
        maintenance.compact()
        while maintenance.work():
            pass
    aside = data.with_name("aside")
    (aside / "lake").mkdir(parents=True)
    shutil.copy(copy, aside / "lake" / "catalog.sqlite")
    shutil.copytree(data / "lake" / "data", aside / "lake" / "data")
    assert set(numbers(aside)) <= {0, 1, 2}
