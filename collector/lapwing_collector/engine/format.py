"""Of which format a lake is: a number in its catalog, so that it is with the lake wherever that goes."""

from collections.abc import Callable
from typing import Any, Final

from lapwing_collector.errors import DataDirectoryError

LAKE_FORMAT: Final = 3
"""The newest that this version of Lapwing knows; `lake.format` has the steps up to it."""

FORMAT_KEY: Final = "lapwing_format"
"""What the catalog calls it, among DuckLake's own settings."""


def recorded_format(ask: Callable[[str], list[tuple[Any, ...]]], catalog: str) -> int | None:
    """The format of a lake; None for one of before there were numbers.

    Args:
        ask: Answers SQL.
        catalog: What the tables of the lake's catalog are attached as.
    """
    [(found,)] = ask(f"SELECT max(value::BIGINT) FROM {catalog}.ducklake_metadata WHERE key = '{FORMAT_KEY}'")
    return None if found is None else int(found)


def refuse_newer(found: int | None, where: object) -> None:
    """Leave a lake alone of which it is not known how to read it.

    Raises:
        DataDirectoryError: It was written by a newer version.
    """
    if found is not None and found > LAKE_FORMAT:
        raise DataDirectoryError(
            f"{where}: was written by a newer version of Lapwing (format {found}; this one knows "
            f"{LAKE_FORMAT}). Upgrade Lapwing, or use another data directory."
        )
