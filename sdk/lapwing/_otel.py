"""OpenTelemetry's own logs pipeline as the way out. Only this file imports its logs API, which is not public.

Two ways lead there:

- `Handover` gives every record to a LoggerProvider of the host, in the thread that made it.
- `ExporterTransport` gives requests to a LogRecordExporter: the stock OTLP exporters, the console's, or one
  of the user's. It stands at the end of Lapwing's own queue: the stock batch processor neither counts what it
  drops nor tells what became of the rest, and so could not be asked for the truth.

The names of its classes changed: until 1.38 the SDK had a LogRecord of its own, wrapped in LogData for an
exporter; since 1.39 it takes the API's LogRecord, in a ReadableLogRecord.
"""

import logging
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from threading import Lock, Thread
from typing import Any, Final

from opentelemetry import _logs as api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk._logs import export as sdk_export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from lapwing._config import Settings
from lapwing._decode import decode_entries, decode_value
from lapwing._deliver import Accepted, Fate, Transport, Unavailable
from lapwing._export import Exporter, Sink
from lapwing._policy import Policy
from lapwing._queue import Stats
from lapwing._version import __version__

_GRPC_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.grpc"
_NO_PROVIDER: Final = ("ProxyLoggerProvider", "NoOpLoggerProvider")
_sdk: Final[Any] = sdk  # its names differ from version to version
_ONLY_OWN_RECORDS: Final = not hasattr(sdk, "ReadableLogRecord")
"""Whether the SDK's exporters take only the SDK's LogRecord: before 1.39."""
if _ONLY_OWN_RECORDS:  # 1.38 warns of the classes of 1.39
    warnings.filterwarnings("ignore", category=_sdk.LogDeprecatedInitWarning, module=r"lapwing\._otel$")

_logger: Final = logging.getLogger("lapwing")


def make_sink(settings: Settings, policy: Policy) -> Sink:
    """Make the sink for an `exporter` of OpenTelemetry: its name, or an instance.

    Raises:
        ValueError: The exporter is not installed, or the settings do not go together.
    """
    exporter = settings.exporter
    if settings.spool is not None:
        raise ValueError(f"spool: works with exporter='lapwing' only, not with {exporter!r}; leave one out")
    if exporter == "host" or hasattr(exporter, "get_logger"):
        return Handover(settings, policy)
    if exporter == "opentelemetry" and settings.protocol == "grpc" and not _is_installed(_GRPC_EXPORTER):
        raise ValueError(
            "exporter: 'opentelemetry' with protocol='grpc' needs OpenTelemetry's exporter "
            "(pip install opentelemetry-exporter-otlp-proto-grpc)"
        )
    # What warnings name is where records go; and these exporters try again by themselves.
    endpoint = settings.endpoint if isinstance(exporter, str) else type(exporter).__name__
    return Exporter(replace(settings, endpoint=endpoint, retry_for_s=0.0), policy, _connect)


class Handover:
    """Hands records to a LoggerProvider, which does not tell what becomes of them."""

    recording: Final = True

    def __init__(self, settings: Settings, policy: Policy) -> None:
        """Take the provider that `settings.exporter` is, or the global one, whenever the host sets it."""
        self.settings: Final = settings
        self.policy: Final = policy
        self._provider: Final = None if settings.exporter == "host" else settings.exporter
        self._lock = Lock()
        self._handed_over = 0
        self._dropped: dict[str, int] = {}
        self._closed = False

    def renewed(self) -> "Handover":
        """Make one that has counted nothing, for the child of a fork."""
        return Handover(self.settings, self.policy)

    def put(self, record: bytes) -> None:
        """Hand a record over, in this thread: the provider's processors see the caller's context."""
        try:
            reason = self._emit(record)
        except Exception as error:  # noqa: BLE001  # the host must not notice
            self.drop("internal_error", error)
        else:
            if reason is None:
                with self._lock:
                    self._handed_over += 1
            else:
                self._drop(reason, "lapwing.stats() counts them")

    def drop(self, reason: str, error: Exception) -> None:
        """Count a record that an error kept from being made."""
        self._drop(reason, repr(error))

    def flush(self, timeout_s: float) -> bool:
        """Make the provider flush; True if nothing was dropped here and the provider says yes.

        That is all there is to know: the stock provider says yes whether or not its exporter succeeded.
        """
        said: list[object] = []

        def force_flush() -> None:
            with suppress(Exception):  # a no is told by what is not said
                said.append(self._found().force_flush(int(timeout_s * 1000)))

        thread = Thread(target=force_flush, name="lapwing-flush", daemon=True)  # some ignore the timeout
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, and the provider has an end of its own
            return False
        thread.join(timeout_s)
        return said == [True] and not self._dropped

    def shutdown(self, timeout_s: float) -> bool:
        """Take no more; the provider is the host's and goes on. True as from `flush`."""
        self._closed = True
        return self.flush(timeout_s)

    def stats(self) -> Stats:
        """Count what became of the records."""
        with self._lock:
            recorded = self._handed_over + sum(self._dropped.values())
            return Stats(recorded, 0, 0, dict(self._dropped), handed_over=self._handed_over)

    def _found(self) -> Any:
        return api.get_logger_provider() if self._provider is None else self._provider

    def _emit(self, record: bytes) -> str | None:
        """Emit a record; returns why not."""
        provider = self._found()
        if self._closed:
            return "shutdown"
        if type(provider).__name__ in _NO_PROVIDER:
            return "no_provider"
        logger = provider.get_logger("lapwing", __version__)
        logger.emit(_log_record(LogRecord.FromString(record), getattr(logger, "resource", None)))
        return None

    def _drop(self, reason: str, why: str) -> None:
        with self._lock:
            news = reason not in self._dropped
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
        if news:
            with suppress(Exception):  # of the host's log handlers
                _logger.warning(
                    "a record was dropped (%s): %s", reason, why, extra={"action": f"lapwing.{reason}"}
                )


class ExporterTransport:
    """Gives requests to a LogRecordExporter, which sends them as it sees fit."""

    def __init__(self, exporter: Any) -> None:
        """Take the exporter."""
        self._exporter = exporter

    def post(self, body: bytes, timeout_s: float) -> Fate:  # noqa: ARG002  # an exporter has its own
        """Export the records of a request; what is no success is `Unavailable`, and why stays unknown."""
        batch = list(_readable(ExportLogsServiceRequest.FromString(body)))
        try:
            result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001  # the stock exporter's, where nobody listens, among them
            return Unavailable(f"the exporter raised {error!r}")
        if getattr(result, "name", "") == "SUCCESS":
            return Accepted()
        return Unavailable(f"the exporter says {result}")

    def close(self) -> None:
        """End the exporter."""
        with suppress(Exception):
            self._exporter.shutdown()


def _connect(settings: Settings) -> Transport:
    exporter = settings.exporter
    if exporter == "console":
        exporter = _first(sdk_export, "ConsoleLogRecordExporter", "ConsoleLogExporter")()
    elif exporter == "opentelemetry":
        exporter = _grpc_exporter(settings) if settings.protocol == "grpc" else _http_exporter(settings)
    return ExporterTransport(exporter)


def _http_exporter(settings: Settings) -> Any:
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415  # only the one asked for
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415

    return OTLPLogExporter(
        endpoint=settings.endpoint,
        certificate_file=settings.certificate,
        client_key_file=settings.client_key,
        client_certificate_file=settings.client_certificate,
        headers=dict(settings.headers),
        timeout=settings.timeout_s,
        compression=Compression(settings.compression),
    )


def _grpc_exporter(settings: Settings) -> Any:
    import grpc  # noqa: PLC0415  # as above

    from lapwing._grpc import credentials  # noqa: PLC0415

    own_files = settings.certificate or settings.client_certificate
    return import_module(f"{_GRPC_EXPORTER}._log_exporter").OTLPLogExporter(
        endpoint=settings.endpoint,
        insecure=settings.insecure or None,  # None: the scheme decides
        credentials=credentials(settings) if own_files else None,
        headers={name.lower(): value for name, value in settings.headers.items()},
        timeout=settings.timeout_s,
        compression=grpc.Compression.Gzip
        if settings.compression == "gzip"
        else grpc.Compression.NoCompression,
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _first(module: Any, *names: str) -> Any:
    """Give what a module calls by the first of the names that it knows."""
    return next(getattr(module, name) for name in names if hasattr(module, name))


def _readable(request: ExportLogsServiceRequest) -> Iterable[Any]:
    """Give the records of a request as an exporter of the installed version takes them."""
    for resource_logs in request.resource_logs:
        resource = Resource(decode_entries(resource_logs.resource.attributes))
        for scope_logs in resource_logs.scope_logs:
            scope = InstrumentationScope(scope_logs.scope.name, scope_logs.scope.version)
            for message in scope_logs.log_records:
                record = _log_record(message, resource)
                if _ONLY_OWN_RECORDS:
                    yield _sdk.LogData(record, scope)
                else:
                    yield _sdk.ReadableLogRecord(record, resource, scope)


def _log_record(message: LogRecord, resource: Resource | None) -> Any:
    """Turn a record as it is on the wire into one as OpenTelemetry's logs API has it."""
    fields: dict[str, Any] = {
        "timestamp": message.time_unix_nano,
        "observed_timestamp": message.observed_time_unix_nano,
        "context": _context(message),
        "severity_number": api.SeverityNumber(message.severity_number),
        "severity_text": message.severity_text or None,
        "body": decode_value(message.body),
        "attributes": decode_entries(message.attributes),
        "event_name": message.event_name,
    }
    return _sdk.LogRecord(**fields, resource=resource) if _ONLY_OWN_RECORDS else api.LogRecord(**fields)


def _context(message: LogRecord) -> Context:
    """Make a context with the record's span; never an empty one, for which the present one would stand in."""
    span = trace.SpanContext(
        int.from_bytes(message.trace_id),
        int.from_bytes(message.span_id),
        is_remote=False,
        trace_flags=trace.TraceFlags(message.flags & 0xFF),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(span), Context())
