"""Named moments at which the fault campaign lets the process die, as if killed; in service they do nothing.

A moment is named `room.moment`, such as `wal.before_sync`. `LAPWING_CRASH_AT=wal.before_sync` ends the
process when it comes there first, `LAPWING_CRASH_AT=wal.before_sync:3` the third time. With
`LAPWING_CRASH_MARK=FILE` it leaves an empty file as it dies, and processes that find the file run on: a
supervisor that starts its worker again does not run into the same crash for ever.
"""

import os
import threading
from collections.abc import Mapping
from typing import Final

EXIT_STATUS: Final = 137
"""What a shell reports of a process that was killed with SIGKILL."""


class CrashPoint:
    """The one moment that a process is to die at.

    Args:
        name: The moment.
        count: It dies when it comes there for this time, counted from 1.
        mark: A file that it leaves behind; None for none.
    """

    def __init__(self, name: str, count: int = 1, mark: str | None = None) -> None:
        self._name = name
        self._left = count
        self._mark = mark
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "CrashPoint | None":
        """What the variables ask for; None if nothing, or if it has happened."""
        name, _, count = environment.get("LAPWING_CRASH_AT", "").partition(":")
        mark = environment.get("LAPWING_CRASH_MARK")
        if not name or (mark is not None and os.path.exists(mark)):  # noqa: PTH110  # a leaf that costs no import
            return None
        return cls(name, int(count or 1), mark)

    def reached(self, name: str) -> None:
        """Come to a moment, and die if it is the one."""
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                if self._mark is not None:
                    os.close(os.open(self._mark, os.O_WRONLY | os.O_CREAT, 0o644))
                os._exit(EXIT_STATUS)


_armed: Final = CrashPoint.from_environment(os.environ)


def reach(name: str) -> None:
    """Say that the process has come to the moment `name`; it ends here if the environment asks for that."""
    if _armed is not None:
        _armed.reached(name)
