"""The words of messages."""

from datetime import timedelta

import pytest
from apprise.plugins.pagerduty import PAGERDUTY_API_LOOKUP
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.notify_alerts import NOON, instance, transition
from helpers.notify_receivers import webhook
from lapwing_collector.model.alerts import Health, RuleId, Status
from lapwing_collector.notify import Target, messages_for

HOOK = Target("hook", "json://127.0.0.1/hook")


def test_a_firing_message_says_what_where_since_when_and_how_much() -> None:
    """A firing alert is told with its summary, value against condition, window, rule, links and labels."""
    (message,) = messages_for(transition(), [HOOK], "value < 0.7")
    assert message.target == "hook"
    assert message.status is Status.FIRING
    assert message.group == "f1"
    assert message.title == "[FIRING] AccuracyLow (origin=JFK, severity=page)"
    assert message.body.splitlines() == [
        "Accuracy at JFK is 61%",
        "",
        "Status:    firing, active since 2013-03-05 11:00:00 UTC",
        "Value:     0.612346   (condition: value < 0.7)",
        "Samples:   1234",
        "Window:    2013-03-05 11:00:00 to 2013-03-05 12:00:00 UTC",
        "Rule:      flights/AccuracyLow",
        "Runbook:   https://runbooks.example.com/accuracy",
        "Labels:",
        "  alertname = AccuracyLow",
        "  origin = JFK",
        "  severity = page",
    ]


def test_a_resolved_message_says_why_how_long_and_how_bad() -> None:
    """A resolve is told with the value now, the peak, the duration and the reason."""
    healthy = instance(value=0.9, fired_at=NOON, annotations={})
    (message,) = messages_for(transition(Status.RESOLVED, instance=healthy), [HOOK], "value < 0.7")
    assert message.title.startswith("[RESOLVED] AccuracyLow")
    assert message.body.splitlines()[:3] == [
        "Status:    resolved at 2013-03-06 14:03:00 UTC after 1d 2h 3m: the condition no longer holds",
        "Value:     0.9   (condition: value < 0.7)",
        "Peak:      0.55",
    ]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("missing", "its row is no longer in the result"),
        ("no_data", "no data arrives any more"),
        ("rule_changed", "the rule was changed"),
        ("rule_deleted", "the rule was deleted"),
    ],
)
def test_a_resolve_names_its_reason_in_words(reason: str, words: str) -> None:
    """Each reason that an alert resolves for is told in words."""
    (message,) = messages_for(transition(Status.RESOLVED, reason=reason), [HOOK], None)
    assert words in message.body


def test_an_alert_without_a_value_says_so() -> None:
    """An alert that fires because no data arrives has no value, no samples, and names its health."""
    silent = instance(value=None, sample_count=None, health=Health.NO_DATA)
    (message,) = messages_for(transition(instance=silent), [HOOK], None)
    assert "Value:     none\nHealth:    no_data\nWindow:" in message.body


def test_other_annotations_are_told_under_their_names() -> None:
    """An annotation that Lapwing gives no meaning to appears with its own name."""
    noted = instance(annotations={"description": "Look at the sky.", "team_page": "https://team.example.com"})
    (message,) = messages_for(transition(instance=noted), [HOOK], None)
    assert message.body.startswith("Look at the sky.\n\nStatus:")
    assert "team_page: https://team.example.com" in message.body


def test_a_target_may_not_want_resolves() -> None:
    """A target with `send_resolved: false` hears of firings only."""
    targets = [HOOK, Target("quiet", "json://127.0.0.1/quiet", send_resolved=False)]
    assert [m.target for m in messages_for(transition(), targets, None)] == ["hook", "quiet"]
    assert [m.target for m in messages_for(transition(Status.RESOLVED), targets, None)] == ["hook"]


def test_keys_are_stable_and_tell_announcements_apart() -> None:
    """The key is the same when an announcement is rendered again, whatever its words, and else differs."""
    other = Target("other", "json://127.0.0.1/other")
    announcements = [
        (transition(), HOOK),
        (transition(), other),
        (transition(Status.RESOLVED, slot=NOON), HOOK),
        (transition(slot=NOON + timedelta(minutes=1)), HOOK),
        (transition(instance=instance(fingerprint="f2")), HOOK),
        (transition(rule=RuleId("flights/Accuracy", "Low")), HOOK),
        (transition(rule=RuleId("flights", "Accuracy/Low")), HOOK),
    ]
    keys = [messages_for(t, [target], None)[0].key for t, target in announcements]
    assert len(set(keys)) == len(keys)
    reworded = transition(instance=instance(value=0.1, annotations={}))
    assert messages_for(reworded, [HOOK], "value < 0.5")[0].key == keys[0]
    assert keys[0] == "ff64f62df4deb85da42c41734b349fdc"


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/hook",
        "discord://1234567890/abcdefghijklmnop",
        "pagerduty://key@integration",
        "ntfy://topic",
    ],
)
@settings(max_examples=30)
@given(
    labels=st.dictionaries(st.text(max_size=300), st.text(max_size=3000), max_size=8),
    summary=st.text(max_size=9000),
)
def test_messages_fit_their_target(url: str, labels: dict[str, str], summary: str) -> None:
    """Whatever the labels and texts, the title is one line within limits, and the body fits the service."""
    target = Target("t", url)
    wordy = instance(labels=labels, annotations={"summary": summary})
    (message,) = messages_for(transition(instance=wordy), [target], None)
    assert len(message.title.splitlines()) == 1
    assert 0 < len(message.title) <= target.title_max
    assert 0 < len(message.body) <= target.body_max(message.title)


def test_a_body_that_is_cut_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body too long for a service that takes the title in it is cut by us, marked, and by nobody again."""
    wordy = instance(annotations={"summary": "x" * 3000})
    with webhook() as hook:
        monkeypatch.setitem(PAGERDUTY_API_LOOKUP, "us", f"http://127.0.0.1:{hook.port}/")
        target = Target("pd", "pagerduty://key@integration")
        (message,) = messages_for(transition(instance=wordy), [target], None)
        target.send(message)
    summary = hook.inbox.items[0].body["payload"]["summary"]
    assert len(summary) == 1024
    assert summary.startswith("[FIRING] AccuracyLow")
    assert summary.endswith("x…")
