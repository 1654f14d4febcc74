"""Documents that the API answers are what /openapi.json says of them, no more and no less."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import pytest

from helpers.browser import MODEL, RULES, fill, let_it_fire
from helpers.collector import Collector, project, running
from helpers.notify_receivers import webhook
from helpers.waiting import wait_until
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.clock import read_utc
from lapwing_collector.gate import (
    Chart,
    Check,
    Comparison,
    Evaluation,
    Line,
    Outcome,
    Section,
    Side,
    Table,
    Verdict,
)
from lapwing_collector.model.replicas import Replica
from lapwing_collector.state import Store

AT: Final = datetime(2026, 1, 1)  # times are naive UTC
WATCHED: Final = """
      - alert: Failing
        window: 1h
        expr: FROM error_rate('churn', $window_start, $window_end)
        condition: value > 0.9
        annotations: {summary: much fails}
"""
NOTIFY: Final = """
route: {{receiver: team, group_wait: 0s}}
receivers:
  - name: team
    apprise_configs:
      - {{name: chat, url: 'json://127.0.0.1:{chat}/'}}
      - {{name: hook, url: 'json://127.0.0.1:{hook}/'}}
"""
RUN: Final = Evaluation(
    id="run",
    model="churn",
    version="2",
    verdict=Verdict.FAILED,
    started_at=AT,
    seconds=1.5,
    by="ci",
    rules=["rules.yaml"],
    allow_insufficient=False,
    sides=[Side("candidate", "new.parquet", 9, 8, ["2"], AT, AT), Side("production", "7d")],
    checks=[Check("g/A", "alert", "fail", Outcome.FAILED, {"plan": "pro"}, ["value > 1"], 2.0, 1.0, 3.0, 9)],
    comparisons=[Comparison("shadow_auc_difference", "ROC-AUC", "more", 0.7, 0.6, -0.1, -0.2, 0.0, 0.01, 9)],
    sections=[
        Section(
            "Quality",
            table=Table(["class", "n"], [["a", 5], [None, 6.5]]),
            charts=[Chart("ROC", "lines", [Line("new", [0, 1], [0.0, None], [0.0, 0.0], [1.0, 1.0])])],
            sql=["SELECT 1"],
        )
    ],
    lapwing="1",
)
"""With something of all that a run may have."""
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def call(collector: Collector, method: str, path: str, body: Any = None) -> Any:
    """The document of an answer."""
    connection = http.client.HTTPConnection(collector.web, timeout=60)
    with closing(connection):
        told = None if body is None else json.dumps(body)
        connection.request(method, path, told, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        document = json.loads(answer.read())
    assert answer.status == 200, document
    return document


def differences(schema: dict[str, Any], value: Any, where: str = "") -> Iterator[str]:
    """What a document has that is not described, lacks, or has otherwise."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(
        isinstance(value, TYPES[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds
    ):
        yield f"{where}: {value!r} is no {kinds}"
    elif value not in schema.get("enum", [value]):
        yield f"{where}: {value!r} is none of {schema['enum']}"
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from differences(schema["items"], each, f"{where}[{place}]")
    elif isinstance(value, dict):
        described, others = schema.get("properties", {}), schema.get("additionalProperties")
        yield from (f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value)
        for name, each in value.items():
            if name not in described and others is None:
                yield f"{where}.{name} is not described"
            else:
                yield from differences(described.get(name, others), each, f"{where}.{name}")
    elif isinstance(value, str) and schema.get("format") == "date-time":
        assert value.endswith("Z")
        read_utc(value)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One that has something of everything: an alert that one of two targets heard of, a run that is kept."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "models").mkdir()
    (folder / "models" / "churn.yaml").write_text(MODEL)
    (folder / "rules.yaml").write_text(RULES + WATCHED)
    (folder / "lapwing.yaml").write_text("clock: data\nrules: [rules.yaml]\n")
    fill(folder / "data")
    with webhook() as chat, webhook(*[404] * 9) as hook:
        (folder / "notify.yaml").write_text(NOTIFY.format(chat=chat.port, hook=hook.port))
        with running(project(folder / "data", folder / "lapwing.yaml")) as collector:
            let_it_fire(collector)
            wait_until(lambda: call(collector, "GET", "/api/v1/alerts")[0]["told"] == ["chat"])
            wait_until(lambda: call(collector, "GET", "/api/v1/dead"))
            with closing(Store.open(DataDirectory(collector.data).state)) as store:
                store.beat(Replica("other", "up", "http://127.0.0.1:1", "1", AT, 1, AT))
            call(collector, "POST", "/api/v1/admin/keep-evaluation", {"evaluation": RUN.as_json()})
            yield collector


def paths(collector: Collector) -> dict[str, Any]:
    """What is described, by path."""
    described: dict[str, Any] = call(collector, "GET", "/openapi.json")["paths"]
    return described


def answered(methods: dict[str, Any], method: str) -> dict[str, Any]:
    """The schema of an answer in JSON."""
    schema: dict[str, Any] = methods[method]["responses"]["200"]["content"]["application/json"]["schema"]
    return schema


def test_documents_that_are_read_are_as_described(collector: Collector) -> None:
    """Each has all fields that are promised, of their types, and no other; none is left out here."""
    [alert, *_] = call(collector, "GET", "/api/v1/alerts")
    assert alert["untold"] == {"hook": "dead"}
    call(collector, "POST", "/api/v1/admin/silence", {"matchers": "model=churn", "for": "1h"})
    asked = {
        "model": "churn",
        "metric": "accuracy",
        "evaluation": RUN.id,
        "fingerprint": alert["fingerprint"],
        "rule": "churn/ScoreHigh",
        "table": "churn",
        "labels": "severity=page",
        "target": "hook",
    }
    queries = {"/api/v1/episodes": "?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z"}
    told, empty = [], []
    for path, methods in paths(collector).items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if content.keys() != {"application/json"}:  # rows, streams and texts
            continue
        document = call(collector, "GET", quote(path.format(**asked)) + queries.get(path, ""))
        schema = answered(methods, "get")
        told += [f"{path}{each}" for each in differences(schema, document)]
        empty += [path] if not document else []
        empty += [path] if not schema.get("properties") and not schema["items"].get("properties") else []
    assert told == []
    assert empty == []


def test_what_duties_answer_is_as_described(collector: Collector) -> None:
    """What programs say of alerts, and that files are read again, is answered with what is described."""
    [alert, *_] = call(collector, "GET", "/api/v1/alerts")
    fingerprint = alert["fingerprint"]
    described = paths(collector)
    told = []

    def say(duty: str, asked: dict[str, Any]) -> Any:
        methods = described[f"/api/v1/admin/{duty}"]
        body = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
        document = call(collector, "POST", f"/api/v1/admin/{duty}", asked)
        told.extend(f"{duty} takes{each}" for each in differences(body, asked))
        told.extend(f"{duty}{each}" for each in differences(answered(methods, "post"), document))
        return document

    silence = say("silence", {"alert": fingerprint, "for": "1h", "comment": "it is known"})
    assert silence["alerts"] == 1
    say("end-silence", {"key": silence["key"]})
    say("ack", {"alert": fingerprint, "author": "me"})
    say("ack", {"alert": fingerprint, "withdraw": True})
    assert say("reload", {})["builtin"] == 0
    requeued = call(collector, "POST", "/api/v1/admin/requeue", {"target": "hook"})
    told += differences(answered(described["/api/v1/admin/requeue"], "post"), requeued)
    wait_until(lambda: call(collector, "GET", "/api/v1/dead"))  # it is refused again
    assert told == []
    assert requeued["queued"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"n": 1, "more": {"a": [1, None]}}, []),
        ({"n": True, "more": {}}, [".n: True is no ['integer']"]),
        ({"more": {}, "new": 1}, [".n is missing", ".new is not described"]),
        ({"n": 1, "more": {"a": ["x"]}}, [".more.a[0]: 'x' is no ['integer', 'null']"]),
    ],
)
def test_a_difference_is_found(document: Any, told: list[str]) -> None:
    """What compares here finds fields that are missing, new, or of another type."""
    numbers = {"type": "array", "items": {"type": ["integer", "null"]}}
    schema = {
        "type": "object",
        "required": ["n", "more"],
        "properties": {"n": {"type": "integer"}, "more": {"type": "object", "additionalProperties": numbers}},
    }
    assert list(differences(schema, document)) == told
