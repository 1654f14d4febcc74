"""An inbox for the demo's messages: a webhook and a mail server on this machine, which refuse nothing."""

import asyncio
import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Literal, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from lapwing_collector.clock import Clock, utc_datetime

HOST: Final = "127.0.0.1"

_KEY_HEADER: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that arrived.

    Attributes:
        via: The way it came.
        received_at: Wall-clock time, naive UTC.
        title: Empty where it has none.
        body: Plain text.
        key: Its idempotency key; empty where it has none.
    """

    via: Literal["http", "smtp"]
    received_at: datetime
    title: str
    body: str
    key: str


_Deliver = Callable[[Literal["http", "smtp"], str, str, str], None]
"""Takes over a message's `via`, `title`, `body` and `key`."""


class Inbox:
    """Receives messages while it is entered (`with`).

    Attributes:
        http_port: Where the webhook listens on `HOST`, once entered.
        smtp_port: Where the mail server listens, likewise.
    """

    http_port: int
    smtp_port: int

    def __init__(self, clock: Clock, on_delivery: Callable[[Delivery], None] = lambda _: None) -> None:
        """Prepare; nothing is opened yet.

        Args:
            clock: Gives the deliveries their times.
            on_delivery: Told of each delivery before the sender is answered, one at a time, in other threads.
        """
        self._clock = clock
        self._on_delivery = on_delivery
        self._deliveries: list[Delivery] = []
        self._lock = threading.RLock()
        self._receivers = ExitStack()

    def __enter__(self) -> Self:
        """Open both ports."""
        with ExitStack() as receivers:
            self.http_port = receivers.enter_context(_webhook(self._deliver))
            self.smtp_port = receivers.enter_context(_mail_server(self._deliver))
            self._receivers = receivers.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close both ports and end the threads; the deliveries stay."""
        self._receivers.close()

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """What has arrived so far, in order of arrival."""
        with self._lock:
            return tuple(self._deliveries)

    def _deliver(self, via: Literal["http", "smtp"], title: str, body: str, key: str) -> None:
        with self._lock:
            delivery = Delivery(via, utc_datetime(self._clock.now_ns()), title, body, key)
            self._deliveries.append(delivery)
            self._on_delivery(delivery)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for requests under way


@contextmanager
def _webhook(deliver: _Deliver) -> Iterator[int]:
    """Receive posted messages; gives the port."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds of silence until a client is left alone

        def do_POST(self) -> None:
            """Take over whatever was posted."""
            text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
            title, body = _posted(text)
            deliver("http", title, body, self.headers.get(_KEY_HEADER, ""))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent: standard error belongs to the demo's progress bar."""

    with _HttpServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="inbox-http")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _posted(text: str) -> tuple[str, str]:
    """Find title and body in what Apprise's `json://` posts; any other text is a body."""
    try:
        message = json.loads(text)
    except ValueError:
        return "", text
    if not isinstance(message, dict):
        return "", text
    return str(message.get("title", "")), str(message.get("message", ""))


class _MailHandler:
    def __init__(self, deliver: _Deliver) -> None:
        self._deliver = deliver

    async def handle_DATA(  # noqa: N802  # aiosmtpd looks for this name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        mail = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
        text = mail.get_body(("plain", "html"))
        body = text.get_content() if text else ""
        self._deliver("smtp", mail["Subject"] or "", "\n".join(body.splitlines()), mail[_KEY_HEADER] or "")
        return "250 OK"


@contextmanager
def _mail_server(deliver: _Deliver) -> Iterator[int]:
    """Receive mail; gives the port."""
    loop = asyncio.new_event_loop()
    handler = _MailHandler(deliver)
    listening = loop.create_server(
        lambda: SMTP(handler, hostname="localhost", enable_SMTPUTF8=True, loop=loop), HOST, 0
    )
    server = loop.run_until_complete(listening)
    thread = threading.Thread(target=loop.run_forever, name="inbox-smtp")
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_close(server))
        loop.close()


async def _close(server: asyncio.Server) -> None:
    """Stop listening and hang up on every client."""
    server.close()
    clients = asyncio.all_tasks() - {asyncio.current_task()}
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
