"""Everything that is answered on the port of people."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lapwing_collector.errors import DecodeError, LapwingError
from lapwing_collector.web.admin import AdminEndpoint, Duty
from lapwing_collector.web.openapi import DOCUMENT
from lapwing_collector.web.problems import problem, problem_of
from lapwing_collector.web.reads import Read, ReadEndpoint
from lapwing_collector.web.sql import AskLake, SqlEndpoint

_LOGGER: Final = logging.getLogger(__name__)

Authorize = Callable[[str | None, str], int]
"""Judges the header `Authorization` for a scope (`query`, `admin`): 200 to go on, else 401 or 403."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Threads:
    """Where work is done that blocks: `queries` has a thread for each that may run or wait."""

    queries: Executor
    duties: Executor


def create_app(
    *,
    ask: AskLake,
    max_rows: int,
    max_bytes: int,
    readiness: Callable[[], tuple[bool, Mapping[str, Any]]],
    metrics: Callable[[], bytes],
    reads: Mapping[str, Read],
    duties: Mapping[str, Duty],
    authorize: Authorize,
    threads: Threads,
    hosts: frozenset[str] | None,
    idle_s: float,
) -> Starlette:
    """The application on the port of people.

    Args:
        ask: Answers a query.
        max_rows: Rows of an answer.
        max_bytes: Bytes of an answer, as Arrow holds it.
        readiness: Whether requests are acknowledged, and what else /readyz tells.
        metrics: The metrics as text.
        reads: Documents, by the pattern of their address under /api/v1: `models/{model:path}`.
        duties: What may be called under /api/v1/admin.
        authorize: Asked before anything is read.
        threads: Where work is done that blocks; the caller ends them.
        hosts: Names under which this port may be addressed; any if None. Without this, a page of a foreign
            site whose name was made to point here could read answers.
        idle_s: How long a client may send nothing of a request.
    """
    sql = SqlEndpoint(ask, threads.queries, max_rows=max_rows, max_bytes=max_bytes, idle_s=idle_s)
    admin = AdminEndpoint(duties, threads.duties, idle_s)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ready, told = readiness()
        return JSONResponse({"status": "ready" if ready else "not ready", **told}, 200 if ready else 503)

    async def exposition(_: Request) -> Response:
        return Response(metrics(), media_type=CONTENT_TYPE_LATEST)

    async def openapi(_: Request) -> Response:
        return JSONResponse(DOCUMENT)

    def guarded(endpoint: Endpoint, scope: str | None) -> Endpoint:
        async def answer(request: Request) -> Response:
            if hosts is not None and _host(request) not in hosts:
                return problem(421, "wrong-host", f"this address is not served as {_host(request)!r}")
            if scope is not None:
                status = authorize(request.headers.get("authorization"), scope)
                if status != 200:
                    return _not_authorized(status, scope)
            return await _told(endpoint, request)

        return answer

    app = Starlette(
        routes=[
            Route("/api/v1/sql", guarded(sql.answer, "query"), methods=["GET", "POST"]),
            *(
                Route(
                    f"/api/v1/{address}",
                    guarded(ReadEndpoint(read, threads.queries).answer, "query"),
                    methods=["GET"],
                )
                for address, read in reads.items()
            ),
            Route("/api/v1/admin/{duty}", guarded(admin.call, "admin"), methods=["POST"]),
            Route("/metrics", guarded(exposition, "query")),
            Route("/healthz", guarded(healthz, None)),
            Route("/readyz", guarded(readyz, None)),
            Route("/openapi.json", guarded(openapi, None)),
        ],
        exception_handlers={HTTPException: _nothing_there},
    )
    app.router.redirect_slashes = False
    return app


async def _told(endpoint: Endpoint, request: Request) -> Response:
    """What `endpoint` answers, its errors told."""
    try:
        return await endpoint(request)
    except DecodeError as error:
        return problem(error.status_hint, "wrong-request", str(error))
    except LapwingError as error:
        return problem_of(error)
    except ClientDisconnect:
        return problem(400, "left", "the client left before its request was complete")
    except Exception:
        _LOGGER.exception("a request to %s failed", request.url.path, extra={"action": "web_failed"})
        return problem(500, "failed", "the collector failed; its log says why")


def _host(request: Request) -> str:
    """The name under which this server was addressed, without its port."""
    host = request.headers.get("host", "").lower()
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdecimal() else host).strip("[]")


def _not_authorized(status: int, scope: str) -> Response:
    if status == 401:
        return problem(
            401,
            "not-authenticated",
            "send a token as 'Authorization: Bearer …'; it is missing or not known here",
            {"WWW-Authenticate": "Bearer"},
        )
    return problem(403, "not-allowed", f"this token may not do this: it lacks the scope {scope!r}")


async def _nothing_there(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return problem(
            405, "wrong-method", f"{request.url.path} does not take {request.method}", error.headers
        )
    return problem(
        error.status_code, "not-found", f"there is nothing at {request.url.path}; /openapi.json lists what is"
    )
