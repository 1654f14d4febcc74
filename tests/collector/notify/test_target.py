"""Single attempts against real receivers: what arrives, and how failures are judged.

Numbers in docstrings are those of the findings in the decision about Apprise.
"""

import json
import logging
import socket
import time

import pytest
from apprise.plugins.pagerduty import PAGERDUTY_API_LOOKUP
from apprise.plugins.slack import NotifySlack

from helpers.notify_alerts import message
from helpers.notify_receivers import mail_server, webhook
from lapwing_collector.model.alerts import Status
from lapwing_collector.notify import ANYWHERE, Outcome, Target, Verdict


def test_a_webhook_gets_the_message_with_its_key() -> None:
    """A JSON webhook gets title, body and kind, and the key as the header Idempotency-Key."""
    with webhook() as hook:
        target = Target("hook", hook.url("?+X-Team=ml"))
        assert target.send(message("k1"), ANYWHERE) == Outcome(Verdict.SENT)
        assert target.send(message("k2", status=Status.RESOLVED), ANYWHERE) == Outcome(Verdict.SENT)
    first, second = hook.inbox.items
    assert (first.path, first.headers["Idempotency-Key"], first.headers["X-Team"]) == ("/hook", "k1", "ml")
    assert (first.body["title"], first.body["message"], first.body["type"]) == (
        "title k1",
        "body k1",
        "warning",
    )
    assert (second.headers["Idempotency-Key"], second.body["type"]) == ("k2", "success")


def test_a_mail_arrives_as_plain_text_with_its_key() -> None:
    """A mail is plain text, carries the key, and refers to its group so that readers thread it (17, 19)."""
    body = 'origin = <img src=x onerror="alert(1)">\nüber 5 %'
    with mail_server() as server:
        outcome = Target("mail", server.url()).send(message("k1", group="f1", body=body), ANYWHERE)
    assert outcome == Outcome(Verdict.SENT)
    (mail,) = server.inbox.items
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == body.splitlines()
    assert (mail["Subject"], mail["To"]) == ("title k1", "ml@example.com")
    assert (mail["Idempotency-Key"], mail["References"]) == ("k1", "<f1@lapwing>")


def test_mails_are_not_held_back() -> None:
    """Several mails go out without Apprise's pause of 5.5 seconds between two of them (14)."""
    with mail_server() as server:
        target = Target("mail", server.url())
        begun = time.monotonic()
        for number in range(3):
            assert target.send(message(f"k{number}"), ANYWHERE).verdict is Verdict.SENT
        assert time.monotonic() - begun < 10  # two pauses are 11
    assert [mail["Idempotency-Key"] for mail in server.inbox.items] == ["k0", "k1", "k2"]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(status, Verdict.DEAD) for status in (400, 401, 403, 404, 405, 410, 413, 422, 451)]
    + [(status, Verdict.RETRY) for status in (302, 408, 409, 421, 425, 429, 500, 501, 502, 503, 504)],
)
def test_http_statuses_decide_whether_to_try_again(status: int, verdict: Verdict) -> None:
    """What the same request will meet again is dead at once; what may pass is tried again (6, 7)."""
    with webhook(status) as hook:
        outcome = Target("hook", hook.url()).send(message(), ANYWHERE)
        assert outcome.verdict is verdict
        assert f"error={status}" in outcome.error
        assert len(hook.inbox.items) == 1


@pytest.mark.parametrize("level", [logging.DEBUG, logging.CRITICAL])
def test_failures_are_judged_whatever_the_log_level(level: int) -> None:
    """A root logger that hears nothing hides no error; one that hears all hears none of Apprise's (8)."""
    heard: list[str] = []
    ear = logging.Handler()
    ear.emit = lambda record: heard.append(record.name)
    root = logging.getLogger()
    before = root.level
    root.addHandler(ear)
    root.setLevel(level)
    try:
        with webhook(404) as hook:
            assert Target("hook", hook.url()).send(message(), ANYWHERE).verdict is Verdict.DEAD
    finally:
        root.setLevel(before)
        root.removeHandler(ear)
    assert "apprise" not in heard


def test_no_network_is_tried_again() -> None:
    """A refused connection, to a webhook or a mail server, is transient."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for url in (
            f"json://127.0.0.1:{port}/",
            f"mailto://127.0.0.1:{port}?from=a@example.com&to=b@example.com",
        ):
            outcome = Target("t", url).send(message(), ANYWHERE)
            assert outcome.verdict is Verdict.RETRY
            assert "onnection error" in outcome.error


def test_a_silent_server_is_left_after_its_read_timeout() -> None:
    """A silent server costs one read timeout and gets no second request, whatever the address has (5, 11)."""
    with webhook() as hook:
        hook.gate.clear()
        begun = time.monotonic()
        outcome = Target("hook", hook.url("?rto=0.2&retry=3&optional=yes")).send(message(), ANYWHERE)
        assert time.monotonic() - begun < 4
        assert outcome.verdict is Verdict.RETRY
        assert len(hook.inbox.items) == 1


def test_a_mail_that_is_refused_is_tried_again() -> None:
    """A mail server's refusal has no status that Apprise tells, so it counts as transient."""
    with mail_server(lambda _number: "451 try later") as server:
        outcome = Target("mail", server.url()).send(message(), ANYWHERE)
    assert outcome.verdict is Verdict.RETRY
    assert "ml@example.com" in outcome.error


def test_a_message_that_apprise_refuses_is_dead() -> None:
    """A message without a body is never attempted, and would be refused each time (9)."""
    with webhook() as hook:
        outcome = Target("hook", hook.url()).send(message(title="", body=""), ANYWHERE)
        assert outcome.verdict is Verdict.DEAD
        assert outcome.error
        assert hook.inbox.items == []


def test_pagerduty_closes_the_incident_it_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolve goes to PagerDuty as a resolve of the same incident, though its title differs (18)."""
    with webhook() as hook:
        monkeypatch.setitem(PAGERDUTY_API_LOOKUP, "us", f"http://127.0.0.1:{hook.port}/")
        target = Target("pd", "pagerduty://key@integration")
        for status in Status:
            assert (
                target.send(message(title=status, status=status, group="f1"), ANYWHERE).verdict
                is Verdict.SENT
            )
    bodies = [request.body for request in hook.inbox.items]
    assert [(body["event_action"], body["dedup_key"]) for body in bodies] == [
        ("trigger", "f1"),
        ("resolve", "f1"),
    ]


def test_an_action_in_the_address_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks PagerDuty for triggers only gets them."""
    with webhook() as hook:
        monkeypatch.setitem(PAGERDUTY_API_LOOKUP, "us", f"http://127.0.0.1:{hook.port}/")
        target = Target("pd", "pagerduty://key@integration?action=trigger")
        assert target.send(message(status=Status.RESOLVED), ANYWHERE).verdict is Verdict.SENT
    assert hook.inbox.items[0].body["event_action"] == "trigger"


def test_slack_gets_no_pictures_from_the_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chat message links no picture (22), and keeps markup in labels from calling everyone (19)."""
    with webhook(text="ok") as hook:
        monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{hook.port}")
        target = Target("slack", "slack://TAAAAAAAA/BAAAAAAAA/CAAAAAAAAAAAAAAAAAAAAAAA")
        assert target.send(message(body="city = <!channel>"), ANYWHERE).verdict is Verdict.SENT
    text = json.dumps(hook.inbox.items[0].body)
    assert "Lapwing" in text
    assert "github" not in text
    assert "<!channel>" not in text


def test_a_target_never_shows_its_address() -> None:
    """The representation of a target has its name alone (12)."""
    assert repr(Target("hook", "json://user:s3cret@127.0.0.1/s3cret")) == "Target('hook')"
