"""Lets go of old snapshots, and of the files that no snapshot sees any more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from lapwing_collector import engine
from lapwing_collector.crashpoints import reach
from lapwing_collector.engine.place import Location
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.files import known_paths
from lapwing_collector.lake.statements import statement

_SNAPSHOTS_AT_ONCE: Final = 1000
"""What expiring costs depends on how many files the lake has, hardly on this."""
_FILES_AT_ONCE: Final = 200


def expire_snapshots(catalog: Catalog, before: datetime, limit: int = _SNAPSHOTS_AT_ONCE) -> int:
    """Expire snapshots made before a time, some at a time; the number expired.

    The newest snapshot stays, and so does the newest in which each writer says how far it has come.

    Args:
        catalog: Of the lake.
        before: Naive UTC.
        limit: How many at most.
    """
    with catalog.exclusive():
        old = [row[0] for row in catalog.rows(statement("expirable_snapshots", limit=str(limit)), [before])]
        if old:
            versions = ", ".join(map(str, old))
            catalog.rows(
                f"SELECT count(*) FROM ducklake_expire_snapshots('{engine.LAKE}', versions => [{versions}])"
            )
            reach("maintenance.after_expiry")
        return len(old)


def delete_files(catalog: Catalog, before: datetime, limit: int = _FILES_AT_ONCE) -> list[Location]:
    """Delete files that no snapshot sees since before a time, some at a time; those deleted.

    DuckLake's own function compares times as text on a SQLite catalog, and would take younger files too.

    Args:
        catalog: Of the lake.
        before: Naive UTC; earlier than the start of every query that may still read.
        limit: How many at most.

    Raises:
        OSError: A file cannot be deleted.
    """
    with catalog.exclusive():
        found = catalog.rows(statement("deletable_files", limit=str(limit)), [before])
        files = [catalog.located("" if relative else None, path) for _, path, relative in found]
        for file in files:
            catalog.store.remove(file)
            reach("maintenance.after_unlink")
        if found:
            _forget(catalog, [row[0] for row in found])
        return files


def delete_orphans(catalog: Catalog, before: datetime | None = None) -> list[Location]:
    """Delete files that the catalog does not know: what a crash left; those deleted.

    Args:
        catalog: Of the lake.
        before: Only those that were written before a time, naive UTC, since younger ones may be about to be
            committed by somebody else; all if None.

    Raises:
        OSError: The store does not answer, or a file cannot be deleted.
    """
    there = [
        each.path
        for each in catalog.store.listed(catalog.store.root)
        if before is None or each.changed_at < before
    ]
    known = known_paths(catalog)  # later than what is there, of which each was committed by then, or never is
    unknown = [path for path in there if path not in known]
    for path in unknown:
        catalog.store.remove(path)
    return unknown


def _forget(catalog: Catalog, ids: Sequence[int]) -> None:
    catalog.change(statement("forget_files", ids=", ".join(map(str, ids))))
