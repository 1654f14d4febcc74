"""The notify file: what it accepts, and how it says what is wrong."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from helpers.notify_alerts import message
from helpers.notify_receivers import webhook
from lapwing_collector.errors import ConfigError
from lapwing_collector.notify import ANYWHERE, Target, Verdict, read_notify_file

SECRET = "s3cr3tt0k3n"
GOOD = """\
route:
  receiver: team
receivers:
  - name: team
    apprise_configs:
      - name: hook
        url: json://127.0.0.1/hook
"""


def read(tmp_path: Path, text: str) -> tuple[Target, ...]:
    """Read `text` as a notify file."""
    path = tmp_path / "notify.yaml"
    path.write_text(dedent(text))
    return read_notify_file(path)


def refusal(tmp_path: Path, text: str) -> str:
    """What is said of a wrong file; never anything secret."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert SECRET not in said
    return said.replace(str(tmp_path), "")


def test_the_route_leads_to_the_targets_of_its_receiver(tmp_path: Path) -> None:
    """Targets are those of the receiver that the route names, in the order of the file."""
    targets = read(
        tmp_path,
        """
        route: {receiver: team}
        receivers:
          - name: unused
            apprise_configs: [{name: other, url: "json://127.0.0.1/other"}]
          - name: team
            apprise_configs:
              - {name: hook, url: "json://127.0.0.1/hook"}
              - {name: mail, url: "mailto://127.0.0.1?from=a@x.com&to=b@x.com", send_resolved: false}
        """,
    )
    assert [(target.name, target.send_resolved) for target in targets] == [("hook", True), ("mail", False)]


def test_an_address_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret address stands in the environment; the target sends to it."""
    with webhook() as hook:
        monkeypatch.setenv("HOOK_URL", hook.url())
        (target,) = read(tmp_path, GOOD.replace("json://127.0.0.1/hook", "${env:HOOK_URL}"))
        assert target.send(message(), ANYWHERE).verdict is Verdict.SENT
    assert len(hook.inbox.items) == 1


def test_an_unset_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that is not set is an error with its name and line."""
    monkeypatch.delenv("HOOK_URL", raising=False)
    said = refusal(tmp_path, GOOD.replace("json://127.0.0.1/hook", "${env:HOOK_URL}"))
    assert "/notify.yaml:7: " in said
    assert "HOOK_URL" in said


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"nosuch://{SECRET}", "does not accept this nosuch:// address"),
        (f"https://hooks.example.com/{SECRET}", "does not accept this https:// address"),
        (f"slack://{SECRET}", "does not accept this slack:// address"),
        (SECRET, "expected an Apprise address such as"),
        (f"mailto://u:{SECRET}@example.com?to=a@example.com,b@example.com", "exactly one recipient"),
        (f"mailto://u:{SECRET}@example.com?to=a@example.com&cc=b@example.com", "exactly one recipient"),
        (f"mailto://u:{SECRET}@example.com?to={SECRET}", "exactly one recipient"),
        (f"slack://TAAAAAAAA/BAAAAAAAA/CAAAAAAAAAAAAA{SECRET}/#a/#b", "exactly one recipient"),
    ],
)
def test_a_wrong_address_is_refused_and_not_shown(tmp_path: Path, url: str, expected: str) -> None:
    """An address that Apprise does not know, or with several recipients, is refused without being shown."""
    said = refusal(tmp_path, GOOD.replace("json://127.0.0.1/hook", f'"{url}"'))
    assert said.startswith("/notify.yaml:7: receivers[0].apprise_configs[0].url: ")
    assert expected in said


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (f"[json://h/{SECRET}]", "receivers[0].apprise_configs[0]: expected a mapping"),
        (f"json://h/{SECRET}", "receivers[0].apprise_configs: expected a list"),
        (
            f"[{{name: a, url: [json://h/{SECRET}]}}]",
            "receivers[0].apprise_configs[0].url: expected an Apprise",
        ),
        (f"[{{name: a, uri: json://h/{SECRET}}}]", "uri: is not a key here; did you mean url?"),
        ("[]", "receivers[0].apprise_configs: "),
    ],
)
def test_an_address_in_the_wrong_place_is_not_shown(tmp_path: Path, entry: str, expected: str) -> None:
    """A file of the wrong shape is refused with the place and the expected shape, without its addresses."""
    said = refusal(
        tmp_path, f"route: {{receiver: a}}\nreceivers:\n  - name: a\n    apprise_configs: {entry}\n"
    )
    assert "/notify.yaml:4: " in said
    assert expected in said


@pytest.mark.parametrize(
    "key",
    [
        "routes",
        "group_by",
        "group_wait",
        "group_interval",
        "repeat_interval",
        "matchers",
        "mute_time_intervals",
        "active_time_intervals",
        "escalate",
    ],
)
def test_routing_keys_to_come_are_refused_as_such(tmp_path: Path, key: str) -> None:
    """A key of Alertmanager's route that Lapwing lacks is not supported yet, rather than unknown."""
    said = refusal(tmp_path, GOOD.replace("receiver: team", f"receiver: team\n  {key}: [x]"))
    assert said == f"/notify.yaml:3: route.{key}: is not supported yet; remove it"


@pytest.mark.parametrize("key", ["inhibit_rules", "time_intervals", "templates"])
def test_sections_to_come_are_refused_as_such(tmp_path: Path, key: str) -> None:
    """A section of Alertmanager's file that Lapwing lacks is not supported yet, rather than unknown."""
    assert (
        refusal(tmp_path, f"{GOOD}{key}: []\n") == f"/notify.yaml:8: {key}: is not supported yet; remove it"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "receiver: team",
            "receiver: tema",
            "/notify.yaml:1: route: receiver 'tema' is not among the receivers: team",
        ),
        ("receiver: team", "reciever: team", "route.reciever: is not a key here; did you mean receiver?"),
        ("url: json", "fallback: json", "url: is missing"),
        ("- name: hook", "- name: ''", "name: "),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """A name that leads nowhere, a misspelt key, a missing one and an empty name are told with place."""
    assert expected in refusal(tmp_path, GOOD.replace(old, new, 1))


def test_names_must_be_unique(tmp_path: Path) -> None:
    """Two receivers, or two targets anywhere in the file, may not share a name."""
    config = "apprise_configs: [{name: hook, url: 'json://h'}]"
    said = refusal(
        tmp_path, f"route: {{receiver: a}}\nreceivers: [{{name: a, {config}}}, {{name: b, {config}}}]"
    )
    assert "two apprise_configs are named hook" in said
    said = refusal(
        tmp_path, f"route: {{receiver: a}}\nreceivers: [{{name: a, {config}}}, {{name: a, {config}}}]"
    )
    assert "two receivers are named a" in said


def test_the_documented_file_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/notifications.md, with the addresses of its table as secrets, makes its targets."""
    page = (Path(__file__).parents[3] / "docs" / "notifications.md").read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    monkeypatch.setenv(
        "SLACK_URL", "https://hooks.slack.com/services/TAAAAAAAA/BAAAAAAAA/CAAAAAAAAAAAAAAAAAAAAAAA"
    )
    token = tmp_path / "token"
    token.write_text(SECRET)
    addresses = re.findall(r"`((?:mailtos?|jsons|pagerduty)://[^`…]+)`", page)
    assert len(addresses) == 4
    for address in addresses:
        monkeypatch.setenv("MAIL_URL", address)
        targets = read(tmp_path, example.replace("/run/secrets/hook_token", str(token)))
        assert [(target.name, target.send_resolved) for target in targets] == [
            ("slack-ml", True),
            ("mail-ml", False),
            ("hook", True),
        ]
