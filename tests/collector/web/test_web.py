"""The port of people: SQL over HTTP in every format, errors that help, health, metrics and duties."""

import csv
import io
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.query_lake import Readers, make_lake, readers
from helpers.waiting import wait_until
from helpers.web_server import Web, web_server
from lapwing_collector.errors import ConfigError, LapwingError, UnavailableError

QUERY = (
    "SELECT inputs.age AS age, tags['region'] AS region, label FROM labeled.churn WHERE prediction_id = '7'"
)
ENDLESS = "SELECT count(*) FROM range(1000000000000)"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture(scope="module")
def web(shared: Readers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    limits = {"query.max_rows": 1000, "query.max_bytes": 100_000, "query.timeout": "5s"}
    with web_server(shared, tmp_path_factory.mktemp("web"), **limits) as running:
        yield running


def test_rows_as_json(web: Web) -> None:
    """JSON is a list of objects with nested values, whole numbers and times as programs read them."""
    answer = web.sql(
        "SELECT inputs, tags, sum(inputs.age) OVER () AS total, time, 'NaN'::DOUBLE AS nan, "
        "MAP {} AS none, 1 AS a, 2 AS a FROM predictions.churn WHERE prediction_id = '7'"
    )
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == [
        {
            "inputs": {"age": 7},
            "tags": {"region": "=1+1"},
            "total": 7,
            "time": "2026-01-01T00:00:00Z",
            "nan": "nan",
            "none": {},
            "a": 1,
            "a_1": 2,
        }
    ]
    assert web.sql("SELECT 1 WHERE false").json == []


def test_rows_as_csv_are_harmless_in_a_spreadsheet(web: Web) -> None:
    """Text that a spreadsheet would run gets a quote in front, names of columns too; numbers stay numbers."""
    risky = ["=1+1", "+1", "-1", "@a", "\ta", "\ra", "a=1"]
    sql = 'SELECT unnest($texts) AS "=x", -5 AS n'
    answer = web.sql(sql, parameters={"texts": risky}, format="csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="query.csv"'
    rows = list(csv.reader(io.StringIO(answer.body.decode(), newline="")))
    assert rows[0] == ["'=x", "n"]
    assert [row[0] for row in rows[1:]] == [("" if text == "a=1" else "'") + text for text in risky]
    assert {row[1] for row in rows[1:]} == {"-5"}


@pytest.mark.parametrize("how", ["format", "Accept"])
def test_rows_as_columns(web: Web, how: str) -> None:
    """Arrow and Parquet come with their types, asked for by name or by what the client accepts."""
    for name, media, read in (
        ("arrow", "application/vnd.apache.arrow.stream", lambda b: pa.ipc.open_stream(b).read_all()),
        ("parquet", "application/vnd.apache.parquet", lambda b: pq.read_table(pa.BufferReader(b))),
    ):
        asked = {"sql": QUERY} | ({"format": name} if how == "format" else {})
        accept = {"Accept": f"text/html, {media};q=0.9"} if how == "Accept" else {}
        answer = web.get(f"/api/v1/sql?{urlencode(asked)}", **accept)
        assert answer.headers["Content-Type"] == media
        assert read(answer.body).to_pylist() == [{"age": 7, "region": "=1+1", "label": True}]


def test_a_query_comes_in_many_ways(web: Web) -> None:
    """In the address, as JSON, as a form and as plain SQL, with its parameters bound."""
    sql = (
        "SELECT count(*) AS n FROM predictions.churn WHERE time = $at AND list_contains($ids, prediction_id)"
    )
    parameters = {"at": {"timestamp": "2026-01-01T01:00:00+01:00"}, "ids": ["1", "2", "x"]}
    form = urlencode({"sql": sql, "parameters": json.dumps(parameters)})
    answers = [
        web.get(f"/api/v1/sql?{form}"),
        web.sql(sql, parameters=parameters),
        web.post("/api/v1/sql", form, "application/x-www-form-urlencoded"),
        web.post(f"/api/v1/sql?{urlencode({'parameters': json.dumps(parameters)})}", sql, "text/plain"),
    ]
    assert [answer.json for answer in answers] == [[{"n": 2}]] * 4


def test_an_answer_that_was_cut_says_so(web: Web) -> None:
    """Rows beyond the limits are left out and told of in a header, or are an error to who wants all."""
    cut = web.sql("FROM range(5000)", format="csv")
    assert (cut.headers["Lapwing-Rows"], cut.headers["Lapwing-Truncated"]) == ("1000", "true")
    assert cut.body.count(b"\n") == 1001
    whole = web.sql("FROM range(3)", limit=3)
    assert (whole.headers["Lapwing-Rows"], whole.headers["Lapwing-Truncated"]) == ("3", "false")
    assert web.sql("FROM range(5000)", limit=2).json == [{"range": 0}, {"range": 1}]
    assert web.sql("FROM range(5000)", limit=4000).headers["Lapwing-Rows"] == "1000"
    refused = web.sql("FROM range(5000)", overflow="error")
    assert (refused.status, refused.json["type"]) == (422, "urn:lapwing:problem:query-over-limit")
    assert "more than 1,000 rows: add a LIMIT" in refused.json["detail"]


@pytest.mark.parametrize(
    ("sql", "status", "kind", "words"),
    [
        ("SELECT 1 +", 400, "query-failed", "syntax error"),
        ("SELECT * FROM predictions.chur", 400, "unknown-name", 'Did you mean "churn"'),
        ("DELETE FROM models", 403, "query-refused", "queries can only read"),
        ("SELECT * FROM read_text('/etc/passwd')", 403, "query-refused", "read_text is not allowed"),
        ("SELECT repeat('x', 3000000000)", 422, "query-over-limit", "ran out of memory"),
        ("SELECT 'x'::INT", 400, "query-failed", "Could not convert"),
        ("SELECT $a", 400, "query-failed", "parameter"),
        ("  ", 400, "wrong-request", "there is no query"),
    ],
)
def test_errors_say_what_to_do(web: Web, sql: str, status: int, kind: str, words: str) -> None:
    """Every refusal is a problem document whose kind programs and whose words people can use."""
    answer = web.sql(sql)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json["type"] == f"urn:lapwing:problem:{kind}"
    assert answer.json["status"] == status
    assert words in answer.json["detail"]


def test_errors_point_at_the_place(web: Web) -> None:
    """The place of a mistake and the names that may be meant are there for editors."""
    answer = web.sql("SELECT *\nFROM predictions.chur").json
    assert (answer["position"], answer["candidates"]) == (14, ["churn"])


def test_requests_that_are_none_are_told(web: Web) -> None:
    """Unknown keys, formats, types and sizes are refused in words."""
    for asked, words in (
        ({"forma": "csv"}, "'forma' is not known"),
        ({"format": "xml"}, "use json, columns, csv, arrow, parquet"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"overflow": "x"}, "truncate or error"),
        ({"overflow": []}, "truncate or error"),
        ({"parameters": []}, "JSON object"),
        ({"parameters": {"a": {"x": 1}}}, "parameter a"),
    ):
        answer = web.sql("SELECT 1", **asked)
        assert (answer.status, words in answer.json["detail"]) == (400, True), answer.body
    assert web.post("/api/v1/sql", b"\xff", "text/plain").status == 400
    assert web.post("/api/v1/sql", b"{", "application/json").status == 400
    assert web.post("/api/v1/sql", b"[" * 100_000, "application/json").status == 400
    assert web.post("/api/v1/sql", b"x", "image/png").status == 415
    assert web.post("/api/v1/sql", b" " * (2 << 20), "text/plain").status == 413
    wrong = web.request("PUT", "/api/v1/sql", None, {})
    assert (wrong.status, set(wrong.headers["Allow"].split(", "))) == (405, {"GET", "HEAD", "POST"})
    assert web.get("/nowhere").json["type"] == "urn:lapwing:problem:not-found"


def test_time_is_bounded(shared: Readers, tmp_path: Path) -> None:
    """A query over its time is stopped and told so."""
    with web_server(shared, tmp_path, **{"query.timeout": "300ms"}) as web:
        answer = web.sql(ENDLESS)
    assert (answer.status, answer.json["type"]) == (422, "urn:lapwing:problem:query-over-limit")
    assert "longer than 0.3 s" in answer.json["detail"]


def test_who_hangs_up_frees_the_place(shared: Readers, tmp_path: Path) -> None:
    """Closing the connection ends the query; until then others are turned away at once."""
    with web_server(shared, tmp_path, **{"query.workers": 1, "query.queue": 0}) as web:
        host, _, port = web.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                f"GET /api/v1/sql?{urlencode({'sql': ENDLESS})} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            )
            wait_until(lambda: web.pool.stats().running == 1)
            busy = web.sql("SELECT 1 AS one")
            assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
            assert "try again" in busy.json["detail"]
        wait_until(lambda: web.pool.stats().running == 0)
        assert web.sql("SELECT 1 AS one").json == [{"one": 1}]
        assert web.pool.stats().outcomes["cancelled"] == 1


def test_a_reader_that_stops_reading_frees_the_place(
    shared: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that nobody takes is dropped after a while, and the query process with it."""
    monkeypatch.setattr("lapwing_collector.web.answering.READING_S", 0.3)
    big = urlencode({"sql": "SELECT repeat('x', 1000) FROM range(50000)", "format": "csv"})
    with web_server(shared, tmp_path, **{"query.workers": 1}) as web:
        host, _, port = web.address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"GET /api/v1/sql?{big} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            wait_until(lambda: web.pool.stats().outcomes["cancelled"] == 1)
        assert web.sql("SELECT 1 AS one").json == [{"one": 1}]


def test_health(shared: Readers, tmp_path: Path) -> None:
    """The process is well as long as it answers; it is ready when records are acknowledged."""
    state: list[tuple[bool, Mapping[str, Any]]] = [(False, {"replaying": True})]
    with web_server(shared, tmp_path, readiness=lambda: state[0], metrics=lambda: b"rows 1\n") as web:
        assert (tmp_path / "web.address").read_text().strip() == web.address
        assert web.get("/healthz").json == {"status": "ok"}
        before = web.get("/readyz")
        state[0] = (True, {"replaying": False})
        after = web.get("/readyz")
        assert (before.status, before.json) == (503, {"status": "not ready", "replaying": True})
        assert (after.status, after.json) == (200, {"status": "ready", "replaying": False})
        metrics = web.get("/metrics")
        assert (metrics.body, metrics.headers["Content-Type"][:10]) == (b"rows 1\n", "text/plain")
    assert not (tmp_path / "web.address").exists()


def test_duties(shared: Readers, tmp_path: Path) -> None:
    """Commands have the owner do things: JSON in, JSON out, and its errors told."""

    def compact(told: Mapping[str, Any]) -> dict[str, Any]:
        return {"compacted": told}

    def failing(error: LapwingError) -> Any:
        def fail(_: Mapping[str, Any]) -> None:
            raise error

        return fail

    duties = {
        "compact": compact,
        "wrong": failing(ConfigError("no such model")),
        "busy": failing(UnavailableError("later", 2)),
        "impossible": failing(LapwingError("the lake is read-only")),
        "broken": failing(ZeroDivisionError()),  # type: ignore[arg-type]
    }
    with web_server(shared, tmp_path, duties=duties) as web:
        done = web.post("/api/v1/admin/compact", '{"model": "m"}', "application/json")
        assert (done.status, done.json) == (200, {"compacted": {"model": "m"}})
        assert web.post("/api/v1/admin/compact", "", "application/json").json == {"compacted": {}}
        statuses = {name: web.post(f"/api/v1/admin/{name}", "{}", "application/json") for name in duties}
        assert {name: answer.status for name, answer in statuses.items()} == {
            "compact": 200,
            "wrong": 400,
            "busy": 503,
            "impossible": 409,
            "broken": 500,
        }
        assert statuses["wrong"].json["detail"] == "no such model"
        assert "compact" in web.post("/api/v1/admin/none", "{}", "application/json").json["detail"]
        assert web.post("/api/v1/admin/compact", "{}", "text/plain").status == 415
        assert web.get("/api/v1/admin/compact").status == 405


def test_halves_of_characters_are_refused(shared: Readers, tmp_path: Path) -> None:
    """Whatever is asked for as JSON: escaped or as bytes, as a name or within others."""
    with web_server(shared, tmp_path, duties={"echo": dict}) as web:
        whole = web.post("/api/v1/admin/echo", '{"a": "\\ud83d\\ude00"}', "application/json")
        assert (whole.status, whole.json) == (200, {"a": "\N{GRINNING FACE}"})
        for body in (rb'{"a": ["\ud83d"]}', rb'{"\udE00": 1}', b'{"a": "\xed\xa0\x80"}'):
            for path in ("admin/echo", "sql"):
                refused = web.post(f"/api/v1/{path}", body, "application/json")
                assert (refused.status, "half of a character" in refused.json["detail"]) == (400, True)


def test_a_duty_that_takes_long_holds_up_no_other(shared: Readers, tmp_path: Path) -> None:
    """While one is at work others are done, by commands and by forms; of each there is one at a time."""
    done: list[str] = []
    at_work, freed = threading.Semaphore(0), threading.Event()

    def compact(told: Mapping[str, Any]) -> None:
        at_work.release()
        assert freed.wait(60)
        done.append(f"compact {told['model']}")

    def ack(told: Mapping[str, Any]) -> None:
        done.append(f"ack {told['alert']}")

    duties = {"compact": compact, "ack": ack}
    with web_server(shared, tmp_path, duties=duties) as web, ThreadPoolExecutor(2) as clients:
        first = clients.submit(web.post, "/api/v1/admin/compact", '{"model": "a"}', "application/json")
        try:
            assert at_work.acquire(timeout=60)
            second = clients.submit(web.post, "/api/v1/admin/compact", '{"model": "b"}', "application/json")
            assert web.post("/api/v1/admin/ack", '{"alert": "x"}', "application/json").status == 200
            assert web.post("/do/ack", "alert=y", "application/x-www-form-urlencoded").status == 303
            assert done == ["ack x", "ack y"]
            assert not at_work.acquire(blocking=False)
        finally:
            freed.set()
        assert (first.result().status, second.result().status) == (200, 200)
    assert done[2:] == ["compact a", "compact b"]


def test_scopes(shared: Readers, tmp_path: Path) -> None:
    """Queries and metrics need one scope, duties another, health none; nothing is read before."""
    asked: list[tuple[str | None, str]] = []

    def authorize(header: str | None, scope: str) -> int:
        asked.append((header, scope))
        return {None: 401, "Bearer q": 200 if scope == "query" else 403}.get(header, 200)

    with web_server(shared, tmp_path, duties={"d": lambda _: 1}, authorize=authorize) as web:
        nobody = web.get("/api/v1/sql?sql=SELECT+1")
        assert (nobody.status, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert web.get("/metrics").status == 401
        reader = {"Authorization": "Bearer q"}
        assert web.get("/api/v1/sql?sql=SELECT+1", **reader).status == 200
        refused = web.post("/api/v1/admin/d", "{}", "application/json", **reader)
        assert (refused.status, "scope 'admin'" in refused.json["detail"]) == (403, True)
        assert web.post("/api/v1/admin/d", "{}", "application/json", Authorization="Bearer a").json == 1
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert web.get(path).status == 200
        assert web.get("/healthz", Host="collector.example").status == 200
    assert {scope for _, scope in asked} == {"query", "admin"}


def test_without_tokens_only_this_machine_is_addressed(web: Web) -> None:
    """A page whose name was made to point to loopback gets nothing."""
    for host, status in (
        ("evil.example", 421),
        ("localhost:4319", 200),
        ("[::1]:1", 200),
        ("127.0.0.1", 200),
    ):
        assert web.get("/api/v1/sql?sql=SELECT+1", Host=host).status == status


def test_another_loopback_address_is_its_own_name(shared: Readers, tmp_path: Path) -> None:
    """A server on 127.0.0.2 answers those that address it so."""
    with web_server(shared, tmp_path, **{"web.listen": "127.0.0.2:0"}) as web:
        for host, status in (("evil.example", 421), ("127.0.0.2", 200), ("localhost", 200)):
            assert web.get("/healthz", Host=host).status == status


def test_a_body_that_stops_coming_is_given_up(shared: Readers, tmp_path: Path) -> None:
    """A query of which nothing comes for a while is 408."""
    with web_server(shared, tmp_path, **{"http.idle_timeout": "50ms"}) as web:
        host, _, port = web.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(b"POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_the_description_names_what_there_is(web: Web) -> None:
    """The OpenAPI document describes each path with the methods that it takes."""
    document = web.get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    for path, methods in document["paths"].items():
        allowed = (
            web.request("PUT", path.format_map(defaultdict(lambda: "none")), None, {})
            .headers["Allow"]
            .lower()
            .split(", ")
        )
        assert set(methods) == set(allowed) - {"head"}, path
    references = json.dumps(document).count("#/components/schemas/Problem")
    assert references > 10
    assert "Problem" in document["components"]["schemas"]


def test_models_are_described(web: Web) -> None:
    """The list of models, and what is known of one, are documents; an unknown one is told."""
    [listed] = web.get("/api/v1/models").json
    assert (listed["model"], listed["first_seen"]) == ("churn", "2026-01-01T00:00:00Z")
    churn = web.get("/api/v1/models/churn")
    assert (churn.status, churn.json["task"], churn.json["prediction"]) == (
        200,
        "classification",
        "output.late",
    )
    assert [field["field"] for field in churn.json["fields"]] == ["inputs.age", "output.late", "label"]
    unknown = web.get("/api/v1/models/team/other")
    assert (unknown.status, unknown.json["type"]) == (404, "urn:lapwing:problem:unknown-model")
    assert "team/other" in unknown.json["detail"]


def test_metrics_are_described(web: Web) -> None:
    """The metrics are a list of documents, each with its SQL at its own address; an unknown one is told."""
    listed = {each["name"]: each for each in web.get("/api/v1/metrics").json}
    assert listed["accuracy"]["group"] == "classification"
    accuracy = web.get("/api/v1/metrics/accuracy").json
    assert accuracy["call"] == listed["accuracy"]["call"]
    assert "CREATE TEMP MACRO accuracy(" in accuracy["sql"]
    unknown = web.get("/api/v1/metrics/acuracy")
    assert (unknown.status, unknown.json["type"]) == (404, "urn:lapwing:problem:unknown-metric")
    assert "did you mean accuracy" in unknown.json["detail"]


def test_a_query_is_explained(web: Web) -> None:
    """Asked to explain, the SQL behind the metrics comes as rows, and nothing runs."""
    sql = "FROM accuracy('churn', $since, $until)"
    parts = web.get("/api/v1/sql?" + urlencode({"sql": sql, "explain": "true"})).json
    assert [part["name"] for part in parts if part["part"] == "metric"] == ["accuracy"]
    refused = web.get("/api/v1/sql?" + urlencode({"sql": sql, "explain": "perhaps"}))
    assert (refused.status, refused.json["type"]) == (400, "urn:lapwing:problem:wrong-request")


def test_many_ask_at_once(web: Web) -> None:
    """More clients than processes are all answered, each with its own rows."""
    answers: dict[int, Any] = {}

    def ask(number: int) -> None:
        answers[number] = web.sql("SELECT $n AS n", parameters={"n": number}).json

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [{"n": number}] for number in range(12)}
