"""Commands about alerts, and what HTTP clients may ask and say of them."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.notify_alerts import NOON, instance
from helpers.notify_desk import Desk
from lapwing_collector.app.alerts.alerts import alert_duties, alert_reads, silence, wall_clock
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError, LapwingError, NotSeenYetError
from lapwing_collector.model.alerts import AlertState, RuleId, RuleState
from lapwing_collector.notify import parse_matchers


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Alerts a and b fire, the clock is right, and a settings file is beside the notify file."""
    data = tmp_path / "data"
    data.mkdir()
    made = Desk(data)
    made.wall.now = wall_clock()
    made.fire("ab", "page")
    (tmp_path / "lapwing.yaml").write_text("data: data\nnotify: notify.yaml\n")
    (tmp_path / "notify.yaml").write_text(made.file)
    yield made
    made.store.close()


def run(desk: Desk, *words: str) -> Any:
    """What a command says, as JSON."""
    done = CliRunner().invoke(app, [*words, *places(desk, *words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def text(desk: Desk, *words: str) -> str:
    """What a command says to people."""
    done = CliRunner().invoke(app, [*words, *places(desk, *words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.stdout.split())


def places(desk: Desk, *words: str) -> list[str]:
    """Where everything is."""
    config = ["--config", str(desk.folder.parent / "lapwing.yaml")]
    return config if words[0] == "routes" else [*config, "--data", str(desk.folder)]


def test_alerts_are_listed_with_who_knows(desk: Desk) -> None:
    """What fires is listed with who was told, who took it on, and what silences it."""
    run(desk, "ack", "a", "--comment", "mine")
    made = run(desk, "silence", "name=b", "--for", "2h")
    first, second = run(desk, "alerts")
    assert (first["fingerprint"], first["state"]) == ("a", "firing")
    assert (first["acknowledged_by"] is not None, first["silences"]) == (True, [])
    assert (second["acknowledged_by"], second["silences"]) == (None, [made["key"]])
    assert "Drift" in text(desk, "alerts")


def test_who_was_told_is_who_accepted(desk: Desk) -> None:
    """A target knows of an alert once it accepted a message; until then it is told how far that is."""
    (before, _) = run(desk, "alerts")
    assert (before["told"], before["untold"]) == ([], dict.fromkeys(["mail", "pager", "screen"], "queued"))
    assert (
        run(desk, "why", "a")["verdict"]
        == "it fires, and not yet mail, pager, screen, which a message waits for"
    )
    keys = {row.message.target: row.message.key for row in desk.store.messages_about("a")}
    for key in keys.values():
        desk.store.mark_sending(key)
    desk.store.mark_sent(keys["screen"], desk.wall.now)
    desk.store.mark_dead(keys["mail"], "no such host", lambda _knowing, _over: (), desk.wall.now)
    (after, _) = run(desk, "alerts")
    assert (after["told"], after["untold"]) == (["screen"], {"mail": "dead", "pager": "sending"})
    assert "screen, mail (dead), pager (sending)" in text(desk, "alerts")
    shown = text(desk, "why", "a")
    assert 'The route {kind="page"} "oncall" leads it to oncall, in a group of 2' in shown
    assert "screen was told; not yet pager, which a message waits for; mail could not be told" in shown
    assert "mail has accepted no message about it: the newest is dead." in shown
    assert "screen believes that it fires" in shown


def test_why_tells_the_way_of_an_alert(desk: Desk) -> None:
    """Groups, messages, silences and acks of one alert are told, and a verdict in words."""
    told = run(desk, "why", "a")
    assert [message["target"] for message in told["messages"]] == ["screen", "mail", "pager"]
    (group,) = told["groups"]
    assert (group["receiver"], group["route"], group["alerts"]) == ("oncall", '{}/{kind="page"} "oncall"', 2)
    assert [transition["status"] for transition in told["transitions"]] == ["firing"]
    shown = text(desk, "why", "a")
    assert "pager has accepted no message about it: the newest is queued." in shown
    assert "queued" in shown


def test_why_tells_why_nobody_was_told(desk: Desk) -> None:
    """An alert that is silenced from the start has the reason, and no message that was sent."""
    desk.silence("name=c", 3600)
    desk.fire("c", "page")
    told = run(desk, "why", "c")
    assert told["verdict"].startswith("it fires, and nobody was told: silenced by ann")
    assert {message["delivery"] for message in told["messages"]} == {"suppressed"}


def test_silences_are_made_listed_and_ended(desk: Desk) -> None:
    """For a time, until a time, from a later time on, until resolved; by matchers or by alert."""
    made = run(desk, "silence", "kind=page", "name=~a|b", "--for", "90m", "-c", "deploy")
    assert (made["matchers"], made["comment"], made["active"]) == ('kind="page", name=~"a|b"', "deploy", True)
    starts, ends = (datetime.fromisoformat(made[key].rstrip("Z")) for key in ("starts_at", "ends_at"))
    assert ends - starts == timedelta(minutes=90)
    planned = run(
        desk, "silence", "kind=page", "--from", "2100-01-01T20:00", "--until", "2100-01-02T06:00+01:00"
    )
    assert (planned["active"], planned["ends_at"]) == (False, "2100-01-02T05:00:00Z")
    same = run(desk, "silence", "--alert", "a", "--until-resolved")
    assert same["until_resolved"]
    assert {each.label for each in parse_matchers(same["matchers"])} == {"alertname", "name", "kind"}
    assert {each["key"] for each in run(desk, "silence")} == {made["key"], planned["key"], same["key"]}
    assert made["key"] in text(desk, "silence")
    assert "is over" in text(desk, "silence", "--end", made["key"])
    assert {each["key"] for each in run(desk, "silence")} == {planned["key"], same["key"]}


def test_a_silence_that_matches_nothing_says_so(desk: Desk) -> None:
    """A misspelt label is told with what may be meant, of an alert or of a rule; one that matches is not."""
    folder = desk.folder.parent
    (folder / "rules").mkdir()
    rule = {"alert": "A", "expr": "SELECT 1 AS value", "labels": {"severity": "page"}}
    (folder / "rules" / "r.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    for wrong, meant in (("knid=page", "kind"), ("severty=page", "severity"), ("modle=m", "model")):
        said = text(desk, "silence", wrong, "--for", "1h")
        assert said.endswith(f"; it matches no alert now; did you mean {meant}?")
    assert text(desk, "silence", "kind=ticket", "--for", "1h").endswith("; it matches no alert now")
    assert text(desk, "silence", "kind=page", "--for", "1h").endswith("Z")
    assert run(desk, "silence", "kind=page", "--for", "1h")["alerts"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kind=page"], "--for 2h, --until TIME and --until-resolved"),
        (["kind=page", "--for", "1h", "--until-resolved"], "--for 2h, --until TIME and --until-resolved"),
        (["kind=page", "--alert", "a", "--for", "1h"], "either matchers or --alert"),
    ],
)
def test_a_silence_is_asked_for_by_options(desk: Desk, words: list[str], said: str) -> None:
    """Who leaves an option out hears its name, not that of a key of the HTTP API."""
    done = CliRunner().invoke(app, ["silence", *words, *places(desk, "silence")])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert run(desk, "silence") == []


def test_pending_alerts_are_silenced_before_they_fire(desk: Desk) -> None:
    """An alert of which nothing was announced yet is silenced by its labels, but not until it resolves."""
    rule = RuleId("flights", "Slow")
    labels = {"alertname": "Slow", "origin": "JFK"}
    pending = instance(fingerprint="p", labels=labels, state=AlertState.PENDING, fired_at=None)
    desk.store.commit(rule, RuleState("d", NOON, instances={"p": pending}), (), (), [], desk.wall.now)
    made = run(desk, "silence", "--alert", "p", "--for", "2h")
    assert made["matchers"] == 'alertname="Slow", origin="JFK"'
    assert run(desk, "why", "p")["silences"] == [made["key"]]
    with pytest.raises(ConfigError, match="nothing could resolve"):
        silence(desk.store, {"alert": "p", "until_resolved": True}, desk.wall.now)


def test_why_calls_the_first_route_so(desk: Desk) -> None:
    """The route without matchers has a name for people."""
    desk.fire("d")
    assert "The first route leads it to team, in a group of 1" in text(desk, "why", "d")


def test_acks_are_made_and_withdrawn(desk: Desk) -> None:
    """Who takes an alert on is kept until they withdraw."""
    assert "acknowledged by" in text(desk, "ack", "a")
    assert run(desk, "why", "a")["acknowledged"] is not None
    assert "again" in text(desk, "ack", "a", "--withdraw")
    assert run(desk, "why", "a")["acknowledged"] is None


def test_routes_are_tried(desk: Desk) -> None:
    """Where an alert with some labels would arrive is told without anything that fires."""
    (route,) = run(desk, "routes", "test", "kind=page", "alertname=Drift")
    assert (route["route"], route["receiver"], route["group"]) == (
        "route.routes[0]",
        "oncall",
        {"alertname": "Drift"},
    )
    assert [(each["name"], each["after_s"]) for each in route["targets"]] == [
        ("pager", 0),
        ("mail", 0),
        ("screen", 0),
        ("phone", 900),
    ]
    assert "chat" in text(desk, "routes", "test")
    with pytest.raises(
        ConfigError, match=r"^expected labels such as severity=page, model=churn, not 'page'$"
    ):
        CliRunner().invoke(
            app, ["routes", "test", "page", *places(desk, "routes", "test")], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("duty", "asked", "said"),
    [
        ("silence", {}, "say which alerts"),
        ("silence", {"matchers": "a", "for": "1h"}, "expected a matcher such as"),
        ("silence", {"matchers": "a=b"}, "say how long"),
        ("silence", {"matchers": "a=b", "for": "1h", "until_resolved": True}, "say how long"),
        ("silence", {"matchers": "a=b", "for": "soon"}, "a duration such as"),
        ("silence", {"matchers": "a=b", "ends_at": "2001-01-01T00:00"}, "over before it begins"),
        ("silence", {"matchers": "a=b", "ends_at": "soon"}, "expected a time such as"),
        ("silence", {"matchers": "a=b", "until_resolved": True}, "nothing could resolve"),
        ("silence", {"matchers": 1, "for": "1h"}, "expected a text"),
        ("silence", {"matcher": "a=b", "for": "1h"}, "`matcher` is not known here"),
        ("silence", {"alert": "z", "for": "1h"}, "there is no alert 'z'"),
        ("end-silence", {"key": "z"}, "there is no silence z"),
        ("ack", {}, "expected the fingerprint"),
        ("ack", {"alert": "z"}, "there is no alert 'z'"),
        ("ack", {"alert": "a", "withdraw": True}, "nobody has acknowledged a"),
    ],
)
def test_what_cannot_be_done_is_told(desk: Desk, duty: str, asked: dict[str, Any], said: str) -> None:
    """What is missing, wrong or not there is told in words, and changes nothing."""
    duties = alert_duties(desk.store, desk.dispatcher.look)
    with pytest.raises(LapwingError) as refused:
        duties[duty](asked)
    assert said in str(refused.value)
    assert (desk.store.silences(), desk.store.acks()) == ([], {})


def test_http_clients_read_and_say_the_same(desk: Desk) -> None:
    """The documents of the API are those of the commands, and what is said there is looked at at once."""
    policy = desk.policy
    reads, duties = alert_reads(desk.store, lambda: policy), alert_duties(desk.store, desk.dispatcher.look)
    assert [alert["fingerprint"] for alert in reads["alerts"]({})] == ["a", "b"]
    assert reads["alerts/{fingerprint}"]({"fingerprint": "a"})["fingerprint"] == "a"
    made = duties["silence"]({"matchers": "name=a", "for": "1h", "author": "ann"})
    assert [each["key"] for each in reads["silences"]({})] == [made["key"]]
    assert duties["end-silence"]({"key": made["key"]}) == {"ended": made["key"]}
    assert duties["ack"]({"alert": "a", "author": "ann"})["acknowledged_by"] == "ann"
    assert [route["route"] for route in reads["routes"]({})] == ["route"]
    assert reads["routes/{labels:path}"]({"labels": "kind=page"})[0]["receiver"] == "oncall"
    with pytest.raises(ConfigError, match="expected labels"):
        reads["routes/{labels:path}"]({"labels": "kind!=page"})
    with pytest.raises(NotSeenYetError):
        reads["alerts/{fingerprint}"]({"fingerprint": "zz"})
