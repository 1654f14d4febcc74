"""For tests of code that records predictions: an in-memory sink, and records to look at.

from lapwing.testing import capture

def test_predicts():
    with capture() as recorded:
        predict(age=31, plan="pro")
    assert recorded.predictions[0].inputs == {"age": 31, "plan": "pro"}
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lapwing import _process, semconv
from lapwing._queue import Entry, Stats
from lapwing._request import Envelope


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a receiver decodes it.

    Attributes:
        event: `ml.prediction` or `ml.label`.
        time: Event time, nanoseconds since the epoch.
        attributes: By name, as in the conventions.
        body: `{"inputs": …, "output": …}` or `{"label": …}`; a failed prediction has no output.
        resource: Attributes of the sender.
        trace_id: Of the span it was made in, hexadecimal; empty where there was none.
        span_id: As `trace_id`.
    """

    event: str
    time: int
    attributes: Mapping[str, Any]
    body: Any
    resource: Mapping[str, Any]
    trace_id: str
    span_id: str

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.attributes[semconv.MODEL_NAME])

    @property
    def prediction_id(self) -> str | None:
        """The prediction's id; on a label None where it has only a request id."""
        return self.attributes.get(semconv.PREDICTION_ID)

    @property
    def inputs(self) -> Any:
        """Inputs of a prediction."""
        return self.body[semconv.BODY_INPUTS]

    @property
    def output(self) -> Any:
        """Output of a prediction; None where it failed."""
        return self.body.get(semconv.BODY_OUTPUT)

    @property
    def label(self) -> Any:
        """The truth that a label tells."""
        return self.body[semconv.BODY_LABEL]


class Recorded:
    """What was recorded while `capture` was on."""

    recording = True

    def __init__(self, *, loud: bool) -> None:
        """Start empty."""
        self._loud = loud
        self._entries: list[Entry] = []
        self._dropped: dict[str, int] = {}

    @property
    def records(self) -> list[Record]:
        """All records, in the order they were made."""
        return decode(Envelope({}).request(self._entries))

    @property
    def predictions(self) -> list[Record]:
        """The predictions among them."""
        return [record for record in self.records if record.event == semconv.EVENT_PREDICTION]

    @property
    def labels(self) -> list[Record]:
        """The labels among them."""
        return [record for record in self.records if record.event == semconv.EVENT_LABEL]

    def put(self, record: bytes) -> None:
        """Keep a record."""
        self._entries.append((len(self._entries) + 1, record))

    def drop(self, reason: str, error: Exception) -> None:
        """Raise the error that kept a record from being made, or only count it."""
        if self._loud:
            raise error
        self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002  # part of a sink
        """Tell whether every record could be made."""
        return not self._dropped

    def shutdown(self, timeout_s: float) -> bool:
        """As `flush`."""
        return self.flush(timeout_s)

    def stats(self) -> Stats:
        """Count the records."""
        made = len(self._entries)
        return Stats(made + sum(self._dropped.values()), made, 0, dict(self._dropped))


@contextmanager
def capture(*, loud: bool = True) -> Iterator[Recorded]:
    """Keep what this process records in memory, all threads included, instead of sending it.

    Args:
        loud: Let what would only be counted in production (a wrong time, a wrong model's name) raise.
    """
    recorded = Recorded(loud=loud)
    before = _process.replace_sink(recorded)
    try:
        yield recorded
    finally:
        _process.replace_sink(before)


def decode(request: bytes) -> list[Record]:
    """Decode the body of an OTLP logs request (protobuf), as a test's own receiver gets it.

    Raises:
        google.protobuf.message.DecodeError: It is none.
    """
    return [
        _record(record, _mapping(resource.resource.attributes))
        for resource in ExportLogsServiceRequest.FromString(request).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def _record(record: LogRecord, resource: Mapping[str, Any]) -> Record:
    return Record(
        event=record.event_name,
        time=record.time_unix_nano,
        attributes=_mapping(record.attributes),
        body=decode_value(record.body),
        resource=resource,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
    )


def decode_value(value: AnyValue) -> Any:
    """Turn an `AnyValue` into a Python value; one with nothing set is None."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "kvlist_value":
            return _mapping(value.kvlist_value.values)
        case "array_value":
            return [decode_value(item) for item in value.array_value.values]
        case scalar:
            return getattr(value, scalar)


def _mapping(entries: Iterable[KeyValue]) -> dict[str, Any]:
    return {entry.key: decode_value(entry.value) for entry in entries}
