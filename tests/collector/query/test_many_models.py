"""Lakes with so many models that nobody can know all of them at once."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers.batches import START, labels, predictions
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.engine import lens as lenses
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import Session
from lapwing_collector.web.pages.sql import _TABLES

MODELS = ("churn", "Churn", "it's", "my model", "time", "other")


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every lake count as a large one."""
    monkeypatch.setattr(lenses, "MANY", 1)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake that nobody changes."""
    with closing(fill(tmp_path_factory.mktemp("filled") / "lake")) as opened:
        yield opened


@pytest.fixture
def session(filled: Lake) -> Iterator[Session]:
    """What reads it."""
    with closing(Session.open(filled.catalog.place)) as opened:
        yield opened


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """A lake to change."""
    with closing(fill(tmp_path / "lake")) as opened:
        yield opened


@pytest.fixture
def beside(lake: Lake) -> Iterator[Session]:
    """What reads that."""
    with closing(Session.open(lake.catalog.place)) as opened:
        yield opened


def fill(folder: Path) -> Lake:
    opened = Lake.open(folder, profiling=PROFILING)
    rows = [{"prediction_id": "a", "inputs.x": 1, "output.value": True}]
    batches = [predictions(model, rows) for model in MODELS]
    batches.append(labels("churn", [{"prediction_id": "a", "prediction_time": START, "label": True}]))
    opened.flush(batches, [], Progress(1, 0))
    return opened


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


def test_columns_are_listed_of_the_models_that_are_named(session: Session) -> None:
    """The SQL page finds tables by their names, of which DuckDB knew nothing before."""
    rows = session.run(_TABLES, {"tables": ["my model", "churn"]}).to_pylist()
    tables = [(row["table_schema"], row["table_name"]) for row in rows if row["table_schema"] != "main"]
    assert [each for each in tables if each[0] != "labeled"] == [
        ("predictions", "churn"),
        ("predictions", "my model"),
        ("labels", "churn"),
    ]
    (found,) = (
        row for row in rows if (row["table_schema"], row["table_name"]) == ("predictions", "my model")
    )
    assert "prediction_id\x1fVARCHAR" in found["columns"]


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


def test_what_changes_meanwhile_is_seen(lake: Lake, beside: Session) -> None:
    """New rows, fields and models are there with the next query."""
    assert beside.run("SELECT count(*) FROM predictions.other").column(0)[0].as_py() == 1
    with pytest.raises(NotSeenYetError):
        beside.run("SELECT inputs.z FROM predictions.other")
    with pytest.raises(NotSeenYetError):
        beside.run("SELECT * FROM predictions.late")
    rows = [{"prediction_id": "b", "inputs.z": 2.5}]
    lake.flush([predictions("other", rows), predictions("late", rows)], [], Progress(2, 0))
    assert beside.run("SELECT sum(inputs.z) FROM predictions.other").column(0)[0].as_py() == 2.5
    assert beside.run("SELECT inputs.z FROM predictions.late").column(0).to_pylist() == [2.5]


def test_a_session_that_began_small_takes_a_lens_once_there_are_many(
    filled: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that knew all models stops doing so some queries after they became too many."""
    monkeypatch.setattr(lenses, "MANY", 1000)
    session = Session.open(filled.catalog.place)
    assert known(session) == len(MODELS)
    monkeypatch.setattr(lenses, "MANY", 1)
    for _ in range(100):
        session.run("SELECT 1")
    assert known(session) == 0
    session.close()


def test_nothing_can_be_written_through_a_lens(lake: Lake, beside: Session) -> None:
    """Even a statement that nobody checked changes neither the catalog nor the files."""
    catalog = lake.catalog.place.catalog.path

    def state() -> tuple[list[str], list[Path]]:
        with sqlite3.connect(f"file:{catalog}?mode=ro", uri=True) as connection:
            return list(connection.iterdump()), sorted(lake.catalog.store.root.rglob("*.parquet"))

    beside.run("SELECT * FROM predictions.other")
    before = state()
    for sql in (
        "DELETE FROM predictions_all.other",
        "DROP TABLE predictions_all.other",
        "CREATE TABLE more (a INT)",
    ):
        with pytest.raises(Exception, match="Failed to commit"):
            beside._connection.execute(sql)
    assert state() == before
