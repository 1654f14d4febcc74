"""What is read over HTTP beside rows: documents that an address names."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

Read = Callable[[Mapping[str, str]], Any]
"""Gives a document, as JSON, for parts and parameters of its address; may block. LapwingErrors are told."""


class ReadEndpoint:
    """Answers with one kind of document."""

    def __init__(self, read: Read, threads: Executor) -> None:
        """Read with `read`, in `threads`."""
        self._read = read
        self._threads = threads

    async def answer(self, request: Request) -> Response:
        """Answer with the document that the address of `request` names.

        Raises:
            LapwingError: There is none, or it cannot be read.
        """
        loop = asyncio.get_running_loop()
        asked = dict(request.query_params) | request.path_params
        document = await loop.run_in_executor(self._threads, self._read, asked)
        return JSONResponse(document, headers={"Cache-Control": "no-store"})
