"""The page of the system: trouble first, then what became of every row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.query_lake import Readers, make_lake, readers
from helpers.web_server import web_server


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
        ([*WELL[:1], metric("lapwing_disk_free_bytes", 9.0), WELL[2]], "The disk is nearly full"),
    ],
)
def test_trouble_comes_first(shared: Readers, tmp_path: Path, told: list[dict[str, Any]], words: str) -> None:
    """What is wrong is said in words, with what to do; and that all is well only where nothing is."""
    with web_server(shared, tmp_path, reads={"telemetry": lambda _: told}) as web:
        page = web.get("/system").body.decode()
        assert words in page
        assert ("All is well" in page) == (told is WELL)
        assert web.get("/api/v1/telemetry").json == told
