"""`lapwing upgrade`: brings a data directory up to date, or says what there is to do."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from lapwing_collector.app.places.directory import DataDirectory, collector_name
from lapwing_collector.app.places.lake_place import expect_folder, expect_lake, lake_of
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.upkeep.backup import take_backup
from lapwing_collector.app.upkeep.maintenance import Tell
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import Settings
from lapwing_collector.engine.format import LAKE_FORMAT
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake import Lake
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.format import format_of
from lapwing_collector.state import NEWEST, SqliteFile, Store, schema_of


@dataclass(frozen=True, slots=True)
class Part:
    """What a data directory has with a version of its own.

    Attributes:
        name: What it is.
        found: The version that it has; None where there is none of it yet.
        newest: The one that this Lapwing writes.
    """

    name: str
    found: int | None
    newest: int

    @property
    def old(self) -> bool:
        """Whether there is something to do."""
        return self.found is not None and self.found < self.newest

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {**asdict(self), "old": self.old}


def look(file: Path | None, flags: Mapping[str, Any]) -> list[Part]:
    """The versions in a data directory; nothing is changed.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.

    Raises:
        DataDirectoryError: There is none, it cannot be read, or was written by a newer version.
        LapwingError: The alert state cannot be asked.
    """
    return _look(settings_for(file, flags))


def upgrade(
    file: Path | None, flags: Mapping[str, Any], tell: Tell, backup: Path | None = None
) -> list[Part]:
    """Bring a data directory up to date.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        backup: A new folder that it is copied to first, if there is something to do.

    Returns:
        What was found.

    Raises:
        ConfigError: A lake that is elsewhere cannot be copied.
        DataDirectoryError: Somebody uses it, there is none, or it was written by a newer version.
        LapwingError: The alert state cannot be asked.
    """
    settings = settings_for(file, flags)
    found = _look(settings)
    if not any(part.old for part in found):
        return found
    directory, lake, place = DataDirectory(settings.data), lake_of(settings), state_of(settings)
    ownership = Ownership.take(directory.root)
    try:
        if backup is not None:
            expect_folder(lake, "--backup")
            state = None if isinstance(place, SqliteFile) else place.name
            take_backup(directory, backup, utc_datetime(SystemClock().now_ns()), tell, state=state)
        Lake.open(lake, profiling=PROFILING, writer=collector_name(directory.root)).close()
        with closing(Store.open(place)):
            pass
    finally:
        ownership.release()
    return found


def _look(settings: Settings) -> list[Part]:
    place = expect_lake(settings)
    try:
        with closing(Catalog.read(place)) as catalog:
            lake = format_of(catalog) or 1
    except duckdb.Error as error:
        raise DataDirectoryError(f"{place}: the lake cannot be read: {error}") from error
    return [
        Part("lake", lake, LAKE_FORMAT),
        Part("alert state", schema_of(state_of(settings)), NEWEST),
    ]
