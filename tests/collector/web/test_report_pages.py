"""Pages of what the gate said: runs that are kept, one of them with its numbers, and advice on a model."""

import re
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from helpers.query_lake import make_lake, readers
from helpers.web_server import Web, web_server
from lapwing_collector.app.answers.evaluations import rows_of_document
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
    evaluation_of,
    evaluation_page,
)
from lapwing_collector.lake import Lake
from lapwing_collector.web.pages.report import tone

HOSTILE = "</pre><script>alert(1)</script>' onload=\"x\u202e"
AT = datetime(2026, 1, 1)


def run_of(name: str, verdict: Verdict, **more: Any) -> Evaluation:
    """A run of the gate with a rule of each outcome."""
    checks = [
        Check("g/Fine", "alert", "fail", Outcome.PASSED, value=0.91, low=0.9, high=0.92, sample_count=1234),
        Check("g/Seen", "record", "fail", Outcome.RECORDED, value=3.5),
        Check("g/Hint", "alert", "warn", Outcome.FAILED, value=7.0, text="a hint"),
        Check(
            "g/Bad",
            "alert",
            "fail",
            Outcome.FAILED,
            {"region": "north"},
            ("value < production_value",),
            value=0.5,
            sides={"production": 0.75, "reference": None},
            text="worse than production",
        ),
    ]
    values: dict[str, Any] = {
        "version": "2",
        "started_at": AT,
        "seconds": 1.0,
        "by": "ci",
        "rules": ["rules.yaml"],
        "allow_insufficient": False,
        "sides": [
            Side("candidate", "new.parquet", 1234, 1200, since=AT, until=AT),
            Side("production", "7d", 9),
        ],
        "checks": checks,
        "comparisons": [
            Comparison("a", "accuracy", "more", 0.75, 0.5, -0.25, -0.3, -0.2, 0.001, 1200),
            Comparison("b", "log loss", "less", 0.4, 0.3, -0.1, -0.2, -0.05, None, 1200),
            Comparison("c", "ROC-AUC", "more", low=-0.1, high=0.1),
            Comparison("d", "NDCG", "more", problem="there are no labels"),
        ],
        "sections": [
            Section(
                "Quality", "by class", Table(["class", "n"], [["a", 5], [None, 0.942851]]), sql=["SELECT 7"]
            )
        ],
    }
    return Evaluation(id=name, model="churn", verdict=verdict, **values | more)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A lake that keeps a run that failed, an earlier one that passed, and a hostile one of another model."""
    folder = tmp_path_factory.mktemp("web")
    path = make_lake(folder / "lake")
    odd = run_of(
        "odd", Verdict.FAILED, started_at=datetime(2025, 1, 1), by=HOSTILE, rules=[HOSTILE], notes=[HOSTILE]
    )
    kept = [
        run_of("worse", Verdict.FAILED),
        run_of(
            "fine",
            Verdict.PASSED,
            started_at=datetime(2025, 12, 1),
            version=None,
            sections=[
                Section("Quality", charts=[Chart("ROC curve", "lines", [Line("new", [0, 1], [0, 1])])])
            ],
        ),
    ]
    document = odd.as_json() | {"model": HOSTILE, "version": HOSTILE}
    document["sides"][0]["source"] = HOSTILE
    document["checks"][3] |= {
        "rule": HOSTILE,
        "labels": {HOSTILE: HOSTILE},
        "text": HOSTILE,
        "sides": {HOSTILE: 1.0},
    }
    document["sections"][0] |= {
        "title": HOSTILE,
        "sql": [HOSTILE],
        "table": {"columns": [HOSTILE], "rows": [[HOSTILE]]},
        "charts": [
            {"title": HOSTILE, "kind": kind, "x": HOSTILE, "y": HOSTILE, "diagonal": True}
            | {"lines": [{"name": HOSTILE, "x": [HOSTILE, 1], "y": [1.0, 2.0], "low": [], "high": []}]}
            for kind in ("lines", "times", "bars")
        ],
    }
    lake = Lake.open(path)
    for each in (*(run.as_json() for run in kept), document):
        lake.add_rows({"evaluations": rows_of_document(each)})
    lake.close()
    with readers(path) as shared, web_server(shared, folder) as running:
        yield running


def page_of(web: Web, address: str) -> str:
    """The HTML at an address."""
    answer = web.get(address, Accept="text/html")
    assert answer.status == 200, answer.body
    return answer.body.decode()


def seen(page: str) -> str:
    """The text of a page, without its elements."""
    text = unescape(re.sub(r"<[^>]+>", " ", page)).replace("\N{EN DASH}", "-")
    return " ".join(text.split())


def test_the_runs_that_are_kept_are_listed(web: Web) -> None:
    """Each with its verdict, its data and what it was compared with, the newest first; by model if asked."""
    page = page_of(web, "/reports?model=churn")
    assert re.findall(r"/report\?run=(\w+)", page) == ["worse", "fine"]
    text = seen(page)
    assert "2026-01-01 00:00 churn 2 failed new.parquet 7d 1,234 1,200 ci HTML" in text
    assert "churn passed new.parquet" in text
    assert re.findall(r"/report\?run=(\w+)", page_of(web, "/reports")) == ["worse", "fine", "odd"]
    assert "No evaluation is kept of x yet" in seen(page_of(web, "/reports?model=x"))


def test_a_run_tells_what_it_follows_from(web: Web) -> None:
    """Every rule has its outcome and numbers, what stopped it first; pairs say what their interval means."""
    page = page_of(web, "/report?run=worse")
    assert re.findall(r"<td><b>g/(\w+)</b>", page) == ["Bad", "Hint", "Fine", "Seen"]
    text = seen(page)
    assert "g/Bad region= north failed value < production_value 0.5 0.75 - worse than production" in text
    assert "g/Hint failed warns only 7 - - a hint" in text
    assert "g/Fine passed 0.91 0.9 to 0.92 - 1,234" in text
    assert "accuracy worse 0.75 0.5 -0.25 -0.3 to -0.2 0.001 1,200" in text
    assert "log loss better" in text
    assert "ROC-AUC no clear difference" in text
    assert "NDCG unknown there are no labels" in text
    assert "Quality by class Quality class n a 5 - 0.9429 SQL SELECT 7" in text
    assert '<th scope="col">class</th><th scope="col" class="number">n</th>' in page
    assert '<td class="number" data-value="0.942851">' in page
    assert "churn, judged" in seen(page_of(web, "/report?run=fine"))


def test_a_run_is_there_as_a_page_that_stands_for_itself(web: Web) -> None:
    """The list and the run lead to the page that the command writes, which may run and fetch nothing."""
    assert 'href="/report.html?run=worse"' in page_of(web, "/reports")
    assert 'href="/report.html?run=worse"' in page_of(web, "/report?run=worse")
    answer = web.get("/report.html?run=worse")
    run = evaluation_of(web.get("/api/v1/evaluations/worse").json)
    assert answer.body.decode() == evaluation_page(run)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert web.get("/report.html?run=x", Accept="text/html").status == 404


def test_charts_of_a_run_are_drawn(web: Web) -> None:
    """A section has its charts as pictures, each with its title and what its lines are."""
    page = page_of(web, "/report?run=fine")
    assert re.findall(r"<figcaption><h3>([^<]+)</h3>", page) == ["ROC curve"]
    assert '<svg class="chart"' in page
    assert 'class="line s0"' in page


def test_a_window_can_be_looked_at(web: Web) -> None:
    """The page of reports makes a report of a window of a model, with charts over time."""
    assert '<form class="choose" method="get" action="/model/report.html">' in page_of(web, "/reports")
    page = page_of(web, "/model/report.html?name=churn&from=2026-01-01&to=2026-01-02")
    assert "current: production:2026-01-01T00:00:00..2026-01-02T00:00:00, 10 rows" in seen(page)
    assert '<figcaption>Predictions <span class="key s0">predictions</span></figcaption>' in page
    assert "FROM prediction_count(&#39;churn&#39;" in page
    assert web.get("/model/report.html?name=x", Accept="text/html").status == 404


def test_what_is_let_pass_is_no_failure() -> None:
    """A rule that could not be judged stops a candidate, unless the run was told to let such pass."""
    unjudged = {"outcome": "no_data", "criticality": "fail"}
    assert [tone(unjudged, lenient=lenient) for lenient in (False, True)] == ["bad", "warn"]
    assert tone({"outcome": "failed", "criticality": "fail"}, lenient=True) == "bad"


def test_advice_on_a_model_says_how_it_follows(web: Web) -> None:
    """A model has a page that says whether to retrain it, with each question and its answer."""
    assert 'href="/model/advice?name=churn"' in page_of(web, "/reports")
    page = page_of(web, "/model/advice?name=churn")
    text = seen(page)
    made = web.get("/api/v1/advice/churn").json["advice"]
    assert made["text"] in text
    assert [step["question"] in text for step in made["steps"]] == [True] * 4
    assert "there is no model" in web.get("/model/advice?name=x", Accept="text/html").body.decode()


def test_hostile_runs_are_harmless(web: Web) -> None:
    """Markup in names, sources, texts, tables and SQL of a run is shown as text."""
    for address in (
        "/reports",
        "/report?run=odd",
        "/report.html?run=odd",
        "/report?run=%3Cscript%3Ealert(1)",
    ):
        page = web.get(address, Accept="text/html").body.decode()
        assert "<script>alert" not in page
        assert 'onload="' not in page
        assert "\u202e" not in page
        assert "&lt;script&gt;" in page


def test_where_nothing_is_kept_the_page_says_how(web: Web, tmp_path: Path) -> None:
    """A run that is not there is told as such, and an empty list teaches the command."""
    assert "there is no evaluation" in web.get("/report?run=x", Accept="text/html").body.decode()
    assert "say which run" in web.get("/report", Accept="text/html").body.decode()
    with readers(make_lake(tmp_path / "lake")) as shared, web_server(shared, tmp_path) as empty:
        assert "lapwing evaluate rules.yaml" in page_of(empty, "/reports")
