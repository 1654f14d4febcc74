"""The way out over OTLP/gRPC."""

from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from lapwing._config import Settings
from lapwing._deliver import Accepted, Fate, Refused, Unavailable, unreachable
from lapwing._request import read_partial_success
from lapwing._tls import tls_context
from lapwing._version import __version__

_EXPORT: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_RETRYABLE: Final = (
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
)
_OPTIONS: Final = (
    ("grpc.primary_user_agent", f"Lapwing-OTLP-Exporter-Python/{__version__}"),
    ("grpc.enable_retries", 0),  # whether a request is sent again is decided in one place, `deliver`
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
)


class GrpcTransport:
    """Calls an OTLP/gRPC receiver over a channel that is kept open."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the metadata of `settings`; makes the channel at the first request, in its thread."""
        self._settings = settings
        self._metadata = tuple((name.lower(), value) for name, value in settings.headers.items())

    def post(self, body: bytes, timeout_s: float) -> Fate:
        """Send a request, wait for the answer and say what it means."""
        try:
            reply = self._export(body, timeout=timeout_s, metadata=self._metadata)
        except OSError as error:
            return unreachable(f"{type(error).__name__}: {error}")
        except grpc.RpcError as error:
            fate = judge(error)
            if isinstance(fate, Unavailable):
                self._disconnect()
            return fate
        return Accepted(*read_partial_success(reply))

    def close(self) -> None:
        """Close the channel; a further request opens another."""
        if "_channel" in self.__dict__:
            self._disconnect()

    @cached_property
    def _channel(self) -> Any:
        """The channel to the endpoint.

        Raises:
            OSError: A file of certificates or keys cannot be read.
        """
        settings = self._settings
        target, secure = _target(settings.endpoint, insecure=settings.insecure)
        compression = (
            grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
        )
        if not secure:
            return grpc.insecure_channel(target, _OPTIONS, compression)
        return grpc.secure_channel(target, credentials(settings), _OPTIONS, compression)

    @cached_property
    def _export(self) -> Any:
        return self._channel.unary_unary(_EXPORT)  # without serializers: bytes in, bytes out

    def _disconnect(self) -> None:
        """Let the next request make a new channel.

        After a failure gRPC waits up to two minutes before it connects again, and it may keep a connection
        that is dead: when to try again is decided in `deliver`.
        """
        self._channel.close()
        self.__dict__.pop("_export", None)
        del self._channel


def judge(error: grpc.RpcError) -> Fate:
    """Say what a status other than OK means."""
    code, details = error.code(), error.details() or ""
    message = f"{code.name} {details}".rstrip()
    retry_after_s = _retry_after_s(error.trailing_metadata() or ())
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after_s is None:
        return Refused(message)
    if code in (*_RETRYABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return Unavailable(unreachable(message).message, retry_after_s)
    return Refused(message)


def _target(endpoint: str, *, insecure: bool) -> tuple[str, bool]:
    """Tell what gRPC connects to, and whether with TLS: `insecure` counts where there is no scheme."""
    parts = urlsplit(endpoint)
    if parts.scheme in ("http", "https"):
        return parts.netloc.rpartition("@")[2], parts.scheme == "https"
    return endpoint, not insecure


def credentials(settings: Settings) -> grpc.ChannelCredentials:
    # This says which file is wrong, where gRPC would only fail to connect.
    tls_context(settings.certificate, settings.client_certificate, settings.client_key)

    def read(file: str | None) -> bytes | None:
        return Path(file).read_bytes() if file else None

    chain = read(settings.client_certificate)
    key = chain and (read(settings.client_key) or chain)  # one file may hold both
    return grpc.ssl_channel_credentials(read(settings.certificate), key, chain)


def _retry_after_s(metadata: Any) -> float | None:
    """Read the delay of the `RetryInfo` among a status's details; None where there is none."""
    details = dict(metadata).get("grpc-status-details-bin")
    if not details:
        return None
    try:
        for detail in Status.FromString(details).details:
            info = RetryInfo()
            if detail.Unpack(info):
                return float(max(info.retry_delay.seconds + info.retry_delay.nanos / 1e9, 0.0))
    except Exception:  # noqa: BLE001  # the status code says enough
        return None
    return None
