"""What a watched call with a DataFrame costs, against OpenTelemetry's own logs SDK with a record per row.

    python -m bench sdk_tables

CPU time of this process per row. "In the call" is the caller's thread: ids, copies, the result, Arrow and its
compression. "Whole" is all threads, pyarrow's own included, until the sink, another process that answers 200
to everything, has it all.
"""

import multiprocessing
import time
import uuid
from collections.abc import Callable
from statistics import median

import numpy as np
import pandas as pd
from bench.sdk_overhead import acknowledged, serve
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

import lapwing

ROUNDS = 15
STOCK_ROWS = 2000
"""So many fit into the queue of the stock batch processor, which drops the rest."""
SIZES = (1, 100, 10_000, 100_000)

Scores = np.ndarray[tuple[int], np.dtype[np.float64]]
Predict = Callable[[pd.DataFrame], Scores]


def frame(rows: int) -> pd.DataFrame:
    """Make a frame of 6 float, 2 integer and 2 text columns."""
    random = np.random.default_rng(7)
    columns = {f"ratio{n}": random.normal(size=rows) for n in range(6)}
    counts = {f"count{n}": random.integers(0, 1000, rows) for n in range(2)}
    plan = random.choice(["free", "basic", "premium"], rows)
    country = random.choice(["NL", "DE", "FR", "US", "GB", "JP"], rows)
    return pd.DataFrame({**columns, **counts, "plan": plan, "country": country})


def predict(features: pd.DataFrame) -> Scores:
    """Stand in for a model."""
    return np.full(len(features), 0.25)


def stock(endpoint: str) -> tuple[Predict, Callable[[], bool]]:
    """Watch `predict` with OpenTelemetry's logs SDK, batch processor and exporter: a record per row."""
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{endpoint}/v1/logs")))
    logger = provider.get_logger("bench")

    def watched(features: pd.DataFrame) -> Scores:
        started = time.time_ns()
        inputs = features.to_dict("records")
        scores = predict(features)
        attributes: dict[str, str | float] = {
            "ml.model.name": "churn",
            "ml.model.version": "3",
            "ml.prediction.stage": "production",
            "ml.prediction.duration": (time.time_ns() - started) / 1e9,
        }
        for row, score in zip(inputs, scores.tolist(), strict=True):
            logger.emit(
                LogRecord(
                    timestamp=started,
                    event_name="ml.prediction",
                    attributes={**attributes, "ml.prediction.id": str(uuid.uuid4())},
                    body={"inputs": row, "output": {"value": score}},
                )
            )
        return scores

    return watched, provider.force_flush


def ours(endpoint: str) -> tuple[Predict, Callable[[], bool]]:
    """Watch `predict` with Lapwing."""
    lapwing.init(endpoint=endpoint)
    return lapwing.watch(model="churn", version="3")(predict), lapwing.flush


def measure(watched: Predict, flush: Callable[[], bool], features: pd.DataFrame) -> tuple[float, float]:
    """Give the CPU microseconds per row in the caller's thread, and in the whole process (medians)."""
    in_call, whole = [], []
    for _ in range(ROUNDS + 1):
        whole_began, began = time.process_time_ns(), time.thread_time_ns()
        watched(features)
        in_call.append((time.thread_time_ns() - began) / len(features) / 1000)
        acknowledged(flush)
        whole.append((time.process_time_ns() - whole_began) / len(features) / 1000)
    return median(in_call[1:]), median(whole[1:])  # the first round warms up


def main() -> None:
    """Measure and print the table."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    sink = processes.Process(target=serve, args=(there,), daemon=True)
    sink.start()
    endpoint = f"http://127.0.0.1:{here.recv()}"
    print("CPU microseconds per row of 6 float, 2 integer and 2 text columns")
    print(f"{'':24}{'rows':>9}{'text is':>10}{'in the call':>14}{'whole':>9}{'times cheaper':>16}")
    baseline = stock(endpoint)
    watched, flush = ours(endpoint)
    for rows in SIZES:
        count = min(rows, STOCK_ROWS)
        in_call, theirs = measure(*baseline, frame(count))
        print(f"{'OpenTelemetry logs SDK':24}{count:9}{'Arrow':>10}{in_call:14.3f}{theirs:9.3f}")
        for text, types in (("Arrow", {}), ("objects", {"plan": object, "country": object})):
            in_call, whole = measure(watched, flush, frame(rows).astype(types))
            print(f"{'lapwing.watch':24}{rows:9}{text:>10}{in_call:14.3f}{whole:9.3f}{theirs / whole:16.1f}")
    sink.terminate()


if __name__ == "__main__":
    main()
