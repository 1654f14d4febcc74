"""What files a table has, as the catalog tells: the unit that merging, retention and erasure work in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lapwing_collector.engine import identifier, literal
from lapwing_collector.engine.place import Location
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.statements import statement


class TableName(NamedTuple):
    """A table of the lake."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """As SQL writes it."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A Parquet file that the newest snapshot sees.

    Attributes:
        number: The catalog's.
        path: Where it is.
        rows: In it.
        size_bytes: Where it is kept.
    """

    number: int
    path: Location
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TimedFile:
    """A file of a table whose rows have a time, and the span of these times.

    Attributes:
        table: Whose.
        file: Which.
        first: Time of its earliest row, naive UTC; None where the catalog does not tell times of the file.
        last: Time of its latest row, likewise.
    """

    table: TableName
    file: StoredFile
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that came since the last look.

    Attributes:
        table: Whose.
        rows: In it.
        size_bytes: On the disk.
    """

    table: TableName
    rows: int
    size_bytes: int


def table_files(catalog: Catalog, table: TableName) -> list[StoredFile]:
    """The files of one table, in the order in which they were added."""
    found = catalog.native(statement("table_files", schema=literal(table.schema), table=literal(table.name)))
    return [
        StoredFile(int(number), catalog.located(relative, path), int(rows), int(size_bytes))
        for number, path, relative, rows, size_bytes in found
    ]


def timed_files(catalog: Catalog) -> list[TimedFile]:
    """Every file of predictions, labels, logs and profiles, the oldest first, those of unknown times last.

    One pass over the catalog.
    """
    return [
        TimedFile(
            TableName(schema, name),
            StoredFile(number, catalog.located(relative, path), rows, size_bytes),
            first,
            last,
        )
        for schema, name, number, path, relative, rows, size_bytes, first, last in catalog.rows(
            statement("timed_files")
        )
    ]


def all_files(catalog: Catalog) -> Mapping[Location, tuple[TableName, StoredFile]]:
    """Every file that the newest snapshot sees."""
    found = {}
    for schema, name, number, path, relative, rows, size_bytes in catalog.native(statement("all_files")):
        place = catalog.located(relative, path)
        found[place] = (TableName(schema, name), StoredFile(int(number), place, int(rows), int(size_bytes)))
    return found


def delete_files(catalog: Catalog, file: StoredFile) -> list[Location]:
    """The files that say which rows of a file are deleted."""
    found = catalog.native(statement("delete_files", file=str(file.number)))
    return [catalog.located(relative, path) for path, relative in found]


def known_paths(catalog: Catalog) -> set[Location]:
    """Every file that the catalog knows: of any snapshot, or waiting to be deleted."""
    return {catalog.located(relative, path) for path, relative in catalog.native(statement("known_paths"))}


class Newcomers:
    """Tells which files were added since it was last asked, at a cost that does not grow with the lake."""

    def __init__(self, catalog: Catalog) -> None:
        """Begin with no file known: the first answer is all there are."""
        self._catalog = catalog
        self._seen = -1

    def look(self) -> list[NewFile]:
        """Files added since the last call."""
        found = self._catalog.native(statement("new_files", after=str(self._seen)))
        self._seen = max((int(row[0]) for row in found), default=self._seen)
        return [
            NewFile(TableName(schema, name), int(rows), int(size_bytes))
            for _, schema, name, rows, size_bytes in found
        ]
