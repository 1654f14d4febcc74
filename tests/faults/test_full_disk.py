"""A disk that fills up: told in time, survived, and over when there is room again."""

import os
from pathlib import Path

import pytest

from helpers.faults_claims import Claims, Outcome, Shape
from helpers.faults_judge import judge, probe, require_well
from helpers.faults_mounts import small_disk
from helpers.faults_plan import LONG, as_root, long_only
from helpers.faults_producer import HttpClient, Producer, send
from helpers.faults_victim import Victim, wait_until
from lapwing_collector.query import Session

pytestmark = as_root

MB = 1 << 20


def fill(ballast: Path, leave_bytes: int) -> None:
    """Fill the disk up to `leave_bytes`."""
    usage = os.statvfs(ballast.parent)
    size = usage.f_bavail * usage.f_frsize - leave_bytes
    with ballast.open("ab") as file:
        file.write(bytes(max(0, size)))


@pytest.mark.parametrize("left", [0, MB // 4, 3 * MB // 4] if LONG else [3 * MB // 4])
def test_a_disk_that_fills_up_is_survived(left: int, claims: Claims, tmp_path: Path) -> None:
    """Fault 5: the log refuses before the last reserve is gone, queries go on; with room everything does."""
    with small_disk(tmp_path / "disk", 24) as disk:
        (disk / "data").mkdir()
        victim = Victim(disk / "data")
        ballast = disk / "ballast"
        try:
            victim.start()
            with HttpClient(victim.http) as client:
                for shape in Shape:
                    assert send(client, claims.make(shape, 10, "before")) == 200
            probe(victim, claims)
            fill(ballast, left)
            with Producer(claims, victim, left, pace_s=0.001, over_grpc=False) as producer:
                wait_until(lambda: producer.tally.answers.get(503, 0) >= 2, "it says that it cannot")
                session = Session.open(victim.data / "lake")
                assert session.run("SELECT count(*) AS n FROM predictions.numbered").column("n")[0].as_py()
                session.close()
                assert victim.process is not None
                assert victim.process.poll() is None
            ballast.unlink()
            claim = claims.make(Shape.NUMBERED, 5, "after")
            wait_until(lambda: send(client, claim) == 200, "there is room again")
            client.close()
            assert set(producer.tally.answers) <= {200, 503}
            assert producer.tally.broken == 0
            require_well(judge(victim, claims))
            assert any(claim.outcome is Outcome.UNKNOWN for claim in claims.made)
        finally:
            victim.clear()


@long_only
def test_no_start_on_a_full_disk_loses_what_was_promised(claims: Claims, tmp_path: Path) -> None:
    """Started while there is no room at all, it either waits for room or says so; nothing is lost."""
    with small_disk(tmp_path / "disk", 24) as disk:
        (disk / "data").mkdir()
        victim = Victim(disk / "data", {"write": {"flush_interval": "1h"}})
        ballast = disk / "ballast"
        try:
            victim.start()
            with HttpClient(victim.http) as client:
                for shape in Shape:
                    assert send(client, claims.make(shape, 10, "before")) == 200
            victim.kill()
            fill(ballast, 0)
            victim.settings = {"write": {"flush_interval": "50ms"}}
            process = victim.launch()
            wait_until(
                lambda: process.poll() is not None or victim.status("/readyz") is not None,
                "it answers, or gives up",
            )
            victim.kill()
            ballast.unlink()
            victim.start()
            require_well(judge(victim, claims))
        finally:
            victim.clear()
