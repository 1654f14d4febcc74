"""Encrypted connections to real servers with certificates of a real authority, over HTTP and gRPC alike."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import lapwing
from helpers.sdk_receiver import Certificates, grpc_receiver, receiver, relay
from lapwing import _process
from lapwing._config import resolve
from lapwing._deliver import Accepted, Fate, Transport, Unavailable
from lapwing._grpc import GrpcTransport
from lapwing._http import HttpTransport

PROTOCOLS = ("http/protobuf", "grpc")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make an authority, and certificates of a server on 127.0.0.1 and of a client."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def others(tmp_path: Path) -> Certificates:
    """Make an authority that the server does not know, and that does not know the server."""
    return Certificates(tmp_path, host="elsewhere.example")


def serve(protocol: str, certificates: Certificates, *, mutual: bool = False) -> AbstractContextManager[Any]:
    """Run a receiver with TLS."""
    if protocol == "grpc":
        return grpc_receiver(tls=certificates.credentials(mutual=mutual))
    return receiver(tls=certificates.context(mutual=mutual))


def post(protocol: str, endpoint: str, variables: dict[str, str] | None = None, **arguments: Any) -> Fate:
    """Send one request."""
    arguments |= {"protocol": protocol, "endpoint": endpoint}
    settings = resolve(arguments, variables or {}, pytest.fail)
    transport: Transport = GrpcTransport(settings) if protocol == "grpc" else HttpTransport(settings)
    return transport.post(b"body", 5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_trusted_server_is_talked_to(protocol: str, certificates: Certificates) -> None:
    """With the authority's file, from the argument or a variable, requests arrive."""
    with serve(protocol, certificates) as running:
        assert post(protocol, running.endpoint, certificate=certificates.authority) == Accepted()
        for name in ("OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE"):
            assert post(protocol, running.endpoint, {name: certificates.authority}) == Accepted()
        assert [request.raw for request in running.requests] == [b"body"] * 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stranger_is_not_talked_to(protocol: str, certificates: Certificates, others: Certificates) -> None:
    """Without the right authority nothing arrives, and the message says which setting helps."""
    with serve(protocol, certificates) as running:
        for arguments in ({}, {"certificate": others.authority}):
            fate = post(protocol, running.endpoint, **arguments)
            assert isinstance(fate, Unavailable)
            assert "CERTIFICATE_VERIFY_FAILED" in fate.message
            assert "set certificate (OTEL_EXPORTER_OTLP_CERTIFICATE)" in fate.message
        assert running.requests == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_with_another_name_is_not_talked_to(protocol: str, others: Certificates) -> None:
    """A certificate for another host does not count, whoever signed it."""
    with serve(protocol, others) as running:
        fate = post(protocol, running.endpoint, certificate=others.authority)
        assert isinstance(fate, Unavailable)
        assert running.requests == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_asks_gets_the_clients_certificate(protocol: str, certificates: Certificates) -> None:
    """Certificate and key, in two files or in one, from arguments or variables, open a server that asks."""
    with serve(protocol, certificates, mutual=True) as running:
        trust = {"certificate": certificates.authority}
        two = {"client_certificate": certificates.client, "client_key": certificates.client_key}
        assert post(protocol, running.endpoint, **trust, **two) == Accepted()
        one = {"client_certificate": certificates.client_with_key}
        assert post(protocol, running.endpoint, **trust, **one) == Accepted()
        variables = {
            "OTEL_EXPORTER_OTLP_CERTIFICATE": certificates.authority,
            "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE": certificates.client,
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": certificates.client_key,
        }
        assert post(protocol, running.endpoint, variables) == Accepted()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_asks_refuses_others(
    protocol: str, certificates: Certificates, others: Certificates
) -> None:
    """Without a certificate, or with one that the server's authority did not sign, nothing arrives."""
    with serve(protocol, certificates, mutual=True) as running:
        trust = {"certificate": certificates.authority}
        fate = post(protocol, running.endpoint, **trust)
        assert isinstance(fate, Unavailable)
        wrong = {"client_certificate": others.client_with_key}
        fate = post(protocol, running.endpoint, **trust, **wrong)
        assert isinstance(fate, Unavailable)
        assert running.requests == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("setting", ["certificate", "client_certificate"])
def test_files_that_cannot_be_used_are_named(protocol: str, setting: str, tmp_path: Path) -> None:
    """A file that is missing or holds no certificate leaves the receiver unavailable, and is named."""
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for file in (missing, wrong):
        fate = post(protocol, "https://127.0.0.1:9", **{setting: str(file)})
        assert isinstance(fate, Unavailable)
        assert f"cannot use {file}: " in fate.message


def test_a_proxy_passes_encrypted_requests_on(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy an https endpoint is reached with CONNECT, and the proxy reads nothing of it."""
    with serve("http/protobuf", certificates) as running, relay(running.port) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:password@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        fate = post("http/protobuf", running.endpoint, certificate=certificates.authority)
        assert fate == Accepted()
    assert proxy.sent.startswith(f"CONNECT 127.0.0.1:{running.port} HTTP/1.".encode())
    assert b"authorization: basic" in proxy.sent.lower()
    assert b"POST" not in proxy.sent


@pytest.fixture
def _own_process_state() -> Iterator[None]:
    """Give the test a process that has recorded nothing, and put back what was."""
    before = _process.replace_sink(None)
    yield
    if (sink := _process.replace_sink(before)) is not None:
        sink.shutdown(0)


@pytest.mark.usefixtures("_own_process_state")
def test_a_stranger_is_told_about_once(certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    """A collector that is not trusted is tried again as one that is away, and told about once."""
    with serve("http/protobuf", certificates) as running:
        lapwing.init(endpoint=running.endpoint, retry_for_s=0.5)
        lapwing.log_prediction(model="m", inputs={}, output=1)
        assert not lapwing.flush()
    assert lapwing.stats().dropped == {"undeliverable": 1}
    unavailable = [r.getMessage() for r in caplog.records if "is unavailable" in r.getMessage()]
    assert len(unavailable) == 1
    assert "set certificate (OTEL_EXPORTER_OTLP_CERTIFICATE)" in unavailable[0]


ASK = """
import pty, sys
sys.exit(pty.spawn([sys.executable, "-c", '''
import sys
from lapwing._tls import tls_context
try:
    tls_context(None, sys.argv[1], sys.argv[2])
except OSError as error:
    print(error)
''', *sys.argv[1:]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_encrypted_keys_do_not_ask_for_a_password(certificates: Certificates, tmp_path: Path) -> None:
    """A key with a password is an error that names it; nobody is asked at the terminal."""
    key = serialization.load_pem_private_key(Path(certificates.client_key).read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )
    done = subprocess.run(
        [sys.executable, "-c", ASK, certificates.client, str(encrypted)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "pass phrase" not in done.stdout
    assert f"or {encrypted}: " in done.stdout
