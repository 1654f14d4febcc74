"""Pages: what they show and to whom, panels in every format, forms, and what is new told as it comes."""

import csv
import io
import json
import re
import socket
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from html import unescape
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.batches import labels, predictions
from helpers.query_lake import Readers, make_lake, readers
from helpers.waiting import wait_until
from helpers.web_server import Answer, Web, web_server
from lapwing_collector.errors import StateUnavailableError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import Session
from lapwing_collector.rules import load_rules
from lapwing_collector.web.pages import PAGES
from lapwing_collector.web.panels import load_panels
from lapwing_collector.web.sources import Models

TRAFFIC = "/api/v1/panels/model/traffic?model=churn&"
DAY = "from=2026-01-01&to=2026-01-02"
HTML = {"Accept": "text/html"}
EXPLORED = re.compile(r'data-explore="([^"]*)"')
RULES = """
groups:
  - name: g
    interval: 1h
    rules:
      - alert: Fails
        window: 1d
        expr: FROM error_rate('churn', $window_start, $window_end)
        condition: value > 0.05
      - {alert: Old, expr: "SELECT max(inputs.age) AS value FROM predictions.churn", condition: value > 5}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture(scope="module")
def web(shared: Readers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web_server(shared, tmp_path_factory.mktemp("web")) as running:
        yield running


def address_of(page: str) -> str:
    """The address of a page, for the model churn where it is about one."""
    more = {"record": "&id=7"}.get(page, "")
    return next(
        each.path + (f"?name=churn{more}" if each.of_model else "") for each in PAGES if each.name == page
    )


OF_ONE_THING = {"alert", "rule", "report"}
"""Pages that want to know of which one; their own tests look at them."""


@pytest.mark.parametrize("page", [page.name for page in PAGES if page.name not in OF_ONE_THING])
def test_every_page_is_whole_and_shut(web: Web, page: str) -> None:
    """A page comes as HTML under a policy that lets nothing in from elsewhere, and no script stand in it."""
    answer = web.get(address_of(page), **HTML)
    html = answer.body.decode()
    assert answer.status == 200, html
    assert html.endswith("</html>") or "<div data-whole>" in html  # or a part of one
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "'unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    if timing := answer.headers["Server-Timing"]:
        took = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
        assert 0 < float(took["html"]) <= float(took["whole"])
    else:  # it began before that was known
        assert re.search(r"<!-- Server-Timing: .*lake;dur=", html)
    for script in re.findall(r"<script[^>]*>", html):
        assert "src=" in script or "application/json" in script
    for panel in re.findall(r'data-panel="([^"]+)"', html):
        rows = web.get(unescape(panel))
        assert rows.status == 200, rows.body


def test_a_page_begins_at_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head of a page is there, packed, while it is looked up what the page shows."""
    known, asks = Models.all, threading.Event()

    def slow(models: Models) -> Any:
        asks.wait(60)
        return known(models)

    monkeypatch.setattr(Models, "all", slow)
    with closing(HTTPConnection(web.address, timeout=60)) as connection:
        connection.request("GET", "/", headers={**HTML, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        begun = unpacker.decompress(answer.read1()).decode()
        asks.set()
        rest = unpacker.decompress(answer.read()).decode()
    assert begun.startswith("<!doctype html>")
    assert "</header>" in begun
    assert "<main" not in begun
    assert rest.count("<main") == 1
    assert "churn" in rest
    assert unpacker.eof


@pytest.mark.parametrize("asked", ["", "&version=1", "&version=1&versus=2", "&versus=2", "&last=1h"])
@pytest.mark.parametrize("path", ["/model", "/model/explore", "/model/drift"])
def test_rows_are_asked_for_ahead_under_the_address_of_their_chart(web: Web, path: str, asked: str) -> None:
    """What a browser is told to ask for before scripts run is what charts of the page then ask for."""
    html = web.get(f"{path}?name=churn{asked}", **HTML).body.decode()
    ahead = re.findall(r'<link rel="preload" as="fetch" crossorigin href="([^"]+)&amp;format=columns">', html)
    figures = set(re.findall(r'data-panel="([^"]+)"', html))
    cubes = set(json.loads(unescape(found[1]))["cubes"]) if (found := EXPLORED.search(html)) else set()
    assert {unescape(each) for each in ahead} <= {*map(unescape, figures), *cubes}
    assert len(ahead) >= 2 or path == "/model/drift"  # which has no reference here


def test_what_goes_wrong_after_a_page_began_is_told_in_it(shared: Readers, tmp_path: Path) -> None:
    """A page whose head was sent says in its place why it cannot be made, and leads on."""
    with web_server(shared, tmp_path) as broken:
        broken.pool.close()
        answer = broken.get("/", **HTML)
        html = answer.body.decode()
        assert (answer.status, html.count("<header"), html.count("</html>")) == (200, 1, 1)
        assert re.search(r'<main.*role="alert">the collector is shutting down<', html, re.DOTALL)


def test_a_panel_in_every_format(web: Web) -> None:
    """The rows of a panel come in each format, with the same numbers."""
    address = TRAFFIC + DAY
    expected = [{"time": "2026-01-01T00:00:00Z", "version": "", "predictions": 10}]
    assert web.get(address).json == expected
    columns = web.get(address + "&format=columns")
    assert columns.json == {
        "names": ["time", "version", "predictions"],
        "types": ["timestamp[us]", "string", "int64"],
        "columns": [["2026-01-01T00:00:00Z"], [""], [10]],
    }
    times = {"Step": "3600000", "From": "1767225600000", "To": "1767312000000", "Start": "1767225600000"}
    assert {name: columns.headers[f"Lapwing-{name}"] for name in times} == times
    assert re.fullmatch(
        r'models;dur=[\d.]+;desc="1", lake;dur=[\d.]+;desc="1"', columns.headers["Server-Timing"]
    )
    text = web.get(address + "&format=csv")
    assert text.headers["Content-Disposition"] == 'attachment; filename="model-traffic.csv"'
    assert next(csv.DictReader(io.StringIO(text.body.decode())))["predictions"] == "10"
    arrow = pa.ipc.open_stream(web.get(address + "&format=arrow").body).read_all()
    parquet = pq.read_table(pa.BufferReader(web.get(address + "&format=parquet").body))
    assert arrow.column("predictions").to_pylist() == parquet.column("predictions").to_pylist() == [10]


def test_the_sql_of_a_panel_can_be_run_as_it_is(web: Web) -> None:
    """The SQL that is told has its values in it, and gives the rows of the panel, by hours and minutes."""
    for span in (DAY, "from=2026-01-01T00:00&to=2026-01-01T01:00"):
        told = web.get(f"{TRAFFIC}{span}&version=it's&format=sql")
        assert told.headers["Content-Type"].startswith("text/plain")
        sql = told.body.decode()
        assert "$" not in sql
        assert "version = 'it''s'" in sql
        assert web.sql(sql).json == web.get(f"{TRAFFIC}{span}&version=it's").json == []
        assert web.sql(web.get(f"{TRAFFIC}{span}&format=sql").body.decode()).json[0]["predictions"] == 10


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/api/v1/panels/model/nothing", 404, "there are"),
        (TRAFFIC + "last=never", 400, "expected a time such as 6h"),
        (TRAFFIC + "versoin=1", 400, "'versoin' is not known"),
        (TRAFFIC + "format=xml", 400, "use json"),
        ("/api/v1/panels/model/traffic", 400, "say which model"),
        ("/api/v1/panels/model/traffic?model=nobody", 404, "there is no model 'nobody'"),
    ],
)
def test_wrong_panels_are_told(web: Web, address: str, status: int, words: str) -> None:
    """What is wrong with a panel's address is a problem document that says what to do."""
    answer = web.get(address)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert words in answer.json["detail"]


def test_every_panel_file_says_what_it_shows() -> None:
    """Each file of SQL has a title, and one beside it for short ranges brings the same columns."""
    panels = load_panels()
    assert panels
    assert all(panel.title and panel.about for panel in panels.values())


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/model?name=nobody", 404, "no model &#39;nobody&#39;"),
        ("/model", 404, "say which model"),
        ("/?from=x", 400, "expected a time such as"),
        ("/nowhere", 404, "nothing at /nowhere"),
        ("/%3Cscript%3Ealert(1)%3C/script%3E", 404, "&lt;script&gt;"),
        ("/?last=%3Cimg%20src=x%3E", 400, "&lt;img"),
    ],
)
def test_what_is_wrong_is_a_page(web: Web, address: str, status: int, words: str) -> None:
    """People are told what is wrong on a page, with what they sent shown harmlessly."""
    answer = web.get(address, **HTML)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert words in answer.body.decode()
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def _away(_: Mapping[str, str]) -> Any:
    raise StateUnavailableError("state: the alert state is away: nobody answers")


def test_pages_are_there_without_the_alert_state(shared: Readers, tmp_path: Path) -> None:
    """While the alert state is away, pages say so and show all else; what is made of it alone is 503."""
    names = ("alerts", "alerts/{fingerprint}", "episodes", "silences", "dead", "rules", "rules/{rule:path}")
    with web_server(shared, tmp_path, reads=dict.fromkeys(names, _away)) as web:
        for address in ("/", "/model?name=churn", "/alerts", "/rules"):
            answer = web.get(address, **HTML)
            html = answer.body.decode()
            assert answer.status == 200, html
            assert "Alerts are not known now" in html
            assert "nobody answers" in html
            assert "Nothing fires" not in html
            assert "There are no rules" not in html
        assert 'href="/model?name=churn"' in web.get("/").body.decode()
        assert "data-panel=" in web.get("/model?name=churn").body.decode()
        for address in ("/alert?alert=a", "/rule?rule=a"):
            answer = web.get(address, **HTML)
            assert (answer.status, b"nobody answers" in answer.body) == (503, True)


def test_cards_tell_labels_and_drift_afterwards(web: Web) -> None:
    """The overview asks for what takes longer by itself: the share with a label, and the worst drift."""
    html = web.get(f"/?{DAY}").body.decode()
    (part,) = re.findall(r'class="glance" data-part="([^"]+)"', html)
    text = re.sub(r"<[^>]+>", " ", web.get(unescape(part)).body.decode())
    assert text.split() == ["Labels", "10.0", "%", "Worst", "drift", "\N{EN DASH}"]


def test_rules_draw_lines_on_charts_of_what_they_judge(shared: Readers, tmp_path: Path) -> None:
    """A chart names the rule, where its line is and over how long, with a link to it, for the script, too."""
    rules = load_rules(RULES, "rules.yaml")
    with web_server(shared, tmp_path, rules=rules) as web:
        html = web.get("/model?name=churn").body.decode()
    (told,) = re.findall(r'<ul class="limits">(.*?)</ul>', html)
    assert 'href="/rule?rule=g%2FFails"' in told
    assert re.sub(r"<[^>]+>", "", unescape(told)) == "Fails: above 5.00 %, over 1 d"
    charts = [json.loads(unescape(each)) for each in re.findall(r'data-chart="([^"]+)"', html)]
    lines = {each["title"]: [line["value"] for line in each["thresholds"]] for each in charts}
    assert lines["Calls that failed"] == [0.05]
    assert not any(values for title, values in lines.items() if title != "Calls that failed")


def test_pages_keep_what_the_address_says(web: Web) -> None:
    """Links to other pages keep the range of time, those on a page everything; the theme is in a cookie."""
    html = web.get("/model?name=churn&last=7d&version=2", Cookie="lapwing_theme=dark").body.decode()
    links = {unescape(each) for each in re.findall(r'href="(/[^"]*)"', html)}
    assert "/?last=7d" in links
    assert "/model?name=churn&last=30d&version=2" in links
    assert 'data-theme="dark"' in html
    plain = web.get("/", Cookie="lapwing_theme=x onload=").body.decode()
    assert '<html lang="en" data-shortest-ms="0.01">' in plain


def judge(header: str | None, scope: str) -> int:
    """Tokens of a file: `reader` may ask, `boss` may do everything."""
    may = {"Bearer reader": {"query"}, "Bearer boss": {"query", "admin"}, "Bearer sender": {"write"}}
    return 401 if header not in may else 200 if scope in may[header] else 403


@pytest.fixture(scope="module")
def closed(shared: Readers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, list[Any]]]:
    """A server that asks for tokens, and what its duties were told."""
    done: list[Mapping[str, Any]] = []
    folder = tmp_path_factory.mktemp("closed")
    with web_server(shared, folder, authorize=judge, duties={"ack": done.append}) as running:
        yield running, done


def form(web: Web, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
    return web.post(path, urlencode(fields), "application/x-www-form-urlencoded", **headers)


def logged_in(web: Web, token: str) -> str:
    """The cookie of who logs in with a token."""
    answer = form(web, "/login", {"token": token, "next": "/model?name=churn"})
    assert (answer.status, answer.headers["Location"]) == (303, "/model?name=churn")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    return cookie.partition(";")[0]


def test_logging_in(closed: tuple[Web, list[Any]]) -> None:
    """A page asks for a token once; with its cookie pages, panels and the API answer, until who logs out."""
    web, _ = closed
    first = web.get("/model?name=churn&last=7d", **HTML)
    assert first.status == 303
    assert first.headers["Location"] == "/login?next=%2Fmodel%3Fname%3Dchurn%26last%3D7d"
    assert web.get(TRAFFIC).status == 401
    assert b'value="/model?name=churn&amp;last=7d"' in web.get(first.headers["Location"]).body
    wrong = form(web, "/login", {"token": "nonsense"})
    assert (wrong.status, b"not known here" in wrong.body) == (403, True)
    assert form(web, "/login", {"token": "sender"}).status == 403
    cookie = logged_in(web, "reader")
    assert web.get("/model?name=churn", Cookie=cookie).status == 200
    assert web.get(TRAFFIC, Cookie=cookie).status == 200
    assert web.get("/api/v1/models", Cookie=cookie).status == 200
    assert form(web, "/logout", {}, Cookie=cookie).status == 303
    assert web.get(TRAFFIC, Cookie=cookie).status == 401


def test_a_session_behind_a_proxy_with_tls_stays_encrypted(closed: tuple[Web, list[Any]]) -> None:
    """Where a browser's page was encrypted its cookie is never sent in the open; elsewhere it has to be."""
    web, _ = closed
    told = {"token": "reader", "next": "/"}
    assert "Secure" in form(web, "/login", told, Origin=f"https://{web.address}").headers["Set-Cookie"]
    assert "Secure" not in form(web, "/login", told, Origin=f"http://{web.address}").headers["Set-Cookie"]


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "x:y"])
def test_logging_in_leads_nowhere_else(closed: tuple[Web, list[Any]], elsewhere: str) -> None:
    """A link to the login page cannot send people to another site."""
    answer = form(closed[0], "/login", {"token": "reader", "next": elsewhere})
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_a_link_from_a_message_arrives(closed: tuple[Web, list[Any]]) -> None:
    """Who comes from another site has no cookie with them: the page asks itself again, and that brings it."""
    answer = closed[0].get("/model?name=churn", **HTML, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 200
    assert b'http-equiv="refresh" content="0; url=/model?name=churn"' in answer.body


def test_forms(closed: tuple[Web, list[Any]]) -> None:
    """A form does what its duty does for who may, with the fields it has, and goes back to its page."""
    web, done = closed
    boss, reader = logged_in(web, "boss"), logged_in(web, "reader")
    fields = {"alert": " abc ", "comment": "", "other": "x", "back": "/alerts?last=7d"}
    answer = form(web, "/do/ack", fields, Cookie=boss)
    assert (answer.status, answer.headers["Location"]) == (303, "/alerts?last=7d")
    assert done == [{"alert": "abc"}]
    assert form(web, "/do/ack", fields, Cookie=reader).status == 403
    assert form(web, "/do/ack", fields).status == 303  # to the login
    assert form(web, "/do/ack", fields, Cookie=boss, Origin="https://evil.example").status == 403
    assert form(web, "/do/ack", fields, Cookie=boss, **{"Sec-Fetch-Site": "same-site"}).status == 403
    assert form(web, "/do/silence", fields, Cookie=boss).status == 404  # no such duty here
    assert form(web, "/do/else", fields, Cookie=boss).status == 404
    proxied = {"Origin": "https://lapwing.example.org", "Sec-Fetch-Site": "same-origin"}
    assert form(web, "/do/ack", fields, Cookie=boss, **proxied).status == 303
    assert len(done) == 2


def test_what_is_new_is_told_as_it_comes(web: Web) -> None:
    """A stream tells which models have news and that alerts changed; it ends when the server does."""
    connection = HTTPConnection(web.address, timeout=30)
    connection.request("GET", "/api/v1/events")
    stream = connection.getresponse()
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.readline() == b"retry: 3000\n"
    told: list[str] = []
    thread = threading.Thread(target=_read_events, args=(stream, told))
    thread.start()
    web.live.saw(models=["churn"])
    web.live.saw("alerts")
    wait_until(lambda: sorted(told) == ["alerts", "model:churn"])
    sock = connection.sock
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    connection.close()


def test_what_came_before_a_stream_is_told(web: Web) -> None:
    """A stream tells first what was new after its page or last event; of another run, that anything was."""
    page = str(web.get("/?last=30d", **HTML).body, "utf-8")
    web.live.saw(models=["churn"])
    web.live.saw("alerts")
    since = re.search(r'data-news="([^"]*)"', page)
    assert since is not None
    event, told = _first_event(web, f"?since={since[1]}")
    assert told == ["alerts", "model:churn"]
    web.live.saw(models=["other"])
    _, told = _first_event(web, f"?since={since[1]}", **{"Last-Event-ID": event})
    assert told == ["model:other"]
    for unknown in ("another-1", "nothing", f"{since[1]}{'9' * 5000}"):
        assert _first_event(web, f"?since={unknown}")[1] == ["alerts"]


def test_what_comes_while_a_page_is_made_is_told(shared: Readers, tmp_path: Path) -> None:
    """What is new once a page began to read is told to it, though it may have read before that."""

    def meanwhile(_: Mapping[str, str]) -> list[Any]:
        web.live.saw(models=["churn"])
        return []

    with web_server(shared, tmp_path, reads={"silences": meanwhile}) as web:
        page = str(web.get("/alerts", **HTML).body, "utf-8")
        since = re.search(r'data-news="([^"]*)"', page)
        assert since is not None
        assert _first_event(web, f"?since={since[1]}")[1] == ["model:churn"]


def _first_event(web: Web, asked: str, **headers: str) -> tuple[str, list[str]]:
    connection = HTTPConnection(web.address, timeout=30)
    connection.request("GET", f"/api/v1/events{asked}", headers=headers)
    stream = connection.getresponse()
    assert [stream.readline(), stream.readline()] == [b"retry: 3000\n", b"\n"]
    event, told = (str(stream.readline(), "ascii").strip().partition(": ")[2] for _ in range(2))
    connection.close()
    return event, json.loads(told)


def _read_events(stream: HTTPResponse, told: list[str]) -> None:
    for line in stream:
        if line.startswith(b"data: "):
            told.extend(json.loads(line.removeprefix(b"data: ")))


def test_a_stream_ends_with_its_server(shared: Readers, tmp_path: Path) -> None:
    """Who listens holds no server up that is to stop."""
    with web_server(shared, tmp_path) as web:
        connection = HTTPConnection(web.address, timeout=30)
        connection.request("GET", "/api/v1/events")
        stream = connection.getresponse()
        stream.readline()
    assert stream.read().startswith(b"\n")
    connection.close()


def test_whether_labels_came_is_asked_until_they_did(tmp_path: Path) -> None:
    """Pages ask the lake whether a model has labels as long as it has none, and remember that it has."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("churn", [{}]), predictions("other", [{}])], [], Progress(1, 0))
    asked: list[str] = []

    def rows(sql: str, **parameters: Any) -> pa.Table:
        asked.append(sql)
        return session.run(sql, parameters)

    with closing(Session.open(tmp_path / "lake")) as session:
        models = Models(rows, lambda: "")
        assert not models.has_labels("churn")
        lake.flush([labels("churn", [{"prediction_id": "p", "label": 1}])], [], Progress(2, 0))
        assert [models.has_labels(table) for table in ("churn", "churn", "other")] == [True, True, False]
    assert len(asked) == 3
    lake.close()


def test_a_model_that_comes_while_the_lake_is_asked_is_known(tmp_path: Path) -> None:
    """What was asked before something new was told is no answer after it, however long it took."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("churn", [{}])], [], Progress(1, 0))
    told, passed_s, coming = 0, 0.0, ["fraud"]

    def rows(sql: str, **parameters: Any) -> pa.Table:
        nonlocal told, passed_s
        found = session.run(sql, parameters)
        for model in coming:
            lake.flush([predictions(model, [{}])], [], Progress(2, 0))
            told += 1
        coming.clear()
        passed_s += 10
        return found

    with closing(Session.open(tmp_path / "lake")) as session:
        models = Models(rows, lambda: str(told), lambda: passed_s)
        assert list(models.all()) == ["churn"]
        assert list(models.all()) == ["churn", "fraud"]
        assert models.named("fraud") is not None
    lake.close()


def test_models_are_asked_for_once_in_a_moment(tmp_path: Path) -> None:
    """Parts of a page share one answer; in time it is asked again, as another process may have written."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("churn", [{}])], [], Progress(1, 0))
    asked: list[str] = []
    passed_s = 0.0

    def rows(sql: str, **parameters: Any) -> pa.Table:
        asked.append(sql)
        return session.run(sql, parameters)

    with closing(Session.open(tmp_path / "lake")) as session:
        models = Models(rows, lambda: "", lambda: passed_s)
        assert [list(models.all()) for _ in range(3)] == [["churn"]] * 3
        assert len(asked) == 1
        lake.flush([predictions("fraud", [{}])], [], Progress(2, 0))
        passed_s = 1.0
        assert list(models.all()) == ["churn", "fraud"]
    lake.close()
