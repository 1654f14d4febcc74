"""A whole collector inside the test's process, and requests to send it."""

import asyncio
import http.client
import threading
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lapwing import semconv
from lapwing_collector.app.ingest.inflow import Inflow
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.project import Project, load_project
from lapwing_collector.app.processes.collector import run_collector
from lapwing_collector.clock import Clock, SystemClock
from lapwing_collector.query import Session


@dataclass
class Collector:
    """A running collector: where it listens, and whose data it keeps."""

    data: Path
    address: str = ""
    grpc_address: str = ""
    failure: BaseException | None = None
    stop: "asyncio.Event" = field(default_factory=asyncio.Event)
    _session: Session | None = None
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def post(self, body: bytes, content_type: str = "application/x-protobuf") -> tuple[int, bytes]:
        """Send one request to /v1/logs; status and body of the answer."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request("POST", "/v1/logs", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def web(self) -> str:
        """Where it answers SQL, metrics and commands."""
        return DataDirectory(self.data).web_address.read_text().strip()

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Query its lake as another process would, which opens it once."""
        with self._asking:
            if self._session is None:
                self._session = Session.open(DataDirectory(self.data).lake)
            return _rows(self._session, sql)

    def forget(self) -> None:
        """Let go of its lake."""
        with self._asking:
            if self._session is not None:
                self._session.close()
                self._session = None


def ask(data: Path, sql: str) -> list[dict[str, Any]]:
    """Query the lake of a data directory."""
    session = Session.open(data / "lake")
    try:
        return _rows(session, sql)
    finally:
        session.close()


def _rows(session: Session, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = session.run(sql).to_pylist()
    return rows


def project(data: Path, config: Path | None = None, **flags: Any) -> Project:
    """A project on `data`, listening on a free port, flushing at once."""
    settings = {
        "data": data,
        "http.listen": "127.0.0.1:0",
        "web.listen": "127.0.0.1:0",
        "write.flush_interval": "50ms",
    }
    return load_project(config, settings | flags)


@contextmanager
def running(configured: Project, clock: Clock | None = None) -> Iterator[Collector]:
    """Run a collector until the block ends, then stop it in good order."""
    collector = Collector(configured.settings.data)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def on_ready(address: str, _: str) -> None:
        collector.address = address
        ready.set()

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with AsyncExitStack() as parts:
            inflow = await Inflow.open(parts, configured, clock or SystemClock(), listeners={})
            collector.grpc_address = inflow.receiving.grpc_address
            await run_collector(
                configured,
                clock=clock or SystemClock(),
                stop=collector.stop,
                on_ready=on_ready,
                inflow=inflow,
            )

    def target() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # handed to the test
            collector.failure = error
        finally:
            ready.set()

    thread = threading.Thread(target=target)
    thread.start()
    try:
        assert ready.wait(60)
        if collector.failure is not None:
            raise collector.failure
        yield collector
    finally:
        collector.forget()
        if loops and thread.is_alive():
            loops[0].call_soon_threadsafe(collector.stop.set)
        thread.join(30)
        assert not thread.is_alive()


def request(records: Sequence[LogRecord], process_id: str = "") -> bytes:
    """An OTLP request with one resource."""
    message = ExportLogsServiceRequest()
    resource = message.resource_logs.add()
    if process_id:
        resource.resource.attributes.append(_attribute(semconv.PROCESS_ID, process_id))
    resource.scope_logs.add().log_records.extend(records)
    return message.SerializeToString()


def prediction(
    model: str, prediction_id: str, time_ns: int, *, inputs: Any = None, output: Any = None, sequence: int = 0
) -> LogRecord:
    """A prediction as an OTLP record."""
    attributes = {semconv.MODEL_NAME: model, semconv.PREDICTION_ID: prediction_id}
    body = {semconv.BODY_INPUTS: inputs or {}, semconv.BODY_OUTPUT: output or {}}
    return _record(semconv.EVENT_PREDICTION, time_ns, attributes, body, sequence)


def label(  # noqa: PLR0917  # a record has as many parts
    model: str, prediction_id: str, prediction_ns: int, time_ns: int, value: Any, sequence: int = 0
) -> LogRecord:
    """A label as an OTLP record."""
    attributes = {
        semconv.MODEL_NAME: model,
        semconv.PREDICTION_ID: prediction_id,
        semconv.PREDICTION_TIME: prediction_ns,
    }
    return _record(semconv.EVENT_LABEL, time_ns, attributes, {semconv.BODY_LABEL: value}, sequence)


def model_said(model: str, body: dict[str, Any], time_ns: int) -> LogRecord:
    """What a process says of a model, as an OTLP record."""
    return _record(semconv.EVENT_MODEL, time_ns, {semconv.MODEL_NAME: model}, body, 0)


def _record(event: str, time_ns: int, attributes: dict[str, Any], body: Any, sequence: int) -> LogRecord:
    if sequence:
        attributes = {**attributes, semconv.SEQUENCE: sequence}
    return LogRecord(
        event_name=event,
        time_unix_nano=time_ns,
        attributes=[_attribute(name, value) for name, value in attributes.items()],
        body=_value(body),
    )


def _attribute(name: str, value: Any) -> KeyValue:
    return KeyValue(key=name, value=_value(value))


def _value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case _:
            return AnyValue(kvlist_value=KeyValueList(values=[_attribute(k, v) for k, v in value.items()]))
