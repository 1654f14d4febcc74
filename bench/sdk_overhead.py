"""What a watched call costs, against OpenTelemetry's own logs SDK sending the same to the same sink.

    python bench/sdk.py

CPU time of this process; the sink, which answers 200 to everything, is another. "in the call" is what the
caller's thread spends; "whole" adds encoding, batching and sending in the background.
"""

# ruff: noqa: ARG001  # the stand-in for a model looks at one feature only

import multiprocessing
import time
import uuid
from collections.abc import Callable
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

import lapwing

ROUNDS = 15
CALLS = 2000
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
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs")))
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


def measure(watched: Predict, flush: Callable[[], bool]) -> tuple[float, float]:
    """Give the CPU microseconds of a call in the caller's thread, and in the whole process (medians)."""
    in_call, whole = [], []
    for _ in range(ROUNDS + 1):
        whole_began = time.process_time_ns()
        began = time.thread_time_ns()
        for _ in range(CALLS):
            watched(**FEATURES)
        in_call.append((time.thread_time_ns() - began) / CALLS / 1000)
        if not flush():
            raise SystemExit("the sink did not acknowledge everything: the figures would be wrong")
        whole.append((time.process_time_ns() - whole_began) / CALLS / 1000)
    return median(in_call[1:]), median(whole[1:])  # the first round warms up


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
    rows = {
        "function alone": measure(predict, lambda: True),
        "OpenTelemetry logs SDK": measure(*stock(endpoint)),
        "lapwing.watch": measure(*ours(endpoint)),
    }
    sink.terminate()
    alone = rows["function alone"]
    print(f"CPU microseconds per call, {len(FEATURES)} features\n{'':24}{'in the call':>12}{'whole':>8}")
    for name, (in_call, whole) in rows.items():
        print(f"{name:24}{in_call:12.1f}{whole:8.1f}")
    cost = {name: (in_call - alone[0], whole - alone[1]) for name, (in_call, whole) in rows.items()}
    theirs, mine = cost["OpenTelemetry logs SDK"], cost["lapwing.watch"]
    print(f"{'times cheaper':24}{theirs[0] / mine[0]:12.1f}{theirs[1] / mine[1]:8.1f}")


if __name__ == "__main__":
    main()
