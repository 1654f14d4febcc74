"""The log and its disk, call by call: strace watches, and lets calls fail or take their time."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.faults_claims import Claims, Shape
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import LONG, long_only
from helpers.faults_producer import HttpClient, Producer, send
from helpers.faults_victim import Victim, wait_until

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")

REPLY_S = 5.0
"""Within this time a request is answered, one way or the other."""
FIRST_SEGMENT = "log/00000000000000000001.log"


def strace(trace: Path, *expressions: str, path: Path | None = None) -> list[str]:
    """The start of a command line that traces what follows, and keeps out of the way of its signals."""
    options = [part for expression in expressions for part in ("-e", expression)]
    if path is not None:
        options += ["-P", str(path)]
    return ["strace", "-D", "-f", "-qq", "-y", "-s", "256", "-o", str(trace), *options]


def syncs_of_the_log(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Where in the trace a sync of the log had succeeded, and of which file."""
    waiting: dict[str, str] = {}
    for number, line in enumerate(lines):
        thread = line.split()[0]
        if found := re.search(r"fdatasync\(\d+<(\S+/log/\d+\.log)>", line):
            waiting[thread] = found[1]
        if "fdatasync" in line and thread in waiting and line.rstrip().endswith("= 0"):
            yield number, waiting.pop(thread)


def test_the_answer_comes_after_the_sync(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """Between a request's coming in and its 200 lies a sync of the log that has returned."""
    trace = tmp_path / "trace"
    victim.start(strace(trace, "trace=network,read,readv,write,writev,fdatasync"))
    with HttpClient(victim.http) as client:
        for _ in range(3):
            for shape in Shape:
                assert send(client, claims.make(shape, 2, "traced")) == 200
    assert victim.stop() == 0
    lines = trace.read_text(errors="replace").splitlines()
    came = [i for i, line in enumerate(lines) if '"POST /v1/logs' in line]
    answered = [i for i, line in enumerate(lines) if '"HTTP/1.1 200' in line and i > came[0]]
    synced = [i for i, _ in syncs_of_the_log(lines)]
    assert len(came) == 15
    for request in came:
        answer = next(i for i in answered if i > request)
        assert any(request < sync < answer for sync in synced), lines[request : answer + 1]


def test_a_failed_sync_is_told_and_never_tried_again(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """EIO fails the requests that waited with 503; the log goes on in a new file, not in that one."""
    trace = tmp_path / "trace"
    inject = "inject=fdatasync:error=EIO:when=3+"
    victim.start(strace(trace, "trace=fdatasync", inject, path=victim.data / FIRST_SEGMENT))
    with HttpClient(victim.http) as client:
        made = [claims.make(Shape.NUMBERED, 5, "unlucky") for _ in range(5)]
        assert [send(client, claim) for claim in made] == [200, 200, 503, 200, 200]
    require_well(judge(victim, claims))
    assert trace.read_text().count("EIO") == 1


@long_only
def test_a_full_disk_is_told(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """ENOSPC while writing the log is a 503, and over when there is room again."""
    inject = "inject=write:error=ENOSPC:when=2..3"
    segment = victim.data / FIRST_SEGMENT
    victim.start(strace(tmp_path / "trace", "trace=write", inject, path=segment))
    with HttpClient(victim.http) as client:
        answers = [send(client, claims.make(Shape.NUMBERED, 5, "unlucky")) for _ in range(4)]
    assert answers[0] == answers[-1] == 200
    assert 503 in answers
    assert set(answers) == {200, 503}
    require_well(judge(victim, claims))


@pytest.mark.parametrize("delay_s", [0.5, 6, 15] if LONG else [0.5])
def test_a_slow_disk_slows_answers_and_loses_nothing(
    delay_s: float, victim: Victim, claims: Claims, tmp_path: Path
) -> None:
    """No yes before the sync has returned; what takes too long is a 503 in time, and stored at most once."""
    inject = f"inject=fdatasync:delay_exit={round(delay_s * 1e6)}:when=1..4"
    segment = victim.data / FIRST_SEGMENT
    victim.start(strace(tmp_path / "trace", "trace=fdatasync", inject, path=segment))
    with HttpClient(victim.http) as client:
        claim = claims.make(Shape.NUMBERED, 5, "patient")
        began = time.monotonic()
        status = send(client, claim)
        took_s = time.monotonic() - began
        if delay_s < REPLY_S:
            assert status == 200
            assert took_s >= delay_s
        else:
            assert status == 503
            assert took_s < REPLY_S + 1.5
        wait_until(lambda: send(client, claim) == 200, "the disk is quick again", 90)
    require_well(judge(victim, claims))


@long_only
def test_requests_that_wait_for_a_slow_disk_share_its_syncs(
    victim: Victim, claims: Claims, tmp_path: Path
) -> None:
    """Group commit: with a slow sync many requests become durable by one."""
    trace = tmp_path / "trace"
    inject = "inject=fdatasync:delay_exit=300000"
    segment = victim.data / FIRST_SEGMENT
    victim.start(strace(trace, "trace=fdatasync", inject, path=segment))
    producers = [Producer(claims, victim.http, i, shapes=[Shape.NUMBERED], pace_s=0.001) for i in range(12)]
    for producer in producers:
        producer.__enter__()
    wait_until(lambda: sum(producer.tally.answers.get(200, 0) for producer in producers) >= 36, "36 yeses")
    for producer in producers:
        producer.stop()
    require_well(judge(victim, claims))
    requests = sum(producer.tally.answers[200] for producer in producers)
    assert sum(1 for _ in syncs_of_the_log(trace.read_text().splitlines())) <= requests / 3
