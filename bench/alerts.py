"""From the moment of a slot to the acceptance of its message, through a whole collector and real HTTP.

    python -m bench alerts

A collector of its own over a million predictions evaluates 10 rules every five seconds. At every slot an
alert of each begins to fire, in a group of its own, and a receiver notes when its message comes, with what is
looked up beside it. Rules that are due at the same moment begin one after another, 0.4 s after it at most.
Baseline: a bare POST to the receiver.

Then the same with another rule that tells 50 targets which are down, and with a `group_wait`. At last 5 000
alerts of one rule begin to fire at once, and are over again.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

os.environ.setdefault("LAPWING_BENCH_ROWS", "1_000_000")

from bench.notify import Receiver, bare, dead_ports
from bench.rules import fill, wait_for

from lapwing_collector.demo.process import CollectorProcess
from lapwing_collector.lake import Lake

RULES = 10
EVERY_S = 5
SLOTS = 12
STORM = 5000
GROUPS = 10
WAIT_S = 1
INTERVAL_S = 10
STORM_LASTS_S = 15

EACH = """
      - alert: rule{number}
        window: 5m
        expr: |
          SELECT strftime($slot, '%H:%M:%S') AS moment, count(*) AS sample_count, avg(output.score) AS value
          FROM predictions.churn WHERE time >= $window_start AND time < $window_end
        condition: value > -1
        annotations: {{summary: 'at {{{{ $labels.moment }}}} it is {{{{ $value | humanize }}}}'}}
        labels: {{kind: {kind}}}
"""
FLOOD = """
      - alert: storm
        query_offset: 1m
        limit: {most}
        expr: |
          SELECT 'segment ' || n AS segment, 'group ' || (n % {groups}) AS part,
            CASE WHEN $slot >= TIMESTAMP '{begin}' AND $slot < TIMESTAMP '{end}' THEN 1 ELSE 0 END AS value
          FROM range({most}) AS all_of(n)
        condition: value > 0
        annotations: {{summary: '{{{{ $labels.segment }}}} is at {{{{ $value }}}}'}}
"""


@dataclass
class Came:
    """A message that was accepted."""

    at: datetime
    size: int
    content: dict[str, Any]


@dataclass
class Desk:
    """Accepts whatever is posted to it."""

    port: int = 0
    came: list[Came] = field(default_factory=list)


@contextmanager
def desk() -> Iterator[Desk]:
    """A server that notes what it is told, and when."""
    here = Desk()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.came.append(Came(datetime.now(UTC).replace(tzinfo=None), len(body), json.loads(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.port = server.server_port
        Thread(target=server.serve_forever, daemon=True).start()
        yield here
        server.shutdown()


def main() -> None:
    """Print how long messages take, and how many a storm makes."""
    with tempfile.TemporaryDirectory() as folder, desk() as healthy:
        root = Path(folder)
        print("| milliseconds from slot to acceptance | p50 | p99 | longest |\n|---|---:|---:|---:|")
        row("a POST by hand", bare(Receiver()))
        row("healthy target alone", latencies(root, healthy, [], 0))
        with dead_ports() as ports:
            row(f"beside {len(ports)} dead ones", latencies(root, healthy, ports, 0))
        row("healthy target alone again", latencies(root, healthy, [], 0))
        row(f"after a group_wait of {WAIT_S} s, without it", latencies(root, healthy, [], WAIT_S))
        print()
        storm(root, healthy)


def latencies(root: Path, healthy: Desk, dead: Sequence[int], wait_s: int) -> list[float]:
    """Seconds from slots to acceptance at the healthy target, less the wait."""
    rules = "".join(EACH.format(number=number, kind="healthy") for number in range(RULES))
    rules += EACH.format(number="dead", kind="dead") if dead else ""
    targets = "".join(f"      - {{name: dead{port}, url: 'json://127.0.0.1:{port}/'}}\n" for port in dead)
    notify = (
        f"route:\n  receiver: healthy\n  group_by: ['...']\n  group_wait: {wait_s}s\n  group_interval: 1s\n"
        + ("  routes: [{matchers: ['kind=dead'], receiver: dead}]\n" if dead else "")
        + f"receivers:\n  - name: healthy\n    apprise_configs: [{config(healthy)}]\n"
        + (f"  - name: dead\n    apprise_configs:\n{targets}" if dead else "")
    )
    with collecting(root, rules, notify):
        healthy.came.clear()
        first = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=2 * EVERY_S)
        last = first + timedelta(seconds=EVERY_S * SLOTS)
        wait_for(lambda: len(delays(healthy, first, last)) >= RULES * SLOTS, EVERY_S * (SLOTS + 3) + 60)
    return [seconds - wait_s for seconds in delays(healthy, first, last)]


def delays(healthy: Desk, first: datetime, last: datetime) -> list[float]:
    """How long after their slots the messages came about those from one moment to another."""
    slots = [
        (each.at, datetime.fromisoformat(each.content["alerts"][0]["slot"].rstrip("Z")))
        for each in list(healthy.came)
    ]
    return [(at - slot).total_seconds() for at, slot in slots if first <= slot < last]


def storm(root: Path, healthy: Desk) -> None:
    """Let alerts begin to fire at once, and end."""
    for name, grouped_by, groups in (("one group", "alertname", 1), (f"{GROUPS} groups", "part", GROUPS)):
        begin = datetime.fromtimestamp(EVERY_S * (int(time.time()) // EVERY_S + 9), UTC).replace(tzinfo=None)
        end = begin + timedelta(seconds=STORM_LASTS_S)
        rules = FLOOD.format(most=STORM, groups=GROUPS, begin=begin, end=end)
        notify = (
            f"route:\n  receiver: team\n  group_by: [{grouped_by}]\n  group_wait: {WAIT_S}s\n"
            f"  group_interval: {INTERVAL_S}s\nreceivers:\n  - name: team\n"
            f"    apprise_configs: [{config(healthy, resolved=True)}]\n"
        )
        with collecting(root, rules, notify):
            healthy.came.clear()
            wait_for(lambda groups=groups: len(healthy.came) >= 2 * groups, STORM_LASTS_S + 120)
            time.sleep(INTERVAL_S)  # nothing more comes
            came = list(healthy.came)
        by_group: dict[str, list[Came]] = {}
        for each in came:
            by_group.setdefault(each.content["groupKey"], []).append(each)
        assert len(by_group) == groups, f"messages of {len(by_group)} groups came"
        told = [[each.content["status"] for each in messages] for messages in by_group.values()]
        assert told == [["firing", "resolved"]] * groups, told
        first = [(messages[0].at - begin).total_seconds() for messages in by_group.values()]
        over = [(messages[1].at - end).total_seconds() for messages in by_group.values()]
        print(
            f"storm of {STORM} alerts in {name:10} {len(came)} messages, all told {max(first):.1f} s after "
            f"they fired and {max(over):.1f} s after they ended, {max(each.size for each in came):,} bytes"
        )


def config(healthy: Desk, *, resolved: bool = False) -> str:
    """The one target that works."""
    return f"{{name: desk, url: 'json://127.0.0.1:{healthy.port}/', send_resolved: {json.dumps(resolved)}}}"


@contextmanager
def collecting(root: Path, rules: str, notify: str) -> Iterator[None]:
    """A collector with these files, while the block lasts."""
    (root / "rules.yaml").write_text(f"groups:\n  - name: g\n    interval: {EVERY_S}s\n    rules:\n{rules}")
    (root / "notify.yaml").write_text(notify)
    (root / "lapwing.yaml").write_text(
        "rules: [rules.yaml]\nnotify: notify.yaml\ndelivery: {allow_networks: [127.0.0.0/8]}\n"
    )
    # Each has a lake of its own: rows reach some minutes ahead, slots wait for silence to pass after those,
    # and nobody is to hear what became of the alerts of another measurement.
    with tempfile.TemporaryDirectory(dir=root) as data:
        lake = Lake.open(Path(data) / "lake")
        fill(lake)
        lake.close()
        collector = CollectorProcess.start(Path(data), config=root / "lapwing.yaml", environment={})
        try:
            yield
        finally:
            collector.stop()


def row(name: str, took: list[float]) -> None:
    """Print one line."""
    ordered = sorted(took)
    p99 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.99))]
    print(
        f"| {name} | {statistics.median(took) * 1e3:,.1f} | {p99 * 1e3:,.1f} | {ordered[-1] * 1e3:,.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
