"""What the collector tells Prometheus, read from its parts when asked."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lapwing_collector.app.accounts import NAMES, Accounts
from lapwing_collector.app.ingestion import IntakeStats
from lapwing_collector.query import PoolStats
from lapwing_collector.redact import Redaction


class Telemetry(Collector):
    """The metrics of one collector."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        intake: Callable[[], IntakeStats],
        people: Callable[[], PoolStats],
        rules: Callable[[], PoolStats],
        redaction: Redaction | None = None,
    ) -> None:
        """Read from these parts.

        Args:
            accounts: The books.
            intake: The log, and what is known of senders.
            people: Queries over HTTP.
            rules: Queries of rules.
            redaction: What is done to requests, if anything.
        """
        self._accounts = accounts
        self._intake = intake
        self._pools = {"people": people, "rules": rules}
        self._redaction = redaction
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics of our own."""
        yield from self._rows()
        yield from self._log()
        yield from self._queries()

    def _rows(self) -> Iterator[Metric]:
        books = self._accounts.read()
        rows = CounterMetricFamily("lapwing_rows", "Rows by what became of them.", labels=["outcome"])
        for name in NAMES:
            rows.add_metric([name], getattr(books, name))
        yield rows
        yield GaugeMetricFamily("lapwing_rows_waiting", "Acknowledged, not in the lake yet.", books.waiting)

    def _log(self) -> Iterator[Metric]:
        now = self._intake()
        yield GaugeMetricFamily("lapwing_log_bytes", "Size of the durable log.", now.log_bytes)
        yield GaugeMetricFamily("lapwing_log_failing", "Whether the log cannot be written.", now.failing)
        yield GaugeMetricFamily("lapwing_log_damaged_parts", "Found since the start.", now.damaged_parts)
        yield GaugeMetricFamily("lapwing_replaying", "Whether the log is still read back.", now.replaying)
        yield GaugeMetricFamily(
            "lapwing_missing_records", "Numbered by senders and never received.", now.loss.missing
        )
        yield GaugeMetricFamily("lapwing_senders", "SDK processes that are remembered.", now.loss.processes)

    def _queries(self) -> Iterator[Metric]:
        queries = CounterMetricFamily("lapwing_queries", "Queries by outcome.", labels=["pool", "outcome"])
        seconds = CounterMetricFamily("lapwing_query_seconds", "Time that queries ran.", labels=["pool"])
        running = GaugeMetricFamily("lapwing_queries_running", "Queries under way.", labels=["pool"])
        waiting = GaugeMetricFamily("lapwing_queries_waiting", "Queries that wait.", labels=["pool"])
        for pool, read in self._pools.items():
            stats = read()
            for outcome, count in stats.outcomes.items():
                queries.add_metric([pool, outcome], count)
            seconds.add_metric([pool], stats.seconds)
            running.add_metric([pool], stats.running)
            waiting.add_metric([pool], stats.waiting)
        yield from (queries, seconds, running, waiting)
        if self._redaction is not None:
            yield CounterMetricFamily(
                "lapwing_redaction_withheld",
                "Records and tables that could not be read well enough to be redacted.",
                self._redaction.withheld,
            )
            yield CounterMetricFamily(
                "lapwing_redaction_failures",
                "Values that a rule failed to change, and that were replaced.",
                self._redaction.failures,
            )
