"""Where the files of a lake are kept: a folder, or a bucket of an object store.

A file is durable, and whole, before anybody refers to it. No file is ever changed.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector import crashpoints
from lapwing_collector.engine.place import Bucket, Folder, Location, Remote
from lapwing_collector.folders import make_folder, sync_folder
from lapwing_collector.lake.parquet import Written, write_parquet, write_parts
from lapwing_collector.lake.shapes import Path as FieldPath

if TYPE_CHECKING:
    from pyarrow import fs

_CONNECT_S: Final = 5.0
_ANSWER_S: Final = 20.0
_COPIED_BYTES: Final = 8 << 20
_ASKED_FILES: Final = 8


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is there.

    Attributes:
        path: Where.
        size_bytes: How large.
        changed_at: When it was written; naive UTC.
    """

    path: Location
    size_bytes: int
    changed_at: datetime


class Store(Protocol):
    """Keeps the files of a lake."""

    @property
    def root(self) -> Location:
        """What all of them are in."""
        ...

    def prepare(self) -> None:
        """See to it that files can be written.

        Raises:
            OSError: They cannot.
        """
        ...

    def write(
        self, file: Location, parts: Iterable[pa.Table], columns: Mapping[FieldPath, int] | None = None
    ) -> Written:
        """Write a new Parquet file durably, as `write_parquet` does.

        Raises:
            OSError: The disk is full, or the store refuses or is away.
        """
        ...

    def opened(self, file: Location) -> Any:
        """What pyarrow reads a file from.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def fetched(self, file: Location) -> AbstractContextManager[Any]:
        """As `opened`, all of it on this machine: what cannot be read of that is damaged, and not away.

        Raises:
            OSError: It cannot be had.
        """
        ...

    def read(self, file: Location) -> IO[bytes]:
        """The bytes of a file.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def put(self, file: Location, content: IO[bytes]) -> None:
        """Keep bytes as a new file, durably.

        Raises:
            OSError: The disk is full, or the store refuses or is away.
        """
        ...

    def remove(self, file: Location) -> None:
        """Delete a file; one that is not there is fine.

        Raises:
            OSError: It cannot be deleted.
        """
        ...

    def size(self, file: Location) -> int | None:
        """How many bytes a file has; None if there is none.

        Raises:
            OSError: The store does not answer.
        """
        ...

    def gives_without(self, file: Location) -> bool:
        """Whether the medium can be read at all, of which `file` as `fetched` cannot.

        Raises:
            OSError: It cannot.
        """
        ...

    def listed(self, folder: Location) -> Iterator[Stored]:
        """Every file in a folder, and in those in it; none where there is no such folder.

        Raises:
            OSError: The store does not answer.
        """
        ...

    def move(self, file: Location, target: Path) -> None:
        """Take a file out of the store and keep it as the file `target`, whose folder is made.

        It is durable there before it is gone where it was.

        Raises:
            OSError: It cannot be moved.
        """
        ...


class FolderStore:
    """Files in a folder, which may be one that machines share."""

    def __init__(self, root: Path) -> None:
        """Keep them in `root`."""
        self.root = root

    def prepare(self) -> None:
        """Make the folder."""
        make_folder(self.root)

    def write(
        self, file: Location, parts: Iterable[pa.Table], columns: Mapping[FieldPath, int] | None = None
    ) -> Written:
        """Write a new file; file and folder are synced."""
        return write_parquet(_path(file), parts, columns)

    def opened(self, file: Location) -> Path:
        """The path itself."""
        return _path(file)

    def fetched(self, file: Location) -> AbstractContextManager[Path]:
        """The path itself."""
        return nullcontext(_path(file))

    def read(self, file: Location) -> IO[bytes]:
        """As any file."""
        return _path(file).open("rb")

    def put(self, file: Location, content: IO[bytes]) -> None:
        """Write it, and sync file and folder."""
        _keep(_path(file), content)

    def remove(self, file: Location) -> None:
        """Unlink it."""
        _path(file).unlink(missing_ok=True)

    def size(self, file: Location) -> int | None:
        """As the file system says."""
        try:
            return _path(file).stat().st_size
        except FileNotFoundError:
            return None

    def gives_without(self, file: Location) -> bool:
        """Whether something of some other file can be had, or of this one if there is none."""
        others = (found.path for found in self.listed(self.root) if found.path != file and found.size_bytes)
        for asked in islice(chain(others, [file]), _ASKED_FILES):
            with suppress(OSError), self.read(asked) as content:
                if hasattr(os, "posix_fadvise"):  # a medium that is away does not give what memory holds
                    os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                content.read(1)
                return True
        return False

    def listed(self, folder: Location) -> Iterator[Stored]:
        """All files; those that vanish meanwhile are left out."""
        for path in _path(folder).rglob("*"):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            if path.is_file():
                yield Stored(path, found.st_size, _naive(datetime.fromtimestamp(found.st_mtime, UTC)))

    def move(self, file: Location, target: Path) -> None:
        """Rename it; where that is another file system, copy it."""
        path = _path(file)
        make_folder(target.parent)
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with path.open("rb") as content:
                _keep(target, content)
            path.unlink()
        else:
            sync_folder(target.parent)


class BucketStore:
    """Files in a bucket. They are written on this machine first: what is sent is known to be whole."""

    def __init__(self, bucket: Bucket) -> None:
        """Connect when something is first asked for."""
        self._bucket = bucket
        self.root = bucket.root

    def prepare(self) -> None:
        """Look whether the bucket answers."""
        bucket = self._key(self.root).partition("/")[0]
        if self._client.get_file_info(bucket).type.name == "NotFound":
            raise FileNotFoundError(f"there is no bucket {bucket}, or these keys may not see it")

    def write(
        self, file: Location, parts: Iterable[pa.Table], columns: Mapping[FieldPath, int] | None = None
    ) -> Written:
        """Write a new file; the store has told its size before this returns."""
        with tempfile.TemporaryFile() as local:
            footer = write_parts(local, parts, columns)
            written = Written.of(local, footer)
            crashpoints.reach("lake.before_sync")
            local.seek(0)
            self.put(file, local)
        kept = self.size(file)
        if kept != written.size_bytes:
            raise OSError(f"{file}: the store says that it has {kept} bytes of {written.size_bytes}")
        return written

    def opened(self, file: Location) -> Any:
        """A file that is read in pieces as they are needed."""
        return self._client.open_input_file(self._key(file))

    @contextmanager
    def fetched(self, file: Location) -> Iterator[IO[bytes]]:
        """A copy, which is gone afterwards."""
        with tempfile.TemporaryFile() as local:
            with self.read(file) as content:
                shutil.copyfileobj(content, local, _COPIED_BYTES)
            local.seek(0)
            yield local

    def read(self, file: Location) -> IO[bytes]:
        """In one go."""
        content: IO[bytes] = self._client.open_input_stream(self._key(file))
        return content

    def put(self, file: Location, content: IO[bytes]) -> None:
        """Send it, in parts where it is large."""
        with self._client.open_output_stream(self._key(file)) as sent:
            shutil.copyfileobj(content, sent, _COPIED_BYTES)

    def remove(self, file: Location) -> None:
        """Delete the object."""
        try:
            self._client.delete_file(self._key(file))
        except FileNotFoundError:
            return

    def size(self, file: Location) -> int | None:
        """As the store says."""
        size_bytes: int | None = self._client.get_file_info(self._key(file)).size
        return size_bytes

    def gives_without(self, file: Location) -> bool:  # noqa: ARG002  # as in a folder
        """It cannot be told: the copy that cannot be read is on this machine."""
        return False

    def listed(self, folder: Location) -> Iterator[Stored]:
        """All objects whose names begin so."""
        from pyarrow import fs  # noqa: PLC0415  # loads the client for S3

        wanted = fs.FileSelector(self._key(folder), recursive=True, allow_not_found=True)
        for found in self._client.get_file_info(wanted):
            if found.type == fs.FileType.File:
                yield Stored(Remote(f"s3://{found.path}"), found.size, _naive(found.mtime))

    def move(self, file: Location, target: Path) -> None:
        """Copy it here, then delete the object."""
        with self.read(file) as content:
            _keep(target, content)
        self.remove(file)

    @cached_property
    def _client(self) -> "fs.S3FileSystem":
        from pyarrow import fs  # noqa: PLC0415  # loads the client for S3

        bucket = self._bucket
        known: dict[str, Any] = {}
        if bucket.access_key is not None:
            known = {
                "access_key": bucket.access_key,
                "secret_key": bucket.secret_key,
                "session_token": bucket.session_token,
            }
        return fs.S3FileSystem(
            **known,
            region=bucket.region,
            endpoint_override=bucket.endpoint,
            scheme="https" if bucket.tls else "http",
            force_virtual_addressing=bucket.endpoint is not None and not bucket.path_style,
            connect_timeout=_CONNECT_S,
            request_timeout=_ANSWER_S,
            allow_delayed_open=True,  # a small file is one request
        )

    @staticmethod
    def _key(file: Location) -> str:
        return str(file).removeprefix("s3://")


def store_of(files: Folder | Bucket) -> Store:
    """What keeps the files of a place."""
    return FolderStore(files.root) if isinstance(files, Folder) else BucketStore(files)


def damage_of(store: Store, file: Location, size_bytes: int) -> str | None:
    """What is wrong with a Parquet file, every page of it read; None if nothing is.

    Raises:
        OSError: The store does not answer, or this process cannot read files now.
        MemoryError: There is not enough of it to read the file.
    """
    found_bytes = store.size(file)
    if found_bytes is None:
        return "is missing"
    if found_bytes != size_bytes:
        return f"has {found_bytes} bytes instead of {size_bytes}"
    with store.fetched(file) as fetched:
        try:
            with pq.ParquetFile(fetched, page_checksum_verification=True) as parquet:
                for _ in parquet.iter_batches():
                    pass
        except (OSError, pa.ArrowException) as error:
            if not is_damage(error):
                raise
            if isinstance(error, OSError) and error.errno == errno.EIO and not store.gives_without(file):
                raise  # a medium that gives nothing at all is away
            return f"is damaged: {error}"
    return None


def is_damage(error: OSError | pa.ArrowException) -> bool:
    """Whether what a reader of Parquet met is wrong with the file: what is in it, or that it is gone.

    That files cannot be opened now, or memory is short, says nothing about them.
    """
    if isinstance(error, (MemoryError, pa.ArrowCancelled)):
        return False
    # What pyarrow finds in the bytes that it was given has no number.
    return not isinstance(error, OSError) or error.errno in {None, errno.EIO, errno.ENOENT}


def _keep(path: Path, content: IO[bytes]) -> None:
    """Write a new file, and sync it and its folder; where that fails there is none."""
    make_folder(path.parent)
    try:
        with path.open("wb") as kept:
            shutil.copyfileobj(content, kept, _COPIED_BYTES)
            kept.flush()
            os.fsync(kept.fileno())
        sync_folder(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _path(file: Location) -> Path:
    assert isinstance(file, Path)  # noqa: S101  # files of a folder have no other
    return file


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
