"""The log and its disk, call by call: strace watches, and lets calls fail or take their time."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from helpers.faults_claims import Claim, Claims, Shape
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import LONG, long_only
from helpers.faults_producer import GrpcClient, HttpClient, Producer, send
from helpers.faults_victim import Victim, wait_until

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")

REPLY_S = 3.0
"""Within this time a request is answered, one way or the other, on a machine that does nothing else."""
PATIENCE = 2


def options(trace: Path, *expressions: str) -> list[str]:
    """How strace is to trace."""
    parts = [part for expression in expressions for part in ("-e", expression)]
    return ["strace", "-f", "-qq", "-y", "-s", "256", "-o", str(trace), *parts]


@contextmanager
def meddling(victim: Victim, claims: Claims, trace: Path, *expressions: str) -> Iterator[None]:
    """Trace the worker from now on, and only its calls for the segment of the log that is written to."""
    with HttpClient(victim.http) as client:
        assert send(client, claims.make(Shape.NUMBERED, 1, "first")) == 200
    (segment,) = (victim.data / "log").glob("*.log")
    said = trace.with_suffix(".said")
    command = [*options(trace, *expressions), "-P", str(segment), "-p", str(victim.worker())]
    command.remove("-qq")
    with said.open("w") as output:
        tracer = subprocess.Popen(command, stderr=output)
    try:
        wait_until(lambda: "attached" in said.read_text(), "strace watches")
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def syncs_of_the_log(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Where in the trace a sync of the log had succeeded, and of which file."""
    waiting: dict[str, str] = {}
    for number, line in enumerate(lines):
        thread = line.split()[0]
        if found := re.search(r"fdatasync\(\d+<(\S+/log/[^/>]+\.log)>", line):
            waiting[thread] = found[1]
        if "fdatasync" in line and thread in waiting and line.rstrip().endswith("= 0"):
            yield number, waiting.pop(thread)


SPOKEN = {
    "http": (HttpClient, '"POST /v1/logs', '"HTTP/1.1 200'),
    "grpc": (GrpcClient, "LogsService/Export", "grpc-status"),
}
"""What sends over a transport, and what can be seen of requests and answers."""


def test_the_answer_comes_after_the_sync(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """Fault 3: between a request's coming in and its answer lies a sync of the log that has returned."""
    trace = tmp_path / "trace"
    traced = options(trace, "trace=network,read,readv,write,writev,fdatasync")
    victim.start([*traced, "-D"])  # as a grandchild, out of the way of signals
    for transport, (connect, _, _) in SPOKEN.items():
        for _ in range(2):
            for shape in Shape:
                with connect(getattr(victim, transport)) as client:
                    assert send(client, claims.make(shape, 2, "traced")) == 200
    assert victim.stop() == 0
    lines = trace.read_text(errors="replace").splitlines()
    synced = [i for i, _ in syncs_of_the_log(lines)]
    for _, asks, answers in SPOKEN.values():
        came = [i for i, line in enumerate(lines) if asks in line]
        answered = [i for i, line in enumerate(lines) if answers in line and i > came[0]]
        assert len(came) == 2 * len(Shape)
        for request in came:
            answer = next(i for i in answered if i > request)
            assert any(request < sync < answer for sync in synced), lines[request : answer + 1]


def test_a_failed_sync_is_told_and_never_tried_again(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """Fault 4: EIO fails the requests that waited with 503; the log goes on in a new file."""
    trace = tmp_path / "trace"
    victim.start()
    with (
        meddling(victim, claims, trace, "trace=fdatasync", "inject=fdatasync:error=EIO:when=3+"),
        HttpClient(victim.http) as client,
    ):
        made = [claims.make(Shape.NUMBERED, 5, "unlucky") for _ in range(5)]
        assert [send(client, claim) for claim in made] == [200, 200, 503, 200, 200]
    require_well(judge(victim, claims))
    assert trace.read_text().count("EIO") == 1


@long_only
def test_a_full_disk_is_told(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """ENOSPC while writing the log is a 503, and over when there is room again."""
    victim.start()
    inject = "inject=writev:error=ENOSPC:when=2+"
    with (
        meddling(victim, claims, tmp_path / "trace", "trace=writev", inject),
        HttpClient(victim.http) as client,
    ):
        answers = [send(client, claims.make(Shape.NUMBERED, 5, "unlucky")) for _ in range(4)]
    assert answers == [200, 503, 200, 200]
    require_well(judge(victim, claims))


@pytest.mark.parametrize("delay_s", [0.5, 6, 15] if LONG else [0.5])
def test_a_slow_disk_slows_answers_and_loses_nothing(
    delay_s: float, victim: Victim, claims: Claims, tmp_path: Path
) -> None:
    """No yes before the sync has returned; what takes too long is a 503 in time, and stored at most once."""
    victim.start()
    inject = f"inject=fdatasync:delay_exit={round(delay_s * 1e6)}"
    connect = {"http": HttpClient, "grpc": GrpcClient}
    with meddling(victim, claims, tmp_path / "trace", "trace=fdatasync", inject):
        for transport, client_of in connect.items():
            claim = claims.make(Shape.NUMBERED, 5, "patient")
            with client_of(getattr(victim, transport)) as client:
                began = time.monotonic()
                status = send(client, claim)
                took_s = time.monotonic() - began
            if delay_s < REPLY_S:
                assert status == 200
                assert took_s >= delay_s
            else:
                assert status == 503
                assert took_s < REPLY_S * PATIENCE
    with HttpClient(victim.http) as client:
        for claim in tuple(claims.made):
            wait_until(partial(accepted, client, claim), "the disk is quick again", 90)
    require_well(judge(victim, claims))


@long_only
def test_requests_that_wait_for_a_slow_disk_share_its_syncs(
    victim: Victim, claims: Claims, tmp_path: Path
) -> None:
    """Group commit: with a slow sync many requests become durable by one."""
    trace = tmp_path / "trace"
    victim.start()
    producers = [Producer(claims, victim, i, shapes=[Shape.NUMBERED], pace_s=0.001) for i in range(12)]
    with (
        meddling(victim, claims, trace, "trace=fdatasync", "inject=fdatasync:delay_exit=300000"),
        ExitStack() as running,
    ):
        for producer in producers:
            running.enter_context(producer)
        wait_until(lambda: sum(each.tally.answers.get(200, 0) for each in producers) >= 36, "36 yeses")
    require_well(judge(victim, claims))
    requests = sum(producer.tally.answers.get(200, 0) for producer in producers)
    assert sum(1 for _ in syncs_of_the_log(trace.read_text().splitlines())) <= requests / 3


def accepted(client: HttpClient, claim: Claim) -> bool:
    """Whether the claim is answered with yes now."""
    return send(client, claim) == 200
