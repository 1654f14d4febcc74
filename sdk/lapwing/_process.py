"""Global state department: the one sink of this process, and what happens to it at start, fork and exit."""

import atexit
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from threading import RLock
from typing import TYPE_CHECKING, Final, Literal

from lapwing import _time, _values
from lapwing._config import Settings, resolve
from lapwing._export import Absent, Disabled, Exporter, Sink
from lapwing._policy import Policy
from lapwing._queue import Stats

if TYPE_CHECKING:
    from lapwing.redact import Rule

EXIT_TIMEOUT_S: Final = 5.0

_logger: Final = logging.getLogger("lapwing")
_lock = RLock()
_sink: Sink | None = None
_told: set[object] = set()


def sink() -> Sink:
    """Give the sink, which starts with OpenTelemetry's variables where there was no `init`. Never raises."""
    return _sink or _start_quietly()


def replace_sink(new: Sink | None) -> Sink | None:
    """Put another sink in place, or none; returns the one before."""
    global _sink
    with _lock:
        old, _sink = _sink, new
        _told.clear()
        _values.reset()
    return old


def is_news(fact: object) -> bool:
    """Tell whether this is the first time that the present sink is to be told something."""
    with _lock:
        known = len(_told)
        _told.add(fact)
        return len(_told) > known


def init(
    *,
    endpoint: str | None = None,
    protocol: Literal["http/protobuf", "grpc"] | None = None,
    insecure: bool | None = None,
    exporter: object = None,
    service: str | None = None,
    environment: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    compression: Literal["none", "gzip"] | None = None,
    certificate: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
    on_full: Literal["drop", "wait"] | None = None,
    retry_for_s: float | None = None,
    queue_size: int | None = None,
    batch_size: int | None = None,
    delay_s: float | None = None,
    spool: str | PathLike[str] | None = None,
    spool_bytes: int | None = None,
    sample: float | Mapping[str, float] | None = None,
    redact: "Iterable[Rule] | None" = None,
    disabled: bool | None = None,
) -> None:
    """Set up the exporter. Optional: else the first prediction does, from OpenTelemetry's variables.

    An argument wins over a variable, a variable over the default; the user guide has the table. A second call
    ends the exporter of the first (`shutdown`) and counts from zero. Connects to nothing by itself, unless a
    former process left something in the spool.

    Args:
        endpoint: URL of the collector; `/v1/logs` is added, but not with gRPC.
        protocol: `http/protobuf`, or `grpc`, which needs the extra `grpc`.
        insecure: gRPC without TLS, where the endpoint is `host:port`.
        exporter: `lapwing`; `opentelemetry`, the stock exporter; `host`, the host's own LoggerProvider;
            `console`; `none`; or a LoggerProvider or LogRecordExporter.
        service: Name of the service, `service.name`.
        environment: Such as `production`, `deployment.environment.name`.
        headers: HTTP headers of every request.
        timeout_s: Seconds that one attempt at a request may take, once the name of the receiver is looked up.
        compression: `none` or `gzip`.
        certificate: File of certificates to trust.
        client_certificate: File of the certificate to show.
        client_key: File of its private key.
        on_full: What a call does when the queue is full: `drop` its record, or `wait` for room, which is for
            batch jobs and replays and blocks an event loop.
        retry_for_s: Seconds for which a request is tried again while the collector is unavailable.
        queue_size: Records that may wait for the collector's acknowledgement.
        batch_size: Records in a request, at most.
        delay_s: Seconds that a record waits for others to share its request.
        spool: Folder that keeps what cannot be delivered, until the collector is back.
        spool_bytes: Bytes that the folder may hold.
        sample: Share of the predictions to record; or shares by model, `*` for the others.
        redact: Rules for what must not leave the process, made by `lapwing.redact`.
        disabled: Record nothing.

    Raises:
        ValueError: An argument is wrong; the message says what was expected.
        TypeError: A rule of `redact` is none.
    """
    _start(
        {
            "endpoint": endpoint,
            "protocol": protocol,
            "insecure": insecure,
            "exporter": exporter,
            "service": service,
            "environment": environment,
            "headers": headers,
            "timeout_s": timeout_s,
            "compression": compression,
            "certificate": certificate,
            "client_certificate": client_certificate,
            "client_key": client_key,
            "on_full": on_full,
            "retry_for_s": retry_for_s,
            "queue_size": queue_size,
            "batch_size": batch_size,
            "delay_s": delay_s,
            "spool": spool,
            "spool_bytes": spool_bytes,
            "sample": sample,
            "redact": redact,
            "disabled": disabled,
        },
        again=True,
    )


def flush(timeout_s: float = 10.0) -> bool:
    """Send what was recorded so far, without delay, and wait for the answers.

    Args:
        timeout_s: Seconds to wait, at most.

    Returns:
        True only if everything recorded in this process so far was acknowledged by the receiver. A record
        lost for whatever reason makes it False for good; `stats` says how many, and why.
    """
    return sink().flush(timeout_s)


def shutdown(timeout_s: float = 10.0) -> bool:
    """Send what was recorded and end the exporter; what is recorded afterwards is dropped and counted.

    At the end of the process this happens by itself, within 5 seconds.

    Args:
        timeout_s: Seconds to wait, at most.

    Returns:
        As `flush`.
    """
    return sink().shutdown(timeout_s)


def stats() -> Stats:
    """Count what became of the records of this process."""
    return replace(sink().stats(), as_text=_values.text_counts())


def _start(arguments: Mapping[str, object], *, again: bool = False) -> Sink:
    """Put a new sink in place, unless there is one and not `again`."""
    with _lock:
        if _sink is not None and not again:
            return _sink
        settings = resolve(arguments, os.environ, _warn)
        if _sink is not None and getattr(_sink, "stays", False):
            _policy(settings)
            return _sink  # `lapwing.testing.capture` is on
        new = _new_sink(settings, _policy(settings))
        old = replace_sink(new)
    if old is not None:
        old.shutdown(EXIT_TIMEOUT_S)
    return new


def _start_quietly() -> Sink:
    """Start with OpenTelemetry's variables, and where that fails count what is lost by it."""
    with _lock:
        try:
            return _start({})
        except Exception as error:  # noqa: BLE001  # the host must not notice
            new = Absent()
            replace_sink(new)
            _warn(f"records are dropped (no_exporter), their exporter cannot be had: {error!r}")
            return new


def _policy(settings: Settings) -> Policy:
    if not settings.redact:
        return Policy(sample=settings.sample)
    from lapwing.redact import Redactor  # noqa: PLC0415  # only where there are rules

    return Policy(Redactor(settings.redact, _warn), settings.sample)


def _new_sink(settings: Settings, policy: Policy) -> Sink:
    if settings.disabled or settings.exporter == "none":
        return Disabled()
    if settings.exporter == "lapwing":
        return Exporter(settings, policy)
    from lapwing._otel import make_sink  # noqa: PLC0415  # OpenTelemetry's SDK, only where it is asked for

    return make_sink(settings, policy)


def _warn(mistake: str) -> None:
    with suppress(Exception):  # of the host's log handlers
        _logger.warning("%s", mistake)


def _end() -> None:
    """At exit, send what is left."""
    if _sink is not None:
        _sink.shutdown(EXIT_TIMEOUT_S)


def _renew() -> None:
    """In the child of a fork, which has neither the thread nor the records of its parent, begin anew."""
    global _lock  # noqa: PLW0603  # another thread of the parent may hold the old one for ever
    _lock = RLock()
    _time.reseed()
    _values.reset()
    if renewed := getattr(_sink, "renewed", None):
        replace_sink(renewed())


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
