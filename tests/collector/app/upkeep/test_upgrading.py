"""What a later version makes of what an earlier one left, and what an earlier one says to a later one's."""

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from helpers.collector import project, running
from helpers.notify_receivers import webhook
from helpers.state_schemas import make_older
from helpers.upgrade_golden import GOLDEN, found, outbox
from helpers.waiting import wait_until
from lapwing_collector.cli.main import app
from lapwing_collector.clock import SystemClock
from lapwing_collector.engine.format import LAKE_FORMAT
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake import Lake
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.format import STEPS, format_of, lift
from lapwing_collector.query import Session
from lapwing_collector.state import NEWEST

if TYPE_CHECKING:
    from lapwing_collector.engine.place import Place

RELEASES = sorted(GOLDEN.glob("upgrade-*.tar.xz"))


def unpack(file: Path, folder: Path) -> Path:
    """Lay out what a version left; its project."""
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="data")
    return folder / "project"


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of before versions were numbered, with a state of the first schema."""
    monkeypatch.setenv("COLUMNS", "200")
    with tarfile.open(GOLDEN / "data-0.1.0.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "data" / "state.sqlite").unlink(missing_ok=True)
    make_older(tmp_path / "data" / "state.sqlite", 1)
    return tmp_path / "data"


def written(data: Path, number: int) -> None:
    """Make a lake say that it has another format."""
    with closing(sqlite3.connect(data / "lake" / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("DELETE FROM ducklake_metadata WHERE key = 'lapwing_format'")
        catalog.execute(
            "INSERT INTO ducklake_metadata (key, value) VALUES ('lapwing_format', ?)", [str(number)]
        )


def run(*words: str) -> tuple[int, str]:
    """Run `lapwing upgrade`; exit code and what it says."""
    done = CliRunner().invoke(app, ["upgrade", *words])
    return done.exit_code, str(done.exception) if isinstance(
        done.exception, DataDirectoryError
    ) else done.output


class Then(SystemClock):
    """The machine's clock, set back to a moment: what was left then is not hours or years old."""

    def __init__(self, moment_ns: int) -> None:
        self._ago_ns = super().now_ns() - moment_ns

    def now_ns(self) -> int:
        return super().now_ns() - self._ago_ns


@pytest.mark.parametrize("file", RELEASES, ids=lambda file: file.name)
def test_a_collector_goes_on_from_what_a_release_left(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is there, what fires is not told anew, and the message that waited arrives under its key."""
    folder = unpack(file, tmp_path)
    expected = json.loads((folder / "expected.json").read_text())
    assert found(folder / "data") == expected["found"]
    with webhook() as hook:
        monkeypatch.setenv("LAPWING_TEST_HOOK", str(hook.port))
        then = Then((folder / "expected.json").stat().st_mtime_ns)
        with running(project(folder / "data", folder / "lapwing.yaml"), then) as collector:
            hook.inbox.wait_for(1)
            wait_until(lambda: {status for _, status in outbox(folder / "data")} == {"sent"})
            assert found(collector.data) == expected["found"]
        assert len(hook.inbox.items) == 1
    assert [key for key, _ in outbox(folder / "data")] == expected["messages"]


def test_a_release_is_kept_for_every_version() -> None:
    """There is a file of a version that was released, small and whole, and formats are counted right."""
    assert RELEASES
    assert 1 + len(STEPS) == LAKE_FORMAT
    with tarfile.open(RELEASES[-1]) as tar:
        assert {"project/expected.json", "project/data/lake/catalog.sqlite"} <= set(tar.getnames())
    assert RELEASES[-1].stat().st_size < 300_000


def test_what_is_to_be_done_is_told_and_done_once(earlier: Path, tmp_path: Path) -> None:
    """Checking changes nothing, and exits with 1 while there is something to do; then there is nothing."""
    where = ("--data", str(earlier))
    before = (earlier / "lake" / "catalog.sqlite").read_bytes()
    code, told = run(*where, "--check")
    assert (code, told.split()) == (
        1,
        f"lake format 1, which becomes {LAKE_FORMAT} alert state schema 1, which becomes {NEWEST}".split(),
    )
    assert (earlier / "lake" / "catalog.sqlite").read_bytes() == before
    code, told = run(*where, "--backup", str(tmp_path / "backup"))
    assert (code, f"which became {NEWEST}" in told) == (0, True)
    code, told = run(*where, "--check", "--json")
    assert code == 0
    assert json.loads(told) == [
        {"name": "lake", "found": LAKE_FORMAT, "newest": LAKE_FORMAT, "old": False},
        {"name": "alert state", "found": NEWEST, "newest": NEWEST, "old": False},
    ]
    shutil.rmtree(earlier)
    shutil.copytree(tmp_path / "backup", earlier)
    assert run(*where, "--check")[0] == 1


def test_a_newer_lake_is_refused_by_all_who_open_it(tmp_path: Path) -> None:
    """Neither who writes nor who reads touches a lake of a newer version, and each says what to do."""
    Lake.open(tmp_path / "lake").close()
    written(tmp_path, LAKE_FORMAT + 1)
    says = rf"lake: was written by a newer version.*format {LAKE_FORMAT + 1}; .* knows {LAKE_FORMAT}.*Upgrade"
    for opening in (Lake.open, Session.open):
        with pytest.raises(DataDirectoryError, match=says):
            opening(tmp_path / "lake")
    code, told = run("--data", str(tmp_path))
    assert code == 1
    assert "was written by a newer version" in told


def test_a_newer_state_is_refused_before_the_lake_is_touched(tmp_path: Path) -> None:
    """A state of a newer version stops the command, though there were something to do about the lake."""
    Lake.open(tmp_path / "lake").close()
    written(tmp_path, 1)
    make_older(tmp_path / "state.sqlite", NEWEST)
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as state, state:
        state.execute("UPDATE schema_version SET version = ?", [NEWEST + 1])
    code, told = run("--data", str(tmp_path))
    assert code == 1
    assert f"schema {NEWEST + 1}" in told
    with closing(Catalog.read(tmp_path / "lake")) as catalog:
        assert format_of(catalog) == 1


def test_steps_run_once_and_in_order(tmp_path: Path) -> None:
    """Of the steps to a format those are done that a lake lacks, and none is done again."""
    Lake.open(tmp_path / "lake").close()
    written(tmp_path, 1)
    done: list[str] = []
    steps = [lambda _, name=name: done.append(name) for name in ("second", "third")]
    with closing(Catalog.open(tmp_path / "lake")) as catalog:
        lift(catalog, steps[:1])
        assert (done, format_of(catalog)) == (["second"], 2)
        lift(catalog, steps)
        lift(catalog, steps)
        assert (done, format_of(catalog)) == (["second", "third"], 3)


def test_a_lake_that_several_write_has_its_format_with_it(shared: "Place") -> None:
    """In PostgreSQL it is in the catalog as well, and whoever comes with an older version is refused."""
    Lake.open(shared).close()
    with closing(Catalog.open(shared)) as catalog:
        assert format_of(catalog) == LAKE_FORMAT
        lift(catalog, [*STEPS, lambda _: None])
    for opening in (Lake.open, Session.open):
        with pytest.raises(DataDirectoryError, match="written by a newer version"):
            opening(shared)


def test_a_directory_without_a_lake_is_told(tmp_path: Path) -> None:
    """Where no collector has run there is nothing to bring up to date."""
    code, told = run("--data", str(tmp_path))
    assert code == 1
    assert "there is no lake here yet" in told
