"""The page of the system: trouble first, then what became of every row."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.query_lake import Readers, make_lake, readers
from helpers.web_server import web_server
from lapwing_collector.errors import StateUnavailableError


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


def metric(name: str, value: float, **labels: str) -> dict[str, Any]:
    """One metric with one sample."""
    return {"name": name, "help": f"of {name}", "samples": [{"name": name, "labels": labels, "value": value}]}


WELL = [
    metric("lapwing_ready", 1.0),
    metric("lapwing_disk_free_bytes", 500.0),
    metric("lapwing_disk_size_bytes", 1000.0),
]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (WELL, "All is well"),
        (WELL[1:], "Records are not accepted"),
        ([*WELL, metric("lapwing_flush_failing", 1.0)], "The newest flush failed"),
        ([*WELL, metric("lapwing_oldest_waiting_seconds", 11.0)], "Rows wait long"),
        (
            [*WELL, metric("lapwing_notification_target_down", 1.0, target="slack")],
            "A target takes no messages",
        ),
        (
            [*WELL, metric("lapwing_notification_attempts", 3.0, target="hook", verdict="retry")],
            "A target has accepted no message",
        ),
        ([*WELL[:1], metric("lapwing_disk_free_bytes", 9.0), WELL[2]], "The disk is nearly full"),
        ([*WELL, metric("lapwing_state_away", 1.0)], "The alert state is away"),
        ([*WELL, metric("lapwing_replicas", 1.0, state="gone")], "A replica is gone"),
    ],
)
def test_trouble_comes_first(shared: Readers, tmp_path: Path, told: list[dict[str, Any]], words: str) -> None:
    """What is wrong is said in words, with what to do; and that all is well only where nothing is."""
    with web_server(shared, tmp_path, reads={"telemetry": lambda _: told}) as web:
        page = web.get("/system").body.decode()
        assert words in page
        assert ("All is well" in page) == (told is WELL)
        assert web.get("/api/v1/telemetry").json == told


def test_replicas_are_told_apart(shared: Readers, tmp_path: Path) -> None:
    """Who leads, who stands by and who is gone; while nobody knows, the rest of the page is shown."""
    known = [
        {"name": f"lapwing host {n} ab", "kind": "serve", "address": f"http://host:{n}", "leads": n == 1}
        | {
            "gone": n == 3,
            "maintains": n == 2,
            "since": "2026-01-01T00:00:00Z",
            "seen_at": "2026-01-01T12:00:00Z",
        }
        for n in (1, 2, 3)
    ]
    told = {"term": 7, "leader": "lapwing host 1 ab", "since": "2026-01-01T06:00:00Z", "replicas": known}
    with web_server(shared, tmp_path, reads={"replicas": lambda _: told}) as web:
        page = web.get("/system").body.decode()
    rows = [re.findall(r"<td[^>]*>([^<]*)", row) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    found = {row[3]: row[2] for row in rows if len(row) == 6}
    assert found == {
        "http://host:1": "leads",
        "http://host:2": "looks after the lake",
        "http://host:3": "gone",
    }
    assert "Term 7" in page

    def away(_: object) -> None:
        raise StateUnavailableError("away", retry_after_s=1)

    (tmp_path / "away").mkdir()
    with web_server(shared, tmp_path / "away", reads={"replicas": away}) as web:
        assert web.get("/system").status == 200
