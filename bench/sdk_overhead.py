"""What a watched call costs, against OpenTelemetry's own logs SDK sending the same to the same sink.

    python bench/sdk_overhead.py

The sink, which answers 200 to everything, is another process. CPU "in the call" is what the caller's thread
spends; "whole" adds batching, encoding and sending in the background.
"""

# ruff: noqa: ARG001  # the stand-in for a model looks at one feature only

import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

import lapwing

ROUNDS = 15
CALLS = 2000
RATE = 10_000
SECONDS = 5
FEATURES: dict[str, Any] = {
    "age": 31,
    "tenure_days": 812,
    "balance": 1043.25,
    "monthly_fee": 29.9,
    "plan": "premium",
    "country": "NL",
    "is_student": False,
    "support_calls": 2,
    "usage_ratio": 0.734,
    "referrer": None,
}

Predict = Callable[..., dict[str, Any]]


def predict(  # noqa: D103, PLR0917  # a stand-in for a model
    age: int,
    tenure_days: int,
    balance: float,
    monthly_fee: float,
    plan: str,
    country: str,
    is_student: bool,
    support_calls: int,
    usage_ratio: float,
    referrer: str | None,
) -> dict[str, Any]:
    return {"value": age > 30, "score": 0.25}


def stock(endpoint: str) -> tuple[Predict, Callable[[], bool]]:
    """Watch `predict` with OpenTelemetry's logs SDK, batch processor and OTLP/HTTP exporter."""
    provider = LoggerProvider()
    exporter = OTLPLogExporter(f"{endpoint}/v1/logs")
    # Its default queue of 2048 overflows at this rate, and what is dropped costs nothing.
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_queue_size=200_000))
    logger = provider.get_logger("bench")

    @wraps(predict)
    def watched(**inputs: Any) -> dict[str, Any]:
        started = time.time_ns()
        output = predict(**inputs)
        logger.emit(
            LogRecord(
                timestamp=started,
                event_name="ml.prediction",
                attributes={
                    "ml.model.name": "churn",
                    "ml.model.version": "3",
                    "ml.prediction.stage": "production",
                    "ml.prediction.id": str(uuid.uuid4()),
                    "ml.prediction.duration": (time.time_ns() - started) / 1e9,
                },
                body={"inputs": inputs, "output": output},
            )
        )
        return output

    return watched, provider.force_flush


def ours(endpoint: str) -> tuple[Predict, Callable[[], bool]]:
    """Watch `predict` with Lapwing."""
    lapwing.init(endpoint=endpoint)
    return lapwing.watch(model="churn", version="3")(predict), lapwing.flush


def processor_time(watched: Predict, flush: Callable[[], bool]) -> tuple[float, float]:
    """Give the CPU microseconds of a call in the caller's thread, and in the whole process (medians)."""
    in_call, whole = [], []
    for _ in range(ROUNDS + 1):
        whole_began = time.process_time_ns()
        began = time.thread_time_ns()
        for _ in range(CALLS):
            watched(**FEATURES)
        in_call.append((time.thread_time_ns() - began) / CALLS / 1000)
        acknowledged(flush)
        whole.append((time.process_time_ns() - whole_began) / CALLS / 1000)
    return median(in_call[1:]), median(whole[1:])  # the first round warms up


def waiting_time(watched: Predict, flush: Callable[[], bool]) -> tuple[float, float, float]:
    """Give the microseconds (p50, p99, longest) that a call takes at 10 000 a second.

    Ten calls every millisecond: in between the caller leaves the interpreter to others, as a service does
    that waits for requests.
    """
    clock = time.perf_counter_ns
    took = []
    due = clock()
    for number in range(SECONDS * RATE):
        due += 1_000_000_000 // RATE
        if number % 10 == 0:
            time.sleep(max(due - clock(), 0) / 1e9)
        began = clock()
        watched(**FEATURES)
        took.append((clock() - began) / 1000)
    acknowledged(flush)
    took = sorted(took[RATE // 2 :])
    return took[len(took) // 2], took[len(took) * 99 // 100], took[-1]


def acknowledged(flush: Callable[[], bool]) -> None:
    """Stop where not everything arrived: the figures would be wrong."""
    if not flush():
        raise SystemExit("the sink did not acknowledge everything: the figures would be wrong")


def memory_without_collector() -> tuple[float, float]:
    """Give the growth of this process in MB, after 100 000 and a million predictions that nobody takes."""
    lapwing.init(endpoint="http://127.0.0.1:9", retry_for_s=3600)
    watched = lapwing.watch(model="churn", version="3")(predict)
    resident = Path("/proc/self/statm")
    page = os.sysconf("SC_PAGE_SIZE")
    before = int(resident.read_text().split()[1])
    grown = []
    for number in range(1, 1_000_001):
        watched(**FEATURES)
        if number in (100_000, 1_000_000):
            grown.append((int(resident.read_text().split()[1]) - before) * page / 1e6)
    lapwing.init(disabled=True)
    return grown[0], grown[1]


def import_time(module: str) -> float:
    """Give the milliseconds of an interpreter that imports a module and ends (median of 15)."""
    took = []
    for _ in range(15):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        took.append((time.perf_counter() - began) * 1000)
    return median(took)


class _Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as inherited
        pass


def serve(pipe: Connection) -> None:
    """Answer 200 to everything; tells its port through `pipe`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    pipe.send(server.server_port)
    server.serve_forever()


def main() -> None:
    """Measure and print the table."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    sink = processes.Process(target=serve, args=(there,), daemon=True)
    sink.start()
    endpoint = f"http://127.0.0.1:{here.recv()}"
    here_they_are = {
        "the function alone": lambda: (predict, lambda: True),
        "OpenTelemetry logs SDK": lambda: stock(endpoint),
        "lapwing.watch": lambda: ours(endpoint),
    }
    print(f"Microseconds per call, {len(FEATURES)} features; the last three at {RATE} calls a second")
    print(f"{'':24}{'CPU in the call':>16}{'whole':>8}{'p50':>10}{'p99':>8}{'longest':>9}")
    cost = {}
    for name, make in here_they_are.items():
        watched, flush = make()
        in_call, whole = processor_time(watched, flush)
        p50, p99, longest = waiting_time(watched, flush)
        cost[name] = (in_call, whole, p50, p99)
        print(f"{name:24}{in_call:16.1f}{whole:8.1f}{p50:10.1f}{p99:8.1f}{longest:9.0f}")
    sink.terminate()
    alone, theirs, mine = cost.values()
    times = [(their - base) / (my - base) for base, their, my in zip(alone, theirs, mine, strict=True)]
    print(f"{'times cheaper':24}{times[0]:16.1f}{times[1]:8.1f}{times[2]:10.1f}{times[3]:8.1f}")
    early, late = memory_without_collector()
    print(f"memory after 0.1 and 1 million predictions without a collector: +{early:.1f}, +{late:.1f} MB")
    nothing, otel, all_of_it = map(import_time, ("sys", "opentelemetry.trace", "lapwing"))
    print(f"import: {all_of_it - nothing:.0f} ms, of which opentelemetry.trace {otel - nothing:.0f}")


if __name__ == "__main__":
    main()
