"""Requests that came together, decoded in one go."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from lapwing_collector.decode.alike import event_of, read_alike
from lapwing_collector.decode.batches import ReadRequest, Rejection, read_batches
from lapwing_collector.decode.columns import Index
from lapwing_collector.decode.envelope import MAX_ROWS_BYTES, Envelope
from lapwing_collector.decode.events import MAX_MODELS
from lapwing_collector.decode.merge import Part, merge
from lapwing_collector.decode.plan import learn
from lapwing_collector.decode.records import Records
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.records import Batch, Decoded, DecodedGroup, Outcome

_MOST_MISSES: Final = 8
"""Plans in a row that but few records follow, after which the rest is read the general way."""
_FEW: Final = 4
_BUDGET: Final = 1 << 18
_BUDGET_PER_RECORD: Final = 128
_COST_OF_STEP: Final = 64
_COST_OF_RECORD: Final = 4
"""What plans may cost together, and what one does for each of its values and for each record that is tried:
many plans with few records each would cost more than they save."""


def decode_logs(payload: bytes, received_at_ns: int) -> Decoded:
    """Decode the body of one OTLP request for logs.

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
    group = decode_group([payload], received_at_ns)
    (outcome,) = group.outcomes
    if outcome.error is not None:
        raise outcome.error
    return Decoded(group.batches, outcome.records, outcome.rejected, outcome.message)


def decode_group(payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
    """Decode several requests as `decode_logs` does one; what is wrong with one costs no other.

    Records of the same shape are read in step over all requests; others as their own request.

    Raises:
        MemoryError: Each may be read, but together they would take too much memory.
    """
    opened = [_open(payload) for payload in payloads]
    envelopes = [each for each in opened if isinstance(each, Envelope)]
    _check_together(sum(envelope.rows_bytes for envelope in envelopes), len(envelopes))
    records = Records(envelopes, received_at_ns)
    parts, left = _read_alike(records)
    firsts = np.cumsum([0, *(envelope.count for envelope in envelopes)])
    tables: list[Batch] = []
    tables_bytes = 0
    outcomes: list[Outcome] = []
    broken: list[int] = []
    numbers = iter(range(len(envelopes)))
    for each in opened:
        if isinstance(each, DecodeError):
            outcomes.append(Outcome(error=each))
            continue
        number = next(numbers)
        rest_of = left[records.envelopes_of[left] == number]
        places: Index = rest_of - firsts[number]
        try:
            rest = _read_rest(each, places.tolist(), received_at_ns)
        except DecodeError as error:
            outcomes.append(Outcome(error=error))
            broken.append(number)
            continue
        parts += [Part(part.batch, rest_of[part.records]) for part in rest.parts]
        tables += rest.tables
        tables_bytes += rest.tables_bytes
        _check_together(tables_bytes, len(envelopes))
        outcomes.append(_outcome(each, places.tolist(), rest))
    return DecodedGroup(
        (*merge(_sound(parts, records, broken), records.envelopes_of), *tables), tuple(outcomes)
    )


def _open(payload: bytes) -> Envelope | DecodeError:
    try:
        return Envelope(payload)
    except DecodeError as error:
        return error


def _check_together(needed: int, count: int) -> None:
    if count > 1 and needed > MAX_ROWS_BYTES:
        raise MemoryError(f"these {count} requests together would take more than {MAX_ROWS_BYTES >> 20} MiB")


def _read_alike(records: Records) -> tuple[list[Part], Index]:
    """Read records in step, shape by shape; gives the records that are left, too."""
    parts: list[Part] = []
    untried = np.arange(len(records.starts))
    is_left = np.ones(len(untried), bool)
    is_tried = np.zeros(len(untried), bool)
    models: set[str] = set()
    misses = 0
    budget = _BUDGET + _BUDGET_PER_RECORD * len(untried)
    while len(untried) and misses < _MOST_MISSES and budget > 0:
        sample = learn(records.content(untried[0]))
        event = None if sample is None else event_of(sample.plan)
        done = untried[:1]
        if sample is not None and event is not None:
            budget -= _COST_OF_STEP * sample.plan.size + _COST_OF_RECORD * len(untried)
            alike = read_alike(sample, event, records, untried)
            done = np.union1d(done, alike.records)
            models |= {part.batch.model for part in alike.parts}
            if alike.parts and len(models) <= MAX_MODELS:
                parts += alike.parts
                is_left[alike.records] = False
        misses = 0 if len(done) > _FEW else misses + 1
        is_tried[done] = True
        untried = untried[~is_tried[untried]]
    return parts, np.flatnonzero(is_left)


def _read_rest(envelope: Envelope, places: list[int], received_at_ns: int) -> ReadRequest:
    if not places:
        return ReadRequest([], [], 0, {}, 0)
    return read_batches(envelope.with_records(places), received_at_ns)


def _outcome(envelope: Envelope, places: list[int], rest: ReadRequest) -> Outcome:
    rejected = {places[place]: rejection for place, rejection in rest.rejected.items()}
    in_step = envelope.count - len(places)
    return Outcome(
        records=envelope.count,
        rejected=len(rejected),
        message=_complaint(envelope.count, rejected),
        rows=in_step + sum(batch.rows.num_rows for batch in _batches(rest)) + rest.repeated,
        rejected_rows=sum(rejection.rows for rejection in rejected.values()),
    )


def _batches(rest: ReadRequest) -> list[Batch]:
    return [*(part.batch for part in rest.parts), *rest.tables]


def _sound(parts: Sequence[Part], records: Records, broken: Sequence[int]) -> Iterator[Part]:
    """The parts without rows of envelopes that turned out to be unreadable."""
    if not broken:
        yield from parts
        return
    for part in parts:
        keep = ~np.isin(records.envelopes_of[part.records], broken)
        if keep.all():
            yield part
        elif keep.any():
            yield Part(part.batch.filter(pa.array(keep)), part.records[keep])


def _complaint(count: int, rejected: Mapping[int, Rejection]) -> str:
    """Says why records were rejected; empty when none were."""
    if not rejected:
        return ""
    place = min(rejected)
    example = rejected[place]
    what = f"record {place}" + (f", an {example.event}" if example.event.startswith("ml.") else "")
    return f"{len(rejected)} of {count} records rejected. For example {what}: {example.reason}."
