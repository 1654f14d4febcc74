"""The notify file: what it accepts, and how it says what is wrong."""

import re
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from helpers.notify_alerts import message
from helpers.notify_receivers import webhook
from lapwing_collector.errors import ConfigError
from lapwing_collector.notify import ANYWHERE, Policy, Rate, Verdict, read_notify_file

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


def read(tmp_path: Path, text: str) -> Policy:
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


def test_targets_are_as_the_file_says(tmp_path: Path) -> None:
    """Each entry makes a target, in the order of the file, with what it says of it."""
    policy = read(
        tmp_path,
        """
        route: {receiver: team}
        receivers:
          - name: other
            apprise_configs: [{name: other, url: "json://127.0.0.1/other", rate: 20/m, max_age: 6h}]
          - name: team
            apprise_configs:
              - {name: hook, url: "json://127.0.0.1/hook", rate: 1/5s}
              - {name: mail, url: "mailto://127.0.0.1?from=a@x.com&to=b@x.com", send_resolved: false}
              - {name: quiet, url: "json://127.0.0.1/", resolve_silenced: false}
        """,
    )
    told = [(each.name, each.send_resolved, each.resolve_silenced) for each in policy.targets]
    assert told == [
        ("other", True, True),
        ("hook", True, True),
        ("mail", False, True),
        ("quiet", True, False),
    ]
    assert policy.receivers["team"].targets == ("hook", "mail", "quiet")
    assert (policy.targets[0].rate, policy.targets[0].max_age) == (
        Rate(20, timedelta(minutes=1)),
        timedelta(hours=6),
    )
    assert policy.targets[1].rate == Rate(1, timedelta(seconds=5))


def test_an_address_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret address stands in the environment; the target sends to it."""
    with webhook() as hook:
        monkeypatch.setenv("HOOK_URL", hook.url())
        (target,) = read(tmp_path, GOOD.replace("json://127.0.0.1/hook", "${env:HOOK_URL}")).targets
        assert target.send(message(), ANYWHERE).verdict is Verdict.SENT
    assert len(hook.inbox.items) == 1


def test_an_unset_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that is not set is an error with its name and line (13)."""
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
    """An address that Apprise does not know, or with several recipients, is refused, not shown (10, 16)."""
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
    ("old", "new", "expected"),
    [
        (
            "receiver: team",
            "receiver: tema",
            "/notify.yaml:2: route.receiver: 'tema' is not among the receivers: team",
        ),
        ("receiver: team", "reciever: team", "route.reciever: is not a key here; did you mean receiver?"),
        ("url: json", "fallback: json", "url: is missing"),
        ("- name: hook", "- name: ''", "name: "),
        ("receiver: team", "routes: []", "/notify.yaml:1: route: receiver: is missing"),
        ("receiver: team", "receiver: team\n  matchers: [a=b]", "/notify.yaml:3: route.matchers: cannot"),
        ("receiver: team", "receiver: team\n  group_by: ['...', a]", "`...` stands for all labels"),
        ("receiver: team", "receiver: team\n  group_by: [a, a]", "route.group_by: names a twice"),
        (
            "receiver: team",
            "receiver: team\n  group_wait: 5",
            "route.group_wait: expected a duration such as",
        ),
        ("receiver: team", "receiver: team\n  repeat_interval: 0s", "expected a duration longer than 0s"),
        (
            "receiver: team",
            "receiver: team\n  mute_time_intervals: [night]",
            "/notify.yaml:3: route.mute_time_intervals[0]: 'night' is not among the time_intervals",
        ),
        (
            "receiver: team",
            "receiver: team\n  escalate: [{after: 0s, receiver: boss}]",
            "/notify.yaml:3: route.escalate[0].receiver: 'boss' is not among the receivers: team",
        ),
        (
            "receiver: team",
            "receiver: team\n  routes:\n    - receiver: team\n      routes: [{receiver: x, matchers: [y]}]",
            "/notify.yaml:5: route.routes[0].routes[0].receiver: 'x' is not among the receivers: team",
        ),
        (
            "receiver: team",
            "receiver: team\n  routes: [{matchers: [y]}]",
            "/notify.yaml:3: route.routes[0].matchers[0]: expected a matcher such as",
        ),
        ("- name: team", "- name: team\n    fallback: team", "receivers[0].fallback: is the receiver itself"),
        ("- name: team", "- name: team\n    fallback: boss", "'boss' is not among the receivers: team"),
        ("- name: hook", "- name: hook\n        rate: fast", "rate: expected a rate such as 1/s, 20/m"),
        ("- name: hook", "- name: hook\n        rate: 0/s", "rate: expected a rate such as 1/s, 20/m"),
        ("- name: hook", "- name: hook\n        rate: 1/0s", "rate: expected a rate such as 1/s, 20/m"),
        ("receivers:", "templates: []\nreceivers:", "templates: is not a key here; expected one of"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """A name that leads nowhere, a misspelt key, a missing one and an empty name are told with place."""
    assert expected in refusal(tmp_path, GOOD.replace(old, new, 1))


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Sections beside the route have their mistakes told with their lines, all of them together."""
    sections = """
        inhibit_rules:
          - source_matchers: []
            target_matchers: [a]
            equal: model
        time_intervals:
          - name: night
            time_intervals:
              - times: [{start_time: '22:00', end_time: '06:00'}]
                weekdays: [someday]
              - {days_of_month: [32], months: ['may:april'], years: ['20x6'], location: Mars/Base}
          - name: night
            time_intervals: [{days_of_month: ['-1:3'], times: [{start_time: '7:00', end_time: '08:00'}]}]
        """
    said = refusal(tmp_path, GOOD + dedent(sections)).splitlines()
    assert [line.removeprefix("/notify.yaml:")[:60] for line in said] == [
        "10: inhibit_rules[0].source_matchers: expected a list of at ",
        "11: inhibit_rules[0].target_matchers[0]: expected a matcher ",
        "12: inhibit_rules[0].equal: expected a list of entries",
        "16: time_intervals[0].time_intervals[0].times[0].end_time: s",
        "17: time_intervals[0].time_intervals[0].weekdays[0]: expecte",
        "18: time_intervals[0].time_intervals[1].days_of_month[0]: ex",
        "18: time_intervals[0].time_intervals[1].location: expected a",
        "18: time_intervals[0].time_intervals[1].months[0]: expected ",
        "18: time_intervals[0].time_intervals[1].years[0]: expected a",
        "20: time_intervals[1].time_intervals[0].days_of_month[0]: ex",
        "20: time_intervals[1].time_intervals[0].times[0].end_time: e",
    ]


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
    times = "[{name: x, time_intervals: [{}]}, {name: x, time_intervals: [{}]}]"
    assert "two time_intervals are named x" in refusal(tmp_path, f"{GOOD}time_intervals: {times}\n")


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
        targets = read(tmp_path, example.replace("/run/secrets/hook_token", str(token))).targets
        assert [(target.name, target.send_resolved) for target in targets] == [
            ("slack-ml", True),
            ("mail-ml", False),
            ("hook", True),
        ]
