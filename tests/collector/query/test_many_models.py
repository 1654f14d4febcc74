"""Lakes with so many models that nobody can know all of them at once."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.batches import START, labels, predictions
from lapwing_collector.app.profiling import PROFILING
from lapwing_collector.engine import lens as lenses
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import Session

MODELS = ("churn", "Churn", "it's", "my model", "time", "other")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake that counts as a large one."""
    monkeypatch.setattr(lenses, "MANY", 1)
    opened = Lake.open(tmp_path / "lake", profiling=PROFILING)
    rows = [{"prediction_id": "a", "inputs.x": 1, "output.value": True}]
    batches = [predictions(model, rows) for model in MODELS]
    batches.append(labels("churn", [{"prediction_id": "a", "prediction_time": START, "label": True}]))
    opened.flush(batches, [], Progress(1, 0))
    yield opened
    opened.close()


@pytest.fixture
def session(lake: Lake) -> Iterator[Session]:
    """What reads it."""
    opened = Session.open(lake.catalog.folder)
    yield opened
    opened.close()


def known(session: Session) -> int:
    """Tables of models that DuckDB knows of."""
    sql = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'predictions_all'"
    count: int = session.run(sql).column(0)[0].as_py()
    return count


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT inputs.x FROM predictions.churn",
        "SELECT inputs.x FROM predictions.CHURN",
        'SELECT inputs.x FROM predictions_all."churn~2"',
        """SELECT inputs.x FROM predictions."it's" """,
        'SELECT inputs.x FROM predictions."my model"',
        "SELECT inputs.x FROM predictions.time WHERE time IS NOT NULL",
        "SELECT 1 FROM labeled.churn WHERE label",
        "SELECT sample_count FROM prediction_count('churn', TIMESTAMP '2025-01-01', TIMESTAMP '2027-01-01')",
        "SELECT sample_count FROM prediction_count('my model', $since, TIMESTAMP '2027-01-01')",
        "SELECT a.inputs.x FROM predictions.other AS a JOIN predictions.churn USING (prediction_id)",
    ],
)
def test_whatever_a_query_names_is_there(session: Session, sql: str) -> None:
    """A model is found by any spelling of it in SQL, as a table and as what a metric is called for."""
    parameters = {"since": START.replace(year=2025)} if "$since" in sql else {}
    assert session.run(sql, parameters).column(0).to_pylist() == [1]


def test_only_what_queries_name_is_kept_in_mind(session: Session) -> None:
    """DuckDB knows of the models that were asked for, and of the lake's own tables."""
    assert known(session) == 0
    session.run("SELECT * FROM predictions.other")
    assert known(session) == 1
    assert session.run("SELECT count(*) FROM models").column(0)[0].as_py() == len(MODELS)


def test_those_that_were_asked_for_last_are_kept(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models stay in mind, a query with more has all of its own, and no connection gets old."""
    monkeypatch.setattr(lenses, "_KEPT", 2)
    monkeypatch.setattr(lenses, "_GENERATIONS", 3)
    first = session._connection
    for _ in range(2):
        for model in ("other", "time", "my model"):
            assert session.run(f'SELECT inputs.x FROM predictions."{model}"').column(0).to_pylist() == [1]
            assert known(session) <= 2
    three = 'SELECT count(*) FROM predictions.other, predictions.time, predictions."it\'s"'
    assert session.run(three).column(0)[0].as_py() == 1
    assert session._connection is not first


def test_what_changes_meanwhile_is_seen(lake: Lake, session: Session) -> None:
    """New rows, fields and models are there with the next query."""
    assert session.run("SELECT count(*) FROM predictions.other").column(0)[0].as_py() == 1
    with pytest.raises(NotSeenYetError):
        session.run("SELECT inputs.z FROM predictions.other")
    with pytest.raises(NotSeenYetError):
        session.run("SELECT * FROM predictions.late")
    rows = [{"prediction_id": "b", "inputs.z": 2.5}]
    lake.flush([predictions("other", rows), predictions("late", rows)], [], Progress(2, 0))
    assert session.run("SELECT sum(inputs.z) FROM predictions.other").column(0)[0].as_py() == 2.5
    assert session.run("SELECT inputs.z FROM predictions.late").column(0).to_pylist() == [2.5]


def test_a_session_that_began_small_takes_a_lens_once_there_are_many(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that knew all models stops doing so some queries after they became too many."""
    monkeypatch.setattr(lenses, "MANY", 1000)
    session = Session.open(lake.catalog.folder)
    assert known(session) == len(MODELS)
    monkeypatch.setattr(lenses, "MANY", 1)
    for _ in range(100):
        session.run("SELECT 1")
    assert known(session) == 0
    session.close()


def test_nothing_can_be_written_through_a_lens(lake: Lake, session: Session) -> None:
    """Even a statement that nobody checked changes neither the catalog nor the files."""
    catalog = lake.catalog.folder / "catalog.sqlite"

    def state() -> tuple[list[str], list[Path]]:
        with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as connection:
            return list(connection.iterdump()), sorted(lake.catalog.folder.rglob("*.parquet"))

    session.run("SELECT * FROM predictions.other")
    before = state()
    for sql in (
        "DELETE FROM predictions_all.other",
        "DROP TABLE predictions_all.other",
        "CREATE TABLE more (a INT)",
    ):
        with pytest.raises(Exception, match="Failed to commit"):
            session._connection.execute(sql)
    assert state() == before
