"""kill -9 at random moments while alerts fire, wait and resolve: none is lost, none invented, none told anew.

The collector evaluates a rule five times a second and tells a webhook. It is killed while it starts, while it
works, and at the very moment at which the webhook has taken a message and nobody has noted that. In the end
its history is compared with what had to happen slot by slot, and what the webhook heard with that.
"""

import random
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.collector import prediction, request
from helpers.faults_alerts import CALM, TURNING
from helpers.faults_plan import ALERT_KILLS, SEED, long_only
from helpers.faults_telling import judge, notify, settle, wait_for_message, wait_for_slots
from helpers.faults_victim import Victim, wait_until
from helpers.notify_receivers import webhook
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.state import PostgresServer, SqliteFile

if TYPE_CHECKING:
    from helpers.postgres import Server

MOMENTS = ("starting", *["working"] * 2, *["telling"] * 2)
KILLS_PER_FOLDER = max(len(MOMENTS), min(20, ALERT_KILLS))
CAMPAIGNS = max(1, ALERT_KILLS // KILLS_PER_FOLDER)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("campaign", range(CAMPAIGNS))
def test_killed_while_alerts_come_and_go(campaign: int, victim: Victim, tmp_path: Path) -> None:
    """Fault 25: every alert that had to fire and resolve did, was told, and twice only with one key."""
    dice = random.Random(f"{SEED} {campaign}")
    victim.settings = {"alerts": {"ingest_stalled": False}}
    rules = tmp_path / "rules" / "kills.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)
    with webhook() as receiver:
        notify(tmp_path / "notify.yaml", receiver)
        moments = [*MOMENTS, *dice.choices(MOMENTS, k=KILLS_PER_FOLDER - len(MOMENTS))]
        for moment in dice.sample(moments, len(moments)):
            victim.launch()
            match moment:
                case "starting":
                    victim.run_for(dice.uniform(0, 2))
                case "working":
                    wait_for_slot_in_file(victim)
                    victim.run_for(dice.uniform(0, 1))
                case "telling":
                    wait_for_message(receiver)
            victim.kill()
            receiver.gate.set()
        rules.write_text(CALM)
        victim.start()
        place = SqliteFile(DataDirectory(victim.data).state)
        settle(place)
        assert victim.stop() == 0
        judge(place, receiver, KILLS_PER_FOLDER)


@long_only
@pytest.mark.timeout(900)
def test_a_database_that_crashes_loses_no_alert(victim: Victim, tmp_path: Path, postgres: "Server") -> None:
    """Collector and PostgreSQL are killed in turn: all that had to happen did and was told; rows came in."""
    place = PostgresServer(postgres.empty())
    victim.settings = {"alerts": {"ingest_stalled": False}, "state": {"url": postgres.url}}
    rules = tmp_path / "rules" / "kills.yaml"
    rules.parent.mkdir()
    rules.write_text(TURNING)

    with webhook() as receiver:
        notify(tmp_path / "notify.yaml", receiver)
        victim.start()
        wait_until(lambda: postgres.execute("SELECT to_regclass('rules')") != [[None]], "there are tables")
        wait_for_slots(postgres)
        wait_for_message(receiver)
        postgres.stop()
        receiver.gate.set()
        wait_until(lambda: victim.told("/readyz")["alerts_wait"], "it says that the state is away")
        assert victim.post(request([prediction("m", "a", 1, inputs={"x": 1})])) == 200
        postgres.start()
        wait_for_slots(postgres)
        assert not victim.told("/readyz")["alerts_wait"]
        wait_for_message(receiver)
        victim.kill()
        receiver.gate.set()
        victim.start()
        wait_for_slots(postgres)
        for _ in range(2):
            postgres.stop()
            postgres.start()
            wait_for_slots(postgres)
        victim.kill()
        rules.write_text(CALM)
        victim.start()
        settle(place)
        assert victim.stop() == 0
        judge(place, receiver, KILLS_PER_FOLDER)


def wait_for_slot_in_file(victim: Victim) -> None:
    """Wait until a slot is committed that was not, to the victim's own file."""
    before = newest_slot(victim)
    wait_until(lambda: newest_slot(victim) != before, "a slot is committed")


def newest_slot(victim: Victim) -> str | None:
    """The newest slot that is committed, None before there is one."""
    path = DataDirectory(victim.data).state
    if not path.exists():
        return None
    database = sqlite3.connect(path, timeout=30)
    try:
        return next((slot for (slot,) in database.execute("SELECT slot FROM rules")), None)
    except sqlite3.OperationalError:  # there are no tables yet
        return None
    finally:
        database.close()
