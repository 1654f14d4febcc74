"""What the collector tells Prometheus, read from its parts when asked."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lapwing_collector.query import PoolStats
from lapwing_collector.redact import Redaction


class Telemetry(Collector):
    """The metrics of one collector."""

    def __init__(
        self,
        *,
        people: Callable[[], PoolStats],
        rules: Callable[[], PoolStats],
        redaction: Redaction | None = None,
    ) -> None:
        """Read from these parts.

        Args:
            people: Queries over HTTP.
            rules: Queries of rules.
            redaction: What is done to requests, if anything.
        """
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
