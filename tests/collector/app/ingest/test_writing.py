"""The writer over a real lake: what it books, how it waits, what becomes of rows that are refused."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from helpers.batches import START, labels, predictions
from helpers.ducklake import ducklake
from helpers.flaky import make_flaky
from helpers.waiting import wait_until
from lapwing_collector.app.ingest import writing
from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.pending import LogEntry, Pending
from lapwing_collector.app.ingest.poison import DeadLetters, find_refused, is_refusal
from lapwing_collector.app.ingest.writing import MetricQueue, Writer
from lapwing_collector.lake import Lake, Progress, QueuedMetric
from lapwing_collector.lake.catalog import CatalogServerError
from lapwing_collector.lake.sharing import MovedError
from lapwing_collector.lake.store import FolderStore
from lapwing_collector.model.alerts import MetricRow, RuleId, RuleState
from lapwing_collector.model.records import Batch
from lapwing_collector.state import Store


class Bench:
    """A writer with real parts, except for the log: what it would be told is in `settled`."""

    def __init__(self, folder: Path, interval_s: float, store: Store) -> None:
        self.folder = folder
        self.lake = Lake.open(folder / "lake")
        self.store = store
        self.pending = Pending(1 << 20)
        self.accounts = Accounts()
        self.settled: list[int] = []
        self.writer = Writer(
            lake=self.lake,
            pending=self.pending,
            settle=self.settled.append,
            accounts=self.accounts,
            dead_letters=DeadLetters(folder / "dead-letters"),
            metrics=MetricQueue.of(store),
            interval_s=interval_s,
            on_flushed=lambda _: None,
        )

    def put(self, position: int, *batches: Batch) -> None:
        self.pending.put(LogEntry(position, START, batches))

    def wait_for(self, position: int) -> None:
        wait_until(lambda: position in self.settled)

    def stored(self, sql: str) -> list[tuple[Any, ...]]:
        return ducklake(self.lake.catalog, sql)

    def close(self) -> None:
        self.writer.close(10)
        self.lake.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path / "state.sqlite")) as store:
        yield store


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Iterator[Bench]:
    made = Bench(tmp_path, 0.01, store)
    yield made
    made.close()


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the lake refuse every row that has an id."""
    real = FolderStore.write

    def start(prediction_id: str) -> None:
        def picky(store: FolderStore, file: Path, parts: Iterable[pa.Table], *arguments: Any) -> Any:
            parts = [*parts]
            for rows in parts:
                if (
                    "prediction_id" in rows.column_names
                    and prediction_id in rows["prediction_id"].to_pylist()
                ):
                    raise pa.ArrowInvalid("no such value")
            return real(store, file, parts, *arguments)

        monkeypatch.setattr(FolderStore, "write", picky)

    return start


def recorded(slot: int) -> MetricRow:
    at = START + timedelta(hours=slot)
    return MetricRow("accuracy", None, {}, at, at, float(slot), 1, None)


def test_what_rules_record_is_not_mistaken_for_what_the_lake_has(bench: Bench) -> None:
    """Where the state is new, or older than the lake, its rows get numbers that the lake has not seen."""
    bench.lake.flush([], [QueuedMetric(n, recorded(n), START) for n in range(1, 4)], Progress(metrics=3))
    bench.writer.start()
    state = RuleState("d", START)
    bench.store.commit(RuleId("g", "r"), state, [], [], [recorded(n) for n in range(4, 6)], START)
    wait_until(lambda: bench.lake.progress.metrics == 5)
    assert bench.stored("SELECT value FROM metric_values ORDER BY 1") == [(n,) for n in range(1, 6)]


def ids(*names: str) -> list[dict[str, Any]]:
    return [{"prediction_id": name, "inputs.x": 1} for name in names]


def test_rows_are_booked_as_stored_once_they_are(bench: Bench) -> None:
    """After a flush the books, the log and the lake say the same."""
    bench.put(1, predictions("a", ids("1", "2")), labels("a", [{"prediction_id": "1", "label": True}]))
    bench.put(2, predictions("b", ids("3")))
    bench.writer.start()
    bench.wait_for(2)
    assert bench.accounts.read() == Accounts(stored=4)
    assert bench.lake.progress == Progress(2, 0)
    assert bench.stored(
        "SELECT count(*) FROM predictions.a UNION ALL SELECT count(*) FROM predictions.b"
    ) == [
        (2,),
        (1,),
    ]
    assert bench.pending.oldest_received_at is None


def test_rows_wait_while_a_lake_is_taken_elsewhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written then, which is no failure; rows that waited are written once the lake stays."""
    bench.lake.catalog.hold("it travels")
    refused: list[None] = []
    expect_free = bench.lake.catalog.expect_free

    def count() -> None:
        refused.append(None)
        expect_free()

    monkeypatch.setattr(bench.lake.catalog, "expect_free", count)
    bench.put(1, predictions("churn", ids("a")))
    bench.writer.start()
    wait_until(lambda: len(refused) > 1)
    assert not bench.settled
    assert not bench.writer.failing
    bench.lake.catalog.let_go()
    bench.wait_for(1)
    assert bench.writer.flushes.failed == 0


def test_free_memory_goes_back_while_rows_are_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so often a flush gives free memory back to the system; most flushes leave it as it is."""
    given_back = []

    class Pool:
        """Where memory comes from."""

        def release_unused(self) -> None:
            given_back.append(bench.writer.flushes.committed)

    monkeypatch.setattr(pa, "default_memory_pool", Pool)
    monkeypatch.setattr(writing, "_TIDY_S", 3600)
    bench.writer.start()
    bench.put(1, predictions("a", ids("1")))
    bench.wait_for(1)
    bench.put(2, predictions("a", ids("2")))
    bench.wait_for(2)
    assert given_back == []
    monkeypatch.setattr(writing, "_TIDY_S", 0)
    bench.put(3, predictions("a", ids("3")))
    wait_until(lambda: given_back == [3])


def test_a_poison_row_costs_one_row(
    bench: Bench, refuse: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A row that the lake refuses is kept with the reason; all others are stored, and the log moves."""
    refuse("poison")
    many = [str(n) for n in range(40)]
    bench.put(1, predictions("a", ids(*many[:20], "poison", *many[20:]), process_id="p", first_sequence=7))
    bench.put(2, predictions("a", ids("41")), predictions("b", ids("42")))
    with caplog.at_level(logging.ERROR):
        bench.writer.start()
        bench.wait_for(2)
    assert bench.accounts.read() == Accounts(stored=42, dead_lettered=1)
    assert bench.stored("SELECT count(*) FROM predictions.a WHERE prediction_id != 'poison'") == [(41,)]
    assert bench.stored("SELECT count(*) FROM predictions.b") == [(1,)]
    [file] = (bench.folder / "dead-letters").glob("*.arrow")
    with pa.ipc.open_file(file) as reader:
        [row] = reader.read_all().to_pylist()
    assert (row["prediction_id"], row["inputs.x (int64)"]) == ("poison", 1)
    assert (row["lapwing.process.id"], row["lapwing.sequence"]) == ("p", 27)
    reason = json.loads(file.with_suffix(".json").read_text())
    assert (reason["model"], reason["rows"], reason["log_position"]) == ("a", 1, 2)
    assert reason["reason"] == "ArrowInvalid: no such value"
    assert [record.action for record in caplog.records] == ["dead_lettered"]  # type: ignore[attr-defined]
    assert not bench.writer.failing


def test_when_all_rows_are_refused_the_log_still_moves(bench: Bench, refuse: Callable[[str], None]) -> None:
    """Fault 23: a flush of nothing but poison is covered like any other, also after a restart."""
    refuse("poison")
    bench.put(1, predictions("a", ids("poison")))
    bench.writer.start()
    bench.wait_for(1)
    bench.put(2, predictions("a", ids("poison")))
    bench.wait_for(2)
    assert bench.lake.progress == Progress(2, 0)
    assert len(list((bench.folder / "dead-letters").glob("*.arrow"))) == 2
    bench.close()
    reopened = Lake.open(bench.folder / "lake")
    assert reopened.progress == Progress(2, 0)
    reopened.close()


def test_dead_letters_are_never_overwritten(tmp_path: Path) -> None:
    """Rows refused at a position that has dead letters already get files of their own."""
    letters = DeadLetters(tmp_path / "dead-letters")
    for name in ("first", "second"):
        letters.keep([(predictions("a", ids(name)), ValueError("no"))], position=5)
    kept = sorted((tmp_path / "dead-letters").glob("*.arrow"))
    rows = [pa.ipc.open_file(file).read_all()["prediction_id"].to_pylist() for file in kept]
    assert rows == [["first"], ["second"]]


def test_a_sea_of_poison_is_given_up_soon() -> None:
    """Where most rows of a table are refused, few are tried one by one, and none is lost or kept twice."""
    tried = []

    def try_out(batches: Any) -> None:
        tried.append(len(batches))
        if any(batch.model == "bad" for batch in batches):
            raise ValueError("no")

    batches = [predictions("bad", ids(*"abcdefgh")) for _ in range(100)] + [predictions("good", ids("x"))]
    fine, refused = find_refused(batches, try_out)
    assert [batch.model for batch in fine] == ["good"]
    assert sum(batch.rows.num_rows for batch, _ in refused) == 800
    assert len(tried) < 200


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        MemoryError(),
        RuntimeError("cannot schedule new futures after shutdown"),
        duckdb.ConnectionException("Connection already closed"),
        duckdb.TransactionException("Failed to commit: database or disk is full"),
        duckdb.Error('Failed to query most recent snapshot: Failed to execute "PRAGMA …": disk I/O error'),
        duckdb.Error("Failed to commit DuckLake transaction: database is locked"),
        duckdb.OutOfMemoryException("could not allocate"),
        duckdb.Error("Failed to query most recent snapshot: Unable to connect to Postgres at …"),
        duckdb.HTTPException("HTTP GET error reading 'http://…' (HTTP 503 Slow Down)"),
        CatalogServerError("FATAL: the database system is shutting down"),
        MovedError("others change the lake faster than this collector can write to it"),
    ],
)
def test_errors_of_the_machine_are_no_fault_of_the_rows(error: Exception) -> None:
    """A full or broken disk, a lock or short memory never costs a row, in whatever kind of error it comes."""
    assert not is_refusal(error)


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowInvalid("no"),
        ValueError("no"),
        duckdb.ParserException("near"),
        duckdb.ConversionException("no"),
    ],
)
def test_errors_of_values_are_the_fault_of_the_rows(error: Exception) -> None:
    """What would be raised again for the same rows is no reason to try them again."""
    assert is_refusal(error)


def test_a_full_disk_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the disk is full nothing is dropped and the writer says so; with room again all is written."""
    real, full = FolderStore.write, [True]

    def write(store: FolderStore, file: Path, *arguments: Any) -> Any:
        if full[0]:
            raise OSError(28, "No space left on device")
        return real(store, file, *arguments)

    monkeypatch.setattr(FolderStore, "write", write)
    bench.put(1, predictions("a", ids("1")))
    with caplog.at_level(logging.INFO):
        bench.writer.start()
        wait_until(lambda: bench.writer.failing)
        assert bench.pending.oldest_received_at == START
        full[0] = False
        bench.wait_for(1)
    wait_until(lambda: not bench.writer.failing)
    assert bench.accounts.read() == Accounts(stored=1)
    assert not (bench.folder / "dead-letters").exists()
    actions = [getattr(record, "action", None) for record in caplog.records]
    assert actions == ["flush_failed", "flush_recovered"]


def test_what_is_too_much_at_once_is_written_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory does not do for all that waits, half of it is tried, and so on down to one entry."""
    real, tried = bench.lake.flush, []

    def flush(batches: Any, *arguments: Any) -> int:
        tried.append(len(batches))
        if len(batches) > 1:
            raise MemoryError
        return real(batches, *arguments)

    monkeypatch.setattr(bench.lake, "flush", flush)
    monkeypatch.setattr(writing, "_RETRY_S", (0.0,))
    for position in range(1, 9):
        bench.put(position, predictions("a", ids(str(position))))
    bench.writer.start()
    bench.wait_for(8)
    assert tried[:4] == [8, 4, 2, 1]
    assert bench.stored("SELECT count(*), count(DISTINCT prediction_id) FROM predictions.a") == [(8, 8)]


def test_a_commit_that_nobody_knows_of_is_not_written_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where COMMIT and the look after it both fail, the catalog is asked before anything is written again."""
    monkeypatch.setattr(writing, "_RETRY_S", (0.0,))
    bench.put(1, predictions("a", ids("0")))
    bench.writer.start()
    bench.wait_for(1)
    wait_until(lambda: bench.writer.flushes.committed == 1)
    looks = []

    def flush_blindly(*arguments: Any) -> int:
        real_look = bench.lake._committed_progress

        def look() -> Progress:
            looks.append(1)
            if len(looks) == 1:
                raise duckdb.TransactionException("disk I/O error")
            return real_look()

        monkeypatch.setattr(bench.lake, "_committed_progress", look)
        monkeypatch.setattr(bench.lake, "flush", real)
        make_flaky(bench.lake, "COMMIT", takes_place=True)
        return real(*arguments)

    real = bench.lake.flush
    with bench.lake.catalog.exclusive():
        monkeypatch.setattr(bench.lake, "flush", flush_blindly)
        for position in (2, 3):
            bench.put(position, predictions("a", ids(str(position))))
    bench.wait_for(3)
    bench.put(4, predictions("a", ids("4")))
    bench.wait_for(4)
    assert len(looks) == 2
    assert bench.stored("SELECT prediction_id FROM predictions.a ORDER BY ALL") == [
        ("0",),
        ("2",),
        ("3",),
        ("4",),
    ]
    assert bench.accounts.read() == Accounts(stored=4)


def test_dead_letters_are_kept_once(
    bench: Bench, refuse: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the flush without the refused rows fails too, trying again keeps no second copy of them."""
    refuse("poison")
    monkeypatch.setattr(writing, "_RETRY_S", (0.0,))
    real, calls = bench.lake.flush, []

    def flush(*arguments: Any) -> int:
        calls.append(1)
        if 2 <= len(calls) <= 4:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(bench.lake, "flush", flush)
    bench.put(1, predictions("a", ids("1", "poison")))
    bench.writer.start()
    bench.wait_for(1)
    assert bench.accounts.read() == Accounts(stored=1, dead_lettered=1)
    assert len(list((bench.folder / "dead-letters").glob("*.arrow"))) == 1


def test_rows_that_follow_each_other_gather(tmp_path: Path, store: Store) -> None:
    """The first row is written at once; those that come soon after share one flush, an interval later."""
    bench = Bench(tmp_path, 0.5, store)
    bench.writer.start()
    bench.put(1, predictions("a", ids("1")))
    bench.wait_for(1)
    for position in range(2, 12):
        bench.put(position, predictions("a", ids(str(position))))
    bench.wait_for(11)
    bench.close()
    assert bench.settled == [1, 11]


def test_a_full_queue_is_flushed_before_its_time(tmp_path: Path, store: Store) -> None:
    """Rows do not wait for the interval once there are as many as are written at once."""
    bench = Bench(tmp_path, 600, store)
    bench.writer.start()
    bench.put(1, predictions("a", ids("1")))
    bench.wait_for(1)
    text = "x" * (1 << 20)
    bench.put(2, predictions("a", [{"prediction_id": text}]))
    bench.wait_for(2)
    bench.close()
    assert bench.accounts.read() == Accounts(stored=2)


def test_times_are_told_of_what_was_stored(
    tmp_path: Path, store: Store, refuse: Callable[[str], None]
) -> None:
    """Event times of predictions reach whoever watches them, those of refused rows do not."""
    refuse("poison")
    told: list[dict[str, list[datetime]]] = []
    bench = Bench(tmp_path, 0.01, store)
    bench.writer._on_flushed = lambda flushed: told.append(
        {k: v.to_pylist() for k, v in flushed.times.items()}
    )
    later = START.replace(year=2027)
    bench.put(1, predictions("a", [*ids("1"), {"prediction_id": "poison", "time": later}]))
    bench.writer.start()
    bench.wait_for(1)
    bench.close()
    assert told == [{"a": [START]}]
