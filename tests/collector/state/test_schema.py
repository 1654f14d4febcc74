"""Schema versions, files that cannot be used, and how SQLite is set up."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from helpers.notify_alerts import NOON
from helpers.state_schemas import make_older
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.alerts import Message, Status
from lapwing_collector.state import SqliteFile, Store
from lapwing_collector.state.database import Database
from lapwing_collector.state.schema import migrate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is to be."""
    return tmp_path / "state.db"


@pytest.fixture
def connection() -> Iterator[Connection]:
    """A connection to an empty database in memory."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def add_colour(connection: Connection) -> None:
    """A step from schema 1 to 2."""
    connection.execute(text("ALTER TABLE rules ADD COLUMN colour TEXT"))


def add_shape(connection: Connection) -> None:
    """A step from schema 2 to 3."""
    connection.execute(text("ALTER TABLE rules ADD COLUMN shape TEXT"))


def version(connection: Connection) -> int:
    """The schema version in the database."""
    return connection.execute(text("SELECT version FROM schema_version")).scalar_one()


def columns(connection: Connection) -> set[str]:
    """The columns of the rules."""
    return {row.name for row in connection.execute(text("PRAGMA table_info(rules)"))}


def test_an_older_schema_is_lifted_step_by_step(connection: Connection) -> None:
    """Each step runs once, whether one version or two are to be made up."""
    migrate(connection, "db", ())
    assert version(connection) == 1
    migrate(connection, "db", (add_colour,))
    assert (version(connection), columns(connection) & {"colour", "shape"}) == (2, {"colour"})
    migrate(connection, "db", (add_colour, add_shape))
    assert (version(connection), columns(connection) & {"colour", "shape"}) == (3, {"colour", "shape"})
    migrate(connection, "db", (add_colour, add_shape))
    assert version(connection) == 3


def test_a_new_database_starts_at_the_newest_schema(connection: Connection) -> None:
    """The tables are made as they are now: no step runs over them."""
    migrate(connection, "db", (add_colour, add_shape))
    assert version(connection) == 3
    assert columns(connection) & {"colour", "shape"} == set()


def test_states_of_before_new_alerts_were_told_apart_are_kept(path: Path) -> None:
    """An alert that was known to an older Lapwing is kept, is not new, and has no rows to show."""
    make_older(path, 3)
    alert = "'f1', '{}', '{}', 'firing', 'ok', 1.0, 1.0, 9, NULL, NULL, NULL, NULL, NULL, 0"
    database = sqlite3.connect(path)
    with database:
        database.execute("INSERT INTO rules VALUES (1, 'g', 'r', 'd', NULL, 'ok', NULL, NULL, NULL, NULL)")
        database.execute(f"INSERT INTO instances VALUES (1, {alert})")
        times = ", ".join(["'2013-03-05 12:00:00'"] * 4)
        database.execute(f"INSERT INTO history VALUES (1, 'g', 'r', 'firing', '', {times}, {alert})")
    database.close()
    store = Store.open(path)
    (state,) = store.load_rules().values()
    (event,) = store.history()
    assert state.instances["f1"] == event.instance
    assert (event.instance.state, event.instance.first_seen_at, event.sample) == ("firing", None, ())
    store.close()


def test_the_first_schema_becomes_the_newest(path: Path, tmp_path: Path) -> None:
    """A database that was lifted has what a new one has, column by column."""
    make_older(path, 1)
    Store.open(path).close()
    Store.open(tmp_path / "new.db").close()
    assert described(path) == described(tmp_path / "new.db")


def described(path: Path) -> dict[str, set[tuple[str, str]]]:
    """Names and types of the columns of each table, and the indexes."""
    database = sqlite3.connect(path)
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {
        name: {(row[1], row[2]) for row in database.execute(f"PRAGMA table_info({name})")} for name in names
    }
    indexes = database.execute(
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"
    )
    found["indexes"] = set(indexes)
    database.close()
    return found


def test_a_newer_schema_is_refused(path: Path) -> None:
    """A database that a newer Lapwing wrote is left alone, with a message that says what to do."""
    Store.open(path).close()
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE schema_version SET version = 99")
    database.close()
    with pytest.raises(
        DataDirectoryError, match=r"state\.db: was written by a newer version.*schema 99.*Upgrade"
    ):
        Store.open(path)


def test_a_file_of_another_kind_is_refused(path: Path) -> None:
    """A file that is no database is named and left as it is."""
    path.write_bytes(b"not a database, though long enough to be one. " * 100)
    before = path.read_bytes()
    with pytest.raises(
        DataDirectoryError, match=r"state\.db: cannot be used as the alert state: file is not a"
    ):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path into nowhere is an error that names it."""
    with pytest.raises(
        DataDirectoryError, match=r"nowhere.state\.db: cannot be used as the alert state: unable to"
    ):
        Store.open(tmp_path / "nowhere" / "state.db")


def test_every_connection_is_durable_and_checks_references(path: Path) -> None:
    """Connections write ahead, sync fully on commit, and check foreign keys."""
    database = Database(SqliteFile(path))
    with database.read() as first, database.write() as second:
        for connection in (first, second):
            settings = [
                connection.execute(text(f"PRAGMA {name}")).scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert settings == ["wal", 2, 1]
    database.close()


def test_messages_of_an_older_version_keep_their_order(path: Path) -> None:
    """What waited before messages were about groups is sent as it was, a resolve still after its firing."""
    make_older(path, 2)
    database = sqlite3.connect(path)
    with database:
        for number, status in enumerate(("firing", "resolved")):
            database.execute(
                "INSERT INTO outbox VALUES "
                "(?, ?, 'hook', ?, 'f1', 'title', 'body', 'queued', 0, ?, ?, NULL, NULL)",
                (number, status, status, "2013-03-05 12:00:00.000000", "2013-03-05 12:00:00.000000"),
            )
    database.close()
    store = Store.open(path)
    (due,) = store.due_messages("hook", NOON, 10)
    assert due.message == Message("firing", "hook", Status.FIRING, "f1", "title", "body")
    store.close()
