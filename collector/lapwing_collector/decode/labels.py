"""The rows of labels."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.columns import Index
from lapwing_collector.decode.events import Event
from lapwing_collector.decode.fields import Roots
from lapwing_collector.decode.fixed import constant_time, timestamps
from lapwing_collector.decode.request import Request
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


def _rows(request: Request, rows: Index) -> pa.RecordBatch:
    """The fixed columns of the records `rows` (ascending); `extra` is null."""

    def attribute(key: str) -> pa.Array:
        return request.attributes.column(key, rows)

    predicted_ns = pc.fill_null(attribute(semconv.PREDICTION_TIME), 0).to_numpy()
    columns = {
        "prediction_id": attribute(semconv.PREDICTION_ID),
        "request_id": attribute(semconv.REQUEST_ID),
        "prediction_time": timestamps(predicted_ns, known=predicted_ns != 0),
        "time": timestamps(request.times[rows]),
        "received_at": constant_time(request.received_at_ns, len(rows)),
        "source": attribute(semconv.LABEL_SOURCE),
        "extra": pa.nulls(len(rows), LABEL_ROWS.field("extra").type),
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
