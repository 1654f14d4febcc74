"""Takes a lake to another place: files first, each verified row by row, then the catalog in one transaction.

Parquet files never change, so they may be copied while collectors write; a copy that was verified is not made
again. The catalog says only what the newest snapshot sees, under the same numbers, since files know their
columns by them.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import duckdb

from lapwing_collector import engine
from lapwing_collector.crashpoints import reach
from lapwing_collector.engine import METADATA, identifier, literal
from lapwing_collector.engine.place import CatalogFile, Location, Place, as_sql, inlined
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake.catalog import Catalog, exists, opening_alone
from lapwing_collector.lake.catalog_file import copy_catalog
from lapwing_collector.lake.files import all_files
from lapwing_collector.lake.sharing import Alone, sharing_of
from lapwing_collector.lake.statements import sharing, statement
from lapwing_collector.lake.store import store_of

_LEFT_OUT: Final = ("ducklake_metadata", "ducklake_files_scheduled_for_deletion")
"""What the new catalog says of itself, and of files that are not taken along."""

_INLINED: Final = ("ducklake_inlined_",)
"""Tables that DuckLake would put few rows into; Lapwing has it use none."""

_NEWEST_ONLY: Final = ("ducklake_snapshot", "ducklake_snapshot_changes")

Tell = Callable[[int, int], None]
"""Told how many files are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A file that was copied, and read back.

    Attributes:
        path: From the folder of the lake's files on.
        table: Whose it is.
        rows: In it, deleted ones included.
        checksum: The sum of the hashes of its rows, which is the same in any order.
    """

    path: str
    table: str
    rows: int
    checksum: str


class Journal:
    """Which files were copied, kept in a file, so that whoever is interrupted goes on from there."""

    def __init__(self, file: Path, copied: dict[str, Copied]) -> None:
        """Use `open` instead."""
        self._file = file
        self.copied = copied

    @classmethod
    def open(cls, file: Path, source: Place, target: Place) -> Self:
        """Read what was done, of the same journey; begin anew otherwise."""
        head = json.dumps({"from": str(source), "to": str(target)})
        lines: list[str] = []
        with suppress(FileNotFoundError):
            lines = file.read_text(encoding="utf-8").splitlines()
        if not lines or lines[0] != head:
            file.write_text(head + "\n", encoding="utf-8")
            lines = []
        copied = {}
        for line in lines[1:]:
            with suppress(ValueError, TypeError):  # the last line may be half a line
                done = Copied(**json.loads(line))
                copied[done.path] = done
        return cls(file, copied)

    def add(self, done: Copied) -> None:
        """Keep it that a file is there."""
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write("\n" + json.dumps(asdict(done)))  # which sets half a line apart, too
            lines.flush()
            os.fsync(lines.fileno())
        self.copied[done.path] = done


class Migration:
    """Takes one lake to one place."""

    def __init__(self, source: Place, target: Place, journal: Path, writer: str) -> None:
        """Begin, or go on.

        Args:
            source: Where the lake is.
            target: Where it is to be; there must be none.
            journal: Where what was done is kept.
            writer: What the collector is called whose log the lake covers.

        Raises:
            DataDirectoryError: There is no lake to be taken, or one where it is to be taken.
        """
        if exists(target):
            raise DataDirectoryError(f"{target}: there is a lake already; name another place")
        self._source = source
        self._target = target
        self._catalog = Catalog.read(source)
        self._from, self._to = self._catalog.store, store_of(target.files)
        self._to.prepare()
        self._journal = Journal.open(journal, source, target)
        self._writer = writer
        self._reads_source = _reader(source)
        self._reads_target = _reader(target)

    def copy_files(self, tell: Tell) -> int:
        """Copy the files that the newest snapshot sees and that are not there yet; how many those were.

        Raises:
            DataDirectoryError: A file is not at its new place what it was at the old one.
            OSError: One of the stores refuses or is away.
        """
        files = list(self._files())
        missing = [(path, table) for path, table in files if path not in self._journal.copied]
        done = len(files) - len(missing)
        for path, table in missing:
            with suppress(FileNotFoundError):  # it was merged meanwhile; the next snapshot has its rows
                self._copy(path, table)
                reach("migrating.file")
            done += 1
            tell(done, len(files))
        return len(missing)

    def copy_catalog(self) -> Mapping[str, tuple[int, str]]:
        """Make the lake be there, where all files are: rows and checksum of each table.

        Nobody else may write to the old one meanwhile.

        Raises:
            DataDirectoryError: A file was not copied.
            duckdb.Error: A catalog refuses.
        """
        tables: dict[str, tuple[int, int]] = {}
        for path, table in self._files():
            copied = self._journal.copied.get(path)
            if copied is None:
                raise DataDirectoryError(f"{path}: was not copied; was it written just now?")
            rows, checksum = tables.get(table, (0, 0))
            tables[table] = (rows + copied.rows, checksum + int(copied.checksum))
        if isinstance(self._target.catalog, CatalogFile):
            self._make_file(self._target.catalog)
        else:
            with opening_alone(self._target):
                self._fill(self._target)
        return {table: (rows, f"{checksum:x}") for table, (rows, checksum) in sorted(tables.items())}

    def close(self) -> None:
        """Let go of both."""
        for connection in (self._reads_source, self._reads_target):
            connection.close()
        self._catalog.close()

    def _files(self) -> Iterator[tuple[str, str]]:
        """Every file, from the folder on, with its table, and files that say what is deleted of others."""
        for path, (table, _) in all_files(self._catalog).items():
            yield self._relative(path), table.sql
        for schema, name, path, folder in self._catalog.native(statement("all_deletions")):
            yield self._relative(self._catalog.located(folder, path)), f"deletions of {schema}.{name}"

    def _relative(self, path: Location) -> str:
        text = str(path)
        if not text.startswith(self._source.prefix):
            raise DataDirectoryError(f"{text}: this file is not below {self._source.prefix}")
        return text.removeprefix(self._source.prefix)

    def _copy(self, path: str, table: str) -> None:
        source, target = self._from.root / path, self._to.root / path
        with self._from.read(source) as content:
            self._to.put(target, content)
        rows, checksum = _summed(self._reads_target, target)
        if (rows, checksum) != _summed(self._reads_source, source):
            self._to.remove(target)
            raise DataDirectoryError(f"{target}: other rows are read from it than from {source}")
        self._journal.add(Copied(path, table, rows, checksum))

    def _make_file(self, catalog: CatalogFile) -> None:
        """Make a catalog that is there as a whole, or not at all."""
        unfinished = CatalogFile(catalog.path.with_name("catalog.unfinished"))
        for part in catalog.path.parent.glob(f"{unfinished.path.name}*"):
            part.unlink()
        self._fill(Place(unfinished, self._target.files))
        copy_catalog(unfinished.path, catalog.path)
        for part in catalog.path.parent.glob(f"{unfinished.path.name}*"):
            part.unlink()

    def _fill(self, target: Place) -> None:
        """Let a catalog say what the old one says."""
        with engine.connect(target, threads=1) as connection:
            engine.attach(connection, target, read_only=False, use=False)  # which makes its tables
            connection.execute(f"DETACH {engine.LAKE}")
        with engine.connect(target, threads=1) as connection:
            engine.attach_catalog(connection, target, "target", read_only=False)
            connection.execute("BEGIN")
            for table, columns in _columns(connection):
                connection.execute(target.catalog.changed("target", f"DELETE FROM target.{table}"))
                rows = self._catalog.table(f"SELECT * FROM {METADATA}.{table}{_live(table, columns)}")
                names = ", ".join(map(identifier, columns))
                connection.register("rows", rows)
                connection.execute(f"INSERT INTO target.{table} ({names}) SELECT {names} FROM rows")
                connection.unregister("rows")
            self._tell_progress(connection, target)
            reach("migrating.catalog")
            connection.execute("COMMIT")

    def _tell_progress(self, connection: duckdb.DuckDBPyConnection, target: Place) -> None:
        """Say what the lake covers of the log, and, where several write, which models have which tables."""
        log, metrics = sharing_of(self._catalog, self._writer).progress()
        if not target.shared:
            told = Alone.told(log, metrics)
            newest = "(SELECT max(snapshot_id) FROM target.ducklake_snapshot)"
            connection.execute(
                f"UPDATE target.ducklake_snapshot_changes SET commit_extra_info = {literal(told)}, "
                f"author = 'lapwing' WHERE snapshot_id = {newest}"
            )
            return
        models = self._catalog.rows("SELECT DISTINCT model, table_name FROM lake.models ORDER BY ALL")
        spoken_of = self._catalog.rows(
            "SELECT DISTINCT model, table_name FROM lake.reference_sets ORDER BY ALL"
        )
        versions = self._catalog.rows("SELECT DISTINCT model, version FROM lake.models ORDER BY ALL")
        statements = [
            sharing("turn"),
            sharing("tables"),
            *(
                f"INSERT INTO lapwing_names VALUES {_row(row)};"
                for row in dict.fromkeys([*models, *spoken_of])
            ),
            *(f"INSERT INTO lapwing_versions (model, version) VALUES {_row(row)};" for row in versions),
            inlined(sharing("note"), [self._writer, log, metrics]),
        ]
        connection.execute(target.catalog.changed("target", "\n".join(statements)))


def _reader(place: Place) -> duckdb.DuckDBPyConnection:
    connection = engine.connect(place, threads=2)
    for sql in place.secrets:
        connection.execute(sql)
    return connection


def _summed(connection: duckdb.DuckDBPyConnection, file: Location) -> tuple[int, str]:
    """How many rows a file has, and the sum of their hashes."""
    [(rows, checksum)] = connection.execute(
        "SELECT count(*), coalesce(sum(hash(t)::HUGEINT), 0)::VARCHAR "
        f"FROM read_parquet({literal(str(file))}) AS t"
    ).fetchall()
    return int(rows), str(checksum)


def _columns(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, list[str]]]:
    """The tables of a catalog that are taken along, with their columns."""
    found: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'target' "
        "AND table_name LIKE 'ducklake_%' ORDER BY table_name, column_index"
    ).fetchall():
        if table not in _LEFT_OUT and not table.startswith(_INLINED):
            found.setdefault(table, []).append(column)
    return list(found.items())


def _live(table: str, columns: list[str]) -> str:
    """The condition of what the newest snapshot needs."""
    if table in _NEWEST_ONLY:
        return f" WHERE snapshot_id = (SELECT max(snapshot_id) FROM {METADATA}.ducklake_snapshot)"
    if "end_snapshot" in columns:
        return " WHERE end_snapshot IS NULL"
    if "data_file_id" in columns:
        seen = f"SELECT data_file_id FROM {METADATA}.ducklake_data_file WHERE end_snapshot IS NULL"
        return f" WHERE data_file_id IN ({seen})"
    return ""


def _row(values: tuple[Any, ...]) -> str:
    return f"({', '.join(map(as_sql, values))})"
