"""Style, scripts and pictures, under an address that changes with them, so that browsers keep them."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _File:
    plain: bytes
    packed: bytes
    media_type: str


class Assets:
    """The files of one folder. Their address has a hash over all of them, so that modules find each other."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        """Read the files below `folder`."""
        self._files = {
            file.relative_to(folder).as_posix(): _read(file)
            for file in sorted(folder.rglob("*"))
            if file.is_file() and _media_type(file) is not None
        }
        self._root = f"/static/{_digest({name: file.plain for name, file in self._files.items()})}"

    def url(self, name: str) -> str:
        """The address of a file.

        Raises:
            KeyError: There is no such file.
        """
        self._files[name]
        return f"{self._root}/{name}"

    async def answer(self, request: Request) -> Response:
        """Answer with a file; one of another version is the one that there is now, and is not kept."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response(status_code=404)
        current = request.url.path.startswith(f"{self._root}/")
        headers = {
            "Cache-Control": _FOR_EVER if current else "no-cache",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                file.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=file.media_type
            )
        return Response(file.plain, headers=headers, media_type=file.media_type)


def _read(file: Path) -> _File:
    plain = file.read_bytes()
    return _File(plain, gzip.compress(plain, 9, mtime=0), _media_type(file) or "")


def _media_type(file: Path) -> str | None:
    """The type of what browsers are given; None for what only stands beside it."""
    return _TYPES.get(file.suffix)


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, plain in contents.items():
        digest.update(f"{name}\0{len(plain)}\0".encode() + plain)
    return digest.hexdigest()[:12]
