"""A real server in a thread of its own, and an ingest that remembers what it was given."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvloop
from google.rpc import status_pb2

from lapwing_collector.decode import from_json
from lapwing_collector.receive import Accepted, Intake, Limits, Readiness, Server, create_app

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@dataclass
class Recorder:
    """Remembers the bodies it ingests and answers as told."""

    answer: Callable[[], Accepted] = Accepted
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, body: bytes) -> Accepted:
        """Ingest `body`."""
        self.bodies.append(body)
        return self.answer()

    @classmethod
    def failing(cls, error: Exception) -> "Recorder":
        """One that raises `error`."""

        def fail() -> Accepted:
            raise error

        return cls(fail)


class GatedIngest:
    """Holds every request until `open` is called from any thread; `entered` counts those that came."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.bodies: list[bytes] = []
        self._gate: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, body: bytes) -> Accepted:
        """Ingest `body` once the gate is open."""
        self._loop = asyncio.get_running_loop()
        self.bodies.append(body)
        self.entered.release()
        await self._gate.wait()
        return Accepted()

    def open(self) -> None:
        """Let the requests go on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)


class Running:
    """A server that runs in a thread; `ingest` can be exchanged while it does."""

    def __init__(
        self,
        ingest: Callable[[bytes], Awaitable[Accepted]],
        limits: Limits,
        readiness: Callable[[], Readiness],
    ) -> None:
        self.ingest = ingest
        app = create_app(
            Intake(self._ingest, limits), from_json=from_json, readiness=readiness, guard=lambda _: None
        )
        self.server = Server(app, "127.0.0.1", 0, limits=limits)
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._runner = runner
        self._thread = threading.Thread(target=runner.get_loop().run_forever, daemon=True)
        self._thread.start()
        self.call(self.server.start())

    async def _ingest(self, body: bytes) -> Accepted:
        return await self.ingest(body)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.server.address

    @contextmanager
    def ingesting(self, ingest: Callable[[bytes], Awaitable[Accepted]]) -> Iterator["Running"]:
        """Hand requests to `ingest` for a while."""
        before, self.ingest = self.ingest, ingest
        try:
            yield self
        finally:
            self.ingest = before

    def call(self, work: Awaitable[object]) -> None:
        """Run `work` in the server's loop and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._runner.get_loop()).result(timeout=60)

    def stop(self, grace_s: float = 5) -> None:
        """Stop the server, as often as you like."""
        self.call(self.server.stop(grace_s))

    def end(self) -> None:
        """Stop the server and its thread."""
        self.stop()
        self._runner.get_loop().call_soon_threadsafe(self._runner.get_loop().stop)
        self._thread.join()
        self._runner.close()

    def post(self, body: object, headers: dict[str, str] = PROTOBUF, path: str = "/v1/logs") -> "Answer":
        """POST `body` on a connection of its own."""
        return self.request("POST", path, body, headers)

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> "Answer":
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=isinstance(body, Iterator))
            return Answer.read(connection)
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(self.address, timeout=60)


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @classmethod
    def read(cls, connection: http.client.HTTPConnection) -> "Answer":
        """Read the answer on `connection`."""
        response = connection.getresponse()
        return cls(response.status, response.headers, response.read())

    @property
    def error(self) -> status_pb2.Status:
        """The protobuf Status that the body must be."""
        assert self.headers["Content-Type"] == "application/x-protobuf"
        return status_pb2.Status.FromString(self.body)


@contextmanager
def serving(
    ingest: Callable[[bytes], Awaitable[Accepted]],
    limits: Limits | None = None,
    readiness: Callable[[], Readiness] = lambda: Readiness(ready=True, replaying=False),
) -> Iterator[Running]:
    """Serve `ingest` on a free port of loopback."""
    running = Running(ingest, limits or Limits(), readiness)
    try:
        yield running
    finally:
        running.end()
