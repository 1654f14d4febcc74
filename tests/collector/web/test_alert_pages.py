"""Pages of alerts: what fires, who was told, when rules fired, and what people say about it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from helpers.batches import predictions
from helpers.notify_alerts import NOON, RULE, instance, transition
from helpers.notify_desk import Desk
from helpers.query_lake import Readers, make_lake, readers
from helpers.web_server import Web, web_server
from lapwing_collector.app.alerts.alerts import wall_clock
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.alerts import (
    AlertState,
    Context,
    RuleId,
    RuleState,
    SegmentValue,
    Status,
    Transition,
)
from lapwing_collector.rules import load_rules
from lapwing_collector.state import Delivery

QUIET = """
groups:
  - {name: flights, interval: 1h, rules: [{alert: Quiet, expr: SELECT 1 AS value, condition: value > 0}]}
"""
HOSTILE = "<script>alert(1)</script>\u202e\x00' onload=\"x"
DAY = "from=2013-03-05&to=2013-03-06"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    folder = make_lake(tmp_path_factory.mktemp("data") / "lake")
    with closing(Lake.open(folder, profiling=PROFILING)) as lake:
        lake.flush([predictions("spam", [{"version": "7"}])], [], Progress(3, 0))
    with readers(folder) as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def done() -> list[tuple[str, Mapping[str, Any]]]:
    """What duties were told."""
    return []


@pytest.fixture
def web(shared: Readers, desk: Desk, done: list[tuple[str, Mapping[str, Any]]]) -> Iterator[Web]:
    def telling(name: str) -> Any:
        return lambda asked: done.append((name, asked))

    duties = {name: telling(name) for name in ("requeue", "end-silence")}
    with web_server(shared, desk.folder, duties=duties, now=lambda: desk.wall.now) as running:
        yield running


def seen(web: Web, address: str) -> str:
    """The text of a page, without its elements."""
    answer = web.get(address, Accept="text/html")
    assert answer.status == 200, answer.body
    html = re.sub(r"<(script|style).*?</\1>", "", answer.body.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def judged(name: str, **context: Any) -> Transition:
    """An alert that begins to fire, with what helps to judge it."""
    labels = {"alertname": RULE.name, "name": name, "kind": "page"}
    return transition(instance=instance(fingerprint=name, labels=labels), context=Context(**context))


def test_nothing_fires(web: Web) -> None:
    """Where nothing happened, the page says so, and how to silence what may come."""
    text = seen(web, "/alerts")
    assert "Nothing fires" in text
    assert "No alert fired in this range of time" in text
    assert "No alert is silenced." in text
    assert "Every message was accepted" in text


def test_what_fires_is_there_with_what_helps(web: Web, desk: Desk) -> None:
    """An alert has its condition, who was told, its worst segments, and a link to its rows on this server."""
    desk.commit(
        [
            judged(
                "a",
                recent=(0.9, 0.8, 0.6),
                segments=(SegmentValue("inputs.carrier=UA", 0.4, 120),),
                rows_url="https://lapwing.example.org/model/rows?name=churn&from=2026-03-01T00:00:00Z",
            )
        ]
    )
    page = web.get(f"/alerts?{DAY}").body.decode()
    assert 'href="/model/rows?name=churn&amp;from=2026-03-01T00:00:00Z"' in page
    text = seen(web, f"/alerts?{DAY}")
    assert "Firing 1" in text
    assert "value < 0.7" in text
    assert "mail: queued pager: queued screen: queued" in text
    one = seen(web, "/alert?alert=a")
    assert "See the rows behind it" in one
    assert "inputs.carrier=UA" in one
    assert "It fires, and not yet mail, pager, screen" in one


@pytest.mark.parametrize("over", [False, True])
def test_an_alert_leads_to_its_rule_rows_and_examples(web: Web, desk: Desk, *, over: bool) -> None:
    """Whether anybody knows where the dashboard is or not, and after it is over, too."""
    labels = {"alertname": RULE.name, "model": "churn", "kind": "page"}
    fires = instance(fingerprint="a", labels=labels)
    desk.commit([transition(instance=fires, context=Context(examples=("id 1",)))])
    if over:
        resolved = replace(fires, state=AlertState.INACTIVE, resolved_at=desk.wall.now)
        desk.commit([transition(Status.RESOLVED, instance=resolved)])
    page = web.get(f"/alert?alert=a&{DAY}").body.decode()
    links = [unescape(each) for each in re.findall(r'href="(/[^"]*)"', page)]
    assert [each for each in links if each.startswith("/rule?")]
    (rows,) = [each for each in links if each.startswith("/model/rows?")]
    assert "name=churn" in rows
    examples = [each for each in links if each.startswith("/model/rows/record?")]
    assert [parse_qs(urlsplit(each).query)["id"] for each in examples] == ([] if over else [["id 1"]])


def test_when_rules_fired(web: Web, desk: Desk) -> None:
    """Each rule has a strip with a bar for each time that it fired, and the same as a table."""
    desk.fire("a", "page")
    desk.resolve("a")
    desk.fire("b", "page")
    episodes = web.get("/api/v1/episodes?from=2013-03-05&to=2013-03-06").json
    assert [(each["fingerprint"], each["resolved_at"] is None) for each in episodes] == [
        ("b", True),
        ("a", False),
    ]
    page = web.get(f"/alerts?{DAY}").body.decode()
    assert len(re.findall(r'<rect x="5\d\d', page)) == 2
    assert 'class="now"' in page
    assert "No alert fired" in seen(web, "/alerts?from=2013-02-01&to=2013-02-02")
    assert web.get("/api/v1/episodes?to=2013-03-06").status == 400


def test_the_overview_tells_what_happened_meanwhile(web: Web, desk: Desk) -> None:
    """Under its models are when alerts fired and versions began, along the time, and the same as a list."""
    desk.fire("a", "page")
    desk.resolve("a")
    desk.fire("b", "page")
    assert '<div class="meanwhile" data-part="/meanwhile?from=' in web.get(f"/?{DAY}").body.decode()
    page = web.get(f"/meanwhile?{DAY}", Accept="text/html").body.decode()
    bars = re.findall(r'<rect x="5\d\d[.\d]*" y="2" width="[.\d]+" height="16" class="([^"]+)"', page)
    assert sorted(bars) == ["alert", "alert now"]
    assert page.count("still firing") == 1
    assert 'href="/alert?alert=b"' in page
    began = web.get("/meanwhile?from=2026-01-01&to=2026-01-02", Accept="text/html").body.decode()
    assert re.findall(r'class="version"><title>([^<]+)', began) == ["spam: version 7 begins"]
    assert "No alert, new version or note" in seen(web, "/meanwhile?from=2012-01-01&to=2012-01-02")


def test_what_is_left_out_of_the_past_is_told(shared: Readers, desk: Desk) -> None:
    """Where more alerts are over than fit, pages say how many they show; a rule's own page has all of its."""
    quiet = RuleId("flights", "Quiet")
    fires = instance(fingerprint="q", labels={"alertname": "Quiet"})
    over = replace(fires, state=AlertState.INACTIVE, resolved_at=NOON)
    told = [transition(rule=quiet, instance=fires), transition(Status.RESOLVED, rule=quiet, instance=over)]
    desk.store.commit(quiet, RuleState("d", NOON), told, (), [], NOON)
    names = [f"n{number}" for number in range(1000)]
    desk.fire_all(names[1:])
    desk.resolve_all(names[1:])
    rules = load_rules(QUIET, "rules.yaml")
    asked = "/api/v1/episodes?from=2013-03-05&to=2013-03-06"
    cut, rare = "the last 1,000. Choose a shorter range", "flights/Quiet fired 1 times"
    with web_server(shared, desk.folder, rules=rules, now=lambda: desk.wall.now) as web:

        def shown(path: str) -> tuple[bool, bool]:
            page = web.get(f"{path}{DAY}", Accept="text/html").body.decode()
            return rare in page, cut in page

        assert shown("/alerts?") == (True, False)
        assert "the 200 that began last" in seen(web, f"/meanwhile?{DAY}")
        assert "200 of 1,000" in seen(web, f"/alerts?{DAY}")
        desk.fire_all(names[:1])
        desk.resolve_all(names[:1])
        assert shown("/alerts?") == (False, True)
        assert shown("/rule?rule=flights/Quiet&") == (True, False)
        assert [each["fingerprint"] for each in web.get(f"{asked}&rule=flights/Quiet").json] == ["q"]
        assert [len(web.get(f"{asked}{most}").json) for most in ("", "&most=3", "&most=5000")] == [
            1000,
            3,
            1001,
        ]
        assert {web.get(f"{asked}&most={wrong}").status for wrong in ("0", "-1", "x", "10001")} == {400}


def test_forms_for_what_is_silenced_or_did_not_arrive(
    web: Web, desk: Desk, done: list[tuple[str, Mapping[str, Any]]]
) -> None:
    """Silences can be ended, and messages that were given up be sent again, from the page."""
    desk.wall.now = wall_clock()
    desk.silence("name=c", 3600)
    desk.fire("a", "page")
    (row,) = desk.store.outbox_rows(Delivery.QUEUED, 1, "pager")
    assert desk.store.mark_sending(row.message.key)
    desk.store.mark_dead(row.message.key, "503 it is away", lambda _knowing, _over: (), desk.wall.now)
    page = web.get("/alerts").body.decode()
    assert "503 it is away" in page
    for form, field in (("requeue", "keys"), ("end-silence", "key")):
        (value,) = re.findall(
            rf'action="/do/{form}"><input type="hidden" name="{field}" value="([^"]+)"', page
        )
        answer = web.post(f"/do/{form}", f"{field}={value}&back=/alerts", "application/x-www-form-urlencoded")
        assert (answer.status, answer.headers["Location"]) == (303, "/alerts")
    assert done == [
        ("requeue", {"keys": [row.message.key]}),
        ("end-silence", {"key": desk.store.silences()[0].key}),
    ]


def test_hostile_alerts_are_harmless(web: Web, desk: Desk) -> None:
    """Markup in labels, annotations and rows is shown as text; a runbook that is no page is no link."""
    begun = judged("a", segments=(SegmentValue(HOSTILE, 1.0),), examples=(HOSTILE,))
    instance = replace(
        begun.instance,
        labels={**begun.instance.labels, HOSTILE: HOSTILE, "model": HOSTILE, "severity": HOSTILE},
        annotations={"summary": HOSTILE, "description": HOSTILE, "runbook_url": "javascript:alert(1)"},
    )
    desk.commit([replace(begun, instance=instance, sample=({HOSTILE: HOSTILE},))])
    for address in (f"/alerts?{DAY}", "/alert?alert=a"):
        page = web.get(address).body.decode()
        assert "<script>alert" not in page
        assert 'onload="' not in page
        assert "javascript:" not in page
        assert "\u202e" not in page


def test_an_alert_that_is_not_there(web: Web) -> None:
    """A page for an alert that nobody knows says what to do."""
    assert "there is no alert" in web.get("/alert?alert=zz", Accept="text/html").body.decode()
    assert "say which alert" in web.get("/alert", Accept="text/html").body.decode()
