"""Pages over ten million predictions: how soon they are painted, how soon all charts in view are drawn.

    python -m bench ui

A month of predictions of one model, with ten features and a reference, in files of half a million as
compaction leaves them; a collector of its own processes; headless Chromium on the same machine, which shares
its cores with both. Needs Playwright for Python and `chromium-headless-shell`, which is what Playwright
itself means by headless Chromium. Where there is none, the whole browser is taken: for each window that is
opened it loads pages of its own, with four hundred scripts, beside the page that is measured.

`paint` is the browser's first contentful paint, `ready` is when every chart in view is drawn, `whole` when
nothing in view is still being asked for. `first` is a visit without anything in the browser's cache. Before
each visit something is committed to the lake, so that no answer to an earlier one can serve again; `again`
are visits to which nothing new has come. A page with one line of text, from a server that does nothing else,
is the baseline: no page can be quicker. CPU is that of the collector and that of the browser, by visit.

Each visit is in a window of its own, in a profile that keeps nothing between runs: what a window and a
process for the page cost is in the browser's CPU, as the baseline shows. Scripts are compiled anew for each,
and all that is drawn is drawn by the processor. Who goes from page to page in one window of an everyday
browser pays neither. What is committed before a visit is in the collector's CPU.

Brushing: on the cube, what a frame costs while a mouse drags over a chart (handlers, callbacks, style, layout
and paint); on the server path, from letting the mouse go to all charts of the new range drawn.

LAPWING_BENCH_ROWS makes it smaller. LAPWING_BENCH_ONLY has only those parts measured whose names begin with
one of its words, as `drift;server`: those of pages, `again`, `cube`, `server`, `starts` for commands, `idle`
for memory at the end.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from bench.processes import cpu_s, family
from playwright.sync_api import Browser, Page, sync_playwright

from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.demo.process import COMMAND, CollectorProcess
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.records import ROWS as SCHEMAS
from lapwing_collector.model.records import Batch, FieldColumn, Kind
from lapwing_collector.query.pool import RESTS_S

ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10_000_000"))
ONLY = [each.strip() for each in os.environ.get("LAPWING_BENCH_ONLY", "").split(";") if each.strip()]
FILES = 20
DAYS = 30
FEATURES = 10
VISITS = 12
BRUSHES = 60
STARTS = 5
COUNTED_S = 300.0
CHROMIUM = which("chromium-headless-shell") or which("chromium")
PAGES = {
    "overview": "/?last=30d",
    "model, 30 days": "/model?name=churn&last=30d",
    "model, 24 hours": "/model?name=churn&last=24h",
    "model, 1 hour": "/model?name=churn&last=1h",
    "drift, 30 days": "/model/drift?name=churn&last=30d",
    "drift, 24 hours": "/model/drift?name=churn&last=24h",
    "explore, 30 days": "/model/explore?name=churn&last=30d",
    "rows, 24 hours": "/model/rows?name=churn&last=24h",
    "rows, 30 days": "/model/rows?name=churn&last=30d",
}
Visits = list[tuple[float, float, float]]
READY = "html[data-ready]"
NOTHING = b"<!doctype html><title>Nothing</title><p>Nothing</p>"


def main() -> None:
    """Print what starting takes, and median and 95th percentile of pages and brushes in milliseconds."""
    if wanted("starts"):
        starts()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        started = time.perf_counter()
        build(data)
        print(f"{ROWS:,} rows written and counted in {time.perf_counter() - started:.0f} s")
        settings = Path(folder) / "lapwing.yaml"
        settings.write_text("{}\n")
        collector = CollectorProcess.start(data, config=settings, environment={})
        try:
            time.sleep(2)
            print(f"idle, before anybody looks: {memory(collector.pid)}")
            web = (data / "web.address").read_text().strip()
            began = time.perf_counter()
            wait_for_counts(web)
            print(f"outputs counted by hour after {time.perf_counter() - began:.0f} s")
            with sync_playwright() as playwright, blank() as nothing:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                print(f"{Path(CHROMIUM or 'chromium').name} {browser.version}")
                look(browser, nothing, web, collector.pid)
                browser.close()
            if wanted("idle"):
                print(f"idle, after all of that: {memory(collector.pid)}")
                time.sleep(RESTS_S + 10)  # query processes end by nothing but time without questions
                print(f"idle, when nobody asked for {RESTS_S:.0f} s: {memory(collector.pid)}")
        finally:
            collector.stop()


def wanted(part: str) -> bool:
    """Whether a part is to be measured."""
    return not ONLY or any(part.startswith(word) for word in ONLY)


def look(browser: Browser, nothing: str, web: str, collector: int) -> None:
    """Visit every page, and brush."""
    floor, cost = measured(lambda: list(visits(browser, nothing, lambda: None, PAINTED)), collector)
    show("one line of text", [[at[0] for at in floor[1:]]], ["paint"], f"{cost}")
    usual = statistics.median(at[0] for at in floor[1:])
    for name, path in PAGES.items():
        if not wanted(name):
            continue
        address = f"http://{web}{path}"
        told, cost = measured(
            lambda address=address: list(visits(browser, address, lambda: commit(web))), collector
        )
        columns = [list(column) for column in zip(*told[1:], strict=True)]
        first = f"first {told[0][0]:4.0f} / {told[0][1]:4.0f}"
        times = f"{statistics.median(columns[0]) / usual:.1f} times the baseline"
        show(name, columns, ["paint", "ready", "whole"], f"{first}  {times}, {cost}")
    if wanted("again"):
        told = list(visits(browser, f"http://{web}{PAGES['model, 30 days']}", lambda: None))
        columns = [list(column) for column in zip(*told[1:], strict=True)]
        show("model again", columns, ["paint", "ready", "whole"])
    for path in ("/model/explore?name=churn&last=30d", "/model/explore?name=churn&last=24h"):
        if not wanted("cube"):
            continue
        frames = list(cube_brushes(browser, f"http://{web}{path}"))
        show(f"cube, {path[-3:]}", [frames], ["frame"], f"{len(frames)} frames")
    for path in ("/model?name=churn&last=30d", "/model?name=churn&last=7d"):
        if not wanted("server"):
            continue
        brushes = list(server_brushes(browser, f"http://{web}{path}", lambda: commit(web)))
        show(f"server, {path[-3:].strip('=')}", [brushes], ["drawn"])


def build(data: Path) -> None:
    """Predictions up to now, from the oldest on."""
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
    ends = [ROWS * number // FILES for number in range(FILES + 1)]
    for number, (first, last) in enumerate(pairwise(ends), 1):
        at = np.datetime64(begun, "us") + np.arange(first, last) * step_us
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


def wait_for_counts(web: str) -> None:
    """Wait until what the model says is counted, too: before that, pages have other charts, of rows."""
    counted = "SELECT sum(list_sum(counts)) AS n FROM profiles WHERE field = 'output.score'"
    asked = urlencode({"sql": counted, "format": "csv"})
    deadline = time.monotonic() + COUNTED_S
    while time.monotonic() < deadline:
        with closing(http.client.HTTPConnection(web, timeout=60)) as connection:
            connection.request("GET", f"/api/v1/sql?{asked}")
            if connection.getresponse().read().decode().split() == ["n", str(ROWS)]:
                return
        time.sleep(0.5)
    raise TimeoutError(f"the outputs of {ROWS:,} rows were not counted within {COUNTED_S:.0f} s")


def commit(web: str) -> None:
    """Put something into the lake that no page shows."""
    with closing(http.client.HTTPConnection(web, timeout=60)) as connection:
        note = {"text": "somewhere else", "model": "elsewhere"}
        connection.request(
            "POST", "/api/v1/admin/annotate", json.dumps(note), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"the note was answered {answer.status}: {answer.read()!r}")


WATCHING = """
addEventListener("DOMContentLoaded", () => {
  const near = (part) => part.getClientRects().length && part.getBoundingClientRect().top < innerHeight;
  new MutationObserver(() => {
    if (window.whole || !document.documentElement.dataset.ready) return;
    if ([...document.querySelectorAll('[aria-busy="true"]')].some(near)) return;
    window.whole = performance.now();
    console.debug("whole");
  }).observe(document, { subtree: true, childList: true, attributes: true });
});
"""
PAINTED = """
new PerformanceObserver((list) => {
  if (!list.getEntriesByName("first-contentful-paint").length) return;
  performance.mark("lapwing-ready");
  window.whole = 0;
  console.debug("whole");
}).observe({ type: "paint", buffered: true });
"""


def visits(
    browser: Browser, address: str, before: Callable[[], None], watching: str = WATCHING
) -> Iterator[tuple[float, float, float]]:
    """When something was painted, all charts were ready and the rest was there, visit after visit.

    Nothing is asked of a page before it is whole, which it says by itself: what asks is a script of its own,
    and large.
    """
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.add_init_script(watching)
    for _ in range(VISITS):
        before()
        page = context.new_page()
        with page.expect_console_message(lambda said: said.text == "whole", timeout=60_000):
            page.goto(address)
        page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
        yield tuple(
            page.evaluate(
                "() => [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
                " performance.getEntriesByName('lapwing-ready')[0].startTime, window.whole]"
            )
        )
        page.close()
    context.close()


FRAMES = """() => {
  window.frames_ = [];
  const made = new MessageChannel();
  let handlers = 0, since = 0, began = 0, asked = false;
  made.port1.onmessage = () => {
    frames_.push(handlers + performance.now() - began);
    handlers = 0;
    asked = false;
  };
  const frame = () => {
    began = performance.now();
    made.port2.postMessage(0); // is told after this frame
  };
  addEventListener("mousemove", () => {
    since = performance.now();
    if (!asked) requestAnimationFrame(frame);
    asked = true;
  }, true);
  addEventListener("mousemove", () => { handlers += performance.now() - since; });
}"""


def cube_brushes(browser: Browser, address: str) -> Iterator[float]:
    """What each frame costs while somebody drags over a chart, to and fro."""
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.goto(address)
    page.wait_for_selector(READY, timeout=60_000)
    page.wait_for_function("() => !document.querySelector('[data-dimension][aria-busy]')", timeout=60_000)
    page.evaluate(FRAMES)
    left, right, y = plot(page)
    for _ in range(3):
        page.mouse.move(left + 20, y)
        page.mouse.down()
        for to in (right, left + 60, right / 2):
            page.mouse.move(to, y, steps=40)
        page.mouse.up()
    frames = page.evaluate("() => frames_")
    page.close()
    yield from frames


DRAWN = """() => new Promise((resolve) => {
  addEventListener("mouseup", () => {
    const began = performance.now();
    new MutationObserver((_, observer) => {
      if (!document.documentElement.dataset.ready) return;
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
    }).observe(document.documentElement, { attributes: true });
  }, { once: true, capture: true });
  window.armed = true;
})"""


SETTLED = """(zoomed) => document.documentElement.dataset.ready
  && document.querySelector(".tabs a").href.includes("from=") === zoomed
  && !document.querySelector('.totals[aria-busy="true"]')"""


def server_brushes(browser: Browser, address: str, before: Callable[[], None]) -> Iterator[float]:
    """From letting go of a range that was dragged over a chart to all charts in view drawn anew."""
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.goto(address)
    page.wait_for_selector(READY, timeout=60_000)
    for number in range(BRUSHES):
        before()
        page.evaluate(f"() => {{ window.drawn = ({DRAWN})(); }}")
        left, right, y = plot(page)
        share = 0.1 + 0.4 * number / BRUSHES
        page.mouse.move(left + (right - left) * share, y)
        page.mouse.down()
        page.mouse.move(left + (right - left) * (share + 0.4), y, steps=5)
        page.mouse.up()
        yield page.evaluate("() => window.drawn")
        page.wait_for_function(SETTLED, arg=True, timeout=60_000)
        page.locator("figure .u-over").first.dblclick()
        page.wait_for_function(SETTLED, arg=False, timeout=60_000)
    page.close()


def plot(page: Page) -> tuple[float, float, float]:
    """Where the first chart is: its left and right end, and somewhere between top and bottom."""
    box = page.locator("figure .u-over").first.bounding_box()
    assert box is not None
    return box["x"], box["x"] + box["width"], box["y"] + box["height"] / 2


@contextmanager
def blank() -> Iterator[str]:
    """A server of one line of text."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(NOTHING)))
            self.end_headers()
            self.wfile.write(NOTHING)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def starts() -> None:
    """How long commands take, beside what an interpreter takes that does nothing."""
    for name, command in {
        'python -c "pass"': [sys.executable, "-c", "pass"],
        'python -c "import duckdb"': [sys.executable, "-c", "import duckdb"],
        "lapwing --help": [*COMMAND, "--help"],
    }.items():
        show(name, [[took(lambda command=command: quietly(command)) for _ in range(STARTS)]], ["took"])
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "lapwing.yaml"
        settings.write_text("{}\n")
        ready = []
        for number in range(STARTS):
            began = time.perf_counter()
            collector = CollectorProcess.start(Path(folder) / str(number), config=settings, environment={})
            ready.append(1000 * (time.perf_counter() - began))
            collector.stop()
        show("lapwing up, to ready", [ready], ["took"])


def quietly(command: Sequence[str]) -> None:
    """Run a command, whose output nobody reads."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def took(work: Callable[[], None]) -> float:
    """How long `work` takes, in milliseconds."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def measured(visiting: Callable[[], Visits], collector: int) -> tuple[Visits, str]:
    """What visits took, and the CPU time of a visit: of the collector, and of the browser."""
    own, collectors = cpu_s(os.getpid()), cpu_s(collector)
    told = visiting()
    collectors = cpu_s(collector) - collectors
    browsers = cpu_s(os.getpid()) - own - collectors
    return told, f"CPU {1000 * collectors / VISITS:.0f} + {1000 * browsers / VISITS:.0f}"


def memory(pid: int) -> str:
    """What a process and all that it started hold; what they share counts once."""
    held = {}
    for each in family(pid):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                held[each] = int(line.split()[1]) // 1024
    return f"{sum(held.values())} MB in {len(held)} processes ({', '.join(map(str, held.values()))})"


def show(name: str, columns: Sequence[Sequence[float]], what: Sequence[str], more: str = "") -> None:
    """Print median and 95th percentile of each column."""
    line = f"{name:26}"
    for each, values in zip(what, columns, strict=True):
        high = statistics.quantiles(values, n=20)[-1]
        line += f"  {each} p50 {statistics.median(values):5.1f} p95 {high:5.1f}"
    print(f"{line}  {more}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
