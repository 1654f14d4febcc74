"""The way out over OTLP/HTTP."""

import gzip
import time
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from math import isfinite
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from lapwing._config import Settings
from lapwing._connections import attempt, pools
from lapwing._deliver import Accepted, Fate, Refused, Unavailable, unreachable
from lapwing._request import read_partial_success, read_status_message
from lapwing._tls import tls_context
from lapwing._version import __version__

PROTOBUF: Final = "application/x-protobuf"
_RETRYABLE: Final = (429, 502, 503, 504)
_REPLY_BYTES: Final = 4 * 1024 * 1024
_GZIP_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered.

    Attributes:
        status: HTTP status.
        content_type: The header's value, empty where there was none.
        retry_after: The header's value, None where there was none.
        body: The body; None when it was too large to read.
    """

    status: int
    content_type: str = ""
    retry_after: str | None = None
    body: bytes | None = b""


class HttpTransport:
    """Posts requests to an OTLP/HTTP receiver over a connection that is kept open."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the headers of `settings`; connects at the first request."""
        self._settings = settings
        headers = {
            "accept-encoding": "identity",  # an answer is small, and must not grow while it is read
            "content-type": PROTOBUF,
            "user-agent": f"Lapwing-OTLP-Exporter-Python/{__version__}",
        }
        if settings.compression == "gzip":
            headers["content-encoding"] = "gzip"
        self._headers = headers | {name.lower(): value for name, value in settings.headers.items()}

    def post(self, body: bytes, timeout_s: float) -> Fate:
        """Send a request, wait for the answer and say what it means."""
        if self._settings.compression == "gzip":  # without the time: sent again, it has the same bytes
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        try:
            with (
                attempt(timeout_s),
                self._connections.urlopen(
                    "POST",
                    self._settings.endpoint,
                    body=body,
                    headers=self._headers,
                    timeout=urllib3.Timeout(total=timeout_s),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                ) as response,
            ):
                reply = Reply(
                    status=response.status,
                    content_type=response.headers.get("content-type", ""),
                    retry_after=response.headers.get("retry-after"),
                    body=_read(response),
                )
        except (OSError, HTTPError) as error:
            return unreachable(f"{type(error).__name__}: {error}")
        return judge(reply, time.time())

    def close(self) -> None:
        """Close the connection; a further request opens another."""
        self._connections.clear()

    @cached_property
    def _connections(self) -> urllib3.PoolManager:
        """Connections to the endpoint, through the proxy that the environment names for it.

        Raises:
            OSError: A file of certificates or keys cannot be used.
        """
        endpoint = urlsplit(self._settings.endpoint)
        settings = self._settings
        files = (settings.certificate, settings.client_certificate, settings.client_key)
        context = tls_context(*files) if endpoint.scheme == "https" else None
        proxies = getproxies()
        proxy = proxies.get(endpoint.scheme) or proxies.get("all")
        if not proxy or proxy_bypass(endpoint.netloc):
            return pools(context)
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        user, separator, _ = urlsplit(proxy).netloc.rpartition("@")
        login = urllib3.make_headers(proxy_basic_auth=unquote(user)) if separator else None
        return pools(context, proxy, proxy_headers=login)


def judge(reply: Reply, wall_s: float) -> Fate:
    """Say what a reply means, at `wall_s` seconds since the epoch, for a `Retry-After` that is a date."""
    if reply.body is None:
        return Refused(f"status {reply.status} with more of an answer than a collector gives")
    body = reply.body if reply.content_type.startswith(PROTOBUF) else b""
    if 200 <= reply.status < 300 and reply.content_type.startswith("text/html"):
        return Refused(f"status {reply.status} with a web page: the endpoint is not a collector's")
    if 200 <= reply.status < 300:
        return Accepted(*read_partial_success(body))
    message = f"status {reply.status} {read_status_message(body)}".rstrip()
    if reply.status in _RETRYABLE:
        return Unavailable(message, _retry_after_s(reply.retry_after, wall_s))
    return Refused(message)


def _read(response: urllib3.BaseHTTPResponse) -> bytes | None:
    """Read the body, up to a limit; None where it is larger."""
    body = bytearray()
    for chunk in response.stream(64 * 1024, decode_content=False):
        body += chunk
        if len(body) > _REPLY_BYTES:
            return None
    return bytes(body)


def _retry_after_s(value: str | None, wall_s: float) -> float | None:
    """Read `Retry-After`, which is seconds or a date; None where it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415  # heavy, and rarely needed

        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - wall_s
    return max(seconds, 0.0) if isfinite(seconds) else None
