"""Who is logged in: a browser shows a cookie where programs show the token itself.

The cookie is a random name for the token, which stays in memory: it is checked with each request, so that who
may do what follows the file of tokens at once. When the collector starts anew, people log in again.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

Authorize = Callable[[str | None, str], int]
"""Judges the header `Authorization` for a scope (`query`, `admin`): 200 to go on, else 401 or 403."""

COOKIE: Final = "lapwing_session"
_LASTS_S: Final = 30 * 86_400
_MOST: Final = 1000
"""The oldest has to log in again where there are more."""


@dataclass(slots=True)
class Sessions:
    """The sessions of one server.

    Attributes:
        authorize: Judges tokens.
    """

    authorize: Authorize
    _tokens: OrderedDict[str, tuple[str, float]] = field(default_factory=OrderedDict)

    def judge(self, request: Request, scope: str) -> int:
        """Whether who sends `request` may do what `scope` says: 200, else 401 or 403."""
        header = request.headers.get("authorization")
        if header is None:
            header = self._header_of(request.cookies.get(COOKIE, ""))
        return self.authorize(header, scope)

    def has(self, request: Request) -> bool:
        """Whether who sends `request` is logged in."""
        return self._header_of(request.cookies.get(COOKIE, "")) is not None

    def log_in(self, token: str, goes_on_to: str, *, encrypted: bool) -> Response | None:
        """Begin a session for a token and go on to a page; None if the token is not known or may not ask."""
        header = f"Bearer {token.strip()}"
        if self.authorize(header, "query") != 200:
            return None
        name = secrets.token_urlsafe(32)
        self._tokens[name] = header, time.monotonic() + _LASTS_S
        while len(self._tokens) > _MOST:
            self._tokens.popitem(last=False)
        answer = RedirectResponse(local(goes_on_to), 303)
        answer.set_cookie(
            COOKIE, name, max_age=_LASTS_S, httponly=True, samesite="strict", secure=encrypted, path="/"
        )
        return answer

    def log_out(self, request: Request) -> Response:
        """End the session of who sends `request`."""
        self._tokens.pop(request.cookies.get(COOKIE, ""), None)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, path="/")
        return answer

    def _header_of(self, name: str) -> str | None:
        header, until_s = self._tokens.get(name, (None, 0.0))
        return header if time.monotonic() < until_s else None


def local(address: str) -> str:
    """An address of this server, from what somebody says it is: nobody is sent elsewhere."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc or not address.startswith("/") or address.startswith(("//", "/\\")):
        return "/"
    return address.replace("\\", "%5C").replace("\r", "").replace("\n", "")


def is_encrypted(request: Request) -> bool:
    """Whether the browser of who sends a form speaks TLS, be it with a proxy: its page says so."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


def is_own(request: Request) -> bool:
    """Whether `request` comes from a page of this server, or from no page at all.

    Browsers say so with everything that may change something. A cookie that is not sent with what others
    begin holds already; this holds where a browser does not know of that.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # holds whatever name a proxy has for this server
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
