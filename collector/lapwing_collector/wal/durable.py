"""The recipe for writes that survive a power cut; every durable file of the log goes through it."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lapwing_collector.crashpoints import reach
from lapwing_collector.folders import sync_folder

_MOST_PARTS: Final = 512
"""In one call; systems allow 1024."""

if sys.platform == "darwin":
    import fcntl

    def sync_data(fd: int) -> None:
        """Wait until the file's bytes are on the medium; macOS's fsync alone stops at the drive's cache."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Wait until the file's bytes, and the size that makes them readable, are on the medium."""
        os.fdatasync(fd)


def leave_to_system(fd: int) -> None:
    """Wait for nothing: the operating system writes the file's bytes when it likes."""


def write_all(fd: int, parts: Sequence[bytes]) -> None:
    """Write all of `parts`, however many calls it takes.

    Raises:
        OSError: A part could not be written; some of it may have been.
    """
    for at in range(0, len(parts), _MOST_PARTS):
        rest: list[bytes | memoryview] = list(parts[at : at + _MOST_PARTS])
        while rest:
            written = os.writev(fd, rest)
            whole = 0
            while whole < len(rest) and len(rest[whole]) <= written:
                written -= len(rest[whole])
                whole += 1
            rest = rest[whole:]
            if written:
                rest[0] = memoryview(rest[0])[written:]


def write_durably(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, so that a crash at any point leaves the old content or the new.

    A temporary file beside it is written and synced, renamed over `path`, and then the folder is synced.
    """
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        try:
            write_all(fd, [data])
            sync_data(fd)
        finally:
            os.close(fd)
        reach("wal.before_rename")
        temporary.replace(path)
        reach("wal.after_rename")
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
