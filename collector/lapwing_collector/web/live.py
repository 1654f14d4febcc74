"""`/api/v1/events`: one stream that tells browsers of what is new, so that they ask again only then."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import StreamingResponse

_RESTS_S: Final = 1.0
"""Between what a client is told: what happens meanwhile is told at once then."""
_SILENT_S: Final = 20.0
"""Without news, a comment keeps the connection open in what is between."""


class Live:
    """Whom browsers ask what is new. `saw` and `close` may be called from any thread."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: set[_Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def saw(self, *topics: str, models: Iterable[str] = ()) -> None:
        """Something is new: `alerts`, or predictions and labels of the models with these tables."""
        if news := frozenset((*topics, *(f"model:{table}" for table in models))):
            self._soon(news)

    def close(self) -> None:
        """End every stream; browsers come back by themselves once there is somebody again."""
        self._closed = True
        self._soon(frozenset())

    async def answer(self, _: Request) -> StreamingResponse:
        """Answer with events, each a list of what is new, until the client leaves."""
        self._loop = asyncio.get_running_loop()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(), headers=headers, media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        listener = _Listener()
        self._listeners.add(listener)
        try:
            yield "retry: 3000\n\n"
            while not self._closed:
                news = await listener.wait(_SILENT_S)
                if news:
                    yield f"data: {json.dumps(sorted(news))}\n\n"
                    await listener.rest(_RESTS_S)
                elif not self._closed:
                    yield ": still here\n\n"
        finally:
            self._listeners.discard(listener)

    def _soon(self, news: frozenset[str]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and everybody is gone
                self._loop.call_soon_threadsafe(self._tell, news)

    def _tell(self, news: frozenset[str]) -> None:
        for listener in self._listeners:
            listener.tell(news, ending=self._closed)


class _Listener:
    """One stream: what is to be told, and whether it is to end."""

    def __init__(self) -> None:
        self._news: set[str] = set()
        self._told = asyncio.Event()
        self._ending = asyncio.Event()

    def tell(self, news: frozenset[str], *, ending: bool) -> None:
        self._news |= news
        self._told.set()
        if ending:
            self._ending.set()

    async def wait(self, most_s: float) -> set[str]:
        """What is new, after `most_s` seconds at most."""
        await _set_within(self._told, most_s)
        news, self._news = self._news, set()
        self._told.clear()
        return news

    async def rest(self, most_s: float) -> None:
        await _set_within(self._ending, most_s)


async def _set_within(event: asyncio.Event, most_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()
