"""Queries of HTTP clients: run while they wait, called off when they leave, streamed as they read."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from lapwing_collector.model.queries import Answer, Ask, Cancellation, Format

Result = TypeVar("Result")

AskLake = Callable[[Ask, Cancellation], Answer]
"""Answers a query; blocks until its rows begin to come."""

MEDIA_TYPES: Final[Mapping[Format, str]] = {
    Format.JSON: "application/json",
    Format.COLUMNS: "application/vnd.lapwing.columns+json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
}

_LOGGER: Final = logging.getLogger(__name__)
READING_S: Final = 60.0
"""Who reads an answer slower than this holds a query process for nothing."""


class Answering:
    """Answers queries, each in a thread of its own while it runs."""

    def __init__(self, ask: AskLake, threads: Executor) -> None:
        """Ask with `ask`, in `threads`."""
        self._ask = ask
        self._threads = threads

    async def blocking(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """What `work` gives, which may block, done in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def answer(self, ask: Ask, request: Request, name: str) -> Response:
        """Answer `ask`; if the client of `request` leaves meanwhile, it is called off.

        Args:
            ask: The query.
            request: Whose; it was read already.
            name: What a file is called that the client makes of the rows, without its ending.

        Raises:
            QueryError: The SQL is refused, fails or runs over its limits.
            UnavailableError: Too many others run.
        """
        cancellation = Cancellation()
        running: asyncio.Future[Answer] = asyncio.get_running_loop().run_in_executor(
            self._threads, self._ask, ask, cancellation
        )
        leaving: asyncio.Future[Any] = asyncio.ensure_future(left(request))
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
            headers["Content-Disposition"] = f'attachment; filename="{name}.{ask.fmt}"'
        if answer.whole is not None:
            return Response(answer.whole, headers=headers, media_type=MEDIA_TYPES[ask.fmt])
        return _Rows(answer, self._threads, headers=headers, media_type=MEDIA_TYPES[ask.fmt])


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


async def left(request: Request) -> None:
    """Wait until the client is gone; its request was read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _let_go(running: "asyncio.Future[Answer]") -> None:
    if not running.cancelled() and running.exception() is None:
        running.result().close()
