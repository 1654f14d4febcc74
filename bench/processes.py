"""What processes and all that they started take."""

import os
from contextlib import suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """A process and all that it started, and that these did."""
    found = [pid]
    for each in found:
        with suppress(OSError):  # it has ended meanwhile
            for task in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, task.read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and of all that it started: those that are there, or were waited for."""
    ticks = 0
    for each in family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")
