"""The receiver, which runs before there is anything behind it: requests wait until they can be taken."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.places.access import Access
from lapwing_collector.config import Settings
from lapwing_collector.errors import UnavailableError
from lapwing_collector.model.records import Converted
from lapwing_collector.receive import (
    Accepted,
    GrpcServer,
    Ingest,
    Intake,
    Limits,
    Readiness,
    Server,
    create_app,
)

GRACE_S: Final = 2.0
"""For requests in hand when it stops."""


class Receiving:
    """The servers that clients send to.

    While a worker starts, or waits for the one before it to leave, clients are held instead of refused.

    Attributes:
        access: Who may send and ask.
        accounts: The books, in which records are rejected here that nothing behind gets to see.
        tally: What requests were answered.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing listens yet.

        Raises:
            ConfigError: The settings contradict each other, or name files that can not be used.
        """
        self._opened = asyncio.Event()
        self._ingest: Ingest | None = None
        self._healthy: list[Callable[[], bool]] = []
        self._replaying: Callable[[], bool] = lambda: True
        self.access = Access(settings)
        self.accounts = Accounts()
        limits = Limits(
            body_bytes=settings.http.max_request_bytes,
            in_flight_bytes=settings.http.max_in_flight_bytes,
            idle_s=settings.http.idle_timeout.total_seconds(),
            connections=settings.http.max_connections,
        )
        intake = Intake(self._ingest_once_open, limits, starting=lambda: not self._opened.is_set())
        self.tally = intake.tally
        app = create_app(
            intake,
            from_json=self._from_json,
            readiness=self._readiness,
            guard=self.access.check_write,
            cors_origins=settings.http.cors_origins,
        )
        tls = self.access.tls
        self._http = Server(
            app, *_parts(settings.http.listen), limits=limits, tls=None if tls is None else tls.context()
        )
        self._grpc = GrpcServer(
            intake,
            *_parts(settings.grpc.listen),
            readiness=self._readiness,
            guard=self.access.check_write,
            credentials=self.access.grpc_credentials(),
        )

    @property
    def address(self) -> str:
        """Where OTLP/HTTP is received, once it is."""
        return "{}:{}".format(*self._http.address)

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"http{'' if self.access.tls is None else 's'}://{self.address}"

    @property
    def grpc_address(self) -> str:
        """Where OTLP/gRPC is received, once it is."""
        return "{}:{}".format(*self._grpc.address)

    async def start(self, listeners: Mapping[str, socket.socket]) -> None:
        """Accept connections; their requests wait.

        Args:
            listeners: Sockets that listen already, by the settings' section that says where (`http`); for a
                section without one, a socket is opened here. That of `grpc`, which takes no socket from
                others, does not listen, but keeps the port.

        Raises:
            AddressInUseError: Another process listens there.
            ConfigError: Nobody can listen there.
        """
        await self._http.start(listeners.get("http"))
        await self._grpc.start(listeners.get("grpc"))

    def open(self, ingest: Ingest, healthy: Callable[[], bool], replaying: Callable[[], bool]) -> None:
        """Let the requests that wait, and all others, go to `ingest`; the others are asked for /readyz."""
        self._ingest = ingest
        self._healthy.append(healthy)
        self._replaying = replaying
        self._opened.set()

    def needs(self, healthy: Callable[[], bool]) -> None:
        """Say in /readyz that records are not acknowledged while something else is not healthy."""
        self._healthy.append(healthy)

    async def stop(self) -> None:
        """Accept no more, finish what is in hand; who still waits is asked to try again. Harmless twice."""
        self._opened.set()
        await asyncio.gather(self._http.stop(GRACE_S), self._grpc.stop(GRACE_S))

    async def _ingest_once_open(self, payload: bytes) -> Accepted:
        await self._opened.wait()
        if self._ingest is None:
            raise UnavailableError("shutting down")
        return await self._ingest(payload)

    def readiness(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether records are acknowledged, and what else there is to tell."""
        now = self._readiness()
        return now.ready, {"replaying": now.replaying}

    def _from_json(self, body: bytes) -> Converted:
        """Read a request in JSON; `decode` is imported with the first, so that clients are held before."""
        from lapwing_collector.decode import from_json  # noqa: PLC0415

        converted = from_json(body)
        self.accounts.add(received=converted.rejected, rejected=converted.rejected)
        return converted

    def _readiness(self) -> Readiness:
        ready = self._opened.is_set() and all(healthy() for healthy in self._healthy)
        return Readiness(ready=ready, replaying=self._replaying())


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
