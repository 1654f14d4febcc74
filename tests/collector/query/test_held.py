"""What is held in memory of a lake: the same as the lake has, after whatever is committed."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from helpers.batches import START, labels, predictions
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.engine import lens as lenses
from lapwing_collector.errors import QueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.records import Batch
from lapwing_collector.query import Session, held
from lapwing_collector.query import session as sessions

TABLES = ("models", "binnings", "profiles", "annotations", "reference_sets", "model_descriptions")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake with some flushes of one model; each test adds to it."""
    opened = Lake.open(tmp_path_factory.mktemp("held") / "lake", profiling=PROFILING)
    for _ in range(3):
        flush(opened)
    yield opened
    opened.close()


@pytest.fixture
def session(lake: Lake) -> Iterator[Session]:
    """What reads it."""
    opened = Session.open(lake.catalog.place)
    yield opened
    opened.close()


def flush(lake: Lake, version: str = "1") -> None:
    """A flush of a hundred predictions."""
    number = lake.progress.log + 1
    rows = [
        {
            "prediction_id": f"{number}-{row}",
            "time": START + timedelta(hours=number, seconds=row),
            "version": version,
            "duration_ms": float(row),
            "inputs.age": row,
        }
        for row in range(100)
    ]
    lake.flush([predictions("churn", rows)], [], Progress(number, 0))


def ask(session: Session, sql: str, *, holding: bool) -> list[dict[str, object]]:
    """The rows of a query."""
    found: list[dict[str, object]] = session.stream(
        sql, {}, lambda rows: rows.read_all(), holding=holding
    ).to_pylist()
    return found


def merge(lake: Lake) -> None:
    """Merge whatever files can be merged."""
    upkeep = Upkeep(lake.catalog)
    list(upkeep.merge_all())
    upkeep.close()


def define(lake: Lake) -> None:
    """Have DuckLake itself make a table."""
    lake.catalog.redefine(["CREATE TABLE other (x INTEGER)"])


def annotate(lake: Lake) -> None:
    """Note something."""
    row = {"time": START, "kind": "note", "text": "released", "created_at": START}
    columns = lake.catalog.schema("annotations")
    lake.add_rows({"annotations": pa.Table.from_pylist([row], columns)})


def counted(session: Session) -> int:
    """How many predictions are counted."""
    sql = "SELECT sum(list_sum(counts))::BIGINT AS n FROM profiles WHERE field = 'duration_ms'"
    [row] = ask(session, sql, holding=True)
    assert isinstance(row["n"], int)
    return row["n"]


def test_what_is_held_is_what_the_lake_has(lake: Lake, session: Session) -> None:
    """After each commit every table that is held has at once the rows of the lake, no more and no fewer."""
    plain = Session.open(lake.catalog.place)
    commits: list[Callable[[Lake], None]] = [
        annotate,
        merge,
        flush,
        partial(flush, version="2"),
        merge,
        flush,
    ]
    for commit in commits:
        commit(lake)
        for table in TABLES:
            sql = f"FROM {table} ORDER BY ALL"
            assert ask(session, sql, holding=True) == ask(plain, sql, holding=False), (commit, table)
    plain.close()


def test_files_are_read_once(lake: Lake, session: Session) -> None:
    """Of what is held no file is opened again: the rows are there while their files are away."""
    before = counted(session)
    files = list(Path(f"{lake.catalog.place.prefix}main/profiles").glob("*.parquet"))
    for file in files:
        file.rename(file.with_suffix(".away"))
    annotate(lake)
    after = counted(session)
    for file in files:
        file.with_suffix(".away").rename(file)
    assert after == before > 0


def test_nothing_is_held_for_who_asks_for_rows(
    lake: Lake, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that needs none of these tables does not wait until all their files are read."""
    held_now = session._beside._held._held
    for needs_none in ("SELECT count(*) AS n FROM predictions.churn", "SELECT 1 AS n"):
        assert ask(session, needs_none, holding=True)[0]["n"]
    assert held_now == {}
    assert ask(session, "SELECT count(*) AS n FROM Models", holding=True)[0]["n"]
    assert held_now["models"]
    # From then on it answers rows, too: what it has read of their files stays with it.
    answered: list[str] = []
    stream = session._beside.stream
    monkeypatch.setattr(
        session._beside, "stream", lambda sql, *more: answered.append(sql) or stream(sql, *more)
    )
    assert ask(session, "SELECT count(*) AS n FROM predictions.churn", holding=True)[0]["n"]
    assert len(answered) == 1


def test_metrics_see_what_came_after_the_last_call(lake: Lake, session: Session) -> None:
    """A metric that is called again counts what was committed meanwhile, in a field that is new as well."""
    span = f"'churn', TIMESTAMP '{START}', TIMESTAMP '{START + timedelta(days=9)}'"
    service = f"SELECT value FROM service_profile({span})"
    [before] = ask(session, service, holding=True)
    row = {"prediction_id": "new", "time": START + timedelta(hours=9), "inputs.plan": "pro"}
    lake.flush([predictions("churn", [row])], [], Progress(lake.progress.log + 1, 0))
    [after] = ask(session, service, holding=True)
    assert float(str(after["value"])) == float(str(before["value"])) + 1
    shares = f"FROM missing_share({span}, fields := ['inputs.plan'])"
    assert ask(session, shares, holding=True) == ask(session, shares, holding=False) != []


def test_views_are_made_anew_when_they_would_differ(
    lake: Lake, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What metrics read is found out again for new fields, labels and versions, and not for each commit."""
    looked: list[object] = []
    find = sessions.views_of
    monkeypatch.setattr(sessions, "views_of", lambda *told: looked.append(told) or find(*told))
    span = f"'churn', TIMESTAMP '{START}', TIMESTAMP '{START + timedelta(days=9)}'"

    def looks() -> int:
        looked.clear()
        ask(session, f"SELECT value FROM service_profile({span})", holding=True)
        return len(looked)

    def flush_all(batch: Batch) -> None:
        lake.flush([batch], [], Progress(lake.progress.log + 1, 0))

    assert looks() == 1
    commits: list[tuple[Callable[[], None], int]] = [
        (lambda: annotate(lake), 0),
        (lambda: flush(lake), 0),
        (lambda: flush_all(predictions("churn", [{"inputs.fresh": 1, "time": START}])), 1),
        (lambda: flush_all(labels("churn", [{"prediction_id": "1", "label": True}])), 1),
        (lambda: flush_all(labels("churn", [{"prediction_id": "2", "label": True}])), 1),
        (lambda: flush(lake), 0),
        (lambda: flush(lake, version="3"), 1),
    ]
    for commit, expected in commits:
        commit()
        assert looks() == expected


def test_who_lists_tables_finds_those_of_the_lake(lake: Lake, session: Session) -> None:
    """Nothing that is held shows among the tables, neither before nor after something is."""
    listed = ask(session, "SHOW ALL TABLES", holding=True)
    ask(session, "FROM models", holding=True)
    assert ask(session, "SHOW ALL TABLES", holding=True) == listed
    assert {row["database"] for row in listed} == {"lake"}
    columns = "SELECT count(*) AS n FROM information_schema.columns WHERE table_name = 'models'"
    assert ask(session, columns, holding=True) == [{"n": 4}]
    assert ask(session, "SELECT DISTINCT model FROM models", holding=True) == [{"model": "churn"}]


def fail(*_: object) -> None:
    raise duckdb.Error("the disk is full")


@pytest.mark.parametrize(
    ("part", "instead"),
    [("_FILES", "SELECT * FROM nowhere"), ("Held._hold", fail)],
    ids=["asking", "reading"],
)
def test_what_could_not_be_followed_is_followed_later(
    lake: Lake, session: Session, monkeypatch: pytest.MonkeyPatch, part: str, instead: object
) -> None:
    """A query that fails where new files are looked up or read leaves nothing old behind for the next one."""
    monkeypatch.setattr(held, "_RACY_S", 0)
    before = counted(session)
    flush(lake)
    with closing(sqlite3.connect(str(lake.catalog.place.catalog))) as other:
        other.execute("SELECT count(*) FROM ducklake_snapshot").fetchone()  # its journal stays as it is
        with monkeypatch.context() as broken:
            broken.setattr(f"{held.__name__}.{part}", instead)
            with pytest.raises(QueryError):
                counted(session)
        assert counted(session) == before + 100


def test_what_is_left_open_between_queries_sees_what_comes(
    lake: Lake, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries and metrics that follow one another closely see each commit, a query that fails among them."""
    monkeypatch.setattr(held, "_RACY_S", 0)
    span = f"'churn', TIMESTAMP '{START}', TIMESTAMP '{START + timedelta(days=9)}'"

    def told() -> tuple[object, ...]:
        [rows] = ask(session, "SELECT count(*) AS n FROM predictions.churn", holding=True)
        [calls] = ask(session, f"SELECT value FROM service_profile({span})", holding=True)
        return rows["n"], calls["value"], counted(session)

    with closing(sqlite3.connect(str(lake.catalog.place.catalog))) as other:
        other.execute("SELECT count(*) FROM ducklake_snapshot").fetchone()  # its journal stays as it is
        for _ in range(3):
            before = told()
            with pytest.raises(QueryError):
                ask(session, "SELECT error('no') FROM models", holding=True)
            assert told() == before
            flush(lake)
            assert told() == tuple(float(str(each)) + 100 for each in before)


def test_a_commit_shows_once_it_can_be_read(lake: Lake, session: Session) -> None:
    """The catalog's own file has another time then; its log changed before that."""
    catalog = Path(str(lake.catalog.place.catalog))
    assert counted(session) > 0  # and so holds it open: SQLite leaves the file alone
    for commit in (flush, annotate, flush, merge, define):
        os.utime(catalog, (1, 1))
        commit(lake)
        assert catalog.stat().st_mtime > 1, commit


def test_what_came_is_held_before_somebody_asks(
    lake: Lake, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who keeps up between two queries has read all files that the second one needs."""
    monkeypatch.setattr(held, "_RACY_S", 0)
    session.keep_up()  # nothing was asked yet, and nothing is held
    before = counted(session)
    flush(lake)
    session.keep_up()
    files = list(Path(f"{lake.catalog.place.prefix}main/profiles").glob("*.parquet"))
    for file in files:
        file.rename(file.with_suffix(".away"))
    after = counted(session)
    for file in files:
        file.with_suffix(".away").rename(file)
    assert after == before + 100


def test_what_is_too_large_stays_in_the_lake(
    lake: Lake, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables beyond what may be held are read where they are, with the same rows."""
    before = counted(session)
    monkeypatch.setattr(held, "_GROWTH", 1 << 40)
    flush(lake)
    assert counted(session) == before + 100


def test_large_lakes_hold_as_well(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only some tables are known at a time, those that are held are known, too."""
    monkeypatch.setattr(lenses, "MANY", 1)
    session = Session.open(lake.catalog.place)
    sql = "SELECT count(*)::BIGINT AS n FROM predictions.churn"
    [before] = ask(session, sql, holding=True)
    counts = counted(session)
    flush(lake)
    assert [row["n"] for row in ask(session, sql, holding=True)] == [int(str(before["n"])) + 100]
    assert counted(session) == counts + 100
    session.close()


def test_totals_of_empty_tables_are_told(lake: Lake) -> None:
    """Each table of the lake's own has totals from the beginning: DuckLake keeps asking for others."""
    with sqlite3.connect(f"file:{lake.catalog.place.catalog}?mode=ro", uri=True) as catalog:
        untold = catalog.execute(
            "SELECT t.table_name FROM ducklake_table AS t JOIN ducklake_schema AS s USING (schema_id) "
            "WHERE s.schema_name = 'main' AND t.end_snapshot IS NULL "
            "AND t.table_id NOT IN (SELECT table_id FROM ducklake_table_stats)"
        ).fetchall()
    catalog.close()
    assert untold == []
