"""The collector in one process: every room built, joined, started in order and stopped in reverse."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

from lapwing_collector.app.alerts import alert_duties, alert_reads
from lapwing_collector.app.asking import query_limits
from lapwing_collector.app.declaring import declare_references
from lapwing_collector.app.describing import Describing
from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.drills import Drills
from lapwing_collector.app.feeding import Feeding
from lapwing_collector.app.ingestion import Ingestion
from lapwing_collector.app.judging import RULE_WORKERS, Judging
from lapwing_collector.app.keeping import HARMLESS, orders
from lapwing_collector.app.losses import Losses
from lapwing_collector.app.maintenance import Maintenance, tell_nobody
from lapwing_collector.app.mending import Mending
from lapwing_collector.app.metrics import rule_reads
from lapwing_collector.app.owner_socket import Order, OwnerSocket
from lapwing_collector.app.owning import OwnedData
from lapwing_collector.app.pending import Pending
from lapwing_collector.app.poison import DeadLetters
from lapwing_collector.app.project import Project, described_texts, rule_files, with_builtin_rules
from lapwing_collector.app.pruning import Pruner
from lapwing_collector.app.receiving import Receiving
from lapwing_collector.app.redaction import redaction
from lapwing_collector.app.rule_works import RuleWorks
from lapwing_collector.app.serving import Serving
from lapwing_collector.app.state_place import state_of
from lapwing_collector.app.telemetry import Parts, Telemetry
from lapwing_collector.app.undelivered import Wanted, dead_reads, requeue_in
from lapwing_collector.app.writing import Flushed, MetricQueue, Writer
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.config import Settings
from lapwing_collector.errors import StateUnavailableError
from lapwing_collector.lake import Lake
from lapwing_collector.notify import Deliverer, Reach
from lapwing_collector.query import QueryPool, Spare
from lapwing_collector.state import Store
from lapwing_collector.web import Live

_BUSY_FROM: Final = 0.25
"""How full the queue of rows may be while maintenance goes on."""

_LOOK_S: Final = 0.2
"""How often it is looked whether to stop, while the alert state is away."""
_GRACE_S: Final = 1.0
"""For each part to finish what it is at: together less than the 5 s in which Ctrl-C must be over."""


async def run_collector(
    project: Project,
    *,
    clock: Clock,
    stop: asyncio.Event,
    on_ready: Callable[[str, str], None],
    receiving: Receiving | None = None,
    listeners: Mapping[str, socket.socket] | None = None,
    owned: OwnedData | None = None,
) -> None:
    """Run until `stop` is set; what was acknowledged is then written, or in the log for the next start.

    Args:
        project: What to run.
        clock: The only one.
        stop: Set it to end.
        on_ready: Told the address, and where people look as a URL, once requests are accepted.
        receiving: The receiver, if it runs already; it is stopped in the end.
        listeners: Sockets that listen already, by the settings' section that says where (`http`, `web`);
            for a section without one, a socket is opened here.
        owned: The data directory, if it is owned already; it is let go of in the end.

    Raises:
        LapwingError: It cannot start: the data directory or the port is taken, or cannot be used.
    """
    settings = project.settings
    listeners = listeners or {}

    def now() -> datetime:
        return utc_datetime(clock.now_ns())

    async with AsyncExitStack() as parts:
        if receiving is None:
            receiving = Receiving(settings)
            await receiving.start(listeners)
        parts.push_async_callback(receiving.stop)
        owned = owned or OwnedData.take(project)
        parts.callback(owned.close)
        directory, lake = owned.directory, owned.lake
        accounts = receiving.accounts
        pending = Pending(settings.write.max_pending_bytes)
        prepare = redaction(project.policy)
        ingestion = Ingestion.open(
            directory,
            settings,
            lake.progress.log,
            pending,
            accounts,
            clock,
            prepare,
            described_texts(project),
        )
        parts.callback(ingestion.close)
        # In a thread: a server may keep silent for a while.
        store = parts.enter_context(closing(await asyncio.to_thread(Store.own, state_of(settings))))
        mending = Mending(lambda only: len(todo["scrub"]({"only": only}, tell_nobody)["damaged"]))
        rule_queries, late_queries, queries = _query_pools(parts, directory, settings, mending)

        deliverer = _deliverer(parts, project, store, now)
        judging = Judging(
            with_builtin_rules(project),
            store=store,
            live_queries=rule_queries.run,
            late_queries=late_queries.run,
            # First what is in hand, then what waits: in between, rows go from one to the other.
            oldest_waiting=lambda: _earliest(ingestion.ingest.oldest_in_hand, pending.oldest_received_at),
            wake=deliverer.wake,
            busy=lambda: pending.filled > _BUSY_FROM,
            clock=clock,
            alerts_changed=partial((live := Live()).saw, "alerts"),
            use_targets=lambda policy: deliverer.use(policy.targets, policy.fallbacks(), policy.others()),
        )
        parts.callback(judging.close, _GRACE_S)
        writer = Writer(
            lake=lake,
            pending=pending,
            settle=ingestion.memory.settle,
            accounts=accounts,
            dead_letters=DeadLetters(directory.dead_letters),
            metrics=MetricQueue.of(store),
            interval_s=settings.write.flush_interval.total_seconds(),
            on_flushed=partial(_tell_of, judging, live),
        )
        asked = {
            "status": lambda _asked, _tell: _status(pending, writer, ingestion, receiving, store),
            "run_rule": judging.run_rule,
            "fire": _drills(parts, judging, store, deliverer, now).fire,
            "requeue": lambda asked, _tell: requeue_in(store, Wanted.of(asked), now(), deliverer.wake),
            "reload": judging.reload,
        }
        todo = _maintain(parts, lake, ingestion, directory, settings, clock, pending, asked)
        describing = Describing(
            lake,
            project.models,
            now=now,
            declare=partial(declare_references, lake, todo, project.models),
            busy=lambda: pending.filled > _BUSY_FROM,
        )
        parts.callback(describing.close, _GRACE_S)
        losses = _losses(parts, lake, ingestion, clock)
        telemetry = Telemetry(
            Parts(
                data=directory.root,
                clock=clock,
                receiving=receiving,
                accounts=accounts,
                pending=pending,
                ingestion=ingestion,
                writer=writer,
                pools={"people": queries, "rules": rule_queries, "late": late_queries},
                alerting=judging.alerting,
                recomputing=judging.recomputing,
                deliverer=deliverer,
                store=store,
                pruner=(pruner := _pruner(parts, store, settings, now)),
                redaction=prepare,
            )
        )
        feeding = _feeding(parts, receiving, directory)
        serving = Serving(
            settings,
            queries,
            readiness=lambda: _with_state(receiving.readiness(), store),
            metrics=telemetry.exposition,
            reads=alert_reads(store, lambda: judging.project.notify)
            | dead_reads(store)
            | rule_reads(
                lambda: judging.project.rules,
                store.load_rules,
                lambda: rule_files(project.file, project.settings),
            )
            | {"demo": feeding.state, "telemetry": lambda _: telemetry.document()},
            duties={name: partial(_duty, todo[name]) for name in (*HARMLESS, "fire", "reload")}
            | {"senders": ingestion.senders, "load-demo": feeding.start}
            | alert_duties(store, judging.dispatcher.look),
            works=RuleWorks(project.file, directory.root).works(),
            authorize=None if receiving.access.open else receiving.access.judge,
            tls=receiving.access.tls,
            address_file=directory.web_address,
            now=now if settings.clock == "wall" else partial(_time_of_data, store, now),
            firing=partial(_firing, store),
            endpoint=lambda: receiving.url,
            live=live,
        )
        parts.push_async_callback(serving.stop)
        parts.callback(queries.close)  # what runs for people ends before its server waits for it
        await asyncio.to_thread(owned.keeper.wait)  # nobody can ask anything before
        await serving.start(listeners.get("web"))
        await asyncio.to_thread(ingestion.recovery.learn)
        writer.start()
        parts.callback(writer.close, _GRACE_S)
        parts.push_async_callback(receiving.stop)  # before what it feeds
        receiving.open(
            ingestion.ingest,
            healthy=lambda: ingestion.problem is None and not writer.failing,
            replaying=lambda: ingestion.recovery.replaying,
        )
        deliverer.start()
        on_ready(receiving.address, serving.url)
        if await _unless_stopped(ingestion.recovery.replay, stop, pending.close):
            describing.start()
            losses.start()
            # Rules look at rows that were acknowledged long ago only when all of them are there.
            if await _once_reachable(store, judging.prepare, stop):
                judging.start()
                pruner.start()
                await stop.wait()


async def _once_reachable(store: Store, prepare: Callable[[], None], stop: asyncio.Event) -> bool:
    """Prepare what needs the alert state as soon as that is there; False if `stop` was set before."""
    leaving = threading.Event()

    def work() -> None:
        while not leaving.is_set():
            if store.wait(_LOOK_S):
                with suppress(StateUnavailableError):
                    prepare()
                    return

    return await _unless_stopped(work, stop, leaving.set)


def _with_state(receiving: tuple[bool, Mapping[str, Any]], store: Store) -> tuple[bool, Mapping[str, Any]]:
    """Readiness of the receiver, which needs no state, and whether alerts wait for theirs."""
    ready, told = receiving
    return ready, {**told, "alerts_wait": store.problem is not None}


def _tell_of(judging: Judging, live: Live, flushed: Flushed) -> None:
    """Let rules and browsers know what the lake has now."""
    judging.saw(flushed)
    live.saw(models=flushed.times.keys() | flushed.labelled)


def _firing(store: Store) -> int | None:
    """How many alerts fire; None while their state is away, which stops no page that shows something else."""
    with suppress(StateUnavailableError):
        return store.firing_count()
    return None


def _time_of_data(store: Store, now: Callable[[], datetime]) -> datetime:
    """How far the data is in a replay; the clock's time while there is none."""
    return max(store.load_watermarks().values(), default=now())


def _query_pools(
    parts: AsyncExitStack, directory: DataDirectory, settings: Settings, mending: Mending
) -> tuple[QueryPool, QueryPool, QueryPool]:
    """Processes for live slots, for late ones, and for queries of people, whose pool the caller closes."""
    spare = Spare(directory.lake, query_limits(settings))
    parts.callback(spare.close)
    rules = QueryPool(spare, RULE_WORKERS, mend=mending)
    parts.callback(rules.close)
    late = QueryPool(spare, 1, mend=mending)
    parts.callback(late.close)
    return rules, late, QueryPool(spare, settings.query.workers, queue=settings.query.queue, mend=mending)


def _deliverer(
    parts: AsyncExitStack, project: Project, store: Store, now: Callable[[], datetime]
) -> Deliverer:
    """What sends messages; not started."""
    deliverer = Deliverer(
        store,
        project.targets,
        now,
        reach=Reach(project.settings.delivery.allow_networks),
        fallbacks=project.notify.fallbacks(),
        others=project.notify.others(),
    )
    parts.callback(deliverer.stop, _GRACE_S)
    return deliverer


def _drills(
    parts: AsyncExitStack,
    judging: Judging,
    store: Store,
    deliverer: Deliverer,
    now: Callable[[], datetime],
) -> Drills:
    """What holds drills; those under way end when the collector does."""
    ending = threading.Event()
    parts.callback(ending.set)
    return Drills(
        project=lambda: judging.project,
        store=store,
        wake=deliverer.wake,
        now=now,
        stopping=ending.wait,
    )


def _maintain(  # noqa: PLR0917  # what is joined
    parts: AsyncExitStack,
    lake: Lake,
    ingestion: Ingestion,
    directory: DataDirectory,
    settings: Settings,
    clock: Clock,
    pending: Pending,
    asked: Mapping[str, Order],
) -> Mapping[str, Order]:
    """Begin to maintain the data directory; what commands may ask for."""
    maintenance = Maintenance(
        lake=lake,
        log=ingestion.log,
        remembered=lambda: ingestion.memory.covers,
        directory=directory,
        settings=settings,
        clock=clock,
        busy=lambda: pending.filled > _BUSY_FROM,
    )
    todo = {**orders(maintenance), **asked}
    parts.callback(maintenance.close, _GRACE_S)
    parts.callback(OwnerSocket.open(directory.root, todo).close)
    maintenance.start()
    return todo


def _feeding(parts: AsyncExitStack, receiving: Receiving, directory: DataDirectory) -> Feeding:
    """What loads the demo; not started."""
    feeding = Feeding(lambda: receiving.url, directory.root, open_to_all=receiving.access.open)
    parts.callback(feeding.close)
    return feeding


def _pruner(parts: AsyncExitStack, store: Store, settings: Settings, now: Callable[[], datetime]) -> Pruner:
    """What lets go of old alerts and messages; not started."""
    kept = settings.retention
    pruner = Pruner(store, now, alerts=kept.alerts, messages=kept.messages)
    parts.callback(pruner.close, _GRACE_S)
    return pruner


def _losses(parts: AsyncExitStack, lake: Lake, ingestion: Ingestion, clock: Clock) -> Losses:
    """What tells the lake of records that never came; not started."""
    losses = Losses(lake, ingestion.memory.ledger.loss, now=lambda: utc_datetime(clock.now_ns()))
    parts.callback(losses.close, _GRACE_S)
    return losses


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _duty(order: Order, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return order(arguments, tell_nobody)


def _status(
    pending: Pending, writer: Writer, ingestion: Ingestion, receiving: Receiving, store: Store
) -> dict[str, Any]:
    """What commands are told."""
    return {
        "pid": os.getpid(),
        "address": receiving.url,
        "failing": writer.failing,
        "pending_bytes": pending.size_bytes,
        "books": ingestion.accounts.as_dict(),
        "senders": ingestion.senders({"worst": 1}),
        "state_problem": store.problem,
    }


async def _unless_stopped(
    work: Callable[[], None], stop: asyncio.Event, cut_short: Callable[[], None]
) -> bool:
    """Do `work` in a thread; False if `stop` was set meanwhile: `cut_short` makes it end before long."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await asyncio.wait({running}, timeout=_GRACE_S)
        cut_short()
    stopping.cancel()
    await running
    return not stop.is_set()
