"""What the collector tells Prometheus, read from its parts when asked."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

import lapwing
from lapwing_collector.app.ingest.accounts import NAMES
from lapwing_collector.app.ingest.inflow import Inflow
from lapwing_collector.app.ingest.writing import Writer
from lapwing_collector.app.judging.leading import Leading
from lapwing_collector.app.replicas.gathering import Gathering
from lapwing_collector.app.replicas.presence import who_shares
from lapwing_collector.clock import Clock, epoch_ns, utc_datetime
from lapwing_collector.errors import StateUnavailableError
from lapwing_collector.query import QueryPool
from lapwing_collector.state import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """What is watched."""

    data: Path
    clock: Clock
    inflow: Inflow | None
    writer: Writer | None
    pools: Mapping[str, QueryPool]
    leading: Leading | None
    gathering: Gathering | None
    store: Store


class Telemetry(Collector):
    """The metrics of one collector, in no registry but its own."""

    def __init__(self, parts: Parts) -> None:
        """Read from `parts`."""
        self._parts = parts
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self._registry)

    def document(self) -> list[dict[str, Any]]:
        """The same as JSON: each metric with its name, what it means, and its samples."""
        return [
            {
                "name": metric.name,
                "help": metric.documentation,
                "samples": [
                    {"name": sample.name, "labels": dict(sample.labels), "value": sample.value}
                    for sample in metric.samples
                ],
            }
            for metric in self._registry.collect()
        ]

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is, is known when it is asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics of our own."""
        for read in _READERS:
            with suppress(StateUnavailableError):  # what it would tell is unknown
                yield from read(self._parts)


def _state(parts: Parts) -> Iterator[Metric]:
    ready = parts.inflow is None or parts.inflow.receiving.readiness()[0]
    version = GaugeMetricFamily("lapwing_build_info", "The version that runs; always 1.", labels=["version"])
    version.add_metric([lapwing.__version__], 1)
    yield version
    yield _gauge("lapwing_ready", "Whether records are accepted and acknowledged.", ready)
    disk = shutil.disk_usage(parts.data)
    yield _gauge("lapwing_disk_free_bytes", "What is free where the data directory is.", disk.free)
    yield _gauge(
        "lapwing_disk_size_bytes", "How large the disk is that the data directory is on.", disk.total
    )


def _requests(parts: Parts) -> Iterator[Metric]:
    if (inflow := parts.inflow) is None:
        return
    tally = inflow.receiving.tally
    requests = CounterMetricFamily(
        "lapwing_requests", "Requests to send records, by status.", labels=["transport", "status"]
    )
    for (transport, status), count in sorted(tally.answers().items()):
        requests.add_metric([transport, status], count)
    yield requests
    yield _counter(
        "lapwing_request_body_bytes", "Bodies that were taken, after decompression.", tally.body_bytes
    )


def _rows(parts: Parts) -> Iterator[Metric]:
    if (inflow := parts.inflow) is None:
        return
    books = inflow.accounts.read()
    rows = CounterMetricFamily("lapwing_rows", "Rows by what became of them.", labels=["outcome"])
    for name in NAMES:
        rows.add_metric([name], getattr(books, name))
    yield rows
    yield _gauge("lapwing_rows_waiting", "Rows that are durable and not in the lake yet.", books.waiting)
    oldest = inflow.pending.oldest_received_at
    age_s = 0.0 if oldest is None else max(0, parts.clock.now_ns() - epoch_ns(oldest)) / 1e9
    yield _gauge("lapwing_oldest_waiting_seconds", "How long the row waits that waits longest.", age_s)
    yield _gauge("lapwing_pending_bytes", "Memory of the rows that wait.", inflow.pending.size_bytes)


def _log(parts: Parts) -> Iterator[Metric]:
    if (inflow := parts.inflow) is None:
        return
    now = inflow.ingestion.stats()
    yield _gauge("lapwing_replaying", "Whether rows of an earlier process are read back.", now.replaying)
    yield _gauge("lapwing_log_bytes", "Size of the durable log.", now.log_bytes)
    yield _gauge("lapwing_log_failing", "Whether the log cannot be written.", now.failing)
    yield _gauge("lapwing_log_damaged_parts", "Parts of the log that could not be read.", now.damaged_parts)
    yield _gauge("lapwing_senders", "SDK processes that are remembered.", now.loss.processes)
    yield _counter(
        "lapwing_senders_forgotten", "SDK processes that there was no room to remember.", now.loss.forgotten
    )
    yield _gauge(
        "lapwing_missing_records",
        "Records that SDK processes numbered and that did not come, so far.",
        now.loss.missing,
    )


def _memory(parts: Parts) -> Iterator[Metric]:
    if (inflow := parts.inflow) is None:
        return
    ledger = inflow.ingestion.memory.ledger
    remembered = GaugeMetricFamily("lapwing_remembered", "What repeats are known by.", labels=["kind"])
    for kind, count in ledger.sizes().items():
        remembered.add_metric([kind], count)
    yield remembered


def _flushes(parts: Parts) -> Iterator[Metric]:
    if (writer := parts.writer) is None:
        return
    flushes = writer.flushes
    yield SummaryMetricFamily(
        "lapwing_flush_seconds",
        "Time to write waiting rows to the lake and commit them.",
        count_value=flushes.committed,
        sum_value=flushes.seconds,
    )
    yield _counter("lapwing_flush_failures", "Flushes that failed and were tried again.", flushes.failed)
    yield _counter("lapwing_flushed_bytes", "Memory of the rows that were flushed.", flushes.bytes)
    yield _gauge("lapwing_flush_failing", "Whether the newest flush failed.", writer.failing)


def _queries(parts: Parts) -> Iterator[Metric]:
    if not parts.pools:
        return
    queries = CounterMetricFamily(
        "lapwing_queries", "Queries by what became of them.", labels=["pool", "outcome"]
    )
    seconds = CounterMetricFamily("lapwing_query_seconds", "Time that queries ran.", labels=["pool"])
    running = GaugeMetricFamily("lapwing_queries_running", "Queries under way.", labels=["pool"])
    waiting = GaugeMetricFamily(
        "lapwing_queries_waiting", "Queries that wait for a process.", labels=["pool"]
    )
    for pool, queried in parts.pools.items():
        stats = queried.stats()
        for outcome, count in stats.outcomes.items():
            queries.add_metric([pool, outcome], count)
        seconds.add_metric([pool], stats.seconds)
        running.add_metric([pool], stats.running)
        waiting.add_metric([pool], stats.waiting)
    yield from (queries, seconds, running, waiting)


def _rules(parts: Parts) -> Iterator[Metric]:
    if (leading := parts.leading) is None:
        return
    evaluations = CounterMetricFamily(
        "lapwing_rule_evaluations", "Slots of rules that were evaluated, by outcome.", labels=["outcome"]
    )
    for outcome, count in leading.judging.alerting.counts().items():
        evaluations.add_metric([outcome], count)
    yield evaluations
    kept = leading.judging.alerting.punctuality()
    yield SummaryMetricFamily(
        "lapwing_rule_start_delay_seconds",
        "How much later evaluations began than their slot was due and their rule had its turn.",
        count_value=kept.started,
        sum_value=kept.delay_s,
    )
    yield _counter(
        "lapwing_rule_overruns",
        "Evaluations during which the next slot of the rule became due.",
        kept.overruns,
    )
    yield _counter("lapwing_rule_slots_missed", "Slots that were passed over.", kept.missed)
    again = CounterMetricFamily(
        "lapwing_late_evaluations",
        "Slots of rules that were evaluated again, by outcome.",
        labels=["outcome"],
    )
    for outcome, count in leading.judging.recomputing.counts().items():
        again.add_metric([outcome], count)
    yield again
    attempts = CounterMetricFamily(
        "lapwing_notification_attempts", "Attempts to notify, by verdict.", labels=["target", "verdict"]
    )
    for (target, verdict), count in leading.deliverer.counts().items():
        attempts.add_metric([target, verdict], count)
    yield attempts
    down = GaugeMetricFamily(
        "lapwing_notification_target_down",
        "Whether a target failed so often that it rests.",
        labels=["target"],
    )
    for target, is_down in leading.deliverer.down().items():
        down.add_metric([target], float(is_down))
    yield down


def _kept(parts: Parts) -> Iterator[Metric]:
    if (leading := parts.leading) is None:
        return
    yield _gauge(
        "lapwing_state_away",
        "Whether rules and notifications wait for the alert state.",
        leading.problem is not None,
    )
    yield _gauge("lapwing_leads", "Whether rules and notifications are this process's now.", leading.leads)
    left_out = () if parts.gathering is None else parts.gathering.left_out
    yield _gauge(
        "lapwing_collectors_left_out",
        "Collectors that tell nothing any more and that slots do not wait for.",
        len(left_out),
    )
    backlog = leading.judging.recomputing.backlog()
    yield _gauge("lapwing_late_slots_waiting", "Slots that are to be evaluated again.", backlog.waiting)
    yield _gauge(
        "lapwing_late_slots_failing", "Of these, slots that failed when last tried.", backlog.failing
    )
    yield _gauge("lapwing_notifications_waiting", "Messages that are to be sent yet.", parts.store.unsent())
    dead = GaugeMetricFamily("lapwing_notifications_dead", "Messages that were given up.", labels=["target"])
    for target, count in parts.store.dead_counts().items():
        dead.add_metric([target], count)
    yield dead
    rows = parts.store.row_counts()
    kept = GaugeMetricFamily("lapwing_state_rows", "Rows of the alert state, by table.", labels=["table"])
    for table, count in rows.items():
        kept.add_metric([table], count)
    yield kept
    yield _gauge(
        "lapwing_notification_groups",
        "Groups of alerts that somebody is told of, or was a moment ago.",
        rows["notification_groups"],
    )
    pruned = CounterMetricFamily(
        "lapwing_state_pruned_rows", "Rows that were too old to be kept, by table.", labels=["table"]
    )
    for table, count in leading.pruned.items():
        pruned.add_metric([table], count)
    yield pruned


def _shared(parts: Parts) -> Iterator[Metric]:
    if parts.leading is None:
        return
    shared = who_shares(parts.store, utc_datetime(parts.clock.now_ns()))
    yield _gauge("lapwing_leader_term", "How many have led so far, each in its term.", shared["term"])
    replicas = GaugeMetricFamily(
        "lapwing_replicas",
        "Processes that share the alert state, by whether they are there.",
        labels=["state"],
    )
    for state in ("there", "gone"):
        found = [each for each in shared["replicas"] if each["gone"] == (state == "gone")]
        replicas.add_metric([state], len(found))
    yield replicas


def _redaction(parts: Parts) -> Iterator[Metric]:
    if (inflow := parts.inflow) is None:
        return
    redaction = inflow.prepare
    yield _counter(
        "lapwing_redaction_withheld",
        "Records and tables that could not be read well enough to be redacted.",
        redaction.withheld if redaction is not None else 0,
    )
    yield _counter(
        "lapwing_redaction_failures",
        "Values that a rule failed to change, and that were replaced.",
        redaction.failures if redaction is not None else 0,
    )


_READERS: tuple[Callable[[Parts], Iterator[Metric]], ...] = (
    _state,
    _requests,
    _rows,
    _log,
    _memory,
    _flushes,
    _queries,
    _rules,
    _kept,
    _shared,
    _redaction,
)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, float(value))


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(name, meaning, float(value))
