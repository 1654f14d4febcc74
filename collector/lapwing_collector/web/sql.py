"""`/api/v1/sql`: one SELECT in, its rows out as JSON, CSV, Arrow or Parquet."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from lapwing_collector.clock import read_utc
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.queries import Ask, Format
from lapwing_collector.web.answering import MEDIA_TYPES, Answering
from lapwing_collector.web.bodies import media_type, read_body, read_object

_KEYS: Final = frozenset({"sql", "parameters", "format", "limit", "overflow", "explain"})
_LONGEST_LIMIT: Final = 18
"""Digits."""


class SqlEndpoint:
    """Answers queries."""

    def __init__(self, answering: Answering, *, max_rows: int, max_bytes: int, idle_s: float) -> None:
        """Let `answering` run them; an answer has `max_rows` rows and `max_bytes` bytes at most.

        Of a request, nothing may come for `idle_s` seconds at a time.
        """
        self._idle_s = idle_s
        self._answering = answering
        self._max_rows = max_rows
        self._max_bytes = max_bytes

    async def answer(self, request: Request) -> Response:
        """Answer the query that `request` brings; who leaves calls it off.

        Raises:
            DecodeError: It is no request for a query.
            QueryError: The SQL is refused, fails or runs over its limits.
            UnavailableError: Too many others run.
        """
        ask = self._read(await _told(request, self._idle_s), request)
        return await self._answering.answer(ask, request, "query")

    def _read(self, told: Mapping[str, Any], request: Request) -> Ask:
        unknown = sorted(told.keys() - _KEYS)
        if unknown:
            raise DecodeError(f"{unknown[0]!r} is not known here; known are {', '.join(sorted(_KEYS))}")
        sql = told.get("sql")
        if not isinstance(sql, str) or not sql.strip():
            raise DecodeError('there is no query: send JSON such as {"sql": "SELECT 1"}, or ?sql=SELECT+1')
        return Ask(
            sql,
            _parameters(told.get("parameters")),
            format_of(told.get("format"), request.headers.get("accept", "")),
            max_rows=min(_limit(told.get("limit")) or self._max_rows, self._max_rows),
            max_bytes=self._max_bytes,
            whole=_overflow(told.get("overflow")),
            explain=_explain(told.get("explain")),
        )


async def _told(request: Request, idle_s: float) -> Mapping[str, Any]:
    """What is asked: in the address, or in a body of JSON, of a form, or of SQL alone."""
    asked: dict[str, Any] = dict(request.query_params)
    if request.method != "POST":
        return asked
    body = await read_body(request, idle_s)
    match media_type(request):
        case "application/json":
            return asked | read_object(body)
        case "application/x-www-form-urlencoded":
            return asked | dict(parse_qsl(_text(body), keep_blank_values=True))
        case "text/plain" | "application/sql":
            return asked | {"sql": _text(body)}
        case other:
            raise DecodeError(
                f"Content-Type {other!r} is not known here; use application/json, a form, or text/plain",
                415,
            )


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("the body is no UTF-8") from error


def format_of(told: object, accept: str) -> Format:
    """The format that is asked for by name, else by what the client accepts.

    Raises:
        DecodeError: It is none.
    """
    if told is None:
        wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
        known = {text.partition(";")[0]: fmt for fmt, text in MEDIA_TYPES.items()}
        return next((known[part] for part in wanted if part in known), Format.JSON)
    try:
        return Format(str(told))
    except ValueError:
        raise DecodeError(f"the format {told!r} is not known here; use {', '.join(Format)}") from None


def _limit(told: object) -> int | None:
    if told is None:
        return None
    text = str(told)
    if not (text.isascii() and text.isdecimal()) or len(text) > _LONGEST_LIMIT or int(text) < 1:
        raise DecodeError(f"limit: expected a number of rows, not {text[:40]!r}")
    return int(text)


def _overflow(told: object) -> bool:
    if told is not None and told not in ("truncate", "error"):  # a set would hash it
        raise DecodeError(f"overflow: expected truncate or error, not {told!r}")
    return told == "error"


def _explain(told: object) -> bool:
    if isinstance(told, bool):
        return told
    if told is not None and told not in ("true", "false"):
        raise DecodeError(f"explain: expected true or false, not {told!r}")
    return told == "true"


def _parameters(told: object) -> Mapping[str, Any]:
    if told is None:
        return {}
    found = read_object(told) if isinstance(told, str) else told
    if not isinstance(found, dict):
        raise DecodeError("parameters: expected a JSON object")
    return {name: _parameter(name, value) for name, value in found.items()}


def _parameter(name: str, value: Any) -> Any:
    """A parameter's value; a time is told as `{"timestamp": "2026-01-31T12:00:00"}`, in UTC."""
    match value:
        case {"timestamp": str(text), **rest} if not rest:
            with suppress(ValueError):
                return read_utc(text)
        case list():
            return [_parameter(name, item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    raise DecodeError(
        f'parameter {name}: expected text, a number, a list, or {{"timestamp": "2026-01-31T12:00:00"}}, '
        f"not {value!r}"
    )
