"""What a person configured is read as a whole, or said to be wrong."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lapwing_collector.app.places import arrangement
from lapwing_collector.app.places.arrangement import Arrangement
from lapwing_collector.app.places.lake_place import expect_lake
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.project import load_project
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.config import Settings, load_settings
from lapwing_collector.errors import ConfigError, DataDirectoryError


def test_a_folder_of_rules_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its rules a collector would watch nothing, and say that all is well."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "lapwing.yaml").write_text("")
    scan = os.scandir

    def forbid(path: Any = ".") -> Any:  # root, as who tests may be, reads every folder
        if Path(path) == tmp_path / "rules":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    assert load_project(tmp_path / "lapwing.yaml", {}).rules == ()
    monkeypatch.setattr(os, "scandir", forbid)
    with pytest.raises(ConfigError, match=f"^{tmp_path}/rules: cannot be read: Permission denied$"):
        load_project(tmp_path / "lapwing.yaml", {})


@pytest.mark.parametrize(
    ("key", "value", "extra"),
    [
        ("state.url", "postgresql://me@db/x", "postgres"),
        ("lake.catalog", "postgresql://me@db/x", "scale"),
        ("lake.data", "s3://bucket", "scale"),
    ],
)
def test_what_settings_need_is_installed(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, extra: str
) -> None:
    """Who lacks an extra hears which, before a socket is opened."""
    settings = load_settings(None, flags={"state.url": "postgresql://me@db/x", key: value}, environment={})
    Arrangement.UP.check(settings)
    missing = {"state.url": "pg8000", "lake.catalog": "duckdb_extension_postgres_scanner"}
    gone = missing.get(key, "duckdb_extension_httpfs")
    monkeypatch.setattr(arrangement, "find_spec", lambda name: None if name == gone else name)
    with pytest.raises(ConfigError, match=rf"^{key}: .*pip install 'lapwing\[{extra}\]'"):
        Arrangement.UP.check(settings)


@pytest.mark.parametrize("look", [expect_lake, state_of])
def test_a_data_directory_of_somebody_else_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Settings], object]
) -> None:
    """Who may not look into it hears so in a line, whichever part they wanted."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "catalog.sqlite").touch()
    settings = load_settings(None, flags={"data": tmp_path}, environment={})
    look(settings)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path / "lake")
    with pytest.raises(DataDirectoryError, match=f"^{tmp_path}/lake: this user may not use it; be the user"):
        look(settings)


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    """Nobody is sent to change the permissions of a file that they named by mistake."""
    (tmp_path / "passwd").touch()
    with pytest.raises(DataDirectoryError, match=r"passwd: is no folder; choose another with --data$"):
        Ownership.take(tmp_path / "passwd")
