"""Adding a target: recognised, tried out, written into the notify file, its address kept apart."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.notify_hostile import answer, http_receiver, smtp_receiver
from lapwing_collector.app.alerts.enrolling import enrol
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError, UnavailableError
from lapwing_collector.notify import read_notify_file

NOTIFY = """\
# Who is told. Ask ops before you change this.
route:
  receiver: team       # everything

receivers:
  - name: team
    apprise_configs:
      - {name: first, url: "json://127.0.0.1:9/"}   # the old one
  - name: oncall
    apprise_configs:
      - name: pager
        url: json://127.0.0.1:9/pager
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A project without a notify file."""
    config = tmp_path / "lapwing.yaml"
    config.write_text("delivery: {allow_networks: [127.0.0.1]}\n")
    return config


def test_the_first_target_makes_the_file(config: Path) -> None:
    """A message is sent; file, secret and reference are there, and the collector's reader accepts them."""
    with http_receiver() as receiver:
        link = f"http://127.0.0.1:{receiver.port}/s3cret"
        added = enrol(config, link)
    assert b"[TEST] Lapwing reaches this place" in receiver.inbox.items[0]
    assert (added.name, added.receiver, added.tested, added.routed) == ("webhook-127", "default", True, True)
    assert added.secret == "file:secrets/webhook-127"
    secret = config.parent / "secrets" / "webhook-127"
    assert secret.read_text() == f"json://127.0.0.1:{receiver.port}/s3cret\n"
    assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    text = added.file.read_text()
    assert "s3cret" not in text
    assert "${file:secrets/webhook-127}" in text
    assert read_notify_file(added.file).targets


def test_git_leaves_the_secret_out(config: Path) -> None:
    """What git would add to a repository has no secret in it."""
    subprocess.run(["git", "init", "-q", str(config.parent)], check=True)
    enrol(config, "json://127.0.0.1:9/s3cret", test=False)
    listed = subprocess.run(
        ["git", "-C", str(config.parent), "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert sorted(listed.stdout.split()) == ["lapwing.yaml", "notify.yaml"]


def test_a_file_keeps_its_comments_and_everything_else(config: Path) -> None:
    """The entry is added to the route's receiver; other bytes, and the file's mode, stay."""
    file = config.parent / "notify.yaml"
    file.write_text(NOTIFY)
    file.chmod(0o640)
    enrol(config, "json://127.0.0.1:9/new", name="new", test=False)
    text = file.read_text()
    added = "      - name: new\n        url: ${file:secrets/new}\n"
    before, found, after = text.partition(added)
    assert found
    assert before + after == NOTIFY
    assert before.endswith("# the old one\n")
    assert file.stat().st_mode & 0o777 == 0o640
    assert {target.name for target in read_notify_file(file).targets} >= {"first", "new"}


def test_another_receiver_may_have_it(config: Path) -> None:
    """A named receiver gets the target; one that is not there is made, and nothing is routed to it yet."""
    file = config.parent / "notify.yaml"
    file.write_text(NOTIFY)
    assert not enrol(config, "json://127.0.0.1:9/a", receiver="oncall", test=False).routed
    added = enrol(config, "json://127.0.0.1:9/b", receiver="new-team", test=False)
    assert (added.name, added.routed) == ("webhook-2", False)
    read_notify_file(file)
    assert "  - name: new-team\n    apprise_configs:\n" in file.read_text()


def test_what_does_not_accept_a_message_is_not_added(config: Path) -> None:
    """Nothing is written, and the reason is told without the address."""
    with http_receiver(answer("403 Forbidden")) as receiver, pytest.raises(UnavailableError) as refused:
        enrol(config, f"http://127.0.0.1:{receiver.port}/s3cret")
    assert "error=403" in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert sorted(each.name for each in config.parent.iterdir()) == ["lapwing.yaml"]


def test_addresses_inside_need_a_word_in_the_settings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the collector would not reach is not reached by the test either."""
    monkeypatch.delenv("LAPWING_DELIVERY__ALLOW_NETWORKS")
    config.write_text("")
    with http_receiver() as receiver, pytest.raises(UnavailableError, match=r"delivery\.allow_networks"):
        enrol(config, f"http://127.0.0.1:{receiver.port}/")
    assert receiver.inbox.items == []


def test_a_variable_stays_the_place_of_the_address(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a variable nothing is written but its name."""
    with pytest.raises(ConfigError, match="HOOK_URL is not set"):
        enrol(config, None, variable="HOOK_URL")
    with http_receiver() as receiver:
        monkeypatch.setenv("HOOK_URL", f"json://127.0.0.1:{receiver.port}/s3cret")
        added = enrol(config, None, variable="HOOK_URL")
    assert added.secret == "env:HOOK_URL"
    assert "${env:HOOK_URL}" in added.file.read_text()
    assert not (config.parent / "secrets").exists()


def test_names_that_are_taken_or_no_names_are_refused(config: Path) -> None:
    """A second target of a name, and names that lead out of the folder, change nothing."""
    file = config.parent / "notify.yaml"
    file.write_text(NOTIFY)
    for name in ("pager", "../../etc/passwd", ".hidden"):
        with pytest.raises(ConfigError):
            enrol(config, "json://127.0.0.1:9/", name=name, test=False)
    (config.parent / "secrets").mkdir()
    (config.parent / "secrets" / "old").write_text("x")
    with pytest.raises(ConfigError, match="is there already"):
        enrol(config, "json://127.0.0.1:9/", name="old", test=False)
    assert file.read_text() == NOTIFY
    assert (config.parent / "secrets" / "old").read_text() == "x"


def test_a_file_that_cannot_be_added_to_is_left_alone(config: Path) -> None:
    """The message has the lines; the secret that was kept for them is gone again."""
    file = config.parent / "notify.yaml"
    flow = "{route: {receiver: a}, receivers: [{name: a, apprise_configs: [{name: x, url: 'json://h/'}]}]}\n"
    file.write_text(flow)
    with pytest.raises(ConfigError, match=r"add this to receivers\.0\.apprise_configs yourself"):
        enrol(config, "json://127.0.0.1:9/", test=False)
    assert file.read_text() == flow
    assert not (config.parent / "secrets" / "webhook").exists()


def test_the_command_asks_for_what_is_secret(config: Path) -> None:
    """Without arguments the address is asked for, and so is the password of a mail server, and not shown."""
    runner = CliRunner()
    with smtp_receiver(EHLO="250-stub\r\n250 AUTH PLAIN", AUTH="235 welcome") as server:
        smtp = f"127.0.0.1:{server.port}"
        done = runner.invoke(
            app,
            [
                "notify",
                "add",
                "--config",
                str(config),
                "--no-tls",
                "--user",
                "me@example.com",
                "--smtp",
                smtp,
            ],
            input="ml@example.com\np4ssword\n",
        )
    assert done.exit_code == 0, done.output
    assert "mail accepted a message" in done.output
    assert "p4ssword" not in done.output
    (mail,) = server.inbox.items
    assert b"To: ml@example.com" in mail
    assert "p4ssword" in (config.parent / "secrets" / "mail-ml").read_text()
    assert not {each for each in os.environ if "p4ssword" in os.environ[each]}
