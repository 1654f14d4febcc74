"""A page that is sent in pieces, each packed and on its way before the next one is made."""

import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import StreamingResponse

_LEVEL: Final = 5
_GZIP: Final = zlib.MAX_WBITS | 16


class Pieces(StreamingResponse):
    """HTML in pieces. What packs whole answers would keep the first until it has more of them."""

    def __init__(self, pieces: AsyncIterator[str], request: Request, headers: Mapping[str, str]) -> None:
        """Answer `request` with `pieces`, packed if its client takes that."""
        told = {**headers, "Vary": "Accept-Encoding"}
        packs = "gzip" in request.headers.get("accept-encoding", "")
        super().__init__(
            _packed(pieces) if packs else pieces,
            headers={**told, "Content-Encoding": "gzip"} if packs else told,
            media_type="text/html",
        )


async def _packed(pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    async for piece in pieces:
        yield packer.compress(piece.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
