"""Who belongs to whom among processes, as Linux tells in /proc; elsewhere none is seen."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process; when it began tells it from one that is given its number later."""

    pid: int
    began: int


def family(leader: int, known: AbstractSet[Process] = frozenset()) -> set[Process]:
    """All that runs in the session that a process leads, and all that was started by those.

    Args:
        leader: Its number; it may have ended.
        known: Who else belongs to it: who lost a parent is found no other way, if it left the session.
    """
    running = {process: (parent, session) for process, parent, session in _running()}
    found = {process for process, (_, session) in running.items() if session == leader or process in known}
    while True:
        pids = {process.pid for process in found}
        children = {process for process, (parent, _) in running.items() if parent in pids} - found
        if not children:
            return found
        found |= children


def _running() -> Iterator[tuple[Process, int, int]]:
    """Each process that has not ended, with the numbers of its parent and of the leader of its session."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent, _, session, *more = file.read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                yield Process(int(file.parent.name), int(more[15])), int(parent), int(session)
