"""HTTP connections on which nothing outlasts the attempt that it is part of.

The timeout of a socket is for each operation: whoever gives or takes a byte now and then would hold an
attempt as long as it likes. So the socket is told before every operation how much time is left.
"""

import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPResponse
from time import monotonic
from typing import Any, Final, Protocol

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

_PIECE_BYTES: Final = 16 * 1024  # a record of TLS: of more, each would have all the time that is left

_end: Final = ContextVar("lapwing_attempt_end", default=float("inf"))


@contextmanager
def attempt(timeout_s: float) -> Iterator[None]:
    """End what is sent and received within this block when the time is over, with a TimeoutError."""
    before = _end.set(monotonic() + timeout_s)
    try:
        yield
    finally:
        _end.reset(before)


def pools(ssl_context: ssl.SSLContext | None, proxy: str | None = None, **more: Any) -> urllib3.PoolManager:
    """Make pools of such connections, through a proxy where one is named."""
    if proxy is None:
        manager = urllib3.PoolManager(ssl_context=ssl_context, **more)
    else:
        manager = urllib3.ProxyManager(proxy, ssl_context=ssl_context, **more)
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager


def _allow_what_is_left(connected: socket.socket) -> None:
    left_s = _end.get() - monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    connected.settimeout(None if left_s == float("inf") else left_s)


class _Reader(io.RawIOBase):
    """What comes out of a socket."""

    def __init__(self, connected: socket.socket, raw: io.RawIOBase) -> None:
        self._connected = connected
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        _allow_what_is_left(self._connected)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp = io.BufferedReader(_Reader(sock, self.fp.detach()))


class _Sender(Protocol):
    sock: Any

    def connect(self) -> None: ...


class _HttpConnection(HTTPConnection):
    response_class = _Response

    def send(self, data: Any) -> None:
        for piece in _pieces(self, data):
            super().send(piece)


class _HttpsConnection(HTTPSConnection):
    response_class = _Response

    def send(self, data: Any) -> None:
        for piece in _pieces(self, data):
            super().send(piece)


def _pieces(connection: _Sender, data: bytes) -> Iterator[memoryview]:
    """What to send by and by; the socket knows how long each may take."""
    if connection.sock is None:
        connection.connect()
    view = memoryview(data)
    for start in range(0, len(view), _PIECE_BYTES):
        _allow_what_is_left(connection.sock)
        yield view[start : start + _PIECE_BYTES]


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
