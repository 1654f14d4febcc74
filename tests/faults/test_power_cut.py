"""A power cut: pages and names that nobody synced are gone."""

import random
import time
from pathlib import Path

import pytest

from helpers.collector import ask, prediction, project, request, running
from helpers.faults_claims import Claims
from helpers.faults_forgetful_disk import missing, mounted
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import LONG, SEED, as_root
from helpers.faults_producer import Producer
from helpers.faults_victim import Victim, wait_until
from lapwing_collector.app.upkeep.keeping import backup, restore
from lapwing_collector.app.upkeep.maintenance import tell_nobody

pytestmark = [as_root, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.mark.parametrize("turn", range(20 if LONG else 1))
def test_what_was_promised_survives_a_power_cut(turn: int, tmp_path: Path, claims: Claims) -> None:
    """Fault 2: whatever it was doing, what it acknowledged had been synced before, references after."""
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


def test_a_backup_and_what_is_made_of_it_survive_a_power_cut(tmp_path: Path) -> None:
    """Once the command has said that it is done, all of it is on the medium."""
    data = tmp_path / "source"
    with running(project(data)) as collector:
        records = [prediction("m", f"p-{n}", time.time_ns(), inputs={"n": n}) for n in range(20)]
        assert collector.post(request(records))[0] == 200
    with mounted(tmp_path) as disk:
        backup(None, {"data": data}, tell_nobody, disk.data / "backup")
        restore(None, {"data": disk.data / "restored"}, tell_nobody, disk.data / "backup")
        disk.cut_power()
    again = disk.found / "again"
    restore(None, {"data": again}, tell_nobody, disk.found / "backup")
    for revived in (again, disk.found / "restored"):
        with running(project(revived)):
            assert ask(revived, "SELECT count(*) AS n FROM predictions.m") == [{"n": 20}]
