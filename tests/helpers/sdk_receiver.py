"""Real OTLP receivers, HTTP and gRPC, on a port of this machine, whose answers a test scripts."""

import gzip
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from lapwing.testing import Record, decode

PROTOBUF = "application/x-protobuf"
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


class Certificates:
    """Files of an authority, and of a client that it vouches for; what servers need of them."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        """Make an authority that vouches for a server on `host` and for a client."""
        self._authority = trustme.CA()
        self._server = self._authority.issue_cert(host)
        client = self._authority.issue_cert("client@example.org")
        self.authority = str(folder / "authority.pem")
        self.client = str(folder / "client.pem")
        self.client_key = str(folder / "client.key")
        self.server = str(folder / "server.pem")
        self.server_key = str(folder / "server.key")
        self.client_with_key = str(folder / "client_with_key.pem")
        self._authority.cert_pem.write_to_path(self.authority)
        client.cert_chain_pems[0].write_to_path(self.client)
        client.private_key_pem.write_to_path(self.client_key)
        for number, part in enumerate(self._server.cert_chain_pems):
            part.write_to_path(self.server, append=number > 0)
        self._server.private_key_pem.write_to_path(self.server_key)
        client.private_key_and_cert_chain_pem.write_to_path(self.client_with_key)

    def context(self, *, mutual: bool) -> ssl.SSLContext:
        """Give what an HTTP server needs; a mutual one refuses clients without a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED if mutual else ssl.CERT_NONE
        return context

    def credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """Give what a gRPC server needs."""
        chain = b"".join(part.bytes() for part in self._server.cert_chain_pems)
        return grpc.ssl_server_credentials(
            [(self._server.private_key_pem.bytes(), chain)],
            self._authority.cert_pem.bytes(),
            require_client_auth=mutual,
        )


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

    def __init__(self, answers: Iterable[Answer], port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on any free port when it is 0."""
        self.requests: list[Arrived] = []
        self._answers = iter(answers)
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.receiver = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def records(self) -> list[Record]:
        """The records of all requests, also of those that were not answered with yes."""
        return [record for request in self.requests for record in request.records]

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return self._server.connections

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
def receiver(*answers: Answer, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver."""
    running = Receiver(answers, port, tls)
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
    connections = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about clients that go away in the middle."""


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


@dataclass(frozen=True)
class GrpcAnswer:
    """One scripted answer of the gRPC receiver.

    Attributes:
        code: Status.
        details: Its message.
        body: The message where the status is OK.
        metadata: Trailing metadata.
        before: Called when the request has arrived, before the answer.
    """

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    body: bytes = b""
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    before: Callable[[], Any] = lambda: None


class GrpcReceiver(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Keeps what arrives; gives the scripted answers first, then OK."""

    def __init__(
        self, answers: Iterable[GrpcAnswer], port: int = 0, tls: grpc.ServerCredentials | None = None
    ) -> None:
        """Listen, on any free port when it is 0."""
        self.requests: list[Arrived] = []
        self._answers = iter(answers)
        self._threads = ThreadPoolExecutor(2)
        options = [("grpc.max_receive_message_length", 64 * 1024 * 1024), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(self._threads, (self,), options=options)
        address = f"127.0.0.1:{port}"
        bind = self._server.add_insecure_port
        self.port = bind(address) if tls is None else self._server.add_secure_port(address, tls)
        self.endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._server.start()

    @property
    def records(self) -> list[Record]:
        """The records of all requests, also of those that were not answered with OK."""
        return [record for request in self.requests for record in request.records]

    def service(self, details: Any) -> Any:
        """Serve one method, and say UNIMPLEMENTED to others."""
        return grpc.unary_unary_rpc_method_handler(self._export) if details.method == EXPORT else None

    def _export(self, body: bytes, context: Any) -> bytes:
        self.requests.append(Arrived(EXPORT, dict(context.invocation_metadata()), body))
        answer = next(self._answers, GrpcAnswer())
        answer.before()
        context.set_trailing_metadata(answer.metadata)
        context.set_code(answer.code)
        context.set_details(answer.details)
        return answer.body

    def close(self) -> None:
        """Stop listening."""
        self._server.stop(None).wait()
        self._threads.shutdown()


@contextmanager
def grpc_receiver(
    *answers: GrpcAnswer, port: int = 0, tls: grpc.ServerCredentials | None = None
) -> Iterator[GrpcReceiver]:
    """Run a gRPC receiver."""
    running = GrpcReceiver(answers, port, tls)
    try:
        yield running
    finally:
        running.close()


class Relay:
    """Passes connections on to a port and keeps what clients send; a proxy to those that say CONNECT."""

    def __init__(self, port: int) -> None:
        """Listen on a port of its own."""
        self.sent = bytearray()
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._accept)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # when it is shut down
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                Thread(target=self._pump, args=(client, server), daemon=True).start()
                Thread(target=self._pump_back, args=(server, client), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while data := client.recv(64 * 1024):
                self.sent += data
                if data.startswith(b"CONNECT "):
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    server.sendall(data)

    def _pump_back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(64 * 1024):
                client.sendall(data)


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """Run a relay."""
    running = Relay(port)
    try:
        yield running
    finally:
        running.close()
