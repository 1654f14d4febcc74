"""What the server answers: OTLP logs at POST /v1/logs, and its health at /healthz and /readyz."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapwing_collector.errors import DecodeError, UnavailableError
from lapwing_collector.receive.body import Body
from lapwing_collector.receive.budget import Budget, Claim
from lapwing_collector.receive.limits import Limits
from lapwing_collector.receive.status import PROTOBUF, media_type, refusal, success, try_again

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request that is durable now.

    Attributes:
        rejected: Records of it that can not be stored, whatever is tried again.
        message: Why not, or a warning; empty when there is nothing to say.
    """

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests are accepted and acknowledged, and whether an old log is being read back behind it."""

    ready: bool
    replaying: bool


Ingest = Callable[[bytes], Awaitable[Accepted]]
"""Makes a decompressed OTLP logs request durable, or raises DecodeError or UnavailableError."""


def create_app(ingest: Ingest, *, limits: Limits, readiness: Callable[[], Readiness]) -> Starlette:
    """The OTLP/HTTP application.

    Args:
        ingest: Called with the body of each request. It runs to its end, never cancelled, even when
            its client was told to try again because it took too long.
        limits: What requests may use.
        readiness: Asked for each answer of /readyz.
    """
    logs = _LogsEndpoint(ingest, limits)

    async def healthz(request: Request) -> Response:  # noqa: ARG001  # the signature of endpoints
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:  # noqa: ARG001
        now = readiness()
        status = "ready" if now.ready else "not ready"
        return JSONResponse({"status": status, "replaying": now.replaying}, 200 if now.ready else 503)

    app = Starlette(
        routes=[
            Route("/v1/logs", logs.export, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ],
        exception_handlers={HTTPException: _no_such_endpoint},
    )
    app.router.redirect_slashes = False
    return app


class _LogsEndpoint:
    def __init__(self, ingest: Ingest, limits: Limits) -> None:
        self._ingest = ingest
        self._limits = limits
        self._budget = Budget(limits.in_flight_bytes)
        self._running: set[asyncio.Task[Accepted]] = set()

    async def export(self, request: Request) -> Response:
        """Take a request: 200 means that `ingest` says it is durable; nothing that may pass is ever 500."""
        body = Body(request, self._limits)
        try:
            accepted = await self._take(request, body)
        except DecodeError as error:
            response = refusal(request, error.status_hint, str(error))
        except UnavailableError as error:
            response = try_again(request, error)
        except ClientDisconnect:
            return refusal(request, 400, "the client left before its request was complete")
        except asyncio.CancelledError:
            return try_again(request, UnavailableError("the collector is shutting down"))
        except Exception:
            _LOGGER.exception(
                "A request failed; its client is asked to send it again", extra={"action": "ingest_failed"}
            )
            response = try_again(request, UnavailableError("the collector failed; its log says why"))
        else:
            return success(accepted.rejected, accepted.message)
        if not await body.drain():
            response.headers["Connection"] = "close"
        return response

    async def _take(self, request: Request, body: Body) -> Accepted:
        if media_type(request) != PROTOBUF:
            raise DecodeError(f"Content-Type {media_type(request)!r} is not known here; use {PROTOBUF}", 415)
        claim = Claim(self._budget, self._limits.room_wait_s)
        try:
            data = await body.read(claim)
        except BaseException:
            claim.release()
            raise
        return await self._answer(data, claim)

    async def _answer(self, data: bytes, claim: Claim) -> Accepted:
        """Ingest `data` and wait for it, but not longer than a client would."""

        async def run() -> Accepted:
            try:
                return await self._ingest(data)
            finally:
                claim.release()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait([task], timeout=self._limits.answer_s - claim.waited_s)
        if task.done():
            return task.result()
        task.add_done_callback(_tell_late_failure)
        raise UnavailableError("storing the request takes too long; try again")


def _tell_late_failure(task: asyncio.Task[Accepted]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _LOGGER.warning("A request failed after its client was told to try again: %s", error)


async def _no_such_endpoint(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}"
    else:
        message = f"there is nothing at {request.url.path}; OTLP logs go to /v1/logs"
    return refusal(request, error.status_code, message, error.headers)
