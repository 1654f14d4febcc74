"""The collector dies at every named moment of its work: what was promised is there once, and nothing else is.

The moments are found in the source, so that none is left out.
"""

import random
import re
from itertools import groupby
from pathlib import Path

import pytest

import lapwing_collector
from helpers.faults_claims import Claims
from helpers.faults_golden import GOLDEN, unpack_golden
from helpers.faults_judge import judge, require_well
from helpers.faults_plan import LONG, SEED
from helpers.faults_producer import Producer
from helpers.faults_victim import Victim, wait_until

SOURCE = Path(lapwing_collector.__file__).parent
POINTS = sorted(
    {name for file in SOURCE.rglob("*.py") for name in re.findall(r'\breach\("([^"]+)"\)', file.read_text())}
)
AT_THE_START = ["wal.before_rename", "wal.after_rename"]
"""It comes to these when what it remembers gets long, and when it takes over an older directory."""
MAINTENANCE = {
    "maintenance.before_exchange": 3 if LONG else 1,
    "maintenance.in_exchange": 3 if LONG else 1,
    "maintenance.after_exchange": 3 if LONG else 1,
    "maintenance.after_expiry": 1,
    "maintenance.after_unlink": 1,
}
"""In this order: what merging leaves behind, later starts expire and delete. With how often, at most."""
LATE = ["maintenance.after_unlink"]
"""It comes to these after a minute."""
ON_ORDER = ["maintenance.in_retype", "migrating.catalog", "migrating.file"]
"""It comes to these when somebody gives a command; tests of the command have it die there."""
SELDOM = {"wal.before_release": 1} | MAINTENANCE
"""Not as often as others."""
SLOW = {"freezing"}
"""Rooms whose moments need ten thousand rows each, where others need few: for the long campaign."""
ROOMS = {
    room: moments
    for room, points in groupby(POINTS, key=lambda point: point.split(".")[0])
    if (moments := sorted({*points}.difference(AT_THE_START, ON_ORDER, () if LONG else LATE)))
}
CAMPAIGNS = (
    [[room] for room in ROOMS] if LONG else [["maintenance"], sorted(ROOMS.keys() - SLOW - {"maintenance"})]
)
"""Rooms at whose moments it dies over the same data; one by one they take a start and a verdict each."""


def test_every_step_of_a_write_has_a_moment() -> None:
    """Before and after each step that makes something durable, the collector can be made to die."""
    assert {
        "ingest.before_decode",
        "wal.before_write",
        "wal.before_sync",
        "wal.after_sync",
        "ingest.before_reply",
        "lake.before_sync",
        "lake.before_commit",
        "lake.after_commit",
        "wal.before_rename",
        "wal.after_rename",
        "wal.before_release",
        *MAINTENANCE,
    } <= set(POINTS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("turn", range(3 if LONG else 1))
@pytest.mark.parametrize("rooms", CAMPAIGNS, ids="-".join)
def test_dies_at_each_moment_of_a_room(
    rooms: list[str], turn: int, victim: Victim, claims: Claims, tmp_path: Path
) -> None:
    """Fault 1: dying at one moment after the other, over the same data, loses and doubles nothing."""
    dice = random.Random(f"{SEED} {rooms} {turn}")
    moments = [moment for room in rooms for moment in ROOMS[room]]
    points = dice.sample(moments, len(moments))
    points.sort(key=lambda point: [*MAINTENANCE].index(point) if point in MAINTENANCE else -1)
    victim.settings = {
        "write": {"flush_interval": "50ms"},
        "maintenance": {"longest_query": "1s", "copy_interval": "1s", "share": 1.0},
    }
    most = 200 if SLOW & {*rooms} else 20
    # Where rows wait all the time, maintenance waits for seconds before each step.
    pace_s = 0.01 if LONG else 0.05
    with (
        Producer(claims, victim, dice.random(), most=most, pace_s=pace_s),
        Producer(claims, victim, dice.random(), most=most, pace_s=pace_s),
    ):
        for point in points:
            mark = tmp_path / point
            at = f"{point}:{dice.randint(1, SELDOM.get(point, 3))}"
            victim.launch(LAPWING_CRASH_AT=at, LAPWING_CRASH_MARK=str(mark))
            wait_until(mark.exists, f"the collector comes to {at}", 150)
            victim.kill()
    victim.start()
    require_well(judge(victim, claims))


@pytest.mark.parametrize("point", AT_THE_START if LONG else AT_THE_START[:1])
def test_dies_while_it_takes_over_an_older_directory(point: str, victim: Victim, tmp_path: Path) -> None:
    """Dying in the middle of an upgrade leaves a directory that the next start takes over as a whole."""
    mark = tmp_path / "mark"
    claims = unpack_golden(GOLDEN / "data-0.1.0.tar.xz", victim.data)
    victim.launch(LAPWING_CRASH_AT=point, LAPWING_CRASH_MARK=str(mark))
    wait_until(mark.exists, f"the collector comes to {point}")
    victim.kill()
    victim.start()
    require_well(judge(victim, claims))
