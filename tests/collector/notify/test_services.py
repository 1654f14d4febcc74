"""What services get, against stand-ins that refuse what the real ones refuse.

Numbers in docstrings are those of the findings in the decision about Apprise.
"""

import json
from pathlib import Path

import pytest
from apprise.plugins.incidentio import NotifyIncidentIO

from helpers import notify_apis as apis
from helpers.notify_alerts import message
from helpers.notify_receivers import webhook
from lapwing_collector.model.alerts import Status
from lapwing_collector.notify import ANYWHERE, Outcome, Rate, Target, Verdict

SENT = Outcome(Verdict.SENT)
HOSTILE = (
    'city = <img src=x onerror="alert(1)"> <!channel> @everyone [x](http://evil.example) *b* _i_ `c` & </a>'
)
LONG = "über " * 3_000


@pytest.mark.parametrize("body", ["all is not well", HOSTILE, LONG], ids=["plain", "hostile", "long"])
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("service", ["slack", "discord", "telegram", "pagerduty", "opsgenie", "teams"])
def test_services_accept_what_they_get(
    service: str, status: Status, body: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each service takes a firing and a resolve in one request, hostile or far too long as it is (20, 21)."""
    if service == "teams":
        with apis.teams(monkeypatch, tmp_path) as (api, url):
            target = Target("t", url)
            assert target.send(message(status=status, body=body), ANYWHERE) == SENT
    else:
        with getattr(apis, service)(monkeypatch) as api:
            target = Target("t", getattr(apis, service.upper()))
            if service == "opsgenie" and status is Status.RESOLVED:
                assert target.send(message(group="g"), ANYWHERE) == SENT
                api.calls.clear()
            assert target.send(message(status=status, body=body, group="g"), ANYWHERE) == SENT, api.refusals
    assert len(api.calls) == 1
    text = json.dumps(api.calls[0].body, ensure_ascii=False)
    assert "github" not in text
    assert "<!channel>" not in text or service != "slack"
    assert "@everyone" not in text or service != "discord"


def test_a_body_that_fits_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a target says of the length it takes is what the service takes: nothing of it is cut (20)."""
    with apis.discord(monkeypatch) as discord:
        target = Target("t", apis.DISCORD)
        body = "x" * (target.body_max("title k1") - 3) + "END"
        assert target.send(message(body=body), ANYWHERE) == SENT
    assert "END" in json.dumps(discord.calls[0].body)


def test_pagerduty_opens_and_closes_one_incident_for_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Firing, repeat and resolve carry the key of their group, whatever their titles (18)."""
    with apis.pagerduty(monkeypatch) as pagerduty:
        target = Target("t", apis.PAGERDUTY)
        for title, status in (("one", Status.FIRING), ("two", Status.FIRING), ("three", Status.RESOLVED)):
            assert target.send(message(title=title, status=status, group="g1"), ANYWHERE) == SENT
    assert [(call.body["event_action"], call.body["dedup_key"]) for call in pagerduty.calls] == [
        ("trigger", "g1"),
        ("trigger", "g1"),
        ("resolve", "g1"),
    ]


def test_opsgenie_closes_what_another_process_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert is closed by its alias, the group, by a target that never opened one (18)."""
    with apis.opsgenie(monkeypatch) as opsgenie:
        assert Target("t", apis.OPSGENIE).send(message(group="g1"), ANYWHERE) == SENT
        resolve = message(status=Status.RESOLVED, group="g1")
        assert Target("t", apis.OPSGENIE).send(resolve, ANYWHERE) == SENT
        again = Target("t", apis.OPSGENIE).send(resolve, ANYWHERE)
    assert (again.verdict, "404" in again.error) == (Verdict.DEAD, True)
    assert [call.path for call in opsgenie.calls] == ["/v2/alerts"] + ["/v2/alerts/g1/close"] * 2


def test_incidents_of_other_services_close_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """incident.io takes its key under another name, and it is the group's as well (18)."""
    with webhook() as hook:
        monkeypatch.setattr(NotifyIncidentIO, "notify_url", f"http://127.0.0.1:{hook.port}/{{source}}")
        target = Target("t", "incidentio://01HZX3YBQV7T9C2E4G6J8K0MNP/token-token-token-token")
        for status in Status:
            outcome = target.send(message(status=status, group="g1"), ANYWHERE)
            assert outcome == SENT, outcome
    assert [(each.body["status"], each.body["deduplication_key"]) for each in hook.inbox.items] == [
        ("firing", "g1"),
        ("resolved", "g1"),
    ]


def test_a_webhook_gets_the_document_beside_the_words() -> None:
    """The fields of a message's payload are fields of the body; those of the address win."""
    payload = json.dumps({"version": "4", "status": "firing", "alerts": [{"fingerprint": "f"}], "team": "a"})
    with webhook() as hook:
        target = Target("t", hook.url("?:team=ml"))
        assert target.send(message("k1", payload=payload), ANYWHERE) == SENT
        assert target.send(message("k2"), ANYWHERE) == SENT
    first, second = (request.body for request in hook.inbox.items)
    assert (first["version"], first["status"], first["team"]) == ("4", "firing", "ml")
    assert first["alerts"] == [{"fingerprint": "f"}]
    assert (first["title"], first["message"]) == ("title k1", "body k1")
    assert (second["version"], second["team"], "alerts" in second) == ("1.0", "ml", False)
    assert first["attachments"] == []


@pytest.mark.parametrize(
    ("url", "seconds"), [(apis.SLACK, 1.2), (apis.DISCORD, None), ("json://localhost", None)]
)
def test_a_service_says_how_fast_it_takes_messages(url: str, seconds: float | None) -> None:
    """Where a service has a pace it becomes the target's rate, and none sleeps within a send (14)."""
    rate = Target("t", url).rate
    assert (rate and rate.per.total_seconds()) == seconds
    given = Rate(30, rate.per) if rate else None
    assert given is None or Target("t", url, rate=given).rate == given
