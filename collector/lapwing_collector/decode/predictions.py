"""The rows of predictions."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.events import Event, Source
from lapwing_collector.decode.fields import Roots
from lapwing_collector.decode.fixed import constant_time, timestamps
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


def _rows(source: Source) -> pa.RecordBatch:
    columns = {
        "time": timestamps(source.times),
        "prediction_id": source.prediction_ids(),
        "version": source.attribute(semconv.MODEL_VERSION),
        "environment": source.of_resource(semconv.ENVIRONMENT),
        "service": source.of_resource(semconv.SERVICE_NAME),
        "duration_ms": pc.multiply(source.attribute(semconv.PREDICTION_DURATION), 1000.0),
        "error_type": source.attribute(semconv.ERROR_TYPE),
        "error_message": source.attribute(semconv.EXCEPTION_MESSAGE),
        "weight": source.attribute(semconv.PREDICTION_WEIGHT),
        "request_id": source.attribute(semconv.REQUEST_ID),
        "fallback": source.attribute(semconv.PREDICTION_FALLBACK),
        "variant": source.attribute(semconv.MODEL_VARIANT),
        "upstream": source.attribute(semconv.MODEL_UPSTREAM),
        "tags": source.tags(_NO_TAGS),
        "extra": pa.nulls(source.count, PREDICTION_ROWS.field("extra").type),
        "resource": source.resources(),
        "trace_id": source.hex_id("trace_id", 16),
        "span_id": source.hex_id("span_id", 8),
        "stage": pc.fill_null(source.attribute(semconv.PREDICTION_STAGE), semconv.STAGE_PRODUCTION),
        "received_at": constant_time(source.received_at_ns, source.count),
    }
    return pa.RecordBatch.from_pydict(columns, PREDICTION_ROWS)


PREDICTION: Final = Event(
    kind=Kind.PREDICTION,
    name=semconv.EVENT_PREDICTION,
    columns=_COLUMNS,
    in_extra=semconv.EXCEPTION_STACKTRACE.__eq__,
    roots=Roots(frozenset({semconv.BODY_INPUTS, semconv.BODY_OUTPUT})),
    rows=_rows,
)
