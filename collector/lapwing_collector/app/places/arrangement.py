"""Which parts of Lapwing a process is made of."""

from collections.abc import Iterator
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lapwing_collector.errors import ConfigError

if TYPE_CHECKING:  # who knows it imports nothing heavy: the supervisor, and query processes
    from lapwing_collector.config import Settings


class Arrangement(StrEnum):
    """What a process was started as."""

    UP = "up"
    """All of it."""
    COLLECT = "collect"
    """What receives, keeps and writes."""
    SERVE = "serve"
    """What people look at, and rules and messages."""

    @property
    def receives(self) -> bool:
        """Whether it has the way in, and writes the lake."""
        return self is not Arrangement.SERVE

    @property
    def serves(self) -> bool:
        """Whether it answers queries, shows pages, and may lead."""
        return self is not Arrangement.COLLECT

    def check(self, settings: "Settings") -> None:
        """See that what they need is installed, that the parts find each other, and that one alone judges.

        Raises:
            ConfigError: It is not, they do not, or each would.
        """
        for key, module, extra in _needed(settings):
            if find_spec(module) is None:
                raise ConfigError(
                    f"{key}: what it needs is not installed: say `pip install 'lapwing[{extra}]'`"
                )
        if settings.state.url is not None:
            return
        if self is not Arrangement.UP:
            raise ConfigError(
                f"lapwing {self}: what is divided among processes needs a state that they share: set "
                "`state.url`, or let `lapwing up` do all of it"
            )
        if settings.lake.catalog is not None:
            raise ConfigError(
                "lake.catalog: several collectors may write this lake, and each would judge the rules and "
                "send the messages: set `state.url` to a database of its own, on the same server if you like"
            )


def _needed(settings: "Settings") -> Iterator[tuple[str, str, str]]:
    """The keys for which something must be installed, what it is, and with which extra it comes."""
    if settings.state.url is not None:
        yield "state.url", "pg8000", "postgres"
    if settings.lake.catalog is not None:
        yield "lake.catalog", "duckdb_extension_postgres_scanner", "scale"
    if settings.lake.data is not None and not isinstance(settings.lake.data, Path):
        yield "lake.data", "duckdb_extension_httpfs", "scale"
