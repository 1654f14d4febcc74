"""What an owner of a data directory has first: its lock, its lake, and what keeps the catalog open.

The rest of the collector is none of it, and can be imported while the lake is opened.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from lapwing_collector.app.places.departing import hold_if_departed
from lapwing_collector.app.places.directory import DataDirectory, collector_name
from lapwing_collector.app.places.lake_place import lake_of
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.places.project import Project, declared_types
from lapwing_collector.config import Settings
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake import CatalogKeeper, Lake
from lapwing_collector.lake.writer import DeclaredTypes


def open_lake(directory: DataDirectory, settings: Settings, declared: DeclaredTypes | None = None) -> Lake:
    """Open the lake of a data directory that this process owns; one that was taken elsewhere stays as it is.

    Args:
        directory: Whose lake.
        settings: Which say where it is.
        declared: Types that files declare.

    Raises:
        DataDirectoryError: It cannot be used.
    """
    lake = Lake.open(lake_of(settings), declared, profiling=PROFILING, writer=collector_name(directory.root))
    try:
        hold_if_departed(lake, directory)
    except DataDirectoryError:
        lake.close()
        raise
    return lake


@dataclass(frozen=True, slots=True)
class OwnedData:
    """A data directory whose lake is open for writing.

    Attributes:
        directory: Where what is.
        lake: Its lake.
        keeper: Holds the catalog open before long; who lets others read waits for it.
    """

    directory: DataDirectory
    lake: Lake
    keeper: CatalogKeeper
    _parts: ExitStack

    @classmethod
    def take(cls, project: Project, holder: int | None = None) -> Self:
        """Own the data directory of a project and open its lake, making what is not there.

        Args:
            project: Whose data.
            holder: The process that others who want the directory are told to stop; this one if None.

        Raises:
            DataDirectoryError: Another process owns it, or it cannot be used.
        """
        directory = DataDirectory(project.settings.data)
        with ExitStack() as parts:
            parts.callback(Ownership.take(directory.root, holder).release)
            lake = open_lake(directory, project.settings, declared_types(project))
            parts.callback(lake.close)
            keeper = CatalogKeeper.begin(lake.catalog.place)
            parts.callback(keeper.close)
            return cls(directory, lake, keeper, parts.pop_all())

    def close(self) -> None:
        """Let go of all; closing twice is harmless."""
        self._parts.close()
