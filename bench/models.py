"""Ten thousand models in one lake: their first rows, a steady trickle to all of them, and what people ask.

Takes some ten minutes. LAPWING_BENCH_MODELS says how many models there are, LAPWING_BENCH_TRICKLE_SECONDS how
long the trickle lasts.
"""

import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.collector import Collector, Peak

import lapwing
from lapwing import semconv
from lapwing._request import Envelope
from lapwing.testing import capture
from lapwing_collector.demo.process import COMMAND, CollectorProcess

MODELS = int(os.environ.get("LAPWING_BENCH_MODELS", "10000"))
TRICKLE_S = float(os.environ.get("LAPWING_BENCH_TRICKLE_SECONDS", "120"))
PER_REQUEST = 250
ROWS_A_MINUTE = 1
"""That each model receives in the trickle."""
RULES = """groups:
  - name: one
    interval: 10s
    rules:
      - alert: Errors
        expr: SELECT count(*) AS sample_count, count(error_type) AS value FROM predictions.m77
        condition: value > 0
"""


def main() -> None:
    """Print seconds and megabytes of each part."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "lapwing.yaml"
        config.write_text("")
        (Path(folder) / "rules").mkdir()
        (Path(folder) / "rules" / "one.yaml").write_text(RULES)
        data = Path(folder) / "data"
        process = CollectorProcess.start(data, config=config, environment={})
        try:
            collector = of(data, process)
            with Peak(collector) as peak:
                first_rows(collector)
                show("most memory until then", peak)
            with Peak(collector) as peak:
                trickle(collector)
                show("most memory in the trickle", peak)
            asked(collector)
            stopped = time.monotonic()
            process.stop()
            print(f"stopped in {time.monotonic() - stopped:.1f} s")
            started = time.monotonic()
            process = CollectorProcess.start(data, config=config, environment={})
            print(f"ready again in {time.monotonic() - started:.1f} s")
            collector = of(data, process)
            began = time.monotonic()
            post(collector, bodies(0, 1)[0].replace(PROCESS, b"models-again-0000000"))
            waits(collector, 1)
            print(f"a row queryable after a restart: {time.monotonic() - began:.1f} s")
            with Peak(collector) as peak:
                asked(collector)
                show("most memory after the restart", peak)
        finally:
            process.stop()


def of(data: Path, process: CollectorProcess) -> Collector:
    """The collector that a process is."""
    return Collector(data, process.endpoint.removeprefix("http://"), "", process.pid)


def first_rows(collector: Collector) -> None:
    """Send three rows of each model and wait until all are in the lake."""
    began = time.monotonic()
    for first in range(0, MODELS, PER_REQUEST):
        for body in bodies(first, min(first + PER_REQUEST, MODELS)):
            post(collector, body.replace(PROCESS, b"models-first-%07d" % first))
    print(f"{MODELS} models acknowledged after {time.monotonic() - began:.1f} s")
    waits(collector, MODELS)
    print(
        f"in the lake after {time.monotonic() - began:.1f} s, {collector.cpu_s():.0f} s of CPU, "
        f"the largest process {collector.memory_mb()[0]:.0f} MB"
    )


def trickle(collector: Collector) -> None:
    """Send each model some rows a minute, evenly, and look how old rows become and what memory does."""
    parts = [bodies(first, min(first + 50, MODELS))[0] for first in range(0, MODELS, 50)]
    pause = 60 / ROWS_A_MINUTE / len(parts)
    began = due = time.monotonic()
    before = value(collector, 'lapwing_rows_total{outcome="stored"}')
    oldest: list[float] = []
    memory: list[float] = []
    sent = 0
    cpu = collector.cpu_s()
    while time.monotonic() - began < TRICKLE_S:
        for part in parts:
            post(collector, part.replace(PROCESS, b"models-later-%07d" % sent))
            sent += 1
            due += pause
            if sent % 20 == 0:
                oldest.append(value(collector, "lapwing_oldest_waiting_seconds"))
                memory.append(collector.memory_mb()[0])
            time.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - began > TRICKLE_S:
                break
    took = time.monotonic() - began
    stored = value(collector, 'lapwing_rows_total{outcome="stored"}') - before
    quarter = max(1, len(memory) // 4)
    print(
        f"trickle of {took:.0f} s: {sent * 50 / took:.0f} rows/s in {sent / took:.0f} requests/s, "
        f"{stored / took:.0f} stored; the oldest row that waits: {sorted(oldest)[len(oldest) // 2]:.1f} s in "
        f"the middle, {max(oldest):.1f} s at most; {(collector.cpu_s() - cpu) / took:.2f} cores; "
        f"the largest process {max(memory[:quarter]):.0f} MB at first, {max(memory[-quarter:]):.0f} at last"
    )


def asked(collector: Collector) -> None:
    """What people ask, and what watches the collector."""
    for command in (
        ["models"],
        ["models", "show", "m77"],
        ["sql", "SELECT count(*) FROM predictions.m77"],
        ["sql", "SELECT count(*), count(DISTINCT table_name) FROM models"],
    ):
        began = time.monotonic()
        done = subprocess.run(
            [*COMMAND, *command, "--data", str(collector.data)], capture_output=True, text=True, check=False
        )
        said = (done.stdout or done.stderr).strip().splitlines()
        print(
            f"lapwing {' '.join(command)}: {time.monotonic() - began:.1f} s, {len(said)} lines, {said[-1:]}"
        )
    began = time.monotonic()
    size = len(exposition(collector))
    print(f"/metrics: {size} bytes in {time.monotonic() - began:.2f} s")
    evaluated = re.findall(r'lapwing_rule_evaluations_total\{outcome="(\w+)"\} (\S+)', exposition(collector))
    print(f"rule evaluations: {dict(evaluated)}")
    print(f"all processes together {collector.memory_mb()[1]:.0f} MB")


PROCESS = b"models-00000-0000000"


def bodies(first: int, last: int) -> list[bytes]:
    """A request with a prediction of each of some models."""
    with capture() as recorded:
        for number in range(first, last):

            @lapwing.watch(model=f"m{number}", version="1")
            def predict(**inputs: float) -> dict[str, float]:
                return {"value": inputs["a"], "score": 0.5}

            predict(a=float(number), b=2.0, c=3.0, d=4.0, e=5.0)
        entries = recorded._entries  # noqa: SLF001  # as the exporter sees them
    envelope = Envelope({semconv.PROCESS_ID: PROCESS.decode()})
    return [envelope.request(entries)]


def post(collector: Collector, body: bytes) -> None:
    """Send a request until it is accepted."""
    while True:
        request = urllib.request.Request(
            f"http://{collector.http}/v1/logs", body, {"Content-Type": "application/x-protobuf"}
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.2)
        else:
            return


def waits(collector: Collector, rows: int) -> None:
    """Return once so many rows are stored since its start, and none waits."""
    deadline = time.monotonic() + 1800
    while (
        value(collector, 'lapwing_rows_total{outcome="stored"}') < rows
        or value(collector, "lapwing_rows_waiting") > 0
    ):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def value(collector: Collector, name: str) -> float:
    """One of the collector's metrics."""
    found = re.findall(rf"^{re.escape(name)} (\S+)$", exposition(collector), re.MULTILINE)
    return float(found[0]) if found else 0.0


def exposition(collector: Collector) -> str:
    """All of them."""
    web = (collector.data / "web.address").read_text().strip()
    with urllib.request.urlopen(f"http://{web}/metrics") as answer:
        text: str = answer.read().decode()
    return text


def show(what: str, peak: Peak) -> None:
    """Print memory."""
    print(f"{what}: the largest process {peak.largest_mb:.0f} MB, all together {peak.together_mb:.0f} MB")
