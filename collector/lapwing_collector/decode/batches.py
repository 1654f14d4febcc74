"""Splits a request into batches: rows of one kind, one model and one process, in order of arrival."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from lapwing import semconv
from lapwing_collector.decode.arrow import Room
from lapwing_collector.decode.columns import Index, UnusableError, encode, numpy, select
from lapwing_collector.decode.events import Event, add_attributes, odd_attributes, with_extra
from lapwing_collector.decode.fields import Bodies, Extras
from lapwing_collector.decode.labels import LABEL
from lapwing_collector.decode.logs import log_rows
from lapwing_collector.decode.predictions import PREDICTION
from lapwing_collector.decode.request import Request, read_request
from lapwing_collector.decode.tables import LABEL_TABLE, PREDICTION_TABLE, Rows, TableEvent, read_table
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.records import DIGEST, Batch, Decoded, DecodedGroup, Kind, Outcome

_EVENTS: Final = (PREDICTION, LABEL)
_TABLE_EVENTS: Final = (PREDICTION_TABLE, LABEL_TABLE)
_LOG: Final = -1
_NEITHER: Final = -2

MAX_MODEL_NAME: Final = 128
"""Characters a model name may have."""

MAX_TABLE_BYTES: Final = 1 << 28
"""What reading the table of one record may take, its rows included."""

MAX_TABLES_BYTES: Final = 1 << 29
"""What reading all tables of one request may take."""


def decode_logs(payload: bytes, received_at_ns: int) -> Decoded:
    """Decode the body of an OTLP/HTTP request to `/v1/logs`.

    What is received and rejected is counted in records; a batch of many rows is one of them.

    Where the protocol leaves a choice: of a repeated key the last value counts; a record happened at its
    own time, else when it was observed, else when it was received; a null is no value of a field or column,
    but is kept in tags, `extra` and logs.

    Args:
        payload: The body in protobuf, decompressed.
        received_at_ns: When it arrived, in nanoseconds since the epoch.

    Raises:
        DecodeError: The body is not an ExportLogsServiceRequest (400), or its rows would take too much memory
            (413).
    """
    request = read_request(payload, received_at_ns)
    rejected = dict(request.unreadable)
    codes, names = encode(request.records.field("event_name"))
    known = [event.name for event in _EVENTS] + [event.name for event in _TABLE_EVENTS]
    kind_of_name = {name: number for number, name in enumerate(known)}
    kinds = np.array([kind_of_name.get(name, _LOG) for name in names], np.int64)[codes]
    kinds[[*request.unreadable]] = _NEITHER
    kinds[_repeats(request)] = _NEITHER
    batches: list[Batch] = []
    rows_of = {number: np.flatnonzero(kinds == number) for number in np.unique(kinds).tolist()}
    for number, event in enumerate(_EVENTS):
        if number in rows_of:
            batches += _event_batches(request, event, rows_of[number], rejected)
    tables = _Tables(request, rejected)
    for number, table_event in enumerate(_TABLE_EVENTS, len(_EVENTS)):
        if number in rows_of:
            batches += tables.batches(table_event, rows_of[number])
    if _LOG in rows_of:
        batches += _log_batches(request, rows_of[_LOG])
    return Decoded(tuple(batches), request.count, len(rejected), _complaint(request, rejected))


def decode_group(payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
    """Decode several requests in one go; one that can not be read costs no other."""
    batches: list[Batch] = []
    outcomes = []
    for payload in payloads:
        try:
            decoded = decode_logs(payload, received_at_ns)
        except DecodeError as error:
            outcomes.append(Outcome(error=error))
            continue
        rows = sum(batch.rows.num_rows for batch in decoded.batches)
        outcomes.append(
            Outcome(decoded.received, decoded.rejected, decoded.message, rows, rejected_rows=decoded.rejected)
        )
        batches += decoded.batches
    return DecodedGroup(tuple(batches), tuple(outcomes))


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


def _event_batches(request: Request, event: Event, rows: Index, rejected: dict[int, str]) -> Iterator[Batch]:
    """The batches of the records `rows` (ascending); says of the unusable ones in `rejected` why they are."""
    rows, models, names = _with_model(request, rows, rejected)
    if not len(rows):
        return
    fixed = event.rows(request, rows)
    sequences = request.attributes.column(semconv.SEQUENCE, rows)
    bodies = Bodies(request, event.roots)
    odd = odd_attributes(request, event)
    processes, process_ids = _processes(request, rows)
    for places in _groups(models, processes):
        fields, extras = bodies.columns(rows[places])
        add_attributes(request, event, rows[places], odd, extras)
        yield Batch(
            event.kind,
            names[models[places[0]]],
            process_ids[processes[places[0]]],
            select(sequences, places),
            with_extra(select(fixed, places), extras),
            fields,
            _digests(request, rows[places], process_ids[processes[places[0]]], select(sequences, places)),
        )


class _Tables:
    """Makes batches of records that are tables: one of each, whose rows share its sequence number."""

    def __init__(self, request: Request, rejected: dict[int, str]) -> None:
        self._request = request
        self._rejected = rejected
        self._bytes_left = MAX_TABLES_BYTES

    def batches(self, event: TableEvent, rows: Index) -> Iterator[Batch]:
        """The batches of the records `rows` (ascending); says of the unusable ones why they are."""
        request = self._request
        rows, models, names = _with_model(request, rows, self._rejected)
        if not len(rows):
            return
        extras: Extras = defaultdict(dict)
        add_attributes(request, event.row, rows, odd_attributes(request, event.row), extras)
        common = with_extra(event.row.rows(request, rows), extras)
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
        room = Room(min(MAX_TABLE_BYTES, self._bytes_left))
        table = read_table(event, body, common, room)
        stated = self._request.attributes.column(semconv.BATCH_ROWS, np.array([row]))[0].as_py()
        if stated is not None and stated != table.fixed.num_rows:
            raise UnusableError(f"{semconv.BATCH_ROWS} is {stated}, and its table has {table.fixed.num_rows}")
        self._bytes_left -= room.taken
        return table


def _with_model(request: Request, rows: Index, rejected: dict[int, str]) -> tuple[Index, Index, list[str]]:
    """Those of `rows` that name a usable model; their models as position in the list of names."""
    named = request.attributes.column(semconv.MODEL_NAME, rows).dictionary_encode()
    names = [*named.dictionary.to_pylist(), None]
    models = numpy(named.indices.fill_null(len(names) - 1)).astype(np.int64)
    allowed = np.array([name is not None and _is_model_name(name) for name in names])[models]
    for row in rows[~allowed].tolist():
        rejected[row] = _model_complaint(request, row)
    return rows[allowed], models[allowed], names


def _log_batches(request: Request, rows: Index) -> Iterator[Batch]:
    """The batches of the records `rows` (ascending, at least one)."""
    table = log_rows(request, rows)
    sequences = request.attributes.column(semconv.SEQUENCE, rows)
    processes, process_ids = _processes(request, rows)
    for places in _groups(processes):
        process = process_ids[processes[places[0]]]
        numbers = select(sequences, places)
        digests = _digests(request, rows[places], process, numbers)
        yield Batch(Kind.LOG, "", process, numbers, select(table, places), digest=digests)


def _digests(request: Request, rows: Index, process: str | None, sequences: pa.Array) -> pa.Array | None:
    """What identifies those of the records `rows` that no process has numbered."""
    if process is not None and not sequences.null_count:
        return None
    numbered = sequences.is_valid().to_pylist() if process is not None else [False] * len(rows)
    digests = [
        None if known else request.digest(row) for row, known in zip(rows.tolist(), numbered, strict=True)
    ]
    return pa.array(digests, DIGEST)


def _is_model_name(name: str) -> bool:
    """Whether a model may be called so: 1 to 128 characters, none of them a control character."""
    return 1 <= len(name) <= MAX_MODEL_NAME and not any(unicodedata.category(char) == "Cc" for char in name)


def _processes(request: Request, rows: Index) -> tuple[Index, list[str | None]]:
    """The process of each of the records `rows` as position in the list of process ids."""
    ids = list(dict.fromkeys(request.processes))
    number = {process: number for number, process in enumerate(ids)}
    of_resource = np.array([number[process] for process in request.processes], np.int64)
    return of_resource[request.resources[rows]], ids


def _groups(*codes: Index) -> list[Index]:
    """The places at which all `codes` agree, ascending within each group."""
    combined = codes[0]
    for code in codes[1:]:
        combined = combined * (code.max() + 1) + code
    if (combined == combined[0]).all():
        return [np.arange(len(combined))]
    order = np.argsort(combined, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(combined[order])) + 1)


def _model_complaint(request: Request, row: int) -> str:
    name = request.plain_attributes(row).get(semconv.MODEL_NAME)
    shown = "no such attribute" if name is None else f"{name!r:.80}"
    return (
        f"{semconv.MODEL_NAME} must be text of 1 to {MAX_MODEL_NAME} characters without control characters, "
        f"and it has {shown}"
    )


def _complaint(request: Request, rejected: dict[int, str]) -> str:
    """Says why records were rejected; empty when none were."""
    if not rejected:
        return ""
    example = min(rejected)
    event = request.objects[example].event_name
    what = f"record {example}" + (f", an {event}" if event.startswith("ml.") else "")
    return f"{len(rejected)} of {request.count} records rejected. For example {what}: {rejected[example]}."
