"""Just enough of HTTP/2 to say to a gRPC server what no gRPC client would."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW = 4


@dataclass(frozen=True)
class Frame:
    """One frame."""

    kind: int
    flags: int
    stream: int
    content: bytes


class Http2:
    """A connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Connect and say hello."""
        self._socket = socket.create_connection(address, timeout=20)
        self._received = b""
        self._window = 65_535
        self._stream_window = 65_535
        self._socket.sendall(_PREFACE)
        self.send(SETTINGS, 0, 0, b"")

    def __enter__(self) -> Self:
        """Give the connection."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._socket.close()

    def send(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        """Send a frame."""
        head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        self._socket.sendall(head + content)

    def frames(self) -> Iterator[Frame]:
        """What the server sends, until it closes; settings are acknowledged, and windows kept."""
        while (head := self._take(9)) is not None:
            content = self._take(int.from_bytes(head[:3], "big")) or b""
            frame = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), content)
            if frame.kind == SETTINGS and not frame.flags & _ACK:
                for at in range(0, len(content), 6):
                    if int.from_bytes(content[at : at + 2], "big") == _INITIAL_WINDOW:
                        self._stream_window += int.from_bytes(content[at + 2 : at + 6], "big") - 65_535
                self.send(SETTINGS, _ACK, 0, b"")
            elif frame.kind == WINDOW_UPDATE and frame.stream:
                self._stream_window += int.from_bytes(content, "big")
            elif frame.kind == WINDOW_UPDATE:
                self._window += int.from_bytes(content, "big")
            yield frame

    def post(self, path: str, headers: dict[str, str], body: bytes) -> list[Frame]:
        """Send one request on the first stream, as fast as the server lets; its frames up to the last."""
        pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "h"}
        block = b"".join(_literal(*header) for header in (pseudo | headers).items())
        self.send(HEADERS, _END_HEADERS, 1, block)
        answered = []
        incoming = self.frames()
        rest = memoryview(body)
        while True:
            while rest and (size := min(len(rest), self._window, self._stream_window, 16_384)) > 0:
                self.send(DATA, _END_STREAM if size == len(rest) else 0, 1, bytes(rest[:size]))
                rest = rest[size:]
                self._window -= size
                self._stream_window -= size
            frame = next(incoming)
            if frame.stream == 1 and frame.kind in {DATA, HEADERS, RST_STREAM}:
                answered.append(frame)
                if frame.kind == RST_STREAM or frame.flags & _END_STREAM:
                    return answered

    def ping(self) -> bool:
        """Ask whether the server is there; False if it is going away instead."""
        self.send(PING, 0, 0, b"12345678")
        for frame in self.frames():
            if frame.kind == GOAWAY:
                return False
            if frame.kind == PING and frame.flags & _ACK:
                return True
        return False

    def _take(self, size: int) -> bytes | None:
        while len(self._received) < size:
            more = self._socket.recv(65_536)
            if not more:
                return None
            self._received += more
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def _literal(name: str, value: str) -> bytes:
    """A header that neither side remembers."""
    return b"\x00" + b"".join(bytes([len(part)]) + part.encode() for part in (name, value))
