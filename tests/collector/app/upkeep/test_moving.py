"""A lake is taken to PostgreSQL and an object store, and back."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import duckdb
import pytest
import yaml

from helpers.batches import START, labels, logs, predictions
from helpers.collector import prediction, request
from helpers.commands import exit_code
from helpers.faults_victim import Victim
from helpers.notify_alerts import NOON, RULE, instance, transition
from helpers.waiting import wait_until
from lapwing_collector import crashpoints
from lapwing_collector.app.places.departing import (
    Departure,
    hold_lake,
    travelling,
    why_held,
)
from lapwing_collector.app.places.directory import DataDirectory, collector_name
from lapwing_collector.app.places.lake_place import lake_of
from lapwing_collector.app.places.owner_socket import OwnerSocket
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.upkeep.doctor import examine
from lapwing_collector.app.upkeep.keeping import compact
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.app.upkeep.moving import migrate_lake, migrate_state
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import load_settings
from lapwing_collector.engine.place import Place
from lapwing_collector.errors import ConfigError, DataDirectoryError, LakeHeldError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.files import all_files
from lapwing_collector.lake.migrating import Migration
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.alerts import MetricRow, RuleState
from lapwing_collector.model.replicas import Mark, Replica
from lapwing_collector.query import Session
from lapwing_collector.state import Place as StatePlace
from lapwing_collector.state import Store

if TYPE_CHECKING:
    from helpers.objects import ObjectStore
    from helpers.postgres import Server

pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")

QUERIES = (
    "SELECT count(*), sum(inputs.age), avg(output.score), min(time), max(received_at) FROM predictions.churn",
    "SELECT version, count(*), max(inputs.plan) FROM predictions_all.churn GROUP BY 1 ORDER BY 1",
    "SELECT prediction_id, label, label_time FROM labeled.churn WHERE label IS NOT NULL ORDER BY ALL",
    'SELECT * FROM predictions."churn~2" ORDER BY ALL',
    "SELECT body, event_name FROM logs ORDER BY ALL",
    "SELECT field, time, counts, sum, minimum, maximum FROM profiles ORDER BY ALL",
    "SELECT model, version, table_name, first_seen FROM models ORDER BY ALL",
)


def write_settings(folder: Path, postgres: "Server", objects: "ObjectStore") -> tuple[Path, Path]:
    """Settings of a lake in the data directory, and of one that is shared."""
    here, there = folder / "here.yaml", folder / "there.yaml"
    here.write_text("data: data\n")
    shared = {"catalog": postgres.database(), **objects.settings(objects.empty())}
    state = {"url": postgres.database()}
    there.write_text(yaml.safe_dump({"data": "data", "lake": shared, "state": state}))
    return here, there


def place(file: Path) -> Place:
    return lake_of(load_settings(file, environment={}))


def fill(file: Path) -> None:
    """A lake with what lakes have: several models, labels, late fields, merged and young files."""
    with closing(open_lake(file)) as lake:
        for turn in range(4):
            rows = [
                {
                    "prediction_id": f"p{turn}-{n}",
                    "time": START + timedelta(minutes=turn),
                    "version": str(n % 2),
                    "inputs.age": 10 * turn + n,
                    "output.score": n / 7,
                    **({"inputs.plan": f"plan {n}"} if turn > 1 else {}),
                }
                for n in range(10)
            ]
            told = [
                {
                    "prediction_id": f"p{turn}-1",
                    "prediction_time": START + timedelta(minutes=turn),
                    "label": turn,
                }
            ]
            batches = [predictions("churn", rows), predictions("Churn", rows[:2]), labels("churn", told)]
            batches.append(predictions("on-target.eu", [{"version": "$1"}]))
            lake.flush([*batches, logs([{"event_name": f"e{turn}"}])], [], Progress(log=turn + 1))
            if turn == 2:
                upkeep = Upkeep(lake.catalog, lake.profiles, lake.add_rows)
                list(upkeep.merge_all())
                upkeep.close()


def state(file: Path) -> StatePlace:
    return state_of(load_settings(file, environment={}))


def fill_state(file: Path) -> None:
    """A rule whose alert fires, and what it records."""
    rows = [MetricRow("m", None, {}, NOON, NOON, value, 1, None) for value in (0.5, 0.25)]
    known = RuleState("d", NOON, instances={"f1": instance()})
    with closing(Store.open(state(file))) as store:
        store.commit(RULE, known, [transition()], [], rows, NOON)


def alerts(file: Path) -> list[Any]:
    """All that is known of alerts, and what waits for the lake."""
    with closing(Store.find(state(file))) as store:
        return [store.load_rules(), store.history(), store.queued_metrics(0, 10)]


def open_lake(file: Path) -> Lake:
    directory = DataDirectory(file.parent / "data")
    directory.root.mkdir(exist_ok=True)
    return Lake.open(place(file), profiling=PROFILING, writer=collector_name(directory.root))


def answers(file: Path) -> list[list[dict[str, Any]]]:
    with closing(Session.open(place(file))) as session:
        return [session.run(sql).to_pylist() for sql in QUERIES]


def test_a_lake_goes_there_and_back(tmp_path: Path, postgres: "Server", objects: "ObjectStore") -> None:
    """Queries have the same answers there and back again, alerts go along, and both go on where they were."""
    here, there = write_settings(tmp_path, postgres, objects)
    fill(here)
    fill_state(here)
    before, told = answers(here), alerts(here)
    assert all([*before, *told])
    done = migrate_lake(here, {}, there, tell_nobody)
    assert done["finished"]
    assert done["tables"]['"predictions_all"."churn"']["rows"] == 40
    assert (done["state"]["history"], done["state"]["metric_queue"]) == (1, 2)
    assert answers(there) == before
    assert alerts(there) == alerts(here) == told
    with closing(open_lake(there)) as lake:
        assert lake.progress == Progress(log=4)
        assert lake.table_names.keys() == {"churn", "Churn", "on-target.eu"}
        lake.flush([predictions("churn", [{"prediction_id": "new", "inputs.more": 1}])], [], Progress(log=5))
    changed = answers(there)
    with pytest.raises(DataDirectoryError, match="there is a lake already"):
        migrate_lake(there, {}, here, tell_nobody)
    (tmp_path / "data" / "lake").rename(tmp_path / "old")
    with pytest.raises(DataDirectoryError, match="there is an alert state already"):
        migrate_lake(there, {}, here, tell_nobody)
    (tmp_path / "data" / "state.sqlite").rename(tmp_path / "old.sqlite")
    now = utc_datetime(SystemClock().now_ns())
    with closing(Store.find(state(there))) as store:
        store.tell_mark(Mark("another", "http://lapwing-2:4319", now, 1, now))
        with pytest.raises(DataDirectoryError, match=r"another collector writes .*lapwing-2"):
            migrate_lake(there, {}, here, tell_nobody)
        store.forget_mark("another")
    assert migrate_lake(there, {}, here, tell_nobody)["finished"]
    assert answers(here) == changed
    assert alerts(here) == told
    with closing(open_lake(here)) as lake:
        assert lake.progress == Progress(log=5)
        lake.flush([predictions("churn", [{"prediction_id": "newer"}])], [], Progress(log=6))


def test_a_journey_that_was_interrupted_goes_on(
    tmp_path: Path, postgres: "Server", objects: "ObjectStore"
) -> None:
    """Killed among files, then while the catalog is made, it copies no file twice and comes to its end."""
    here, there = write_settings(tmp_path, postgres, objects)
    fill(here)
    command = [sys.executable, "-m", "lapwing_collector.cli", "migrate-lake"]
    command += ["--config", str(here), "--to", str(there)]
    fill_state(here)
    for moment in ("migrating.file:5", "migrating.catalog"):
        killed = subprocess.run(command, env={**os.environ, "LAPWING_CRASH_AT": moment}, check=False)
        assert killed.returncode == crashpoints.EXIT_STATUS
        copied = (tmp_path / "data" / "migration.jsonl").read_text().count('"path"')
        assert (copied == 5) == (moment == "migrating.file:5")
    with closing(Catalog.read(place(here))) as catalog:
        assert copied == len(all_files(catalog))
    directory = DataDirectory(tmp_path / "data")
    assert why_held(directory, place(here))
    directory.serving.root.mkdir()
    with closing(OwnerSocket.open(directory.serving.root)) as serving:  # who serves beside it only reads
        serving.take({})
        assert migrate_lake(here, {}, there, tell_nobody)["files_copied"] == 0
    assert answers(there) == answers(here)
    assert alerts(there) == alerts(here)
    with pytest.raises(DataDirectoryError, match="the lake is there; start the collector with"):
        migrate_lake(here, {}, there, tell_nobody)


def test_alerts_go_there_and_back(
    tmp_path: Path, postgres: "Server", capsys: pytest.CaptureFixture[str]
) -> None:
    """The command takes the alert state alone, tells how much there is, and can take it back."""
    here, there = tmp_path / "here.yaml", tmp_path / "there.yaml"
    here.write_text("data: data\n")
    there.write_text(yaml.safe_dump({"data": "data", "state": {"url": postgres.database()}}))
    (tmp_path / "data").mkdir()
    fill_state(here)
    before = alerts(here)

    def command(file: Path, to: Path) -> str:
        failed = exit_code("migrate-state", "--config", str(file), "--to", str(to))
        told = capsys.readouterr()
        return told.err if failed else told.out

    assert "5 rows of alerts and messages are there" in command(here, there)
    assert alerts(there) == before
    assert "there is an alert state already; move it away" in command(there, here)
    (tmp_path / "data" / "state.sqlite").unlink()
    assert "start the collector with" in command(there, here)
    assert alerts(here) == before


def test_what_is_in_use_is_not_taken_away(tmp_path: Path, postgres: "Server") -> None:
    """Neither while a collector owns the data directory, nor while any process shares the state."""
    here, there = tmp_path / "here.yaml", tmp_path / "there.yaml"
    here.write_text("data: data\n")
    there.write_text(yaml.safe_dump({"data": "data", "state": {"url": postgres.database()}}))
    with pytest.raises(DataDirectoryError, match="no collector has run here yet"):
        migrate_state(here, {}, there, tell_nobody)
    with closing(Store.open(state(there))) as store:
        now = utc_datetime(SystemClock().now_ns())
        store.beat(Replica("a", "collect", "http://web-2:4319", "1", now, 1, now))
    with pytest.raises(DataDirectoryError, match="http://web-2:4319 work with this alert state"):
        migrate_state(there, {}, here, tell_nobody)
    ownership = Ownership.take(tmp_path / "data")
    with pytest.raises(DataDirectoryError, match="owns this data directory"):
        migrate_state(there, {}, here, tell_nobody)
    ownership.release()


def test_a_lake_that_is_elsewhere_is_not_written_where_it_was(
    tmp_path: Path, postgres: "Server", objects: "ObjectStore"
) -> None:
    """Whoever would write the old lake is told where it is; an arrival that fails leaves it as it was."""
    here, there = write_settings(tmp_path, postgres, objects)
    fill(here)
    directory = DataDirectory(tmp_path / "data")
    before = Departure(("somewhere",), "here")
    before.mark(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Migration, "copy_catalog", lambda _: (_ for _ in ()).throw(duckdb.Error("no")))
        with pytest.raises(DataDirectoryError, match="cannot be taken there: no"):
            migrate_lake(here, {}, there, tell_nobody)
    assert Departure.of(directory) == before
    assert compact(here, {}, tell_nobody)["files_after"]
    assert migrate_lake(here, {}, there, tell_nobody)["finished"]
    with pytest.raises(LakeHeldError, match=r"the lake was taken from .* to postgresql://"):
        compact(here, {}, tell_nobody)
    [found] = [each for each in examine(here, {}, tell_nobody) if each.subject == "lake"]
    assert found.wrong
    assert str(directory.departure) in found.text
    assert compact(there, {}, tell_nobody)["files_after"]


def test_every_place_that_a_lake_left_is_known(
    tmp_path: Path, postgres: "Server", objects: "ObjectStore"
) -> None:
    """After two journeys neither old place is written or taken anywhere; who comes back is written."""
    here, there = write_settings(tmp_path, postgres, objects)
    fill(here)
    directory = DataDirectory(tmp_path / "data")
    b, c = Place.within(tmp_path / "b"), Place.within(tmp_path / "c")
    elsewhere = Departure.after(Departure.after(None, place(here), b), b, c)
    elsewhere.mark(directory)
    assert f"to {c}" in str(why_held(directory, place(here)))
    assert why_held(directory, b)
    with pytest.raises(DataDirectoryError, match="the lake was taken from"):
        migrate_lake(here, {}, there, tell_nobody)
    Departure.after(elsewhere, c, place(here)).mark(directory)
    assert why_held(directory, place(here)) is None
    assert migrate_lake(here, {}, there, tell_nobody)["finished"]


def test_a_damaged_mark_is_told(tmp_path: Path) -> None:
    """A collector does not begin to write what may be elsewhere, and says in one line what to do."""
    directory = DataDirectory(tmp_path)
    Lake.open(directory.lake, profiling=PROFILING).close()
    for damaged in ('{"left": ["a"]', "[]", '{"target": "b"}', '{"left": 3, "target": "b"}'):
        directory.departure.write_text(damaged)
        with pytest.raises(DataDirectoryError, match="damaged, so nobody knows where the lake was taken to"):
            compact(None, {"data": tmp_path}, tell_nobody)
        [found] = [each for each in examine(None, {"data": tmp_path}, tell_nobody) if each.subject == "lake"]
        assert found.wrong
        assert str(directory.departure) in found.text


def test_a_lake_waits_for_whoever_takes_it_elsewhere(tmp_path: Path) -> None:
    """It is held while one does, of whom there is one at a time, and goes on when that one was no success."""
    directory = DataDirectory(tmp_path)
    with closing(Lake.open(directory.lake)) as lake:
        with travelling(directory):
            hold_lake(lake, directory, "another place")
            with pytest.raises(LakeHeldError, match="is being taken to another place"):
                lake.flush([predictions("churn", [{}])], [], Progress(log=1))
            with pytest.raises(DataDirectoryError, match="by another process"), travelling(directory):
                pass
        wait_until(lambda: not lake.held)
        lake.flush([predictions("churn", [{}])], [], Progress(log=1))
        with travelling(directory):
            hold_lake(lake, directory, "another place")
            Departure.after(None, lake.catalog.place, Place.within(tmp_path / "other")).mark(directory)
        wait_until(lambda: "was taken from" in (lake.catalog.held or ""))


def test_a_worker_that_begins_meanwhile_writes_no_more_either(
    tmp_path: Path, postgres: "Server", objects: "ObjectStore"
) -> None:
    """One that replaced the worker which was asked, before there was a mark to see, is asked as well."""
    _, there = write_settings(tmp_path, postgres, objects)
    here = tmp_path / "with-state.yaml"
    settings = yaml.safe_load(there.read_text())
    here.write_text(yaml.safe_dump({"data": "data", "state": settings["state"]}))
    fill(here)
    directory = DataDirectory(tmp_path / "data")
    worker = open_lake(here)
    asked_of: list[Lake] = []

    def hold(asked: Mapping[str, Any], _tell: Any) -> Mapping[str, Any]:
        nonlocal worker
        hold_lake(worker, directory, asked["to"])
        asked_of.append(worker)
        if len(asked_of) == 1:
            worker.close()
            worker = open_lake(here)
        return {}

    with closing(OwnerSocket.open(directory.root)) as owner:
        owner.take({"status": lambda *_: {}, "hold-lake": hold})
        assert migrate_lake(here, {}, there, tell_nobody, switch=True)["finished"]
    with closing(worker) as lake, pytest.raises(LakeHeldError):
        lake.flush([predictions("churn", [{}])], [], Progress(log=9))


COUNT = "SELECT count(*) AS n FROM predictions.m"
_PAUSE_S = 0.1
"""Often enough to meet a moment in which nobody is there; more is only files for the store to keep."""


@dataclass
class Traffic:
    """Sends records to a collector that must take them, and asks it how many there are, until stopped."""

    victim: Victim
    sent: int = 0
    answered: int = 0
    refused: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        while not self.stop.is_set():
            at = self.sent + 1
            record = prediction("m", f"p{at}", time.time_ns(), inputs={"x": at}, sequence=at)
            if self.victim.takes(request([record], process_id="sender")):
                self.sent = at
            self.stop.wait(_PAUSE_S)

    def ask(self) -> None:
        while not self.stop.is_set():
            connection = HTTPConnection(self.victim.web, timeout=60)
            try:
                connection.request("GET", f"/api/v1/sql?sql={quote(COUNT)}")
                self.answered += connection.getresponse().status == 200
            except ConnectionRefusedError as error:
                self.refused.append(str(error))
            except (OSError, HTTPException):
                pass  # it was asked when its worker ended
            finally:
                connection.close()
            self.stop.wait(_PAUSE_S)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        threads = [threading.Thread(target=work) for work in (self.send, self.ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(120)


def test_a_collector_runs_on_while_its_lake_is_taken_elsewhere(
    tmp_path: Path, postgres: "Server", objects: "ObjectStore"
) -> None:
    """Senders and readers are not refused at any time, and each record is in the new lake once."""
    _, there = write_settings(tmp_path, postgres, objects)
    settings = {"state": yaml.safe_load(there.read_text())["state"]}
    victim = Victim(tmp_path / "data", settings)
    traffic = Traffic(victim)
    try:
        victim.start()
        with traffic.flowing():
            wait_until(lambda: traffic.answered > 3)
            done = victim.run("migrate-lake", "--to", str(there))
            assert "goes on" in done.stdout, done.stderr
            assert not victim.told("/readyz")["rows_wait"]
            done = victim.run("migrate-lake", "--to", str(there), "--switch", "--json")
            assert json.loads(done.stdout)["finished"], done.stderr
            assert victim.told("/readyz")["rows_wait"]
            elsewhere = {**settings, **yaml.safe_load(there.read_text())}
            (tmp_path / "data.yaml").write_text(yaml.safe_dump(elsewhere))
            assert victim.process is not None
            victim.process.send_signal(signal.SIGHUP)
            wait_until(lambda: victim.said().count("the new worker is ready") == 1)
            answered = traffic.answered
            wait_until(lambda: traffic.answered > answered + 3)
        assert traffic.refused == []
        assert victim.stop() == 0
    finally:
        victim.clear()
    with closing(Session.open(place(there))) as session:
        [found] = session.run(
            "SELECT count(*), count(DISTINCT prediction_id), sum(inputs.x) FROM predictions.m"
        ).to_pylist()
    sent = traffic.sent
    assert list(found.values()) == [sent, sent, sent * (sent + 1) // 2]


def test_what_is_no_journey_is_told(tmp_path: Path, postgres: "Server", objects: "ObjectStore") -> None:
    """Other data directories, and the place where the lake is, are refused before anything is done."""
    here, there = write_settings(tmp_path, postgres, objects)
    fill(here)
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text("data: other\n")
    with pytest.raises(ConfigError, match="another data directory"):
        migrate_lake(here, {}, elsewhere, tell_nobody)
    with pytest.raises(ConfigError, match="the lake is where it is"):
        migrate_lake(here, {}, here, tell_nobody)
    with pytest.raises(ConfigError, match="another data directory"):
        migrate_state(here, {}, elsewhere, tell_nobody)
    with pytest.raises(ConfigError, match="the alert state is where it is"):
        migrate_state(here, {}, here, tell_nobody)
    with pytest.raises(ConfigError, match="`lapwing migrate-lake` takes both"):
        migrate_state(here, {}, there, tell_nobody)
    settings = yaml.safe_load(there.read_text())
    there.write_text(yaml.safe_dump({name: settings[name] for name in settings.keys() - {"state"}}))
    with pytest.raises(ConfigError, match=r"set `state\.url`"):
        migrate_lake(here, {}, there, tell_nobody)
