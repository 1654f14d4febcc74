"""A browser, and a collector with something to look at."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from shutil import which
from typing import Any

import pytest

from helpers.batches import START, labels, predictions
from helpers.collector import Collector, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.clock import epoch_ns
from lapwing_collector.lake import Lake, Progress

CHROMIUM = which("chromium-headless-shell") or which("chromium")
"""The first has no window around its pages, which costs more than they do."""

RULES = """
groups:
  - name: churn
    interval: 1h
    labels: {model: churn, severity: page}
    rules:
      - alert: ScoreHigh
        window: 1h
        expr: |
          SELECT inputs.plan AS plan, count(*) AS sample_count, avg(output.score) AS value
          FROM predictions.churn WHERE time >= $window_start AND time < $window_end GROUP BY ALL
        condition: value > 0.7
        annotations: {summary: "the mean score of {{ $labels.plan }} is {{ $value | round(2) }}"}
      - record: score_mean
        expr: |
          SELECT count(*) AS sample_count, avg(output.score) AS value
          FROM predictions.churn WHERE time >= $window_start AND time < $window_end
"""
MODEL = """
model: churn
segments: [inputs.plan]
"""
HOURS = 48
SPAN = "from=2026-01-01T00:00:00Z&to=2026-01-03T04:00:00Z"
"""All that there is."""


@dataclass
class Looking:
    """A browser that looks at a collector.

    Attributes:
        collector: What is looked at.
        browser: Chromium.
        said: What pages wrote to the console, and requests that went elsewhere.
    """

    collector: Collector
    browser: Any
    said: list[str] = field(default_factory=list)

    def page(self, path: str, **context: Any) -> Any:
        """A page, once its panels are drawn."""
        page = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | context).new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", self._check)
        self.go(page, path)
        return page

    def go(self, page: Any, path: str) -> None:
        """Go to a path, and wait for its panels."""
        page.goto(f"http://{self.collector.web}{path}")
        page.wait_for_selector("html[data-ready]")

    def _check(self, request: Any) -> None:
        if not request.url.startswith((f"http://{self.collector.web}/", "data:", "blob:")):
            self.said.append(f"foreign: {request.url}")


def fill(data: Path) -> None:
    """Two days of predictions of two models; one has a new version that fails, labels and a reference."""
    draw = Random(1)
    rows, told = [], []
    for number in range(HOURS * 60):
        time = START + timedelta(minutes=number)
        version = "1" if number < 30 * 60 or number % 2 else "2"
        plan = draw.choice(["basic", "plus", "pro"])
        score = draw.betavariate(2, 5)
        fails = version == "2" and number > 40 * 60 and draw.random() < 0.5
        rows.append(
            {
                "time": time,
                "received_at": time + timedelta(seconds=1),
                "prediction_id": f"p{number}",
                "version": version,
                "duration_ms": draw.lognormvariate(2, 0.5),
                "error_type": "ValueError" if fails else None,
                "inputs.age": draw.randint(18, 90),
                "inputs.plan": plan,
                "output.value": None if fails else score > 0.4,
                "output.score": None if fails else score,
            }
        )
        if number < 36 * 60:
            told.append(
                {
                    "prediction_id": f"p{number}",
                    "prediction_time": time,
                    "label": draw.random() < score,
                    "time": time + timedelta(hours=6),
                    "received_at": time + timedelta(hours=6),
                }
            )
    lake = Lake.open(DataDirectory(data).lake, profiling=PROFILING)
    lake.flush([predictions("churn", rows)], [], Progress(1, 0))
    lake.flush([labels("churn", told)], [], Progress(2, 0))
    other = [row | {"inputs.age": None} for row in rows[::7]]
    lake.flush([predictions("price <b>", other)], [], Progress(3, 0))
    lake.close()


def let_it_fire(collector: Collector) -> None:
    """Send two hours in which the scores of one plan are high, and wait until somebody would be told."""
    wait_until(lambda: "segments" in _json(collector, "/api/v1/models/churn"))
    first_ns = epoch_ns(START + timedelta(hours=HOURS))
    records = [
        prediction(
            "churn",
            f"late{number}",
            first_ns + number * 60_000_000_000,
            inputs={"age": 30, "plan": ["pro", "basic"][number % 2]},
            output={"value": True, "score": [0.95, 0.2][number % 2]},
        )
        for number in range(190)
    ]
    assert collector.post(request(records))[0] == 200
    wait_until(lambda: any(each["state"] == "firing" for each in _json(collector, "/api/v1/alerts")))


def _json(collector: Collector, path: str) -> Any:
    connection = HTTPConnection(collector.web, timeout=30)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@contextmanager
def watched(folder: Path) -> Iterator[Collector]:
    """A collector with two days of data, in a replay; skipped where no browser could look at it."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    (folder / "models").mkdir()
    (folder / "models" / "churn.yaml").write_text(MODEL)
    (folder / "rules.yaml").write_text(RULES)
    settings = folder / "lapwing.yaml"
    settings.write_text("clock: data\nrules: [rules.yaml]\nweb: {dashboard: 'http://lapwing.example.org'}\n")
    fill(folder / "data")
    with running(project(folder / "data", settings)) as collector:
        let_it_fire(collector)
        yield collector


@contextmanager
def browsing(collector: Collector) -> Iterator[Looking]:
    """A browser that looks at a collector."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Looking(collector, browser)
        browser.close()
