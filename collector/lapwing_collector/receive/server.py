"""The HTTP server: one listening socket, its own or handed in, and uvicorn behind it."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import ClassVar, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lapwing_collector.listening import BACKLOG, listen

_KEEP_ALIVE_S: Final = 75
"""Longer than exporters pause between batches, so that they need not connect anew for each."""


class Server:
    """Serves an ASGI application over HTTP/1.1 inside the running event loop.

    It leaves signals to the caller: who gets one calls `stop`.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        """Prepare to serve `app` on `host` and `port`; port 0 means any that is free."""
        self._host = host
        self._port = port
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
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


class _Protocol(HttpToolsProtocol):
    """Cuts off clients that do not get a request's head across, in time or in size."""

    head_s: ClassVar[float] = 10.0
    head_bytes: ClassVar[int] = 64 * 1024
    _timer: asyncio.TimerHandle | None = None
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._received += len(data)
            if self._received > self.head_bytes:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        super().connection_lost(exc)

    def _begin_head(self) -> None:
        if self._timer is None:
            self._received = 0
            self._timer = self.loop.call_later(self.head_s, self.transport.close)

    def _end_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
