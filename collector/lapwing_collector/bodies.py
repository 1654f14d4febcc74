"""Bodies of HTTP requests as they come, from clients that must keep sending."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import ClientDisconnect, Request

from lapwing_collector.errors import DecodeError

ANY_PACE_S: Final = 60.0
"""How long a body may take at any pace."""
LEAST_BYTES_S: Final = 16 * 1024
"""What comes in a second of a body that takes longer."""


class Pieces:
    """The body of one request, read once.

    Attributes:
        begun: Whether it was asked for, which tells a client that asks first to go on.
        stalled: Whether it stopped coming.
    """

    def __init__(self, request: Request, idle_s: float) -> None:
        """Read nothing yet; nothing may come for `idle_s` seconds at a time."""
        self.begun = False
        self.stalled = False
        self._request = request
        self._idle_s = idle_s
        self._over = False
        self._left_s = ANY_PACE_S

    async def read(self) -> AsyncIterator[bytes]:
        """The pieces that have not been read, as they come.

        Raises:
            DecodeError: Nothing came for too long, or too little in all.
            ClientDisconnect: The client is gone.
        """
        loop = asyncio.get_running_loop()
        while not self._over:
            self.begun = True
            asked_s = loop.time()
            try:
                async with asyncio.timeout(min(self._idle_s, self._left_s)):
                    message = await self._request.receive()
            except TimeoutError:
                self.stalled = True
                raise DecodeError(self._complaint(), 408) from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._over = not message.get("more_body", False)
            piece = message.get("body", b"")
            self._left_s += len(piece) / LEAST_BYTES_S - (loop.time() - asked_s)
            yield piece

    def _complaint(self) -> str:
        if self._left_s < self._idle_s:
            return f"the body comes too slowly: less than {LEAST_BYTES_S} bytes a second"
        return f"nothing of the body came for {self._idle_s:g} seconds"
