"""Request bodies: read and decompressed piece by piece, within the limits."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final

from starlette.requests import ClientDisconnect, Request

from lapwing_collector.errors import DecodeError
from lapwing_collector.receive.budget import Claim
from lapwing_collector.receive.limits import Limits

_PIECE_BYTES: Final = 1024 * 1024
_MOST_MEMBERS: Final = 4096
"""Each member costs time, however little is in it."""


class Body:
    """The body of one request, read once."""

    def __init__(self, request: Request, limits: Limits) -> None:
        """Read nothing yet."""
        self._request = request
        self._limits = limits
        self._begun = False
        self._over = False
        self._stalled = False

    async def read(self, claim: Claim) -> bytes:
        """Read and decompress all of it, holding `claim` for what has arrived.

        Raises:
            DecodeError: It is too large, not what its headers say, or does not arrive.
            UnavailableError: There was no room for it in time.
            ClientDisconnect: The client is gone.
        """
        gunzip = Gunzip() if _encoding(self._request) == "gzip" else None
        self._check_size(int(self._request.headers.get("content-length", "0")))
        received = 0
        body = bytearray()
        async for chunk in self._chunks():
            received += len(chunk)
            self._check_size(received)
            for piece in gunzip.feed(chunk) if gunzip else (chunk,):
                self._check_size(len(body) + len(piece))
                await claim.cover(len(body) + len(piece))
                body += piece
                if len(piece) == _PIECE_BYTES:
                    await asyncio.sleep(0)  # others get their turn while a large body is decompressed
        if gunzip:
            gunzip.finish()
        return bytes(body)

    async def drain(self) -> bool:
        """Read what the client still sends and drop it; a client that sees a reset would try again.

        Returns:
            Whether the end was reached, so that the connection can carry another request.
        """
        if self._stalled:
            return False
        if not self._begun and self._request.headers.get("expect", "").lower() == "100-continue":
            return False  # the client waits for the answer before it sends anything
        dropped = 0
        with suppress(DecodeError, ClientDisconnect):
            async for chunk in self._chunks():
                dropped += len(chunk)
                if dropped > self._limits.drain_bytes:
                    return False
            return True
        return False

    async def _chunks(self) -> AsyncIterator[bytes]:
        while not self._over:
            self._begun = True
            try:
                async with asyncio.timeout(self._limits.idle_s):
                    message = await self._request.receive()
            except TimeoutError:
                self._stalled = True
                raise DecodeError(
                    f"nothing of the body came for {self._limits.idle_s:g} seconds", 408
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._over = not message.get("more_body", False)
            yield message.get("body", b"")

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise DecodeError(
                f"the body is larger than {self._limits.body_bytes} bytes, as sent or decompressed; "
                "send fewer records in a request",
                413,
            )


class Gunzip:
    """Decompresses gzip of one or many members, never making more than a piece at a time."""

    def __init__(self) -> None:
        """Expect the first member."""
        self._members = 0
        self._start_member()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress `data`, the next part of the body, into pieces of at most 1 MiB.

        Raises:
            DecodeError: It is not gzip.
        """
        while data:
            if self._member.eof:
                self._start_member()
            try:
                piece = self._member.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise DecodeError(f"the body is not valid gzip: {error}") from error
            data = self._member.unused_data or self._member.unconsumed_tail
            yield piece

    def finish(self) -> None:
        """Check that the body ended where a member did.

        Raises:
            DecodeError: It was cut off.
        """
        if not self._member.eof:
            raise DecodeError("the body is not valid gzip: its end is missing")

    def _start_member(self) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise DecodeError(f"the body has more than {_MOST_MEMBERS} gzip members")
        self._member = zlib.decompressobj(31)


def _encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise DecodeError(f"Content-Encoding {encoding!r} is not known here; use gzip or identity", 415)
    return encoding
