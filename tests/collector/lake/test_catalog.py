"""The catalog's one connection, shared by whoever commits."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from lapwing_collector import engine
from lapwing_collector.engine.place import Place
from lapwing_collector.lake import CatalogKeeper
from lapwing_collector.lake.catalog import Catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog.open(tmp_path / "lake")
    opened.redefine(["CREATE TABLE numbers (n BIGINT)"])
    opened.rows("CREATE TABLE __ducklake_metadata_lake.main.numbers (n BIGINT)")
    yield opened
    opened.close()


def test_threads_commit_one_after_the_other(catalog: Catalog) -> None:
    """Transactions of several threads all commit, and none sees half of another's."""
    counts = []

    def add_two() -> None:
        for _ in range(5):
            with catalog.transaction():
                catalog.rows("INSERT INTO __ducklake_metadata_lake.numbers VALUES (1)")
                counts.extend(catalog.rows("SELECT count(*) FROM __ducklake_metadata_lake.numbers"))
                catalog.rows("INSERT INTO __ducklake_metadata_lake.numbers VALUES (1)")

    threads = [threading.Thread(target=add_two) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [(n,) for n in range(1, 30, 2)]
    assert catalog.rows("SELECT count(*) FROM __ducklake_metadata_lake.numbers") == [(30,)]


def test_what_raises_is_rolled_back(catalog: Catalog) -> None:
    """A transaction that fails leaves nothing, and the next one works."""

    def add_one_and_fail() -> None:
        with catalog.transaction():
            catalog.rows("INSERT INTO __ducklake_metadata_lake.numbers VALUES (1)")
            catalog.rows("INSERT INTO __ducklake_metadata_lake.numbers VALUES ('one')")

    with pytest.raises(duckdb.ConversionException):
        add_one_and_fail()
    with catalog.transaction():
        catalog.rows("INSERT INTO __ducklake_metadata_lake.numbers VALUES (2)")
    assert catalog.rows("SELECT n FROM __ducklake_metadata_lake.numbers") == [(2,)]


def test_folders_of_tables_are_known(catalog: Catalog) -> None:
    """A table's folder is inside the lake's; an unknown table has none."""
    folder = catalog.table_folder("main", "numbers")
    assert folder is not None
    assert folder.is_relative_to(catalog.place.files.root)
    assert catalog.table_folder("main", "letters") is None


def test_a_keeper_keeps_the_log_of_the_catalog(catalog: Catalog, tmp_path: Path) -> None:
    """Once waited for it knows the newest snapshot, and the catalog's log stays until it lets go."""
    file = tmp_path / "lake" / "catalog.sqlite-wal"
    keeper = CatalogKeeper.begin(catalog.place)
    keeper.wait()
    assert [(keeper.snapshot,)] == catalog.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    assert os.getpgid(keeper._process.pid) != os.getpgrp()  # Ctrl-C is not for it
    catalog.close()
    assert file.exists()
    keeper.close()
    keeper.close()
    assert not file.exists()


def test_no_other_extension_is_loaded_without_a_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own extensions are trusted as their wheels are; what is loaded later has to be signed."""
    tampered = tmp_path / "sqlite_scanner.duckdb_extension"
    tampered.write_bytes(engine._extension_file("sqlite_scanner").read_bytes()[:-1] + b"?")
    monkeypatch.setattr(engine, "EXTENSIONS", ("ducklake",))
    with engine.connect() as connection:
        with pytest.raises(duckdb.IOException, match="signature"):
            connection.execute(f"LOAD {engine.literal(str(tampered))}")
        with pytest.raises(duckdb.InvalidInputException, match="allow_unsigned_extensions"):
            connection.execute("SET allow_unsigned_extensions = true")


def test_a_redefinition_that_fails_leaves_the_catalog_open(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where DuckLake refuses, or a server is away when others are to be kept out, work goes on as before."""
    with pytest.raises(duckdb.Error):
        catalog.redefine(["CREATE TABLE more (n BIGINT)", "SELECT * FROM nothing"])
    assert catalog.rows("SELECT * FROM numbers") == []

    @contextmanager
    def away(_place: Place) -> Iterator[None]:
        raise duckdb.IOException("Unable to connect to Postgres")
        yield

    monkeypatch.setattr("lapwing_collector.lake.catalog.opening_alone", away)
    with pytest.raises(duckdb.IOException):
        catalog.redefine(["CREATE TABLE more (n BIGINT)"])
    assert catalog.rows("SELECT * FROM numbers") == []
