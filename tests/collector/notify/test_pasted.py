"""What people paste, and what is made of it."""

from urllib.parse import unquote

import pytest

from helpers import notify_apis as apis
from helpers.notify_alerts import message
from helpers.notify_hostile import http_receiver, smtp_receiver
from lapwing_collector.errors import ConfigError
from lapwing_collector.notify import ANYWHERE, MailServer, Outcome, Target, Verdict, recognise

RELAY = MailServer("relay.example.com", None, None, None, "lapwing@example.com")


@pytest.mark.parametrize(
    ("text", "service", "name"),
    [
        ("https://hooks.slack.com/services/T0AAAAAAA/B0AAAAAAA/" + "c" * 24, "Slack", "slack"),
        (" <https://discord.com/api/webhooks/" + "1" * 18 + "/" + "d" * 68 + ">\n", "Discord", "discord"),
        (
            "https://prod-01.westeurope.logic.azure.com:443/workflows/"
            + "a" * 32
            + "/triggers/manual/paths/invoke"
            "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=" + "s" * 43,
            "Power Automate / Workflows (for MSTeams)",
            "workflow",
        ),
        ("https://chat.googleapis.com/v1/spaces/AAAA/messages?key=k&token=t", "Google Chat", "gchat"),
        (
            "https://api.telegram.org/bot123456789:" + "A" * 35 + "/sendMessage?chat_id=-1001",
            "Telegram",
            "tgram",
        ),
        ("https://hooks.example.com/alerts?team=ml&team=ops", "a webhook", "webhook-hooks"),
        ("http://10.0.0.7:9000/alerts", "a webhook", "webhook-10"),
        ("jsons://hooks.example.com/x", "JSON", "webhook"),
        (apis.PAGERDUTY, "Pager Duty", "pagerduty"),
        (apis.SLACK, "Slack", "slack"),
        ("ML-Team@example.com", "mail", "mail-ml-team"),
        ("mailto:ml@example.com", "mail", "mail-ml"),
    ],
)
def test_addresses_are_recognised(text: str, service: str, name: str) -> None:
    """Links as services give them out, mail addresses and Apprise's own addresses become targets."""
    pasted = recognise(text, RELAY)
    assert (pasted.service, pasted.name) == (service, name)
    Target(pasted.name, pasted.url)


def test_a_plain_link_is_called_as_it_stands() -> None:
    """A webhook that no service is known for is posted to with its path and query."""
    with http_receiver() as receiver:
        pasted = recognise(f"http://127.0.0.1:{receiver.port}/a/b?x=1&y=%2F")
        assert Target("t", pasted.url).send(message(), ANYWHERE) == Outcome(Verdict.SENT)
    assert receiver.inbox.items[0].startswith(b"POST /a/b?x=1&y=%2F HTTP/1.1\r\n")


def test_a_mail_address_goes_through_the_server_that_is_named() -> None:
    """The mail goes out through the server, from the sender, to the address."""
    with smtp_receiver() as server:
        relay = MailServer("127.0.0.1", server.port, None, None, "lapwing@example.com", tls=False)
        target = Target("t", recognise("ml@example.org", relay).url)
        assert target.send(message(), ANYWHERE) == Outcome(Verdict.SENT)
    (mail,) = server.inbox.items
    assert b"From: lapwing@example.com\r\n" in mail
    assert b"To: ml@example.org\r\n" in mail


def test_a_mail_that_nobody_could_be_from_is_told() -> None:
    """A server without a name gives no sender, and the message names the option that does."""
    server = MailServer("127.0.0.1", 2599, None, None, "lapwing@127.0.0.1", tls=False)
    with pytest.raises(
        ConfigError, match=r"from lapwing@127\.0\.0\.1 to ml@example\.org: .* --from NAME@DOMAIN"
    ):
        recognise("ml@example.org", server)


def test_a_login_may_have_any_characters() -> None:
    """User and password get through the address as they are."""
    server = MailServer("smtp.example.com", 465, "me@example.com", "p@ss:/w?rd#%41", "me@example.com")
    url = recognise("you@example.org", server).url
    login = url.removeprefix("mailtos://").partition("@smtp.example.com:465")[0]
    assert [unquote(part) for part in login.split(":")] == ["me@example.com", "p@ss:/w?rd#%41"]
    Target("t", url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "this is no address"),
        ("s3cret-key", "this is no address"),
        ("nosuch://s3cret", "Apprise knows no service nosuch://"),
        ("https://events.pagerduty.com/v2/enqueue?s3cret", "pagerduty://INTEGRATION_KEY@"),
        ("https://myteam.slack.com/archives/s3cret", "incoming webhook"),
        ("https://api.telegram.org/bots3cret", "tgram://BOT_TOKEN/CHAT_ID"),
        ("ml@example.com", "--smtp"),
    ],
)
def test_what_is_no_target_is_refused_with_what_would_be(text: str, expected: str) -> None:
    """The message says what to paste instead, and does not show what was pasted."""
    with pytest.raises(ConfigError) as refused:
        recognise(text)
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)
