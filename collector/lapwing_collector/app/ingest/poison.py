"""Rows that were acknowledged and that the lake refuses for good: told from the others, kept as files."""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from lapwing_collector.app.ingest.entries import row_count
from lapwing_collector.model.records import Batch, Kind
from lapwing_collector.wal import write_durably

logger = logging.getLogger(__name__)

_TRIES: Final = 60
"""How often rows of one table are halved and tried before what is left of them is given up as a whole."""

_PASSING: Final = (
    OSError,
    MemoryError,
    RuntimeError,
    duckdb.ConnectionException,
    duckdb.OperationalError,
    duckdb.InternalError,
    duckdb.FatalException,
    duckdb.InterruptException,
)
"""Errors that say nothing of the rows: the disk is full, the catalog is locked, memory is short, we stop."""

_PASSING_WORDS: Final = re.compile(
    r"disk|I/O|locked|busy|read-?only|unable to open|memory|connect to Postgres|HTTP \w+ error", re.IGNORECASE
)
"""What such an error says where DuckLake passes it on as one without a kind."""

Refused = tuple[Batch, Exception]


def is_refusal(error: Exception) -> bool:
    """Whether the error is about the rows themselves, so that trying again is no use."""
    if isinstance(error, duckdb.Error) and _PASSING_WORDS.search(str(error)):
        return False
    return not isinstance(error, _PASSING)


def find_refused(
    batches: Sequence[Batch], try_out: Callable[[Sequence[Batch]], None]
) -> tuple[list[Batch], list[Refused]]:
    """Tell the rows that can be written from those that are refused: by table, then by halves down to rows.

    Args:
        batches: Rows that were refused together.
        try_out: Raises what writing its rows would; must take no rows at all.

    Returns:
        The batches that can be written, and those that can not with what was raised for them.

    Raises:
        Exception: What `try_out` raises although the rows are not to blame.
    """
    try_out(())
    by_table: dict[tuple[Kind, str], list[Batch]] = defaultdict(list)
    for batch in batches:
        by_table[batch.kind, batch.model].append(batch)
    search = _Search(try_out)
    for rows in by_table.values():
        search.look_into(rows)
    return search.fine, search.refused


class _Search:
    def __init__(self, try_out: Callable[[Sequence[Batch]], None]) -> None:
        self._try_out = try_out
        self.fine: list[Batch] = []
        self.refused: list[Refused] = []

    def look_into(self, rows: Sequence[Batch]) -> None:
        """Sort rows of one table into fine and refused ones."""
        waiting, tries = [list(rows)], 0
        while waiting:
            part = waiting.pop()
            tries += 1
            try:
                self._try_out(part)
            except Exception as error:
                if not is_refusal(error):
                    raise
                halves = list(_halves(part)) if tries < _TRIES else []
                waiting += reversed(halves)
                if not halves:
                    self.refused += [(batch, error) for batch in part]
            else:
                self.fine += part


def _halves(part: list[Batch]) -> Iterator[list[Batch]]:
    if len(part) > 1:
        yield part[: len(part) // 2]
        yield part[len(part) // 2 :]
    elif part[0].rows.num_rows > 1:
        first = np.arange(part[0].rows.num_rows) < part[0].rows.num_rows // 2
        yield [part[0].filter(pa.array(first))]
        yield [part[0].filter(pa.array(~first))]


class DeadLetters:
    """The folder of what was acknowledged and can not be stored; nothing in it is ever overwritten."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made when it is needed."""
        self._folder = folder

    def keep(self, refused: Sequence[Refused], *, position: int) -> None:
        """Keep rows durably, with what was raised for them, and say so in the log.

        Each batch becomes an Arrow IPC file, beside which a JSON document says why.

        Args:
            refused: The rows.
            position: Up to where in the durable log the flush goes that they were taken from.

        Raises:
            OSError: The disk is full, or refuses.
        """
        self._folder.mkdir(exist_ok=True)
        number = 0
        for batch, error in refused:
            while (file := self._folder / f"{position}-{number}.arrow").exists():
                number += 1
            reason = {
                "kind": batch.kind,
                "model": batch.model,
                "rows": batch.rows.num_rows,
                "reason": f"{type(error).__name__}: {error}",
                "log_position": position,
            }
            write_durably(file.with_suffix(".json"), json.dumps(reason, indent=2).encode())
            write_durably(file, _ipc(batch))
        first_batch, first_error = refused[0]
        logger.error(
            "%d rows could not be written and are kept in %s; the first, of %s: %s",
            row_count([batch for batch, _ in refused]),
            self._folder,
            first_batch.model or "logs",
            first_error,
            extra={"action": "dead_lettered"},
        )


def _ipc(batch: Batch) -> bytes:
    """The batch as an Arrow IPC file: its columns, then each field's values of each type, then the number."""
    columns = dict(zip(batch.rows.schema.names, batch.rows.columns, strict=True))
    for field in batch.fields:
        columns[f"{'.'.join(field.path)} ({field.values.type})"] = field.values
    columns["lapwing.sequence"] = batch.sequence
    columns["lapwing.process.id"] = pa.array([batch.process_id] * batch.rows.num_rows, pa.string())
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
