"""How the cost of predictions grows with collectors, models, features, and rows and files in the lake.

    python -m bench scaling

1. One, two and four collectors (`lapwing collect`) share a lake in a real PostgreSQL server and in moto; each
   receives as much: CPU for a million predictions, received, made durable, written, sent, committed. moto is
   no real store; its own CPU stands apart.
2. Models and features: CPU of decoding and of flushes, and the turns of their commits in PostgreSQL, files in
   a folder. Coefficients of `bench/simulation.py` are fitted to them, and printed by their names there.
3. Rows in the lake and files in the catalog: what queries take. Commits by files: `bench/sharing.py`.

LAPWING_BENCH_SECONDS is how long each collector receives, LAPWING_BENCH_ROWS how many rows the largest lake
has, LAPWING_BENCH_MODELS how many models there are at most. Some eight minutes.
"""

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from bench import processes
from bench.collector import PER_REQUEST, requests
from bench.flush import best_of
from bench.load import Load, drive
from bench.sharing import seed, timed
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import objects, postgres
from helpers.batches import START, predictions
from helpers.collector import prediction, request
from helpers.faults_victim import Victim
from helpers.postgres import Server
from helpers.waiting import wait_until
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.decode import decode_group
from lapwing_collector.engine.place import CatalogServer, Folder, Place
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.records import Batch, FieldColumn
from lapwing_collector.query import Session

SECONDS = float(os.environ.get("LAPWING_BENCH_SECONDS", "20"))
ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10000000"))
RATE = 20_000
"""Predictions a second to each collector."""
COLLECTORS = (1, 2, 4)
MODELS = tuple(n for n in (1, 10, 100, 1000) if n <= int(os.environ.get("LAPWING_BENCH_MODELS", "1000")))
FEATURES = (5, 50, 200)
FLUSHED = (10_000, 40_000)
"""Rows of a flush, of all models together."""
VALUES = 2_000_000
"""A flush with more of them is left out: a collector writes no more at once."""
FLUSHES = 2
FILES = (1, 100, 1_000, 10_000)
ASKED = 7
MERGED = 16
PATIENCE_S = 120.0


def main() -> None:
    """Print the figures, and the coefficients."""
    found = postgres.programs()
    assert found is not None, "no PostgreSQL server is installed"
    with postgres.running(found) as server:
        whole_s, postgres_s = tell_collectors(server)
        costs = tell_models(server)
        tell_lakes(server)
    # What is neither decoding nor writing of a row with 10 features, once a second: HTTP, numbers, the log.
    known_s = sum(costs[f"{part}_row_s"] + 10 * costs[f"{part}_value_s"] for part in ("receive", "write"))
    known_s += (costs["flush_s"] + costs["table_s"] + 10 * costs["column_s"]) / RATE
    costs["receive_row_s"] += max(0.0, whole_s - known_s)
    costs["postgres_s"] = postgres_s
    print("coefficients for bench/simulation.py:")
    for name, value in costs.items():
        print(f"    {name} = {value:.3g}")


def tell_collectors(server: Server) -> tuple[float, float]:
    """Print what a million predictions cost with some collectors.

    Returns:
        CPU seconds of one collector for a row, and those of PostgreSQL for a second of it: a flush.
    """
    bodies = requests(40 * PER_REQUEST)
    alone_s = postgres_s = 0.0
    print(f"collectors, each with {RATE:,} predictions/s for {SECONDS:g} s; CPU-s for a million of them:")
    for count in COLLECTORS:
        with objects.running() as store, tempfile.TemporaryDirectory() as name, ExitStack() as parts:
            data = store.empty()
            lake = {"catalog": server.database(), **store.settings(data)}
            settings = {"lake": lake, "state": {"url": server.empty()}, "alerts": {"ingest_stalled": False}}
            victims = [Victim(Path(name) / f"c{n}", settings, arrangement="collect") for n in range(count)]
            for victim in victims:
                parts.callback(victim.clear)
                victim.start()
            place = Place(CatalogServer.of(lake["catalog"]), store.bucket(data))
            groups = {
                "collectors": [v.process.pid for v in victims if v.process is not None],
                "PostgreSQL": [int((server.folder / "data" / "postmaster.pid").read_text().split()[0])],
                "moto": [store.pid],
            }
            warm = received(victims, bodies, SECONDS / 4, 0)
            wait_for(place, warm)
            before = {who: sum(map(processes.cpu_s, pids)) for who, pids in groups.items()}
            sent = received(victims, bodies, SECONDS, 100_000)
            wait_for(place, warm + sent)
            spent = {
                who: (sum(map(processes.cpu_s, pids)) - before[who]) / sent for who, pids in groups.items()
            }
            alone_s = alone_s or spent["collectors"]
            postgres_s = postgres_s or spent["PostgreSQL"] * RATE
            told = ", ".join(f"{who} {each * 1e6:5.2f}" for who, each in spent.items())
            print(
                f"  {count}: {told}; collectors {spent['collectors'] / alone_s - 1:+.0%} against one; "
                f"{sent:,} rows, each queryable"
            )
            for victim in victims:
                assert victim.stop() == 0
    return alone_s, postgres_s


def received(victims: Sequence[Victim], bodies: Sequence[bytes], seconds: float, first_round: int) -> int:
    """Send predictions to all of them for a while; how many were acknowledged."""
    loads = [
        Load(v.http, seconds=seconds, rate=RATE / PER_REQUEST, first_round=first_round + n * 10_000)
        for n, v in enumerate(victims)
    ]
    with ThreadPoolExecutor(len(loads)) as pool:
        done = pool.map(lambda load: drive(bodies, load), loads)
        return sum(PER_REQUEST * sum(each.accepted) for each in done)


def tell_models(server: Server) -> dict[str, float]:
    """Print what decoding and flushes cost by models and features, and the coefficients that explain it."""
    decoded = {features: decoding(features) for features in FEATURES}
    print("decoding, CPU µs a row: " + ", ".join(f"{n} features {s * 1e6:.2f}" for n, s in decoded.items()))
    value_s, row_s = np.polyfit(list(decoded), list(decoded.values()), 1)
    terms, cpus, turns = [], [], []
    print("models  features     rows   rows/s of CPU    CPU ms   turn ms")
    for features in FEATURES:
        source = batch(features, max(FLUSHED))
        for models in MODELS:
            with tempfile.TemporaryDirectory() as folder:
                place = Place(CatalogServer.of(server.database()), Folder(Path(folder)))
                with closing(Lake.open(place, profiling=PROFILING)) as lake:
                    lake.flush(split(source, models, models), [], Progress(log=1))
                    for rows in FLUSHED:
                        if rows * features > VALUES:
                            continue
                        cpu_s, turn_s = flushed(lake, split(source, models, rows))
                        terms.append((1, models, models * features, rows, rows * features))
                        cpus.append(cpu_s)
                        turns.append((models, turn_s))
                        print(
                            f"{models:6,} {features:9} {rows:8,} {rows / cpu_s:15,.0f} {cpu_s * 1e3:9.0f} "
                            f"{turn_s * 1e3:9.0f}"
                        )
    flush_s, table_s, column_s, write_row_s, write_value_s = fitted(terms, cpus)
    turn_s, turn_table_s = fitted([(1, models) for models, _ in turns], [each for _, each in turns])
    merge_file_s, merge_row_s = merging()
    sizes = [batch(features, 1000).size_bytes / 1000 for features in FEATURES]
    value_bytes, row_bytes = np.polyfit(FEATURES, sizes, 1)
    return {
        "receive_row_s": max(row_s, 0.0),
        "receive_value_s": value_s,
        "flush_s": flush_s,
        "table_s": table_s,
        "column_s": column_s,
        "write_row_s": write_row_s,
        "write_value_s": write_value_s,
        "turn_s": turn_s,
        "turn_table_s": turn_table_s,
        "merge_file_s": merge_file_s,
        "merge_row_s": merge_row_s,
        "row_bytes": row_bytes,
        "value_bytes": value_bytes,
    }


def tell_lakes(server: Server) -> None:
    """Print what queries take by the rows in the lake, and by the files in its catalog."""
    asked: Mapping[str, str] = {
        "average": "SELECT avg(inputs.f0) FROM predictions.m0",
        "group": "SELECT version, avg(inputs.f1) FROM predictions.m0 WHERE inputs.f2 > 0 GROUP BY 1",
        "minute": "SELECT count(*), avg(inputs.f0) FROM predictions.m0 WHERE time >= (SELECT max(time) FROM "
        "predictions.m0) - INTERVAL 1 MINUTE",
    }
    each = min(500_000, ROWS)
    source = batch(10, each)
    print("rows in the lake, ms of each query: " + ", ".join(asked))
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder))
        rows = 0
        for until in sorted({min(100_000, ROWS), min(1_000_000, ROWS), ROWS}):
            while rows < until:
                wanted = min(each, until - rows)
                lake.flush([later(first(source, wanted), rows)], [], Progress(log=rows + 1))
                rows += wanted
            with closing(Session.open(Path(folder))) as session:
                times = [1e3 * asking(session, sql) for sql in asked.values()]
            print(f"{rows:11,} " + " ".join(f"{ms:8.1f}" for ms in times))
        lake.close()
    print("files in the catalog: ms until a session is open, its first query of the minute, another")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(CatalogServer.of(server.database()), Folder(Path(folder)))
        with closing(Lake.open(place)) as lake:
            lake.flush([predictions("churn", [{"inputs.f0": 1.0}])], [], Progress(log=1))
            lake.flush([first(source, 1000)], [], Progress(log=2))
            for files in FILES:
                seed(lake, files)
                began = time.perf_counter()
                with closing(Session.open(place)) as session:
                    opened = time.perf_counter()
                    session.run(asked["minute"])
                    asked_at = time.perf_counter()
                    again_s = asking(session, asked["minute"])
                print(
                    f"{files:11,} {1e3 * (opened - began):8.1f} {1e3 * (asked_at - opened):8.1f} "
                    f"{1e3 * again_s:8.1f}"
                )


def decoding(features: int, rows: int = 1024) -> float:
    """CPU seconds for a row with so many features, in requests of 512, several at a time."""
    inputs = {f"f{n}": n / 7 for n in range(features)}
    records = [
        prediction("m", f"p{n}", 10**18 + n, inputs=inputs, sequence=n + 1) for n in range(PER_REQUEST)
    ]
    group = [request(records, process_id="bench")] * (rows // PER_REQUEST)
    return best_of(lambda: decode_group(group, 10**18), rounds=7) / rows


def batch(features: int, rows: int) -> Batch:
    """Predictions with random numbers."""
    draw = np.random.default_rng(7)
    plain = predictions("m0", [{"prediction_id": f"{n:032x}", "version": "1"} for n in range(rows)])
    fields = tuple(
        FieldColumn(("inputs", f"f{n}"), pa.array(draw.normal(size=rows))) for n in range(features)
    )
    return later(replace(plain, fields=fields), 0)


def later(source: Batch, rows: int) -> Batch:
    """The batch, a millisecond from row to row, after so many rows before."""
    at = rows + np.arange(source.rows.num_rows)
    times = pa.array(np.datetime64(START, "us") + (1000 * at).astype("timedelta64[us]"))
    place = source.rows.schema.get_field_index("time")
    return replace(source, rows=source.rows.set_column(place, source.rows.schema.field(place), times))


def first(source: Batch, rows: int, start: int = 0) -> Batch:
    """Some rows of a batch."""
    return replace(
        source,
        sequence=source.sequence.slice(start, rows),
        rows=source.rows.slice(start, rows),
        fields=tuple(FieldColumn(each.path, each.values.slice(start, rows)) for each in source.fields),
    )


def split(source: Batch, models: int, rows: int) -> list[Batch]:
    """So many rows, of so many models."""
    each = rows // models
    return [replace(first(source, each, n * each), model=f"m{n}") for n in range(models)]


def flushed(lake: Lake, batches: Sequence[Batch]) -> tuple[float, float]:
    """CPU seconds of a flush, and how long its turn takes: the best of some."""
    walls: list[float] = []
    commit = lake._commit  # noqa: SLF001  # nothing else is the transaction alone
    timed(lake, walls, [])
    spent = []
    for _ in range(FLUSHES):
        began = time.process_time()
        lake.flush(batches, [], Progress(log=lake.progress.log + 1))
        spent.append(time.process_time() - began)
    lake._commit = commit  # type: ignore[method-assign]  # noqa: SLF001
    return min(spent), min(walls)


def merging() -> tuple[float, float]:
    """CPU seconds for a file that is merged with others, and for a row in it."""
    small_files, small_rows, small_s = merged(tables=20, rows=50)
    large_files, large_rows, large_s = merged(tables=2, rows=20_000)
    (file_s, row_s), _ = nnls(
        np.array([[small_files, small_rows], [large_files, large_rows]], float), np.array([small_s, large_s])
    )
    print(f"merging: {file_s * 1e3:.1f} ms of CPU a file, {row_s * 1e6:.2f} µs a row")
    return float(file_s), float(row_s)


def merged(tables: int, rows: int) -> tuple[int, int, float]:
    """Files and rows that are merged, some files of each table, and CPU seconds."""
    source = batch(10, tables * rows)
    with tempfile.TemporaryDirectory() as folder, closing(Lake.open(Path(folder))) as lake:
        for number in range(MERGED):
            lake.flush(split(source, tables, tables * rows), [], Progress(log=number + 1))
        upkeep = Upkeep(lake.catalog, lake.profiles, lake.add_rows)
        upkeep.look()
        began = time.process_time()
        while upkeep.merge_next():
            pass
        spent_s = time.process_time() - began
        files = upkeep.tally.files_merged
        upkeep.close()
    assert files >= MERGED * tables
    return files, MERGED * tables * rows, spent_s


def fitted(terms: Sequence[Sequence[float]], spent: Sequence[float]) -> list[float]:
    """Coefficients, none negative, by least squares of relative errors; prints how far they are off."""
    matrix, seconds = np.array(terms, float), np.array(spent)
    found, _ = nnls(matrix / seconds[:, None], np.ones(len(seconds)))
    off = np.abs(matrix @ found / seconds - 1)
    print(
        f"fitted to {len(seconds)} measurements, off by {median(off):.0%} (median), {off.max():.0%} at most"
    )
    return [float(each) for each in found]


def asking(session: Session, sql: str) -> float:
    """Median of the seconds that a query takes."""
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        session.run(sql)
        times.append(time.perf_counter() - began)
    return median(times)


def wait_for(place: Place, rows: int) -> None:
    """Return once the lake has so many rows."""
    with closing(Session.open(place)) as session:
        wait_until(lambda: counted(session) >= rows, PATIENCE_S)
        assert counted(session) == rows


def counted(session: Session) -> int:
    """Rows that can be queried."""
    rows: int = session.run("SELECT count(*) FROM predictions.bench").column(0)[0].as_py()
    return rows


if __name__ == "__main__":
    main()
