"""Puts the last copy of a damaged catalog in its place. Nothing is deleted."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.clock import utc_datetime
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.catalog_file import CatalogFileError, check_catalog, copy_catalog
from lapwing_collector.lake.files import known_paths
from lapwing_collector.lake.store import FolderStore


def rebuild_catalog(directory: DataDirectory, now: datetime) -> Mapping[str, Any]:
    """Set the catalog aside, restore its last copy, and set aside the files that the copy does not know.

    Rows that the log still holds come back at the next start: the copy says how far it covers the log. Rows
    that were written since and that the log let go of are in the files set aside.

    Raises:
        DataDirectoryError: A collector runs, or there is no whole copy.
    """
    ownership = Ownership.take(directory.root)
    try:
        copy = directory.catalog_copy
        if not copy.exists():
            raise DataDirectoryError(f"{copy}: the catalog was never copied; restore a backup instead")
        problems = check_catalog(copy)
        if problems:
            raise DataDirectoryError(
                f"{copy}: the copy is damaged too: {problems[0]}; restore a backup instead"
            )
        broken = directory.lake / f"catalog-{now:%Y%m%dT%H%M%S}"
        broken.mkdir(exist_ok=True)
        for part in directory.lake.glob("catalog.sqlite*"):
            part.replace(broken / part.name)
        copy_catalog(copy, directory.catalog)
        files, rows = _set_unknown_aside(directory)
    except (OSError, CatalogFileError) as error:
        raise DataDirectoryError(f"{directory.lake}: the catalog cannot be rebuilt: {error}") from error
    finally:
        ownership.release()
    return {
        "copied_at": utc_datetime(copy.stat().st_mtime_ns).isoformat(),
        "broken": str(broken),
        "files_aside": files,
        "rows_aside": rows,
        "aside": str(directory.lake_unclaimed),
    }


def _set_unknown_aside(directory: DataDirectory) -> tuple[int, int]:
    """Move files that the catalog does not know out of the tables' folders; files, and rows in them."""
    catalog = Catalog.read(directory.lake)
    try:
        known = known_paths(catalog)
        data = directory.lake / "data"
    finally:
        catalog.close()
    unknown = [path for path in sorted(data.rglob("*.parquet")) if path not in known]
    rows = 0
    for path in unknown:
        rows += _rows_of(path)
        FolderStore(data).move(path, directory.lake_unclaimed / path.relative_to(data))
    return len(unknown), rows


def _rows_of(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except (OSError, pa.ArrowException):
        return 0
