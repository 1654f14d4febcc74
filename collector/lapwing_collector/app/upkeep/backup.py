"""Backups: a data directory copied while it is used, and put back where there is none.

The order makes it one moment: the log first, then what tells which of its records are known, then, while
nobody commits, alert state and catalog. Whatever the log let go of meanwhile is in the catalog that is copied
after it, so a restored directory has every row that was acknowledged when the backup began, each once. What
rules record waits in the state until the lake has it: for each row to be in one of the two copies, and in
one only, these are of one moment.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import lapwing
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.engine.place import Place
from lapwing_collector.errors import DataDirectoryError, reason
from lapwing_collector.folders import PRIVATE, make_folder, sync_folder
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.catalog_file import CatalogFileError, check_catalog, copy_catalog
from lapwing_collector.lake.files import all_files
from lapwing_collector.lake.store import damage_of, store_of
from lapwing_collector.wal import sync_data, write_durably

MANIFEST: Final = "backup.json"
_ATTEMPTS: Final = 10

Tell = Callable[[str, int, int], None]


def take_backup(
    directory: DataDirectory,
    target: Path,
    now: datetime,
    tell: Tell,
    *,
    state: str | None = None,
    still: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> dict[str, Any]:
    """Copy a data directory into the new folder `target`. Nothing may be deleted from its lake meanwhile.

    Parquet files never change, so they become hard links where the file system is the same.

    Args:
        directory: What is copied.
        target: Where to.
        now: The wall clock.
        tell: Told how far it is.
        state: What the alert state is called where it is elsewhere; it is not copied then.
        still: Keeps everybody from committing to the lake for the length of a block.

    Raises:
        DataDirectoryError: `target` holds something, or cannot be written.
    """
    target = target.resolve()
    _refuse_unless_empty(target)
    if target.is_relative_to(directory.root.resolve()):
        raise DataDirectoryError(f"{target}: a backup inside the data directory would be lost with it")
    try:
        backup = DataDirectory(target)
        make_folder(backup.lake)
        _copy_log(directory, backup)
        with still():
            if state is None and directory.state.exists():
                _copy_database(directory.state, backup.state)
            if directory.dead_letters.is_dir():
                shutil.copytree(directory.dead_letters, backup.dead_letters)
            copy_catalog(directory.catalog, backup.catalog)
        files = _files_named(backup)
        size_bytes = 0
        for done, (relative, expected_bytes) in enumerate(files.items(), 1):
            _link(directory.lake / "data" / relative, backup.lake / "data" / relative)
            size_bytes += expected_bytes
            tell("files", done, len(files))
        manifest = {
            "taken_at": now.isoformat(),
            "lapwing": lapwing.__version__,
            "files": len(files),
            "bytes": size_bytes,
            "state_elsewhere": state,
        }
        _sync(target)  # the manifest says that all of it is there
        write_durably(target / MANIFEST, f"{json.dumps(manifest, indent=1)}\n".encode())
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, (OSError, CatalogFileError, sqlite3.Error)):
            raise DataDirectoryError(f"{target}: the backup could not be written: {error}") from error
        raise
    return manifest


def restore_backup(source: Path, directory: DataDirectory, tell: Tell) -> dict[str, Any]:
    """Put a backup where no data directory is, and verify it: every file it names, every page of them.

    Raises:
        DataDirectoryError: It is no whole backup, or the data directory holds something.
    """
    source, root = source.resolve(), directory.root.resolve()
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataDirectoryError(
            f"{source}: is no backup: {MANIFEST} cannot be read: {reason(error)}"
        ) from error
    _refuse_unless_empty(root)
    wrong = check_catalog(DataDirectory(source).catalog)
    if wrong:
        raise DataDirectoryError(f"{source}: the catalog of this backup is damaged: {wrong[0]}")
    unfinished = root.with_name(root.name + ".restoring")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        make_folder(root.parent)
        shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(MANIFEST))
        _verify(DataDirectory(unfinished), tell)
        unfinished.chmod(PRIVATE)
        _sync(unfinished)
        if root.exists():
            root.rmdir()
        unfinished.rename(root)
        sync_folder(root.parent)
    except OSError as error:
        raise DataDirectoryError(f"{root}: the backup could not be restored: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _sync(root: Path) -> None:
    """Wait until everything below a folder is on the medium, and the names of it all."""
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            descriptor = os.open(Path(folder, name), os.O_RDONLY)
            try:
                sync_data(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))


def _verify(directory: DataDirectory, tell: Tell) -> None:
    files = _files_named(directory)
    store = store_of(Place.within(directory.lake).files)
    for done, (relative, size_bytes) in enumerate(files.items(), 1):
        problem = damage_of(store, store.root / relative, size_bytes)
        if problem:
            raise DataDirectoryError(f"{relative}: this file of the backup {problem}")
        tell("files verified", done, len(files))


def _refuse_unless_empty(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataDirectoryError(f"{target}: is not empty; choose a folder that does not exist yet")


def _copy_log(source: DataDirectory, target: DataDirectory) -> None:
    """Copy the log, then what is remembered of records: it is never older than what the log begins with."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(target.log, ignore_errors=True)
        try:
            for folder, copy in ((source.log, target.log), (source.ledger, target.ledger)):
                copy.mkdir()
                there = folder.iterdir() if folder.is_dir() else ()  # an older version may have none
                for part in sorted(there, key=_segments_first):
                    if part.is_file() and part.suffix != ".tmp":
                        shutil.copy2(part, copy / part.name)
        except FileNotFoundError:
            continue  # the lake has what was in it; begin with what is left
        return
    raise DataDirectoryError(f"{source.log}: the log changes faster than it can be copied; try again")


def _segments_first(part: Path) -> tuple[bool, str]:
    return part.suffix != ".log", part.name


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as held, closing(sqlite3.connect(target)) as copy:
        held.backup(copy)


def _files_named(directory: DataDirectory) -> dict[Path, int]:
    """The Parquet files that the catalog of a directory names, from its data folder on, with their sizes."""
    catalog = Catalog.read(directory.lake)
    try:
        return {
            Path(str(path)).relative_to(str(catalog.store.root)): file.size_bytes
            for path, (_, file) in all_files(catalog).items()
        }
    finally:
        catalog.close()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
