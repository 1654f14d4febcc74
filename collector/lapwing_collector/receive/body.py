"""Request bodies: read and decompressed piece by piece, within the limits."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.requests import ClientDisconnect, Request

from lapwing_collector.bodies import Pieces
from lapwing_collector.errors import DecodeError
from lapwing_collector.receive.budget import Claim
from lapwing_collector.receive.encodings import PIECE_BYTES, decompressor
from lapwing_collector.receive.limits import Limits

_EARNEST_BYTES: Final = 16 * 1024
"""Of a body that so much has come of, the rest is expected at once."""
_IN_ADVANCE_S: Final = 1.0
"""How long the room for a body is held before it has come; stock clients send one in some milliseconds."""


class Body:
    """The body of one request, read once."""

    def __init__(self, request: Request, limits: Limits) -> None:
        """Read nothing yet."""
        self._request = request
        self._limits = limits
        self._pieces = Pieces(request, limits.idle_s)

    async def read(self, claim: Claim) -> bytes:
        """Read and decompress all of it, holding `claim` for what has arrived.

        Of a body that comes in earnest it holds what is announced, too: many that have come in part, and wait
        for room that the others hold, would never become whole. A client that is slow gives the rest back.

        Raises:
            DecodeError: It is too large, not what its headers say, or does not arrive.
            UnavailableError: There was no room for it in time.
            ClientDisconnect: The client is gone.
        """
        unpack = decompressor(self._request.headers.get("content-encoding", "identity"))
        announced = int(self._request.headers.get("content-length", "0"))
        self._check_size(announced)
        received = size = 0
        pieces: list[bytes] = []
        slow: asyncio.TimerHandle | None = None
        try:
            async for chunk in self._pieces.read():
                received += len(chunk)
                self._check_size(received)
                if received >= _EARNEST_BYTES and slow is None:
                    await claim.cover(announced)
                    loop = asyncio.get_running_loop()
                    slow = loop.call_later(_IN_ADVANCE_S, lambda: claim.reduce(size))  # noqa: B023  # of then
                for piece in unpack.feed(chunk) if unpack else (chunk,):
                    self._check_size(size + len(piece))
                    await claim.cover(size + len(piece))
                    size += len(piece)
                    pieces.append(piece)
                    if len(piece) >= PIECE_BYTES:
                        await asyncio.sleep(0)  # others get their turn while a large body is decompressed
        finally:
            if slow is not None:
                slow.cancel()
        if unpack:
            unpack.finish()
        return b"".join(pieces)

    async def drain(self) -> bool:
        """Read what the client still sends and drop it; a client that sees a reset would try again.

        Returns:
            Whether the end was reached, so that the connection can carry another request.
        """
        if self._pieces.stalled:
            return False
        if not self._pieces.begun and asks_first(self._request):
            return False
        dropped = 0
        with suppress(DecodeError, ClientDisconnect):
            async for chunk in self._pieces.read():
                dropped += len(chunk)
                if dropped > self._limits.drain_bytes:
                    return False
            return True
        return False

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise DecodeError(
                f"the body is larger than {self._limits.body_bytes} bytes, as sent or decompressed; "
                "send fewer records in a request",
                413,
            )


def asks_first(request: Request) -> bool:
    """Whether the client waits to be told to go on, and so may send nothing of the body after a refusal."""
    return bool(request.headers.get("expect", "").lower() == "100-continue")
