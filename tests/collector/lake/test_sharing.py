"""Several collectors that write to one lake, its catalog in PostgreSQL, its files in a folder or a bucket."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.batches import START, labels, predictions
from helpers.waiting import wait_until
from lapwing_collector import crashpoints, engine
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.decode.identity import process_id
from lapwing_collector.engine import place as where
from lapwing_collector.engine.place import CatalogServer, Folder, Place
from lapwing_collector.errors import DamagedFileError, QueryError
from lapwing_collector.lake import Lake, Progress, QueuedMetric
from lapwing_collector.lake.catalog import opening_alone
from lapwing_collector.lake.files import TableName, table_files
from lapwing_collector.lake.rewriting import Rewriter
from lapwing_collector.lake.scrub import Damaged, scrub
from lapwing_collector.lake.sharing import numbers_of, sharing_of, without
from lapwing_collector.lake.store import store_of
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.alerts import MetricRow
from lapwing_collector.model.records import Batch
from lapwing_collector.query.session import Session

if TYPE_CHECKING:
    from helpers.objects import ObjectStore
    from helpers.postgres import Server

Opened = Callable[[str], Lake]


IN_A_BUCKET = pytest.mark.parametrize("place", ["bucket"], indirect=True)
"""Where it matters how files are kept; folders are quicker."""


@pytest.fixture
def place(request: pytest.FixtureRequest, postgres: "Server", tmp_path: Path) -> Place:
    """Where the lake is to be."""
    pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")
    if getattr(request, "param", "folder") == "bucket":
        shared: Place = request.getfixturevalue("shared")
        return shared
    return Place(CatalogServer.of(postgres.database()), Folder(tmp_path))


@pytest.fixture
def opened(place: Place) -> Iterator[Opened]:
    """Opens the same lake for a collector of a name."""
    with ExitStack() as lakes:

        def open_lake(writer: str) -> Lake:
            return lakes.enter_context(closing(Lake.open(place, profiling=PROFILING, writer=writer)))

        yield open_lake


def asked(place: Place, sql: str) -> list[tuple[Any, ...]]:
    with closing(Session.open(place)) as session:
        return [tuple(row.values()) for row in session.run(sql).to_pylist()]


def ages(count: int, first: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prediction_id": f"p{number}", "inputs.age": number, **more}
        for number in range(first, first + count)
    ]


def meanwhile(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do something once, when the next flush has written its files and is about to commit."""
    waiting = [work]

    def reach(moment: str) -> None:
        if moment == "lake.before_commit" and waiting:
            waiting.pop()()

    monkeypatch.setattr(crashpoints, "reach", reach)


@IN_A_BUCKET
def test_what_one_collector_writes_is_known_to_another(opened: Opened, place: Place) -> None:
    """Rows, tables, names and each collector's own progress are there for whoever opens the lake."""
    one, other = opened("one"), opened("other")
    one.flush([predictions("churn", ages(3))], [], Progress(log=7))
    other.look()
    assert other.table_names == {"churn": "churn"}
    assert other.progress == Progress()
    other.flush(
        [predictions("churn", ages(2, first=3)), labels("churn", [{"label": 1}])], [], Progress(log=4)
    )
    assert asked(place, "SELECT count(*), sum(inputs.age) FROM predictions.churn") == [(5, 10)]
    assert asked(place, "SELECT model, table_name FROM models") == [("churn", "churn")]
    assert opened("one").progress == Progress(log=7)
    assert opened("other").progress == Progress(log=4)


def test_collectors_commit_at_once_without_loss(opened: Opened, place: Place) -> None:
    """Three collectors that meet the same models and fields at once leave one table, and every row."""
    lakes = [opened(name) for name in ("one", "two", "three")]
    flushes = 4

    def write(number: int) -> None:
        for turn in range(flushes):
            rows = ages(5, first=100 * number + 10 * turn, **{f"inputs.f{turn}": 0.5})
            batches = [predictions("churn", rows), predictions(f"m{turn % 3}", ages(2))]
            assert lakes[number].flush(batches, [], Progress(log=turn + 1)) == 0

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(len(lakes))))
    assert asked(
        place, "SELECT count(*), count(DISTINCT inputs.age), count(inputs.f3) FROM predictions.churn"
    ) == [(5 * flushes * 3, 5 * flushes * 3, 15)]
    named = asked(place, "SELECT model, version, table_name FROM models ORDER BY ALL")
    assert named == [(model, None, model) for model in ("churn", "m0", "m1", "m2")]
    counted = (
        "SELECT sum(list_sum(counts)) FROM profiles WHERE table_name = 'churn' AND field = 'duration_ms'"
    )
    assert asked(place, counted) == [(5 * flushes * 3,)]
    assert [lake.confirmed_progress().log for lake in lakes] == [flushes] * 3


def test_a_record_that_two_collectors_accepted_is_stored_once(opened: Opened, place: Place) -> None:
    """Rows whose numbers another collector has written are left out, and counted; the others are kept."""
    one, other = opened("one"), opened("other")
    first = predictions("churn", ages(10), process_id="p", first_sequence=1)
    again = predictions("churn", ages(10, first=5), process_id="p", first_sequence=6)
    unlike = predictions("churn", ages(1, first=99), process_id="q", first_sequence=6)
    assert one.flush([first], [], Progress(log=1)) == 0
    assert other.flush([again, unlike], [], Progress(log=1)) == 5
    assert (
        other.flush([predictions("churn", ages(10), process_id="p", first_sequence=1)], [], Progress(log=2))
        == 10
    )
    assert asked(place, "SELECT count(*), count(DISTINCT prediction_id) FROM predictions.churn") == [(16, 16)]
    assert other.progress == Progress(log=2)


def test_names_that_differ_by_case_get_two_tables(opened: Opened, place: Place) -> None:
    """The model that is spoken of first has the plain name, whichever collectors hear of the two."""
    one, other = opened("one"), opened("other")
    assert one.reserved_name("Churn") == "Churn"
    other.flush([predictions("churn", ages(1))], [], Progress(log=1))
    one.flush([predictions("Churn", ages(2))], [], Progress(log=1))
    assert asked(place, 'SELECT count(*) FROM predictions."churn~2"') == [(1,)]
    assert asked(place, 'SELECT count(*) FROM predictions."Churn"') == [(2,)]


def test_a_field_that_changes_while_a_flush_is_made(
    opened: Opened, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows made for a column that another collector widens meanwhile are made again for what it is now."""
    one, other = opened("one"), opened("other")
    one.flush([predictions("churn", ages(3))], [], Progress(log=1))
    other.flush([predictions("churn", ages(1, first=3))], [], Progress(log=1))
    widening = [predictions("churn", [{"prediction_id": "w", "inputs.age": 0.5}])]
    meanwhile(monkeypatch, lambda: one.flush(widening, [], Progress(log=2)))
    other.flush(
        [predictions("churn", [{"prediction_id": "b", "inputs.age": 2**60 + 1}])], [], Progress(log=2)
    )
    rows = asked(
        place,
        "SELECT prediction_id, inputs.age, extra FROM predictions.churn ORDER BY inputs.age NULLS LAST",
    )
    assert [row[1] for row in rows] == [0.0, 0.5, 1.0, 2.0, 3.0, None]
    assert rows[-1][2] == '{"inputs.age": 1152921504606846977}'


def test_bins_that_come_while_a_flush_is_made_count_its_rows(
    opened: Opened, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is counted once in new bins, whether it was committed before them or after."""
    one, other = opened("one"), opened("other")
    upkeep = Upkeep(one.catalog, one.profiles, one.add_rows)
    one.flush([predictions("churn", ages(10_000))], [], Progress(log=1))
    other.flush([predictions("churn", ages(500, first=10_000))], [], Progress(log=1))
    meanwhile(monkeypatch, lambda: upkeep.freeze_next(START))
    other.flush([predictions("churn", ages(400, first=20_000))], [], Progress(log=2))
    upkeep.close()
    one.flush([predictions("churn", ages(30, first=30_000))], [], Progress(log=2))
    counted = "SELECT sum(list_sum(counts)), max(maximum) FROM profiles WHERE field = 'inputs.age'"
    assert asked(place, counted) == [(10_930, 30_029.0)]


@IN_A_BUCKET
def test_files_are_merged_while_others_write(
    opened: Opened, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merging in one collector and flushing in another keep each other's rows."""
    one, other = opened("one"), opened("other")
    for turn in range(4):
        one.flush([predictions("churn", ages(5, first=5 * turn))], [], Progress(log=turn + 1))
    upkeep = Upkeep(one.catalog)
    meanwhile(monkeypatch, lambda: list(upkeep.merge_all()))
    other.flush([predictions("churn", ages(5, first=20))], [], Progress(log=1))
    assert upkeep.tally.files_merged > 0
    assert upkeep.expire(START.replace(year=9000)) > 0
    assert upkeep.delete(START.replace(year=9000))
    assert upkeep.delete_orphans(START.replace(year=9000)) == []
    upkeep.close()
    assert asked(place, "SELECT count(*), sum(inputs.age) FROM predictions.churn") == [(25, 300)]
    assert opened("one").progress == Progress(log=4)


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.lists(st.integers(1, 40), min_size=1)), max_size=6),
    st.data(),
)
def test_rows_are_left_out_by_their_numbers(
    sent: Sequence[tuple[str, list[int]]], data: st.DataObject
) -> None:
    """What is left of batches has exactly the numbers that nobody has written."""
    batches = [
        Batch(
            each.kind,
            each.model,
            process,
            type(each.sequence).from_pandas(np.array(numbers)),
            each.rows,
            each.fields,
        )
        for process, numbers in sent
        for each in [predictions("m", [{} for _ in numbers])]
    ]
    taken = data.draw(st.dictionaries(st.sampled_from("pq"), st.sets(st.integers(1, 40), min_size=1)))
    written = numbers_of(
        [
            predictions("m", [{}], process_id=process, first_sequence=n)
            for process, all_ in taken.items()
            for n in all_
        ]
    )
    left = [(batch.process_id, batch.sequence.to_pylist()) for batch in without(batches, written)]
    expected = [(p, [n for n in numbers if n not in taken.get(p, ())]) for p, numbers in sent]
    assert left == [(p, numbers) for p, numbers in expected if numbers]


def test_losses_are_those_of_all_collectors(opened: Opened) -> None:
    """A number that went to another collector is not missing; one that went to none is."""
    one, other = opened("one"), opened("other")
    first = predictions("churn", ages(3), process_id="p", first_sequence=1)
    second = predictions("churn", ages(2), process_id="p", first_sequence=6)
    one.flush([first], [], Progress(log=1))
    other.flush(
        [second, predictions("churn", ages(4), process_id="q", first_sequence=1)], [], Progress(log=1)
    )
    assert [(each.process_id, each.highest, each.received) for each in one.losses()] == [("p", 7, 5)]
    one.flush([predictions("churn", ages(2), process_id="p", first_sequence=4)], [], Progress(log=2))
    assert other.losses() == []


def test_texts_that_look_like_sql_are_kept_as_they_are(opened: Opened, place: Place) -> None:
    """Whatever a client calls its records, its versions and itself reaches the catalog letter by letter."""
    texts = ["$1", "it's $2", "-- ", "__ducklake_metadata_lake.main.x", "rows", "a'--'$3", "a\0b"]
    one = opened("one")
    for number, text in enumerate(texts):
        rows = [{"prediction_id": text, "version": text}]
        one.flush(
            [predictions("churn", rows, process_id=process_id(text), first_sequence=1)],
            [],
            Progress(log=number),
        )
    assert {row[0] for row in asked(place, "SELECT version FROM models")} == set(texts)
    assert opened("other").flush(
        [predictions("churn", ages(1), process_id=process_id(text), first_sequence=1) for text in texts],
        [],
        Progress(log=1),
    ) == len(texts)
    found = asked(place, "SELECT version FROM predictions.churn WHERE prediction_id = '$1'")
    assert found == [("$1",)]


def test_who_begins_waits_for_its_turn_and_holds_nothing(
    opened: Opened, place: Place, postgres: "Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that opens the lake outwaits another one's commit, and keeps it from no table."""
    session = where._SERVER_SESSION.replace("lock_timeout=20s", "lock_timeout=200ms")
    monkeypatch.setattr(where, "_SERVER_SESSION", session)
    assert isinstance(place.catalog, CatalogServer)
    waiting = f"""
        SELECT count(*) FROM pg_stat_activity WHERE datname = '{place.catalog.database}'
        AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > '400ms'
    """
    rows = [predictions("churn", ages(3), process_id="p", first_sequence=1)]
    with ThreadPoolExecutor() as threads:
        one = opened("one")
        with one.catalog.transaction():
            opening = threads.submit(opened, "other")
            wait_until(lambda: opening.done() or postgres.execute(waiting) == [[1]])
            sharing_of(one.catalog, "one").note(7, 0, [("churn", None)], rows)
        assert opening.result().progress == Progress()
    assert opened("one").progress == Progress(log=7)


def test_what_took_longer_than_a_server_waits_is_done(place: Place) -> None:
    """What is made while others are kept away stands, though the server ended what kept them away."""
    with opening_alone(place), engine.connect(place, threads=1) as connection:
        engine.attach_catalog(connection, place, "catalog", read_only=False)
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        assert connection.execute(f"FROM {place.catalog.asked('catalog', ended)}").fetchall() == [(True,)]


def test_only_who_writes_is_ended_for_doing_nothing(opened: Opened, place: Place) -> None:
    """A query may read files for longer than who writes may keep others waiting."""
    opened("one")
    for read_only, expected in ((True, "0"), (False, "1min")):
        with engine.connect(place, threads=1) as connection:
            engine.attach_catalog(connection, place, "catalog", read_only=read_only)
            limit = "SELECT current_setting('idle_in_transaction_session_timeout')"
            told = connection.execute(f"FROM {place.catalog.asked('catalog', limit)}").fetchall()
        assert told == [(expected,)]


def test_a_turn_is_kept_while_files_are_read(opened: Opened, place: Place) -> None:
    """What is said to stay reaches the server within the turn, which it would end where nothing is said."""
    catalog = opened("one").catalog
    waits = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'"
    with catalog.turn():
        catalog.stay()
        assert any("stays" in said for (said,) in engine.ask_catalog(place, waits))
    assert not any("stays" in said for (said,) in engine.ask_catalog(place, waits))


def test_metric_rows_are_taken_from_their_queue_once(opened: Opened, place: Place) -> None:
    """What one collector took another one does not take again, whoever leads."""
    one, other = opened("one"), opened("other")
    row = MetricRow("drift", "churn", {}, START, START + timedelta(hours=1), 0.5, 10, None)
    queued = [QueuedMetric(number, row, START) for number in (1, 2)]
    one.flush([], queued, Progress(metrics=2))
    with pytest.raises(RuntimeError, match="took rows of metrics"):
        other.flush([predictions("churn", ages(1))], queued, Progress(log=1, metrics=2))
    assert other.confirmed_progress() == Progress(metrics=2)
    other.flush([predictions("churn", ages(1))], [], Progress(log=1, metrics=2))
    assert asked(place, "SELECT count(*) FROM metric_values") == [(2,)]


@IN_A_BUCKET
def test_a_file_that_is_gone_is_named(opened: Opened, place: Place) -> None:
    """Who asks is told which object is not there, and once that was looked after has the rest."""
    one = opened("one")
    one.flush([predictions("churn", ages(3))], [], Progress(log=1))
    one.flush([predictions("churn", ages(2, first=3))], [], Progress(log=2))
    lost, _ = table_files(one.catalog, TableName("predictions_all", "churn"))
    one.catalog.store.remove(lost.path)
    with pytest.raises(DamagedFileError) as told:
        asked(place, "SELECT sum(inputs.age) FROM predictions.churn")
    assert told.value.file == str(lost.path).removeprefix(place.prefix)
    assert "http:" not in str(told.value)
    rewriter = Rewriter(one.catalog)
    [(_, _, found)] = scrub(one.catalog, rewriter, Path("nowhere"), told.value.file)
    rewriter.close()
    assert isinstance(found, Damaged)
    assert (found.problem, found.rows_lost) == ("is missing", 3)
    assert asked(place, "SELECT sum(inputs.age) FROM predictions.churn") == [(7,)]


@IN_A_BUCKET
def test_a_session_reaches_nothing_but_its_lake(opened: Opened, place: Place, objects: "ObjectStore") -> None:
    """Whatever got around the check of SQL reads no other place and changes no catalog; COPY is no SELECT."""
    opened("one").flush([predictions("churn", ages(1))], [], Progress(log=1))
    elsewhere = store_of(objects.bucket(objects.empty()))
    foreign = elsewhere.root / "x.parquet"
    elsewhere.write(foreign, [pa.table({"x": [1]})])
    meta = "__ducklake_metadata_lake"
    tried = [
        f"SELECT * FROM read_parquet('{foreign}')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_text('http://127.0.0.1:1/')",
        f"CALL postgres_execute('{meta}', 'DELETE FROM ducklake_snapshot')",
        f"SELECT * FROM postgres_query('{meta}', 'DELETE FROM ducklake_snapshot RETURNING 1')",
        "ATTACH 'dbname=postgres' AS other (TYPE postgres)",
        "INSERT INTO predictions_all.churn SELECT * FROM predictions_all.churn",
    ]
    with closing(Session.open(place)) as session:
        for sql in tried:
            with pytest.raises(duckdb.Error):
                session._connection.execute(sql)
        for sql in (*tried, f"COPY (SELECT 1) TO '{place.prefix}x.parquet'", "FROM duckdb_secrets()"):
            with pytest.raises(QueryError):
                session.run(sql)
        assert session.run("SELECT count(*) AS n FROM predictions.churn").to_pylist() == [{"n": 1}]
