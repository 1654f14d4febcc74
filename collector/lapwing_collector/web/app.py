"""Everything that is answered on the port of people."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lapwing_collector.errors import DecodeError, LapwingError
from lapwing_collector.web.admin import AdminEndpoint, Duty
from lapwing_collector.web.answering import Answering, AskLake
from lapwing_collector.web.dashboard import PACKED, Dashboard
from lapwing_collector.web.live import Live
from lapwing_collector.web.openapi import DOCUMENT
from lapwing_collector.web.panels import PanelEndpoint
from lapwing_collector.web.problems import problem, problem_of
from lapwing_collector.web.reads import Read, ReadEndpoint
from lapwing_collector.web.sessions import Authorize, Sessions, is_own
from lapwing_collector.web.sources import Sources
from lapwing_collector.web.sql import SqlEndpoint
from lapwing_collector.web.works import Work, WorkEndpoint

_LOGGER: Final = logging.getLogger(__name__)

_SAFE: Final = frozenset({"GET", "HEAD"})

Endpoint = Callable[[Request], Awaitable[Response]]
Readiness = Callable[[], tuple[bool, Mapping[str, Any]]]
_OnNothing = Callable[[Request, Exception], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Threads:
    """Where work is done that blocks.

    Attributes:
        queries: Has a thread for each that may run or wait.
        duties: Each duty's own, so that none waits for another, which may take an hour.
    """

    queries: Executor
    duties: Mapping[str, Executor]


@dataclass(frozen=True, slots=True)
class Watched:
    """What every process answers on the port of people.

    Attributes:
        readiness: Whether requests are acknowledged, and what else /readyz tells.
        metrics: The metrics as text.
        duties: What may be called under /api/v1/admin.
        authorize: Asked before anything is read.
        threads: Where work is done that blocks; the caller ends them.
        hosts: Names under which this port may be addressed; any if None. Without this, a page of a foreign
            site whose name was made to point here could read answers.
        idle_s: How long a client may send nothing of a request.
    """

    readiness: Readiness
    metrics: Callable[[], bytes]
    duties: Mapping[str, Duty]
    authorize: Authorize
    threads: Threads
    hosts: frozenset[str] | None
    idle_s: float


def create_bare_app(watched: Watched, reads: Mapping[str, Read]) -> Starlette:
    """The application on the port of people where nothing is shown: health, metrics, duties, documents.

    Args:
        watched: What is answered.
        reads: Documents, by their address under /api/v1.
    """
    gate = _Gate(Sessions(watched.authorize), watched.hosts)
    return _application(_routes(watched, reads, gate), _raise_or(_nothing_there))


def create_app(
    *,
    watched: Watched,
    ask: AskLake,
    max_rows: int,
    max_bytes: int,
    sources: Sources,
    live: Live,
    works: Mapping[str, Work],
) -> Starlette:
    """The application on the port of people.

    Args:
        watched: What is answered in any case.
        ask: Answers a query.
        max_rows: Rows of an answer.
        max_bytes: Bytes of an answer, as Arrow holds it.
        sources: What pages are made of. Its documents are answered under /api/v1, too.
        live: Tells browsers what is new.
        works: What may be asked for under /api/v1/rules.
    """
    threads, idle_s = watched.threads, watched.idle_s
    answering = Answering(ask, threads.queries)
    sql = SqlEndpoint(answering, max_rows=max_rows, max_bytes=max_bytes, idle_s=idle_s)
    gate = _Gate(Sessions(watched.authorize), watched.hosts)
    dashboard = Dashboard(
        sources=sources,
        news=lambda: live.place,
        sessions=gate.sessions,
        duties=watched.duties,
        threads=threads.queries,
        duty_threads=threads.duties,
        idle_s=idle_s,
    )
    panels = PanelEndpoint(
        dashboard.panels, answering, dashboard.arguments, max_rows=max_rows, max_bytes=max_bytes
    )

    def nothing_there(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and "text/html" in request.headers.get("accept", ""):
            return dashboard.problem(request, 404, f"There is nothing at {request.url.path[:200]}.")
        return _nothing_there(request, error)

    guarded = gate.guarded
    return _application(
        [
            Route("/api/v1/sql", guarded(sql.answer, "query"), methods=["GET", "POST"]),
            *(
                Route(
                    f"/api/v1/rules/{name}",
                    guarded(WorkEndpoint(work, threads.queries, idle_s).answer, "query"),
                    methods=["POST"],
                )
                for name, work in works.items()
            ),
            Route(
                "/api/v1/panels/{panel:path}",
                guarded(panels.answer, "query"),
                methods=["GET"],
                middleware=PACKED,
            ),
            Route("/api/v1/events", guarded(live.answer, "query"), methods=["GET"]),
            *_routes(watched, sources.reads, gate),
            *dashboard.routes(partial(guarded, scope=None)),
        ],
        _raise_or(nothing_there),
    )


def _routes(watched: Watched, reads: Mapping[str, Read], gate: "_Gate") -> list[Route]:
    """What every process answers."""
    threads, guarded = watched.threads, gate.guarded
    admin = AdminEndpoint(watched.duties, threads.duties, watched.idle_s)
    return [
        *(
            Route(
                f"/api/v1/{address}",
                guarded(ReadEndpoint(read, threads.queries).answer, "query"),
                methods=["GET"],
            )
            for address, read in reads.items()
        ),
        Route("/api/v1/admin/{duty}", guarded(admin.call, "admin"), methods=["POST"]),
        Route("/metrics", guarded(_exposition(watched.metrics, threads.queries), "query")),
        Route("/healthz", guarded(_healthz, None)),
        Route("/readyz", guarded(_readyz(watched.readiness), None)),
        Route("/openapi.json", guarded(_openapi, None)),
    ]


def _application(routes: Sequence[BaseRoute], nothing_there: _OnNothing) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: nothing_there})
    app.router.redirect_slashes = False
    return app


def _raise_or(answer: Callable[[Request, HTTPException], Response]) -> _OnNothing:
    """Answer where there is nothing at an address; anything else is nobody's to answer."""

    async def handle(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return answer(request, error)

    return handle


class _Gate:
    """Lets requests through that come under a name of this server, from who may, and from no other site."""

    def __init__(self, sessions: Sessions, hosts: frozenset[str] | None) -> None:
        self.sessions = sessions
        self._hosts = hosts

    def guarded(self, endpoint: Endpoint, scope: str | None) -> Endpoint:
        async def answer(request: Request) -> Response:
            if self._hosts is not None and _host(request) not in self._hosts:
                return problem(421, "wrong-host", f"this address is not served as {_host(request)!r}")
            if scope is not None:
                status = self.sessions.judge(request, scope)
                if status != 200:
                    return _not_authorized(status, scope)
            if request.method not in _SAFE and not is_own(request):
                return problem(403, "not-allowed", "a page of another site may not send this")
            told = await _told(endpoint, request)
            told.headers.setdefault("X-Content-Type-Options", "nosniff")
            return told

        return answer


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _openapi(_: Request) -> Response:
    return JSONResponse(DOCUMENT)


def _readyz(readiness: Readiness) -> Endpoint:
    async def readyz(_: Request) -> Response:
        ready, told = readiness()
        return JSONResponse({"status": "ready" if ready else "not ready", **told}, 200 if ready else 503)

    return readyz


def _exposition(metrics: Callable[[], bytes], threads: Executor) -> Endpoint:
    async def exposition(_: Request) -> Response:
        # In a thread: some of it is asked of a database, which may keep silent.
        text = await asyncio.get_running_loop().run_in_executor(threads, metrics)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return exposition


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


def _nothing_there(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        return problem(
            405, "wrong-method", f"{request.url.path} does not take {request.method}", error.headers
        )
    return problem(
        error.status_code, "not-found", f"there is nothing at {request.url.path}; /openapi.json lists what is"
    )
