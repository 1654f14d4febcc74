"""Where things are inside a data directory."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.wal import write_durably

WHOSE: Final = "be the user who runs Lapwing, or give it to yours"
"""What to do about a data directory of somebody else."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """One data directory: one project, one owner, one trust boundary."""

    root: Path

    @property
    def log(self) -> Path:
        """Segments of the durable log."""
        return self.root / "log"

    @property
    def ledger(self) -> Path:
        """What is remembered of accepted records once the log has let go of them."""
        return self.log / "ledger"

    @property
    def lake(self) -> Path:
        """The catalog and the Parquet files."""
        return self.root / "lake"

    @property
    def catalog(self) -> Path:
        """Which files hold which table of the lake."""
        return self.lake / "catalog.sqlite"

    @property
    def state(self) -> Path:
        """The database of alert states and messages."""
        return self.root / "state.sqlite"

    @property
    def dead_letters(self) -> Path:
        """Requests that were acknowledged and can no longer be read, and rows that the lake refuses."""
        return self.root / "dead-letters"

    @property
    def web_address(self) -> Path:
        """Where the owner answers SQL and commands, host:port, while it does."""
        return self.root / "web.address"

    @property
    def catalog_copy(self) -> Path:
        """The last copy of the lake's catalog, for when the catalog itself is damaged."""
        return self.root / "catalog-copy" / "catalog.sqlite"

    @property
    def serving(self) -> "DataDirectory":
        """What a process keeps that only serves: it may be beside the collector that owns all else."""
        return DataDirectory(self.root / "serving")

    @property
    def migration(self) -> Path:
        """Which files were copied, while the lake is taken elsewhere."""
        return self.root / "migration.jsonl"

    @property
    def departure(self) -> Path:
        """From where to where the lake was taken: where it was, it is not written any more."""
        return self.root / "lake.moved"

    @property
    def lake_unclaimed(self) -> Path:
        """Files of the lake that a rebuilt catalog does not know."""
        return self.lake / "unclaimed"

    @property
    def lake_quarantine(self) -> Path:
        """Files of the lake that were set aside because they are damaged."""
        return self.lake / "quarantine"


def expect_usable(data: Path) -> DataDirectory:
    """The data directory at a path: where there is one, this user may look into it.

    Raises:
        DataDirectoryError: They may not.
    """
    directory = DataDirectory(data)
    for folder in (directory.root, directory.lake):
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):  # noqa: PTH112  # Path's raises
            raise DataDirectoryError(f"{folder}: this user may not use it; {WHOSE}")
    return directory


def collector_name(root: Path) -> str:
    """The name of the collector whose data directory this is: one that no other has, and that stays.

    Only who owns the directory asks.
    """
    file = root / "collector.name"
    name = file.read_text(encoding="ascii").strip() if file.exists() else ""
    if not name:  # what the lake covers of this log is known by it
        name = secrets.token_hex(8)
        write_durably(file, f"{name}\n".encode())
    return name
