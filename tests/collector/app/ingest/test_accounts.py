"""The books of a whole collector, as /metrics shows them: to the row, through repeats and restarts."""

import gzip
import json
import threading
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from helpers.collector import Collector, ask, prediction, project, request, running
from helpers.wal_disk import TIMEOUT_S
from lapwing_collector.clock import epoch_ns
from lapwing_collector.errors import UnavailableError
from lapwing_collector.lake import Lake

AT = epoch_ns(datetime(2026, 1, 1))


def numbered(*numbers: int, model: str = "m") -> bytes:
    return request([prediction(model, f"p{n}", AT, inputs={"x": n}, sequence=n) for n in numbers], "sdk-1")


def plain(*numbers: int) -> bytes:
    """As a client without our SDK sends them."""
    return request([prediction("m", f"q{n}", AT + n, inputs={"x": n}) for n in numbers])


def metrics(collector: Collector) -> dict[str, float]:
    """Our metrics, by name and outcome."""
    with urllib.request.urlopen(f"http://{collector.web}/metrics", timeout=TIMEOUT_S) as answer:
        text = answer.read().decode()
    return {
        sample.labels.get("outcome", sample.name): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("lapwing_") and "queries" not in family.name
        for sample in family.samples
    }


def duty(collector: Collector, name: str, told: Any) -> Any:
    """What the owner answers."""
    asked = urllib.request.Request(
        f"http://{collector.web}/api/v1/admin/{name}",
        json.dumps(told).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def wait_for(collector: Collector, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    for _ in range(1000):
        found = metrics(collector)
        if condition(found):
            return found
        threading.Event().wait(0.02)
    raise AssertionError(found)


def books(found: dict[str, float]) -> dict[str, float]:
    names = ("received", "stored", "deduplicated", "rejected", "dead_lettered", "lapwing_rows_waiting")
    return {name.removeprefix("lapwing_rows_"): found[name] for name in names}


def at_rest(found: dict[str, float]) -> bool:
    return not found["lapwing_rows_waiting"] and not found["lapwing_replaying"]


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    """Received is stored, deduplicated and rejected together, to the row, and stored is what SQL counts."""
    with running(project(tmp_path)) as collector:
        for body in (numbered(1, 2, 3), numbered(2, 3, 4), plain(1, 2), plain(2, 3), plain(1, 2)):
            assert collector.post(body)[0] == 200
        assert collector.post(request([prediction("bad\n", "x", AT), prediction("m", "y", AT)]))[0] == 200
        assert collector.post(b"\xff")[0] == 400
        found = wait_for(collector, at_rest)
    assert books(found) == {
        "received": 14,
        "stored": 8,
        "deduplicated": 5,
        "rejected": 1,
        "dead_lettered": 0,
        "waiting": 0,
    }
    assert ask(tmp_path, "SELECT count(*) AS n FROM predictions.m") == [{"n": 8}]


def test_rows_that_wait_over_a_restart_are_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were acknowledged and not written are received by the next process, and stored, once."""

    def fail(*_: object) -> None:
        raise UnavailableError("the lake is away")

    with monkeypatch.context() as patch, running(project(tmp_path)) as collector:
        patch.setattr(Lake, "flush", fail)
        assert collector.post(numbered(1, 2, 3))[0] == 200
        assert collector.post(plain(1, 2))[0] == 200
        assert books(metrics(collector)) | {"waiting": 5} == books(metrics(collector))
    with running(project(tmp_path)) as collector:
        assert collector.post(numbered(3, 4))[0] == 200
        assert collector.post(gzip.decompress(gzip.compress(plain(1, 2))))[0] == 200
        found = wait_for(collector, at_rest)
    assert books(found) == {
        "received": 9,
        "stored": 6,
        "deduplicated": 3,
        "rejected": 0,
        "dead_lettered": 0,
        "waiting": 0,
    }
    assert ask(tmp_path, "SELECT count(*) AS n FROM predictions.m") == [{"n": 6}]


def test_records_that_never_came_are_counted(tmp_path: Path) -> None:
    """Gaps in the numbers of an SDK process are exported, survive a restart, and close when filled."""
    with running(project(tmp_path)) as collector:
        collector.post(numbered(1, 2, 5))
        assert metrics(collector)["lapwing_missing_records"] == 2
    with running(project(tmp_path)) as collector:
        assert metrics(collector)["lapwing_missing_records"] == 2
        told = duty(collector, "senders", {"worst": 1})
        assert [told[name] for name in ("missing", "processes", "forgotten")] == [2, 1, 0]
        (worst,) = told["worst"]
        assert [worst[name] for name in ("process_id", "highest", "accepted", "missing")] == [
            "sdk-1",
            5,
            3,
            2,
        ]
        assert duty(collector, "senders", {"worst": 0})["worst"] == []
        collector.post(numbered(4))
        assert metrics(collector)["lapwing_missing_records"] == 1
        collector.post(numbered(3))
        assert metrics(collector)["lapwing_missing_records"] == 0


def test_the_same_content_is_stored_once_however_it_comes(tmp_path: Path) -> None:
    """Fault 15: the same bytes, concurrently, re-batched, and after a restart: each record is a row once."""
    bodies = [plain(1, 2, 3), plain(4, 5)] * 4 + [plain(3, 4), plain(5, 1)]
    with running(project(tmp_path)) as collector:
        senders = [threading.Thread(target=collector.post, args=(body,)) for body in bodies]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(TIMEOUT_S)
    with running(project(tmp_path)) as collector:
        for body in (*bodies[:2], plain(2, 5)):
            assert collector.post(body)[0] == 200
    assert ask(tmp_path, "SELECT inputs.x AS x, count(*) AS n FROM predictions.m GROUP BY 1 ORDER BY 1") == [
        {"x": n, "n": 1} for n in range(1, 6)
    ]


def test_content_can_be_left_uncompared(tmp_path: Path) -> None:
    """With `dedup.unnumbered: false` equal records of clients without numbers are all stored."""
    for _ in range(2):
        with running(project(tmp_path, **{"dedup.unnumbered": False})) as collector:
            assert collector.post(plain(1))[0] == 200
    assert ask(tmp_path, "SELECT count(*) AS n FROM predictions.m") == [{"n": 2}]
