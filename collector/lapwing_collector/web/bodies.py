"""Reading request bodies, which are small here."""

import json
from typing import Any, Final

from starlette.requests import Request

from lapwing_collector.bodies import Pieces
from lapwing_collector.errors import DecodeError

_LARGEST_BYTES: Final = 1024 * 1024


async def read_body(request: Request, idle_s: float) -> bytes:
    """The body, of which nothing may come for `idle_s` seconds at a time.

    Raises:
        DecodeError: It is too large, or does not arrive.
        ClientDisconnect: The client is gone.
    """
    body = bytearray()
    async for chunk in Pieces(request, idle_s).read():
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise DecodeError(f"the body is larger than {_LARGEST_BYTES} bytes", 413)
    return bytes(body)


def media_type(request: Request) -> str:
    """The body's type without parameters, in lower case; empty where none is told."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_object(text: bytes | str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        DecodeError: It is something else.
    """
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):X}"
        raise DecodeError(f"a text has {half}, half of a character, which stands for nothing") from error
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"this is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DecodeError("expected a JSON object")
    return found
