"""The receiver, which runs before there is anything behind it: requests wait until they can be taken."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from lapwing_collector.config import Settings
from lapwing_collector.errors import UnavailableError
from lapwing_collector.model.records import Converted
from lapwing_collector.receive import Accepted, Ingest, Intake, Limits, Readiness, Server, create_app

GRACE_S: Final = 1.0
"""For requests in hand when it stops."""


class Receiving:
    """The servers that clients send to.

    While a worker starts, or waits for the one before it to leave, clients are held instead of refused.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing listens yet."""
        self._opened = asyncio.Event()
        self._ingest: Ingest | None = None
        self._healthy: Callable[[], bool] = lambda: True
        self._replaying: Callable[[], bool] = lambda: True
        intake = Intake(self._ingest_once_open, Limits(body_bytes=settings.http.max_request_bytes))
        app = create_app(intake, from_json=_from_json, readiness=self._readiness)
        host, _, port = settings.http.listen.rpartition(":")
        self._http = Server(app, host.strip("[]"), int(port))

    @property
    def address(self) -> str:
        """Where OTLP/HTTP is received, once it is."""
        return "{}:{}".format(*self._http.address)

    async def start(self, listeners: Mapping[str, socket.socket]) -> None:
        """Accept connections; their requests wait.

        Args:
            listeners: Sockets that listen already, by the settings' section that says where (`http`); for a
                section without one, a socket is opened here.

        Raises:
            AddressInUseError: Another process listens there.
            ConfigError: Nobody can listen there.
        """
        await self._http.start(listeners.get("http"))

    def open(self, ingest: Ingest, healthy: Callable[[], bool], replaying: Callable[[], bool]) -> None:
        """Let the requests that wait, and all others, go to `ingest`; the others are asked for /readyz."""
        self._ingest = ingest
        self._healthy = healthy
        self._replaying = replaying
        self._opened.set()

    async def stop(self) -> None:
        """Accept no more, finish what is in hand; who still waits is asked to try again. Harmless twice."""
        self._opened.set()
        await self._http.stop(GRACE_S)

    async def _ingest_once_open(self, payload: bytes) -> Accepted:
        await self._opened.wait()
        if self._ingest is None:
            raise UnavailableError("shutting down")
        return await self._ingest(payload)

    def readiness(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether records are acknowledged, and what else there is to tell."""
        now = self._readiness()
        return now.ready, {"replaying": now.replaying}

    def _readiness(self) -> Readiness:
        return Readiness(ready=self._opened.is_set() and self._healthy(), replaying=self._replaying())


def _from_json(body: bytes) -> Converted:
    """Read a request in JSON; `decode` is imported with the first, since clients are to be held before."""
    from lapwing_collector.decode import from_json  # noqa: PLC0415

    return from_json(body)
