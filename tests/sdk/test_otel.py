"""Records through OpenTelemetry's own pipeline arrive as those through Lapwing's, and nothing is claimed."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import _logs as logs_api
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as sdk_export
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import lapwing
from helpers.sdk_receiver import Answer, Receiver, grpc_receiver, receiver
from lapwing import _process
from lapwing._config import resolve
from lapwing._export import Exporter, Sink
from lapwing._otel import make_sink
from lapwing._policy import Policy
from lapwing.testing import Record

# Its name differs from version to version.
SUCCESS = getattr(sdk_export, "LogRecordExportResult", getattr(sdk_export, "LogExportResult", None)).SUCCESS

INPUTS: dict[str, Any] = {
    "null": None,
    "nested": [1, None, [], {}, [[None]], {"null": None, "bytes": [b"\x00\xff", 2.5, True]}],
    "bytes": b"raw",
    "empty": {},
    "text": "",
    "infinite": float("inf"),
    "least": -(2**63),
    "umlaut": "ü",
}


class Keeping:
    """An exporter that keeps what it gets."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.threads: list[threading.Thread] = []

    def export(self, batch: Sequence[Any]) -> Any:
        self.records += batch
        self.threads.append(threading.current_thread())
        return SUCCESS

    def shutdown(self) -> None:
        """Have nothing to end."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@contextmanager
def into(**arguments: Any) -> Iterator[Sink]:
    """Send what this process records through the sink for the arguments of `init`."""
    settings = resolve(arguments, {}, pytest.fail)
    sink = Exporter(settings) if settings.exporter == "lapwing" else make_sink(settings, Policy())
    before = _process.replace_sink(sink)
    try:
        yield sink
    finally:
        _process.replace_sink(before)
        sink.shutdown(5)


def record() -> None:
    """Record a prediction in a span, a failed one without, and a label."""
    with TracerProvider(shutdown_on_exit=False).get_tracer("test").start_as_current_span("request"):
        lapwing.log_prediction(
            model="m",
            version="1",
            inputs=INPUTS,
            output={"score": 0.5, "null": None},
            time=1_700_000_000_000_000_000,
            prediction_id="p",
            tags={"region": "eu", "shard": 3},
        )
    lapwing.log_prediction(model="m", inputs={}, output=None, error="broken", time=5, prediction_id="q")
    lapwing.log_label(model="m", label=None, prediction_id="p", time=7, prediction_time=6)


def told(records: Sequence[Record], *, numbered: bool = True) -> list[Any]:
    """Give everything about records but who sent them, in which span, and their number where it is absent."""
    return [
        (
            r.event,
            r.time,
            r.body,
            {k: v for k, v in r.attributes.items() if numbered or k != "lapwing.sequence"},
            bool(r.trace_id),
            bool(r.span_id),
        )
        for r in records
    ]


def resource(record: Record) -> dict[str, Any]:
    """Give the resource without the process."""
    return {key: value for key, value in record.resource.items() if key != "lapwing.process.id"}


@pytest.fixture
def expected() -> list[Record]:
    """Give the records as they arrive through Lapwing's own exporter."""
    with receiver() as running, into(endpoint=running.endpoint, service="shop"):
        record()
        assert lapwing.flush()
        return running.records


@pytest.fixture
def no_global_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the global LoggerProvider for a test; the API has no way to unset it."""
    monkeypatch.setattr(logs_api._internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(logs_api._internal, "_LOGGER_PROVIDER_SET_ONCE", type(_once())())


def _once() -> Any:
    return logs_api._internal._LOGGER_PROVIDER_SET_ONCE


def provider(running: Receiver) -> LoggerProvider:
    """Make a host's provider with the stock batch processor and exporter."""
    made = LoggerProvider(Resource({"service.name": "host"}), shutdown_on_exit=False)
    made.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{running.endpoint}/v1/logs")))
    return made


def test_the_stock_exporter_sends_the_same_records(expected: list[Record]) -> None:
    """With exporter="opentelemetry" the same records arrive, nested values and resource included."""
    with (
        receiver() as running,
        into(endpoint=running.endpoint, service="shop", exporter="opentelemetry", headers={"X-Key": "k"}),
    ):
        record()
        assert lapwing.flush()
        assert lapwing.stats() == lapwing.Stats(3, 3, 0, {})
        assert told(running.records) == told(expected)
        assert [resource(r) for r in running.records] == [resource(r) for r in expected]
        (request,) = running.requests
    assert request.path == "/v1/logs"
    assert request.headers["x-key"] == "k"
    assert request.headers["user-agent"].startswith("OTel-OTLP-Exporter-Python/")


def test_an_exporter_of_the_user_gets_the_same_records(expected: list[Record]) -> None:
    """A LogRecordExporter that is passed in gets every record, in batches, and is shut down in the end."""
    with receiver() as running:
        exporter = OTLPLogExporter(f"{running.endpoint}/v1/logs")
        with into(exporter=exporter, service="shop"):
            record()
            assert lapwing.flush()
        assert told(running.records) == told(expected)
    assert exporter._shutdown


def test_the_stock_exporter_compresses_when_asked_to() -> None:
    """Settings of `init` reach the stock exporter."""
    with (
        receiver() as running,
        into(endpoint=running.endpoint, exporter="opentelemetry", compression="gzip"),
    ):
        record()
        assert lapwing.flush()
        assert running.requests[0].headers["content-encoding"] == "gzip"
        assert len(running.records) == 3


def test_a_failure_of_the_stock_exporter_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """What the stock exporter gives up is undeliverable, is not tried again here, and flush says no."""
    with receiver(Answer(400)) as running, into(endpoint=running.endpoint, exporter="opentelemetry"):
        record()
        assert not lapwing.flush()
        assert lapwing.stats() == lapwing.Stats(3, 0, 0, {"undeliverable": 3})
        assert len(running.requests) == 1
    assert f"{running.endpoint}/v1/logs: the exporter says" in caplog.text


def test_an_exporter_that_raises_costs_its_batch(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a user's exporter is counted and told, and the next batch is exported."""

    class Flaky(Keeping):
        failures = 1

        def export(self, batch: Sequence[Any]) -> Any:
            if self.failures:
                self.failures -= 1
                raise RuntimeError("a bug")
            return super().export(batch)

    exporter = Flaky()
    with into(exporter=exporter):
        record()
        assert not lapwing.flush()
        record()
        lapwing.flush()
        assert lapwing.stats() == lapwing.Stats(6, 3, 0, {"undeliverable": 3})
    assert len(exporter.records) == 3
    assert (
        "3 records were dropped (undeliverable): Flaky: the exporter raised RuntimeError('a bug')"
        in caplog.text
    )


def test_the_console_shows_records() -> None:
    """With exporter="console" every record is printed."""
    script = """
import lapwing
from lapwing import _process
from lapwing._config import resolve
from lapwing._otel import make_sink
from lapwing._policy import Policy
_process.replace_sink(make_sink(resolve({"exporter": "console"}, {}, print), Policy()))
lapwing.log_prediction(model="m", inputs={"bytes": b"raw"}, output=1)
lapwing.log_label(model="m", label=1, prediction_id="p")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert [line.strip() for line in done.stdout.splitlines() if "event_name" in line] == [
        '"event_name": "ml.prediction"',
        '"event_name": "ml.label"',
    ]


@pytest.mark.usefixtures("no_global_provider")
def test_the_hosts_provider_gets_the_same_records(expected: list[Record]) -> None:
    """With exporter="host" the same records arrive, under the host's resource and without numbers."""
    with receiver() as running, into(exporter="host"):
        host = provider(running)
        logs_api.set_logger_provider(host)
        record()
        assert lapwing.flush()
        assert lapwing.stats() == lapwing.Stats(3, 0, 0, {}, handed_over=3)
        assert told(running.records) == told(expected, numbered=False)
        assert {r.resource["service.name"] for r in running.records} == {"host"}
        assert "lapwing.process.id" not in running.records[0].resource
        host.shutdown()


def test_a_provider_can_be_passed_in(expected: list[Record]) -> None:
    """A LoggerProvider instance gets the records; it is not shut down with Lapwing."""
    with receiver() as running:
        host = provider(running)
        with into(exporter=host) as sink:
            record()
            assert sink.shutdown(5)
            record()
            assert sink.stats() == lapwing.Stats(6, 0, 0, {"shutdown": 3}, handed_over=3)
        with into(exporter=host):
            record()
            assert lapwing.flush()
        assert told(running.records) == told(expected, numbered=False) * 2
        host.shutdown()


@pytest.mark.usefixtures("no_global_provider")
def test_a_host_without_a_provider_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Where the host has set no provider records are counted as dropped, not as handed over."""
    with into(exporter="host"):
        record()
        assert not lapwing.flush()
        assert lapwing.stats() == lapwing.Stats(3, 0, 0, {"no_provider": 3})
    assert caplog.text.count("no_provider") == 1


def test_records_are_handed_over_in_the_callers_thread() -> None:
    """The host's processors see the thread, and so the context, that made the record."""
    exporter = Keeping()
    host = LoggerProvider(shutdown_on_exit=False)
    host.add_log_record_processor(SimpleLogRecordProcessor(exporter))  # type: ignore[arg-type]
    with into(exporter=host):
        lapwing.log_label(model="m", label=1, prediction_id="p")
    assert exporter.threads == [threading.current_thread()]


def test_a_provider_that_fails_does_not_reach_the_host() -> None:
    """Exceptions of a provider cost the record, with a reason, and a flush that fails says no."""

    class Broken:
        def get_logger(self, *_: object) -> Any:
            raise RuntimeError("a bug")

    with into(exporter=Broken()):
        record()
        assert not lapwing.flush()
        assert lapwing.stats() == lapwing.Stats(3, 0, 0, {"internal_error": 3})


def test_a_flush_of_the_provider_does_not_take_longer_than_asked() -> None:
    """A provider that hangs in its flush does not keep the caller, who is told no."""
    hanging = threading.Event()

    class Slow(LoggerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return hanging.wait(60)

    with into(exporter=Slow(shutdown_on_exit=False)):
        record()
        started = time.monotonic()
        assert not lapwing.flush(0.05)
        assert time.monotonic() - started < 30
        hanging.set()
        assert lapwing.flush()


def test_a_spool_needs_lapwings_own_exporter(tmp_path: Any) -> None:
    """A spool with another exporter is refused with a message that says what to do."""
    settings = resolve({"exporter": "console", "spool": tmp_path}, {}, pytest.fail)
    with pytest.raises(ValueError, match="spool: works with exporter='lapwing' only, not with 'console'"):
        make_sink(settings, Policy())


def test_the_stock_grpc_exporter_must_be_installed(expected: list[Record]) -> None:
    """Over gRPC the stock exporter sends the same records; where it is missing, init says what to do."""
    with grpc_receiver() as running:
        arguments = {"endpoint": running.endpoint, "protocol": "grpc", "exporter": "opentelemetry"}
        try:
            import opentelemetry.exporter.otlp.proto.grpc  # noqa: F401
        except ImportError:
            with pytest.raises(ValueError, match="pip install opentelemetry-exporter-otlp-proto-grpc"):
                make_sink(resolve(arguments, {}, pytest.fail), Policy())
            return
        with into(**arguments, service="shop"):
            record()
            assert lapwing.flush()
            assert told(running.records) == told(expected)


def test_a_forks_child_counts_anew() -> None:
    """For the child of a fork there is a sink with the same settings that has counted nothing."""
    host = LoggerProvider(shutdown_on_exit=False)
    with into(exporter=host) as sink:
        record()
        assert sink.stats().handed_over == 3
        assert sink.renewed().stats() == lapwing.Stats(0, 0, 0, {})  # type: ignore[attr-defined]
