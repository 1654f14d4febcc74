"""The recipe for writes that survive a power cut; every durable file of the log goes through it."""

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "darwin":
    import fcntl

    def sync_data(fd: int) -> None:
        """Wait until the file's bytes are on the medium; macOS's fsync alone stops at the drive's cache."""
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)

else:

    def sync_data(fd: int) -> None:
        """Wait until the file's bytes, and the size that makes them readable, are on the medium."""
        os.fdatasync(fd)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the medium: a new file is not durable before its name is."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however many calls it takes.

    Raises:
        OSError: A part could not be written; some of it may have been.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_durably(path: Path, data: bytes) -> None:
    """Make `data` the content of `path`, so that a crash at any point leaves the old content or the new.

    A temporary file beside it is written and synced, renamed over `path`, and then the folder is synced.
    """
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        try:
            write_all(fd, data)
            sync_data(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
