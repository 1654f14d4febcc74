"""A state is taken from one database to another: all of it as it is, or nothing."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, Enum, Table, select

from helpers.notify_alerts import NOON
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.alerts import MetricRow, RuleId, RuleState
from lapwing_collector.state import OwnedElsewhereError, PostgresServer, SqliteFile, Store, move_state, moving
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import Place
from lapwing_collector.state.schema import leadership, marks, metadata, replicas, schema_version

if TYPE_CHECKING:
    from helpers.postgres import Server

ROWS = 9
OF_PROCESSES = {leadership, replicas, marks, schema_version}
SPOIL = """
CREATE FUNCTION spoil() RETURNS trigger AS $$ BEGIN NEW.comment := 'x'; RETURN NEW; END $$ LANGUAGE plpgsql
"""
VALUES = {
    int: lambda n: n,
    str: lambda n: f"text {n} \0 ü",
    float: lambda n: n / 7 if n % 2 else float("inf"),
    bool: lambda n: n % 2 == 0,
    dict: lambda n: {"b": [n, float("-inf"), "\0\ud800"], "a": None},
}


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table is taken in several turns, the last of which has fewer rows."""
    monkeypatch.setattr(moving, "_AT_ONCE", 4)


@pytest.fixture
def other(postgres: "Server") -> PostgresServer:
    return PostgresServer(postgres.database())


def value(column: Column[Any], n: int) -> Any:
    """Something that a column of any table may hold, and never two rows of a key."""
    if column.nullable and n % 3 == 0:
        return None
    if isinstance(column.type, Enum):
        return next(iter(column.type.enum_class or ()))
    kind = column.type.python_type
    return NOON + timedelta(microseconds=n) if kind not in VALUES else VALUES[kind](n)


def fill(place: Place) -> None:
    """Rows in every table that a state has."""
    with closing(Database(place)) as database, database.write() as connection:
        for table in metadata.sorted_tables:
            if table not in {schema_version, leadership}:
                rows = [{each.name: value(each, n) for each in table.columns} for n in range(1, ROWS + 1)]
                connection.execute(table.insert(), rows)


def rows_of(place: Place) -> dict[str, list[str]]:
    """What each table has, as Python sees it."""

    def read(table: Table) -> list[str]:
        found = connection.execute(select(table)).all()
        return sorted(repr(tuple(row)).replace(r"\x00", "␀") for row in found)

    with closing(Database(place, make=False)) as database, database.read() as connection:
        return {table.name: read(table) for table in metadata.sorted_tables if table not in OF_PROCESSES}


def nothing(_done: int, _total: int) -> None:
    """For work that nobody watches."""


def test_all_rows_go_there_and_back(tmp_path: Path, other: PostgresServer) -> None:
    """Each table has the same rows in PostgreSQL, and in a file again; those of processes are left behind."""
    file, back = SqliteFile(tmp_path / "state.sqlite"), SqliteFile(tmp_path / "back.sqlite")
    fill(file)
    before = rows_of(file)
    assert all(len(rows) in {1, ROWS} for rows in before.values())
    told: list[tuple[int, int]] = []
    moved = move_state(file, other, lambda *news: told.append(news))
    assert moved == {name: len(rows) for name, rows in before.items()}
    assert told[-1] == (sum(moved.values()), sum(moved.values()))
    assert rows_of(other) == before
    with closing(Store.find(other)) as store:
        assert (store.replicas(), store.marks()) == ([], [])
    move_state(other, back, nothing)
    assert rows_of(back) == before


def test_numbers_go_on(tmp_path: Path, other: PostgresServer) -> None:
    """What is queued after a journey is numbered after all that ever was, though the lake has taken it."""
    back = SqliteFile(tmp_path / "back.sqlite")

    def queue(place: Place, slot: int) -> list[int]:
        at = NOON + timedelta(minutes=slot)
        rows = [MetricRow("m", None, {}, at, at, 1.0, 1, None)] * 3
        with closing(Store.open(place)) as store:
            store.commit(RuleId("g", "r"), RuleState("d", at), [], [], rows, at)
            numbers = [number for number, *_ in store.queued_metrics(0, 10)]
            store.forget_metrics(numbers[-1])
        return numbers

    file = SqliteFile(tmp_path / "state.sqlite")
    assert queue(file, 1) == [1, 2, 3]
    move_state(file, other, nothing)
    assert queue(other, 2) == [4, 5, 6]
    move_state(other, back, nothing)
    assert queue(back, 3) == [7, 8, 9]


def test_a_state_that_somebody_worked_with_is_not_replaced(tmp_path: Path, other: PostgresServer) -> None:
    """What a journey left and nobody used is taken anew; once somebody leads there, it is refused."""
    file = SqliteFile(tmp_path / "state.sqlite")
    fill(file)
    move_state(file, other, nothing)
    with closing(Store.open(file)) as store:
        store.advance_to(NOON + timedelta(days=1))
    move_state(file, other, nothing)
    assert rows_of(other) == rows_of(file)
    Store.own(other).close()
    with pytest.raises(DataDirectoryError, match="there is an alert state already"):
        move_state(file, other, nothing)


def test_who_works_with_it_is_told(tmp_path: Path, other: PostgresServer) -> None:
    """Neither from where somebody leads, nor to there, is anything taken; it is said who that is."""
    file = SqliteFile(tmp_path / "state.sqlite")
    fill(file)
    with closing(Store.own(other)):
        for source, target in ((file, other), (other, SqliteFile(tmp_path / "new.sqlite"))):
            with pytest.raises(OwnedElsewhereError, match=r"somebody works with this alert state .*lapwing "):
                move_state(source, target, nothing)


def test_rows_that_are_read_back_as_others_are_not_taken(
    tmp_path: Path, other: PostgresServer, postgres: "Server"
) -> None:
    """Where the new database changes a row, or takes none, nothing is there afterwards."""
    file = SqliteFile(tmp_path / "state.sqlite")
    fill(file)
    Store.open(other).close()
    with closing(Database(other)) as database, database.write() as connection:
        connection.exec_driver_sql(SPOIL)
        connection.exec_driver_sql(
            "CREATE TRIGGER spoiled BEFORE INSERT ON acks FOR EACH ROW EXECUTE FUNCTION spoil()"
        )
    with pytest.raises(DataDirectoryError, match="other rows are read from acks"):
        move_state(file, other, nothing)
    assert not any(rows_of(other).values())
    with closing(Database(other)) as database, database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER spoiled ON acks")
        connection.exec_driver_sql("ALTER TABLE silences ADD CHECK (key <> 'text 7 ␀ ü')")
    with pytest.raises(DataDirectoryError, match=r"cannot be taken there: .*silences"):
        move_state(file, other, nothing)
    assert not any(rows_of(other).values())
