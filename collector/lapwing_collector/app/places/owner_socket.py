"""How a command asks the process that owns a data directory: one line of JSON each way, over a local socket.

    {"order": "erase", "arguments": {…}}          the command's
    {"doing": "files", "done": 3, "of": 17}       the owner's, as often as there is news
    {"answer": {…}}  or  {"refused": "why"}       the owner's, last

Whoever may write the data directory may connect: the socket is a file that only its owner can open.
"""

import json
import logging
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.errors import ConfigError, DataDirectoryError, LapwingError, UnavailableError

logger = logging.getLogger(__name__)

_POINTER: Final = "owner.socket"
_LINE_BYTES: Final = 1 << 20
_CONNECT_S: Final = 5.0

Tell = Callable[[str, int, int], None]
Order = Callable[[Mapping[str, Any], Tell], Mapping[str, Any]]
"""Does something with arguments, tells how far it is, and answers."""


class _UnknownOrderError(LapwingError):
    """Whoever was asked does no such thing."""


_REFUSALS: Final = {
    each.__name__: each for each in (ConfigError, DataDirectoryError, UnavailableError, _UnknownOrderError)
}


class OwnerSocket:
    """Takes orders while the owner runs."""

    def __init__(self, server: "_Server", pointer: Path, path: Path) -> None:
        """Use `open` instead."""
        self._server = server
        self._pointer = pointer
        self._path = path
        self._thread = threading.Thread(target=server.serve_forever, name="lapwing-orders", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, data: Path) -> Self:
        """Listen for a data directory that this process owns; whoever asks waits until `take` was called.

        Raises:
            DataDirectoryError: The folder cannot be written.
        """
        path = data.resolve() / "owner.sock"
        try:
            try:
                server = _serve(path)
            except OSError:  # the path is too long, or this file system has no sockets
                path = Path(tempfile.mkdtemp(prefix="lapwing-")) / "owner.sock"  # readable by its maker only
                server = _serve(path)
            pointer = data / _POINTER
            pointer.write_text(f"{path}\n", encoding="utf-8")
        except OSError as error:
            raise DataDirectoryError(f"{data}: cannot take orders from commands: {error}") from error
        return cls(server, pointer, path)

    def take(self, orders: Mapping[str, Order]) -> None:
        """Take the named orders from now on."""
        self._server.orders.set_result(orders)

    def close(self) -> None:
        """Take no more orders; closing twice is harmless."""
        self._server.shutdown()
        if not self._server.orders.done():
            self._server.orders.set_exception(UnavailableError("the collector is shutting down"))
        self._server.server_close()
        for file in (self._pointer, self._path):
            file.unlink(missing_ok=True)
        if self._path.parent != self._pointer.parent.resolve():
            with suppress(OSError):
                self._path.parent.rmdir()


def ask_owner(
    data: Path, order: str, arguments: Mapping[str, Any], tell: Tell, *, beside: bool = True
) -> Mapping[str, Any] | None:
    """Let the owner of a data directory do something, or who serves beside it; None where nobody answers.

    Args:
        data: The data directory.
        order: What is to be done.
        arguments: With what.
        tell: Told how far it is.
        beside: Whether who serves beside it is asked, too.

    Raises:
        LapwingError: The owner refused, in its words, or went away before it was done.
    """
    unknown: _UnknownOrderError | None = None
    for folder in (data, DataDirectory(data).serving.root) if beside else (data,):
        try:
            answer = _ask(folder, order, arguments, tell)
        except _UnknownOrderError as error:
            unknown = error
        else:
            if answer is not None:
                return answer
    if unknown is not None:
        raise unknown
    return None


def _ask(data: Path, order: str, arguments: Mapping[str, Any], tell: Tell) -> Mapping[str, Any] | None:
    connection = _connect(data)
    if connection is None:
        return None
    with connection, connection.makefile("rb") as stream:
        with suppress(ConnectionError):  # then there is no answer either
            connection.sendall(json.dumps({"order": order, "arguments": dict(arguments)}).encode() + b"\n")
        for said in _said(stream):
            match said:
                case {"answer": answer}:
                    return dict(answer)
                case {"refused": message, "kind": kind}:
                    raise _REFUSALS.get(kind, LapwingError)(message)
                case {"doing": what, "done": done, "of": total}:
                    tell(what, done, total)
    raise UnavailableError(f"{data}: the collector went away before it was done; ask again when it is back")


def _said(stream: BinaryIO) -> Iterator[Any]:
    """What the owner says, until it went away, be it within a line."""
    with suppress(ConnectionError, ValueError):
        for line in stream:
            yield json.loads(line)


def _connect(data: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        path = (data / _POINTER).read_text(encoding="utf-8").strip()
        connection.settimeout(_CONNECT_S)
        connection.connect(path)
    except OSError:  # none was ever there, or it died
        connection.close()
        return None
    connection.settimeout(None)
    return connection


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self.orders: Future[Mapping[str, Order]] = Future()


def _serve(path: Path) -> _Server:
    """Listen at a path, for the user who runs this only."""
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        return _Server(str(path))
    finally:
        os.umask(before)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):  # whoever asked went away
            try:
                asked = json.loads(self.rfile.readline(_LINE_BYTES))
            except ValueError:
                asked = None
            match asked:
                case {"order": str(name), "arguments": dict(arguments)}:
                    self._answer(name, arguments)
                case _:
                    self._say(refused='expected a line {"order": NAME, "arguments": {…}}', kind="")

    def _answer(self, name: str, arguments: Mapping[str, Any]) -> None:
        def tell(what: str, done: int, total: int) -> None:
            with suppress(OSError):  # it is done all the same
                self._say(doing=what, done=done, of=total)

        try:
            answer = self._order(name)(arguments, tell)
        except LapwingError as error:
            kinds = (kind for kind, each in _REFUSALS.items() if isinstance(error, each))
            self._say(refused=str(error), kind=next(kinds, ""))
        except Exception as error:
            logger.exception("%s failed", name, extra={"action": "order_failed"})
            self._say(refused=f"{name} failed: {error}; the collector's log has more", kind="")
        else:
            self._say(answer=dict(answer))

    def _order(self, name: str) -> Order:
        order = self.server.orders.result().get(name)
        if order is None:
            raise _UnknownOrderError(f"the collector that runs knows no order {name}")
        return order

    def _say(self, **words: Any) -> None:
        self.wfile.write(json.dumps(words).encode() + b"\n")
        self.wfile.flush()
