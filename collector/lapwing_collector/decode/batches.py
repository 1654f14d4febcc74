"""The general way from a request to batches: rows of one kind, model and process, in order of arrival."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from lapwing import semconv
from lapwing_collector.decode.arrow import Room
from lapwing_collector.decode.columns import Index, UnusableError, encode, groups, numpy, select
from lapwing_collector.decode.events import (
    MAX_MODEL_NAME,
    MAX_MODELS,
    Event,
    add_attributes,
    is_model_name,
    odd_attributes,
    with_extra,
)
from lapwing_collector.decode.fields import Bodies, Extras
from lapwing_collector.decode.labels import LABEL
from lapwing_collector.decode.logs import log_rows
from lapwing_collector.decode.merge import Part
from lapwing_collector.decode.predictions import PREDICTION
from lapwing_collector.decode.request import Request, read_request
from lapwing_collector.decode.selected import Selected
from lapwing_collector.decode.tables import LABEL_TABLE, PREDICTION_TABLE, Rows, TableEvent, read_table
from lapwing_collector.model.records import DIGEST, Batch, Kind

_EVENTS: Final = (PREDICTION, LABEL)
_TABLE_EVENTS: Final = (PREDICTION_TABLE, LABEL_TABLE)
_LOG: Final = -1
_NEITHER: Final = -2

MAX_TABLE_BYTES: Final = 1 << 28
"""What reading the table of one record may take, its rows included."""

MAX_TABLES_BYTES: Final = 1 << 29
"""What reading all tables of one request may take."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a record can not be stored.

    Attributes:
        event: Its event name.
        reason: What is wrong with it.
        rows: Rows that it would have become, as far as it says.
    """

    event: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What one request holds.

    Attributes:
        parts: Rows by kind, model and process, in the order of arrival within each.
        tables: Rows of records that are tables.
        tables_bytes: What reading these took.
        rejected: By place, the records that can not be stored.
        repeated: Rows of records that came earlier in the same request, and were left out.
    """

    parts: list[Part]
    tables: list[Batch]
    tables_bytes: int
    rejected: dict[int, Rejection]
    repeated: int


def read_batches(payload: bytes, received_at_ns: int) -> ReadRequest:
    """Read whatever the records of a request are, with a look at each where need be.

    Raises:
        DecodeError: The payload is not an ExportLogsServiceRequest.
    """
    request = read_request(payload, received_at_ns)
    reasons = dict(request.unreadable)
    codes, names = encode(request.records.field("event_name"))
    known = [event.name for event in _EVENTS] + [event.name for event in _TABLE_EVENTS]
    kind_of_name = {name: number for number, name in enumerate(known)}
    kinds = np.array([kind_of_name.get(name, _LOG) for name in names], np.int64)[codes]
    kinds[[*request.unreadable]] = _NEITHER
    repeats = _repeats(request)
    kinds[repeats] = _NEITHER
    parts: list[Part] = []
    rows_of = {number: np.flatnonzero(kinds == number) for number in np.unique(kinds).tolist()}
    for number, event in enumerate(_EVENTS):
        if number in rows_of:
            parts += _event_rows(request, event, rows_of[number], reasons)
    tables: list[Batch] = []
    reader = _Tables(request, reasons)
    for number, table_event in enumerate(_TABLE_EVENTS, len(_EVENTS)):
        if number in rows_of:
            tables += reader.batches(table_event, rows_of[number])
    if _LOG in rows_of:
        parts += _log_rows(request, rows_of[_LOG])
    rejected = {
        row: Rejection(request.objects[row].event_name, reason, _stated_rows(request, row))
        for row, reason in sorted(reasons.items())
    }
    repeated = sum(_stated_rows(request, row) for row in repeats.tolist())
    return ReadRequest(parts, tables, reader.taken, rejected, repeated)


def _stated_rows(request: Request, row: int) -> int:
    """How many rows a record says that it has."""
    stated = request.attributes.column(semconv.BATCH_ROWS, np.array([row]))[0].as_py()
    is_table = request.objects[row].event_name in {event.name for event in _TABLE_EVENTS}
    return max(stated, 0) if is_table and stated is not None else 1


def _repeats(request: Request) -> Index:
    """The records that came earlier in the same request, by their process and sequence number."""
    everywhere = np.arange(request.count)
    sequences = request.attributes.column(semconv.SEQUENCE, everywhere)
    numbered = np.flatnonzero(sequences.is_valid().to_numpy(zero_copy_only=False))
    numbers = numpy(sequences.drop_null())
    if (numbers[1:] > numbers[:-1]).all():  # so it is where one process has sent its records in order
        return numbered[:0]
    processes, ids = _processes(request, numbered)
    records = np.stack([processes, numbers], axis=1)
    _, first = np.unique(records, axis=0, return_index=True)
    known = np.array([process is not None for process in ids])[processes]
    later = np.setdiff1d(np.flatnonzero(known), first)
    return numbered[later]


def _event_rows(request: Request, event: Event, rows: Index, rejected: dict[int, str]) -> Iterator[Part]:
    """The rows of the records `rows` (ascending); says of the unusable ones in `rejected` why they are."""
    rows, models, names = _with_model(request, rows, rejected)
    if not len(rows):
        return
    fixed = event.rows(Selected(request, rows))
    sequences = request.attributes.column(semconv.SEQUENCE, rows)
    bodies = Bodies(request, event.roots)
    odd = odd_attributes(request, event)
    processes, process_ids = _processes(request, rows)
    for places in groups(models, processes):
        fields, extras = bodies.columns(rows[places])
        add_attributes(request, event, rows[places], odd, extras)
        batch = Batch(
            event.kind,
            names[models[places[0]]],
            process_ids[processes[places[0]]],
            select(sequences, places),
            with_extra(select(fixed, places), extras),
            fields,
            _digests(request, rows[places], process_ids[processes[places[0]]], select(sequences, places)),
        )
        yield Part(batch, rows[places])


class _Tables:
    """Makes batches of records that are tables: one of each, whose rows share its sequence number.

    Attributes:
        taken: The memory that this took so far.
    """

    def __init__(self, request: Request, rejected: dict[int, str]) -> None:
        self._request = request
        self._rejected = rejected
        self.taken = 0

    def batches(self, event: TableEvent, rows: Index) -> Iterator[Batch]:
        """The batches of the records `rows` (ascending); says of the unusable ones why they are."""
        request = self._request
        rows, models, names = _with_model(request, rows, self._rejected)
        if not len(rows):
            return
        extras: Extras = defaultdict(dict)
        add_attributes(request, event.row, rows, odd_attributes(request, event.row), extras)
        common = with_extra(event.row.rows(Selected(request, rows)), extras)
        sequences = request.attributes.column(semconv.SEQUENCE, rows)
        processes, process_ids = _processes(request, rows)
        for place, row in enumerate(rows.tolist()):
            try:
                table = self._read(event, row, common.slice(place, 1))
            except UnusableError as error:
                self._rejected[row] = str(error)
                continue
            if count := table.fixed.num_rows:
                yield Batch(
                    event.row.kind,
                    names[models[place]],
                    process_ids[processes[place]],
                    pa.repeat(sequences[place], count),
                    table.fixed,
                    table.fields,
                    self._digest(row, process_ids[processes[place]], sequences[place], count),
                )

    def _digest(self, row: int, process: str | None, sequence: pa.Scalar, count: int) -> pa.Array | None:
        if process is not None and sequence.is_valid:
            return None
        return pa.repeat(pa.scalar(self._request.digest(row), DIGEST), count)

    def _read(self, event: TableEvent, row: int, common: pa.RecordBatch) -> Rows:
        body = self._request.plain_body(row)
        if not isinstance(body, bytes):
            raise UnusableError("its body is not bytes")
        room = Room(min(MAX_TABLE_BYTES, MAX_TABLES_BYTES - self.taken))
        table = read_table(event, body, common, room)
        stated = self._request.attributes.column(semconv.BATCH_ROWS, np.array([row]))[0].as_py()
        if stated is not None and stated != table.fixed.num_rows:
            raise UnusableError(f"{semconv.BATCH_ROWS} is {stated}, and its table has {table.fixed.num_rows}")
        self.taken += room.taken
        return table


def _with_model(request: Request, rows: Index, rejected: dict[int, str]) -> tuple[Index, Index, list[str]]:
    """Those of `rows` that name a usable model; their models as position in the list of names."""
    named = request.attributes.column(semconv.MODEL_NAME, rows).dictionary_encode()
    names = [*named.dictionary.to_pylist(), None]
    models = numpy(named.indices.fill_null(len(names) - 1)).astype(np.int64)
    allowed = np.array([name is not None and is_model_name(name) for name in names])[models]
    for row in rows[~allowed].tolist():
        rejected[row] = _model_complaint(request, row)
    beyond = allowed & (models >= MAX_MODELS)  # they are numbered as they come
    for row in rows[beyond].tolist():
        rejected[row] = f"the request names more than {MAX_MODELS} models: send fewer at once"
    allowed &= ~beyond
    return rows[allowed], models[allowed], names


def _log_rows(request: Request, rows: Index) -> Iterator[Part]:
    """The rows of the records `rows` (ascending, at least one)."""
    table = log_rows(request, rows)
    sequences = request.attributes.column(semconv.SEQUENCE, rows)
    processes, process_ids = _processes(request, rows)
    for places in groups(processes):
        process = process_ids[processes[places[0]]]
        numbers = select(sequences, places)
        digests = _digests(request, rows[places], process, numbers)
        yield Part(Batch(Kind.LOG, "", process, numbers, select(table, places), digest=digests), rows[places])


def _digests(request: Request, rows: Index, process: str | None, sequences: pa.Array) -> pa.Array | None:
    """What identifies those of the records `rows` that no process has numbered."""
    if process is not None and not sequences.null_count:
        return None
    numbered = sequences.is_valid().to_pylist() if process is not None else [False] * len(rows)
    digests = [
        None if known else request.digest(row) for row, known in zip(rows.tolist(), numbered, strict=True)
    ]
    return pa.array(digests, DIGEST)


def _processes(request: Request, rows: Index) -> tuple[Index, list[str | None]]:
    """The process of each of the records `rows` as position in the list of process ids."""
    ids = list(dict.fromkeys(request.processes))
    number = {process: number for number, process in enumerate(ids)}
    of_resource = np.array([number[process] for process in request.processes], np.int64)
    return of_resource[request.resources[rows]], ids


def _model_complaint(request: Request, row: int) -> str:
    name = request.plain_attributes(row).get(semconv.MODEL_NAME)
    shown = "no such attribute" if name is None else f"{name!r:.80}"
    return (
        f"{semconv.MODEL_NAME} must be text of 1 to {MAX_MODEL_NAME} characters without control characters, "
        f"and it has {shown}"
    )
