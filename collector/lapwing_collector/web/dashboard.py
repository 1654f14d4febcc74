"""The dashboard: routes of its pages, its forms and what they are made of."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from lapwing_collector.errors import DecodeError, LapwingError
from lapwing_collector.web.admin import Duty
from lapwing_collector.web.assets import Assets
from lapwing_collector.web.bodies import read_body
from lapwing_collector.web.forms import FORMS, told_by
from lapwing_collector.web.pages import KEYS, NAVIGATION, PAGES
from lapwing_collector.web.pages.page import ElsewhereError, Page, View
from lapwing_collector.web.panels import Arguments, Panel, load_panels
from lapwing_collector.web.pieces import Pieces
from lapwing_collector.web.problems import status_of
from lapwing_collector.web.rendering import Renderer
from lapwing_collector.web.sessions import Sessions, is_encrypted, is_own, local
from lapwing_collector.web.sources import Models, Sources, Write
from lapwing_collector.web.span import PRESETS, Span
from lapwing_collector.web.timing import Timing

_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ALONE: Final = _HEADERS | {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
}
"""Of pages that stand for themselves: no script, nothing from anywhere, their style within."""
_LOGGER: Final = logging.getLogger(__name__)
_FAILED: Final = "This page failed; the collector's log says why."
_THEMES: Final = frozenset({"light", "dark"})
PACKED: Final = (Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),)

Endpoint = Callable[[Request], Awaitable[Response]]


class Dashboard:
    """Answers with pages.

    Attributes:
        panels: All panels, by name.
    """

    def __init__(
        self,
        *,
        sources: Sources,
        news: Callable[[], str],
        sessions: Sessions,
        duties: Mapping[str, Duty],
        threads: Executor,
        duty_threads: Mapping[str, Executor],
        idle_s: float,
    ) -> None:
        """Make pages of `sources`.

        Args:
            sources: What there is to show.
            news: How far it has been told what is new.
            sessions: Who is logged in.
            duties: What forms may have done, by name.
            threads: Where pages are made, which blocks.
            duty_threads: Where each duty is called.
            idle_s: How long a client may send nothing of a form.
        """
        self._sources = sources
        self._news = news
        self._sessions = sessions
        self._duties = duties
        self._threads = threads
        self._duty_threads = duty_threads
        self._idle_s = idle_s
        self._models = Models(sources.rows, news)
        self._assets = Assets()
        self._renderer = Renderer(asset=self._assets.url, presets=PRESETS, version=sources.version)
        own = {panel.name: panel for page in PAGES for panel in page.panels}
        self.panels: Mapping[str, Panel] = load_panels() | own

    def routes(self, guarded: Callable[[Endpoint], Endpoint]) -> list[Route]:
        """The routes of all pages.

        Args:
            guarded: Lets requests through that come under a name of this server.
        """
        pages = [
            Route(
                page.path,
                guarded(
                    self._shown(partial(self._begin, page))
                    if page.begins
                    else self._answering(partial(self._made, page))
                ),
                methods=["GET"],
                middleware=PACKED,
            )
            for page in PAGES
        ]
        alone = [
            Route(
                path,
                guarded(self._answering(partial(self._written, write), _ALONE)),
                methods=["GET"],
                middleware=PACKED,
            )
            for path, write in self._sources.standalone.items()
        ]
        return [
            *pages,
            *alone,
            Route("/do/{form}", guarded(self._do), methods=["POST"]),
            Route("/login", guarded(self._log_in), methods=["GET", "POST"], middleware=PACKED),
            Route("/logout", guarded(self._log_out), methods=["POST"]),
            Route("/static/{digest}/{name:path}", self._assets.answer, methods=["GET"]),
        ]

    def arguments(self, asked: Mapping[str, str]) -> Arguments:
        """What the parameters of an address ask of a panel. It blocks.

        Raises:
            DecodeError: They ask for nonsense.
            LapwingError: There is no such model.
        """
        name = asked.get("model") or asked.get("name") or None
        view = self._view("/", {"name": name or "", **asked})
        return Arguments(view.span, name, view.table() if name else None, asked)

    def problem(self, request: Request, status: int, detail: str) -> Response:
        """A page that says what is wrong."""
        values = {
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "theme": _theme(request),
        }
        return HTMLResponse(self._renderer.page("problem", values), status, _HEADERS)

    def _answering(
        self, made: Callable[[Request, Timing], str], headers: Mapping[str, str] = _HEADERS
    ) -> Endpoint:
        async def answer(request: Request) -> Response:
            timing = Timing()
            with timing.of("whole"):
                html = await _in(self._threads, made, request, timing)
            return HTMLResponse(html, headers={**headers, "Server-Timing": timing.header})

        return self._shown(answer)

    def _shown(self, endpoint: Endpoint) -> Endpoint:
        """Show what `endpoint` answers to who may see it; where it cannot, say why."""

        async def answer(request: Request) -> Response:
            status = self._sessions.judge(request, "query")
            if status != 200:
                return self._ask_to_log_in(request, status)
            try:
                return await endpoint(request)
            except ElsewhereError as elsewhere:
                return RedirectResponse(elsewhere.address, 303)
            except LapwingError as error:
                return self.problem(request, status_of(error), str(error))
            except Exception:
                _LOGGER.exception("the page %s failed", request.url.path, extra={"action": "page_failed"})
                return self.problem(request, 500, _FAILED)

        return answer

    async def _begin(self, page: Page, request: Request) -> Response:
        """Answer with a page in two pieces; the first is on its way while it is looked up what to show."""
        common, begun = await _in(self._threads, self._begun, page, request)

        async def pieces() -> AsyncIterator[str]:
            yield begun
            yield await _in(self._threads, self._rest, page, common, request)

        return Pieces(pieces(), request, _HEADERS)

    def _begun(self, page: Page, request: Request) -> tuple[dict[str, Any], str]:
        """What is known of a page at once, and the piece that shows it."""
        view = self._view(page.path, dict(request.query_params), Timing())
        if page.of_model:
            view.table()  # or there is no such page
        view = replace(view, found=page.finds(view))
        common = self._common(page, view, request)
        return common, self._renderer.page(page.name, common | {"begins": True})

    def _rest(self, page: Page, known: dict[str, Any], request: Request) -> str:
        """What follows; of a page that cannot be made, why not."""
        common = known | {"follows": True}
        try:
            told = {**common, "models": list(self._models.all()), **page.show(known["view"])}
            return self._renderer.page(page.name, told)
        except LapwingError as error:
            detail = str(error)
        except Exception:
            _LOGGER.exception("the page %s failed", request.url.path, extra={"action": "page_failed"})
            detail = _FAILED
        return self._renderer.page("failed", common | {"detail": detail})

    def _written(self, write: Write, request: Request, _: Timing) -> str:
        asked = dict(request.query_params)
        span = Span.of(asked, self._sources.now())
        return write(asked | {"since": span.since.isoformat(), "until": span.until.isoformat()})

    def _made(self, page: Page, request: Request, timing: Timing) -> str:
        view = self._view(page.path, dict(request.query_params), timing)
        view = replace(view, found=page.finds(view))
        shown = page.show(view)
        whole = {"begins": True, "follows": True, "models": list(self._models.all())}
        told = {**self._common(page, view, request), **whole, **shown}
        with timing.of("html"):
            return self._renderer.page(page.name, told)

    def _common(self, page: Page, view: View, request: Request) -> dict[str, Any]:
        """What every page is made of, and none of its pieces yet."""
        return {
            "page": page,
            "title": page.title,
            "view": view,
            "span": view.span,
            "now": view.now,
            "theme": _theme(request),
            "pages": NAVIGATION,
            "keys": KEYS,
            "models": [],
            "firing": self._sources.firing(),
            "news": view.news,
            "may_log_out": self._sessions.has(request),
            "panels": self.panels,
            "begins": False,
            "follows": False,
        }

    def _view(self, path: str, asked: Mapping[str, str], timing: Timing | None = None) -> View:
        now = self._sources.now()
        span = Span.of(asked, now)
        return View(
            path,
            asked,
            span,
            now,
            self._news(),
            self._sources,
            self._models,
            self.panels,
            timing=timing or Timing(),
        )

    def _ask_to_log_in(self, request: Request, status: int) -> Response:
        if status == 403:
            return self.problem(request, 403, "your token may not ask: it lacks the scope 'query'")
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.headers.get("sec-fetch-site") == "cross-site":
            # Who follows a link of a message comes without the cookie: it is sent once this page asks itself.
            values = {"title": "One moment", "address": address, "theme": _theme(request)}
            return HTMLResponse(self._renderer.page("again", values), 200, _HEADERS)
        return RedirectResponse(f"/login?{urlencode({'next': address})}", 303)

    async def _log_in(self, request: Request) -> Response:
        told: Mapping[str, str] = {}
        wrong = False
        if request.method == "POST":
            if not is_own(request):
                return self.problem(request, 403, "this form was sent from another site")
            told = await self._form(request)
            answer = self._sessions.log_in(
                told.get("token", ""), told.get("next", "/"), encrypted=is_encrypted(request)
            )
            if answer is not None:
                return answer
            wrong = True
        values = {
            "title": "Log in",
            "next": local(told.get("next") or request.query_params.get("next", "/")),
            "wrong": wrong,
            "theme": _theme(request),
        }
        return HTMLResponse(self._renderer.page("login", values), 403 if wrong else 200, _HEADERS)

    async def _log_out(self, request: Request) -> Response:
        if not is_own(request):
            return self.problem(request, 403, "this form was sent from another site")
        return self._sessions.log_out(request)

    async def _form(self, request: Request) -> dict[str, str]:
        """The fields of a form, each by its last value."""
        body = await read_body(request, self._idle_s)
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))

    async def _do(self, request: Request) -> Response:
        """Have something done that a form asks for, and go back to its page."""
        status = self._sessions.judge(request, "admin")
        if status == 401:
            return self._ask_to_log_in(request, status)
        if status != 200 or not is_own(request):
            why = "your token may not do this: it lacks the scope 'admin'"
            return self.problem(
                request, 403, why if status != 200 else "this form was sent from another site"
            )
        form = FORMS.get(request.path_params["form"])
        duty = None if form is None else self._duties.get(form.duty)
        if form is None or duty is None:
            return self.problem(request, 404, "there is nothing of this name to be done")
        told = await self._form(request)
        try:
            await _in(self._duty_threads[form.duty], duty, told_by(form, told))
        except DecodeError as error:
            return self.problem(request, error.status_hint, str(error))
        except LapwingError as error:
            return self.problem(request, status_of(error), str(error))
        return RedirectResponse(local(told.get("back", "/")), 303)


async def _in(threads: Executor, work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)


def _theme(request: Request) -> str:
    told = request.cookies.get("lapwing_theme", "")
    return told if told in _THEMES else ""
