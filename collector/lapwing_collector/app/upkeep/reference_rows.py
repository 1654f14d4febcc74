"""Rows of references, kept beside their counts for methods that look at values themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.decode import reference_batch
from lapwing_collector.lake import Lake
from lapwing_collector.lake.files import StoredFile, TableName, table_files
from lapwing_collector.lake.rewriting import Rewriter
from lapwing_collector.lake.snapshots import DataFile
from lapwing_collector.lake.writer import REFERENCE_SCHEMA
from lapwing_collector.metrics import ORDER, columns_of, field_names, file_places, fitting_rows, kept_rows
from lapwing_collector.model.profiles import REFERENCE_ROWS
from lapwing_collector.model.records import Batch

_AMONG: Final = "list_contains($versions, {})"

_BATCH_CELLS: Final = 1 << 21
"""Values that are read at once."""


@dataclass(frozen=True, slots=True)
class Whose:
    """A version of a reference.

    Attributes:
        model: Its model.
        table: The model's.
        reference: Its name.
        version: Its number.
    """

    model: str
    table: str
    reference: str
    version: int


class ReferenceRows:
    """Writes and drops rows of the references of one lake; for one thread at a time."""

    def __init__(self, lake: Lake, rewriter: Rewriter) -> None:
        """Wire the parts.

        Args:
            lake: Written.
            rewriter: Exchanges files.
        """
        self._lake = lake
        self._rewriter = rewriter

    def write(self, whose: Whose, file: pq.ParquetFile, known: Mapping[str, pa.DataType]) -> DataFile:
        """Write rows of a file, as many as there is room for, for the lake to make known.

        Args:
            whose: What they are rows of.
            file: Has rows.
            known: Types of the model's fields.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
            pyarrow.ArrowException: The file cannot be read.
        """
        places = file_places(file.schema_arrow)
        fields = field_names(places, known)
        columns = {
            name: fields.get(name, name)
            for name in places
            if name in fields or name in REFERENCE_ROWS.names or name == "tags"
        }
        order = None
        if ORDER in file.schema_arrow.names:
            order = file.read(columns=[ORDER]).column(0).combine_chunks()
        rows, positions = _taken(
            file, {name: places[name][0] for name in columns}, kept_rows(file.metadata.num_rows, order)
        )
        most = max(1, _BATCH_CELLS // len(columns))
        return self._lake.write_reference(
            whose.table,
            [
                _batch(
                    whose,
                    {columns[name]: values.take(pa.array(part)) for name, values in rows.items()},
                    positions[part],
                )
                for part in _parts(len(positions), most)
            ],
        )

    def drop(self, table: str, reference: str, versions: Sequence[int]) -> int:
        """Forget the rows of some versions of a reference, and that there are any; how many there were.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: A file cannot be read, or the catalog refuses.
        """
        if not versions:
            return 0
        whose = {"reference": reference, "versions": [*versions]}
        rows = TableName(REFERENCE_SCHEMA, table)
        gone = 0
        if files := self._files(
            rows, f"reference = $reference AND {_AMONG.format('reference_version')}", whose
        ):
            keep = f"NOT (reference = $reference AND {_AMONG.format('reference_version')})"
            gone = self._rewriter.rewrite(rows, files, keep=keep, parameters=whose).rows_removed
        sets = TableName("main", "reference_sets")
        meant = "table_name = $table AND reference = $reference AND coalesce(has_rows, false)"
        meant = f"{meant} AND {_AMONG.format('version')}"
        whose |= {"table": table}
        if files := self._files(sets, meant, whose):
            self._rewriter.rewrite(sets, files, read=partial(_without_rows, files, meant, whose))
        return gone

    def _files(self, table: TableName, condition: str, parameters: Mapping[str, Any]) -> list[StoredFile]:
        """The files of a table that hold rows for which a condition is true."""
        stored = {file.path: file for file in table_files(self._lake.catalog, table)}
        if not stored:
            return []
        sql = f"SELECT DISTINCT filename FROM {table.sql} WHERE {condition}"
        found = self._rewriter.read(sql, parameters).column("filename").to_pylist()
        return [stored[self._lake.catalog.located(None, name)] for name in found]


def _taken(
    file: pq.ParquetFile, places: Mapping[str, tuple[str, ...]], wanted: npt.NDArray[np.int64]
) -> tuple[dict[str, pa.Array], npt.NDArray[np.int64]]:
    """As many of the wanted rows as there is room for, by column, and where they are; as the file has them.

    All values of one column are in memory at a time, and those that are taken of the others.
    """
    taken: dict[str, pa.Array] = {}
    size = 0
    for name, path in places.items():
        values = columns_of(file.read(columns=[".".join(path)]))[name]
        taken[name] = values.take(pa.array(wanted))
        size += taken[name].nbytes
        fitting = fitting_rows(len(wanted), size)
        if fitting < len(wanted):
            wanted = wanted[:fitting]
            taken = {each: values.take(pa.array(np.arange(fitting))) for each, values in taken.items()}
            size = sum(values.nbytes for values in taken.values())
    order = np.argsort(wanted)
    return {name: values.take(pa.array(order)) for name, values in taken.items()}, wanted[order]


def _parts(rows: int, most: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(first, min(first + most, rows)) for first in range(0, rows, most)]


def _batch(whose: Whose, columns: Mapping[str, pa.Array], positions: npt.NDArray[np.int64]) -> Batch:
    numbers = pa.array(positions, pa.int64())
    return reference_batch(whose.model, whose.reference, whose.version, columns, numbers)


def _without_rows(
    files: Sequence[StoredFile],
    meant: str,
    parameters: Mapping[str, Any],
    rewriter: Rewriter,
    _where: str,
) -> Iterator[pa.Table]:
    """The rows of `reference_sets`: those that are meant say that there are no rows of theirs."""
    table = TableName("main", "reference_sets")
    for part in rewriter.rows_of(table, files, f"NOT ({meant})", parameters):
        yield part
    for part in rewriter.rows_of(table, files, meant, parameters):
        none = pa.chunked_array([pa.repeat(pa.scalar(False), part.num_rows)])
        yield part.set_column(part.schema.get_field_index("has_rows"), "has_rows", none)
