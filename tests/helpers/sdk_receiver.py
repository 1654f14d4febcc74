"""A real OTLP/HTTP receiver on a port of this machine, whose answers a test scripts."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from lapwing.testing import Record, decode

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Answer:
    """One scripted answer.

    Attributes:
        status: HTTP status; 0 closes the connection without a word.
        body: The body.
        headers: Further headers.
        cut: Announces a longer body than it sends, then closes.
        before: Called when the request has arrived, before the answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    before: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Arrived:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        """The body, decompressed."""
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def records(self) -> list[Record]:
        """The records in it."""
        return decode(self.body)


class Receiver:
    """Keeps what arrives; gives the scripted answers first, then 200."""

    def __init__(self, answers: Iterable[Answer], port: int) -> None:
        """Listen, on any free port when it is 0."""
        self.requests: list[Arrived] = []
        self._answers = iter(answers)
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.receiver = self
        self.port = self._server.server_port
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def records(self) -> list[Record]:
        """The records of all requests, also of those that were not answered with yes."""
        return [record for request in self.requests for record in request.records]

    def answer(self, request: Arrived) -> Answer:
        """Keep a request and give its answer."""
        self.requests.append(request)
        return next(self._answers, Answer())

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiver(*answers: Answer, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver."""
    running = Receiver(answers, port)
    try:
        yield running
    finally:
        running.close()


def partial_success(rejected: int, message: str) -> Answer:
    """Answer that some records are rejected."""
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = rejected
    response.partial_success.error_message = message
    return Answer(body=response.SerializeToString(), headers={"Content-Type": PROTOBUF})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver.answer(Arrived(self.path, headers, raw))
        answer.before()
        if answer.status == 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) + (50 if answer.cut else 0)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = self.close_connection or answer.cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as inherited
        """Say nothing."""
