"""HTTP connections on which nothing but looking up a name outlasts the attempt that it is part of.

The timeout of a socket is for each operation: whoever gives or takes a byte now and then would hold an
attempt as long as it likes. So the socket is told before every operation how much time is left. The addresses
of a name share what is left, so that one that is silent leaves time for the next. How long the system takes
to look a name up is its own setting.
"""

import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPResponse
from time import monotonic
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError

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


def _allow_what_is_left(connected: socket.socket, shared_by: int = 1) -> None:
    left_s = _end.get() - monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    connected.settimeout(None if left_s == float("inf") else left_s / shared_by)


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


class _HttpConnection(HTTPConnection):
    response_class = _Response

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            _allow_what_is_left(self.sock)
            super().send(view[start : start + _PIECE_BYTES])

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise NewConnectionError(self, f"{self.host!r} is no name of a host") from error
        failed = OSError("its name has no address")
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            try:
                return self._connected(socket.socket(family, kind, protocol), address, len(found) - tried)
            except OSError as error:
                failed = error
        raise NewConnectionError(self, f"Failed to establish a new connection: {failed}") from failed

    def _connected(self, made: socket.socket, address: Any, shared_by: int) -> socket.socket:
        try:
            for option in self.socket_options or ():
                made.setsockopt(*option)
            _allow_what_is_left(made, shared_by)
            made.connect(address)
            _allow_what_is_left(made)  # for a handshake
        except BaseException:
            made.close()
            raise
        return made

    def _tunnel(self) -> None:
        super()._tunnel()
        _allow_what_is_left(self.sock)  # for a handshake


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
