"""The unit of systemd does what it says, by its own lines."""

import configparser
import re
import shlex
import shutil
import signal
import socket
import subprocess
from itertools import chain
from pathlib import Path

import pytest

from helpers.deploying import COMMAND, DEPLOY, as_here, started
from helpers.waiting import wait_until
from lapwing_collector.cli.main import PANELS
from lapwing_collector.config import Settings

UNIT = DEPLOY / "systemd" / "lapwing.service"
PARTS = UNIT.with_name("lapwing@.service")


def service(unit: Path) -> configparser.SectionProxy:
    """What a unit says of its service."""
    read = configparser.RawConfigParser()
    read.optionxform = str  # type: ignore[assignment,method-assign]  # as the library documents it
    read.read_string(unit.read_text())
    return read["Service"]


def test_the_service_starts_reloads_and_stops_as_the_unit_says(tmp_path: Path) -> None:
    """Its command tells systemd that it is ready, restarts by its reload, and ends well by its signal."""
    said = service(UNIT)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "lapwing.yaml").write_text("http: {listen: 127.0.0.1:0}\n")
    words = shlex.split(
        as_here(
            said["ExecStart"],
            {"/etc/lapwing": str(tmp_path / "etc"), "/var/lib/lapwing": str(tmp_path / "data")},
        )
    )
    assert words[0] == "/opt/lapwing/bin/lapwing"
    assert re.fullmatch(r"/bin/kill -HUP \$MAINPID", said["ExecReload"])
    listen = {f"LAPWING_{name}__LISTEN": "127.0.0.1:0" for name in ("GRPC", "WEB")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        heard: list[str] = []

        def hears(state: str) -> bool:
            heard.append(manager.recv(1000).decode())
            return state in heard[-1]

        environment = {**listen, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with started([*COMMAND, *words[1:]], environment, tmp_path, tmp_path / "said") as process:
            wait_until(lambda: hears("READY=1"))
            process.send_signal(signal.SIGHUP)
            wait_until(lambda: hears("RELOADING=1"))
            wait_until(lambda: hears("READY=1"))
            process.send_signal(getattr(signal, said["KillSignal"]))
            assert process.wait(int(said["TimeoutStopSec"]) + 50) == 0
        assert hears("STOPPING=1")
    assert (tmp_path / "data" / "lake").is_dir()


def test_the_page_names_secrets_as_the_unit_hands_them_over() -> None:
    """Files that only root may read are found by the collector where the page's settings say."""
    handed = re.findall(r"^#(LoadCredential=([\w.]+):\S+)$", UNIT.read_text(), re.MULTILINE)
    page = (DEPLOY.parent / "docs/security.md").read_text()
    assert len(handed) == 2
    for line, name in handed:
        assert f"\n{line}\n" in page
        assert f": /run/credentials/{UNIT.name}/{name}\n" in page


def test_the_unit_allows_as_many_files_as_connections() -> None:
    """The service may have open what the default limits of connections ask for, and files beside."""
    (files,) = re.findall(r"^LimitNOFILE=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(files) > 2 * Settings().http.max_connections + 1024


def test_the_parts_differ_in_nothing_but_what_they_are() -> None:
    """The unit of single parts runs as that of the whole does: another command, with data of its own."""
    whole, part = service(UNIT), service(PARTS)
    differing = {name for name in {*whole, *part} if whole.get(name) != part.get(name)}
    assert differing == {"ExecStart", "StateDirectory"}
    for name in ("collect", "serve"):
        words = shlex.split(part["ExecStart"].replace("%i", name))
        assert words[1] == name
        assert words[-1] == f"/var/lib/{part['StateDirectory'].replace('%i', name)}"
        assert words[1] in {*chain(*PANELS.values())}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("secrets", ["#LoadCredential", "LoadCredential"])
@pytest.mark.parametrize("file", [UNIT, PARTS], ids=lambda file: file.name)
def test_the_unit_is_valid(file: Path, secrets: str, tmp_path: Path) -> None:
    """Systemd itself finds nothing wrong with the unit, but for the program that is not installed here."""
    unit = tmp_path / file.name.replace("@.", "@collect.")
    text = file.read_text().replace("/opt/lapwing/bin/lapwing", "/bin/true")
    unit.write_text(text.replace("#LoadCredential", secrets))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
