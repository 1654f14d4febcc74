"""One owner per data directory: whoever holds its lock may write the lake."""

import fcntl
import os
from pathlib import Path
from typing import Self

from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.folders import make_folder


class Ownership:
    """The lock on a data directory; the operating system drops it when its holder dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        """Use `take` instead."""
        self._descriptor = descriptor

    @classmethod
    def take(cls, data: Path, holder: int | None = None) -> Self:
        """Own the data directory, making it where there is none.

        Args:
            data: The data directory.
            holder: The process that others are told of, to stop it; this one if None.

        Raises:
            DataDirectoryError: Another process owns it, or it cannot be written.
        """
        try:
            make_folder(data)
            descriptor = os.open(data / "owner.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except (FileExistsError, NotADirectoryError) as error:
            raise DataDirectoryError(f"{data}: is no folder; choose another with --data") from error
        except OSError as error:
            raise DataDirectoryError(
                f"{data}: this data directory cannot be written: {error.strerror}; "
                "choose another with --data or change its permissions"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise DataDirectoryError(
                f"{data}: another Lapwing process (pid {owner}) owns this data directory; "
                "stop it first, or choose another directory with --data"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise DataDirectoryError(f"{data}: this file system has no locks: {error.strerror}") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder or os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let another process own the directory; releasing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
