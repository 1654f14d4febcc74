"""Files that leave the lake are durable where they go before they are gone where they were."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lapwing_collector.engine.place import Location
from lapwing_collector.lake.store import BucketStore, FolderStore, Store

if TYPE_CHECKING:
    from helpers.objects import ObjectStore

Synced = tuple[int, int, bool]
"""The inode of a file or folder that was synced, its size, and whether the file that moves was there."""
CONTENT = os.urandom(3 << 20)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store, Location], list[Synced]]:
    """Watch what is synced while a file of a store moves."""

    def watch(store: Store, file: Location) -> list[Synced]:
        seen: list[Synced] = []
        fsync = os.fsync

        def noting(descriptor: int) -> None:
            fsync(descriptor)
            found = os.fstat(descriptor)
            seen.append((found.st_ino, found.st_size, store.size(file) is not None))

        monkeypatch.setattr(os, "fsync", noting)
        return seen

    return watch


@pytest.fixture
def in_a_bucket(objects: "ObjectStore") -> BucketStore:
    """A store in an empty place of a bucket."""
    return BucketStore(objects.bucket(objects.empty()))


def require_a_durable_copy(store: Store, file: Location, target: Path, seen: list[Synced]) -> None:
    """Move a file: content and name of the copy must be synced while the original is there, which goes."""
    store.move(file, target)
    assert (target.stat().st_ino, len(CONTENT), True) in seen
    folders = [there for number, _, there in seen if number == target.parent.stat().st_ino]
    assert folders[-1:] == [True]
    assert target.read_bytes() == CONTENT
    assert store.size(file) is None


def test_a_file_that_moves_to_another_file_system_is_synced_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    synced: Callable[[Store, Location], list[Synced]],
) -> None:
    """Where it cannot be renamed, a file of a folder goes when its copy survives a power cut."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    store, file = FolderStore(tmp_path / "lake"), tmp_path / "lake" / "a.parquet"
    store.put(file, io.BytesIO(CONTENT))
    monkeypatch.setattr(os, "rename", refuse)
    seen = synced(store, file)
    require_a_durable_copy(store, file, tmp_path / "aside" / "a.parquet", seen)


def test_a_file_that_leaves_a_bucket_is_synced_first(
    tmp_path: Path,
    in_a_bucket: BucketStore,
    synced: Callable[[Store, Location], list[Synced]],
) -> None:
    """An object goes when its copy survives a power cut."""
    file = in_a_bucket.root / "a.parquet"
    in_a_bucket.put(file, io.BytesIO(CONTENT))
    seen = synced(in_a_bucket, file)
    require_a_durable_copy(in_a_bucket, file, tmp_path / "aside" / "a.parquet", seen)


def test_a_file_that_stays_on_its_file_system_is_renamed(tmp_path: Path) -> None:
    """Within a file system a file is not copied, damaged as it may be."""
    store, file = FolderStore(tmp_path / "lake"), tmp_path / "lake" / "a.parquet"
    store.put(file, io.BytesIO(CONTENT))
    number = file.stat().st_ino
    store.move(file, tmp_path / "aside" / "a.parquet")
    assert (tmp_path / "aside" / "a.parquet").stat().st_ino == number


def test_a_copy_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other file system has no room, the original stays, and no half of a copy."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    store, file = FolderStore(tmp_path / "lake"), tmp_path / "lake" / "a.parquet"
    store.put(file, io.BytesIO(CONTENT))
    (tmp_path / "aside").mkdir()
    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.move(file, tmp_path / "aside" / "a.parquet")
    assert file.read_bytes() == CONTENT
    assert list((tmp_path / "aside").iterdir()) == []
