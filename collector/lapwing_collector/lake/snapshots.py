"""Makes written files visible: one snapshot of the catalog per flush, in one transaction.

DuckLake's own `ducklake_add_data_files` costs some ten statements for each file, of which several read the
statistics of every table there is. What a commit has to say is a few rows in tables that the DuckLake
specification describes, so they are written here, for all files of a flush at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.engine.place import Location
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.parquet import Written
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Table

PRUNABLE: Final = (
    "time",
    "received_at",
    "prediction_time",
    "prediction_id",
    "request_id",
    "version",
    "environment",
    "stage",
    "error_type",
    "event_name",
    "severity_number",
    "metric",
    "table_name",
)
"""Columns by whose values whole files are left out of a query. The catalog keeps the least and the greatest
of each file for these only: DuckLake reads all of them for every filter, and uses none inside of structs."""

_FILES: Final = pa.schema(
    [("file", pa.int64()), ("snapshot", pa.int64()), ("table_id", pa.int64()), ("path", pa.string())]
    + [(name, pa.int64()) for name in ("records", "size_bytes", "footer_bytes", "first_row")]
)
_STATISTICS: Final = pa.schema(
    [(name, pa.int64()) for name in ("file", "table_id", "column_id", "size_bytes", "present", "absent")]
    + [("least", pa.string()), ("greatest", pa.string())]
)
_TOTALS: Final = pa.schema([(name, pa.int64()) for name in ("table_id", "records", "next_row", "size_bytes")])


@dataclass(frozen=True, slots=True)
class DataFile:
    """A durable Parquet file in the folder of a table, its columns numbered as the table's are."""

    table: Table
    path: Location
    written: Written


def add_files(catalog: Catalog, files: Sequence[DataFile], extra_info: str | None) -> None:
    """Make `files` part of their tables; called inside a transaction of the catalog.

    Args:
        catalog: To be written.
        files: Any number of each table.
        extra_info: What the snapshot says of itself, if anything.
    """
    tables = ", ".join({str(file.table.number) for file in files})
    snapshot, first_file = map(int, catalog.native(statement("newest_snapshot"))[0])
    found = catalog.native(statement("table_totals", tables=tables)) if files else []
    before = {table: numbers for table, *numbers in (map(int, row) for row in found)}
    totals: dict[int, list[int]] = dict(before)
    described: list[tuple[Any, ...]] = []
    statistics: list[tuple[Any, ...]] = []
    for number, file in enumerate(files, start=first_file):
        table = file.table.number
        written = file.written
        records = written.footer.num_rows
        stored, next_row, stored_bytes = totals.get(table, [0, 0, 0])
        described.append(
            (
                number,
                snapshot + 1,
                table,
                file.path.name,
                records,
                written.size_bytes,
                written.footer_bytes,
                next_row,
            )
        )
        statistics += [(number, table, *column) for column in _statistics(file)]
        totals[table] = [stored + records, next_row + records, stored_bytes + written.size_bytes]
    new = [(table, *numbers) for table, numbers in totals.items() if table not in before]
    grown = [(table, *numbers) for table, numbers in totals.items() if table in before]
    changes = ",".join(f"inserted_into_table:{table}" for table in totals)
    catalog.change(statement("add_snapshot"), [snapshot + 1, len(files)])
    catalog.change(statement("add_changes"), [snapshot + 1, changes, extra_info])
    for name, rows, schema in (
        ("add_files", described, _FILES),
        ("add_statistics", statistics, _STATISTICS),
        ("add_totals", new, _TOTALS),
        ("raise_totals", grown, _TOTALS),
    ):
        if rows:
            catalog.insert(statement(name), _rows(rows, schema))
    if files and catalog.native(statement("has_column_totals", tables=tables)):
        catalog.change(statement("forget_column_totals", tables=tables))


def end_files(catalog: Catalog, table: Table, files: Sequence[int]) -> int:
    """Let the newest snapshot, made in the same transaction, be the first that does not see files of a table.

    Args:
        catalog: To be written.
        table: Whose.
        files: The catalog's numbers of them.

    Returns:
        How many of them the snapshot before did see.
    """
    numbers = ", ".join(map(str, files))
    [(seen, rows, size_bytes)] = catalog.native(statement("seen_files", files=numbers))
    catalog.change(statement("end_files", files=numbers))
    catalog.change(statement("end_deletions", files=numbers))
    values = {"table": str(table.number), "rows": str(rows), "size": str(size_bytes)}
    catalog.change(statement("lower_totals", **values))
    catalog.change(statement("tell_of_deletion", table=str(table.number)))
    return int(seen)


def _statistics(file: DataFile) -> list[tuple[Any, ...]]:
    """Number, size, values, nulls, least and greatest value of each prunable column."""
    footer = file.written.footer
    places = {footer.schema.column(place).path: place for place in range(footer.num_columns)}
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    return [
        (file.table.columns[name,], *_summary([group.column(places[name]) for group in groups]))
        for name in PRUNABLE
        if name in places
    ]


def _summary(chunks: Sequence[pq.ColumnChunkMetaData]) -> tuple[Any, ...]:
    size_bytes = sum(chunk.total_compressed_size for chunk in chunks)
    parts = [chunk.statistics for chunk in chunks]
    if any(part is None for part in parts):
        return size_bytes, None, None, None, None
    present, absent = sum(part.num_values for part in parts), sum(part.null_count for part in parts)
    filled = [part for part in parts if part.num_values]
    bounded = bool(filled) and all(part.has_min_max for part in filled)  # it has none of long texts
    try:
        least = str(min(part.min for part in filled)) if bounded else None
        greatest = str(max(part.max for part in filled)) if bounded else None
    except (ValueError, OverflowError):  # a text that is none, a year that Python does not have
        least = greatest = None
    if least is None or greatest is None or "\0" in least + greatest:  # SQLite cuts texts there
        return size_bytes, present, absent, None, None
    return size_bytes, present, absent, least, greatest


def _rows(values: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(zip(*values, strict=True), schema.types, strict=True)
    return pa.Table.from_arrays([pa.array(column, kind) for column, kind in columns], schema=schema)
