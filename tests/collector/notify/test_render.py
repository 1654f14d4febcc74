"""What messages say, for each kind of service."""

import json
import re
import unicodedata
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.pagerduty import PAGERDUTY_API_LOOKUP
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import notify_apis as apis
from helpers.notify_messages import (
    ADDRESSES,
    CASES,
    GOLDEN,
    TWO,
    alert,
    feature,
    notification,
    render_for,
    resolved,
    written,
)
from helpers.notify_receivers import mail_server, webhook
from lapwing_collector.model.alerts import (
    Context,
    Health,
    Message,
    Notification,
    Reason,
    SegmentValue,
    Status,
)
from lapwing_collector.notify import ANYWHERE, Rendered, Target, Verdict, render
from lapwing_collector.notify.wording import length

HOSTILE = (
    "<!channel>",
    "!channel>",
    "<@U012AB3CD> <@&123456789> <#123456789> @everyone @here",
    "<img src=x onerror=alert(1)>",
    "<!-- --> </pre></code></b>",
    "[click me](https://evil.example.com)",
    "<https://evil.example.com|click me>",
    "*bold* _under_ ~gone~ ||spoiler|| `code` ```block```",
    "{{DATE(2026-01-01T00:00:00Z)}} <at>everyone</at>",
    "\u202egnol si siht\u2066\x1b[31m\x00\ud800",
    "a\nb\r\n# heading\n> quote",
    "x" * 5000,
)
"""What people, or what others make of their data, may put into labels and texts."""

PAGE = Path(__file__).parents[3] / "docs" / "notifications.md"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ADDRESSES)
def test_messages_read_as_they_are_written_down(case: str, kind: str) -> None:
    """Each kind of service gets the words of its golden file, which `helpers/notify_messages.py` writes."""
    golden = GOLDEN / f"{case}.{kind}.txt"
    assert written(render_for(kind, CASES[case])) == golden.read_text(encoding="utf-8")


def body_of(told: Notification, kind: str = "other") -> str:
    """The text that a service of plain text gets."""
    return render_for(kind, told).body


@pytest.mark.parametrize("case", ["one", "few"])
def test_the_page_shows_messages_as_they_are(case: str) -> None:
    """The examples of `docs/notifications.md` are what a service of plain text gets."""
    rendered = render_for("other", CASES[case])
    assert f"```text\n{rendered.title}\n\n{rendered.body}\n```" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": 0.31}, "Value: 0.31, above 0.2"),
        ({"value": 0.61, "condition": "value < 0.7"}, "Value: 0.61, below 0.7"),
        ({"value": 0.19}, "Value: 0.19 (fires above 0.2)"),
        ({"condition": "low > most"}, "Value: 1.631 (fires when low > most)"),
        ({"condition": "drifted = 1"}, "Value: 1.631 (fires when drifted = 1)"),
        ({"condition": None}, "Value: 1.631\n"),
        ({"value": None, "health": Health.NO_DATA}, "Value: none (fires above 0.2)\nHealth: no data arrives"),
        ({"active_at": TWO}, "Firing since 2026-11-24 14:05 UTC\n"),
        ({"active_at": TWO - timedelta(days=1)}, "14:05 UTC, bad since 2026-11-23 14:05 UTC"),
        ({"late": True}, "Firing since 2026-11-24 14:05 UTC, bad since 13:50, found late\n"),
        ({"annotations": {}}, "FeatureDrift\nFiring since"),
        ({"annotations": {"team_page": "https://team.example.com"}}, "team_page: https://team.example.com"),
        ({"annotations": {"runbook_url": "javascript:alert(1)"}}, "Runbook: javascript:alert(1)"),
        ({"sample": ({"prediction_id": "p1", "a": None},)}, "Predictions: p1\n  a\n  null\n"),
        ({"sample": (), "context": Context(examples=("p1", "p2"))}, "Predictions: p1 p2\n"),
        ({"context": Context(values={"low": 0.5, "reference": 3})}, "Also: low 0.5, reference 3\n"),
        (
            {"context": Context(recent=(None, 0.1, 0.3), step_s=86_400)},
            "Trend: ·▁█ 0.1 → 0.3, one each 1d",
        ),
        (
            {"context": Context(segments=(SegmentValue("version=v2", None, 12),))},
            "Worst parts: version=v2 none (12 rows)",
        ),
    ],
)
def test_what_is_known_is_told(changes: dict[str, Any], words: str) -> None:
    """Value against threshold, since when, health, links, rows and segments are told in words."""
    assert words in body_of(notification(alert(**changes)))


def test_what_is_not_known_is_left_out() -> None:
    """An alert of which little is known has no empty lines and no names without a value."""
    bare = alert(annotations={}, sample=(), sample_count=None, context=Context(), value=None, condition=None)
    assert body_of(notification(bare)).splitlines() == [
        "FeatureDrift",
        "Firing since 2026-11-24 14:05 UTC, bad since 13:50",
        "Window: 2026-11-24 13:05 to 14:05 UTC",
        "Labels: model=fraud, feature=amount, severity=page",
        "Rule: fraud-model/FeatureDrift",
    ]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("condition", "the condition no longer holds"),
        ("missing", "its row is no longer in the result"),
        ("no_data", "no data arrives any more"),
        ("rule_changed", "the rule was changed"),
        ("rule_deleted", "the rule was deleted"),
        ("rule_disabled", "the rule was switched off"),
        ("something new", "something new"),
    ],
)
def test_a_resolve_says_why_how_long_and_how_bad(reason: str, words: str) -> None:
    """A resolve names its reason, how long the alert fired, and its peak."""
    told = body_of(notification(resolved(alert(), reason=reason)))
    assert told.startswith("Resolved: amount drifted: PSI 1.63\n")
    assert f"\nResolved at 2026-11-24 17:05 UTC after 3h: {words}\nValue: 0.11 (fires above 0.2)\n" in told
    assert "\nPeak: 1.631\n" in told


@pytest.mark.parametrize(
    ("changes", "title", "first"),
    [
        ({}, "[FIRING] FeatureDrift (model=fraud, feature=amount, severity=page)", "amount drifted"),
        ({"drill": True}, "[DRILL] [FIRING] FeatureDrift", "This is a drill: nothing happened."),
        ({"reason": Reason.REPEAT}, "[FIRING] FeatureDrift", "Still firing; this is a reminder."),
        ({"reason": Reason.ESCALATION}, "[FIRING] FeatureDrift", "Nobody has acknowledged this yet."),
        ({"reason": Reason.DIGEST}, "[FIRING] FeatureDrift", "This is of the past"),
        ({"truncated": 6}, "[FIRING:7] FeatureDrift", "7 firing"),
    ],
)
def test_a_message_says_why_it_comes(changes: dict[str, Any], title: str, first: str) -> None:
    """Drills, reminders, escalations and digests say that they are these."""
    rendered = render_for("other", notification(alert(), **changes))
    assert rendered.title.startswith(title)
    assert rendered.body.startswith(first)


def test_a_group_tells_its_news_first() -> None:
    """In a message about several alerts what is new leads, and what they share stands once."""
    rendered = render_for("other", CASES["few"])
    assert rendered.title == "[FIRING:2] FeatureDrift (model=fraud)"
    entries = re.findall(r"^[▲✓] .*$", rendered.body, re.MULTILINE)
    assert entries == ["▲ feature=f2, kind=amount", "✓ feature=f3, kind=count", "▲ feature=f1, kind=amount"]
    assert rendered.body.splitlines()[0] == "2 firing, 1 resolved, 2 of them new"
    assert rendered.body.count("model=fraud") == 1


def test_different_alerts_of_a_group_keep_their_names() -> None:
    """Where alerts of several rules are told at once, each bears its name."""
    other = feature(2, labels={"alertname": "ErrorRate", "model": "fraud"})
    told = body_of(notification(feature(1), other))
    assert "▲ FeatureDrift feature=f1" in told
    assert "▲ ErrorRate\n" in told


def test_a_storm_is_one_message_that_says_what_it_is_made_of() -> None:
    """Of 5 000 alerts a message names 25, counts the rest, and says which labels most of them have."""
    body = body_of(CASES["storm"], "slack")
    assert body.startswith("**5,000 firing**")
    assert "**By kind (of 300):** amount 200, count 100" in body
    assert body.count("▲") == 25
    assert body.endswith("and 4,975 more")
    assert len(body) < 2000


def test_all_mails_of_a_group_have_one_subject() -> None:
    """Firing, change and resolve of a group have the same subject, so that mail readers make one thread."""
    notes = [notification(alert()), CASES["few"], CASES["resolved"], CASES["storm"]]
    assert {render_for("mail", told).title for told in notes} == {"FeatureDrift (model=fraud)"}
    alone = notification(alert(), group="f-amount", group_labels={}, receiver="")
    assert render_for("mail", alone).title == "FeatureDrift (model=fraud, feature=amount, severity=page)"
    over = notification(resolved(alert()), group="f-amount", group_labels={}, receiver="")
    assert render_for("mail", over).title == render_for("mail", alone).title
    everything = notification(alert(), feature(1), group_labels={})
    assert render_for("mail", everything).title == "Alerts for ml-team"


def test_programs_get_what_alertmanager_would_send() -> None:
    """A webhook's body has the keys of Alertmanager's webhook as they are meant, and Lapwing's beside."""
    document = json.loads(render_for("webhook", CASES["few"]).payload)
    assert {name: document[name] for name in ("version", "status", "receiver", "truncatedAlerts")} == {
        "version": "4",
        "status": "firing",
        "receiver": "ml-team",
        "truncatedAlerts": 0,
    }
    assert document["groupKey"] == "g1"
    assert document["groupLabels"] == {"alertname": "FeatureDrift", "model": "fraud"}
    assert document["commonLabels"] == {"alertname": "FeatureDrift", "model": "fraud"}
    assert document["commonAnnotations"] == {"runbook_url": "https://runbooks.example.com/drift"}
    first, _, over = document["alerts"]
    assert (first["status"], first["startsAt"], first["endsAt"]) == (
        "firing",
        "2026-11-24T13:50:00Z",
        "0001-01-01T00:00:00Z",
    )
    assert (over["status"], over["endsAt"]) == ("resolved", "2026-11-24T17:05:00Z")
    assert [each["new"] for each in document["alerts"]] == [False, True, True]
    assert (first["fingerprint"], first["condition"]) == ("f-1", "value > 0.2")
    assert first["value"] == pytest.approx(0.3)


def test_programs_get_json_whatever_the_numbers() -> None:
    """NaN and infinity, which JSON has not, are null; a storm lists 200 alerts and counts the others."""
    odd = alert(value=float("nan"), context=Context(values={"a": float("inf"), "at": datetime(2026, 1, 1)}))
    (told,) = json.loads(render_for("webhook", notification(odd)).payload)["alerts"]
    assert (told["value"], told["values"]) == (None, {"a": None, "at": "2026-01-01 00:00:00"})
    storm = json.loads(render_for("webhook", CASES["storm"]).payload)
    assert (len(storm["alerts"]), storm["truncatedAlerts"]) == (200, 4800)


@pytest.mark.parametrize(("kind", "most"), [("webhook", 1 << 20), ("pagerduty", 100_000)])
def test_json_for_programs_has_a_limit(kind: str, most: int) -> None:
    """Alerts that do not fit are counted; one that alone would not fit comes without its rows."""
    row = {"text": "x" * 500}
    many = [alert(fingerprint=str(number), sample=(row,) * 20) for number in range(150)]
    document = json.loads(render_for(kind, notification(*many)).payload)
    assert len(json.dumps(document["alerts"])) <= most
    assert 5 < len(document["alerts"]) < 150
    assert len(document["alerts"]) + document["truncatedAlerts"] == 150
    (huge,) = json.loads(render_for(kind, notification(alert(sample=(row,) * 5000))).payload)["alerts"]
    assert (huge["sample"], huge["value"]) == (None, 1.6312)


# What others write into labels


class Tags(HTMLParser):
    """The tags of a body, which must be closed in order, and its text."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(body)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        assert tag == "a" or not attrs
        if tag != "br":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one that has no end."""
        assert tag == "br"
        assert not attrs

    def handle_endtag(self, tag: str) -> None:
        """It must be the one that is open."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


def hostile(text: str) -> list[Notification]:
    """Notifications with `text` wherever a user's text can stand."""
    nasty = {
        "labels": {"alertname": text, "model": text, text[:90] or "x": text},
        "annotations": {
            "summary": text,
            "description": text,
            "note": text,
            "runbook_url": f"https://example.com/{text}",
        },
        "condition": text,
        "sample": ({"prediction_id": text, text: text}, {"b": text}),
        "context": Context(
            recent=(1.0, 2.0), values={text: text}, segments=(SegmentValue(text, 1.0),), rows_url=text
        ),
    }
    one, two = alert(**nasty), alert(fingerprint="f2", **nasty)
    over = resolved(one, fingerprint="f3", reason=text)
    groups = {"group_labels": {"alertname": text}, "receiver": text}
    many = [replace(one, fingerprint=str(number)) for number in range(20)]
    return [
        notification(one, **groups),
        notification(one, two, over, **groups),
        notification(*many, **groups, truncated=3),
    ]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sends a rendered message through Apprise to a service on this machine; gives what that got."""
    with webhook(text="ok") as hook:
        base = f"http://127.0.0.1:{hook.port}"
        monkeypatch.setattr(NotifySlack, "webhook_url", base)
        monkeypatch.setattr(NotifyDiscord, "notify_url", base)
        monkeypatch.setattr(NotifyTelegram, "notify_url", f"{base}/bot")
        monkeypatch.setitem(PAGERDUTY_API_LOOKUP, "us", base)

        def send(kind: str, rendered: Rendered) -> dict[str, Any]:
            address = hook.url() if kind == "webhook" else ADDRESSES[kind]
            assert Target(kind, address).send(message_of(kind, rendered), ANYWHERE).verdict is Verdict.SENT
            body: dict[str, Any] = hook.inbox.items[-1].body
            return body

        yield send


def message_of(kind: str, rendered: Rendered) -> Message:
    """A row of the outbox."""
    return Message(
        key="k",
        target=kind,
        status=Status.FIRING,
        group="g1",
        title=rendered.title,
        body=rendered.body,
        body_format=rendered.body_format,
        payload=rendered.payload,
    )


@pytest.mark.parametrize("service", ["slack", "discord", "telegram", "pagerduty", "teams"])
def test_services_take_what_is_said(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stand-ins that judge as the services do accept every message whole: storms, and hostile labels."""
    told = [*CASES.values(), *(each for text in HOSTILE for each in hostile(text))]
    with ExitStack() as running:
        if service == "teams":
            api, address = running.enter_context(apis.teams(monkeypatch, tmp_path))
        else:
            api = running.enter_context(getattr(apis, service)(monkeypatch))
            address = getattr(apis, service.upper())
        target = Target(service, address)
        for each in told:
            message = message_of(service, render(each, target))
            assert target.send(message, ANYWHERE).verdict is Verdict.SENT, api.refusals
    assert len(api.calls) == len(told)


def test_a_program_gets_the_whole_json(sent: Any) -> None:
    """What a webhook is posted is Alertmanager's body, with title and message beside it."""
    rendered = render_for("webhook", CASES["one"])
    body = sent("webhook", rendered)
    assert (body["version"], body["title"], body["message"]) == ("4", rendered.title, rendered.body)
    assert body["alerts"] == json.loads(rendered.payload)["alerts"]


def test_no_label_calls_a_channel_of_slack(sent: Any) -> None:
    """What reaches Slack names nobody, and links only to where the rule's own annotations lead."""
    for text in HOSTILE:
        for told in hostile(text):
            got = json.dumps(sent("slack", render_for("slack", told))["attachments"], ensure_ascii=False)
            for link in re.findall(r"<([^>]*)>", got):
                assert link.startswith("https://example.com/"), (text, got)
                assert link.endswith("|Runbook"), (text, got)


def test_slack_shows_what_is_bold_and_where_links_lead(sent: Any) -> None:
    """Slack gets its own markup: bold names, boxed labels, named links, a block of rows, no backslashes."""
    (attachment,) = sent("slack", render_for("slack", CASES["one"]))["attachments"]
    assert attachment["title"] == "[FIRING] FeatureDrift (model=fraud, feature=amount, severity=page)"
    assert "*Value:* 1.631, above 0.2\n" in attachment["text"]
    assert "`model=fraud`" in attachment["text"]
    assert "<https://runbooks.example.com/drift|Runbook>" in attachment["text"]
    assert "from=2026-11-24T13%3A05%3A00Z&to=" in attachment["text"] or "Z&amp;to=" in attachment["text"]
    assert "```\ntime                 value  country\n" in attachment["text"]
    assert "\\" not in attachment["text"]


def test_no_label_calls_everyone_on_discord(sent: Any) -> None:
    """What reaches Discord mentions nobody and shows markup as the text it was."""
    for text in HOSTILE:
        for told in hostile(text):
            content = sent("discord", render_for("discord", told))["content"]
            assert not re.search(r"@(everyone|here|[!&U]?\d)", content), text
            assert not re.search(r"<[@#][!&]?\d", content), text
            outside = re.sub(r"```.*?```|`[^`]*`", "", content, flags=re.DOTALL)
            assert re.findall(r"\]\((?!<https://example\.com/)", outside) == [], (text, content)
            assert len(content) <= 2000


def test_no_label_is_a_tag_on_telegram(sent: Any) -> None:
    """What reaches Telegram is well-formed, with no tag and no link that Lapwing did not write."""
    for text in HOSTILE:
        for told in hostile(text):
            got = sent("telegram", render_for("telegram", told))
            assert got["parse_mode"] == "HTML"
            tags = Tags(got["text"])
            assert set(tags.tags) <= {"b", "code", "pre", "a"}
            assert all((link or "").startswith("https://example.com/") for link in tags.links)
            assert length(got["text"]) <= 4096


def test_no_label_is_a_tag_in_a_mail() -> None:
    """A mail's HTML has no tag that Lapwing did not write, and its subject is one line."""
    for text in HOSTILE[:8]:
        with mail_server() as server:
            rendered = render_for("mail", hostile(text)[0])
            Target("mail", server.url()).send(message_of("mail", rendered), ANYWHERE)
        (mail,) = server.inbox.items
        assert len(mail["Subject"].splitlines()) == 1
        page = Tags(mail.get_body(("html",)).get_content())
        assert set(page.tags) <= {"b", "br", "code", "pre", "a"}
        plain = mail.get_body(("plain",)).get_content()
        assert "Firing since 2026-11-24 14:05 UTC" in plain


@pytest.mark.parametrize("text", HOSTILE)
def test_no_label_is_markup_on_teams(text: str) -> None:
    """A card for Teams has no emphasis, link or time that a label made."""
    for told in hostile(text):
        body = render_for("teams", told).body
        assert re.findall(r"(?<!\\)\]\((?!https://example\.com/)", body.replace("\\\\", "")) == []
        assert not re.search(r"\{\{(DATE|TIME)", body)
        assert not re.search(r"(?<!\\)[<`~_]", re.sub(r"\(https?://\S+\)", "", body.replace("\\\\", "")))


@pytest.mark.parametrize("kind", ADDRESSES)
def test_hostile_texts_leave_no_control_characters(kind: str) -> None:
    """Titles are one line, and nothing turns the direction of a message, whatever the labels are."""
    for text in HOSTILE:
        for told in hostile(text):
            rendered = render_for(kind, told)
            assert len(rendered.title.splitlines()) == 1
            for shown in (rendered.title, rendered.body):
                odd = {c for c in shown if unicodedata.category(c) in {"Cc", "Cs"}} - {"\n"}
                assert not odd
                assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u200f")
                shown.encode()


@pytest.mark.parametrize("kind", ADDRESSES)
@settings(max_examples=8, deadline=None)
@given(
    labels=st.dictionaries(st.text(max_size=100), st.text(max_size=3000), max_size=8),
    summary=st.text(max_size=9000),
    alerts=st.integers(1, 40),
)
def test_messages_fit_their_target(kind: str, labels: dict[str, str], summary: str, alerts: int) -> None:
    """Whatever the labels and texts, title and body fit the service, and no markup is cut in two."""
    many = [alert(labels=labels, annotations={"summary": summary}, fingerprint=str(n)) for n in range(alerts)]
    rendered = render_for(kind, notification(*many, group_labels=labels))
    target = Target("t", ADDRESSES[kind])
    assert 0 < length(rendered.title) <= target.title_max
    assert 0 < length(rendered.body) <= target.body_max(rendered.title)
    if rendered.body_format == "html":
        Tags(rendered.body)
    if kind in {"slack", "discord"}:
        assert rendered.body.count("```") % 2 == 0


class Narrow:
    """A service that takes next to nothing."""

    title_max = 20
    takes_files = False

    def __init__(self, kind: str, room: int) -> None:
        self.kind = kind
        self.room = room

    def body_max(self, _title: str) -> int:
        """Characters that it takes."""
        return self.room


@pytest.mark.parametrize("kind", ["sms", "tgram", "discord", "slack"])
@pytest.mark.parametrize("room", [1, 10, 40, 80, 160, 320])
@pytest.mark.parametrize("case", CASES)
def test_little_room_is_used_for_what_matters(kind: str, room: int, case: str) -> None:
    """However little room there is, the message fits it, and the most needed parts are those that stay."""
    rendered = render(CASES[case], Narrow(kind, room))
    assert 0 < length(rendered.body) <= room
    assert length(rendered.title) <= 20
    if room >= 80:
        assert ("drifted" in rendered.body) if case in {"one", "resolved"} else ("firing" in rendered.body)
    if rendered.body_format == "html":
        Tags(rendered.body)
