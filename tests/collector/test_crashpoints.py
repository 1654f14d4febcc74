"""Crash points: where the fault campaign lets the process die."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lapwing_collector.crashpoints import EXIT_STATUS

PROGRAM = """
import threading
from lapwing_collector.crashpoints import reach
for turn in range(3):
    reach("wal.before_sync")
    thread = threading.Thread(target=reach, args=["lake.before_commit"])
    thread.start()
    thread.join()
    print(turn, flush=True)
"""


def run(**environment: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("asked", "turns"),
    [("wal.before_sync", []), ("wal.before_sync:1", []), ("wal.before_sync:3", ["0", "1"])],
)
def test_a_process_dies_at_the_moment_that_was_asked_for(asked: str, turns: list[str]) -> None:
    """It ends like a killed process when it comes to the moment for the n-th time."""
    assert run(LAPWING_CRASH_AT=asked) == (EXIT_STATUS, turns)


def test_a_moment_that_another_thread_comes_to_ends_the_process_too() -> None:
    """The process dies as a whole, whichever of its threads comes to the moment."""
    assert run(LAPWING_CRASH_AT="lake.before_commit:2") == (EXIT_STATUS, ["0"])


@pytest.mark.parametrize("asked", ["", "wal.before_sync:4", "wal.before", "another.moment"])
def test_a_process_that_never_comes_to_the_moment_lives(asked: str) -> None:
    """Other moments, and too few visits, change nothing."""
    assert run(LAPWING_CRASH_AT=asked) == (0, ["0", "1", "2"])


def test_a_process_that_finds_the_mark_of_the_crash_lives(tmp_path: Path) -> None:
    """The mark is left by the crash, and spares the processes after it."""
    mark = tmp_path / "mark"
    asked = {"LAPWING_CRASH_AT": "wal.before_sync:2", "LAPWING_CRASH_MARK": str(mark)}
    assert run(**asked) == (EXIT_STATUS, ["0"])
    assert mark.exists()
    assert run(**asked) == (0, ["0", "1", "2"])
