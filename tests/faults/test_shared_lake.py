"""Collectors that share a lake in PostgreSQL and an object store, hurt while they receive."""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.collector import prediction, request
from helpers.faults_plan import SEED, long_only
from helpers.faults_victim import Victim, wait_until
from lapwing_collector.engine.place import CatalogServer, Place
from lapwing_collector.query import Session

if TYPE_CHECKING:
    from helpers.objects import ObjectStore
    from helpers.postgres import Server

pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")

PAIR = ("one", "other")
THREE = ("one", "two", "three")
REQUESTS = 40
HURTS = 40
RECORDS = 25
COUNT = "SELECT count(*), count(DISTINCT prediction_id), sum(inputs.age) FROM predictions.churn"


class Shared:
    """Collectors, and the lake that they write to."""

    def __init__(
        self,
        folder: Path,
        postgres: "Server",
        objects: "ObjectStore",
        names: Sequence[str],
    ) -> None:
        url, data = postgres.database(), objects.empty()
        self.place = Place(CatalogServer.of(url), objects.bucket(data))
        settings = {
            "write": {"flush_interval": "50ms"},
            "alerts": {"ingest_stalled": False},
            "state": {"url": postgres.database()},
            "lake": {"catalog": url, **objects.settings(data)},
        }
        self.victims = [Victim(folder / name, settings) for name in names]

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(Session.open(self.place)) as session:
            return [tuple(row.values()) for row in session.run(sql).to_pylist()]

    def wait_for(self, rows: int) -> None:
        """Wait until a query finds so many rows; it asks in one session, which takes long to open."""
        with closing(Session.open(self.place)) as session:
            wait_until(lambda: session.run(COUNT).column(0)[0].as_py() >= rows, "all rows are there")

    def send(self, number: int) -> None:
        """Send a request until a collector acknowledges it, to another one after each failure."""
        first = number * RECORDS + 1
        records = [
            prediction("churn", f"p{first + n}", 10**18, inputs={"age": first + n}, sequence=first + n)
            for n in range(RECORDS)
        ]
        body = request(records, process_id="sender")
        turns = iter(range(number, number + 10_000))
        wait_until(
            lambda: self.victims[next(turns) % len(self.victims)].takes(body), "a collector acknowledges"
        )


@pytest.fixture
def pair(tmp_path: Path, postgres: "Server", objects: "ObjectStore") -> Iterator[Shared]:
    made = Shared(tmp_path, postgres, objects, PAIR)
    yield made
    for victim in made.victims:
        victim.clear()


def test_every_acknowledged_record_is_there_once(pair: Shared, postgres: "Server", tmp_path: Path) -> None:
    """One dies within a commit, the other altogether, the database is away a while: no row is lost."""
    one, other = pair.victims
    mark = {"LAPWING_CRASH_MARK": str(tmp_path / "crashed")}
    one.start(LAPWING_CRASH_AT="lake.after_commit:2", **mark)
    other.start()
    for number in range(REQUESTS):
        pair.send(number)
        if number == REQUESTS // 4:
            wait_until((tmp_path / "crashed").exists, "it dies in its commit")
            wait_until(lambda: one.ready, "another worker takes its place")
            postgres.stop()
        elif number == REQUESTS // 2:
            wait_until(lambda: other.told("/readyz")["rows_wait"], "it says that rows wait")
            assert [victim.status("/readyz") for victim in pair.victims] == [200, 200]
            assert "the newest flush failed" in other.run("doctor").stdout
            postgres.start()
        elif number == 3 * REQUESTS // 4:
            other.kill()
    other.start()
    sent = REQUESTS * RECORDS
    pair.wait_for(sent)
    assert [victim.stop() for victim in pair.victims] == [0, 0]
    assert pair.ask(COUNT) == [(sent, sent, sent * (sent + 1) // 2)]
    assert pair.ask("SELECT model, table_name FROM models") == [("churn", "churn")]


@long_only
@pytest.mark.timeout(1800)
def test_three_collectors_hurt_at_random(tmp_path: Path, postgres: "Server", objects: "ObjectStore") -> None:
    """Whichever of three is killed whenever, and the database with them, every record is there once."""
    dice = random.Random(f"{SEED} shared")
    three = Shared(tmp_path, postgres, objects, THREE)
    try:
        for victim in three.victims:
            victim.start()
        for hurt in range(HURTS):
            for number in range(8):
                three.send(8 * hurt + number)
            if dice.random() < 0.2:
                postgres.stop()
                postgres.start()
            victim = dice.choice(three.victims)
            victim.run_for(dice.uniform(0, 0.3))
            victim.kill()
            victim.start()
        sent = 8 * HURTS * RECORDS
        three.wait_for(sent)
        assert [victim.stop() for victim in three.victims] == [0, 0, 0]
        assert three.ask(COUNT) == [(sent, sent, sent * (sent + 1) // 2)]
    finally:
        for victim in three.victims:
            victim.clear()
