"""The collector in one process: every room built, joined, started in order and stopped in reverse."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

import pyarrow as pa

from lapwing_collector.app.alerting import Alerting
from lapwing_collector.app.completeness import Completeness
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.ingest import Ingest
from lapwing_collector.app.ownership import Ownership
from lapwing_collector.app.pending import Pending
from lapwing_collector.app.project import Project
from lapwing_collector.app.recovery import Recovery
from lapwing_collector.app.writing import MetricQueue, Writer
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.decode import decode_logs
from lapwing_collector.errors import UnavailableError
from lapwing_collector.lake import CatalogKeeper, Lake, QueuedMetric
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK
from lapwing_collector.notify import Deliverer
from lapwing_collector.query import QueryPool
from lapwing_collector.receive import Accepted, Limits, Readiness, Server, create_app
from lapwing_collector.state import Store
from lapwing_collector.wal import Log

_POLICIES: Final = {"wall": WALL_CLOCK, "data": DATA_CLOCK}

RULE_WORKERS: Final = 2
"""Rules evaluated at the same time, each with a query process of its own."""

_GRACE_S: Final = 1.0
"""For each part to finish what it is at: together less than the 5 s in which Ctrl-C must be over."""


async def run_collector(
    project: Project,
    *,
    clock: Clock,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    listeners: Mapping[str, socket.socket] | None = None,
) -> None:
    """Run until `stop` is set; what was acknowledged is then written, or in the log for the next start.

    Args:
        project: What to run.
        clock: The only one.
        stop: Set it to end.
        on_ready: Told the address once requests are accepted.
        listeners: Sockets that listen already, by the settings' section that says where (`http`); for a
            section without one, a socket is opened here.

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

        pending = Pending(settings.write.max_pending_bytes)
        completeness = Completeness(
            store=store,
            policy=_POLICIES[settings.clock],
            clock=clock,
            oldest_waiting=lambda: pending.oldest_received_at,
        )
        deliverer = Deliverer(store, project.targets, now=lambda: utc_datetime(clock.now_ns()))
        parts.callback(deliverer.stop, _GRACE_S)
        alerting = Alerting(
            rules=project.rules,
            tables=project.tables,
            targets=project.targets,
            store=store,
            completeness=completeness,
            run_query=queries.run,
            wake=deliverer.wake,
            clock=clock,
            workers=RULE_WORKERS,
        )
        parts.callback(alerting.close, _GRACE_S)

        def on_flushed(times: Mapping[str, pa.Array]) -> None:
            completeness.saw(times)
            alerting.look()

        recovery = Recovery(log, lake, pending, directory.dead_letters)
        writer = Writer(
            lake=lake,
            log=log,
            pending=pending,
            covered=recovery.covered,
            metrics=_metric_queue(store),
            interval_s=settings.write.flush_interval.total_seconds(),
            on_flushed=on_flushed,
        )
        ingest = Ingest(log=log, ledger=recovery.accepted, pending=pending, decode=decode_logs, clock=clock)
        parts.callback(ingest.close)
        recovered = asyncio.Event()

        async def ingest_once_recovered(payload: bytes) -> Accepted:
            # Until the log is read back, nobody knows which records are repeats.
            await recovered.wait()
            if stop.is_set():
                raise UnavailableError("shutting down")
            return await ingest(payload)

        receiver = create_app(
            ingest_once_recovered,
            limits=Limits(body_bytes=settings.http.max_request_bytes),
            readiness=lambda: Readiness(
                ready=recovered.is_set() and not writer.failing, replaying=not recovered.is_set()
            ),
        )
        host, _, port = settings.http.listen.rpartition(":")
        server = Server(receiver, host.strip("[]"), int(port))
        await server.start((listeners or {}).get("http"))
        recovery.admit_covered()
        writer.start()
        parts.callback(writer.close, _GRACE_S)
        if await _unless_stopped(recovery.queue_uncovered, stop, pending.close):
            recovered.set()
            deliverer.start()
            alerting.start()
            on_ready("{}:{}".format(*server.address))
            await stop.wait()
        recovered.set()
        await server.stop(_GRACE_S)


async def _unless_stopped(
    work: Callable[[], None], stop: asyncio.Event, cut_short: Callable[[], None]
) -> bool:
    """Do `work` in a thread; False if `stop` was set meanwhile, after `cut_short` made the work end."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        cut_short()
    stopping.cancel()
    await running
    return not stop.is_set()


def _metric_queue(store: Store) -> MetricQueue:
    def waiting(after: int, limit: int) -> list[QueuedMetric]:
        return [QueuedMetric(number, row, as_of) for number, row, as_of in store.queued_metrics(after, limit)]

    return MetricQueue(waiting=waiting, forget=store.forget_metrics)
