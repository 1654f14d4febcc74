"""Reading the lake: what SQL gives, what it may do and what it may not."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from helpers.batches import START, predictions
from helpers.query_lake import make_lake
from lapwing_collector.errors import DataDirectoryError, NotSeenYetError, QueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.query import Session, check_select, tables_in


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    opened = Session.open(make_lake(tmp_path_factory.mktemp("data") / "lake"))
    yield opened
    opened.close()


def test_answers_as_typed(session: Session) -> None:
    """A person's SQL over struct fields works as it is, parameters and all."""
    answer = session.run(
        "SELECT count(*) AS n, avg((output.late = label)::INT) AS right "
        "FROM labeled.churn WHERE time >= $start",
        {"start": START},
    )
    assert answer.to_pylist() == [{"n": 10, "right": 1.0}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "",
        "DELETE FROM predictions_all.churn",
        "CREATE TABLE t (i INT)",
        "COPY models TO 'out.csv'",
        "ATTACH 'x.sqlite' AS x",
        "CALL ducklake_merge_adjacent_files('lake')",
        "SET threads = 1",
        "EXPLAIN ANALYZE COPY models TO 'out.csv'",
        "SELECT * FROM ducklake_cleanup_old_files('lake')",
        "SELECT * FROM ducklake_expire_snapshots('lake', versions => [1])",
        "SELECT (SELECT count(*) FROM read_text('/etc/passwd'))",
        "WITH q AS (SELECT * FROM query('SELECT 1')) SELECT * FROM q",
        "SELECT * FROM sqlite_scan('catalog.sqlite', 'ducklake_table')",
        "SELEC 1",
    ],
)
def test_anything_but_one_select_is_refused(session: Session, sql: str) -> None:
    """What writes, configures, calls or reads elsewhere never runs, however it is wrapped."""
    with pytest.raises(QueryError):
        session.run(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "FROM range(3)",
        "SELECT unnest([1, 2])",
        "SHOW ALL TABLES",
        "DESCRIBE predictions.churn",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON * INTO NAME f VALUE v",
        "SELECT 1;",
    ],
)
def test_reading_is_allowed(session: Session, sql: str) -> None:
    """The shapes of SQL that people look around with are allowed."""
    assert session.run(sql).num_rows


def test_files_outside_the_lake_cannot_be_read(session: Session, tmp_path: Path) -> None:
    """A file named as a table is refused by the engine too."""
    other = tmp_path / "secret.csv"
    other.write_text("a\n1\n")
    with pytest.raises(QueryError, match="looks like a file"):
        session.run(f"SELECT * FROM '{other}'")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM predictions.unborn",
        "SELECT inputs.income FROM predictions.churn",
        "SELECT tenure FROM predictions.churn",
    ],
)
def test_what_has_not_come_yet_is_told_apart(session: Session, sql: str) -> None:
    """A table or field nobody sent yet is an error of its own, since rules take it for missing data."""
    with pytest.raises(NotSeenYetError):
        session.run(sql)


def test_other_mistakes_are_not_taken_for_missing_data(session: Session) -> None:
    """A wrong type or function is a plain error."""
    for sql in ("SELECT nosuchfunction(1)", "SELECT 'a'::INT", "SELECT time + 'x' FROM predictions.churn"):
        with pytest.raises(QueryError) as caught:
            session.run(sql)
        assert not isinstance(caught.value, NotSeenYetError)


def test_a_reader_sees_what_is_written_meanwhile(tmp_path: Path) -> None:
    """A session stays open while the owner writes, merges and changes the schema, and sees each commit."""
    lake = Lake.open(tmp_path / "lake")
    session = Session.open(tmp_path / "lake")
    for number in range(20):
        lake.flush([predictions("m", [{f"inputs.f{number % 3}": number}])], [], Progress(number + 1, 0))
        assert session.run("SELECT count(*) AS n FROM predictions.m").to_pylist() == [{"n": number + 1}]
    upkeep = Upkeep(lake.catalog)
    list(upkeep.merge_all())
    upkeep.close()
    assert session.run("SELECT sum(inputs.f0) AS n FROM predictions.m").to_pylist() == [{"n": 63}]
    session.close()
    lake.close()


def test_no_lake_is_told_plainly(tmp_path: Path) -> None:
    """Asking where nothing ever ran says what to do."""
    with pytest.raises(DataDirectoryError, match="lapwing up"):
        Session.open(tmp_path / "lake")


def test_tables_are_known_before_they_exist() -> None:
    """The models that a rule names are read off its SQL, also inside CTEs and subqueries."""
    with duckdb.connect() as parser:
        found = tables_in(
            parser,
            'WITH a AS (SELECT * FROM predictions."Big Model") SELECT * FROM a '
            "WHERE x IN (SELECT y FROM labeled.churn) AND z > (SELECT max(share) FROM reference_bins)",
        )
        assert found == {("predictions", "Big Model"), ("labeled", "churn")}
        check_select(parser, "SELECT 1")


def test_what_was_asked_is_not_kept(session: Session) -> None:
    """However many queries a process answers, and however long they are, it holds few of their texts."""
    texts = ("x" * (15_000 if number % 10 else 150_000) for number in range(350))
    session.run("SELECT 1")
    tracemalloc.start()
    try:
        for number, text in enumerate(texts):
            session.run(f"SELECT {number} AS n, length('{text}') AS l")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 6_000_000
