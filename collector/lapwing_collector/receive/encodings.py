"""Content-Encodings: bodies are decompressed as they arrive, never much of them at once."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import zstandard

from lapwing_collector.errors import DecodeError

PIECE_BYTES: Final = 1024 * 1024
_MOST_MEMBERS: Final = 4096
"""Each member costs time, however little is in it."""
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What RFC 9659 allows for HTTP, and what a decompressor sets aside at the first byte."""
_ZSTD_SLICE_BYTES: Final = 1024
"""The library gives back all that it makes of its input at once: 128 KiB, at most, of every 4 bytes."""


class Decompressor:
    """Decompresses one body of one or many members (which zstd calls frames)."""

    def __init__(
        self, name: str, start_member: Callable[[], Any], slice_bytes: int | None, members: int
    ) -> None:
        """Expect the first member; `decompressor` knows what to give for each encoding.

        Args:
            name: The encoding's, for messages.
            start_member: Makes what decompresses a member.
            slice_bytes: How much to feed that at once, where it can not be told how much to make of it.
            members: How many there may be.
        """
        self._name = name
        self._new_member = start_member
        self._slice_bytes = slice_bytes
        self._members_left = members
        self._start_member()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress `data`, the next part of the body, piece by piece: of gzip and deflate 1 MiB at most.

        Raises:
            DecodeError: It is not what the encoding says.
        """
        step = self._slice_bytes or len(data) or 1
        for start in range(0, len(data), step):
            yield from self._feed(data[start : start + step])

    def finish(self) -> None:
        """Check that the body ended where a member did.

        Raises:
            DecodeError: It was cut off.
        """
        if not self._member.eof:
            raise DecodeError(f"the body is not valid {self._name}: its end is missing")

    def _feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                self._start_member()
            try:
                if self._slice_bytes:
                    piece = self._member.decompress(data)
                    data = self._member.unused_data
                else:
                    piece = self._member.decompress(data, PIECE_BYTES)
                    data = self._member.unused_data or self._member.unconsumed_tail
            except (zlib.error, zstandard.ZstdError) as error:
                raise DecodeError(f"the body is not valid {self._name}: {error}") from error
            yield piece

    def _start_member(self) -> None:
        if not self._members_left:
            raise DecodeError(f"the body is not valid {self._name}: it has too many parts")
        self._members_left -= 1
        self._member = self._new_member()


def decompressor(encoding: str) -> Decompressor | None:
    """What undoes a Content-Encoding; None where there is nothing to undo.

    Raises:
        DecodeError: The encoding is not known.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Decompressor("gzip", lambda: zlib.decompressobj(31), None, _MOST_MEMBERS)
        case "deflate":
            return Decompressor("deflate", lambda: zlib.decompressobj(15), None, 1)
        case "zstd":
            return Decompressor("zstd", _zstd_frame, _ZSTD_SLICE_BYTES, _MOST_MEMBERS)
        case _:
            raise DecodeError(
                f"Content-Encoding {encoding!r} is not known here; use gzip, zstd, deflate or identity", 415
            )


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
