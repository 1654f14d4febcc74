"""Maintenance of a running collector, and by commands where none runs."""

import errno
import json
import os
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from helpers.batches import predictions
from helpers.collector import Collector, ask, label, prediction, project, request, running
from helpers.commands import exit_code
from helpers.waiting import wait_until
from lapwing_collector import engine
from lapwing_collector.app.background.pacing import Pacing, StoppedError
from lapwing_collector.app.ingest.writing import MetricQueue
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import OwnerSocket, ask_owner
from lapwing_collector.app.upkeep import backup as backups
from lapwing_collector.app.upkeep import maintenance
from lapwing_collector.app.upkeep.doctor import examine
from lapwing_collector.app.upkeep.keeping import (
    backup,
    compact,
    erase,
    orders,
    owning,
    restore,
    retain,
    retype,
)
from lapwing_collector.app.upkeep.maintenance import Maintenance, tell_nobody
from lapwing_collector.engine.place import Location
from lapwing_collector.errors import ConfigError, DataDirectoryError, NotSeenYetError, UnavailableError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.erasure import mentions_in_catalog
from lapwing_collector.lake.store import FolderStore
from lapwing_collector.model.alerts import MetricRow, RuleId, RuleState
from lapwing_collector.model.groups import Silence
from lapwing_collector.state import Keep, PostgresServer, Store

if TYPE_CHECKING:
    from helpers.postgres import Server

SECOND = 10**9
DAY = 86_400 * SECOND


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as a collector left it that took four predictions."""
    data = tmp_path_factory.mktemp("left") / "data"
    with running(project(data)) as collector:
        send(collector, 0, 4)
        wait_for(collector, 4)
    return data


@pytest.fixture
def filled(left: Path, data: Path) -> Path:
    """One such, to change."""
    return shutil.copytree(left, data)


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


NUMBERS = "SELECT inputs.n AS n FROM predictions.m ORDER BY 1"


def numbers(data: Path) -> list[int]:
    """The predictions that a query finds."""
    return [row["n"] for row in ask(data, NUMBERS)]


def seen(collector: Collector) -> list[int]:
    """The predictions that a query finds while a collector runs, none before their field is known."""
    with suppress(NotSeenYetError):
        return [row["n"] for row in collector.ask(NUMBERS)]
    return []


def wait_for(collector: Collector, rows: int) -> None:
    """Wait until a query finds so many predictions."""
    wait_until(lambda: len(seen(collector)) == rows)


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
            wait_for(collector, number + 1)
        wait_until(lambda: len(files(data)) < 16)
        assert numbers(data) == list(range(20))


def test_commands_ask_the_owner_or_do_it_themselves(data: Path) -> None:
    """`compact` and `retain` work beside a running collector and without one, with the same outcome."""
    with running(project(data)) as collector:
        for number in range(3):
            send(collector, number, 1)
            wait_for(collector, number + 1)
        told: list[tuple[str, int, int]] = []
        done = compact(None, {"data": data}, lambda *news: told.append(news))
        assert done["files_after"] < done["files_before"]
        assert told[-1][1] == told[-1][2]
        send(collector, 3, 1, time_ns=time.time_ns() - 100 * DAY)
        wait_for(collector, 4)
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
            wait_for(collector, number + 1)
        done = retype(None, {"data": data}, tell_nobody, "m", "inputs.n", "BIGINT")
        assert done == {"rows": 3, "into_column": 0, "into_extra": 1}
        send(collector, 9, 1)
        wait_for(collector, 4)
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
        wait_for(collector, 6)
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


def test_an_erasure_looks_into_databases_on_servers(data: Path, postgres: "Server", tmp_path: Path) -> None:
    """Where catalog and state are in PostgreSQL, a table of theirs that still says something is named."""
    pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")
    canary = 'canary "5d1e" \\name'
    url, lake_url = postgres.database(), postgres.database()
    where = {"lake.catalog": lake_url, "lake.data": str(tmp_path / "files"), "state.url": url}
    subject = {"table": "m", "ids": [canary], "request_ids": [], "values": [], "by": "me"}
    at = datetime(2026, 1, 1)
    with (
        owning(DataDirectory(data), project(data, **where).settings) as maintenance,
        closing(Store.open(PostgresServer(url))) as store,
    ):
        lake: Lake = maintenance._lake
        erase_it = orders(maintenance)["erase"]
        lake.flush(
            [predictions("m", [{"prediction_id": canary}, {"prediction_id": "other"}])], [], Progress(1)
        )
        assert mentions_in_catalog(lake.catalog, [canary]) == ["ducklake_file_column_stats"]
        store.silence(Silence("s1", f"id={canary}", at, None, "me", "", at))
        done = erase_it(subject, tell_nobody)
        assert (done["predictions"], done["verified"]) == (1, False)
        [left] = done["remaining"]
        assert left.startswith("the table silences of postgresql://lapwing@")
        store.end_silence("s1", at)
        store.forget_silences(Keep(datetime(2027, 1, 1), at))
        assert erase_it(subject, tell_nobody)["verified"]


def test_an_erasure_tells_what_it_cannot_reach(data: Path) -> None:
    """A dead letter that names the subject is listed, and the proof says that something is left."""
    with running(project(data)) as collector:
        send(collector, 0, 2)
        wait_for(collector, 2)
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
        wait_for(collector, 2)
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
        wait_for(collector, 2)
        with monkeypatch.context() as patch:
            patch.setattr(maintenance, "vacuum_catalog", fail)
            done = erase(None, {"data": data}, tell_nobody, table="m", ids=["p-0"], request_ids=[], where=[])
        assert (done["predictions"], done["verified"]) == (1, False)
        assert "the disk is full" in done["remaining"][0]
        assert numbers(data) == [1]
    assert ask(data, "SELECT predictions, verified FROM erasures") == [{"predictions": 1, "verified": False}]


def test_a_user_without_a_name_erases_by_number(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user has no name, as in containers, the record has the number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 54_321)
        erase(None, {"data": filled}, tell_nobody, table="m", ids=["p-0"], request_ids=[], where=[])
    assert ask(filled, "SELECT requested_by FROM erasures") == [{"requested_by": "54321"}]


def test_rows_that_wait_are_not_erased_without_their_writer(filled: Path) -> None:
    """Where the log holds rows that no running collector writes, erasing is refused: they would come back."""
    spare = shutil.copytree(filled, filled.with_name("before"))
    with running(project(filled)) as collector:
        send(collector, 4, 1)
        wait_for(collector, 5)
        for segment in (filled / "log").glob("*.log"):
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
            wait_until(lambda: acknowledged[0] > 20 and bool(seen(collector)))
            before = acknowledged[0]
            done = backup(None, {"data": data}, tell_nobody, tmp_path / "backup")
        finally:
            stop.set()
            sender.join()
    assert done["files"] > 0
    restored = tmp_path / "restored"
    restore(None, {"data": restored}, tell_nobody, tmp_path / "backup")
    with running(project(restored)) as collector:
        wait_until(lambda: len(seen(collector)) >= before)
        send(collector, 0, before)  # a client that did not hear the answers sends again
        send(collector, 10_000, 1)
        wait_until(lambda: 10_000 in seen(collector))
        stored = numbers(restored)[:-1]
    assert stored == list(range(len(stored)))
    assert before <= len(stored) <= acknowledged[0]


def test_a_backup_has_each_result_of_a_rule_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 30: a result that is on its way from the state into the lake is in the state or in the lake."""

    def result(n: int) -> MetricRow:
        at = datetime(2026, 1, n)
        return MetricRow("accuracy", None, {}, at, at, float(n), 1, None)

    real = backups.copy_catalog
    with alone(data) as maintenance, closing(Store.open(DataDirectory(data).state)) as store:
        lake: Lake = maintenance._lake
        queue = MetricQueue.of(store)

        def commit(n: int) -> None:
            at = datetime(2026, 1, n)
            store.commit(RuleId("g", "r"), RuleState("d", at), [], [], [result(n)], at)

        def flush() -> None:
            waiting = queue.waiting(lake.progress.metrics, 10)
            lake.flush([], waiting, Progress(metrics=waiting[-1].number))
            queue.forget(waiting[-1].number)

        def meanwhile(*files: Path) -> None:
            commit(3)
            others.start()
            others.join(0.5)
            real(*files)

        commit(1)
        flush()
        commit(2)
        others = threading.Thread(target=flush)
        monkeypatch.setattr(backups, "copy_catalog", meanwhile)
        maintenance.backup(tmp_path / "backup")
        others.join()
    restored = tmp_path / "restored"
    restore(None, {"data": restored}, tell_nobody, tmp_path / "backup")
    there = [row["value"] for row in ask(restored, "SELECT value FROM metric_values")]
    with closing(Store.open(DataDirectory(restored).state)) as store:
        assert [*there, *(row.value for _, row, _ in store.queued_metrics(0, 10))] == [1.0, 2.0]


def test_a_backup_is_refused_where_something_is(filled: Path, tmp_path: Path) -> None:
    """Neither a backup nor a restore writes into a folder that holds something, and damage is told."""
    with pytest.raises(DataDirectoryError, match="not empty"):
        backup(None, {"data": filled}, tell_nobody, tmp_path)
    with pytest.raises(DataDirectoryError, match="inside"):
        backup(None, {"data": filled}, tell_nobody, filled / "backup")
    backup(None, {"data": filled}, tell_nobody, tmp_path / "backup")
    with pytest.raises(DataDirectoryError, match="not empty"):
        restore(None, {"data": filled}, tell_nobody, tmp_path / "backup")
    with pytest.raises(DataDirectoryError, match="no backup"):
        restore(None, {"data": tmp_path / "new"}, tell_nobody, filled)
    shutil.copytree(tmp_path / "backup", tmp_path / "moved")
    file = next((tmp_path / "moved" / "lake" / "data" / "predictions_all").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataDirectoryError, match="bytes instead of"):
        restore(None, {"data": tmp_path / "new"}, tell_nobody, tmp_path / "moved")
    assert not (tmp_path / "new").exists()


def test_half_a_backup_never_stays(filled: Path, tmp_path: Path) -> None:
    """Whatever ends it, a backup that is not whole is gone, and the folder can be used again."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup(None, {"data": filled}, interrupt, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    backup(None, {"data": filled}, tell_nobody, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


def wrong(findings: list[Any]) -> set[str]:
    return {each.subject for each in findings if each.wrong}


def test_the_doctor_finds_nothing_wrong(data: Path) -> None:
    """All is fine while a collector runs, were parts of the log to go as they are counted, and afterwards."""
    with running(project(data)) as collector:
        send(collector, 0, 4)
        wait_for(collector, 4)
        vanishing = data / "log" / "vanishing.log"
        vanishing.symlink_to("nowhere")
        found = examine(None, {"data": data}, tell_nobody, scrub_files=True)
        vanishing.unlink()
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
        wait_for(collector, 4)
        send(collector, 4, 4)
        wait_for(collector, 8)
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
        wait_for(collector, 4)
        copy = data / "catalog-copy" / "catalog.sqlite"
        wait_until(copy.exists)
    with alone(data) as maintenance:
        os.utime(copy, (1, 1))
        while maintenance.work():
            pass
    with running(project(data)) as collector:
        send(collector, 4, 4)
        wait_for(collector, 8)
    (data / "lake" / "catalog.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(DataDirectoryError, match="lapwing doctor"), running(project(data)):
        pass
    found = examine(None, {"data": data}, tell_nobody, rebuild=True)
    assert wrong(found) == {"unclaimed files"}
    with running(project(data)) as collector:
        wait_until(lambda: len(seen(collector)) >= 4)
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
        wait_for(collector, 40)
        send(collector, 40, 4)
        wait_for(collector, 44)
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
        wait_until(lambda: 50 in seen(collector))
        compact(None, {"data": data}, tell_nobody)
        assert numbers(data) == [40, 41, 42, 43, 50]
        assert "scrub" not in wrong(examine(None, {"data": data}, tell_nobody, scrub_files=True))
    aside = list((data / "lake" / "quarantine").rglob("*.parquet"))
    assert len(aside) == (damage != "gone")


def test_a_scrub_tells_what_it_could_not_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor finds fault with a file that cannot be read now, and with one that is damaged, at once."""
    with running(project(data)) as collector:
        send(collector, 0, 4)
        wait_for(collector, 4)
        send(collector, 4, 4)
        wait_for(collector, 8)
    [unreadable], [damaged] = files(data, "inputs.n = 0"), files(data, "inputs.n = 4")
    damaged.write_bytes(damaged.read_bytes()[:-200])
    fetched = FolderStore.fetched

    def refused(store: FolderStore, file: Location) -> AbstractContextManager[Path]:
        if file == unreadable:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return fetched(store, file)

    monkeypatch.setattr(FolderStore, "fetched", refused)
    found = examine(None, {"data": data}, tell_nobody, scrub_files=True)
    [text] = [each.text for each in found if each.subject == "scrub" and each.wrong]
    assert damaged.name in text
    assert f"{unreadable}: [Errno 13] Permission denied" in text
    assert (unreadable.exists(), damaged.exists()) == (True, False)
    monkeypatch.undo()
    assert numbers(data) == list(range(4))


def test_commands_answer_people_and_scripts(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line prints one sentence, or JSON, and its exit code says how it went."""

    def lapwing(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return exit_code(*arguments, "--data", str(data)), *capsys.readouterr()

    code, _, told = lapwing("compact")
    assert (code, "no lake here yet" in told) == (1, True)
    with running(project(data)) as collector:
        send(collector, 0, 2)
        wait_for(collector, 2)
        code, told, _ = lapwing("erase", "--model", "m", "--id", "p-0")
        assert code == 0
        assert "1 predictions and 1 labels of m are erased" in told
        code, told, _ = lapwing("doctor", "--json")
        assert code == 0
        assert {"subject", "text", "wrong"} == set(json.loads(told)[0])
    assert lapwing("erase", "--model", "nosuch", "--id", "p-0")[0] == 1
    (data / "dead-letters").mkdir(exist_ok=True)
    (data / "dead-letters" / "1.otlp").write_bytes(b"x")
    code, told, _ = lapwing("doctor")
    assert (code, "dead letters" in told) == (1, True)


def test_orders_are_for_the_owner_of_the_files(data: Path) -> None:
    """The socket is its owner's only, a long path is no obstacle, and refusals keep their kind."""
    deep = data / ("long" * 30)
    deep.mkdir(parents=True)

    def refuse(arguments: Any, tell: Any) -> Any:
        tell("work", 1, 2)
        raise ConfigError(f"not {arguments['what']}")

    for folder in (data, deep):
        server = OwnerSocket.open(folder)
        server.take({"refuse": refuse, "echo": lambda arguments, _: arguments})
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
    server = OwnerSocket.open(data)
    server.take({"echo": lambda arguments, _: arguments})
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


def test_an_order_that_lacks_something_says_what(filled: Path) -> None:
    """An order with arguments missing, or of another kind, is a mistake of who asks, and nothing is done."""
    subject = {"table": "m", "ids": [], "request_ids": [], "values": [], "by": "me"}
    with alone(filled) as own:
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
        wait_for(collector, 2)

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


def test_a_lake_that_is_held_in_the_middle_of_work_is_no_failure(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the duty was at when the lake left is undone, and nobody is told that anything is wrong."""
    monkeypatch.setattr(maintenance, "_TICK_S", 0.01)
    began: list[bool] = []
    with alone(data) as duty:
        lake = duty._lake
        for number in range(16):
            lake.flush([predictions("m", [{"inputs.n": number}])], [], Progress(log=number + 1))
        lake.catalog.hold("it is elsewhere")
        before = files(data)
        monkeypatch.setattr(duty, "_is_mine", lambda: not began.append(True))
        duty.start()
        wait_until(lambda: len(began) > 3)
        assert files(data) == before
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


def test_work_that_takes_long_is_interrupted_by_the_end(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What reads rows for minutes does not outlive the lake, and nobody is told that anything is wrong."""
    monkeypatch.setattr(maintenance, "_TICK_S", 0.01)
    with alone(data) as duty:
        rewriter = duty._upkeep.rewriter
        endless = (
            "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b WHERE (a.range * b.range) % 7 = 3"
        )
        monkeypatch.setattr(duty, "work", lambda: bool(rewriter.read(endless)))
        duty.start()
        wait_until(lambda: rewriter._reader is not None)
        assert duty.close(1.0)
        assert not duty._thread.is_alive()
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == []


def test_files_stay_until_the_catalog_was_copied_without_them(data: Path) -> None:
    """What the last copy of the catalog names is on the disk, so that the copy can be restored."""
    with running(project(data, **{"maintenance.longest_query": "1s"})) as collector:
        for number in range(3):
            send(collector, number, 1)
            wait_for(collector, number + 1)
        copy = data / "catalog-copy" / "catalog.sqlite"
        wait_until(copy.exists)
    with alone(data) as maintenance:
        maintenance.compact()
        while maintenance.work():
            pass
    aside = data.with_name("aside")
    (aside / "lake").mkdir(parents=True)
    shutil.copy(copy, aside / "lake" / "catalog.sqlite")
    shutil.copytree(data / "lake" / "data", aside / "lake" / "data")
    assert set(numbers(aside)) <= {0, 1, 2}
