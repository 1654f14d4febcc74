"""`/api/v1/admin/<duty>`: what only the owner of the lake may do, on behalf of commands."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lapwing_collector.errors import DecodeError
from lapwing_collector.web.bodies import media_type, read_body, read_object
from lapwing_collector.web.problems import problem

Duty = Callable[[Mapping[str, Any]], Any]
"""Does something with a JSON object and tells the outcome as JSON; may block. LapwingErrors are told."""


class AdminEndpoint:
    """Calls duties; a client that leaves does not call one off."""

    def __init__(self, duties: Mapping[str, Duty], threads: Mapping[str, Executor], idle_s: float) -> None:
        """Offer `duties`, each called in its `threads`; clients may send nothing for `idle_s` seconds."""
        self._idle_s = idle_s
        self._duties = duties
        self._threads = threads
        self._running: set[asyncio.Future[Any]] = set()

    async def call(self, request: Request) -> Response:
        """Do what `request` asks for.

        Raises:
            LapwingError: The duty cannot be done.
        """
        name = request.path_params["duty"]
        duty = self._duties.get(name)
        if duty is None:
            known = ", ".join(sorted(self._duties)) or "none"
            return problem(404, "not-found", f"there is no duty {name!r}; there are: {known}")
        # A web page cannot send this type to another site without asking first.
        if media_type(request) != "application/json":
            raise DecodeError("use Content-Type application/json", 415)
        told = read_object(await read_body(request, self._idle_s) or b"{}")
        running = asyncio.get_running_loop().run_in_executor(self._threads[name], duty, told)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return JSONResponse(await asyncio.shield(running))
