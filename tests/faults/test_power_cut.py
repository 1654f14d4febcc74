"""A power cut: pages and names that nobody synced are gone."""

import random
from pathlib import Path

import pytest

from helpers.faults_claims import Claims
from helpers.faults_forgetful_disk import missing, mounted
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import LONG, SEED, as_root
from helpers.faults_producer import Producer
from helpers.faults_victim import Victim, wait_until

pytestmark = [as_root, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.mark.parametrize("turn", range(20 if LONG else 1))
def test_what_was_promised_survives_a_power_cut(turn: int, tmp_path: Path, claims: Claims) -> None:
    """Whatever it was doing, what it acknowledged had been synced before, and what refers to that after."""
    dice = random.Random(f"{SEED} {turn}")
    with mounted(tmp_path) as disk:
        victim = Victim(disk.data)
        try:
            with Producer(claims, victim, dice.random()):
                victim.start()
                enough = dice.randint(50, 1500)
                wait_until(lambda: claims.promised() > enough, "the producer is busy")
                victim.kill()
        finally:
            victim.clear()
        disk.cut_power()
    revived = Victim(disk.found, launches=1)
    try:
        revived.start()
        require_well(judge(revived, claims))
    finally:
        revived.clear()
