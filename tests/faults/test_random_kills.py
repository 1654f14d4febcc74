"""kill -9 at random moments under load: what was promised is there once, and nothing else is."""

import random

import pytest

from helpers.faults_claims import Claims
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import KILLS, LONG, SEED
from helpers.faults_producer import Producer
from helpers.faults_victim import Victim

KILLS_PER_FOLDER = 25
BATCHES = -(-KILLS // KILLS_PER_FOLDER) if LONG else 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_killed_at_random(batch: int, victim: Victim, claims: Claims) -> None:
    """Every record that was acknowledged is stored once, however often and whenever the collector died."""
    dice = random.Random(f"{SEED} {batch}")
    with (
        Producer(claims, victim, dice.random()),
        Producer(claims, victim, dice.random()),
    ):
        for _ in range(KILLS_PER_FOLDER if LONG else 3):
            if dice.random() < 0.8:
                victim.start()
            else:
                victim.launch()  # and die on the way to being ready
            victim.run_for(dice.expovariate(2))
            victim.kill()
    victim.start()
    require_well(judge(victim, claims))
