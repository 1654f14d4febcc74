"""Work that takes its time and changes nothing: `/api/v1/rules/backtest` and its like."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lapwing_collector.errors import DecodeError
from lapwing_collector.model.queries import Cancellation
from lapwing_collector.web.answering import left
from lapwing_collector.web.bodies import media_type, read_body, read_object

Work = Callable[[Mapping[str, Any], Cancellation], Any]
"""Tells JSON for a JSON object; may block, and ends soon once it is cancelled. LapwingErrors are told."""


class WorkEndpoint:
    """Does one kind of work for clients that wait for it; who leaves calls it off."""

    def __init__(self, work: Work, threads: Executor, idle_s: float) -> None:
        """Do `work` in `threads`; of a request, nothing may come for `idle_s` seconds at a time."""
        self._work = work
        self._threads = threads
        self._idle_s = idle_s

    async def answer(self, request: Request) -> Response:
        """Do what `request` asks for.

        Raises:
            LapwingError: It cannot be done.
        """
        # A web page cannot send this type to another site without asking first.
        if media_type(request) != "application/json":
            raise DecodeError("use Content-Type application/json", 415)
        asked = read_object(await read_body(request, self._idle_s) or b"{}")
        cancellation = Cancellation()
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._work, asked, cancellation)
        leaving: asyncio.Future[Any] = asyncio.ensure_future(left(request))
        try:
            await asyncio.wait((running, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                cancellation.cancel()
            return JSONResponse(await running, headers={"Cache-Control": "no-store"})
        except asyncio.CancelledError:
            cancellation.cancel()
            raise
        finally:
            leaving.cancel()
