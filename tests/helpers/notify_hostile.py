"""Receivers on loopback that misbehave: HTTP and SMTP servers that stall, drip, refuse and break off."""

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from helpers.notify_receivers import Inbox

DRIP_S = 0.05
"""Between two bytes of a server that drips."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Behaviour = Callable[["Receiver", socket.socket], None]
"""What a receiver does with a connection once it has read what it wants to."""


@dataclass
class Receiver:
    """A running server; its inbox holds the requests, as bytes.

    Attributes:
        ended: Set when the test is over: who stalls or drips does so until then.
    """

    port: int = 0
    inbox: Inbox = field(default_factory=Inbox)
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, query: str = "") -> str:
        """Its Apprise address as a webhook."""
        return f"json://127.0.0.1:{self.port}/hook{query}"

    def mail_url(self, query: str = "") -> str:
        """Its Apprise address as a mail server."""
        return f"mailto://127.0.0.1:{self.port}?from=lapwing@example.com&to=ml@example.com{query}"


def answer(status: str, *headers: str, text: str = "") -> Behaviour:
    """Answer as told: `answer("429 Too Many Requests", "Retry-After: 7")`."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(text)}", *headers])
    return lambda _receiver, connection: connection.sendall(f"{head}\r\n\r\n{text}".encode())


def stall(receiver: Receiver, _connection: socket.socket) -> None:
    """Say nothing."""
    receiver.ended.wait()


def drip(receiver: Receiver, connection: socket.socket) -> None:
    """Answer a byte at a time, without an end."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
        if receiver.ended.wait(DRIP_S):
            return
        connection.sendall(bytes([byte]))


def drip_body(receiver: Receiver, connection: socket.socket) -> None:
    """Answer with an error at once, and with its text a byte at a time."""
    connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10000\r\n\r\n")
    while not receiver.ended.wait(DRIP_S):
        connection.sendall(b"x")


def close(_receiver: Receiver, _connection: socket.socket) -> None:
    """Break off without an answer."""


def close_within(_receiver: Receiver, connection: socket.socket) -> None:
    """Break off within the answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")


def garbage(_receiver: Receiver, connection: socket.socket) -> None:
    """Answer with what is no HTTP."""
    connection.sendall(b"\x00\x01\x02 no protocol at all\r\n\r\n")


@contextmanager
def http_receiver(*behaviours: Behaviour) -> Iterator[Receiver]:
    """Run a server that treats its connections as told, in order, and answers 200 afterwards."""

    def converse(receiver: Receiver, connection: socket.socket) -> None:
        number = receiver.inbox.add(_request(connection))
        if number < len(behaviours):
            behaviours[number](receiver, connection)
        else:
            connection.sendall(OK)

    with _serving(converse) as receiver:
        yield receiver


@contextmanager
def drip_from_the_start(*, greeting: bytes = b"220 ") -> Iterator[Receiver]:
    """Run a mail server whose greeting has no end."""

    def converse(receiver: Receiver, connection: socket.socket) -> None:
        receiver.inbox.add(b"")
        connection.sendall(greeting)
        while not receiver.ended.wait(DRIP_S):
            connection.sendall(b"x")

    with _serving(converse) as receiver:
        yield receiver


@contextmanager
def smtp_receiver(**replies: str) -> Iterator[Receiver]:
    """Run a mail server that answers commands as told: `RCPT="550 no such user"`; an empty reply breaks off.

    `DOT` is the answer to the mail itself. The inbox holds the mails that were taken.
    """

    def converse(receiver: Receiver, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        connection.sendall(b"220 stub ESMTP\r\n")
        while line := stream.readline():
            verb = line.split()[0].upper().decode()
            reply = replies.get(verb, "354 go on" if verb == "DATA" else "250 ok")
            if not reply:
                return
            connection.sendall(f"{reply}\r\n".encode())
            if verb == "QUIT":
                return
            if verb == "DATA" and reply.startswith("354"):
                mail = b"".join(iter(stream.readline, b".\r\n"))
                reply = replies.get("DOT", "250 taken")
                if reply.startswith("250"):
                    receiver.inbox.add(mail)
                if not reply:
                    return
                connection.sendall(f"{reply}\r\n".encode())

    with _serving(converse) as receiver:
        yield receiver


def refused_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
        return port


def _request(connection: socket.socket) -> bytes:
    """Read one HTTP request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@contextmanager
def _serving(converse: Callable[[Receiver, socket.socket], None]) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # who hung up hears no more
                converse(receiver, self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
