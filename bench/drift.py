"""Drift from profiles: what building them costs, how soon they answer, and whether raw rows say the same.

    python -m bench drift

1 000 columns of 10 million rows, spread over a week, are counted hour by hour in two processes and never
held: into a lake, whose rows of one key are added up as merging does. PSI and Jensen-Shannon distance of all
columns against a reference are then asked for in SQL. Twenty of the columns are kept as Parquet files; pandas
and scipy compute the same of them, a column at a time from memory, and must agree.

What profiles cost the collector is measured with tables of ten features over HTTP, with and without them in
turn.

LAPWING_BENCH_ROWS and LAPWING_BENCH_SECONDS make it smaller.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from bench.collector import collector, tables
from bench.load import Load, drive
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.lake import Lake
from lapwing_collector.lake.profiles import owned
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.metrics import ProfileCounter, add_up
from lapwing_collector.model.profiles import PROFILE_KEYS, Binning
from lapwing_collector.query import Session

ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10_000_000"))
SECONDS = float(os.environ.get("LAPWING_BENCH_SECONDS", "12"))
COLUMNS = 1_000
KEPT = 20
HOURS = 7 * 24
AT_ONCE = 10_000
REFERENCE_ROWS = 20_000
START = datetime(2026, 1, 5)  # noqa: DTZ001  # naive UTC
WEEK = "TIMESTAMP '2026-01-05', TIMESTAMP '2026-01-12'"
TABLE_ROWS = 20_000
ROUNDS = 2
POOL = 1 << 20

say = partial(print, flush=True)


def main() -> None:
    """Print what building costs, how long answers take, and how far pandas and scipy are behind."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        ours = answer(Path(folder))
        compare(Path(folder), ours)
    cost()


def build(folder: Path) -> None:
    """Count all rows into the lake in `folder`, and keep some columns."""
    reference = {f"inputs.f{n:04}": values for n, values in enumerate(_columns(0, REFERENCE_ROWS, 0.0))}
    set_reference(
        None,
        {"data": folder},
        tell_nobody,
        model="bench",
        name="train",
        rows=pa.table(reference),
        keeps_rows=False,
    )
    lake = Lake.open(folder / "lake", profiling=PROFILING)
    assert lake.profiles is not None
    with lake.catalog.exclusive():
        binnings = [each for name, each in lake.profiles.binnings("bench").items() if name in reference]
    inputs = ", ".join(f"f{number:04} DOUBLE" for number in range(COLUMNS))
    lake.catalog.rows(
        f"CREATE TABLE predictions_all.bench (time TIMESTAMP, stage VARCHAR, inputs STRUCT({inputs}))"
    )
    started, cpu, rows = time.perf_counter(), 0.0, 0
    with ProcessPoolExecutor(2, initializer=_prepare, initargs=(binnings, str(folder))) as processes:
        for hour, (counted, used) in enumerate(processes.map(_hour, range(HOURS)), 1):
            lake.add_rows({"profiles": owned(counted, "bench", "bench")})
            cpu += used
            rows += counted.num_rows
            if hour % 24 == 0:
                say(f"day {hour // 24} of 7 counted after {time.perf_counter() - started:.0f} s")
    took = time.perf_counter() - started
    say(f"{ROWS:,} rows x {COLUMNS:,} columns counted in {took:.0f} s on two cores, ", end="")
    say(f"{cpu / ROWS / COLUMNS * 1e9:.1f} ns of CPU a value; making them up is in the time only")
    upkeep = Upkeep(lake.catalog, lake.profiles, lake.add_rows)
    started = time.perf_counter()
    list(upkeep.merge_all())
    say(f"{rows:,} rows of profiles merged in {time.perf_counter() - started:.0f} s, ", end="")
    size = sum(file.stat().st_size for file in (folder / "lake/data/main/profiles").glob("*.parquet"))
    say(f"{size / 1e6:.0f} MB with the files before")
    upkeep.close()
    lake.close()


def answer(folder: Path) -> dict[str, dict[str, float]]:
    """Ask for the drift of all columns; what was found of the kept ones, by metric."""
    lake = Lake.open(folder / "lake")
    session = Session.open(folder / "lake")
    found = {}
    session.run("SELECT 1")
    for metric in ("psi", "js_distance"):
        sql = f"FROM {metric}('bench', {WEEK}, reference := 'train', fields := 'inputs.*', bins := NULL)"
        session.run(f"SELECT field, value FROM ({sql}) LIMIT 1")  # makes the metrics known
        spent, used = [], []
        for _ in range(5):
            started, cpu = time.perf_counter(), time.process_time()
            rows = session.run(f"SELECT field, value FROM ({sql})").to_pylist()
            spent.append(time.perf_counter() - started)
            used.append(time.process_time() - cpu)
        assert len(rows) == COLUMNS
        say(f"{metric} of {COLUMNS:,} columns against the reference: {min(spent) * 1e3:.0f} ms, ", end="")
        say(f"at most {max(spent) * 1e3:.0f}; {min(used) * 1e3:.0f} ms of CPU")
        found[metric] = {row["field"]: row["value"] for row in rows} | {"": min(spent)}
    session.close()
    lake.close()
    return found


def compare(folder: Path, ours: dict[str, dict[str, float]]) -> None:
    """Let pandas and scipy compute the same of the kept columns, from the same reference and edges."""
    lake = Lake.open(folder / "lake")
    binnings = dict(lake.catalog.rows("SELECT field, edges FROM binnings WHERE table_name = 'bench'"))
    lake.close()
    reference = _columns(0, REFERENCE_ROWS, 0.0)
    spent = {"psi": 0.0, "js_distance": 0.0}
    furthest = 0.0
    for number in range(KEPT):
        field = f"inputs.f{number:04}"
        files = sorted((folder / "kept").glob("*.parquet"))
        values = pd.concat([pd.read_parquet(file, columns=[field])[field] for file in files])
        edges = np.array(binnings[field])
        was = _shares(pd.Series(reference[number].to_numpy(zero_copy_only=False)), edges)
        for metric in spent:
            started = time.perf_counter()
            now = _shares(values, edges)
            if metric == "psi":
                p, q = np.maximum(was, 1e-4), np.maximum(now, 1e-4)
                value = float((rel_entr(p, q) + rel_entr(q, p)).sum())
            else:
                value = float(jensenshannon(was, now))
            spent[metric] += time.perf_counter() - started
            furthest = max(furthest, abs(value - ours[metric][field]))
    assert furthest < 1e-9, furthest
    say(f"raw rows of {KEPT} columns say the same but for {furthest:.1e}")
    for metric, seconds in spent.items():
        scaled = seconds / KEPT * COLUMNS
        say(
            f"{metric}: pandas and scipy take {scaled:.0f} s for {COLUMNS:,} columns, scaled from {KEPT}, ",
            end="",
        )
        say(f"{scaled / ours[metric]['']:,.0f} times as long")


def cost() -> None:
    """Compare how many rows a second can be queried, and what a row costs, with and without profiles."""
    bodies = tables(8, TABLE_ROWS)
    rates: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for profiles in (True, False):
            rate, used = _rate(bodies, profiles=profiles)
            rates[profiles].append(rate)
            cpu[profiles].append(used)
    kept, without = max(rates[True]), max(rates[False])
    say(f"tables of {TABLE_ROWS:,} rows x 10 columns: {kept:,.0f} rows/s queryable with profiles, ", end="")
    say(f"{without:,.0f} without: {1 - kept / without:.0%} fewer")
    used, unused = min(cpu[True]), min(cpu[False])
    say(f"CPU a row: {used * 1e6:.2f} µs with profiles, {unused * 1e6:.2f} without: ", end="")
    say(f"{used / unused - 1:.0%} more")


def _rate(bodies: list[bytes], *, profiles: bool) -> tuple[float, float]:
    """Rows a second until they can be queried, and seconds of CPU for each."""
    with _without_profiles() if not profiles else _as_it_is(), collector() as target:
        cpu, started = target.cpu_s(), time.perf_counter()
        result = drive(bodies, Load(target.http, "http", SECONDS, 4))
        count = TABLE_ROWS * sum(result.accepted)
        target.wait_until_queryable(count)
        return count / (time.perf_counter() - started), (target.cpu_s() - cpu) / count


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _without_profiles() -> Iterator[None]:
    """Let processes that start meanwhile keep no profiles: for this comparison only."""
    before = os.environ.get("PYTHONPATH", "")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(
            "from lapwing_collector.app.places import profiling\nprofiling.PROFILING = None\n"
        )
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            os.environ["PYTHONPATH"] = before


_COUNTER: list[ProfileCounter] = []
_FOLDER: list[Path] = []


def _prepare(binnings: list[Binning], folder: str) -> None:
    _COUNTER.append(ProfileCounter(binnings))
    _FOLDER.append(Path(folder) / "kept")
    _FOLDER[0].mkdir(exist_ok=True)


def _hour(hour: int) -> tuple[pa.Table, float]:
    """Make up an hour's rows, part by part, and count them; with the CPU time that counting took."""
    rows = ROWS * (hour + 1) // HOURS - ROWS * hour // HOURS
    parts, used = [], 0.0
    kept: pq.ParquetWriter | None = None
    for first in range(0, rows, AT_ONCE):
        size = min(AT_ONCE, rows - first)
        columns = _columns(1 + hour * 1_000 + first // AT_ONCE, size, hour / HOURS)
        names = [f"f{number:04}" for number in range(COLUMNS)]
        batch = pa.table(
            {
                "time": pa.repeat(pa.scalar(START + timedelta(hours=hour), pa.timestamp("us")), size),
                "version": pa.repeat(pa.scalar("1"), size),
                "stage": pa.repeat(pa.scalar("production"), size),
                "inputs": pa.StructArray.from_arrays(columns, names=names),
            }
        )
        started = time.process_time()
        parts.extend(_COUNTER[0].count(batch))
        used += time.process_time() - started
        some = pa.table(columns[:KEPT], names=[f"inputs.{name}" for name in names[:KEPT]])
        kept = kept or pq.ParquetWriter(_FOLDER[0] / f"{hour:03}.parquet", some.schema)
        kept.write_table(some)
    if kept is not None:
        kept.close()
    counted = pa.concat_tables(parts)
    keys = [(name, "ascending") for name in PROFILE_KEYS if name in counted.column_names]
    whose = owned(counted.sort_by(keys), "", "")
    return add_up(whose).select(counted.column_names), used


@cache
def _pools() -> tuple[np.ndarray, np.ndarray]:
    """Normal and log-normal numbers, drawn once: drawing all of them would take longer than counting."""
    normal = np.random.default_rng(0).standard_normal(POOL)
    return normal, np.exp(normal)


def _columns(seed: int, rows: int, shift: float) -> list[pa.Array]:
    """Values of all columns: some move by and by, some have many noughts, some are missing now and then."""
    normal, positive = _pools()
    first = np.random.default_rng(seed).integers(0, POOL - rows, COLUMNS)
    found = []
    for number in range(COLUMNS):
        pool = positive if number % 3 == 1 else normal
        values = pool[first[number] : first[number] + rows] + (shift if number % 5 == 0 else 0.0)
        if number % 7 == 0:
            values[:: 2 + number % 4] = 0.0
        if number % 2 == 0:
            values[number % 97 :: 97] = np.nan
        found.append(pa.array(values))
    return found


def _shares(values: pd.Series, edges: np.ndarray) -> np.ndarray:
    """Shares of null, other, under, the ranges, over."""
    known = values.dropna().to_numpy()
    inside, _ = np.histogram(known, edges)
    counts = [len(values) - len(known), 0, (known < edges[0]).sum(), *inside, (known > edges[-1]).sum()]
    return np.array(counts) / len(values)


if __name__ == "__main__":
    main()
