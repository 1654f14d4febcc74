"""Real receivers on loopback for notification tests: a webhook and a mail server that keep what they get."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default as modern
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

WAIT_S = 60.0
"""Longest wait for something that happens at once where the code is right."""


class Inbox:
    """What a receiver got, in order; `wait_for` blocks until it holds enough."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._changed = threading.Condition()

    def add(self, item: Any) -> int:
        """Keep `item`; returns how many came before it."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()
            return len(self._items) - 1

    def wait_for(self, count: int) -> list[Any]:
        """The items, once there are at least `count` of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._items) >= count, WAIT_S), self._items
            return list(self._items)

    @property
    def items(self) -> list[Any]:
        """What has come so far."""
        with self._changed:
            return list(self._items)


@dataclass(frozen=True)
class Request:
    """One request to a webhook."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Webhook:
    """A running HTTP receiver.

    Attributes:
        statuses: Answers in order; 200 once they are used up.
        gate: While cleared, requests are taken but not answered.
    """

    port: int
    inbox: Inbox
    statuses: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def url(self, query: str = "") -> str:
        """Its Apprise address."""
        return f"json://127.0.0.1:{self.port}/hook{query}"


@contextmanager
def webhook(*statuses: int, text: str = "") -> Iterator[Webhook]:
    """Run a webhook that answers `text` with `statuses`, then 200."""
    receiver = Webhook(0, Inbox(), list(statuses))
    receiver.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            number = receiver.inbox.add(Request(self.path, dict(self.headers), json.loads(body)))
            receiver.gate.wait(WAIT_S)
            with suppress(ConnectionError):  # who hung up does not hear the answer
                self.send_response(receiver.statuses[number] if number < len(receiver.statuses) else 200)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class MailServer:
    """A running SMTP receiver; its inbox holds parsed mails."""

    port: int
    inbox: Inbox

    def url(self, query: str = "") -> str:
        """Its Apprise address, with one recipient."""
        return f"mailto://127.0.0.1:{self.port}?from=lapwing@example.com&to=ml@example.com{query}"


class _Controller(Controller):
    """A controller that takes whatever port is free."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(answer: Callable[[int], str] = lambda _number: "250 OK") -> Iterator[MailServer]:
    """Run a mail server that answers the mail of each number with `answer`."""
    inbox = Inbox()

    class Handler:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802
            mail = message_from_bytes(envelope.content, policy=modern)
            return answer(inbox.add(mail))

    controller = _Controller(Handler(), hostname="127.0.0.1", port=0)
    controller.start()
    try:
        yield MailServer(controller.port, inbox)
    finally:
        controller.stop()
