"""A collector of its own processes for the benchmarks, and requests for it as the SDK makes them."""

import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from bench import processes
from bench.load import PROCESS

import lapwing
from lapwing import semconv
from lapwing._request import Envelope
from lapwing.testing import capture
from lapwing_collector.demo.process import CollectorProcess
from lapwing_collector.query import Session

PER_REQUEST = 512


@dataclass
class Collector:
    """A running `lapwing up`.

    Attributes:
        data: Its data directory.
        http: host:port for OTLP/HTTP.
        grpc: host:port for OTLP/gRPC.
        pid: The first of its processes.
    """

    data: Path
    http: str
    grpc: str
    pid: int

    def count(self, table: str = "predictions.bench") -> int:
        """Rows that can be queried."""
        session = Session.open(self.data / "lake")
        try:
            rows: int = session.run(f"SELECT count(*) FROM {table}").column(0)[0].as_py()
        finally:
            session.close()
        return rows

    def wait_until_queryable(self, count: int, table: str = "predictions.bench") -> None:
        """Return once the lake has so many rows."""
        session = Session.open(self.data / "lake")
        deadline = time.monotonic() + 120
        while session.run(f"SELECT count(*) FROM {table}").column(0)[0].as_py() < count:
            assert time.monotonic() < deadline, f"{self.count(table)} of {count} rows"
            time.sleep(0.02)
        session.close()

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return processes.cpu_s(self.pid)

    def memory_mb(self) -> tuple[float, float]:
        """The largest process's resident memory, and that of all together, shared pages counted once."""
        resident, proportional = [], 0.0
        for pid in processes.family(self.pid):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
            resident.append(sizes["Rss"] / 1024)
            proportional += sizes["Pss"] / 1024
        return max(resident), proportional


@contextmanager
def collector(**settings: str) -> Iterator[Collector]:
    """Run a collector with its own settings on free ports, in an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        data, config = Path(folder) / "data", Path(folder) / "lapwing.yaml"
        lines = {"web": "{listen: '127.0.0.1:0'}"} | settings
        config.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
        process = CollectorProcess.start(data, config=config, environment={})
        said = (data / "collector.log").read_text()
        (grpc,) = re.findall(r"or over gRPC to\s+(\S+)", said)
        try:
            yield Collector(data, process.endpoint.removeprefix("http://"), grpc, process.pid)
        finally:
            process.stop()


class Peak:
    """Watches a collector's memory while something else is done.

    Attributes:
        largest_mb: The most that one of its processes had.
        together_mb: The most that all had together.
    """

    def __init__(self, target: Collector) -> None:
        self.largest_mb = self.together_mb = 0.0
        self._target = target
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.25):
            largest, together = self._target.memory_mb()
            self.largest_mb = max(self.largest_mb, largest)
            self.together_mb = max(self.together_mb, together)


def requests(count: int, model: str = "bench", per_request: int = PER_REQUEST) -> list[bytes]:
    """Requests with `count` predictions of 10 features in all, of one process."""
    draw = random.Random(5)
    with capture() as recorded:

        @lapwing.watch(model=model, version="1")
        def predict(**inputs: object) -> dict[str, float]:  # noqa: ARG001  # recorded
            return {"value": 1.0, "score": draw.random()}

        for n in range(count):
            predict(
                a=draw.random(),
                b=draw.gauss(0, 1),
                c=draw.choice(["EWR", "JFK", "LGA"]),
                d=None,
                e=n % 7,
                f=draw.random(),
                g="x" * (n % 5),
                h=-n,
                i=draw.randrange(1000),
                j=bool(n % 2),
            )
        entries = recorded._entries  # noqa: SLF001  # as the exporter sees them
    envelope = Envelope({semconv.PROCESS_ID: PROCESS.decode()})
    return [envelope.request(entries[at : at + per_request]) for at in range(0, len(entries), per_request)]


def tables(requests_: int, rows: int) -> list[bytes]:
    """Requests with a table of `rows` predictions of 10 features each, as the SDK sends a DataFrame's."""
    draw = np.random.default_rng(5)
    with capture() as recorded:

        @lapwing.watch(model="bench", version="1")
        def predict(frame: pa.Table) -> np.ndarray:
            return np.asarray(frame.column("f0")) * 2

        for _ in range(requests_):
            columns = {f"f{n}": draw.normal(size=rows) for n in range(6)}
            columns |= {f"i{n}": draw.integers(0, 1000, rows) for n in range(2)}
            columns |= {f"t{n}": draw.choice(["EWR", "JFK", "LGA"], rows) for n in range(2)}
            predict(pa.table(columns))
        entries = recorded._entries  # noqa: SLF001
    envelope = Envelope({semconv.PROCESS_ID: PROCESS.decode()})
    of_each = len(entries) // requests_  # the SDK cuts a table into records
    return [envelope.request(entries[at : at + of_each]) for at in range(0, len(entries), of_each)]
