"""The gRPC transport against a real gRPC server."""

import os
import subprocess
import sys
from threading import Event
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Detail
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

import lapwing
from helpers.sdk_receiver import EXPORT, GrpcAnswer, GrpcReceiver, grpc_receiver, partial_success, relay
from lapwing._config import Settings, resolve
from lapwing._deliver import Accepted, Refused, Unavailable
from lapwing._grpc import GrpcTransport

CODES = grpc.StatusCode


def settings(**arguments: Any) -> Settings:
    """Resolve settings without an environment."""
    return resolve({"protocol": "grpc", **arguments}, {}, pytest.fail)


def retry_info(seconds: int, nanos: int = 0) -> tuple[tuple[str, bytes], ...]:
    """Give the metadata of a status that says when to try again, after another detail."""
    status = Status(code=8)
    for message in (BadRequest(), RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos))):
        detail = Detail()
        detail.Pack(message)
        status.details.append(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def test_a_call_is_what_otlp_says() -> None:
    """The bytes go as they are to the logs service, with the headers as metadata in lower case."""
    with grpc_receiver() as running:
        transport = GrpcTransport(settings(endpoint=running.endpoint, headers={"X-Api-Key": "k"}))
        assert transport.post(b"\x00any bytes\xff", 5) == Accepted()
        (request,) = running.requests
    assert (request.path, request.raw) == (EXPORT, b"\x00any bytes\xff")
    assert request.headers["x-api-key"] == "k"
    assert request.headers["user-agent"].startswith(f"Lapwing-OTLP-Exporter-Python/{lapwing.__version__}")


@pytest.mark.parametrize(
    ("endpoint", "insecure"),
    [("http://127.0.0.1:{}", False), ("http://127.0.0.1:{}/path", False), ("127.0.0.1:{}", True)],
)
def test_endpoints_have_a_scheme_or_not(endpoint: str, insecure: bool) -> None:
    """A URL with http means no TLS, host and port alone mean none when `insecure` says so."""
    with grpc_receiver() as running:
        endpoint = endpoint.format(running.port)
        assert GrpcTransport(settings(endpoint=endpoint, insecure=insecure)).post(b"", 5) == Accepted()
        assert isinstance(
            GrpcTransport(settings(endpoint=f"127.0.0.1:{running.port}")).post(b"", 5), Unavailable
        )


def test_a_partial_success_counts_the_rejected() -> None:
    """The rejected records and the reason are read from the response."""
    with grpc_receiver(GrpcAnswer(body=partial_success(3, "no such model").body)) as running:
        assert GrpcTransport(settings(endpoint=running.endpoint)).post(b"", 5) == Accepted(3, "no such model")


def test_gzip_makes_requests_small() -> None:
    """With compression the same bytes arrive, and fewer travel."""
    body = b"a request that repeats itself " * 3000
    with grpc_receiver() as running, relay(running.port) as wire:
        endpoint = f"http://127.0.0.1:{wire.port}"
        assert GrpcTransport(settings(endpoint=endpoint)).post(body, 5) == Accepted()
        plain = len(wire.sent)
        assert GrpcTransport(settings(endpoint=endpoint, compression="gzip")).post(body, 5) == Accepted()
        assert plain > len(body) > 10 * (len(wire.sent) - plain)
        assert [request.raw for request in running.requests] == [body, body]


@pytest.mark.parametrize(
    "code",
    [
        CODES.CANCELLED,
        CODES.DEADLINE_EXCEEDED,
        CODES.ABORTED,
        CODES.OUT_OF_RANGE,
        CODES.UNAVAILABLE,
        CODES.DATA_LOSS,
    ],
)
def test_some_statuses_are_tried_again(code: grpc.StatusCode) -> None:
    """OTLP's retryable statuses mean that the receiver is unavailable; the next request gets through."""
    with grpc_receiver(GrpcAnswer(code, "later")) as running:
        transport = GrpcTransport(settings(endpoint=running.endpoint))
        assert transport.post(b"", 5) == Unavailable(f"{code.name} later")
        assert transport.post(b"", 5) == Accepted()


@pytest.mark.parametrize(
    "code",
    [
        CODES.UNKNOWN,
        CODES.INVALID_ARGUMENT,
        CODES.NOT_FOUND,
        CODES.ALREADY_EXISTS,
        CODES.PERMISSION_DENIED,
        CODES.UNAUTHENTICATED,
        CODES.FAILED_PRECONDITION,
        CODES.UNIMPLEMENTED,
        CODES.INTERNAL,
        CODES.RESOURCE_EXHAUSTED,
    ],
)
def test_other_statuses_are_final(code: grpc.StatusCode) -> None:
    """No other status is tried again, nor is an exhausted resource without word of recovery."""
    with grpc_receiver(GrpcAnswer(code, "no")) as running:
        assert GrpcTransport(settings(endpoint=running.endpoint)).post(b"", 5) == Refused(f"{code.name} no")


@pytest.mark.parametrize("code", [CODES.RESOURCE_EXHAUSTED, CODES.UNAVAILABLE])
@pytest.mark.parametrize(
    ("metadata", "seconds"), [(retry_info(3, 500_000_000), 3.5), (retry_info(0), 0.0), (retry_info(-1), 0.0)]
)
def test_retry_info_says_when(
    code: grpc.StatusCode, metadata: tuple[tuple[str, bytes], ...], seconds: float
) -> None:
    """The delay in a status's RetryInfo is honoured, and makes an exhausted resource one to come back to."""
    with grpc_receiver(GrpcAnswer(code, "busy", metadata=metadata)) as running:
        fate = GrpcTransport(settings(endpoint=running.endpoint)).post(b"", 5)
    assert fate == Unavailable(f"{code.name} busy", seconds)


def test_details_that_cannot_be_read_do_not_count() -> None:
    """Garbage in the place of a status's details leaves the status."""
    answer = GrpcAnswer(CODES.UNAVAILABLE, "busy", metadata=(("grpc-status-details-bin", b"\xff\xff"),))
    with grpc_receiver(answer) as running:
        fate = GrpcTransport(settings(endpoint=running.endpoint)).post(b"", 5)
    assert fate == Unavailable("UNAVAILABLE busy")


def test_an_endless_answer_is_refused() -> None:
    """An answer over 4 MiB is not read, and its request not sent again."""
    with grpc_receiver(GrpcAnswer(body=bytes(5 * 1024 * 1024))) as running:
        fate = GrpcTransport(settings(endpoint=running.endpoint)).post(b"", 5)
    assert isinstance(fate, Refused)
    assert "RESOURCE_EXHAUSTED" in fate.message


def test_silence_is_not_waited_for() -> None:
    """An answer that takes longer than the time allowed is none."""
    silent = Event()
    with grpc_receiver(GrpcAnswer(before=lambda: silent.wait(3))) as running:
        fate = GrpcTransport(settings(endpoint=running.endpoint)).post(b"", 0.2)
        silent.set()
    assert isinstance(fate, Unavailable)
    assert fate.message.startswith("DEADLINE_EXCEEDED")


def test_a_receiver_that_comes_back_is_found_at_once() -> None:
    """After attempts that found nobody, the first one after the receiver is up gets through."""
    with grpc_receiver() as before:
        transport = GrpcTransport(settings(endpoint=before.endpoint))
        assert transport.post(b"", 5) == Accepted()
    for _ in range(4):
        assert isinstance(transport.post(b"", 5), Unavailable)
    after = GrpcReceiver((), before.port)
    assert transport.post(b"", 5) == Accepted()
    after.close()


def test_large_requests_pass() -> None:
    """The largest record that the queue takes is not stopped by a limit of gRPC's client."""
    with grpc_receiver() as running:
        transport = GrpcTransport(settings(endpoint=running.endpoint))
        assert transport.post(bytes(63 * 1024 * 1024), 10) == Accepted()
        assert len(running.requests[0].raw) == 63 * 1024 * 1024


FORK = """
import os, sys, threading, warnings
from lapwing._config import resolve
from lapwing._grpc import GrpcTransport
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
settings = resolve({"protocol": "grpc", "endpoint": sys.argv[1]}, {}, print)
def send(transport, body):
    fates = []
    thread = threading.Thread(target=lambda: fates.append(transport.post(body, 10)))
    thread.start()
    thread.join()
    assert type(fates[0]).__name__ == "Accepted", fates
parents = GrpcTransport(settings)
send(parents, b"parent")
children = []
for number in range(5):
    child = os.fork()
    if child == 0:
        parents = None  # as the exporter's own renewal drops its parent's
        send(GrpcTransport(settings), b"child %d" % number)
        os._exit(0)
    children.append(child)
send(parents, b"parent")
sys.exit(sum(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_of_a_fork_send_over_channels_of_their_own() -> None:
    """Children forked from a parent that has sent by gRPC deliver what is theirs, and the parent goes on."""
    with grpc_receiver() as running:
        done = subprocess.run(
            [sys.executable, "-c", FORK, running.endpoint],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        small = sorted(request.raw for request in running.requests if len(request.raw) < 100)
    assert small == [b"child %d" % number for number in range(5)] + [b"parent"] * 2
