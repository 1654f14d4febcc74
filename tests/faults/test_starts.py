"""Starts that cannot be, or should not: told in one line, and nothing is touched."""

import hashlib
import os
import sys
from pathlib import Path

import pytest

from helpers.faults_claims import Claims, Shape
from helpers.faults_golden import GOLDEN, unpack_golden
from helpers.faults_judge import compare, judge, require_well
from helpers.faults_mounts import write_protected
from helpers.faults_plan import as_root, long_only
from helpers.faults_producer import HttpClient, send
from helpers.faults_victim import Victim, wait_until


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def refused(victim: Victim, *prefix: str) -> str:
    """Start it, which must fail soon, and give what it says: one line."""
    said_before = len(victim.output.read_text()) if victim.output.exists() else 0
    victim.launch(prefix)
    assert victim.died() == 1
    said = victim.output.read_text()[said_before:].strip()
    assert "Traceback" not in said
    assert said.startswith("lapwing: "), said
    return said


@pytest.fixture
def served(victim: Victim, claims: Claims) -> Victim:
    """A collector that was killed with something in its log."""
    victim.settings = {"write": {"flush_interval": "1h"}}
    victim.start()
    with HttpClient(victim.http) as client:
        assert send(client, claims.make(Shape.NUMBERED, 3, "served")) == 200
    victim.kill()
    victim.settings = {"write": {"flush_interval": "50ms"}}
    return victim


KEEPING = """
import subprocess, sys
command = [sys.executable, "-c", *sys.argv[1:]]
subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0).wait()
"""
KEPT = """
import json, pathlib, sys
mark = pathlib.Path(json.loads(sys.argv[1])[1]["data"] + ".mark")
mark.write_text("began")
sys.stdin.read()
sum(range(3_000_000))
mark.write_text("ended")
"""


def test_a_kill_is_over_when_nothing_is_left(victim: Victim) -> None:
    """Who is in a group of its own ends by itself, and comes to its end before files are looked at."""
    victim.up = (sys.executable, "-c", KEEPING, KEPT)
    mark = victim.data.with_name(victim.data.name + ".mark")
    victim.launch()
    wait_until(lambda: mark.exists() and mark.read_text() == "began", "it has begun")
    victim.kill()
    assert mark.read_text() == "ended"


@as_root
def test_a_folder_that_cannot_be_used_is_told_and_left_alone(served: Victim, claims: Claims) -> None:
    """Fault 12: read-only, or another user's: one line that names the folder, no change; then it starts."""
    before = contents(served.data)
    with write_protected(served.data):
        assert str(served.data) in refused(served)
    for path in (served.data, *served.data.rglob("*")):
        os.chown(path, 12_345, 12_345)
    assert str(served.data) in refused(served, "setpriv", "--bounding-set=-dac_override", "--inh-caps=-all")
    for path in (served.data, *served.data.rglob("*")):
        os.chown(path, os.geteuid(), os.getegid())
    assert contents(served.data) == before
    served.start()
    require_well(judge(served, claims))


@long_only
def test_wrong_settings_touch_nothing(served: Victim, claims: Claims) -> None:
    """Fault 28: a mistake in the settings is told before anything of the data is opened."""
    before = contents(served.data)
    good, served.settings = served.settings, {"write": {"flush_interval": "soon"}}
    assert "flush_interval" in refused(served)
    assert contents(served.data) == before
    served.settings = good
    served.start()
    require_well(judge(served, claims))


def test_a_second_collector_is_refused(victim: Victim, claims: Claims) -> None:
    """Fault 13: it names who owns the folder, and the first goes on undisturbed."""
    victim.start()
    second = Victim(victim.data, victim.settings)
    second.data = victim.data.parent / "other"
    second.data.symlink_to(victim.data)
    try:
        said = refused(second)
    finally:
        second.clear()
    assert f"pid {victim.process.pid}" in said
    require_well(judge(victim, claims))


@long_only
def test_a_foreign_file_in_the_lake_is_left_alone(victim: Victim, claims: Claims) -> None:
    """What is not Lapwing's is neither read nor deleted, and disturbs nothing."""
    victim.start()
    with HttpClient(victim.http) as client:
        assert send(client, claims.make(Shape.NUMBERED, 3, "served")) == 200
    foreign = victim.data / "lake" / "notes.txt"
    foreign.write_text("mine")
    victim.kill()
    victim.start()
    require_well(judge(victim, claims))
    assert foreign.read_text() == "mine"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("data-*.tar.xz")), ids=lambda file: file.name)
def test_what_an_older_version_left_is_taken_over(file: Path, victim: Victim) -> None:
    """Fault 27: after an upgrade over a log that was not empty every promise of the old version is kept."""
    claims = unpack_golden(file, victim.data)
    victim.launches = 1  # by the older version
    victim.start()
    with HttpClient(victim.http) as client:
        assert all(send(client, claim) == 200 for claim in claims.made if claim.shape.has_numbers)
    require_well(judge(victim, claims))
    assert compare(victim.data, claims).stored == sum(claim.count for claim in claims.made)
