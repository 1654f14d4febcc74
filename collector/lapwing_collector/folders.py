"""Folders that survive a power cut: a new file or folder is not durable before its name is."""

import os
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o700
"""Folders of data: other users of the machine neither list nor read them."""


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the medium.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, durably, for this user only.

    One that is there already is left as it is.

    Raises:
        OSError: It cannot be made.
    """
    for missing in [each for each in reversed((folder, *folder.parents)) if not each.exists()]:
        missing.mkdir(PRIVATE, exist_ok=True)
        sync_folder(missing.parent)
    folder.mkdir(PRIVATE, exist_ok=True)  # a file of that name is no folder
