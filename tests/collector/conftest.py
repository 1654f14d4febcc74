"""What takes long and is the same for all tests of the collector is made once."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from lapwing_collector.engine.place import Folder, Place, place_of
from lapwing_collector.lake import Lake
from lapwing_collector.lake.catalog import exists
from lapwing_collector.state import database
from lapwing_collector.state.schema import NEWEST, STEPS, Step, schema_version


@pytest.fixture(scope="session", autouse=True)
def _new_lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new lake is what the first one was when it was new, but for where and when it was made.

    Half of opening one is having DuckLake make its own tables and those of ours, with the same outcome.
    """
    open_, made = Lake.open, dict[bool, Place]()

    def open_one(where: Place | Path, declared: Any = None, *, profiling: Any = None, **more: Any) -> Lake:
        place = place_of(where)
        with suppress(OSError):  # it will be told by who meets it without this
            if place.folder is not None and not exists(place):
                profiled = profiling is not None
                if profiled not in made:
                    made[profiled] = Place.within(tmp_path_factory.mktemp("new"))
                    open_(made[profiled], profiling=profiling).close()
                copy_of(made[profiled], place)
        return open_(where, declared, profiling=profiling, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lake, "open", open_one)
        yield


def copy_of(first: Place, place: Place) -> None:
    """Make a lake in a folder what the first one is, but for where its files are, and since when."""
    assert isinstance(first.files, Folder)
    assert isinstance(place.files, Folder)
    copytree(first.files.root, place.files.root, dirs_exist_ok=True)
    file = place.catalog.path
    copyfile(first.catalog.path, file)
    now = datetime.now(UTC).isoformat(" ", "microseconds").removesuffix(":00")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [place.prefix])
        connection.execute("UPDATE ducklake_snapshot SET snapshot_time = ?", [now])


@pytest.fixture(scope="session", autouse=True)
def _new_states() -> Iterator[None]:
    """A new state in a SQLite file gets the tables that the first one got, by the same SQL, read from it."""
    migrate, made = database.migrate, list[str]()

    def migrate_one(
        connection: Connection, name: str, steps: Sequence[Step] = STEPS, *, make: bool = True
    ) -> None:
        new = make and connection.dialect.name == "sqlite" and not _tables(connection)
        if not new or not made:
            migrate(connection, name, steps, make=make)
            made[:] = _tables(connection) if new else made
            return
        for sql in made:
            connection.exec_driver_sql(sql)
        connection.execute(insert(schema_version).values(version=NEWEST))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "migrate", migrate_one)
        yield


def _tables(connection: Connection) -> list[str]:
    """The SQL of all tables and indexes but SQLite's own."""
    ours = "SELECT sql FROM sqlite_master WHERE sql > '' AND name NOT LIKE 'sqlite%'"
    return [sql for (sql,) in connection.exec_driver_sql(ours)]
