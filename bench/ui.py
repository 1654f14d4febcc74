"""Pages over ten million predictions: how soon they are painted, and how soon all charts in view are drawn.

    python -m bench ui

A month of predictions of one model, with ten features and a reference, in files of half a million as
compaction leaves them; a collector of its own processes; headless Chromium on the same machine. `paint` is
the browser's first contentful paint, `ready` is when every panel in view is drawn; `first` is a visit without
anything in the browser's cache. Needs Playwright for Python and Debian's chromium.

LAPWING_BENCH_ROWS makes it smaller.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from playwright.sync_api import Browser, sync_playwright

from lapwing_collector.app.keeping import set_reference
from lapwing_collector.app.maintenance import tell_nobody
from lapwing_collector.app.profiling import PROFILING
from lapwing_collector.demo.process import CollectorProcess
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.records import ROWS as SCHEMAS
from lapwing_collector.model.records import Batch, FieldColumn, Kind

ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10_000_000"))
PER_FILE = 500_000
DAYS = 30
FEATURES = 10
VISITS = 12
CHROMIUM = "/usr/bin/chromium"
PAGES = {
    "overview": "/?last=30d",
    "model, 30 days": "/model?name=churn&last=30d",
    "model, 24 hours": "/model?name=churn&last=24h",
    "model, 1 hour": "/model?name=churn&last=1h",
    "rows, 24 hours": "/model/rows?name=churn&last=24h",
    "rows, 30 days": "/model/rows?name=churn&last=30d",
}


def main() -> None:
    """Print median and 95th percentile of each page in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        started = time.perf_counter()
        build(data)
        print(f"{ROWS:,} rows written and counted in {time.perf_counter() - started:.0f} s")
        settings = Path(folder) / "lapwing.yaml"
        settings.write_text("{}\n")
        collector = CollectorProcess.start(data, config=settings, environment={})
        try:
            address = (data / "web.address").read_text().strip()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                for name, path in PAGES.items():
                    tell(name, list(visits(browser, f"http://{address}{path}")))
                browser.close()
        finally:
            collector.stop()


def build(data: Path) -> None:
    """Ten million predictions up to now, from the oldest on."""
    draw = np.random.default_rng(5)
    set_reference(
        None,
        {"data": data},
        tell_nobody,
        model="churn",
        name="train",
        rows=pa.table({f"inputs.{name}": values for name, values in features(draw, 20_000).items()}),
        keeps_rows=False,
    )
    lake = Lake.open(data / "lake", profiling=PROFILING)
    begun = datetime.now() - timedelta(days=DAYS)  # noqa: DTZ005  # naive, as every time in a table
    step_us = int(timedelta(days=DAYS) / timedelta(microseconds=1)) // ROWS
    for number, first in enumerate(range(0, ROWS, PER_FILE), 1):
        size = min(PER_FILE, ROWS - first)
        at = np.datetime64(begun, "us") + np.arange(first, first + size) * step_us
        lake.flush([batch(draw, at, number)], [], Progress(number, 0))
    lake.close()


def batch(draw: "np.random.Generator", at: Any, number: int) -> Batch:
    """Predictions at these times."""
    size = len(at)
    failed = draw.random(size) < 0.002
    given = {
        "time": pa.array(at),
        "received_at": pa.array(at),
        "prediction_id": pa.array([f"{number:04}-{row:08}" for row in range(size)]),
        "version": pa.array(np.where(draw.random(size) < 0.8, "1", "2")),
        "stage": pa.repeat(pa.scalar("production"), size),
        "duration_ms": pa.array(draw.lognormal(1.5, 0.6, size)),
        "error_type": pa.array(np.where(failed, "ValueError", None)),
        "tags": pa.array([[]] * size, SCHEMAS[Kind.PREDICTION].field("tags").type),
        "resource": pa.array([[]] * size, SCHEMAS[Kind.PREDICTION].field("resource").type),
    }
    schema = SCHEMAS[Kind.PREDICTION]
    columns = [given.get(each.name, pa.nulls(size, each.type)) for each in schema]
    fields = [FieldColumn(("inputs", name), values) for name, values in features(draw, size).items()]
    fields.append(FieldColumn(("output", "score"), pa.array(draw.beta(2, 5, size))))
    return Batch(
        Kind.PREDICTION,
        "churn",
        None,
        pa.nulls(size, pa.int64()),
        pa.RecordBatch.from_arrays(
            [c.cast(f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
        ),
        tuple(fields),
    )


def features(draw: "np.random.Generator", size: int) -> dict[str, pa.Array]:
    """Numbers and categories."""
    found = {f"n{number}": pa.array(draw.normal(number, 1 + number, size)) for number in range(FEATURES - 3)}
    for number in range(3):
        found[f"c{number}"] = pa.array(draw.choice([f"k{each}" for each in range(10 * (number + 1))], size))
    return found


def visits(browser: Browser, address: str) -> Iterator[tuple[float, float]]:
    """When something was painted and all charts were ready, of one visit after another."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    for _ in range(VISITS):
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        yield page.evaluate(
            "() => [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " performance.getEntriesByName('lapwing-ready')[0].startTime]"
        )
        page.close()
    context.close()


def tell(name: str, found: list[tuple[float, float]]) -> None:
    """Print what visits took."""
    (first_paint, first_ready), *later = found
    line = f"{name:18} first {first_paint:5.0f} / {first_ready:5.0f} ms"
    for what, values in zip(("paint", "ready"), zip(*later, strict=True), strict=True):
        high = statistics.quantiles(values, n=20)[-1]
        line += f"   {what} p50 {statistics.median(values):5.0f} p95 {high:5.0f} ms"
    print(line, flush=True)


if __name__ == "__main__":
    main()
