"""How long a client waits for its answer, and a row until it can be queried.

Acknowledgements at half of what the collector takes at most, in requests of 512 predictions; then of single
predictions, each sent alone to a collector at rest. The fsync of a file of the same size on the same disk is
the baseline. Then the freshness of rows while 50 models receive 20 requests a second each.
"""

import http.client
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence

from bench.collector import PER_REQUEST, Collector, collector, requests
from bench.load import PROCESS, Load, drive

from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.query import Session

HALF_RATE = 50_000
"""Half of 100 000 predictions a second."""
MODELS = 50
PROBES_S = 30.0


def main() -> None:
    """Print the distributions."""
    bodies = requests(100 * PER_REQUEST)
    baseline = [sync(bodies[0]) for _ in range(200)]
    print(f"{'write and fsync of a request':44} {quantiles(baseline)}")
    with collector() as target:
        load = Load(target.http, seconds=20, clients=8, rate=HALF_RATE / PER_REQUEST)
        result = drive(bodies, load)
        rate = len(result.latencies) * PER_REQUEST / result.seconds
        print(
            f"{f'acknowledgement at {rate:,.0f} predictions/s':44} {quantiles(result.latencies)}", flush=True
        )
    (single,) = requests(1)
    with collector() as target:
        result = drive([single], Load(target.http, seconds=10, clients=1, rate=20))
        print(f"{'acknowledgement of a lone prediction, HTTP':44} {quantiles(result.latencies)}", flush=True)
        result = drive(
            [single], Load(target.grpc, "grpc", seconds=10, clients=1, rate=20, first_round=10_000)
        )
        print(f"{'acknowledgement of a lone prediction, gRPC':44} {quantiles(result.latencies)}", flush=True)
    for models in (1, MODELS):
        with collector() as target:
            print(
                f"{f'acknowledged to queryable, {models} models':44} {quantiles(freshness(target, models))}",
                flush=True,
            )


def sync(content: bytes) -> float:
    """Seconds to write and sync a file."""
    with tempfile.NamedTemporaryFile() as file:
        started = time.perf_counter()
        file.write(content)
        file.flush()
        os.fdatasync(file.fileno())
        return time.perf_counter() - started


def freshness(target: Collector, models: int) -> list[float]:
    """Seconds from the acknowledgement of a row until a query finds it, while all models receive rows."""
    names = [f"m{n}" for n in range(models)]
    bodies = [body for name in names for body in requests(400, name, per_request=20)]
    load = Load(target.http, seconds=PROBES_S + 5, clients=4, rate=models * 20)
    background = threading.Thread(target=drive, args=(bodies, load))
    background.start()
    found = []
    session = Session.open(target.data / "lake")
    stop = time.monotonic() + PROBES_S
    for number in itertools.count():
        if time.monotonic() > stop:
            break
        name = names[number % models]
        process = PROCESS[:-6] + b"9%05d" % number
        post(target.http, bodies[number % models * 20].replace(PROCESS, process))
        started = time.perf_counter()
        where = f"resource['lapwing.process.id'] = '{process.decode()}'"
        sql = f"SELECT count(*) FROM predictions.{name} WHERE {where}"
        while not rows(session, sql):
            time.sleep(0.01)
        found.append(time.perf_counter() - started)
    session.close()
    background.join()
    return found


def rows(session: Session, sql: str) -> int:
    """The number that a query gives; 0 where its table is not there yet."""
    try:
        number: int = session.run(sql).column(0)[0].as_py()
    except NotSeenYetError:
        return 0
    return number


def post(address: str, body: bytes) -> None:
    """Send one request."""
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/v1/logs", body, {"Content-Type": "application/x-protobuf"})
    assert connection.getresponse().status == 200
    connection.close()


def quantiles(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and the longest, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return (
        f"p50 {cuts[49] * 1e3:8.2f} ms   p99 {cuts[98] * 1e3:8.2f} ms   longest {max(seconds) * 1e3:8.2f} ms"
    )
