"""Finds damaged Parquet files, keeps what can be read of them, and sets the rest aside.

A damaged file makes every query fail that needs it. In its place comes one with the row groups that can
still be read: queries then answer from what there is.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.engine.place import Location
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.files import StoredFile, TableName, all_files
from lapwing_collector.lake.rewriting import ConflictError, Rewriter
from lapwing_collector.lake.store import Store, damage_of, is_damage


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that was damaged.

    Attributes:
        table: Whose.
        file: Where it is now; None where there was none any more.
        problem: What was wrong with it.
        rows_lost: Rows that could not be read.
    """

    table: TableName
    file: Path | None
    problem: str
    rows_lost: int


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A file that could not be read now, which says nothing about it.

    Attributes:
        file: Which.
        problem: Why.
    """

    file: Location
    problem: str


def scrub(
    catalog: Catalog, rewriter: Rewriter, quarantine: Path, only: str | None = None
) -> Iterator[tuple[int, int, Damaged | Unchecked | None]]:
    """Read every page of every file of the newest snapshot; set damaged ones aside in `quarantine`.

    Args:
        catalog: Knows the files.
        rewriter: Puts others in their place.
        quarantine: Where damaged ones go.
        only: Reads no file but this, from the folder of the lake's files on.

    Yields:
        Files done, files in all, and what is to be told of the last one.
    """
    held = all_files(catalog)
    if only is not None:
        path = catalog.store.root / only
        held = {path: held[path]} if path in held else {}
    for done, (table, file) in enumerate(held.values(), 1):
        found: Damaged | Unchecked | None = None
        try:
            problem = damage_of(catalog.store, file.path, file.size_bytes)
            if problem:
                found = _set_aside(catalog.store, rewriter, table, file, problem, quarantine)
        except (OSError, MemoryError) as error:
            found = Unchecked(file.path, str(error) or type(error).__name__)
        yield done, len(held), found


def _set_aside(  # noqa: PLR0917  # a file, and what becomes of it
    store: Store, rewriter: Rewriter, table: TableName, file: StoredFile, problem: str, quarantine: Path
) -> Damaged | None:
    """Put what can be read of a file in its place, and move it; None where it left the table meanwhile."""
    try:
        lost = rewriter.replace(table, file, _readable(store, file.path))
    except ConflictError:
        return None
    aside = None
    if store.size(file.path) is not None:
        aside = quarantine / table.schema / f"{uuid.uuid4().hex[:8]}-{file.path.name}"
        store.move(file.path, aside)
    return Damaged(table, aside, problem, lost)


def _readable(store: Store, file: Location) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a file that can be read, each with its first row's position."""
    if store.size(file) is None:
        return
    with (
        store.fetched(file) as fetched,
        _skipping_damage(),  # not even its footer can be read
        pq.ParquetFile(fetched, page_checksum_verification=True) as parquet,
    ):
        start = 0
        for number in range(parquet.num_row_groups):
            with _skipping_damage():
                yield start, parquet.read_row_group(number)
            start += parquet.metadata.row_group(number).num_rows


@contextmanager
def _skipping_damage() -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if not is_damage(error):
            raise
