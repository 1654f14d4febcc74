"""Checkpoints and the durable write that they are made of."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.wal_disk import damage
from lapwing_collector.errors import UnavailableError
from lapwing_collector.wal import Log, write_durably


@settings(deadline=None)
@given(position=st.integers(0, 2**63 - 1), data=st.binary(max_size=1000))
def test_a_checkpoint_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, position: int, data: bytes
) -> None:
    """The newest checkpoint is there for the next process."""
    folder = tmp_path_factory.mktemp("log")
    with Log.open(folder) as log:
        log.write_checkpoint(1, b"older")
        log.write_checkpoint(position, data)
    with Log.open(folder) as log:
        assert log.read_checkpoint() == (position, data)
        assert not log.damage


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    """A log without a checkpoint says so, and that is no damage."""
    with Log.open(tmp_path) as log:
        assert log.read_checkpoint() is None
        assert not log.damage


@settings(deadline=None)
@given(data=st.data())
def test_a_broken_checkpoint_is_reported_and_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A checkpoint with a flipped, missing or extra byte is treated as absent, reported, and kept aside."""
    folder = tmp_path_factory.mktemp("log")
    with Log.open(folder) as log:
        log.write_checkpoint(7, b"remembered")
        path = folder / "checkpoint"
        offset = data.draw(st.integers(0, path.stat().st_size - 1))
        flip = bytes([path.read_bytes()[offset] ^ data.draw(st.integers(1, 255))])
        change = data.draw(
            st.sampled_from(
                [
                    lambda content: content[:offset] + flip + content[offset + 1 :],
                    lambda content: content[:offset],
                    lambda content: content + b"x",
                ]
            )
        )
        damage(path, change)
        assert log.read_checkpoint() is None
        assert [found.file for found in log.damage] == [path]
    assert (folder / "quarantine" / "checkpoint").read_bytes() == path.read_bytes()


def test_a_durable_write_syncs_the_file_then_renames_then_syncs_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At no point does the name stand for bytes that are not on the disk."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    steps: list[tuple[str, bytes]] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def spy(fd: int, name: str = name, real: object = real) -> None:
            steps.append((name, path.read_bytes()))
            real(fd)  # type: ignore[operator]

        monkeypatch.setattr(os, name, spy)
    write_durably(path, b"new")
    assert steps == [("fdatasync", b"old"), ("fsync", b"new")]
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_durable_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the sync fails the old content stays, and no temporary file does."""
    with Log.open(tmp_path) as log:
        log.write_checkpoint(1, b"old")

        def fail(fd: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(UnavailableError, match="Input/output error"):
            log.write_checkpoint(2, b"new")
        assert log.read_checkpoint() == (1, b"old")
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint"]


def test_unfinished_writes_are_cleared_away(tmp_path: Path) -> None:
    """Fault 1: what a killed process left half written is gone after the next start."""
    (tmp_path / "checkpoint.tmp").write_bytes(b"half")
    Log.open(tmp_path).close()
    assert not list(tmp_path.iterdir())
