"""Queries that meet damaged files: set aside once for all who meet them, and then answered from the rest."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from helpers.collector import ask, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.upkeep.mending import PAUSE_S, Mending
from lapwing_collector.clock import epoch_ns
from lapwing_collector.errors import UnavailableError

START = datetime(2026, 1, 1)


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_what_could_not_be_mended_waits() -> None:
    """Once nothing was found, the files are not looked through again at each query, but after a while."""
    clock = Clock()
    found = iter([0, 1, 0])
    mending = Mending(lambda _: next(found), clock)
    answers = [mending("a")]
    clock.now_s += 1
    answers.append(mending("a"))
    clock.now_s += PAUSE_S
    answers.append(mending("a"))
    assert answers == [False, False, True]


def test_files_are_looked_at_one_by_one() -> None:
    """A file that is whole after all does not keep another from being set aside at once."""
    looked: list[str | None] = []

    def scrub(file: str | None) -> int:
        looked.append(file)
        return int(file == "b")

    mending = Mending(scrub, Clock())
    assert [mending(file) for file in ("a", "b", None, "a")] == [False, True, False, False]
    assert looked == ["a", "b", None]


def test_a_scrub_that_cannot_be_done_helps_nobody() -> None:
    """While the owner shuts down, queries keep the error that they had."""

    def scrub(_: str | None) -> int:
        raise UnavailableError("shutting down")

    assert not Mending(scrub, Clock())("a")


def test_all_who_meet_damage_at_once_share_one_look() -> None:
    """Whoever waits while the files are looked through is served by that."""
    clock, begun, go_on = Clock(), threading.Event(), threading.Event()
    looks: list[int] = []

    def scrub(_: str | None) -> int:
        looks.append(1)
        begun.set()
        assert go_on.wait(60)
        clock.now_s += 5
        return 1

    mending = Mending(scrub, clock)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(mending, "a")
        assert begun.wait(60)
        second = threads.submit(mending, "a")
        go_on.set()
        assert (first.result(60), second.result(60)) == (True, True)
    assert looks == [1]


def test_a_query_answers_from_the_rest(tmp_path: Path) -> None:
    """A truncated file costs its own rows: the query that meets it is answered without them, and says so."""

    def send(day: int, stored: int) -> None:
        records = [
            prediction("m", f"{day}-{n}", epoch_ns(START + timedelta(days=day, minutes=n)), inputs={"x": 1})
            for n in range(10 * day)
        ]
        assert collector.post(request(records))[0] == 200
        wait_until(lambda: f'lapwing_rows_total{{outcome="stored"}} {stored}.0\n' in metrics())

    def metrics() -> str:
        with urlopen(f"http://{collector.web}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
            return text

    with running(project(tmp_path)) as collector:
        send(1, stored=10)
        (damaged,) = (tmp_path / "lake" / "data" / "predictions_all").rglob("*.parquet")
        send(2, stored=30)
        damaged.write_bytes(damaged.read_bytes()[:100])
        asked = urlencode({"sql": "SELECT sum(inputs.x) AS n FROM predictions.m", "format": "csv"})
        said = []
        for _ in range(2):
            with urlopen(f"http://{collector.web}/api/v1/sql?{asked}", timeout=60) as answer:
                said.append((answer.headers["Lapwing-Incomplete"], answer.read()))
    assert [rows for _, rows in said] == [b"n\r\n20\r\n"] * 2
    assert [incomplete for incomplete, _ in said] == ["true", "false"]
    assert ask(tmp_path, "SELECT count(*) AS n FROM predictions.m") == [{"n": 20}]
