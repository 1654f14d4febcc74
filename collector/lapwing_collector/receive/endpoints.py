"""What the HTTP server answers: OTLP logs at POST /v1/logs, and its health at /healthz and /readyz."""

import asyncio
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapwing_collector.errors import AccessError, DecodeError
from lapwing_collector.model.records import Converted
from lapwing_collector.receive.body import Body, asks_first
from lapwing_collector.receive.budget import Claim
from lapwing_collector.receive.intake import Accepted, Guard, Intake, Readiness, refused
from lapwing_collector.receive.status import JSON, PROTOBUF, media_type, refusal, success

FromJson = Callable[[bytes], Converted]
"""Writes an OTLP logs request in JSON anew in protobuf, or raises DecodeError."""

_JSON_FACTOR = 3
"""What a body in JSON takes while it is converted: itself, its text, and its bytes in protobuf."""


def create_app(
    intake: Intake,
    *,
    from_json: FromJson,
    readiness: Callable[[], Readiness],
    guard: Guard,
    cors_origins: Sequence[str] = (),
) -> Starlette:
    """The OTLP/HTTP application.

    Args:
        intake: Takes the bodies.
        from_json: Called in a thread.
        readiness: Asked for each answer of /readyz.
        guard: Asked whether a request may send.
        cors_origins: Pages from which browsers may send; `*` means all.
    """
    logs = _LogsEndpoint(intake, from_json, guard)

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
        middleware=_cors(cors_origins),
        exception_handlers={HTTPException: _no_such_endpoint},
    )
    app.router.redirect_slashes = False
    return app


class _LogsEndpoint:
    def __init__(self, intake: Intake, from_json: FromJson, guard: Guard) -> None:
        self._intake = intake
        self._from_json = from_json
        self._guard = guard

    async def export(self, request: Request) -> Response:
        """Take a request: 200 means that it is durable; nothing that may pass is ever 500."""
        response = await self._answer(request)
        self._intake.tally.add("http", str(response.status_code))
        return response

    async def _answer(self, request: Request) -> Response:
        try:
            self._guard(request.headers.get("authorization"))
        except AccessError as error:
            # At once: what such a client still sends, the server drops.
            response = refusal(request, error)
            if asks_first(request):
                response.headers["Connection"] = "close"
            return response
        body = Body(request, self._intake.limits)
        try:
            accepted = await self._take(request, body)
        except ClientDisconnect:
            return refusal(request, DecodeError("the client left before its request was complete"))
        except asyncio.CancelledError as error:
            return refusal(request, refused(error))
        except Exception as error:  # noqa: BLE001  # whatever it is, the client must be told to try again
            response = refusal(request, refused(error))
        else:
            return success(request, accepted)
        if not await body.drain():
            response.headers["Connection"] = "close"
        return response

    async def _take(self, request: Request, body: Body) -> Accepted:
        if media_type(request) not in {PROTOBUF, JSON}:
            raise DecodeError(
                f"Content-Type {media_type(request)!r} is not known here; use {PROTOBUF} or {JSON}", 415
            )
        claim = self._intake.claim()
        try:
            data = await body.read(claim)
            if media_type(request) == JSON:
                converted = await self._convert(data, claim)
            else:
                converted = Converted(data)
        except BaseException:
            claim.release()
            raise
        accepted = await self._intake.take(converted.payload, claim)
        said = " ".join(filter(None, (converted.message, accepted.message)))
        return Accepted(converted.rejected + accepted.rejected, said)

    async def _convert(self, data: bytes, claim: Claim) -> Converted:
        await claim.cover(_JSON_FACTOR * len(data))
        return await asyncio.to_thread(self._from_json, data)


def _cors(origins: Sequence[str]) -> list[Middleware]:
    """What tells browsers from which pages they may send; credentials of theirs are never asked for."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["POST"],
            allow_headers=["Authorization", "Content-Encoding", "Content-Type"],
            expose_headers=["Retry-After"],
            max_age=3600,
        )
    ]


async def _no_such_endpoint(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}"
    else:
        message = f"there is nothing at {request.url.path}; OTLP logs go to /v1/logs"
    return refusal(request, DecodeError(message, error.status_code), error.headers)
