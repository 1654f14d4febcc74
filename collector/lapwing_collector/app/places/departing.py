"""A lake that is taken elsewhere is not written any more where it was: what comes waits in the log.

Whoever takes it there keeps the journal of the journey locked, and so is known to be gone, however it ended.
The mark of a departure is made before the lake is anywhere else, and stays: a collector that is started with
the old settings would write what the new lake never gets to see.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from typing import Self

from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.engine.place import Place
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake import Lake
from lapwing_collector.wal import write_durably

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """Where the lake of a data directory was taken to, and where it was before, in words.

    Attributes:
        left: Where it was, and is not any more.
        target: Where it is.
    """

    left: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, directory: DataDirectory) -> Self | None:
        """What became of the lake of a data directory so far; None where it was taken nowhere.

        Raises:
            DataDirectoryError: The mark says nothing that can be read.
        """
        try:
            marked = json.loads(directory.departure.read_text(encoding="utf-8"))
            return cls(tuple(map(str, marked["left"])), str(marked["target"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise DataDirectoryError(
                f"{directory.departure}: damaged, so nobody knows where the lake was taken to. Give the "
                f"settings that say where it is, and delete this file"
            ) from error

    @classmethod
    def after(cls, before: Self | None, source: Place, target: Place) -> Self:
        """The one from a place to another, of a lake that had been taken about `before`."""
        left = {str(source), *(before.left if before else ())} - {str(target)}
        return cls(tuple(sorted(left)), str(target))

    def mark(self, directory: DataDirectory) -> None:
        """Keep it, instead of the one before."""
        write_durably(directory.departure, json.dumps(asdict(self)).encode() + b"\n")


def why_held(directory: DataDirectory, place: Place) -> str | None:
    """Why the lake at a place is not to be written, for people; None where it is.

    Raises:
        DataDirectoryError: Nobody can say.
    """
    last = Departure.of(directory)
    if last is None or str(place) not in last.left:
        return None
    return (
        f"the lake was taken from {place} to {last.target}: start the collector with the settings that "
        f"say so; until then what comes waits in the log. To go on with the old lake, and do without the new "
        f"one, delete {directory.departure} and start it again"
    )


def hold_if_departed(lake: Lake, directory: DataDirectory) -> bool:
    """Let a lake that was taken elsewhere be as it was then; tells whether it was."""
    why = why_held(directory, lake.catalog.place)
    if why is None:
        return False
    logger.warning("%s", why, extra={"action": "lake_departed"})
    lake.catalog.hold(why)
    return True


@contextmanager
def travelling(directory: DataDirectory) -> Iterator[None]:
    """Be the one who takes the lake elsewhere, for the length of the block.

    Raises:
        DataDirectoryError: Another process does.
    """
    with _opened(directory.migration, os.O_RDWR | os.O_CREAT) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirectoryError(
                f"{directory.root}: its lake is being taken elsewhere by another process; let it finish"
            ) from error
        yield


def hold_lake(lake: Lake, directory: DataDirectory, target: str) -> None:
    """Write nothing while the lake is taken elsewhere, nor afterwards if it came to be there. Harmless twice.

    Args:
        lake: The lake.
        directory: Whose lake it is.
        target: Where it is taken to, for people.
    """
    why = f"the lake is being taken to {target}; ask again when it is there"
    if lake.catalog.held == why:
        return
    lake.catalog.hold(why)
    logger.info(
        "the lake is being taken to %s; what comes waits in the log", target, extra={"action": "lake_held"}
    )
    Thread(target=_wait_for, args=(lake, directory), name="lapwing-departure", daemon=True).start()


def _wait_for(lake: Lake, directory: DataDirectory) -> None:
    with suppress(FileNotFoundError), _opened(directory.migration, os.O_RDWR) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if not hold_if_departed(lake, directory):
        logger.warning(
            "the lake was not taken elsewhere; rows are written here again", extra={"action": "lake_stays"}
        )
        lake.catalog.let_go()


@contextmanager
def _opened(file: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(file, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
