"""The collector in one process: every room built, joined, started in order and stopped in reverse."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from lapwing_collector.app.alerting import Alerting
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.ingest import Ingest, admit, unframe
from lapwing_collector.app.ownership import Ownership
from lapwing_collector.app.pending import LogEntry, Pending
from lapwing_collector.app.project import Project
from lapwing_collector.app.writing import MetricQueue, Writer
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.decode import decode_logs
from lapwing_collector.dedup import Ledger
from lapwing_collector.lake import CatalogKeeper, Lake, QueuedMetric
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK
from lapwing_collector.notify import Deliverer
from lapwing_collector.query import QueryPool
from lapwing_collector.receive import Limits, Readiness, Server, create_app
from lapwing_collector.state import Store
from lapwing_collector.wal import Log

logger = logging.getLogger(__name__)

_POLICIES: Final = {"wall": WALL_CLOCK, "data": DATA_CLOCK}

RULE_WORKERS: Final = 2
"""Rules evaluated at the same time, each with a query process of its own."""

_GRACE_S: Final = 1.0
"""For each part to finish what it is at: together less than the 5 s in which Ctrl-C must be over."""


async def run_collector(
    project: Project, *, clock: Clock, stop: asyncio.Event, on_ready: Callable[[str], None]
) -> None:
    """Run until `stop` is set; what was acknowledged is then written, or in the log for the next start.

    Args:
        project: What to run.
        clock: The only one.
        stop: Set it to end.
        on_ready: Told the address that requests are accepted at.

    Raises:
        LapwingError: It cannot start: the data directory or the port is taken, or cannot be used.
    """
    settings = project.settings
    with ExitStack() as parts:
        directory = DataDirectory(settings.data)
        parts.callback(Ownership.take(directory.root).release)
        lake = Lake.open(directory.lake)
        parts.callback(lake.close)
        parts.callback(CatalogKeeper.start(directory.lake).close)
        log = Log.open(directory.log, after=lake.progress.log)
        parts.callback(log.close)
        store = Store.open(directory.state)
        parts.callback(store.close)
        queries = QueryPool(directory.lake, RULE_WORKERS)
        parts.callback(queries.close)

        deliverer = Deliverer(store, project.targets, now=lambda: utc_datetime(clock.now_ns()))
        parts.callback(deliverer.stop, _GRACE_S)
        alerting = Alerting(
            rules=project.rules,
            tables=project.tables,
            targets=project.targets,
            store=store,
            run_query=queries.run,
            wake=deliverer.wake,
            policy=_POLICIES[settings.clock],
            clock=clock,
            workers=RULE_WORKERS,
        )
        parts.callback(alerting.close, _GRACE_S)

        pending = Pending(settings.write.max_pending_bytes)
        ledger, covered = _ledgers(log)
        writer = Writer(
            lake=lake,
            log=log,
            pending=pending,
            covered=covered,
            metrics=_metric_queue(store),
            interval_s=settings.write.flush_interval.total_seconds(),
            on_flushed=alerting.saw,
        )
        writer.start()
        parts.callback(writer.close, _GRACE_S)
        _replay(log, lake, ledger, covered, pending)

        ingest = Ingest(log=log, ledger=ledger, pending=pending, decode=decode_logs, clock=clock)
        parts.callback(ingest.close)
        receiver = create_app(
            ingest,
            limits=Limits(body_bytes=settings.http.max_request_bytes),
            readiness=lambda: Readiness(ready=not writer.failing, replaying=False),
        )
        host, _, port = settings.http.listen.rpartition(":")
        server = Server(receiver, host.strip("[]"), int(port))
        await server.start()
        deliverer.start()
        alerting.start()
        on_ready("{}:{}".format(*server.address))
        await stop.wait()
        await server.stop(_GRACE_S)


def _ledgers(log: Log) -> tuple[Ledger, Ledger]:
    """What was accepted and what the lake covers, as of the checkpoint: equal until the log is replayed."""
    checkpoint = log.read_checkpoint()
    if checkpoint is None:
        return Ledger(), Ledger()
    return Ledger.restore(checkpoint[1]), Ledger.restore(checkpoint[1])


def _replay(log: Log, lake: Lake, ledger: Ledger, covered: Ledger, pending: Pending) -> None:
    """Queue what the log has and the lake has not, as if it had just come in."""
    checkpoint = log.read_checkpoint()
    replayed = 0
    for entry in log.replay(after=checkpoint[0] if checkpoint else 0):
        received_at_ns, payload = unframe(entry.payload)
        batches = admit(ledger, decode_logs(payload, received_at_ns).batches)
        if entry.position <= lake.progress.log:
            admit(covered, batches)
        else:
            pending.wait_for_room()
            pending.put(LogEntry(entry.position, batches, len(payload)))
            replayed += 1
    if replayed:
        logger.info("replayed %d requests from the log", replayed, extra={"action": "replayed"})


def _metric_queue(store: Store) -> MetricQueue:
    def waiting(after: int, limit: int) -> list[QueuedMetric]:
        return [QueuedMetric(number, row, as_of) for number, row, as_of in store.queued_metrics(after, limit)]

    return MetricQueue(waiting=waiting, forget=store.forget_metrics)
