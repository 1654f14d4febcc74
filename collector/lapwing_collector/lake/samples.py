"""Rows read straight from the newest files of a table: a look at what it holds, not an answer to a query.

A query through DuckLake loads what it knows of every table there is. Who only wants to see what values look
like, of one model after the other, reads a file.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.files import StoredFile, TableName, table_files
from lapwing_collector.lake.store import Store

logger = logging.getLogger(__name__)

_LOGS: Final = TableName("main", "logs")
_SAID: Final = ("time", "received_at", "attributes", "body", "resource")


def newest_rows(catalog: Catalog, table: TableName, columns: Sequence[str], most: int) -> list[pa.Table]:
    """Some of the newest rows of a table, the older first; deleted ones may be among them.

    Args:
        catalog: Of the lake.
        table: Whose.
        columns: Which; those that a file has not are left out.
        most: How many rows, about.
    """
    found: list[pa.Table] = []
    for file in reversed(table_files(catalog, table)):
        if most <= 0:
            break
        rows = _end_of(catalog.store, file, columns, most)
        if rows is not None and rows.num_rows:
            found.append(rows)
            most -= rows.num_rows
    return found[::-1]


def logged(catalog: Catalog, event: str, after: int) -> tuple[int, list[dict[str, Any]]]:
    """Log records of one event in the files that came after one; and the newest file there is.

    Args:
        catalog: Of the lake.
        event: The name of the event.
        after: The catalog's number of a file.

    Returns:
        The number to go on after, and records with their `time`, `received_at`, `attributes`, `body` and
        `resource`, the last three as JSON.
    """
    files = [file for file in table_files(catalog, _LOGS) if file.number > after]
    records = [record for file in files for record in _records(catalog.store, file, event)]
    return max((file.number for file in files), default=after), records


def _end_of(store: Store, file: StoredFile, columns: Sequence[str], most: int) -> pa.Table | None:
    """The last groups of rows of a file; None if it cannot be read: it may have left the table by now."""
    try:
        with pq.ParquetFile(store.opened(file.path)) as opened:
            present = [name for name in columns if name in opened.schema_arrow.names]
            groups: list[int] = []
            for group in reversed(range(opened.num_row_groups)):
                groups.insert(0, group)
                most -= opened.metadata.row_group(group).num_rows
                if most <= 0:
                    break
            return opened.read_row_groups(groups, columns=present)
    except (OSError, pa.ArrowException) as error:
        _tell(file, error)
        return None


def _records(store: Store, file: StoredFile, event: str) -> Iterator[dict[str, Any]]:
    try:
        rows = pq.read_table(
            store.opened(file.path), columns=list(_SAID), filters=ds.field("event_name") == event
        )
    except (OSError, pa.ArrowException) as error:
        _tell(file, error)
        return
    yield from rows.to_pylist()


def _tell(file: StoredFile, error: Exception) -> None:
    logger.debug("%s was not looked at: %s", file.path, error, extra={"action": "file_not_sampled"})
