"""A month of an alert's past: how long `lapwing rules backtest` takes over ten million predictions.

    python -m bench backtest

Thirty days of predictions with eight numbers each lie in files of half a million, as compaction leaves
them, with their profiles merged. Four rules are tried at slots five minutes apart: two over raw rows, two
over profiles. The baseline of each is a plain loop in one process: the same SQL by one session, no engine.

LAPWING_BENCH_ROWS and LAPWING_BENCH_DAYS make it smaller.
"""

import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.places.project import read_rules_and_groups
from lapwing_collector.app.rule_tools.backtest import backtest
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.upkeep import Upkeep
from lapwing_collector.model.records import PREDICTION_ROWS, Batch, FieldColumn, Kind
from lapwing_collector.query import Limits, Session
from lapwing_collector.rules import Rule, evaluation_query

ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10_000_000"))
DAYS = int(os.environ.get("LAPWING_BENCH_DAYS", "30"))
FILES = 20
FIELDS = 8
START = datetime(2026, 10, 1)  # noqa: DTZ001  # naive UTC
LOOPED = 500
"""Slots of the baseline, from which all are scaled."""

RULES = """
groups:
  - name: raw
    interval: 5m
    rules:
      - alert: ErrorRate
        window: 15m
        expr: |
          SELECT version, count(*) AS sample_count, count(error_type) / count(*) AS value
          FROM predictions.bench WHERE time >= $window_start AND time < $window_end GROUP BY version
        condition: value > 0.02
        min_samples: 50
        for: 10m
        annotations: {summary: "{{ $labels.version }}: {{ $value | humanizePercentage }}"}
      - alert: ScoreOfAnHour
        window: 1h
        expr: |
          SELECT version, count(*) AS sample_count, avg(output.score) AS value
          FROM predictions.bench WHERE time >= $window_start AND time < $window_end GROUP BY version
        condition: value > 0.51
        annotations: {summary: "{{ $value }}"}
  - name: profiles
    interval: 5m
    rules:
      - alert: NullShare
        window: 1h
        expr: |
          SELECT field AS feature, sum(list_sum(counts)) AS sample_count,
            sum(counts[1]) / sum(list_sum(counts)) AS value
          FROM profiles
          WHERE table_name = 'bench' AND stage = 'production' AND segment = ''
            AND time >= $window_start AND time < $window_end
          GROUP BY field
        condition: value > 0.05
        annotations: {summary: "{{ $labels.feature }}: {{ $value | humanizePercentage }}"}
      - alert: Drift
        window: 6h
        expr: |
          SELECT field AS feature, sample_count, value
          FROM psi('bench', $window_start, $window_end, reference := 'train')
        condition: value > 0.2
        min_samples: 500
        annotations: {summary: "{{ $labels.feature }}: {{ $value }}"}
"""


def main() -> None:
    """Print how long a month takes, what one slot costs, and the plain loop beside it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        (folder / "rules.yaml").write_text(RULES)
        (folder / "lapwing.yaml").write_text("rules: [rules.yaml]\n")
        tell(folder)


def tell(folder: Path) -> None:
    """Try each rule, after a plain loop over some of its slots."""
    end = START + timedelta(days=DAYS)
    session = Session.open(folder / "data" / "lake", Limits(threads=1))
    for rule in read_rules_and_groups([folder / "rules.yaml"])[0]:
        slots = list(rule.slots.between(START, end))
        few = slots[:: max(1, len(slots) // LOOPED)]
        for slot in few[:5]:
            session.run(*_asked(rule, slot))
        began = time.process_time()
        for slot in few:
            session.run(*_asked(rule, slot))
        looped = (time.process_time() - began) / len(few)
        began, cpu = time.perf_counter(), _cpu()
        done = backtest(
            folder / "lapwing.yaml",
            {"data": folder / "data"},
            lambda *_: None,
            [str(rule.id)],
            START.isoformat(),
            end.isoformat(),
        )
        took, used = time.perf_counter() - began, _cpu() - cpu
        (tried,) = done.rules
        assert tried.failed == 0, tried.error
        each, plain = used / tried.slots * 1e3, looped * 1e3
        print(f"{rule.id!s:22} {tried.slots:6,} slots in {took:5.1f} s, {each:5.1f} ms of CPU each", end="; ")
        print(
            f"a plain loop takes {plain:5.1f} ms: {looped * len(slots):5.1f} s; fired {tried.summary.fired}"
        )
    session.close()


def _asked(rule: Rule, slot: datetime) -> tuple[str, Mapping[str, datetime]]:
    query = evaluation_query(rule, slot)
    return query.sql, query.parameters


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def build(folder: Path) -> None:
    """Write the predictions, their profiles and a reference."""
    began = time.perf_counter()
    data = folder / "data"
    draw = np.random.default_rng(5)
    columns = {f"inputs.f{n}": pa.array(draw.normal(size=20_000)) for n in range(FIELDS)}
    columns["output.score"] = pa.array(draw.random(20_000))
    set_reference(None, {"data": data}, tell_nobody, model="bench", name="train", rows=pa.table(columns))
    lake = Lake.open(data / "lake", profiling=PROFILING)
    for batch in batches():
        lake.flush([batch], [], Progress(lake.progress.log + 1, 0))
    upkeep = Upkeep(lake.catalog, lake.profiles, lake.add_rows)
    list(upkeep.merge_all())
    upkeep.close()
    lake.close()
    print(f"{ROWS:,} rows of {DAYS} days, built in {time.perf_counter() - began:.0f} s")


def batches() -> Iterator[Batch]:
    """The predictions, a file's worth at a time; every tenth day the second version fails for some hours."""
    draw = np.random.default_rng(7)
    each = ROWS // FILES
    step = timedelta(days=DAYS) / ROWS
    first_us = int((START - datetime(1970, 1, 1)).total_seconds() * 1e6)  # noqa: DTZ001
    for number in range(FILES):
        at = first_us + (np.arange(each) + number * each) * (step / timedelta(microseconds=1))
        micros = at.astype(np.int64)
        times = pa.array(micros, pa.timestamp("us"))
        second = draw.random(each) < 0.5
        hour = (micros - first_us) // 3_600_000_000
        failing = second & (hour % 240 < 5) & (draw.random(each) < 0.1)
        fixed = {
            "time": times,
            "received_at": times,
            "prediction_id": pa.array([f"{number:02}{row:08}" for row in range(each)]),
            "version": pa.array(np.where(second, "v2", "v1")),
            "error_type": pa.array(np.where(failing, "ValueError", None), pa.string()),
            "duration_ms": pa.array(draw.gamma(2.0, 5.0, each)),
            "stage": pa.array(np.full(each, "production")),
        }
        rows = pa.record_batch(
            [fixed.get(field.name, pa.nulls(each, field.type)) for field in PREDICTION_ROWS],
            schema=PREDICTION_ROWS,
        )
        fields = [
            FieldColumn(
                ("inputs", f"f{n}"), pa.array(draw.normal(size=each) + 0.5 * (hour % 480 > 460) * (n == 0))
            )
            for n in range(FIELDS)
        ]
        fields.append(FieldColumn(("output", "score"), pa.array(draw.random(each))))
        numbers = pa.array(np.arange(each) + number * each)
        yield Batch(Kind.PREDICTION, "bench", "bench", numbers, rows, tuple(fields))
