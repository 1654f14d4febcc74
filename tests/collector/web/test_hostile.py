"""Whatever is in data, rules and addresses is shown harmlessly: at every address that there is."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from helpers.batches import START, labels, predictions
from helpers.notify_alerts import instance, transition
from helpers.notify_desk import Desk
from helpers.query_lake import readers
from helpers.web_server import Web, web_server
from lapwing_collector.app.answers.evaluations import rows_of_document
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.serving import serving
from lapwing_collector.app.serving.metrics import rule_reads
from lapwing_collector.app.upkeep.notes import rows_of_note
from lapwing_collector.gate import Chart, Check, Evaluation, Line, Outcome, Section, Side, Table, Verdict
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.alerts import Context, SegmentValue
from lapwing_collector.rules import load_rules
from lapwing_collector.state import Delivery

BAD: Final = '<script>alert(1)</script>\'" onload="x\x00\x1b[2J\u202e{{7*7}}</textarea></title>'
LONG: Final = "x" * 200_000
NAME: Final = BAD.replace("\x00", "")
"""Where no NUL can be: names of models and rules."""
RULE: Final = '<script>alert(1)</script>\'" onload="x</textarea></title>'
"""Names of rules have no control characters."""
RANGE: Final = {"from": "2026-01-01", "to": "2026-01-02"}

TAGS: Final = frozenset(
    """
    html head meta title link script body header a svg path circle polyline rect line polygon g text nav
    span button form div h1 h2 h3 label select option br noscript input details summary main section p dl
    dt dd small b i ul li table caption thead tbody tr th td code pre figure figcaption dialog kbd time
    textarea aside style
    """.split()  # noqa: SIM905
)
"""What templates are made of."""


class Seen(HTMLParser):
    """The tags and attributes of a page, and what stands in scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Starlette]]:
    """A server over data, alerts, rules and runs that are full of markup, and the application behind it."""
    folder = tmp_path_factory.mktemp("hostile")
    _fill(folder / "lake")
    desk = Desk(folder)
    _alerts(desk)
    rules = load_rules(_rules(), "rules.yaml")
    reads = rule_reads(lambda: rules, desk.store.load_rules) | {"demo": _demo, "telemetry": _telemetry}
    made: list[Starlette] = []
    create_app = serving.create_app

    def remembering(**told: Any) -> Starlette:
        made.append(create_app(**told))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "create_app", remembering)
        duties = {"load-demo": lambda _: {}, "silence": lambda _: {}}
        with (
            readers(folder / "lake") as shared,
            web_server(shared, folder, reads=reads, rules=rules, duties=duties) as web,
        ):
            yield web, made[0]
    desk.store.close()


def _fill(path: Path) -> None:
    rows = [
        {
            "time": START + timedelta(minutes=number),
            "prediction_id": f"{BAD}{number}",
            "request_id": BAD,
            "version": BAD,
            "duration_ms": 1.0,
            "error_type": BAD if number % 2 else None,
            "error_message": BAD,
            "trace_id": BAD,
            "tags": [(BAD, BAD)],
            "resource": [(BAD, BAD)],
            "inputs.plan": BAD,
            "inputs.long": LONG if number == 1 else BAD,
            "inputs.<img src=x onerror=alert(1)>": 1.5,
            "output.value": BAD,
        }
        for number in range(30)
    ]
    lake = Lake.open(path, profiling=PROFILING)
    lake.flush([predictions(NAME, rows)], [], Progress(1, 0))
    lake.flush([labels(NAME, [{"prediction_id": f"{BAD}1", "label": BAD}])], [], Progress(2, 0))
    text = BAD.replace("\x00", "")
    lake.add_rows({"annotations": rows_of_note({"text": text, "version": text, "author": text}, START)})
    lake.add_rows({"evaluations": rows_of_document(_run().as_json())})
    lake.close()


def _run() -> Evaluation:
    check = Check(
        BAD, "alert", "fail", Outcome.FAILED, {BAD: BAD}, (BAD,), 0.5, sides={"production": 1.0}, text=BAD
    )
    chart = Chart(BAD, "bars", [Line(BAD, [BAD], [1.0])], BAD, BAD)
    return Evaluation(
        id=NAME,
        model=NAME,
        version=BAD,
        verdict=Verdict.FAILED,
        started_at=START,
        seconds=1.0,
        by=BAD,
        rules=[BAD],
        allow_insufficient=False,
        sides=[Side("candidate", BAD, 3, 2, [BAD], START, START), Side("production", BAD)],
        checks=[check],
        sections=[Section(BAD, BAD, Table([BAD], [[BAD]]), [chart], [BAD], BAD)],
        notes=[BAD],
    )


def _alerts(desk: Desk) -> None:
    begun = instance(
        fingerprint="a",
        labels={"alertname": BAD, "kind": "page", "model": NAME, "severity": BAD, BAD: BAD},
        annotations={"summary": BAD, "description": LONG, "runbook_url": "javascript:alert(1)"},
    )
    context = Context(segments=(SegmentValue(BAD, 1.0, 1),), examples=(BAD,), rows_url="javascript:alert(1)")
    desk.commit([replace(transition(instance=begun, context=context), sample=({BAD: BAD},))])
    (row,) = desk.store.outbox_rows(Delivery.QUEUED, 1, "pager")
    desk.store.mark_sending(row.message.key)
    desk.store.mark_dead(row.message.key, BAD, lambda _knowing, _over: (), desk.wall.now)
    desk.silence("name=c", 3600)


def _rules() -> str:
    name, sql = (
        json.dumps(RULE),
        json.dumps("SELECT 1 AS value, '</pre>" + RULE.replace("'", "''") + "' AS l"),
    )
    return (
        f"groups: [{{name: g, interval: 1h, labels: {{model: {name}}}, rules: ["
        f"{{alert: {name}, expr: {sql}, condition: value > 1}}, {{record: recorded, expr: {sql}}}]}}]"
    )


def _demo(_: Mapping[str, str]) -> Any:
    return {"loading": False, "error": BAD, "obstacle": None}


def _telemetry(_: Mapping[str, str]) -> Any:
    samples = [{"name": BAD, "labels": {"transport": BAD, "status": BAD}, "value": 1.0}]
    return [{"name": "lapwing_requests", "help": BAD, "samples": samples}]


OF_MODEL: Final = urlencode({"name": NAME, "last": "30d"})
ODD: Final = urlencode(
    {"name": NAME, "q": BAD, "find": BAD, "version": BAD, "versus": BAD, "field": BAD, **RANGE}
)
PAGES: Final[Mapping[str, list[str]]] = {
    "/": ["/?last=30d", f"/?find={quote(BAD)}", f"/?last={quote(BAD)}"],
    "/alert": ["/alert?alert=a", f"/alert?alert={quote(BAD)}"],
    "/alerts": ["/alerts?from=2013-03-01&to=2013-03-10", f"/alerts?silence={quote(BAD)}"],
    "/login": [f"/login?next={quote(BAD)}"],
    "/meanwhile": ["/meanwhile"],
    "/model": [f"/model?{OF_MODEL}", f"/model?{ODD}", f"/model?name={quote(BAD)}"],
    "/model/advice": [f"/model/advice?{OF_MODEL}"],
    "/model/drift": [
        f"/model/drift?{OF_MODEL}",
        f"/model/drift?{ODD}&reference={quote(BAD)}&measure={quote(BAD)}",
    ],
    "/model/explore": [f"/model/explore?{OF_MODEL}", f"/model/explore?{ODD}&plan={quote(BAD)}"],
    "/model/explore/delta": [f"/model/explore/delta?{OF_MODEL}&plan={quote(BAD)}"],
    "/model/glance": [f"/model/glance?{OF_MODEL}"],
    "/model/report.html": [f"/model/report.html?{OF_MODEL}"],
    "/model/rows": [f"/model/rows?{OF_MODEL}", f"/model/rows?{ODD}&plan={quote(BAD)}&sort={quote(BAD)}"],
    "/model/rows/facets": [f"/model/rows/facets?{OF_MODEL}"],
    "/model/rows/record": [f"/model/rows/record?{OF_MODEL}&id={quote(BAD)}1&back={quote('javascript:x')}"],
    "/model/totals": [f"/model/totals?{OF_MODEL}"],
    "/report": [f"/report?run={quote(NAME)}", f"/report?run={quote(BAD)}"],
    "/report.html": [f"/report.html?run={quote(NAME)}"],
    "/reports": ["/reports", f"/reports?model={quote(BAD)}"],
    "/rule": [f"/rule?rule={quote('g/' + RULE)}", f"/rule?rule={quote(BAD)}"],
    "/rules": ["/rules"],
    "/sql": ["/sql", f"/sql?q={quote(BAD)}&find={quote(BAD)}"],
    "/system": ["/system"],
}
"""Every page, with what it is asked for."""
REST: Final = {
    "/api/v1/admin/{duty}",
    "/api/v1/advice/{model:path}",
    "/api/v1/alerts",
    "/api/v1/alerts/{fingerprint}",
    "/api/v1/dead",
    "/api/v1/dead/{target}",
    "/api/v1/demo",
    "/api/v1/episodes",
    "/api/v1/evaluations",
    "/api/v1/evaluations/{evaluation}",
    "/api/v1/metrics",
    "/api/v1/metrics/{metric}",
    "/api/v1/models",
    "/api/v1/models/{model:path}",
    "/api/v1/panels/{panel:path}",
    "/api/v1/replicas",
    "/api/v1/routes",
    "/api/v1/routes/{labels:path}",
    "/api/v1/rules",
    "/api/v1/rules/backtest",
    "/api/v1/rules/check",
    "/api/v1/rules/test",
    "/api/v1/rules/{rule:path}",
    "/api/v1/silences",
    "/api/v1/sql",
    "/api/v1/telemetry",
    "/api/v1/thresholds/{table:path}",
    "/do/{form}",
    "/healthz",
    "/logout",
    "/metrics",
    "/openapi.json",
    "/readyz",
}
"""Everything else: documents, and what is sent."""
APART: Final = {"/api/v1/events", "/static/{digest}/{name:path}"}
"""A stream of names of tables, and files of this package."""


def test_no_address_is_forgotten(served: tuple[Web, Starlette]) -> None:
    """Whatever is answered is looked at here: who adds a page adds it to the table."""
    known = {route.path for route in served[1].routes if isinstance(route, Route)}
    assert known == PAGES.keys() | REST | APART


def harmless(html: str, address: str) -> None:
    """A page has tags of templates only, nothing that runs, and no character that steers."""
    seen = Seen(html)
    assert seen.tags <= TAGS, (address, seen.tags - TAGS)
    names = {name for name, _ in seen.attributes}
    assert not {
        name for name in names if name.startswith("on") or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9:-]*", name)
    }, address
    for name, value in seen.attributes:
        if name in {"href", "src", "action", "data-part", "data-panel"}:
            assert not re.match(r"\s*(javascript|data|vbscript):", value, re.IGNORECASE), (address, value)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html), address
    assert "<script>alert" not in html
    assert "49" not in re.findall(r"alert\(1\).{0,80}?\{\{(.*?)\}\}", html), address


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_what_is_hostile_as_text(served: tuple[Web, Starlette], path: str) -> None:
    """Markup, quotes, control characters and long texts, in data and address, are only read."""
    for address in PAGES[path]:
        answer = served[0].get(address, Accept="text/html")
        assert answer.status in {200, 303, 400, 404, 409, 422}, (address, answer.status, answer.body[-500:])
        if answer.status != 303:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src" in answer.headers["Content-Security-Policy"]
            harmless(answer.body.decode(), address)
        assert len(answer.body) < 3_000_000, address


@pytest.mark.parametrize("path", sorted(REST))
def test_everything_else_is_no_page(served: tuple[Web, Starlette], path: str) -> None:
    """Documents and problems say what type they are, and a browser may not take them for anything else."""
    filled = re.sub(r"\{[^}]+\}", quote(NAME, safe=""), path)
    asked = urlencode(RANGE | {"sql": "SELECT '" + NAME.replace("'", "''") + "' AS x", "model": NAME})
    for answer in (
        served[0].get(f"{filled}?{asked}"),
        served[0].post(filled, f"x={quote(BAD)}&back={quote(BAD)}", "application/x-www-form-urlencoded"),
        served[0].post(filled, b'{"files": {"<b>": "<script>"}, "sql": 1}', "application/json"),
    ):
        assert answer.status < 500 or answer.status == 503, answer.body[-500:]
        kind = answer.headers["Content-Type"] or ""
        if kind.startswith("text/html"):
            harmless(answer.body.decode(), path)
        elif answer.status not in {303, 204}:
            assert re.match(r"application/([a-z.+-]*json|openmetrics)|text/(csv|plain)", kind), (path, kind)
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
