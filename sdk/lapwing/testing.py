"""For tests of code that records predictions: an in-memory sink, a clock that tests hold, records to look at.

from lapwing.testing import capture

def test_predicts():
    with capture() as recorded:
        predict(age=31, plan="pro")
    assert recorded.predictions[0].inputs == {"age": 31, "plan": "pro"}

pytest has it as the fixture `lapwing_records`. `docs/testing.md` tells more.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from threading import Lock
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lapwing import _process, _time, semconv
from lapwing._config import Settings, resolve
from lapwing._decode import decode_entries, decode_value
from lapwing._policy import Policy
from lapwing._queue import Entry, Stats
from lapwing._request import Envelope
from lapwing._time import Clock, Time, to_ns
from lapwing.redact import Redactor, Rule

_ROW_EVENTS: Final = {
    semconv.EVENT_PREDICTION_BATCH: semconv.EVENT_PREDICTION,
    semconv.EVENT_LABEL_BATCH: semconv.EVENT_LABEL,
}
"""What the rows of a batch are."""

_ATTRIBUTES: Final = {
    "prediction_id": semconv.PREDICTION_ID,
    "prediction_time": semconv.PREDICTION_TIME,
    "request_id": semconv.REQUEST_ID,
    "version": semconv.MODEL_VERSION,
    "variant": semconv.MODEL_VARIANT,
    "upstream": semconv.MODEL_UPSTREAM,
    "stage": semconv.PREDICTION_STAGE,
    "fallback": semconv.PREDICTION_FALLBACK,
    "weight": semconv.PREDICTION_WEIGHT,
    "source": semconv.LABEL_SOURCE,
    "error_type": semconv.ERROR_TYPE,
    "error_message": semconv.EXCEPTION_MESSAGE,
    "error_stacktrace": semconv.EXCEPTION_STACKTRACE,
}
"""Columns of a batch that hold what an attribute holds elsewhere."""


class SteppingClock:
    """A clock that only moves when it is read, by `step`, and when it is told to.

    It gives the SDK its times and durations, so that they are the same in every run. How often a call reads
    the clock may differ between versions: with `step=0` a test says itself how time goes by.
    """

    def __init__(self, start: Time = 1_767_225_600_000_000_000, step: float = 1.0) -> None:
        """Stop the time.

        Args:
            start: The first time it tells; default: the beginning of 2026, UTC.
            step: Seconds by which every reading moves it.
        """
        self._now_ns = to_ns(start)
        self._elapsed_ns = 0
        self._step_ns = _nanoseconds(step)
        self._lock = Lock()

    def time_ns(self) -> int:
        """Tell the time, in nanoseconds since the epoch, and move."""
        with self._lock:
            now = self._now_ns
            self._move(self._step_ns)
            return now

    def perf_counter_ns(self) -> int:
        """Tell the nanoseconds since the clock was made, as far as it moved by itself, and move."""
        with self._lock:
            elapsed = self._elapsed_ns
            self._move(self._step_ns)
            return elapsed

    def advance(self, seconds: float) -> None:
        """Let time go by.

        Raises:
            ValueError: The seconds are negative; `set` puts the clock back.
        """
        with self._lock:
            self._move(_nanoseconds(seconds))

    def set(self, time: Time) -> None:
        """Put the clock forward or back to a time; durations do not notice."""
        with self._lock:
            self._now_ns = to_ns(time)

    def _move(self, nanoseconds: int) -> None:
        self._now_ns += nanoseconds
        self._elapsed_ns += nanoseconds


def _nanoseconds(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"a clock moves by 0 seconds or more, not by {seconds!r}")
    return round(seconds * 1e9)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a receiver decodes it.

    Attributes:
        event: `ml.prediction`, `ml.label`, `ml.model`, or another name of the conventions.
        time: Event time, nanoseconds since the epoch.
        attributes: By name, as in the conventions.
        body: `{"inputs": …, "output": …}` or `{"label": …}`; a failed prediction has no output. Of a batch,
            the bytes of its table.
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

    @property
    def rows(self) -> "list[Record]":
        """The single predictions or labels of a batch; of any other record, itself."""
        if self.event not in _ROW_EVENTS:
            return [self]
        return [self._row(row) for row in _table_rows(self.body)]

    def _row(self, row: dict[str, Any]) -> "Record":
        """Make the record of a row; what is common to all of them stands where the row has no column."""
        event = _ROW_EVENTS[self.event]
        time = row.pop("time", None)
        parts = (semconv.BODY_INPUTS, semconv.BODY_OUTPUT, semconv.BODY_LABEL)
        body = {part: row.pop(part) for part in parts if part in row}
        if event == semconv.EVENT_PREDICTION and body.get(semconv.BODY_OUTPUT) is None:
            body.pop(semconv.BODY_OUTPUT, None)
        own = {**dict(row.pop("tags", None) or ()), **{_ATTRIBUTES.get(k, k): v for k, v in row.items()}}
        common = {name: value for name, value in self.attributes.items() if name != semconv.BATCH_ROWS}
        return Record(
            event=event,
            time=self.time if time is None else time,
            attributes={name: value for name, value in {**common, **own}.items() if value is not None},
            body=body,
            resource=self.resource,
            trace_id=self.trace_id,
            span_id=self.span_id,
        )


class Recorded:
    """What was recorded while `capture` was on.

    Attributes:
        policy: What is done to records before they are kept: redaction and sampling.
    """

    recording = True
    stays = True

    def __init__(self, settings: Settings, *, loud: bool) -> None:
        """Start empty."""
        self._failures: list[str] = []
        redact = Redactor(settings.redact, self._failures.append) if settings.redact else None
        self.policy = Policy(redact, settings.sample)
        self._loud = loud
        self._lock = Lock()
        self._entries: list[Entry] = []
        self._dropped: dict[str, int] = {}

    @property
    def records(self) -> list[Record]:
        """All records, in the order they were made; a batch is one."""
        with self._lock:
            entries = list(self._entries)
        return decode(Envelope({}).request(entries))

    @property
    def predictions(self) -> list[Record]:
        """The predictions among them, those of batches one by one."""
        return self._rows(semconv.EVENT_PREDICTION)

    @property
    def labels(self) -> list[Record]:
        """The labels among them, those of batches one by one."""
        return self._rows(semconv.EVENT_LABEL)

    @property
    def models(self) -> list[Record]:
        """What was declared about models."""
        return self._rows(semconv.EVENT_MODEL)

    def _rows(self, event: str) -> list[Record]:
        return [
            row
            for record in self.records
            if _ROW_EVENTS.get(record.event, record.event) == event
            for row in record.rows
        ]

    def put(self, record: bytes) -> None:
        """Keep a record; raises where a rule failed to redact it, or keeps what stands in its place."""
        if self._loud and self._failures:
            raise RuntimeError(self._failures.pop())
        with self._lock:
            self._entries.append((self._recorded() + 1, record))

    def drop(self, reason: str, error: Exception) -> None:
        """Raise the error that kept a record from being made, or only count it."""
        if self._loud:
            raise error
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + 1

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002  # part of a sink
        """Tell whether every record could be made."""
        return not self._dropped

    def shutdown(self, timeout_s: float) -> bool:
        """As `flush`."""
        return self.flush(timeout_s)

    def stats(self) -> Stats:
        """Count the records."""
        with self._lock:
            return Stats(self._recorded(), len(self._entries), 0, dict(self._dropped))

    def _recorded(self) -> int:
        return len(self._entries) + sum(self._dropped.values())


@contextmanager
def capture(
    *,
    loud: bool = True,
    clock: Clock | None = None,
    redact: Iterable[Rule] | None = None,
    sample: float | Mapping[str, float] | None = None,
) -> Iterator[Recorded]:
    """Keep what this process records in memory, all threads included, instead of sending it.

    Args:
        loud: Let what would only be counted in production (a wrong time, a wrong model's name, a rule that
            fails) raise.
        clock: Where times and durations come from, such as a `SteppingClock`. The ids that are made are then
            the same in every run, too.
        redact: Rules of redaction, as for `lapwing.init`; what `init` was given does not count here.
        sample: Share of the predictions to record, as for `lapwing.init`; all of them where not given.

    Raises:
        ValueError: An argument is wrong; the message says what was expected.
        TypeError: Something else than a rule is among the rules.
    """
    settings = resolve({"redact": redact, "sample": sample}, environ={}, complain=lambda _: None)
    recorded = Recorded(settings, loud=loud)
    before = _process.replace_sink(recorded)
    try:
        with _deterministic(clock):
            yield recorded
    finally:
        _process.replace_sink(before)


@contextmanager
def _deterministic(clock: Clock | None) -> Iterator[None]:
    """Replace what differs from run to run: the clock, and the random part of ids."""
    if clock is None:
        yield
        return
    before = _time.clock, _time.random_bits
    _time.clock, _time.random_bits = clock, partial(Random(0).getrandbits, 62)  # noqa: S311  # no secret
    try:
        yield
    finally:
        _time.clock, _time.random_bits = before


def decode(request: bytes) -> list[Record]:
    """Decode the body of an OTLP logs request (protobuf), as a test's own receiver gets it.

    Raises:
        google.protobuf.message.DecodeError: It is none.
    """
    return [
        _record(record, decode_entries(resource.resource.attributes))
        for resource in ExportLogsServiceRequest.FromString(request).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def _record(record: LogRecord, resource: Mapping[str, Any]) -> Record:
    return Record(
        event=record.event_name,
        time=record.time_unix_nano,
        attributes=decode_entries(record.attributes),
        body=decode_value(record.body),
        resource=resource,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
    )


def _table_rows(stream: bytes) -> list[dict[str, Any]]:
    """Read an Arrow IPC stream; its times become nanoseconds since the epoch."""
    from lapwing._arrow import pa  # noqa: PLC0415  # heavy, and only of use where there are batches

    table = pa.ipc.open_stream(stream).read_all()
    for place, column in enumerate(table.schema):
        if column.name in ("time", "prediction_time"):
            times = table.column(place).cast(pa.timestamp("ns"))
            table = table.set_column(place, column.name, times.cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
