"""Clients that mean harm, or behave as if: those that behave go on being served."""

import contextlib
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from helpers.faults_claims import Claims, Shape
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import LONG, long_only
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim, wait_until

MANY = 2_000 if LONG else 300
HEAD = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"


@contextlib.contextmanager
def connections(victim: Victim, count: int, first_bytes: bytes) -> Iterator[list[socket.socket]]:
    """Hold connections open that begin with some bytes and then say nothing."""
    host, _, port = victim.http.rpartition(":")
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            held.append(socket.create_connection((host, int(port)), timeout=60))
            held[-1].sendall(first_bytes)
        yield held
    finally:
        for connection in held:
            connection.close()


def slowest_answer_s(victim: Victim, claims: Claims, requests: int) -> float:
    """Send as a good client does, each request answered with yes; how long the slowest took."""
    with HttpClient(victim.http) as client:
        times = []
        for _ in range(requests):
            claim = claims.make(Shape.NUMBERED, 3, "good")
            began = time.monotonic()
            assert send(client, claim) == 200
            times.append(time.monotonic() - began)
    return max(times)


@pytest.mark.timeout(300)
def test_good_clients_are_served_beside_those_that_hold_on(victim: Victim, claims: Claims) -> None:
    """Faults 17 and 18: idle connections, endless headers and bodies, bombs: no good client waits."""
    victim.start()
    with (
        connections(victim, MANY, b""),
        connections(victim, MANY // 2, HEAD),
        connections(victim, MANY // 2, HEAD + b"Content-Length: 1000000\r\n\r\nslow"),
    ):
        assert slowest_answer_s(victim, claims, 20) < 5
        bomb = zlib.compress(bytes(200 << 20), 9, wbits=31)
        with HttpClient(victim.http) as client:
            status, _ = client.post_raw(bomb, {"Content-Encoding": "gzip"})
        assert status == 413
        assert slowest_answer_s(victim, claims, 20) < 5
    require_well(judge(victim, claims))


@long_only
@pytest.mark.timeout(300)
def test_running_out_of_descriptors_is_survived(victim: Victim, claims: Claims) -> None:
    """Fault 18: when no more connections can be accepted, it waits for some to end and goes on."""
    victim.start(["prlimit", "--nofile=200:200"])
    with connections(victim, 300, HEAD):
        victim.run_for(1)
    wait_until(lambda: victim.ready, "it accepts again")
    assert slowest_answer_s(victim, claims, 5) < 5
    require_well(judge(victim, claims))
