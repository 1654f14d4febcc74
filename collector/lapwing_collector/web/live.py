"""`/api/v1/events`: one stream that tells browsers of what is new, so that they ask again only then."""

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import StreamingResponse

_RESTS_S: Final = 1.0
"""Between what a client is told: what happens meanwhile is told at once then."""
_SILENT_S: Final = 20.0
"""Without news, a comment keeps the connection open in what is between."""
_ANYTHING: Final = frozenset({"alerts"})
"""What is told where nobody knows what was missed; every page asks again for that."""
_DIGITS: Final = 19
"""More than any count has."""


class Live:
    """Whom browsers ask what is new. `saw` and `close` may be called from any thread."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: set[_Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._run = secrets.token_hex(4)
        self._count = 0
        self._last: dict[str, int] = {}  # by topic: how many times something was new by then
        self._counting = threading.Lock()

    @property
    def place(self) -> str:
        """How far it is now: who has read what there is, and listens from here on, misses nothing."""
        return self._place(self._count)

    def saw(self, *topics: str, models: Iterable[str] = ()) -> None:
        """Something is new: `alerts`, or rows of the models with these tables, whatever their case."""
        if news := frozenset((*topics, *(f"model:{table.lower()}" for table in models))):
            with self._counting:
                self._count += 1
                self._last |= dict.fromkeys(news, self._count)
                count = self._count
            self._soon(news, count)

    def close(self) -> None:
        """End every stream; browsers come back by themselves once there is somebody again."""
        self._closed = True
        self._soon(frozenset(), self._count)

    async def answer(self, request: Request) -> StreamingResponse:
        """Answer with events, each a list of what is new, until the client leaves.

        First comes what was new after the `place` that the client tells: as `since`, or, when it comes back,
        as the id of the last event that it has.
        """
        self._loop = asyncio.get_running_loop()
        since = request.headers.get("last-event-id") or request.query_params.get("since") or self.place
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(since), headers=headers, media_type="text/event-stream")

    async def _events(self, since: str) -> AsyncIterator[str]:
        listener = _Listener()
        self._listeners.add(listener)
        listener.tell(*self._missed(since), ending=self._closed)
        try:
            yield "retry: 3000\n\n"
            while not self._closed:
                news = await listener.wait(_SILENT_S)
                if news:
                    yield f"id: {self._place(listener.count)}\ndata: {json.dumps(sorted(news))}\n\n"
                    await listener.rest(_RESTS_S)
                elif not self._closed:
                    yield ": still here\n\n"
        finally:
            self._listeners.discard(listener)

    def _place(self, count: int) -> str:
        return f"{self._run}-{count}"

    def _missed(self, since: str) -> tuple[frozenset[str], int]:
        """What was new after that place, and how far that goes."""
        run, _, count = since.partition("-")
        with self._counting:
            if run != self._run or not (count.isdecimal() and len(count) < _DIGITS):
                return _ANYTHING, self._count
            return frozenset(topic for topic, at in self._last.items() if at > int(count)), self._count

    def _soon(self, news: frozenset[str], count: int) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and everybody is gone
                self._loop.call_soon_threadsafe(self._tell, news, count)

    def _tell(self, news: frozenset[str], count: int) -> None:
        for listener in self._listeners:
            listener.tell(news, count, ending=self._closed)


class _Listener:
    """One stream: what is to be told and how far that goes, and whether it is to end."""

    def __init__(self) -> None:
        self.count = 0
        self._news: set[str] = set()
        self._told = asyncio.Event()
        self._ending = asyncio.Event()

    def tell(self, news: frozenset[str], count: int, *, ending: bool) -> None:
        self.count = max(self.count, count)
        self._news |= news
        if news or ending:
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
