"""Tokens, certificates and addresses, over real connections to the servers that the settings describe."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest

from helpers.collector import project, running
from helpers.receive_grpc import call
from helpers.receive_server import PROTOBUF, Answer, Recorder
from helpers.sdk_receiver import Certificates
from lapwing_collector.app.ingest.receiving import Receiving
from lapwing_collector.config import load_settings
from lapwing_collector.errors import ConfigError

TOKEN = "a-token-of-some-length"
WRITER = {"Authorization": f"Bearer {TOKEN}"}


def settings(**flags: Any) -> Any:
    given = {"http.listen": "127.0.0.1:0", "grpc.listen": "127.0.0.1:0"} | flags
    return load_settings(None, flags=given, environment={})


@contextmanager
def receiving(**flags: Any) -> Iterator[tuple[Receiving, Recorder]]:
    """Servers as the settings say, in a thread, and what they took."""
    recorder = Recorder()
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Receiving:
        receiving = Receiving(settings(**flags))
        await receiving.start({})
        receiving.open(recorder, healthy=lambda: True, replaying=lambda: False)
        return receiving

    try:
        servers = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        try:
            yield servers, recorder
        finally:
            asyncio.run_coroutine_threadsafe(servers.stop(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def send(
    servers: Receiving, headers: dict[str, str] | None = None, *, method: str = "POST", path: str = "/v1/logs"
) -> Answer:
    connection = http.client.HTTPConnection(servers.address, timeout=60)
    connection.request(method, path, b"records", PROTOBUF | (headers or {}))
    answer = Answer.read(connection)
    connection.close()
    return answer


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"scoring write {TOKEN}\nana query {TOKEN[::-1]}\n", encoding="utf-8")
    return file


def test_only_tokens_of_writers_may_send(tokens: Path) -> None:
    """5a-31: over HTTP and gRPC, no token is 401, one of another scope 403, and a writer's is taken."""
    wrong, reader = ({"Authorization": f"Bearer {token}"} for token in (TOKEN + "x", TOKEN[::-1]))
    with receiving(**{"auth.tokens": tokens}) as (servers, recorder):
        answers = [send(servers, headers) for headers in ({}, wrong, reader, WRITER)]
        with grpc.insecure_channel(servers.grpc_address) as channel:
            codes = [
                call(channel, b"records", metadata=[(k.lower(), v) for k, v in headers.items()]).code
                for headers in ({}, wrong, reader, WRITER)
            ]
        assert [send(servers, method="GET", path=path).status for path in ("/healthz", "/readyz")] == [
            200,
            200,
        ]
    assert [answer.status for answer in answers] == [401, 401, 403, 200]
    assert [answer.headers["WWW-Authenticate"] for answer in answers] == ["Bearer", "Bearer", None, None]
    assert answers[0].error.message.startswith("a token is needed here")
    assert codes == [
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.OK,
    ]
    assert recorder.bodies == [b"records"] * 2


def test_the_token_is_looked_at_before_the_body(tokens: Path) -> None:
    """5a-31: who may not send hears so before the body is sent, and may go on with another request."""
    with receiving(**{"auth.tokens": tokens}) as (servers, recorder):
        connection = http.client.HTTPConnection(servers.address, timeout=60)
        connection.putrequest("POST", "/v1/logs")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders()
        assert Answer.read(connection).status == 401
        connection.send(bytes(1_000_000))
        connection.request("POST", "/v1/logs", b"records", PROTOBUF | WRITER)
        assert Answer.read(connection).status == 200
        connection.close()
    assert recorder.bodies == [b"records"]


def test_who_asks_first_is_refused_and_hung_up_on(tokens: Path) -> None:
    """5a-31: who asks before it sends a body is refused without it, on a connection that ends there."""
    with receiving(**{"auth.tokens": tokens}) as (servers, _):
        host, _, port = servers.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as client:
            client.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n")
            client.sendall(b"Content-Length: 9\r\n\r\n")
            assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 401")


def test_asking_needs_a_token_too(tokens: Path, tmp_path: Path) -> None:
    """SQL over HTTP and metrics want a token that may ask, where senders want one that may write."""
    headers = [{}, WRITER, {"Authorization": f"Bearer {TOKEN[::-1]}"}]
    with running(project(tmp_path / "data", **{"auth.tokens": tokens})) as collector:
        connection = http.client.HTTPConnection(collector.web, timeout=60)
        statuses = []
        for path in ("/api/v1/sql?sql=SELECT+1", "/metrics", "/healthz"):
            for given in headers:
                connection.request("GET", path, headers=given)
                statuses.append(Answer.read(connection).status)
        connection.close()
    assert statuses == [401, 403, 200, 401, 403, 200, 200, 200, 200]


def test_servers_show_their_certificate(tmp_path: Path) -> None:
    """Over HTTPS and gRPC with TLS, a client that trusts the authority delivers, others do not connect."""
    certificates = Certificates(tmp_path)
    flags = {"tls.certificate": certificates.server, "tls.key": certificates.server_key}
    with receiving(**flags) as (servers, recorder):
        context = ssl.create_default_context(cafile=certificates.authority)
        connection = http.client.HTTPSConnection(servers.address, timeout=60, context=context)
        connection.request("POST", "/v1/logs", b"records", PROTOBUF)
        assert Answer.read(connection).status == 200
        connection.close()
        stranger = http.client.HTTPSConnection(servers.address, timeout=60)
        with pytest.raises(ssl.SSLCertVerificationError):
            stranger.request("POST", "/v1/logs", b"records", PROTOBUF)
        stranger.close()
        authority = Path(certificates.authority).read_bytes()
        with grpc.secure_channel(servers.grpc_address, grpc.ssl_channel_credentials(authority)) as channel:
            assert call(channel, b"records").code is grpc.StatusCode.OK
    assert recorder.bodies == [b"records"] * 2


def test_clients_show_theirs_where_they_must(tmp_path: Path) -> None:
    """With an authority for clients, one with its certificate delivers over both, one without is refused."""
    certificates = Certificates(tmp_path)
    flags = {
        "tls.certificate": certificates.server,
        "tls.key": certificates.server_key,
        "tls.client_authority": certificates.authority,
    }
    authority = Path(certificates.authority).read_bytes()
    key, chain = (Path(file).read_bytes() for file in (certificates.client_key, certificates.client))
    with receiving(**flags) as (servers, recorder):
        for known in (True, False):
            context = ssl.create_default_context(cafile=certificates.authority)
            credentials = grpc.ssl_channel_credentials(authority)
            if known:
                context.load_cert_chain(certificates.client, certificates.client_key)
                credentials = grpc.ssl_channel_credentials(authority, key, chain)
            connection = http.client.HTTPSConnection(servers.address, timeout=60, context=context)
            with grpc.secure_channel(servers.grpc_address, credentials) as channel:
                if known:
                    connection.request("POST", "/v1/logs", b"records", PROTOBUF)
                    assert Answer.read(connection).status == 200
                    assert call(channel, b"records").code is grpc.StatusCode.OK
                else:
                    with pytest.raises(OSError):  # noqa: PT011, PT012  # which one, and when, is not ours
                        connection.request("POST", "/v1/logs", b"records", PROTOBUF)
                        connection.getresponse()
                    assert call(channel, b"records").code is grpc.StatusCode.UNAVAILABLE
            connection.close()
    assert recorder.bodies == [b"records"] * 2


def test_browsers_are_told_nothing_by_default() -> None:
    """5a-24: without pages in the settings, nothing lets a browser send from one."""
    with receiving() as (servers, _):
        answer = send(servers, {"Origin": "https://app.example.org"})
        preflight = send(servers, {"Origin": "https://app.example.org"}, method="OPTIONS")
    assert (answer.status, preflight.status) == (200, 405)
    told = [*answer.headers, *preflight.headers]
    assert not [name for name in told if name.lower().startswith("access-control")]


@pytest.mark.parametrize("origins", ["https://app.example.org,https://b", "*"])
def test_pages_of_the_list_may_send(tokens: Path, origins: str) -> None:
    """5a-24: pages of the list pass the preflight without a token and may send, never with cookies."""
    page, other = {"Origin": "https://app.example.org"}, {"Origin": "https://evil.example.org"}
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with receiving(**{"auth.tokens": tokens, "http.cors_origins": origins}) as (servers, _):
        preflight = send(servers, page | ask, method="OPTIONS")
        sent = [send(servers, page | WRITER), send(servers, page)]
        strangers = [send(servers, other | ask, method="OPTIONS"), send(servers, other | WRITER)]
    allowed = {"https://app.example.org", "*"}
    assert [answer.status for answer in (preflight, *sent)] == [200, 200, 401]
    assert all(answer.headers["Access-Control-Allow-Origin"] in allowed for answer in (preflight, *sent))
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
    told = [answer.headers["Access-Control-Allow-Origin"] for answer in strangers]
    assert told == (["*", "*"] if origins == "*" else [None, None])
    every = (preflight, *sent, *strangers)
    assert not [answer for answer in every if answer.headers["Access-Control-Allow-Credentials"]]


@pytest.mark.parametrize("section", ["http.listen", "grpc.listen"])
def test_an_open_address_needs_protection(tokens: Path, tmp_path: Path, section: str) -> None:
    """Beyond loopback servers need tokens, or clients' certificates, or somebody's word that they do not."""
    with pytest.raises(ConfigError, match=rf"^{section} \(0.0.0.0:0\) can be reached from other machines"):
        Receiving(settings(**{section: "0.0.0.0:0"}))
    Receiving(settings(**{section: "0.0.0.0:0", "auth.tokens": tokens}))
    Receiving(settings(**{section: "0.0.0.0:0", "insecure": True}))
    certificates = Certificates(tmp_path)
    tls = {"tls.certificate": certificates.server, "tls.key": certificates.server_key}
    with pytest.raises(ConfigError, match="can be reached"):
        Receiving(settings(**{section: "0.0.0.0:0"}, **tls))
    Receiving(settings(**{section: "0.0.0.0:0", "tls.client_authority": certificates.authority}, **tls))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"tls.certificate": "server"}, "certificate and key need each other"),
        ({"tls.client_authority": "server"}, "client_authority needs both"),
        ({"tls.certificate": "nothing", "tls.key": "server_key"}, "nothing.* cannot be used: .*No such file"),
        ({"tls.certificate": "server", "tls.key": "client_key"}, "cannot be used: .*(?i:mismatch)"),
        (
            {"tls.certificate": "server", "tls.key": "server_key", "tls.client_authority": "server_key"},
            "tls.client_authority: .* cannot be used",
        ),
        ({"auth.tokens": "nothing"}, "nothing: the file of tokens cannot be read"),
    ],
)
def test_files_of_no_use_are_told(tmp_path: Path, names: dict[str, str], told: str) -> None:
    """Files that are missing or of no use, alone or together, are named before anything listens."""
    certificates = Certificates(tmp_path)
    flags = {key: getattr(certificates, name, str(tmp_path / name)) for key, name in names.items()}
    with pytest.raises(ConfigError, match=told):
        Receiving(settings(**flags))
