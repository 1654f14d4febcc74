"""Parquet files that survive a power cut: file and folder are synced before anyone refers to them."""

import os
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS: Final = 16_384
"""Small, so that a query over a time window decodes little beside it."""

COMPRESSION: Final = "zstd"


def write_parquet(file: Path, rows: pa.Table) -> None:
    """Write `rows` to the new `file` durably; its folder is made where missing.

    Pages carry checksums, so that a scrub finds flipped bits.

    Raises:
        OSError: The disk is full, or refuses.
    """
    folder = file.parent
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)
    try:
        pq.write_table(
            rows, file, compression=COMPRESSION, row_group_size=ROW_GROUP_ROWS, write_page_checksum=True
        )
        sync_file(file)
        sync_folder(folder)
    except BaseException:
        file.unlink(missing_ok=True)  # a full disk must not be filled further by trying again
        raise


def sync_file(file: Path) -> None:
    """Make the content of `file` durable."""
    _sync(file, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Make the entries of `folder` durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
