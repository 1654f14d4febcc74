"""What is deployed starts the command as it is."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lapwing_collector.config import Settings

UNIT = Path(__file__).parents[2] / "deploy/systemd/lapwing.service"


def test_the_unit_uses_flags_that_exist() -> None:
    """Every flag of the service's command line is one that the command has."""
    (start,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    _, subcommand, *arguments = shlex.split(start)
    told = subprocess.run(
        [sys.executable, "-m", "lapwing_collector.cli", subcommand, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    flags = [argument for argument in arguments if argument.startswith("--")]
    assert flags
    for flag in flags:
        assert flag in told


def test_the_page_names_secrets_as_the_unit_hands_them_over() -> None:
    """Files that only root may read are found by the collector where the page's settings say."""
    handed = re.findall(r"^#(LoadCredential=([\w.]+):\S+)$", UNIT.read_text(), re.MULTILINE)
    page = (UNIT.parents[2] / "docs/security.md").read_text()
    assert len(handed) == 2
    for line, name in handed:
        assert f"\n{line}\n" in page
        assert f": /run/credentials/{UNIT.name}/{name}\n" in page


def test_the_unit_allows_as_many_files_as_connections() -> None:
    """The service may have open what the default limits of connections ask for, and files beside."""
    (files,) = re.findall(r"^LimitNOFILE=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(files) > 2 * Settings().http.max_connections + 1024


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("secrets", ["#LoadCredential", "LoadCredential"])
def test_the_unit_is_valid(secrets: str, tmp_path: Path) -> None:
    """Systemd itself finds nothing wrong with the unit, but for the program that is not installed here."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/opt/lapwing/bin/lapwing", "/bin/true")
    unit.write_text(text.replace("#LoadCredential", secrets))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
