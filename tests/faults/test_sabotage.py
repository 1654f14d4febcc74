"""The product, broken on purpose: a campaign that does not see it would prove nothing of the unbroken one."""

import os
from pathlib import Path

import pytest

from helpers.faults_claims import Claims, Shape
from helpers.faults_forgetful_disk import missing, mounted
from helpers.faults_judge import Verdict, judge, probe
from helpers.faults_plan import as_root, long_only
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim, wait_until

SABOTAGE = Path(__file__).parents[1] / "helpers" / "sabotage"
LATER = {"write": {"flush_interval": "1h"}}


def sabotage(victim: Victim, how: str) -> None:
    """Let it start broken from now on."""
    path = os.pathsep.join(filter(None, [str(SABOTAGE), os.environ.get("PYTHONPATH", "")]))
    victim.environment = {"LAPWING_SABOTAGE": how, "PYTHONPATH": path}


def promise(victim: Victim, claims: Claims, times: int = 1) -> None:
    """Get a yes for each shape, `times` times for the same bytes."""
    with HttpClient(victim.http) as client:
        for shape in Shape:
            claim = claims.make(shape, 5, "betrayed")
            assert [send(client, claim) for _ in range(times)] == [200] * times


def verdict_after_restart(victim: Victim, claims: Claims) -> Verdict:
    """What the judge says when the product is in order again."""
    victim.environment = {}
    victim.settings = {"write": {"flush_interval": "50ms"}}
    victim.start()
    return judge(victim, claims)


@long_only
def test_an_acknowledgement_before_the_log_has_it_is_seen(victim: Victim, claims: Claims) -> None:
    """What was promised without being in the log is lost when the process dies before writing it."""
    sabotage(victim, "acknowledge_early")
    victim.settings = LATER
    victim.start()
    promise(victim, claims)
    victim.kill()
    assert verdict_after_restart(victim, claims).wrongs == {"lost": claims.promised() - 1}


def test_a_forgotten_position_is_seen(victim: Victim, claims: Claims, tmp_path: Path) -> None:
    """Rows whose commit does not say how far in the log they go are written again after a crash."""
    sabotage(victim, "forget_the_position")
    mark = tmp_path / "mark"
    # The first commit is that of a new lake.
    victim.start(LAPWING_CRASH_AT="lake.after_commit:2", LAPWING_CRASH_MARK=str(mark))
    claim = claims.make(Shape.NUMBERED, 5, "betrayed")
    with HttpClient(victim.http) as client:
        assert send(client, claim) == 200
    wait_until(mark.exists, "it dies")
    victim.kill()
    victim.start()
    assert judge(victim, claims).doubled == claim.ids


@long_only
def test_a_log_let_go_of_early_is_seen(victim: Victim, claims: Claims) -> None:
    """Rows that are neither in the log nor in the lake are lost when the process dies."""
    sabotage(victim, "release_early")
    victim.settings = LATER
    victim.start()
    for _ in range(10):
        promise(victim, claims)
    victim.kill()
    verdict = verdict_after_restart(victim, claims)
    assert verdict.lost
    assert not verdict.doubled


def test_a_skipped_ledger_is_seen(victim: Victim, claims: Claims) -> None:
    """Requests that clients send again are stored twice where nobody remembers them."""
    sabotage(victim, "skip_the_ledger")
    victim.start()
    promise(victim, claims, times=2)
    probe(victim, claims)
    verdict = judge(victim, claims)
    assert verdict.doubled
    assert not verdict.lost


@as_root
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_skipped_sync_is_seen(tmp_path: Path, claims: Claims) -> None:
    """What was promised without being synced is lost when the power is cut."""
    with mounted(tmp_path) as disk:
        victim = Victim(disk.data, LATER)
        sabotage(victim, "skip_the_sync")
        try:
            victim.start()
            promise(victim, claims)
        finally:
            victim.clear()
        disk.cut_power()
    revived = Victim(disk.found, launches=1)
    try:
        assert verdict_after_restart(revived, claims).wrongs == {"lost": claims.promised() - 1}
    finally:
        revived.clear()
