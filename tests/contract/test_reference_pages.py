"""The references of the command line and of the HTTP API say what the code does."""

import re
import runpy
from collections.abc import Iterator

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from helpers.contract_docs import PAGES as PAGES_WITH_EXAMPLES
from helpers.contract_docs import ROOT
from lapwing_collector.cli.main import PANELS, app

COMMANDS = get_command(app)

FOLDER = ROOT / "docs"
PAGES = runpy.run_path(str(FOLDER / "reference.py"))["pages"]()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_up_to_date(name: str) -> None:
    """Who changed a command or an address has its page written anew."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], "run: python docs/reference.py"


def test_every_command_has_its_place() -> None:
    """`lapwing --help` and the page show every command, once, under what people come for."""
    root = COMMANDS
    assert isinstance(root, TyperGroup)
    placed = [name for names in PANELS.values() for name in names]
    assert sorted(placed) == sorted(root.commands)
    told = CliRunner().invoke(app, ["--help"]).output
    shown = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line[2] not in " -"]
    assert [name for name in shown if name in placed] == placed
    assert [line[:-1] for line in told.splitlines() if line[:-1] in PANELS] == list(PANELS)


def written_commands() -> Iterator[tuple[str, str]]:
    """The command lines on pages of the documentation and of the dashboard, with where they stand."""
    for page in PAGES_WITH_EXAMPLES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            joined = block.replace("\\\n", " ")
            yield from (
                (page, line) for line in re.findall(r"^(?:\$ )?(lapwing [a-z].*)", joined, re.MULTILINE)
            )
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        yield from ((page, line) for line in re.findall(r"`(lapwing [a-z][^`\[]*)`", prose))
    for template in sorted((ROOT / "collector/lapwing_collector/web/templates").glob("*.html")):
        told = re.sub(r"{{.*?}}|{%.*?%}", " ", template.read_text(encoding="utf-8"))
        yield from ((template.name, line) for line in re.findall(r">(lapwing [a-z][^<]*)<", told))


def wrong_in(line: str) -> str:
    """What is wrong with a command line, if anything."""
    words = re.split(r"\s+(?:[|&;>#]|\d>)", line)[0].replace('"', " ").replace("'", " ").split()[1:]
    command = COMMANDS
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"there is no command {words[0]}"
        command = command.commands[words.pop(0)]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    asked = {word.split("=")[0].rstrip(",") for word in words if re.match(r"--?[a-z]", word)}
    return ", ".join(f"there is no option {name}" for name in sorted(asked - known))


def test_commands_that_people_are_told_are_there() -> None:
    """Every command line on a page names a command that there is, with options that it has."""
    lines = list(written_commands())
    assert len(lines) > 300
    assert [f"{page}: {line}: {wrong}" for page, line in lines if (wrong := wrong_in(line))] == []


def test_a_command_that_is_not_there_is_found() -> None:
    """A mistyped command and an option of another one are seen."""
    assert wrong_in("lapwing evalaute rules.yaml") == "there is no command evalaute"
    assert wrong_in("lapwing annotate 'x' --window 7d") == "there is no option --window"
    assert wrong_in("lapwing rules check -- nothing") == ""
