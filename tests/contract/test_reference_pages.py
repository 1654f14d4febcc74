"""The references of the command line and of the HTTP API say what the code does."""

import runpy

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from helpers.contract_docs import ROOT
from lapwing_collector.cli.main import PANELS, app

FOLDER = ROOT / "docs"
PAGES = runpy.run_path(str(FOLDER / "reference.py"))["pages"]()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_up_to_date(name: str) -> None:
    """Who changed a command or an address has its page written anew."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], "run: python docs/reference.py"


def test_every_command_has_its_place() -> None:
    """`lapwing --help` and the page show every command, once, under what people come for."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    placed = [name for names in PANELS.values() for name in names]
    assert sorted(placed) == sorted(root.commands)
    told = CliRunner().invoke(app, ["--help"]).output
    shown = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line[2] not in " -"]
    assert [name for name in shown if name in placed] == placed
    assert [line[:-1] for line in told.splitlines() if line[:-1] in PANELS] == list(PANELS)
