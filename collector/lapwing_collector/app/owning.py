"""What an owner of a data directory has first: its lock, its lake, and what keeps the catalog open.

The rest of the collector is none of it, and can be imported while the lake is opened.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.ownership import Ownership
from lapwing_collector.app.profiling import PROFILING
from lapwing_collector.app.project import Project, declared_types
from lapwing_collector.lake import CatalogKeeper, Lake


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
            lake = Lake.open(directory.lake, declared_types(project), profiling=PROFILING)
            parts.callback(lake.close)
            keeper = CatalogKeeper.begin(directory.lake)
            parts.callback(keeper.close)
            return cls(directory, lake, keeper, parts.pop_all())

    def close(self) -> None:
        """Let go of all; closing twice is harmless."""
        self._parts.close()
