"""Style, scripts and pictures, under an address that changes with them, so that browsers keep them.

A script is answered with the modules that it imports, and the style with that of the charts: each file that a
browser asks for by itself takes it some milliseconds. The files are modules as browsers know them, of the few
forms that `_whole` takes apart.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_BEFORE: Final = {"lapwing.css": "vendor/uPlot.min.css"}
"""What stands before the style in one answer."""
_IMPORT: Final = re.compile(r"""^import (?:\{ ([\w, ]+) \} from )?"\./(\w+)\.js";$""", re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (const|function|async function) (\w+)", re.MULTILINE)
_OTHER: Final = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class _File:
    plain: bytes
    media_type: str

    @cached_property
    def packed(self) -> bytes:
        """Packed when it is first asked for: most starts of a collector are seen by no browser."""
        return gzip.compress(self.plain, 9, mtime=0)


class Assets:
    """The files of one folder. Their address has a hash over all of them, so that modules find each other."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        """Read the files below `folder`."""
        texts = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.suffix in _TYPES
        }
        modules = {name[:-3]: text.decode() for name, text in texts.items() if re.fullmatch(r"\w+\.js", name)}
        functions = {name: _as_function(name, text) for name, text in modules.items()}
        texts |= {f"{name}.js": _whole(name, modules, functions).encode() for name in modules}
        texts |= {
            name: texts[before] + b"\n" + texts[name] for name, before in _BEFORE.items() if before in texts
        }
        self._files = {name: _File(text, _TYPES[Path(name).suffix]) for name, text in texts.items()}
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


def _whole(name: str, modules: Mapping[str, str], functions: Mapping[str, str]) -> str:
    """A module and all that it imports as one, each as a function that gives what it exports.

    Args:
        name: Which.
        modules: All there are, by name without ending.
        functions: They, each as a function.

    Raises:
        ValueError: One imports in circles.
    """
    made: dict[str, str] = {}
    underway: list[str] = []

    def add(module: str) -> None:
        if module in made:
            return
        if module in underway:
            raise ValueError(f"{module}.js imports itself: {', '.join(underway)}")
        underway.append(module)
        for imported in _IMPORT.finditer(modules[module]):
            add(imported[2])
        made[module] = functions[module]
        underway.remove(module)

    add(name)
    return "".join(made.values()) if len(made) > 1 else modules[name]


def _as_function(name: str, text: str) -> str:
    """A module as a function that gives what it exports.

    Raises:
        ValueError: It imports or exports in another form.
    """
    exported = ", ".join(found[2] for found in _EXPORT.finditer(text))
    body = _EXPORT.sub(r"\1 \2", _IMPORT.sub(_as_constants, text))
    if other := _OTHER.search(body):
        raise ValueError(f"{name}.js: this form is not known: {other[0]}")
    return f"const {name}_js = (() => {{\n{body}\nreturn {{ {exported} }};\n}})();\n"


def _as_constants(found: re.Match[str]) -> str:
    return f"const {{ {found[1].replace(' as ', ': ')} }} = {found[2]}_js;" if found[1] else ""


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, plain in contents.items():
        digest.update(f"{name}\0{len(plain)}\0".encode() + plain)
    return digest.hexdigest()[:12]
