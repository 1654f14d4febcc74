"""Messages that were given up: listed and sent again, by command and over HTTP, collector or not."""

import http.client
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.collector import project, running
from helpers.notify_alerts import NOON, message, no_letters
from helpers.notify_hostile import answer, http_receiver
from helpers.waiting import wait_until
from lapwing_collector.app.alerts.undelivered import Wanted
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError
from lapwing_collector.state import Delivery, Store
from lapwing_collector.web.openapi import DOCUMENT


def call(address: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and document of an answer."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answered = connection.getresponse()
        return answered.status, json.loads(answered.read())
    finally:
        connection.close()


def lapwing(*arguments: str) -> Any:
    """What a command prints as JSON."""
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def deliveries(store: Store) -> dict[str, Delivery]:
    """What became of each message."""
    return {row.message.key: row.delivery for row in store.outbox_rows()}


def test_dead_messages_are_listed_and_sent_again(tmp_path: Path) -> None:
    """A collector that runs gives up what is refused, tells of it, and sends it again when asked to."""
    data = tmp_path / "data"
    data.mkdir()
    store = Store.open(DataDirectory(data).state)
    told = [message("aa1", "hook"), message("ab2", "hook"), message("c", "spare")]
    store.enqueue([replace(each, origin="letters, of which nobody else is told") for each in told], NOON)
    gone = answer("404 Gone")
    with http_receiver(gone, gone) as hook, http_receiver(answer("410 Gone")) as spare:
        config = tmp_path / "lapwing.yaml"
        config.write_text("notify: notify.yaml\n")
        (tmp_path / "notify.yaml").write_text(
            "route: {receiver: r}\nreceivers:\n- name: r\n  apprise_configs:\n"
            f"  - {{name: hook, url: '{hook.url()}'}}\n  - {{name: spare, url: '{spare.url()}'}}\n"
        )
        with running(project(data, config)) as collector:
            wait_until(lambda: set(deliveries(store).values()) == {Delivery.DEAD})
            status, listed = call(collector.web, "GET", "/api/v1/dead")
            assert (status, [each["key"] for each in listed]) == (200, ["c", "ab2", "aa1"])
            assert {"target", "title", "attempts"} <= listed[0].keys()
            assert "error=410" in listed[0]["error"]
            assert call(collector.web, "GET", "/api/v1/dead/hook")[1] == listed[1:]
            assert lapwing("dead", "--data", str(data), "--target", "hook") == listed[1:]

            status, done = call(collector.web, "POST", "/api/v1/admin/requeue", {"keys": ["aa"]})
            assert (status, [each["key"] for each in done["queued"]], done["outdated"]) == (200, ["aa1"], [])
            wait_until(lambda: deliveries(store)["aa1"] is Delivery.SENT)
            assert [each["key"] for each in lapwing("requeue", "ab2", "--data", str(data))["queued"]] == [
                "ab2"
            ]
            wait_until(lambda: deliveries(store)["ab2"] is Delivery.SENT)
            status, problem = call(collector.web, "POST", "/api/v1/admin/requeue", {"keys": ["zz"]})
            assert (status, "no dead message has the key 'zz'" in problem["detail"]) == (400, True)
        assert [request.count(b"Idempotency-Key: aa1") for request in hook.inbox.items] == [1, 0, 1, 0]
    # Nobody runs now: the next collector sends it.
    assert [each["key"] for each in lapwing("requeue", "--all", "--data", str(data))["queued"]] == ["c"]
    assert deliveries(store)["c"] is Delivery.QUEUED
    assert lapwing("dead", "--data", str(data)) == []
    store.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"keys": []},
        {"keys": [1]},
        {"all": False},
        {"all": True, "target": "x"},
        {"target": 1},
        {"key": "a"},
    ],
)
def test_a_request_says_exactly_what_it_means(arguments: dict[str, Any]) -> None:
    """Anything but keys, a target or all is refused, so that no typo sends everything again."""
    with pytest.raises(ConfigError, match="requeue: expected one of"):
        Wanted.of(arguments)


def test_keys_may_be_short_but_not_ambiguous(tmp_path: Path) -> None:
    """The first characters of a key are enough where they lead to one message."""
    store = Store.open(DataDirectory(tmp_path).state)
    store.enqueue([message("aa1"), message("aa2")], NOON)
    for key in ("aa1", "aa2"):
        store.mark_sending(key)
        store.mark_dead(key, "error=404", no_letters, NOON)
    refused = CliRunner().invoke(app, ["requeue", "aa", "--data", str(tmp_path)])
    assert "2 dead messages have keys that begin with 'aa'" in str(refused.exception)
    for arguments in (["requeue"], ["requeue", "aa1", "--all"], ["requeue", "--all", "--target", "x"]):
        assert CliRunner().invoke(app, [*arguments, "--data", str(tmp_path)]).exit_code == 2
    shown = CliRunner().invoke(app, ["dead", "--data", str(tmp_path)])
    assert "error=404" in shown.output
    assert "2 messages" in CliRunner().invoke(app, ["requeue", "--all", "--data", str(tmp_path)]).output
    assert "no message was given up" in CliRunner().invoke(app, ["dead", "--data", str(tmp_path)]).output
    store.close()


def test_the_api_is_described() -> None:
    """What is offered for dead messages is in the OpenAPI document."""
    paths: dict[str, Any] = DOCUMENT["paths"]
    assert {"/api/v1/dead", "/api/v1/dead/{target}", "/api/v1/admin/requeue"} <= paths.keys()
