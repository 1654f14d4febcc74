"""From request to queryable row: sustained rates of the collector, against a sink that only reads the bodies.

The client is on the same machine and sends prebuilt requests of 512 predictions with 10 features over
kept-alive connections. Every answered prediction is fsynced; the rate is that of rows which could be queried
at the end, over the time from the first request until then. Seconds are 60, or LAPWING_BENCH_SECONDS.
"""

import asyncio
import os
import subprocess
import sys
import time

from bench.collector import PER_REQUEST, Peak, collector, requests, tables
from bench.load import Load, drive
from starlette.requests import Request
from starlette.responses import Response

from lapwing_collector.receive import Server

SECONDS = float(os.environ.get("LAPWING_BENCH_SECONDS", "60"))
CLIENTS = 8
TABLE_ROWS = 20_000


def main() -> None:
    """Print rates and their ratio to the sink's."""
    bodies = requests(200 * PER_REQUEST)
    size = sum(map(len, bodies)) / len(bodies) / PER_REQUEST
    print(f"predictions of 10 features and {size:.0f} bytes, {PER_REQUEST} a request, {SECONDS:g} s")
    sink = subprocess.Popen([sys.executable, "-m", "bench.ingest", "sink"], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    address = sink.stdout.readline().strip()
    result = drive(bodies, Load(address, seconds=min(SECONDS, 10), clients=CLIENTS))
    sink.kill()
    sink_rate = len(result.latencies) * PER_REQUEST / result.seconds
    print(f"{'HTTP sink that reads the bodies':34} {sink_rate:10,.0f} predictions/s")
    http = sustained("OTLP/HTTP", "http", bodies, [PER_REQUEST] * len(bodies))
    grpc = sustained("OTLP/gRPC", "grpc", bodies, [PER_REQUEST] * len(bodies))
    print(f"gRPC is at {grpc / http:.0%} of HTTP; the sink reads {sink_rate / http:.1f} times what is stored")
    several = tables(8, TABLE_ROWS)
    sustained(f"Arrow tables of {TABLE_ROWS:,} rows, HTTP", "http", several, [TABLE_ROWS] * len(several))


def sustained(name: str, transport: str, bodies: list[bytes], rows: list[int]) -> float:
    """Send for some time and wait until all of it can be queried; rows a second over the whole time."""
    with collector() as target, Peak(target) as peak:
        address = target.http if transport == "http" else target.grpc
        cpu, started = target.cpu_s(), time.perf_counter()
        result = drive(bodies, Load(address, transport, SECONDS, CLIENTS))
        count = sum(times * of_each for times, of_each in zip(result.accepted, rows, strict=True))
        target.wait_until_queryable(count)
        took = time.perf_counter() - started
        used = target.cpu_s() - cpu
        put_off = len(result.refusals) * max(rows)
        assert count <= target.count() <= count + put_off  # some became durable too late for their clients
    print(
        f"{name:34} {count / took:10,.0f} rows/s queryable; {used / count * 1e6:.2f} µs of CPU a row, "
        f"client {result.cpu / count * 1e6:.2f}; memory {peak.largest_mb:.0f} MB, all processes "
        f"{peak.together_mb:.0f}; {len(result.refusals)} requests put off",
        flush=True,
    )
    return count / took


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
