"""Orderly and less orderly ends, under load: what was acknowledged stays, and the end comes in time."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers.faults_claims import Claims
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import SEED, long_only
from helpers.faults_producer import Producer
from helpers.faults_victim import Victim, wait_until

END_S = 5.0
"""Within this time it ends when asked to, on a machine that does nothing else."""
PATIENCE = 3
"""Test machines do much else."""


def let_end(victim: Victim, seconds: float) -> None:
    """Let it end by itself within a time, or not."""
    assert victim.process is not None
    with contextlib.suppress(subprocess.TimeoutExpired):
        victim.process.wait(seconds)


@long_only  # test_supervisor has the end under load, once
@pytest.mark.timeout(600)
@pytest.mark.parametrize("turn", range(5))
def test_it_ends_when_asked_to_under_load(turn: int, victim: Victim, claims: Claims) -> None:
    """Fault 20: SIGTERM, SIGTERM twice, SIGTERM then SIGKILL: nothing acknowledged is lost at any point."""
    dice = random.Random(f"{SEED} {turn}")
    with (
        Producer(claims, victim, dice.random(), pace_s=0.001) as first,
        Producer(claims, victim, dice.random(), pace_s=0.001),
    ):
        victim.start()
        wait_until(lambda: first.tally.answers.get(200, 0) > 5, "it is busy")
        began = time.monotonic()
        assert victim.stop() == 0
        assert time.monotonic() - began < END_S * PATIENCE

        victim.start()
        victim.run_for(dice.uniform(0, 0.5))
        assert victim.process is not None
        victim.process.send_signal(signal.SIGTERM)
        let_end(victim, dice.uniform(0, 0.3))
        victim.process.send_signal(signal.SIGTERM)
        victim.died()
        victim.kill()  # whatever is left of it

        victim.start()
        victim.run_for(dice.uniform(0, 0.5))
        victim.process.send_signal(signal.SIGTERM)
        let_end(victim, dice.uniform(0, 1))
        victim.kill()
    victim.start()
    require_well(judge(victim, claims))


def test_a_killed_worker_comes_back_by_itself(victim: Victim, claims: Claims) -> None:
    """Whoever kills the worker alone finds another at work soon; nothing is lost, and nobody was refused."""
    victim.start()
    with Producer(claims, victim, SEED, pace_s=0.002, over_grpc=False) as producer:
        for _ in range(2):
            at_work(producer)
            os.kill(wait_until(victim.worker, "there is a worker"), signal.SIGKILL)
        at_work(producer)
    assert producer.tally.refused == 0
    require_well(judge(victim, claims))


def test_a_worker_does_not_outlive_its_supervisor(victim: Victim, claims: Claims) -> None:
    """When the process that holds the sockets is killed, its worker ends too, and the next start is clean."""
    victim.start()
    with Producer(claims, victim, SEED, pace_s=0.002) as producer:
        at_work(producer)
        worker = victim.worker()
        assert victim.process is not None
        victim.process.kill()
        victim.process.wait()
        wait_until(lambda: not alive(worker), "the worker has ended")
        victim.start()
        at_work(producer)
    require_well(judge(victim, claims))


def at_work(producer: Producer) -> None:
    """Wait until it has said yes a few more times."""
    answered = producer.tally.answers.get(200, 0)
    wait_until(lambda: producer.tally.answers.get(200, 0) > answered + 3, "it is at work")


def alive(pid: int | None) -> bool:
    """Whether the process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
