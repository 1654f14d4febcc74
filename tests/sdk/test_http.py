"""The HTTP transport against real servers and proxies, and what replies mean."""

import base64
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from random import randbytes
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
from google.rpc.status_pb2 import Status

import lapwing
from helpers.sdk_receiver import PROTOBUF, Answer, Certificates, partial_success, receiver, relay
from lapwing._config import Settings, resolve
from lapwing._deliver import Accepted, Refused, Unavailable
from lapwing._http import HttpTransport, Reply, judge

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def settings(**arguments: Any) -> Settings:
    """Resolve settings without an environment."""
    return resolve(arguments, {}, pytest.fail)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy of the machine interfere."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_request_is_what_otlp_says() -> None:
    """A body goes to the endpoint's path with OTLP's headers, and the host's own headers win."""
    with receiver() as running:
        transport = HttpTransport(
            settings(endpoint=f"{running.endpoint}/base", headers={"X-Key": "k", "User-Agent": "mine"})
        )
        assert transport.post(b"body", 5) == Accepted()
        (request,) = running.requests
    assert (request.path, request.raw) == ("/base/v1/logs", b"body")
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["accept-encoding"] == "identity"
    assert (request.headers["x-key"], request.headers["user-agent"]) == ("k", "mine")


def test_a_header_is_sent_once() -> None:
    """A header of the host's takes the place of the exporter's, however it is spelt."""
    with receiver() as running, relay(running.port) as wire:
        endpoint = f"http://127.0.0.1:{wire.port}"
        HttpTransport(settings(endpoint=endpoint, headers={"USER-Agent": "mine"})).post(b"", 5)
    assert wire.sent.lower().count(b"user-agent: ") == 1


def test_it_says_who_it_is() -> None:
    """The default user agent is the exporter's name and version."""
    with receiver() as running:
        HttpTransport(settings(endpoint=running.endpoint)).post(b"", 5)
        assert (
            running.requests[0].headers["user-agent"] == f"Lapwing-OTLP-Exporter-Python/{lapwing.__version__}"
        )


def test_requests_share_a_connection() -> None:
    """Requests go over one connection, answers with a body included, until the server closes it."""
    answers = [partial_success(1, "no"), Answer(503, b"<h1>"), Answer(headers={"Connection": "close"})]
    with receiver(*answers) as running:
        transport = HttpTransport(settings(endpoint=running.endpoint))
        fates = [transport.post(b"body", 5) for _ in range(3)]
        assert fates == [Accepted(1, "no"), Unavailable("status 503"), Accepted()]
        assert running.connections == 1
        assert transport.post(b"body", 5) == Accepted()
        assert running.connections == 2


def test_an_endless_answer_is_refused_and_left_behind() -> None:
    """An answer over 4 MiB is not read on, and the next request is not confused by what was left of it."""
    with receiver(Answer(body=bytes(4 * 1024 * 1024 + 1))) as running:
        transport = HttpTransport(settings(endpoint=running.endpoint))
        assert isinstance(transport.post(b"body", 5), Refused)
        assert transport.post(b"body", 5) == Accepted()


@pytest.mark.parametrize("answer", [Answer(0), Answer(cut=True)], ids=["closed", "cut"])
def test_no_whole_answer_is_none(answer: Answer) -> None:
    """A connection that closes before or amid the answer leaves the request unanswered."""
    with receiver(answer) as running:
        transport = HttpTransport(settings(endpoint=running.endpoint))
        assert isinstance(transport.post(b"body", 5), Unavailable)
        assert transport.post(b"body", 5) == Accepted()


def test_silence_is_not_waited_for() -> None:
    """An answer that takes longer than the time allowed is none."""
    silent = Event()
    with receiver(Answer(before=lambda: silent.wait(3))) as running:
        fate = HttpTransport(settings(endpoint=running.endpoint)).post(b"body", 0.1)
        silent.set()
    assert isinstance(fate, Unavailable)
    assert "timed out" in fate.message


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"


@contextmanager
def dripping(start: bytes, drop: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server that answers with a start, and for a minute with a drop now and then; gives its port."""
    over = Event()

    class Dripping(StreamRequestHandler):
        def handle(self) -> None:
            """Drip, or without a drop take the request by and by."""
            with suppress(OSError):
                taken = self.request.recv(1 << 16 if drop else 64)
                self.wfile.write(start)
                for _ in range(3000):
                    if not taken or over.wait(0.02):
                        break
                    if drop:
                        self.wfile.write(drop)
                    else:
                        taken = self.request.recv(4096)

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Dripping) as server:
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that it takes little
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            over.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (HEAD + b"X-", b"a: b\r\nX-"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"X"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nX\r\n"),
        (b"", b""),
    ],
    ids=["header", "headers", "body", "chunks", "request"],
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_an_attempt_ends_in_time_whatever_drips(
    tmp_path: Path, start: bytes, drop: bytes, *, encrypted: bool
) -> None:
    """However a server spreads what it says, or takes, an attempt takes no minute, but what it may."""
    known = Certificates(tmp_path) if encrypted else None
    with dripping(start, drop, known and known.context(mutual=False)) as port:
        scheme, authority = ("https", known.authority) if known else ("http", None)
        transport = HttpTransport(settings(endpoint=f"{scheme}://127.0.0.1:{port}", certificate=authority))
        begun = monotonic()
        fate = transport.post(b"body" if drop else randbytes(24 << 20), 0.4)
        took_s = monotonic() - begun
        transport.close()
    assert isinstance(fate, Unavailable)
    assert "timed out" in fate.message
    assert took_s < 30


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """An address that answers no attempt to connect, as its queue is full."""
    with ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            knocking = opened.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(full.getsockname())
        yield full.getsockname()


def named(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Let every name have these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", each) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_many_silent_addresses_take_no_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses of a name share the time of an attempt; each with all of it would take minutes."""
    with silent() as nobody:
        named(monkeypatch, *[nobody] * 300)
        begun = monotonic()
        fate = HttpTransport(settings(endpoint="http://name.example:1")).post(b"body", 0.4)
        took_s = monotonic() - begun
    assert isinstance(fate, Unavailable)
    assert "timed out" in fate.message
    assert took_s < 30


def test_a_silent_address_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose first address is silent is delivered to at its second one, within the attempt."""
    with silent() as nobody, receiver() as running:
        named(monkeypatch, nobody, ("127.0.0.1", running.port))
        assert HttpTransport(settings(endpoint="http://name.example:1")).post(b"body", 4) == Accepted()


def test_a_handshake_has_what_connecting_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a silent address took of an attempt is not given to the handshake again."""
    allowed: list[float | None] = []

    class Watching(ssl.SSLContext):
        def wrap_socket(self, sock: socket.socket, *arguments: Any, **more: Any) -> ssl.SSLSocket:
            """Note how long it may take."""
            allowed.append(sock.gettimeout())
            return super().wrap_socket(sock, *arguments, **more)

    monkeypatch.setattr("lapwing._http.tls_context", lambda *_: Watching(ssl.PROTOCOL_TLS_CLIENT))
    with silent() as nobody, socket.create_server(("127.0.0.1", 0)) as mute:
        named(monkeypatch, nobody, mute.getsockname())
        fate = HttpTransport(settings(endpoint="https://name.example:1")).post(b"body", 0.6)
    assert isinstance(fate, Unavailable)
    [allowed_s] = allowed
    assert allowed_s is not None
    assert 0 < allowed_s <= 0.3


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 64])
def test_a_name_without_address_is_unavailable(host: str) -> None:
    """A name that has no address, or cannot have one, may have one later."""
    fate = HttpTransport(settings(endpoint=f"http://{host}:1")).post(b"body", 5)
    assert isinstance(fate, Unavailable)
    assert host in fate.message


def test_redirects_are_not_followed() -> None:
    """A redirect is an answer, and no other place gets the data."""
    with receiver() as other, receiver(Answer(307, headers={"Location": other.endpoint})) as running:
        assert HttpTransport(settings(endpoint=running.endpoint)).post(b"", 5) == Refused("status 307")
        assert other.requests == []


def test_gzip_is_the_same_each_time() -> None:
    """Compressed bodies say so, hold the body, and have the same bytes when they are sent again."""
    with receiver(Answer(503)) as running:
        transport = HttpTransport(settings(endpoint=running.endpoint, compression="gzip"))
        transport.post(b"body" * 1000, 5)
        transport.post(b"body" * 1000, 5)
        first, second = running.requests
    assert first.headers["content-encoding"] == "gzip"
    assert first.body == b"body" * 1000
    assert first.raw == second.raw
    assert first.raw[4:8] == bytes(4), "the time in its header"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The proxy gets the whole URL and the login that its own URL has, and `no_proxy` spares hosts."""
    with receiver() as proxy:
        monkeypatch.setenv(variable, f"http://us%40er:pa%3Ass@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        transport = HttpTransport(settings(endpoint="http://collector.example:4318"))
        assert transport.post(b"body", 5) == Accepted()
        (request,) = proxy.requests
        assert request.path == "http://collector.example:4318/v1/logs"
        assert request.headers["host"] == "collector.example:4318"
        login = base64.b64encode(b"us@er:pa:ss").decode()
        assert request.headers["proxy-authorization"] == f"Basic {login}"
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
        with receiver() as near:
            HttpTransport(settings(endpoint=near.endpoint)).post(b"body", 5)
            assert (len(near.requests), len(proxy.requests)) == (1, 1)


def test_a_proxy_needs_no_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named as host and port is an HTTP proxy."""
    with receiver() as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        assert HttpTransport(settings(endpoint="http://collector.example")).post(b"", 5) == Accepted()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_some_statuses_are_tried_again(status: int) -> None:
    """OTLP's retryable statuses mean that the receiver is unavailable."""
    assert judge(Reply(status), 0) == Unavailable(f"status {status}")


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 415, 500, 501])
def test_other_statuses_are_final(status: int) -> None:
    """No other status is ever tried again."""
    assert judge(Reply(status), 0) == Refused(f"status {status}")


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("3", 3),
        ("0", 0),
        ("-5", 0),
        (format_datetime(NOW + timedelta(seconds=7), usegmt=True), 7),
        (format_datetime(NOW - timedelta(seconds=7), usegmt=True), 0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(retry_after: str, seconds: float | None) -> None:
    """5a-34: seconds and dates in `Retry-After` are read, and what says nothing does not count."""
    fate = judge(Reply(503, retry_after=retry_after), NOW.timestamp())
    assert fate == Unavailable("status 503", seconds)


def test_a_partial_success_counts_the_rejected() -> None:
    """The rejected records and the reason are read from a reply in protobuf."""
    body = partial_success(3, "no such model").body
    assert judge(Reply(200, PROTOBUF, body=body), 0) == Accepted(3, "no such model")


def test_refusals_say_why() -> None:
    """The message of the Status in a refusal is part of what is told."""
    body = Status(code=3, message="not OTLP").SerializeToString()
    assert judge(Reply(400, PROTOBUF, body=body), 0) == Refused("status 400 not OTLP")


@pytest.mark.parametrize(
    ("reply", "fate"),
    [
        (Reply(200, "application/json", body=b"{}"), Accepted()),
        (Reply(200, PROTOBUF, body=b"\xff\xff"), Accepted()),
        (Reply(503, "text/html", body=b"<h1>"), Unavailable("status 503")),
        (Reply(400, PROTOBUF, body=b"\xff\xff"), Refused("status 400")),
        (
            Reply(200, PROTOBUF, body=None),
            Refused("status 200 with more of an answer than a collector gives"),
        ),
    ],
)
def test_strange_replies_are_judged_by_their_status(reply: Reply, fate: object) -> None:
    """A body that cannot be read changes nothing about the status; one that is too large is no answer."""
    assert judge(reply, 0) == fate
