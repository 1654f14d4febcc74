"""Three times as much as the collector can take, for five minutes (LAPWING_BENCH_OVERLOAD_SECONDS).

What it accepts must not fall, its memory must not grow, requests that find no room are answered 503 in time,
and every accepted row is there at the end (a request that was refused for slowness may be there, too). The
baseline is the rate without overload, in the same run.
"""

import os

from bench.collector import Peak, collector, requests
from bench.load import Load, drive

SECONDS = float(os.environ.get("LAPWING_BENCH_OVERLOAD_SECONDS", "300"))
SLICE_S = 30.0
CLIENTS = 240
PER_REQUEST = 4096
"""Large requests of many clients at once: with small ones, the wait for answers is back-pressure enough."""


def main() -> None:
    """Print a line for the rate without overload, and one for each half minute with it."""
    bodies = requests(30 * PER_REQUEST, per_request=PER_REQUEST)
    with collector() as target:
        calm = drive(bodies, Load(target.http, seconds=10, clients=8))
        capacity = len(calm.latencies) / calm.seconds
        total = len(calm.latencies)
        print(f"without overload {capacity * PER_REQUEST:10,.0f} predictions/s", flush=True)
        for number in range(max(round(SECONDS / SLICE_S), 1)):
            with Peak(target) as peak:
                load = Load(
                    target.http,
                    "http",
                    SLICE_S,
                    CLIENTS,
                    rate=3 * capacity,
                    first_round=10_000 * (number + 1),
                )
                result = drive(bodies, load)
            total += len(result.latencies)
            sent = (len(result.latencies) + len(result.refusals)) / result.seconds
            accepted = len(result.latencies) / result.seconds
            print(
                f"{number * SLICE_S:4.0f} s: {sent * PER_REQUEST:9,.0f} sent, {accepted * PER_REQUEST:9,.0f} "
                f"accepted a second; {len(result.refusals)} times 503, {max(result.refusals, default=0):.2f} "
                f"s at most, 200 after {max(result.latencies):.2f} s; memory {peak.largest_mb:.0f} MB, all "
                f"processes {peak.together_mb:.0f}",
                flush=True,
            )
        target.wait_until_queryable(total * PER_REQUEST)
        assert target.count() >= total * PER_REQUEST
    print(f"all {total * PER_REQUEST:,} accepted predictions are there")
