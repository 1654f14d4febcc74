"""The HTTP server: one listening socket, its own or handed in, and uvicorn behind it."""

import asyncio
import contextlib
import functools
import math
import socket
import ssl
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lapwing_collector.listening import BACKLOG, listen
from lapwing_collector.receive.limits import Limits

_KEEP_ALIVE_S: Final = 75
"""Longer than exporters pause between batches, so that they need not connect anew for each."""

_READ_BYTES: Final = 256 * 1024
"""At once, of a body that is wanted."""
_READ_AHEAD_BYTES: Final = 64 * 1024
"""Of a request before anybody wants more of it: each that waits for room holds so much beside it."""

_LAST_CALL_S: Final = 0.1
"""For requests on their way when the server stops."""


class Server:
    """Serves an ASGI application over HTTP/1.1 inside the running event loop.

    It leaves signals to the caller: who gets one calls `stop`.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare to serve `app`.

        Args:
            app: What to serve.
            host: Where to listen.
            port: Where to listen; 0 means any port that is free.
            limits: What connections may use.
            tls: For HTTPS; None for HTTP.
        """
        self._host = host
        self._port = port
        self._limits = limits or Limits()
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                http=functools.partial(  # type: ignore[arg-type]
                    _connection, buffer=bytearray(_READ_BYTES), limits=self._limits, waiting={}
                ),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                ssl_context_factory=None if tls is None else lambda *_: tls,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on; the port is real once `start` is done."""
        return self._host, self._port

    async def start(self, listener: socket.socket | None = None) -> None:
        """Listen; connections are accepted when this returns.

        Args:
            listener: Accept from this socket, which listens already, instead of opening one. It is closed
                in the end; a parent process that holds it too can hand it on.

        Raises:
            AddressInUseError: Another process listens there.
            ConfigError: Nobody can listen there.
        """
        listener = listener or listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._uvicorn.serve([listener]))
        ready = asyncio.create_task(self._uvicorn.ready.wait())
        await asyncio.wait([self._serving, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            self._serving.result()

    async def stop(self, grace_s: float) -> None:
        """Accept no more, finish the requests in hand, then close; does nothing if it is not running.

        Args:
            grace_s: After so many seconds, requests still in hand are answered 503.
        """
        if self._serving is None:
            return
        self._uvicorn.config.timeout_graceful_shutdown = math.ceil(grace_s)
        self._uvicorn.should_exit = True
        await self._serving
        if unfinished := self._uvicorn.server_state.tasks:
            await asyncio.wait(unfinished)
        self._serving = None


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _OneBuffer(asyncio.BufferedProtocol):
    """Reads for a protocol into a buffer that all connections share, and hands over what came at once."""

    def __init__(self, protocol: "_Protocol", buffer: bytearray) -> None:
        self._buffer = memoryview(buffer)
        self._protocol = protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the signature of protocols
        return self._buffer if self._protocol.wanted else self._buffer[:_READ_AHEAD_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self._protocol.data_received(self._buffer[:nbytes])


class _Protocol(HttpToolsProtocol):
    """Cuts off clients that do not get a request across or take no answer, and those of too many.

    Attributes:
        head_bytes: How long the head of a request may be, and what comes between or after the pieces of its
            body; the parser keeps trailers like headers.
        wanted: Whether what comes next is asked for already, or dropped.
    """

    head_bytes: ClassVar[int] = 64 * 1024

    def __init__(self, *args: Any, limits: Limits, waiting: "dict[_Protocol, None]", **options: Any) -> None:
        """Keep count of `waiting`: the connections without a request in hand, the longest idle first."""
        super().__init__(*args, **options)
        self._limits = limits
        self._waiting = waiting
        self._received = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._complete = True
        self._closing = False
        self.wanted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(self)
        self._begin_head()
        if len(self.connections) > self._limits.connections:
            next(iter(self._waiting)).transport.abort()

    def data_received(self, data: bytes | memoryview) -> None:
        self._received += len(data)
        super().data_received(data)  # type: ignore[arg-type]  # the parser takes either
        if self._received > self.head_bytes and not self._complete:
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.wanted = False
        self._complete = False
        self._begin_head()

    def on_body(self, body: bytes) -> None:
        self._received = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self.wanted = True
        elif len(self.cycle.body) >= _READ_AHEAD_BYTES // 2:
            self.flow.pause_reading()
            self.wanted = True  # when it is read on

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_timer is not None:  # else it is a trailer, of which nobody asks
            super().on_header(name, value)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._complete = True
        self._received = 0
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
            self.timeout_keep_alive_task = self.loop.call_later(_KEEP_ALIVE_S, self.transport.close)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self._head_timer is None:
            self._waiting[self] = None
            if not self._complete and not self.transport.is_closing():
                self._rest_timer = self.loop.call_later(self._limits.message_s, self.transport.close)

    def on_headers_complete(self) -> None:
        self._received = 0
        self._end_head()
        super().on_headers_complete()
        if self._closing:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        self._closing = True
        if self.cycle is None or self.cycle.response_complete:
            # Requests that are on their way already are answered, and not met by the end of the connection.
            self.loop.call_later(_LAST_CALL_S, super().shutdown)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._limits.idle_s, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        _cancel(self._write_timer)
        _cancel(self._rest_timer)
        super().connection_lost(exc)

    def _begin_head(self) -> None:
        if self._head_timer is None:
            self._waiting.setdefault(self)
            self._head_timer = self.loop.call_later(self._limits.idle_s, self.transport.close)

    def _end_head(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = None
        self._waiting.pop(self, None)


class _Flow(FlowControl):
    """Reads nothing more of a body while what was read of it before is not asked for."""

    def __init__(self, protocol: _Protocol) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol

    def resume_reading(self) -> None:
        cycle = self._protocol.cycle
        if cycle is None or cycle.response_complete or not cycle.body:
            super().resume_reading()


def _connection(*, buffer: bytearray, **options: Any) -> _OneBuffer:
    return _OneBuffer(_Protocol(**options), buffer)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
