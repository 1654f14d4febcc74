"""`/api/v1/sql`: one SELECT in, its rows out as JSON, CSV, Arrow or Parquet."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from lapwing_collector.errors import DecodeError
from lapwing_collector.model.queries import Answer, Ask, Cancellation, Format
from lapwing_collector.web.bodies import media_type, read_body, read_object

AskLake = Callable[[Ask, Cancellation], Answer]
"""Answers a query; blocks until its rows begin to come."""

MEDIA_TYPES: Final[Mapping[Format, str]] = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}

_KEYS: Final = frozenset({"sql", "parameters", "format", "limit", "overflow", "explain"})
_LOGGER: Final = logging.getLogger(__name__)
_LONGEST_LIMIT: Final = 18
"""Digits."""
READING_S: Final = 60.0
"""Who reads an answer slower than this holds a query process for nothing."""


class SqlEndpoint:
    """Answers queries, each in a thread of its own while it runs."""

    def __init__(
        self, ask: AskLake, threads: Executor, *, max_rows: int, max_bytes: int, idle_s: float
    ) -> None:
        """Ask with `ask`, in `threads`; an answer has `max_rows` rows and `max_bytes` bytes at most.

        Of a request, nothing may come for `idle_s` seconds at a time.
        """
        self._idle_s = idle_s
        self._ask = ask
        self._threads = threads
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
        cancellation = Cancellation()
        running: asyncio.Future[Answer] = asyncio.get_running_loop().run_in_executor(
            self._threads, self._ask, ask, cancellation
        )
        leaving: asyncio.Future[Any] = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((running, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                cancellation.cancel()
            answer = await running
        except asyncio.CancelledError:
            cancellation.cancel()
            running.add_done_callback(_let_go)
            raise
        finally:
            leaving.cancel()
        headers = {
            "Lapwing-Rows": str(answer.rows),
            "Lapwing-Truncated": str(answer.truncated).lower(),
            "Lapwing-Incomplete": str(answer.incomplete).lower(),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if ask.fmt in {Format.CSV, Format.PARQUET}:
            headers["Content-Disposition"] = f'attachment; filename="query.{ask.fmt}"'
        return _Rows(answer, self._threads, headers=headers, media_type=MEDIA_TYPES[ask.fmt])

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
            _format(told.get("format"), request.headers.get("accept", "")),
            max_rows=min(_limit(told.get("limit")) or self._max_rows, self._max_rows),
            max_bytes=self._max_bytes,
            whole=_overflow(told.get("overflow")),
            explain=_explain(told.get("explain")),
        )


class _Rows(StreamingResponse):
    """An answer on its way to its reader, who loses it by leaving or by taking too long."""

    def __init__(self, answer: Answer, threads: Executor, **more: Any) -> None:
        super().__init__(self._pieces(), **more)
        self._answer = answer
        self._threads = threads

    async def stream_response(self, send: Send) -> None:
        try:
            async with asyncio.timeout(READING_S):
                await super().stream_response(send)
        except TimeoutError:
            _LOGGER.warning("an answer was not read to its end within %g s, and was dropped", READING_S)
        finally:
            self._threads.submit(self._answer.close)

    async def _pieces(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        pieces = iter(self._answer)
        while (piece := await loop.run_in_executor(self._threads, next, pieces, None)) is not None:
            yield piece


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


def _format(told: object, accept: str) -> Format:
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
                moment = datetime.fromisoformat(text)
                return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
        case list():
            return [_parameter(name, item) for item in value]
        case None | bool() | int() | float() | str():
            return value
    raise DecodeError(
        f'parameter {name}: expected text, a number, a list, or {{"timestamp": "2026-01-31T12:00:00"}}, '
        f"not {value!r}"
    )


async def _left(request: Request) -> None:
    """Wait until the client is gone; its request was read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _let_go(running: "asyncio.Future[Answer]") -> None:
    if not running.cancelled() and running.exception() is None:
        running.result().close()
