"""What a commit costs in a lake that collectors share, and what a second collector costs.

A PostgreSQL server is started for this; files go to a folder, so that the store's part is not in the figures.
"""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.batches import predictions
from helpers.postgres import programs, running
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.engine.place import CatalogServer, Folder, Place
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import Session

FILES = (1, 100, 1_000, 10_000)
FLUSHES = 20
ROWS = 5_000

_SEED = """
INSERT INTO ducklake_data_file
SELECT n, {table}, {snapshot}, NULL, NULL, 'seed-' || n || '.parquet', true, 'parquet', 10, 1000, 100, n * 10,
    NULL, NULL, NULL, NULL
FROM generate_series({first}, {last}) AS n;
INSERT INTO ducklake_file_column_stats
SELECT n, {table}, c, 100, 10, 0, '2026-01-01', '2026-01-02', NULL, NULL
FROM generate_series({first}, {last}) AS n, generate_series(1, 10) AS c;
UPDATE ducklake_snapshot SET next_file_id = {last} + 1 WHERE snapshot_id = {snapshot};
"""


def main() -> None:
    """Print the figures."""
    found = programs()
    assert found is not None, "no PostgreSQL server is installed"
    with running(found) as server, tempfile.TemporaryDirectory() as folder:
        print("files  commit ms (median of", f"{FLUSHES})  CPU ms of the collector")
        place = Place(CatalogServer.of(server.database()), Folder(Path(folder)))
        with closing(Lake.open(place, profiling=PROFILING, writer="one")) as lake:
            lake.flush([predictions("churn", _rows(1))], [], Progress(log=1))
            position = 1
            for files in FILES:
                seed(lake, files)
                walls, cpus = [], []
                timed(lake, walls, cpus)
                for _ in range(FLUSHES):
                    position += 1
                    lake.flush([predictions("churn", _rows(10))], [], Progress(log=position))
                print(f"{files:6,} {1000 * median(walls):8.1f} {1000 * median(cpus):20.1f}")
        for writers in (1, 2):
            place = Place(CatalogServer.of(server.database()), Folder(Path(folder) / f"w{writers}"))
            print(
                f"{writers} collectors: {_cpu_per_million(place, writers):.1f} CPU-s per million predictions"
            )
        place = Place(CatalogServer.of(server.database()), Folder(Path(folder) / "many"))
        _look_at_many(place)


def timed(lake: Lake, walls: list[float], cpus: list[float]) -> None:
    """Have the lake measure the transactions of its commits."""
    commit = lake._commit  # noqa: SLF001  # nothing else is the transaction alone

    def measured(*arguments: Any) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        commit(*arguments)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)

    lake._commit = measured  # type: ignore[method-assign]  # noqa: SLF001


def seed(lake: Lake, files: int) -> None:
    """Let the catalog have so many files, of which there is nothing on the disk."""
    [(snapshot, first)] = lake.catalog.native(
        "SELECT snapshot_id, next_file_id FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1"
    )
    [(table,)] = lake.catalog.native("SELECT table_id FROM ducklake_table WHERE table_name = 'churn'")
    if files > first:
        values = {"table": table, "snapshot": snapshot, "first": first, "last": files}
        lake.catalog.change(_SEED.format(**values))


def _cpu_per_million(place: Place, writers: int) -> float:
    """CPU time of this process for each million of rows that so many writers, a thread each, bring."""
    lakes = [Lake.open(place, profiling=PROFILING, writer=f"w{number}") for number in range(writers)]
    batch = predictions("churn", _rows(ROWS))
    for lake in lakes:
        lake.flush([batch], [], Progress(log=1))
    flushes = 60 // writers
    began = time.process_time()

    def write(lake: Lake) -> None:
        for turn in range(flushes):
            lake.flush([batch], [], Progress(log=turn + 2))

    threads = [Thread(target=write, args=[lake]) for lake in lakes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s = time.process_time() - began
    for lake in lakes:
        lake.close()
    return cpu_s / (writers * flushes * ROWS) * 1e6


def _look_at_many(place: Place, models: int = 330) -> None:
    """Time the first query of a session, and the ones after it, with a thousand tables and more."""
    with closing(Lake.open(place, profiling=PROFILING)) as lake:
        batches = [predictions(f"m{number}", _rows(1)) for number in range(models)]
        lake.flush(batches, [], Progress(log=1))
    began = time.perf_counter()
    with closing(Session.open(place)) as session:
        opened = time.perf_counter()
        session.run("SELECT count(*) FROM predictions.m7")
        first = time.perf_counter()
        session.run("SELECT count(*) FROM predictions.m8")
        second = time.perf_counter()
        session.run("SELECT count(*) FROM predictions.m8")
        third = time.perf_counter()
    print(
        f"{3 * models:,} tables and views: session {opened - began:.2f} s, "
        f"query of a model {first - opened:.2f} s, of another {second - first:.2f} s, "
        f"again {third - second:.3f} s"
    )


def _rows(count: int) -> list[dict[str, Any]]:
    inputs = {f"inputs.f{number}": 0.5 + number for number in range(10)}
    return [{"prediction_id": f"p{number}", **inputs, "output.value": 1.0} for number in range(count)]


if __name__ == "__main__":
    main()
