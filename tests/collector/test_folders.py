"""Folders that survive a power cut; `faults/test_power_cut.py` cuts it."""

import os
from pathlib import Path

import pytest

from lapwing_collector.folders import make_folder


def test_a_folder_is_made_with_all_above_it(tmp_path: Path) -> None:
    """Missing folders are made, and making them again changes nothing."""
    folder = tmp_path / "a" / "b" / "c"
    for _ in range(2):
        make_folder(folder)
        assert folder.is_dir()


@pytest.mark.parametrize("name", ["file", "file/folder"])
def test_a_file_in_the_way_is_an_error(name: str, tmp_path: Path) -> None:
    """What is a file does not become a folder."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"(exists|directory)"):
        make_folder(tmp_path / name)


def test_a_folder_is_private_and_one_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    """Other users of the machine see nothing of a folder that was made, whatever the umask."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    before = os.umask(0o000)
    try:
        make_folder(shared / "data" / "lake")
        make_folder(shared)
    finally:
        os.umask(before)
    modes = {each.name: each.stat().st_mode & 0o777 for each in (shared, *shared.rglob("*"))}
    assert modes == {"shared": 0o755, "data": 0o700, "lake": 0o700}
