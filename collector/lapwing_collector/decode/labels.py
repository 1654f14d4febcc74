"""The rows of labels."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.events import Event, Source
from lapwing_collector.decode.fields import Roots
from lapwing_collector.decode.fixed import constant_time, timestamps
from lapwing_collector.model.records import LABEL_ROWS, Kind

_COLUMNS: Final = frozenset(
    {
        semconv.MODEL_NAME,
        semconv.PREDICTION_ID,
        semconv.PREDICTION_TIME,
        semconv.REQUEST_ID,
        semconv.LABEL_SOURCE,
        semconv.BATCH_ROWS,
        semconv.SEQUENCE,
    }
)


def _rows(source: Source) -> pa.RecordBatch:
    predicted_ns = pc.fill_null(source.attribute(semconv.PREDICTION_TIME), 0).to_numpy()
    columns = {
        "prediction_id": source.attribute(semconv.PREDICTION_ID),
        "request_id": source.attribute(semconv.REQUEST_ID),
        "prediction_time": timestamps(predicted_ns, known=predicted_ns != 0),
        "time": timestamps(source.times),
        "received_at": constant_time(source.received_at_ns, source.count),
        "source": source.attribute(semconv.LABEL_SOURCE),
        "extra": pa.nulls(source.count, LABEL_ROWS.field("extra").type),
    }
    return pa.RecordBatch.from_pydict(columns, LABEL_ROWS)


LABEL: Final = Event(
    kind=Kind.LABEL,
    name=semconv.EVENT_LABEL,
    columns=_COLUMNS,
    in_extra=lambda _: True,
    roots=Roots(frozenset({semconv.BODY_LABEL}), scalar=True),
    rows=_rows,
)
