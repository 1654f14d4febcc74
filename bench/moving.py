"""A lake of ten million predictions goes to PostgreSQL and an object store, and back, while it is used.

    python -m bench moving

A collector of processes of its own receives a trickle of records all the while, and is asked over HTTP
without a pause, by one reader. The same questions are asked before, between and after, and must have the
same answers. The PostgreSQL server is a real one; the object store is moto, which speaks S3 on this very
machine and is written in Python: what it takes says nothing about a real one. LAPWING_BENCH_ROWS, a multiple
of 20 000, makes the lake smaller.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.client import OK, HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import yaml
from bench.decode import START_NS, request_of
from bench.flush import flush, joined
from bench.lake_queries import at

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import objects, postgres
from helpers.collector import prediction, request
from helpers.faults_victim import Victim
from helpers.waiting import wait_until
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.decode import decode_logs
from lapwing_collector.lake import Lake
from lapwing_collector.lake.upkeep import Upkeep

ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10000000"))
FILES = 20
PER_REQUEST = 1000
DISTINCT = 50
RECORDS = 20
PAUSE_S = 0.05
LONGEST_S = 5.0
"""Nobody who asks may wait longer while the lake moves. Alerts go by themselves, before and afterwards, for
which the collector is stopped; how long a reader waits for that is printed."""
ALERTS = "alerts"
START_S = 600.0
QUESTIONS = (
    (
        "SELECT count(*), bit_xor(hash(prediction_id)), sum(inputs.count_0), min(output.score), max(time) "
        "FROM predictions.churn"
    ),
    (
        "SELECT inputs.city_0, count(*), round(avg(output.score), 9) FROM predictions.churn "
        "WHERE inputs.count_0 > 500 GROUP BY 1 ORDER BY 1"
    ),
    (
        "SELECT date_trunc('hour', time), count(*), sum(inputs.count_1), median(inputs.ratio_0) "
        "FROM predictions.churn GROUP BY 1 ORDER BY 1"
    ),
    "SELECT count(*), sum(hash(p)::HUGEINT)::VARCHAR FROM predictions_all.churn AS p",
    (
        "SELECT field, grain, sum(list_sum(counts))::BIGINT FROM profiles WHERE model = 'churn' "
        "GROUP BY ALL ORDER BY ALL"
    ),
)
ASKED = (
    "SELECT count(*) AS n FROM predictions.live",
    (
        "SELECT avg(output.score) AS score FROM predictions.churn "
        f"WHERE time < make_timestamp({START_NS // 1000 + 60_000_000})"
    ),
)
"""What the reader asks by turns: what is new, and a minute of what is old."""
ONCE = "SELECT count(DISTINCT prediction_id) AS n, sum(inputs.x)::BIGINT AS x FROM predictions.live"


@dataclass
class Reader:
    """Asks a collector all the time.

    Attributes:
        answers: How many there were.
        failures: Requests that were refused, or had no answer; each was repeated.
        longest_s: The longest time from one answer to the next, by what was done then.
        doing: What is done now.
    """

    web: str
    answers: int = 0
    failures: int = 0
    longest_s: dict[str, float] = field(default_factory=dict)
    doing: str = "nothing"
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until stopped."""
        last_s = time.monotonic()
        while not self.stop.is_set():
            done = ask(self.web, ASKED[self.answers % len(ASKED)]) is not None
            now_s = time.monotonic()
            # One that is still out counts, too.
            self.longest_s[self.doing] = max(self.longest_s.get(self.doing, 0.0), now_s - last_s)
            if done:
                self.answers += 1
                last_s = now_s
            else:
                self.failures += 1
                self.stop.wait(PAUSE_S)


@dataclass
class Sender:
    """Sends records, each request until it is acknowledged, or nobody is there who could."""

    victim: Victim
    sent: int = 0
    again: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send until stopped."""
        while not self.stop.is_set():
            numbers = range(self.sent + 1, self.sent + RECORDS + 1)
            body = request(
                [prediction("live", f"p{n}", time.time_ns(), inputs={"x": n}, sequence=n) for n in numbers],
                process_id="trickle",
            )
            while not self.victim.takes(body):
                self.again += 1
                if self.stop.wait(PAUSE_S) and not self.victim.ready:
                    return
            self.sent += RECORDS
            self.stop.wait(PAUSE_S)


def main() -> None:
    """Print what the move takes and who waits for it, and fail where an answer differs."""
    found = postgres.programs()
    assert found is not None, "no PostgreSQL server is installed"
    with postgres.running(found) as server, objects.running() as store, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embedded: dict[str, Any] = {"query": {"timeout": "10m"}, "alerts": {"ingest_stalled": False}}
        lake = {"catalog": server.database(), **store.settings(store.empty())}
        moved = {**embedded, "state": {"url": server.empty()}}
        shared = {**moved, "lake": lake}
        began = time.monotonic()
        size = fill(folder / "data" / "lake")
        print(f"{ROWS:,} rows, {size / 1e6:,.0f} MB of files, made in {time.monotonic() - began:.0f} s")
        victim = Victim(folder / "data", embedded)
        try:
            victim.start()
            with used(victim) as (reader, sender):
                wait_until(lambda: reader.answers > len(ASKED), START_S)
                before = asked(victim, "embedded")
                move_alerts(victim, reader, moved, "there")
                move(victim, reader, shared, size, "there")
                between = asked(victim, "PostgreSQL and moto")
                (folder / "data" / "lake").rename(folder / "old")
                (folder / "data" / "state.sqlite").rename(folder / "old.sqlite")
                move(victim, reader, moved, size, "back")
                move_alerts(victim, reader, embedded, "back")
                after = asked(victim, "embedded again")
            wait_until(lambda: ask(victim.web, ASKED[0]) == [{"n": sender.sent}], START_S)
            [counted] = ask(victim.web, ONCE) or [{}]
            assert victim.stop() == 0
        finally:
            victim.clear()
    assert counted == {"n": sender.sent, "x": sender.sent * (sender.sent + 1) // 2}, counted
    print(f"{sender.sent:,} records came meanwhile, each is there once; {sender.again} requests came again")
    longest = max(s for doing, s in reader.longest_s.items() if not doing.endswith(ALERTS))
    print(
        f"{reader.answers:,} answers to the reader, {reader.failures} requests without; "
        f"the longest wait while the lake moved {longest:.1f} s"
    )
    assert before == between == after, "answers differ"
    print(f"the {len(QUESTIONS)} questions have the same answers before, between and after")
    assert longest < LONGEST_S, f"a reader waited {longest:.1f} s"


def fill(folder: Path) -> int:
    """Make the lake; the size of its files."""
    draw = Random(11)
    payloads = [request_of(draw, PER_REQUEST, n * PER_REQUEST) for n in range(DISTINCT)]
    batches = [batch for payload in payloads for batch in decode_logs(payload, START_NS).batches]
    requests = ROWS // FILES // PER_REQUEST
    template = joined((batches * -(-requests // DISTINCT))[:requests])
    with closing(Lake.open(folder, profiling=PROFILING)) as lake:
        for number in range(FILES):
            flush(lake, [at(template, number, draw)])
            if number == 0:  # the rest is counted in its bins
                upkeep = Upkeep(lake.catalog, lake.profiles, lake.add_rows)
                while upkeep.freeze_next(datetime(2026, 1, 1)):  # noqa: DTZ001  # naive UTC
                    pass
                upkeep.close()
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def move_alerts(victim: Victim, reader: Reader, settings: dict[str, Any], way: str) -> None:
    """Take the alert state to where some settings say, for which the collector stops a moment."""
    new = victim.data.with_name("new.yaml")
    new.write_text(yaml.safe_dump({**settings, "data": str(victim.data)}))
    with during(reader, f"{way}, {ALERTS}") as took:
        assert victim.stop() == 0
        done = victim.run("migrate-state", "--to", str(new))
        assert done.returncode == 0, done.stderr
        victim.settings = settings
        victim.launch()
        answers = reader.answers
        wait_until(lambda: reader.answers > answers, START_S)
    print(
        f"{way}: alerts, with a stop and a start, in {took():.1f} s; the reader waits "
        f"{reader.longest_s[f'{way}, {ALERTS}']:.2f} s at most"
    )


def move(victim: Victim, reader: Reader, settings: dict[str, Any], size: int, way: str) -> None:
    """Take the lake to where some settings say, as docs/scaling.md has it, and print what each part took."""
    config = victim.data.with_name("data.yaml")
    new = victim.data.with_name("new.yaml")
    new.write_text(yaml.safe_dump({**settings, "data": str(victim.data)}))
    command = [*victim.command, "migrate-lake", "--config", str(config), "--data", str(victim.data)]
    with during(reader, f"{way}, copying") as took:
        done = said([*command, "--to", str(new), "--json"])
    copied_s = took()
    with during(reader, f"{way}, switching") as took:
        rest = said([*command, "--to", str(new), "--switch", "--json"])
    switched_s = took()
    assert rest["finished"]
    with during(reader, f"{way}, reloading") as took:
        ready = victim.output.read_text().count("the new worker is ready")
        new.replace(config)
        victim.settings = settings
        assert victim.process is not None
        victim.process.send_signal(signal.SIGHUP)
        wait_until(lambda: victim.output.read_text().count("the new worker is ready") > ready, START_S)
        answers = reader.answers
        wait_until(lambda: reader.answers > answers + len(ASKED), START_S)
    print(
        f"{way}: {done['files_copied']} files copied, each read back and compared, in {copied_s:.1f} s: "
        f"{size / 1e6 / copied_s:.0f} MB/s; the rest, {rest['files_copied']} files, and the catalog in "
        f"{switched_s:.1f} s; new settings answer after {took():.1f} s"
    )
    for doing, longest_s in reader.longest_s.items():
        if doing.startswith(way) and not doing.endswith(ALERTS):
            print(f"  {doing}: the reader waits {longest_s:.2f} s at most")


@contextmanager
def during(reader: Reader, doing: str) -> Iterator[Any]:
    """Let the reader count its waits under a name; gives what tells how long it took."""
    began = time.monotonic()
    reader.doing = doing
    ended: list[float] = []
    yield lambda: ended[0] - began
    reader.doing = "nothing"
    ended.append(time.monotonic())


@contextmanager
def used(victim: Victim) -> Iterator[tuple[Reader, Sender]]:
    """Let a collector be used for the length of the block."""
    workers = Reader(victim.web), Sender(victim)
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop.set()
        for thread in threads:
            thread.join()


def asked(victim: Victim, where: str) -> list[Any]:
    """Ask the questions, and print how long each answer took."""
    answers, times = [], []
    for sql in QUESTIONS:
        began = time.monotonic()
        status, text = call(victim.web, sql)
        assert status == OK, f"{sql}: {text}"
        answers.append(json.loads(text))
        times.append(f"{time.monotonic() - began:.2f}")
    print(f"{where}: the questions take {', '.join(times)} s beside the reader")
    return answers


def ask(web: str, sql: str) -> list[dict[str, Any]] | None:
    """What a collector answers; None if it does not."""
    try:
        status, text = call(web, sql)
        rows: list[dict[str, Any]] | None = json.loads(text) if status == OK else None
    except (OSError, HTTPException, ValueError):
        return None
    return rows


def call(web: str, sql: str) -> tuple[int, str]:
    """The status of the answer to a query, and its text."""
    connection = HTTPConnection(web, timeout=600)
    try:
        connection.request("GET", f"/api/v1/sql?sql={quote(sql)}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def said(command: list[str]) -> dict[str, Any]:
    """What a command says in JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    main()
