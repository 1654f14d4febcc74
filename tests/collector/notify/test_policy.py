"""Where alerts arrive in the tree of routes, and who hears of them."""

from datetime import datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from helpers.notify_alerts import NOON, alert
from lapwing_collector.notify import NOBODY, Policy, Route, hush_by, read_notify_file

FILE = """
route:
  receiver: ml
  group_by: [alertname, model]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h
  routes:
    - matchers: ['severity="page"']
      receiver: oncall
      group_wait: 0s
      escalate: [{after: 15m, receiver: lead}, {after: 1h, receiver: boss}]
    - matchers: ['team=~"risk|fraud"']
      continue: true
      group_by: [team]
      routes:
        - matchers: ['kind=late']
          receiver: boss
          repeat_interval: 1d
    - matchers: ['severity="ticket"']
      receiver: lead
      group_by: ['...']
receivers:
  - {name: ml, apprise_configs: [{name: chat, url: "json://127.0.0.1/"}]}
  - name: oncall
    fallback: ml
    apprise_configs:
      - {name: pager, url: "json://127.0.0.1/"}
      - {name: mail, url: "json://127.0.0.1/", send_resolved: false, resolve_silenced: false}
  - {name: lead, fallback: oncall, apprise_configs: [{name: phone, url: "json://127.0.0.1/"}]}
  - {name: boss, apprise_configs: [{name: letter, url: "json://127.0.0.1/"}]}
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """What the file says."""
    path = tmp_path_factory.mktemp("notify") / "notify.yaml"
    path.write_text(dedent(FILE))
    return read_notify_file(path)


@pytest.mark.parametrize(
    ("labels", "places"),
    [
        ({}, ["route"]),
        ({"severity": "page"}, ["route.routes[0]"]),
        ({"severity": "page", "team": "risk"}, ["route.routes[0]"]),
        ({"team": "risk"}, ["route.routes[1]"]),
        ({"team": "fraud", "kind": "late"}, ["route.routes[1].routes[0]"]),
        ({"team": "fraud", "severity": "ticket"}, ["route.routes[1]", "route.routes[2]"]),
        ({"severity": "ticket"}, ["route.routes[2]"]),
        ({"severity": "info"}, ["route"]),
    ],
)
def test_alerts_arrive_where_alertmanager_leads_them(
    policy: Policy, labels: dict[str, str], places: list[str]
) -> None:
    """The first inner route that matches takes an alert, unless it goes on; else the outer one does."""
    assert [route.path for route in policy.routes(labels)] == places


def at(policy: Policy, path: str) -> Route:
    """The route at a place of the file."""
    return next(route for route in policy.root.all() if route.path == path)


def test_a_route_has_what_is_above_it(policy: Policy) -> None:
    """Receiver, grouping and times come from above where a route says nothing; matchers and steps do not."""
    late = at(policy, "route.routes[1].routes[0]")
    assert (late.receiver, late.group_by, late.group_wait, late.group_interval, late.repeat_interval) == (
        "boss",
        ("team",),
        timedelta(seconds=10),
        timedelta(minutes=1),
        timedelta(days=1),
    )
    assert at(policy, "route.routes[0]").group_wait == timedelta(0)
    assert at(policy, "route.routes[1]").escalate == ()


def test_routes_are_known_by_their_matchers(tmp_path: Path, policy: Policy) -> None:
    """A route keeps its identity when others come before it, and no two have the same."""
    late = at(policy, "route.routes[1].routes[0]")
    assert late.id == '{}/{team=~"risk|fraud"}/{kind="late"} "boss"'
    assert policy.route_of(late.id) is late
    assert policy.route_of('{}/{team="none"}') is None
    ids = [route.id for route in policy.root.all()]
    more = FILE.replace("routes:\n    -", "routes:\n    - {matchers: [a=b], receiver: lead}\n    -", 1)
    path = tmp_path / "notify.yaml"
    path.write_text(dedent(more))
    others = [route.id for route in read_notify_file(path).root.all()]
    assert [each for each in others if each != '{}/{a="b"} "lead"'] == ids
    alike = FILE.replace('severity="ticket"', 'severity="page"')
    path.write_text(
        dedent(alike.replace("receiver: lead\n      group_by", "receiver: oncall\n      group_by"))
    )
    first, *_, again = (route.id for route in read_notify_file(path).root.routes)
    assert again == f"{first} #2"


def test_groups_are_named_by_their_route_and_labels(policy: Policy) -> None:
    """Alerts share a group if they come by one route and share the labels that it groups by, or all."""
    labels = {"alertname": "Drift", "model": "churn", "feature": "age"}
    assert policy.root.group_labels(labels) == {"alertname": "Drift", "model": "churn"}
    assert policy.root.group_key(labels) == policy.root.group_key(labels | {"feature": "plan"})
    assert policy.root.group_key(labels) != policy.root.group_key(labels | {"model": "fraud"})
    assert policy.root.group_key(labels) != at(policy, "route.routes[0]").group_key(labels)
    every = at(policy, "route.routes[2]")
    assert every.group_labels(labels) == labels
    assert every.group_key(labels) != every.group_key(labels | {"feature": "plan"})


def test_who_hears_at_a_route(policy: Policy) -> None:
    """Targets of the receiver at once, those of escalations later, those who only heard nothing new."""
    heard = policy.listeners(at(policy, "route.routes[0]"), ["chat", "phone", "gone"])
    assert [(each.name, each.after, each.send_resolved, each.resolve_silenced) for each in heard] == [
        ("pager", timedelta(0), True, True),
        ("mail", timedelta(0), False, False),
        ("phone", timedelta(minutes=15), True, True),
        ("letter", timedelta(hours=1), True, True),
        ("chat", None, True, True),
    ]
    assert [(each.name, each.after) for each in policy.listeners(None, ["chat"])] == [("chat", None)]


def test_who_is_told_what_others_do_not_accept(policy: Policy) -> None:
    """Each target of a receiver with a fallback has that receiver's targets behind it."""
    assert policy.fallbacks() == {"pager": ("chat",), "mail": ("chat",), "phone": ("pager", "mail")}


def test_without_a_file_nobody_hears() -> None:
    """Alerts have a route then, too, and nobody listens there."""
    (route,) = NOBODY.routes({"alertname": "Drift"})
    assert NOBODY.listeners(route, ["hook"]) == []


def written(tmp_path: Path, inhibit: str) -> Policy:
    """A file with rules of inhibition."""
    path = tmp_path / "notify.yaml"
    receivers = "[{name: team, apprise_configs: [{name: hook, url: 'json://127.0.0.1/'}]}]"
    path.write_text(f"route: {{receiver: team}}\nreceivers: {receivers}\ninhibit_rules: {inhibit}\n")
    return read_notify_file(path)


RULE = "[{source_matchers: ['severity=page'], target_matchers: ['severity=~page|warning'], equal: [model]}]"


@pytest.mark.parametrize(
    ("rules", "source", "target", "kept_back"),
    [
        (RULE, {"severity": "page", "model": "a"}, {"severity": "warning", "model": "a"}, True),
        (RULE, {"severity": "page", "model": "a"}, {"severity": "warning", "model": "b"}, False),
        (RULE, {"severity": "page"}, {"severity": "warning"}, True),
        (RULE, {"severity": "page"}, {"severity": "info"}, False),
        (RULE, {"severity": "page"}, {"severity": "page"}, False),
        ("[]", {"alertname": "IngestStalled", "model": "a"}, {"alertname": "Drift", "model": "a"}, True),
        ("[]", {"alertname": "IngestStalled", "model": "a"}, {"alertname": "Drift", "model": "b"}, False),
        ("[]", {"alertname": "IngestStalled", "model": "a"}, {"alertname": "RuleError", "model": "a"}, False),
        ("[]", {"alertname": "IngestStalled"}, {"alertname": "Drift"}, False),
    ],
)
def test_alerts_that_fire_keep_others_back(
    tmp_path: Path, rules: str, source: dict[str, str], target: dict[str, str], kept_back: bool
) -> None:
    """A source keeps back targets with equal labels that are no sources too; stalled ingest always does."""
    policy = written(tmp_path, rules)
    hush = hush_by(policy, [], {"s": source, "t": target}, NOON)(
        alert(labels=target, fingerprint="t"), policy.root
    )
    assert (hush is not None) is kept_back
    if hush is not None:
        assert hush.reason == f"inhibited by {source.get('alertname', 'an alert')} (s)"


def test_an_alert_keeps_nothing_of_itself_back(tmp_path: Path) -> None:
    """An alert that is a source and no target of another rule is not kept back by itself."""
    policy = written(tmp_path, "[{source_matchers: [a=b], target_matchers: [c=d]}]")
    both = {"a": "b", "c": "d"}
    assert hush_by(policy, [], {"t": both}, NOON)(alert(labels=both, fingerprint="t"), policy.root) is None


def test_a_route_may_tell_in_some_hours_only(tmp_path: Path) -> None:
    """Outside of its active intervals a route tells nothing, and says outside of which."""
    path = tmp_path / "notify.yaml"
    path.write_text(
        dedent(
            """
            route: {receiver: team, active_time_intervals: [work, weekend]}
            receivers: [{name: team, apprise_configs: [{name: hook, url: "json://127.0.0.1/"}]}]
            time_intervals:
              - {name: work, time_intervals: [{times: [{start_time: '09:00', end_time: '17:00'}]}]}
              - {name: weekend, time_intervals: [{weekdays: ['saturday:sunday']}]}
            """
        )
    )
    policy = read_notify_file(path)
    assert (
        policy.muted(policy.root, datetime(2026, 11, 25, 20))
        == "outside of the time interval work or weekend"
    )
    assert policy.muted(policy.root, datetime(2026, 11, 25, 12)) is None
    assert policy.muted(policy.root, datetime(2026, 11, 28, 20)) is None
