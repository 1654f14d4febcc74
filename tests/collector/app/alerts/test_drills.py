"""Drills: an alert that there is not, told as a real one would be, and what became of it."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from helpers.collector import project, running
from helpers.notify_receivers import Webhook, webhook
from lapwing_collector.cli.main import app
from lapwing_collector.state import Store

RULES = """
groups:
  - name: fraud
    labels: {team: ml}
    rules:
      - alert: Errors
        expr: SELECT version, 1 AS value FROM predictions.fraud
        condition: value > 0.25
        labels: {severity: page}
        annotations: {summary: "{{ $labels.version }}: {{ $value | humanizePercentage }} fail"}
"""
NOTIFY = """
route:
  receiver: team
  routes:
    - {matchers: ['severity="page"'], receiver: oncall, group_wait: 1h}
receivers:
  - {name: team, apprise_configs: [{name: chat, url: "CHAT"}]}
  - {name: oncall, apprise_configs: [{name: pager, url: "PAGER"}]}
"""


def configured(folder: Path, chat: Webhook, pager: Webhook) -> Path:
    (folder / "rules.yaml").write_text(RULES)
    (folder / "notify.yaml").write_text(NOTIFY.replace("CHAT", chat.url()).replace("PAGER", pager.url()))
    file = folder / "lapwing.yaml"
    file.write_text("rules: [rules.yaml]\ndelivery: {allow_networks: [127.0.0.1/32]}\n")
    return file


def fire(config: Path, *words: str) -> Result:
    paths = ["--config", str(config), "--data", str(config.parent / "data")]
    return CliRunner().invoke(app, ["fire", *words, *paths], catch_exceptions=False)


def test_a_drill_takes_the_way_of_a_real_alert_and_says_that_it_is_none(tmp_path: Path) -> None:
    """The route by its labels, the rule's own words, at once, marked; then it is over."""
    with webhook() as chat, webhook() as pager:
        done = fire(configured(tmp_path, chat, pager), "Errors", "version=v7", "--json")
        assert done.exit_code == 0, done.stdout
        told = json.loads(done.stdout)
        assert [(each["target"], each["status"], each["delivery"]) for each in told["messages"]] == [
            ("pager", "firing", "sent"),
            ("pager", "resolved", "sent"),
        ]
        firing, resolved = (request.body for request in pager.inbox.items)
        assert firing["title"].startswith("[DRILL] [FIRING]")
        assert "v7: 25% fail" in firing["message"]  # the value is the condition's
        assert "nothing happened" in firing["message"]
        assert resolved["title"].startswith("[DRILL] [RESOLVED]")
        assert chat.inbox.items == []
    assert not (tmp_path / "data").exists()  # nothing is kept


def test_one_target_can_be_tried_whatever_the_routes_say(tmp_path: Path) -> None:
    """And without telling that it is over."""
    with webhook() as chat, webhook() as pager:
        config = configured(tmp_path, chat, pager)
        done = fire(config, "fraud/Errors", "--target", "chat", "--no-resolve", "--value", "0.5")
        assert done.exit_code == 0
        assert done.stdout.splitlines()[0] == "chat: firing: accepted"
        assert len(chat.inbox.items) == 1
        assert pager.inbox.items == []


def test_what_a_target_does_not_accept_is_told(tmp_path: Path) -> None:
    """The exit code is 1, the reason is there, and nothing is told to be over that nobody heard of."""
    with webhook() as chat, webhook(404, 404) as pager:
        done = fire(configured(tmp_path, chat, pager), "Errors")
        assert done.exit_code == 1
        assert "pager: firing: refused" in done.stdout
        assert "404" in done.stdout
        assert len(pager.inbox.items) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Erors",), "there is no rule 'Erors'"),
        (("Errors", "--target", "pagre"), "there is no target 'pagre'; there are chat, pager"),
        (("Errors", "version"), "expected labels as label=value"),
        (("Errors", "--wait", "long"), "wait: expected a duration"),
    ],
)
def test_what_cannot_be_tried_is_told(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    """Before anybody is."""
    with webhook() as chat, webhook() as pager, pytest.raises(Exception, match=message):
        fire(configured(tmp_path, chat, pager), *words)


def test_the_collector_holds_drills_for_commands_and_over_http(tmp_path: Path) -> None:
    """With its silences, which are told; real alerts and the history stay as they are."""
    with webhook() as chat, webhook() as pager:
        config = configured(tmp_path, chat, pager)
        with running(project(tmp_path / "data", config)) as collector:
            asked = {"rule": "Errors", "labels": {"version": "v7"}}
            answer = duty(collector.web, "fire", asked)
            assert answer["reached"]
            assert len(pager.inbox.items) == 2
            duty(collector.web, "silence", {"matchers": 'version="v8"', "for": "1h"})
            hushed = fire(config, "Errors", "version=v8")
            assert hushed.exit_code == 1
            assert "pager: firing: not told: silenced" in hushed.stdout
            assert len(pager.inbox.items) == 2
            assert fire(config, "Errors", "version=v8", "--target", "pager").exit_code == 0
            assert len(pager.inbox.items) == 4
        store = Store.open(tmp_path / "data" / "state.sqlite")
        try:
            assert store.alerts() == []
            assert store.groups() == []
            assert [each for each in store.history() if each.rule.name == "Errors"] == []
        finally:
            store.close()


def duty(address: str, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Have a collector do something over HTTP."""
    request = urllib.request.Request(
        f"http://{address}/api/v1/admin/{name}",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: dict[str, Any] = json.load(answer)
        return told
