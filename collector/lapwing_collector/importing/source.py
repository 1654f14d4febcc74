"""Reading a CSV or Parquet file part by part, each row with its line."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.errors import ConfigError, reason
from lapwing_collector.importing.cells import (
    Kind,
    counted,
    filled,
    fitting,
    kind_of,
    kind_to_read,
    known_kind,
    values,
    whole_kind,
)
from lapwing_collector.importing.rows import Reject

CHUNK_ROWS: Final = 20_000
"""Rows that are sent together; less where they are large."""
_CHUNK_BYTES: Final = 8 << 20
_LONGEST_CELL: Final = 16 << 20
_HASHED_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        columns: By the file's names, of one length.
        lines: Of the rows.
        rejected: Rows that cannot be read at all.
        done: How much of the file was read, in the unit of `Source.total`.
        odd: Rows with a cell that is not of the kind its column is read as, each with why.
    """

    columns: Mapping[str, pa.Array]
    lines: Sequence[int]
    rejected: Sequence[Reject]
    done: int
    odd: Mapping[int, str] = field(default_factory=dict)


class Source(Protocol):
    """A file of rows."""

    @property
    def names(self) -> Sequence[str]:
        """Its columns."""
        ...

    @property
    def total(self) -> int:
        """How much there is to read."""
        ...

    def kinds(self, known: Mapping[str, Kind | None]) -> dict[str, Kind]:
        """What to read columns as whose values are of one kind, where that is not what all of them are.

        Args:
            known: These columns, and what values of the same field were so far, if any were.
        """
        ...

    def chunks(self, types: Sequence[str], read_as: Mapping[str, Kind] | None = None) -> Iterator[Chunk]:
        """Its rows.

        Args:
            types: Columns whose values are more than text, where all columns are text.
            read_as: Columns of one kind, as `kinds` found it.
        """
        ...

    def fingerprint(self) -> bytes:
        """What identifies its content."""
        ...


def open_source(path: Path) -> Source:
    """Look into a file: Parquet if its name ends so, else CSV (with tabs, if its name ends in `.tsv`).

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return ParquetSource(path) if path.suffix.lower() in {".parquet", ".pq"} else CsvSource(path)
    except (OSError, pa.ArrowException, UnicodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from error


class ParquetSource:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        """Read its footer."""
        self._path = path
        self._file = pq.ParquetFile(path)

    @property
    def names(self) -> Sequence[str]:
        """Its columns."""
        return list(self._file.schema_arrow.names)

    @property
    def total(self) -> int:
        """Its rows."""
        return int(self._file.metadata.num_rows)

    def kinds(self, known: Mapping[str, Kind | None]) -> dict[str, Kind]:
        """What to read columns as, where values so far were of another kind than theirs."""
        found: dict[str, Kind] = {}
        for name, wanted in known.items():
            has = known_kind(self._file.schema_arrow.field(name).type)
            if wanted is None or has is None:
                continue
            read = wanted if has is Kind.TEXT is not wanted else kind_to_read(Counter([has]), wanted)
            if read is not None:
                found[name] = read
        return found

    def chunks(
        self,
        types: Sequence[str],  # noqa: ARG002  # its columns have types
        read_as: Mapping[str, Kind] | None = None,
    ) -> Iterator[Chunk]:
        """Its rows."""
        done = 0
        try:
            for batch in self._file.iter_batches(CHUNK_ROWS):
                for part in _small_parts(batch):
                    lines = range(done + 1, done + 1 + part.num_rows)
                    done += part.num_rows
                    columns = dict(zip(part.schema.names, part.columns, strict=True))
                    texts = {
                        name: filled(columns[name]).cast(pa.string()).to_pylist() for name in read_as or ()
                    }
                    read, odd = _read_as(texts, read_as or {})
                    yield Chunk(columns | read, lines, (), done, odd)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{self._path}: cannot be read on after row {done}: {reason(error)}") from error

    def fingerprint(self) -> bytes:
        """What identifies its content."""
        return _fingerprint(self._path)


class CsvSource:
    """A CSV file with a header, in UTF-8."""

    def __init__(self, path: Path) -> None:
        """Read its header."""
        self._path = path
        self._whole: dict[str, Kind] = {}
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        with path.open("rb") as file:
            header = next(self._rows(file), None)
        if header is None or isinstance(header, Reject):
            raise ConfigError(f"{path}: has no line that names its columns")
        self._names = [name.strip() for name in header[1]]
        double = [name for place, name in enumerate(self._names) if name in self._names[:place] or not name]
        if double:
            raise ConfigError(f"{path}: two columns are called {double[0]!r}, or have no name")

    @property
    def names(self) -> Sequence[str]:
        """Its columns."""
        return self._names

    @property
    def total(self) -> int:
        """Its size in bytes."""
        return self._path.stat().st_size

    def kinds(self, known: Mapping[str, Kind | None]) -> dict[str, Kind]:
        """What to read columns as where a few cells are something else, or values so far were."""
        counts = {name: Counter[Kind]() for name in known}
        for cells, _, _, _ in self._parts():
            for name, count in counts.items():
                count.update(counted(cells[name]))
        self._whole = {name: whole_kind(count) for name, count in counts.items()}
        found = {name: kind_to_read(counts[name], wanted) for name, wanted in known.items()}
        return {name: kind for name, kind in found.items() if kind is not None}

    def chunks(self, types: Sequence[str], read_as: Mapping[str, Kind] | None = None) -> Iterator[Chunk]:
        """Its rows; a column is of the type that all of its cells have, for which the file is read before."""
        kinds = dict.fromkeys(self._names, Kind.TEXT) | {
            name: self._whole.get(name, Kind.NOTHING) for name in types
        }
        unknown = [name for name in types if name not in self._whole]
        for cells, _, _, _ in self._parts() if unknown else ():
            for name in unknown:
                kinds[name] = kind_of(cells[name], kinds[name])
        for cells, lines, rejected, done in self._parts():
            read, odd = _read_as(cells, read_as or {})
            columns = {
                name: read[name] if name in read else values(cells[name], kinds[name]) for name in self._names
            }
            yield Chunk(columns, lines, rejected, done, odd)

    def fingerprint(self) -> bytes:
        """What identifies its content."""
        return _fingerprint(self._path)

    def _parts(self) -> Iterator[tuple[dict[str, list[str]], list[int], list[Reject], int]]:
        with self._path.open("rb") as file:
            rows = islice(self._rows(file), 1, None)
            while part := list(_some(rows)):
                rejected = [row for row in part if isinstance(row, Reject)]
                kept = []
                for row in part:
                    if isinstance(row, Reject):
                        continue
                    line, cells = row
                    problem = self._problem(cells)
                    if problem is None:
                        kept.append(row)
                    else:
                        rejected.append(Reject(line, problem))
                lines = [line for line, _ in kept]
                columns = (
                    zip(*(cells for _, cells in kept), strict=True) if kept else ([] for _ in self._names)
                )
                yield dict(zip(self._names, map(list, columns), strict=True)), lines, rejected, file.tell()

    def _problem(self, cells: list[str]) -> str | None:
        if len(cells) != len(self._names):
            return f"has {len(cells)} cells, the header has {len(self._names)}"
        if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
            return "is not UTF-8"
        return None

    def _rows(self, file: BinaryIO) -> Iterator[tuple[int, list[str]] | Reject]:
        """Lines with their cells; empty lines are passed over."""
        csv.field_size_limit(_LONGEST_CELL)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, delimiter=self._delimiter)
        try:
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Reject(line, f"cannot be read: {reason(error)}")
                    continue
                if cells:
                    yield line, cells
        finally:
            text.detach()


def _some(rows: Iterator[tuple[int, list[str]] | Reject]) -> Iterator[tuple[int, list[str]] | Reject]:
    """The next rows, as many as are sent together."""
    size = 0
    for row in islice(rows, CHUNK_ROWS):
        yield row
        size += 0 if isinstance(row, Reject) else sum(map(len, row[1]))
        if size > _CHUNK_BYTES:
            return


def _read_as(
    cells: Mapping[str, Sequence[str | None]], read_as: Mapping[str, Kind]
) -> tuple[dict[str, pa.Array], dict[int, str]]:
    """These columns, and the rows with a cell that does not fit."""
    columns: dict[str, pa.Array] = {}
    odd: dict[int, str] = {}
    for name, kind in read_as.items():
        columns[name], reasons = fitting(cells[name], kind)
        odd = {row: f"{name} {reason}" for row, reason in reasons.items()} | odd
    return columns, odd


def _small_parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    count = max(1, min(batch.num_rows, batch.num_rows * _CHUNK_BYTES // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, count):
        yield batch.slice(start, count)


def _fingerprint(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
    return digest.digest()
