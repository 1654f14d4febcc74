"""Splits a request into batches: rows of one kind, one model and one process, in order of arrival."""

import unicodedata
from collections.abc import Iterator
from typing import Final

import numpy as np

from lapwing import semconv
from lapwing_collector.decode.columns import Index, encode, numpy, select
from lapwing_collector.decode.events import Event, add_attributes, odd_attributes, with_extra
from lapwing_collector.decode.fields import Bodies
from lapwing_collector.decode.labels import LABEL
from lapwing_collector.decode.logs import log_rows
from lapwing_collector.decode.predictions import PREDICTION
from lapwing_collector.decode.request import Request, read_request
from lapwing_collector.decode.values import plain_map
from lapwing_collector.model.records import Batch, Decoded, Kind

_EVENTS: Final = (PREDICTION, LABEL)
MAX_MODEL_NAME: Final = 128
"""Characters a model name may have."""


def decode_logs(payload: bytes, received_at_ns: int) -> Decoded:
    """Decode the body of an OTLP/HTTP request to `/v1/logs`.

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
    codes, names = encode(request.records.field("event_name"))
    event_of_name = {event.name: number for number, event in enumerate(_EVENTS)}
    events = np.array([event_of_name.get(name, -1) for name in names], np.int64)[codes]
    batches: list[Batch] = []
    rejected: list[int] = []
    for number, event in enumerate(_EVENTS):
        rows = np.flatnonzero(events == number)
        if len(rows):
            batches += _event_batches(request, event, rows, rejected)
    batches += _log_batches(request, np.flatnonzero(events == -1))
    return Decoded(tuple(batches), request.count, len(rejected), _complaint(request, rejected))


def _event_batches(request: Request, event: Event, rows: Index, rejected: list[int]) -> Iterator[Batch]:
    """The batches of the records `rows` (ascending, at least one); names the unusable ones in `rejected`."""
    named = request.attributes.column(semconv.MODEL_NAME, rows).dictionary_encode()
    names = [*named.dictionary.to_pylist(), None]
    models = numpy(named.indices.fill_null(len(names) - 1)).astype(np.int64)
    allowed = np.array([name is not None and _is_model_name(name) for name in names])[models]
    rejected += rows[~allowed].tolist()
    rows, models = rows[allowed], models[allowed]
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
        )


def _log_batches(request: Request, rows: Index) -> Iterator[Batch]:
    """The batches of the records `rows` (ascending)."""
    if not len(rows):
        return
    table = log_rows(request, rows)
    sequences = request.attributes.column(semconv.SEQUENCE, rows)
    processes, process_ids = _processes(request, rows)
    for places in _groups(processes):
        process = process_ids[processes[places[0]]]
        yield Batch(Kind.LOG, "", process, select(sequences, places), select(table, places))


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


def _complaint(request: Request, rejected: list[int]) -> str:
    """Says why records were rejected; empty when none were."""
    if not rejected:
        return ""
    example = min(rejected)
    name = plain_map(request.objects[example].attributes).get(semconv.MODEL_NAME)
    shown = "no such attribute" if name is None else f"{name!r:.80}"
    return (
        f"{len(rejected)} of {request.count} records rejected: {semconv.MODEL_NAME} must be text of 1 to "
        f"{MAX_MODEL_NAME} characters without control characters. For example record {example}, "
        f"an {request.objects[example].event_name}, has {shown}."
    )
