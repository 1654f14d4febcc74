"""What the collector tells Prometheus: the books balance, and each name is documented."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from helpers.collector import Collector, prediction, project, request, running
from helpers.contract_docs import table
from helpers.waiting import wait_until
from lapwing_collector.clock import epoch_ns

START = datetime(2026, 1, 1)
Values = dict[str, dict[tuple[str, ...], float]]
"""Samples by name, then by the values of their labels in the order of the labels' names."""

RULES = """
groups:
  - name: g
    interval: 1d
    rules:
      - alert: Any
        expr: SELECT count(*) AS value FROM predictions.m WHERE time >= $window_start AND time < $window_end
        condition: value > 100
"""


def read(collector: Collector) -> str:
    with urlopen(f"http://{collector.web}/metrics", timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def values(text: str) -> Values:
    found: Values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def rows(found: Values) -> dict[str, float]:
    by_outcome = {labels[0]: count for labels, count in found["lapwing_rows_total"].items()}
    return by_outcome | {"waiting": found["lapwing_rows_waiting"][()]}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a collector tells that has received, stored, refused, asked and judged something."""
    folder = tmp_path_factory.mktemp("telemetry")
    (folder / "lapwing.yaml").write_text("clock: data\nrules: [rules.yaml]\n")
    (folder / "rules.yaml").write_text(RULES)
    records = [
        prediction("m", f"p{n}", epoch_ns(START + timedelta(days=n)), inputs={"x": n}, sequence=n)
        for n in (1, 2, 3, 5)
    ]
    with running(project(folder / "data", folder / "lapwing.yaml")) as collector:
        assert collector.post(request(records, "process"))[0] == 200
        assert collector.post(request(records, "process"))[0] == 200
        bad = prediction("bad\nname", "p", epoch_ns(START), inputs={"x": 1})
        assert collector.post(request([bad], "process"))[0] == 200
        assert collector.post(b"\xff no protobuf")[0] == 400
        wait_until(lambda: rows(values(read(collector)))["stored"] == 4)
        with urlopen(
            f"http://{collector.web}/api/v1/sql?{urlencode({'sql': 'SELECT 1'})}", timeout=60
        ) as asked:
            assert asked.read() == b'[\n{"1": 1}\n]\n'
        wait_until(lambda: values(read(collector))["lapwing_rule_evaluations_total"][("evaluated",)] > 0)
        return read(collector)


def test_the_books_balance(told: str) -> None:
    """Every row that was received is told of once more, under what became of it."""
    assert rows(values(told)) == {
        "received": 9,
        "stored": 4,
        "deduplicated": 4,
        "rejected": 1,
        "dead_lettered": 0,
        "waiting": 0,
    }


def test_the_rest_is_told(told: str) -> None:
    """Requests, loss, flushes, queries, rules and the disk are told as they were."""
    found = values(told)
    assert found["lapwing_requests_total"] == {("200", "http"): 3, ("400", "http"): 1}
    assert found["lapwing_request_body_bytes_total"][()] > 100
    assert found["lapwing_missing_records"][()] == 1  # number 4 never came
    assert found["lapwing_senders"][()] == 1
    assert found["lapwing_flush_seconds_count"][()] >= 1
    assert found["lapwing_flush_seconds_sum"][()] > 0
    assert found["lapwing_flushed_bytes_total"][()] > 100
    assert found["lapwing_queries_total"][("answered", "people")] == 1
    assert found["lapwing_queries_total"][("answered", "rules")] >= 1
    assert found["lapwing_query_seconds_total"][("people",)] > 0
    assert (found["lapwing_ready"][()], found["lapwing_replaying"][()]) == (1, 0)
    assert 0 < found["lapwing_disk_free_bytes"][()] < found["lapwing_disk_size_bytes"][()]
    assert found["process_resident_memory_bytes"][()] > 1 << 20
    assert found["lapwing_oldest_waiting_seconds"][()] == 0


def test_every_metric_is_documented(told: str) -> None:
    """docs/telemetry.md has the name, type and labels of each metric, and no other."""
    documented = {
        row[0].strip("`"): (row[1], set(re.findall(r"\w+", row[2])))
        for row in table("docs/telemetry.md", "Metric")
    }
    exported = dict(re.findall(r"^# TYPE (lapwing_\w+) (\w+)$", told, re.MULTILINE))
    assert {name: kind for name, (kind, _) in documented.items()} == exported
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            if sample.name in documented:
                assert set(sample.labels) == documented[sample.name][1], sample.name


def test_a_restart_counts_what_it_reads_back(tmp_path: Path) -> None:
    """Nothing is waiting after a stop in good order, and the next process starts its books anew."""
    with running(project(tmp_path)) as collector:
        collector.post(request([prediction("m", "a", epoch_ns(START), inputs={"x": 1}, sequence=1)], "p"))
    with running(project(tmp_path)) as collector:
        assert set(rows(values(read(collector))).values()) == {0}
