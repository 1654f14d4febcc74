"""What Prometheus is told names metrics that there are, and its alerts fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.contract_docs import table
from helpers.deploying import DEPLOY, ONE_MACHINE
from lapwing_collector.config import Settings

FOLDER = DEPLOY / "prometheus"
ALERTS = [
    rule
    for group in yaml.safe_load((FOLDER / "lapwing.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = json.loads((DEPLOY / "grafana/dashboards/collector.json").read_text())["panels"]
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in ALERTS} | {
    panel["title"]: target["expr"] for panel in PANELS for target in panel["targets"]
}
_ADDED = {"instance", "job"}
"""Labels that Prometheus gives to whatever it scrapes."""


def documented() -> dict[str, set[str]]:
    """The labels of each metric by its name; a test elsewhere holds the page and `/metrics` together."""
    found: dict[str, set[str]] = {"up": set()}
    for name, kind, labels, *_ in table("docs/telemetry.md", "Metric"):
        plain = name.strip("`")
        for series in [plain] if kind != "summary" else [f"{plain}_sum", f"{plain}_count"]:
            found[series] = set(re.findall(r"\w+", labels))
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total"):
        found[name] = set()
    return found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_there_are(name: str) -> None:
    """Each alert and panel parses, and asks for metrics by names and labels that the collector exports."""
    parser = pytest.importorskip("promql_parser", reason="pip install '.[deploy]'")
    known = documented()
    seen: list[Any] = []
    text = EXPRESSIONS[name].replace("$__rate_interval", "1m").replace("$instance", ".*")
    parser.walk(parser.parse(text), pre_visit=seen.append)
    selectors = [each for each in seen if isinstance(each, parser.VectorSelector)]
    assert selectors
    for selector in selectors:
        assert selector.name in known
        assert {each.name for each in selector.matchers.matchers} <= known[selector.name] | _ADDED
    for each in seen:
        if isinstance(each, parser.AggregateExpr) and each.modifier is not None:
            allowed = set().union(*(known[selector.name] for selector in selectors))
            assert set(each.modifier.labels) <= allowed | _ADDED


def test_every_alert_says_how_bad_it_is_and_what_is_wrong() -> None:
    """An alert has a severity and a summary, and no two have one name."""
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_the_page_tells_of_each_alert() -> None:
    """Whatever docs/telemetry.md says one should watch has an alert."""
    watched = {
        name for row in table("docs/telemetry.md", "Watch") for name in re.findall(r"lapwing_\w+", row[0])
    }
    assert watched
    alerted = {name for rule in ALERTS for name in re.findall(r"lapwing_\w+", rule["expr"])}
    assert watched <= alerted


def test_the_collector_of_the_compose_file_is_scraped() -> None:
    """Prometheus looks where the collector listens, with the secret that compose gives it."""
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    compose = yaml.safe_load((ONE_MACHINE / "compose.yaml").read_text())
    host, _, port = target.partition(":")
    assert host in compose["services"]
    assert port == Settings().web.listen.rpartition(":")[2]
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert compose["secrets"][secret]["environment"] == "LAPWING_QUERY_TOKEN"


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "rules", "--lint-fatal", "lapwing.rules.yml"],
        ["test", "rules", "lapwing.rules.test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_agrees(arguments: list[str]) -> None:
    """Prometheus itself reads the files, and each alert fires for what is wrong and for nothing else."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, of the package prometheus")
    done = subprocess.run(
        [promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    """The tests for promtool expect each alert to fire once."""
    tests = Path(FOLDER / "lapwing.rules.test.yml").read_text()
    for rule in ALERTS:
        assert f'alertname="{rule["alert"]}"' in tests
