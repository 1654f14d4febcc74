"""The way out over HTTP."""

import gzip
from typing import Final

import requests

from lapwing._config import Settings
from lapwing._deliver import PROTOBUF, Reply
from lapwing._version import __version__

_REPLY_BYTES: Final = 4 * 1024 * 1024
_GZIP_LEVEL: Final = 1


class HttpTransport:
    """Posts requests to an OTLP/HTTP receiver over a connection that is kept open."""

    def __init__(self, settings: Settings) -> None:
        """Prepare the headers and the TLS of `settings`; connects at the first request."""
        self._endpoint = settings.endpoint
        self._session = requests.Session()
        self._session.verify = settings.certificate or True
        if settings.client_certificate:
            key = settings.client_key
            self._session.cert = (settings.client_certificate, key) if key else settings.client_certificate
        self._gzip = settings.compression == "gzip"
        headers = {
            "Accept-Encoding": "identity",  # an answer is small, and must not grow while it is read
            "Content-Type": PROTOBUF,
            "User-Agent": f"Lapwing-OTLP-Exporter-Python/{__version__}",
        }
        if self._gzip:
            headers["Content-Encoding"] = "gzip"
        self._session.headers.update(headers | dict(settings.headers))

    def post(self, body: bytes, timeout_s: float) -> Reply:
        """Send a request and wait for the answer.

        Raises:
            OSError: There was none.
        """
        if self._gzip:  # without the time, so that a request sent again has the same bytes
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        with self._session.post(
            self._endpoint, data=body, timeout=timeout_s, allow_redirects=False, stream=True
        ) as response:
            return Reply(
                status=response.status_code,
                content_type=response.headers.get("Content-Type", ""),
                retry_after=response.headers.get("Retry-After"),
                body=_read(response),
            )


def _read(response: requests.Response) -> bytes | None:
    """Read the body, up to a limit; None where it is larger."""
    body = bytearray()
    for chunk in response.iter_content(64 * 1024):
        body += chunk
        if len(body) > _REPLY_BYTES:
            return None
    return bytes(body)
