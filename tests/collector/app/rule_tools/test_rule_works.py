"""Tools for rules over HTTP: the same as the command says, in processes that can be called off."""

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.collector import Collector, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.rule_tools import rule_works
from lapwing_collector.cli.main import app
from lapwing_collector.clock import epoch_ns
from lapwing_collector.sandbox import landlock_version

BEGIN = datetime(2026, 3, 1)
RULES = """
groups:
  - name: g
    interval: 10m
    rules:
      - alert: Slow
        expr: SELECT avg(inputs.ms) AS value FROM predictions.churn
          WHERE time >= $window_start AND time < $window_end
        condition: value > 100
      - record: rows
        expr: SELECT count(*) AS value FROM predictions.churn WHERE time < $window_end
  - name: each
    interval: 10m
    for_each_model: "chu*"
    rules:
      - alert: Accuracy
        expr: SELECT value, sample_count FROM accuracy({{ model }}, $window_start, $window_end)
        condition: value < 0.5
        min_samples: 5
"""
SENT = """
groups:
  - name: g
    rules:
      - alert: Any
        expr: SELECT {value} AS value FROM predictions.m WHERE time < $window_end
        condition: value > 0
        annotations: {{summary: "{text}"}}
"""
TEST = """
rule_files: [{rules}]
tests:
  - input_tables: {{predictions.m: {{{table}}}}}
    alert_rule_test: [{{eval_time: 1m, alertname: Any, exp_alerts: [{{exp_annotations: {{summary: "x"}}}}]}}]
"""
confined = pytest.mark.skipif(not landlock_version(), reason="this system has no Landlock")


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One with two hours of predictions, whose second hour is slow."""
    folder = tmp_path_factory.mktemp("works")
    (folder / "rules.yaml").write_text(RULES)
    (folder / "lapwing.yaml").write_text("clock: data\nrules: [rules.yaml]\n")
    with running(project(folder / "data", folder / "lapwing.yaml")) as collector:
        rows = [
            prediction(
                "churn",
                str(n),
                epoch_ns(BEGIN + timedelta(minutes=n)),
                inputs={"ms": 50.0 if n < 60 else 200.0},
                output={"value": "yes"},
            )
            for n in range(120)
        ]
        assert collector.post(request(rows))[0] == 200
        wait_until(lambda: "churn" in {each["model"] for each in collector.ask("SELECT model FROM models")})
        wait_until(lambda: len(call(collector, "")[1]) == 3)  # the group for models knows the model
        yield collector


def call(collector: Collector, name: str, asked: Any = None) -> tuple[int, Any]:
    body = None if asked is None else json.dumps(asked).encode()
    address = f"http://{collector.web}/api/v1/rules{name}"
    ask = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(ask, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_backtest_with_another_threshold(collector: Collector) -> None:
    """It says what the command says, slot by slot where that is asked for, and of mistakes what is wrong."""
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(hours=2)).isoformat()}
    status, done = call(collector, "/backtest", {"rule": "Slow", "threshold": 40, "slots": True, **span})
    assert status == 200, done
    (tried,) = done["rules"]
    assert tried["condition"] == "value > 40"
    assert (tried["slots"], tried["summary"]["fired"]) == (12, 1)
    (series,) = tried["course"]["series"]
    assert series["values"] == pytest.approx([50.0] * 6 + [200.0] * 6)
    assert series["states"] == ["firing"] * 12
    assert tried["course"]["slots"][0] == "2026-03-01T00:10:00"
    words = ["--rule", "Slow", "--for", "20m", "--from", span["from"], "--to", span["to"], "--json"]
    data = ["--config", str(collector.data.parent / "lapwing.yaml"), "--data", str(collector.data)]
    said = CliRunner().invoke(app, ["rules", "backtest", *words, *data])
    (told,) = json.loads(said.stdout)["rules"]
    assert told["summary"]["episodes"][0]["began"] == "2026-03-01T01:30:00"
    assert told["course"] is None
    for wrong, what in (
        ({"rule": "Slw", **span}, "did you mean Slow"),
        ({"rule": "Slow"}, "expected `from`"),
        ({"rule": "Slow", "threshold": "1", **span}, "expected a number"),
        ({"rule": "Slow", "nonsense": 1, **span}, "`nonsense` is not known"),
    ):
        status, problem = call(collector, "/backtest", wrong)
        assert status == 400
        assert what in problem["detail"]


def test_texts_that_no_command_can_be_told_are_refused(collector: Collector) -> None:
    """Halves of characters, what is too long, and what ends a text, each in a sentence."""
    asked = {"rule": "Slow", "from": "1h"}
    for wrong, what in (
        ({"condition": "value > 1 -- \ud800"}, "U+D800, half of a character"),
        ({"for": "\udc80"}, "U+DC80, half of a character"),
        ({"\ud800": 1}, "U+D800, half of a character"),
        ({"condition": "value > 1" + " " * 200_000}, "too long"),
        ({"condition": "value > 1\0"}, "U+0000"),
    ):
        status, problem = call(collector, "/backtest", asked | wrong)
        assert (status, what in problem["detail"]) == (400, True), problem
    assert call(collector, "/check", {"files": {"a.yaml": "# \udfff"}})[0] == 400
    assert call(collector, "/backtest", asked | {"condition": "value > 1" + " " * 100_000})[0] == 200


def test_rules_are_listed_and_explained(collector: Collector) -> None:
    """With how they stand, and the SQL behind their metrics; those of a group for models by either name."""
    status, rules = call(collector, "")
    assert status == 200
    assert [each["rule"] for each in rules] == ["g/Slow", "g/rows", "each[churn]/Accuracy"]
    status, rule = call(collector, "/each/Accuracy")
    assert (status, rule["rule"]) == (200, "each[churn]/Accuracy")
    assert "CREATE TEMP MACRO accuracy" in rule["explained"]
    assert call(collector, "/nothing")[0] == 404
    data = ["--config", str(collector.data.parent / "lapwing.yaml"), "--data", str(collector.data)]
    said = CliRunner().invoke(app, ["rules", "explain", "Accuracy", *data])
    assert said.stdout.startswith("-- rule each[churn]/Accuracy")


@confined
def test_files_are_checked_and_tested(collector: Collector) -> None:
    """The project's files against the lake; those that are sent by themselves, with all mistakes."""
    status, done = call(collector, "/check", {})
    assert (status, done["lake"], done["rules"]) == (200, True, 3)
    status, done = call(collector, "/check", {"files": {"a.yaml": "groups: [{name: g, rulez: []}]"}})
    assert (status, done["lake"]) == (200, False)
    assert any("did you mean rules" in each["text"] for each in done["findings"])
    files = {
        "r/rules.yaml": SENT.format(value=1, text="x"),
        "a_test.yaml": TEST.format(rules="r/rules.yaml", table="rows: [{time: 0m}]"),
    }
    status, done = call(collector, "/test", {"files": files})
    assert status == 200, done
    assert [each["failures"] for each in done] == [[]]
    assert call(collector, "/test", {"files": {"../a_test.yaml": ""}})[0] == 400
    assert call(collector, "/test", {"files": {"rules.yaml": ""}})[0] == 400


@confined
def test_files_that_are_sent_read_nothing_else(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither variables of the collector nor files beyond their folder."""
    monkeypatch.setenv("SECRET_OF_US", "s3cret")
    secret = tmp_path / "secret.csv"
    secret.write_text("time,version\n2026-01-01,s3cret\n")
    for reference in ("${env:SECRET_OF_US}", f"${{file:{secret}}}"):
        files = {
            "rules.yaml": SENT.format(value=1, text=reference),
            "a_test.yaml": TEST.format(rules="rules.yaml", table="rows: [{time: 0m}]"),
        }
        status, told = call(collector, "/test", {"files": files})
        assert status == 400
        assert "s3cret" not in json.dumps(told)
    files = {
        "rules.yaml": SENT.format(value=1, text="x"),
        "a_test.yaml": TEST.format(rules="rules.yaml", table=f"file: {secret}"),
    }
    status, told = call(collector, "/test", {"files": files})
    assert status == 400
    assert "s3cret" not in json.dumps(told)


@confined
def test_who_leaves_calls_it_off(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends, and somebody else has a turn; who comes before is told to come again."""
    files = {
        "rules.yaml": SENT.format(value="(SELECT count(*) FROM range(1000000000000))", text="x"),
        "a_test.yaml": TEST.format(rules="rules.yaml", table="rows: [{time: 0m}]"),
    }
    body = json.dumps({"files": files}).encode()
    host, _, port = collector.web.rpartition(":")
    head = (
        f"POST /api/v1/rules/test HTTP/1.1\r\nHost: {collector.web}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(head.encode() + body)
        wait_until(lambda: running_tools() == 1)
        with monkeypatch.context() as patch:
            patch.setattr(rule_works, "_PATIENCE_S", 0.1)
            status, problem = call(collector, "/check", {"files": {"a.yaml": "groups: []"}})
        assert status == 503, problem
        assert problem["type"] == "urn:lapwing:problem:busy"
    wait_until(lambda: running_tools() == 0)
    assert call(collector, "/check", {"files": {"a.yaml": "groups: []"}})[0] == 200


def running_tools() -> int:
    """Processes of ours that are such a tool."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        found += b"lapwing_collector.cli.confined" in words and int(parent) == os.getpid()
    return found


def test_times_are_bounded(collector: Collector) -> None:
    """What takes longer than it may is ended, and said to be."""
    asked = {"rule": "Slow", "from": "30d", "timeout": "1ms"}
    status, problem = call(collector, "/backtest", asked)
    assert status == 422
    assert "longer than 0.001 s" in problem["detail"]
