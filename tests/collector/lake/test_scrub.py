"""A scrub sets aside what is damaged, and nothing that only could not be read just now."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.batches import predictions
from lapwing_collector.engine.place import Location
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.files import TableName, table_files
from lapwing_collector.lake.scrub import Damaged, Unchecked, scrub
from lapwing_collector.lake.store import FolderStore, Store
from lapwing_collector.lake.upkeep import Upkeep

M = TableName("predictions_all", "m")


@contextmanager
def no_descriptors() -> Iterator[None]:
    """The process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Failing(FileIO):
    """A file of which no byte from `start` on can be had."""

    def __init__(self, path: Path, error: Exception, start: int = 0) -> None:
        super().__init__(path)
        self._error = error
        self._start = start

    def _look(self, count: int) -> None:
        if count and self.tell() + count > self._start:
            raise self._error

    def read(self, count: int | None = -1, /) -> bytes:
        """All or nothing."""
        self._look(os.fstat(self.fileno()).st_size if count is None or count < 0 else count)
        return super().read(count)

    def readinto(self, buffer: Any, /) -> int:
        """All or nothing."""
        self._look(len(buffer))
        return super().readinto(buffer)


class Troubled(FolderStore):
    """A lake's folder of which a file cannot be read to its end, from some look on."""

    def __init__(self, file: Path, trouble: Exception | None, *, from_look: int = 1, start: int = 0) -> None:
        super().__init__(file.parents[2])
        self._file = file
        self._trouble = trouble
        self._looks_left = from_look - 1
        self._start = start

    @contextmanager
    def fetched(self, file: Location) -> Iterator[Any]:
        """In trouble, once it is time for it; without a name for it, descriptors are short."""
        path = Path(str(file))
        self._looks_left -= path == self._file
        if path != self._file or self._looks_left >= 0:
            yield path
        elif self._trouble is None:
            with no_descriptors():
                yield path
        else:
            with Failing(path, self._trouble, self._start) as opened:
                yield opened

    def read(self, file: Location) -> Any:
        """In the same trouble."""
        assert self._trouble is not None
        if file == self._file:
            return Failing(Path(str(file)), self._trouble, self._start)
        return super().read(file)


class Away(Troubled):
    """A lake's folder of which nothing can be read any more."""

    def read(self, file: Location) -> Any:
        """Nothing."""
        assert self._trouble is not None
        return Failing(Path(str(file)), self._trouble)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with closing(Lake.open(tmp_path / "lake")) as opened:
        opened.flush([predictions("m", [{"inputs.n": n} for n in range(20)])], [], Progress(log=1))
        yield opened


def scrubbed(lake: Lake, store: Store, quarantine: Path) -> list[Damaged | Unchecked]:
    """What a scrub of a lake in this store tells."""
    lake.catalog.store = store
    with closing(Upkeep(lake.catalog)) as upkeep:
        return [found for *_, found in scrub(lake.catalog, upkeep.rewriter, quarantine) if found]


def path_of(lake: Lake) -> Path:
    """The one file of the model."""
    [file] = table_files(lake.catalog, M)
    return Path(str(file.path))


def flip(path: Path) -> None:
    """Damage the data of a file."""
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(0)
    content[column.data_page_offset + column.total_compressed_size - 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("from_look", [1, 2])
@pytest.mark.parametrize(
    "trouble",
    [
        None,
        OSError(errno.ENFILE, os.strerror(errno.ENFILE)),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
        InterruptedError(errno.EINTR, os.strerror(errno.EINTR)),
        MemoryError(),
        pa.ArrowMemoryError("malloc of size 64 failed"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_what_cannot_be_read_now_is_not_damaged(
    lake: Lake, tmp_path: Path, trouble: Exception | None, from_look: int
) -> None:
    """Short of descriptors, memory or rights, a scrub says that it could not look, and leaves the file."""
    path = path_of(lake)
    if from_look == 2:
        flip(path)  # so that there is a second look: at what of it can be kept
    store = Troubled(path, trouble, from_look=from_look)
    [found] = scrubbed(lake, store, tmp_path / "aside")
    assert isinstance(found, Unchecked)
    assert (found.file, bool(found.problem)) == (path, True)
    assert path_of(lake) == path
    assert path.exists()
    assert not (tmp_path / "aside").exists()


def test_what_cannot_be_read_now_hides_no_damage(lake: Lake, tmp_path: Path) -> None:
    """A scrub goes on behind a file that it cannot read, and sets aside what is damaged there."""
    lake.flush([predictions("m", [{"inputs.n": n} for n in range(7)])], [], Progress(log=2))
    first, second = (Path(str(file.path)) for file in table_files(lake.catalog, M))
    flip(second)
    store = Troubled(first, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    unread, damaged = scrubbed(lake, store, tmp_path / "aside")
    assert isinstance(unread, Unchecked)
    assert unread.file == first
    assert isinstance(damaged, Damaged)
    assert damaged.rows_lost == 7
    assert path_of(lake) == first


def test_a_bad_place_of_the_medium_is_damage(lake: Lake, tmp_path: Path) -> None:
    """A file of which only a part can be had any more is set aside, as one with flipped bits is."""
    path = path_of(lake)
    bad = Troubled(path, OSError(errno.EIO, os.strerror(errno.EIO)), start=16)
    [found] = scrubbed(lake, bad, tmp_path / "aside")
    assert isinstance(found, Damaged)
    assert found.problem.startswith("is damaged: ")
    assert (found.rows_lost, path.exists()) == (20, False)
    assert found.file is not None
    assert found.file.exists()


def test_a_bad_place_at_the_start_of_a_file_is_damage(lake: Lake, tmp_path: Path) -> None:
    """A file of which not one byte can be had is set aside where others of its medium can be read."""
    lake.flush([predictions("m", [{"inputs.n": n} for n in range(7)])], [], Progress(log=2))
    first, second = (Path(str(file.path)) for file in table_files(lake.catalog, M))
    bad = Troubled(first, OSError(errno.EIO, os.strerror(errno.EIO)))
    [found] = scrubbed(lake, bad, tmp_path / "aside")
    assert isinstance(found, Damaged)
    assert (found.rows_lost, first.exists()) == (20, False)
    assert path_of(lake) == second


@pytest.mark.parametrize("alone", [False, True])
def test_a_medium_that_gives_nothing_is_away(lake: Lake, tmp_path: Path, *, alone: bool) -> None:
    """Where not one byte of any file can be had, the medium may be back later: nothing is set aside."""
    path = path_of(lake)
    if not alone:
        lake.flush([predictions("m", [{"inputs.n": n} for n in range(7)])], [], Progress(log=2))
    held = {file.path for file in table_files(lake.catalog, M)}
    away = Away(path, OSError(errno.EIO, os.strerror(errno.EIO)))
    [found] = scrubbed(lake, away, tmp_path / "aside")
    assert isinstance(found, Unchecked)
    assert found.file == path
    assert {file.path for file in table_files(lake.catalog, M)} == held


def test_a_file_that_vanishes_while_it_is_looked_at_is_missing(lake: Lake, tmp_path: Path) -> None:
    """A file that is gone when it is opened, though it was there a moment before, is lost as any other."""
    path = path_of(lake)

    class Vanishing(FolderStore):
        @contextmanager
        def fetched(self, file: Location) -> Iterator[Path]:
            """Gone just now."""
            path.unlink(missing_ok=True)
            yield Path(str(file))

    [found] = scrubbed(lake, Vanishing(path.parents[2]), tmp_path / "aside")
    assert isinstance(found, Damaged)
    assert (found.file, found.rows_lost) == (None, 20)
