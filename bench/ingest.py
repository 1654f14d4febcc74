"""From request to queryable row: the collector against an HTTP sink that only reads the same bodies.

The client is on the same machine and sends prebuilt requests over kept-alive connections, so the sink's
rate is what HTTP alone allows here. The collector's rate counts acknowledged, hence fsynced, predictions;
beside it stands the time until the last of them could be queried.
"""

import asyncio
import http.client
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

import lapwing
from lapwing import semconv
from lapwing._request import Envelope
from lapwing.testing import capture
from lapwing_collector.demo.process import CollectorProcess
from lapwing_collector.query import Session
from lapwing_collector.receive import Server

PREDICTIONS = 200_000
PER_REQUEST = 512
CLIENTS = 4


def main() -> None:
    """Print rates and their ratio."""
    bodies = requests()
    count = len(bodies) * PER_REQUEST
    size_mb = sum(map(len, bodies)) / 1e6
    print(
        f"{count:,} predictions of 10 features, {size_mb:.0f} MB, {PER_REQUEST} a request, {CLIENTS} clients"
    )
    sink = subprocess.Popen([sys.executable, "-m", "bench.ingest", "sink"], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    plain_s = send(bodies, sink.stdout.readline().strip())
    sink.kill()
    print(f"sink       {count / plain_s:10,.0f} predictions/s")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        config = Path(folder) / "lapwing.yaml"
        config.write_text("")
        collector = CollectorProcess.start(data, config=config, environment={})
        started = time.perf_counter()
        cpu_before = cpu_s(collector.worker_pid)
        durable_s = send(bodies, collector.endpoint.removeprefix("http://"))
        wait_until_queryable(data, count)
        queryable_s = time.perf_counter() - started
        used_s = cpu_s(collector.worker_pid) - cpu_before
        collector.stop()
    print(f"collector  {count / durable_s:10,.0f} durable: {durable_s / plain_s:.1f} times as long")
    print(f"           {count / queryable_s:10,.0f} queryable; {used_s / count * 1e6:.1f} µs of CPU each")


def requests() -> list[bytes]:
    """Requests as the SDK makes them."""
    with capture() as recorded:

        @lapwing.watch(model="bench", version="1")
        def predict(**inputs: float | str | None) -> dict[str, float]:  # noqa: ARG001  # recorded
            return {"value": 1.0, "score": 0.5}

        for n in range(PREDICTIONS // PER_REQUEST * PER_REQUEST):
            predict(a=n, b=n * 0.5, c="text", d=None, e=n % 7, f=1.5, g="x" * (n % 5), h=-n, i=0.25, j=n % 2)
        entries = recorded._entries  # noqa: SLF001  # as the exporter sees them
    envelope = Envelope({semconv.PROCESS_ID: "bench"})
    return [envelope.request(entries[at : at + PER_REQUEST]) for at in range(0, len(entries), PER_REQUEST)]


def send(bodies: Sequence[bytes], address: str) -> float:
    """Post all bodies; seconds until the last was answered."""
    waiting = list(bodies)
    headers = {"Content-Type": "application/x-protobuf"}

    def client() -> None:
        connection = http.client.HTTPConnection(address)
        while True:
            try:
                body = waiting.pop()
            except IndexError:
                return
            connection.request("POST", "/v1/logs", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def wait_until_queryable(data: Path, count: int) -> None:
    """Return once the lake has all rows."""
    session = Session.open(data / "lake")
    while session.run("SELECT count(*) FROM predictions.bench").column(0)[0].as_py() < count:
        threading.Event().wait(0.05)
    session.close()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def sink() -> None:
    """Read bodies and answer 200."""

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await Request(scope, receive).body()  # type: ignore[arg-type]
        await Response()(scope, receive, send)  # type: ignore[arg-type]

    server = Server(app, "127.0.0.1", 0)  # type: ignore[arg-type]
    await server.start()
    print("{}:{}".format(*server.address), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__" and sys.argv[1:] == ["sink"]:
    asyncio.run(sink())
