"""The rows of predictions."""

import hashlib
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.columns import Index, select
from lapwing_collector.decode.events import Event
from lapwing_collector.decode.fields import Roots
from lapwing_collector.decode.fixed import constant_time, hex_ids, timestamps
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.tags import resource_maps, tag_maps
from lapwing_collector.model.records import PREDICTION_ROWS, Kind

_COLUMNS: Final = frozenset(
    {
        semconv.MODEL_NAME,
        semconv.MODEL_VERSION,
        semconv.MODEL_VARIANT,
        semconv.MODEL_UPSTREAM,
        semconv.PREDICTION_ID,
        semconv.PREDICTION_DURATION,
        semconv.PREDICTION_STAGE,
        semconv.PREDICTION_FALLBACK,
        semconv.PREDICTION_WEIGHT,
        semconv.REQUEST_ID,
        semconv.BATCH_ROWS,
        semconv.SEQUENCE,
        semconv.ERROR_TYPE,
        semconv.EXCEPTION_MESSAGE,
    }
)
_NO_TAGS: Final = _COLUMNS | {semconv.EXCEPTION_STACKTRACE}


def _rows(request: Request, rows: Index) -> pa.RecordBatch:
    """The fixed columns of the records `rows` (ascending); `extra` is null."""
    resource = pa.array(request.resources[rows])

    def attribute(key: str) -> pa.Array:
        return request.attributes.column(key, rows)

    def of_resource(key: str) -> pa.Array:
        return pa.array(request.resource_texts(key), pa.string()).take(resource)

    columns = {
        "time": timestamps(request.times[rows]),
        "prediction_id": _ids(request, rows),
        "version": attribute(semconv.MODEL_VERSION),
        "environment": of_resource(semconv.ENVIRONMENT),
        "service": of_resource(semconv.SERVICE_NAME),
        "duration_ms": pc.multiply(attribute(semconv.PREDICTION_DURATION), 1000.0),
        "error_type": attribute(semconv.ERROR_TYPE),
        "error_message": attribute(semconv.EXCEPTION_MESSAGE),
        "weight": attribute(semconv.PREDICTION_WEIGHT),
        "request_id": attribute(semconv.REQUEST_ID),
        "fallback": attribute(semconv.PREDICTION_FALLBACK),
        "variant": attribute(semconv.MODEL_VARIANT),
        "upstream": attribute(semconv.MODEL_UPSTREAM),
        "tags": tag_maps(request, rows, _NO_TAGS),
        "extra": pa.nulls(len(rows), PREDICTION_ROWS.field("extra").type),
        "resource": resource_maps(request, rows),
        "trace_id": hex_ids(select(request.records.field("trace_id"), rows), 16),
        "span_id": hex_ids(select(request.records.field("span_id"), rows), 8),
        "stage": pc.fill_null(attribute(semconv.PREDICTION_STAGE), semconv.STAGE_PRODUCTION),
        "received_at": constant_time(request.received_at_ns, len(rows)),
    }
    return pa.RecordBatch.from_pydict(columns, PREDICTION_ROWS)


def _ids(request: Request, rows: Index) -> pa.StringArray:
    """The prediction ids; a missing or empty one is replaced by one that a retry gets again.

    It is `<process id>-<sequence>` where the record has both, else a hash of the resource and the record.
    """
    ids = request.attributes.column(semconv.PREDICTION_ID, rows)
    missing = pc.fill_null(pc.equal(ids, ""), fill_value=True)
    if not pc.any(missing).as_py():
        return ids
    places = pc.indices_nonzero(missing)
    sequences = request.attributes.column(semconv.SEQUENCE, rows).take(places).to_pylist()
    made = [
        _made_id(request, row, sequence)
        for row, sequence in zip(rows[places.to_numpy()].tolist(), sequences, strict=True)
    ]
    return pc.replace_with_mask(ids, missing, pa.array(made, pa.string()))


def _made_id(request: Request, row: int, sequence: int | None) -> str:
    resource = request.resources[row]
    process = request.processes[resource]
    if process is not None and sequence is not None:
        return f"{process}-{sequence}"
    content = hashlib.blake2b(digest_size=16)
    content.update(request.message.resource_logs[resource].resource.SerializeToString())
    content.update(request.content(row))
    return content.hexdigest()


PREDICTION: Final = Event(
    kind=Kind.PREDICTION,
    name=semconv.EVENT_PREDICTION,
    columns=_COLUMNS,
    in_extra=semconv.EXCEPTION_STACKTRACE.__eq__,
    roots=Roots(frozenset({semconv.BODY_INPUTS, semconv.BODY_OUTPUT})),
    rows=_rows,
)
