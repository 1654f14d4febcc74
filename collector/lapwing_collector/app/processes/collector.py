"""The collector in one process: every room built, joined, started in order and stopped in reverse."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from lapwing_collector.app.alerts.alerts import alert_duties, alert_reads
from lapwing_collector.app.alerts.drills import Drills
from lapwing_collector.app.alerts.undelivered import Wanted, dead_reads, requeue_in
from lapwing_collector.app.answers.asking import query_limits
from lapwing_collector.app.importing.feeding import Feeding
from lapwing_collector.app.ingest.inflow import Inflow
from lapwing_collector.app.ingest.losses import Losses, loss_of
from lapwing_collector.app.ingest.poison import DeadLetters
from lapwing_collector.app.ingest.writing import Flushed, MetricQueue, Writer
from lapwing_collector.app.judging.judging import RULE_WORKERS, Judging
from lapwing_collector.app.judging.leading import Leading
from lapwing_collector.app.judging.led import Led, deliverer_of, pruner_of
from lapwing_collector.app.judging.thresholds import threshold_reads
from lapwing_collector.app.places.access import Access
from lapwing_collector.app.places.arrangement import Arrangement
from lapwing_collector.app.places.departing import hold_lake
from lapwing_collector.app.places.directory import DataDirectory, collector_name
from lapwing_collector.app.places.lake_place import lake_of
from lapwing_collector.app.places.owner_socket import Order, OwnerSocket, ask_owner
from lapwing_collector.app.places.ownership import Ownership
from lapwing_collector.app.places.project import Project, rule_files, with_builtin_rules
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.replicas.election import Election
from lapwing_collector.app.replicas.following import Following
from lapwing_collector.app.replicas.gathering import Gathering
from lapwing_collector.app.replicas.marking import POLICIES, Marking, Teller
from lapwing_collector.app.replicas.presence import (
    Me,
    Presence,
    expect_one_writer,
    other_collectors,
    reachable,
    who_shares,
)
from lapwing_collector.app.rule_tools.rule_works import RuleWorks
from lapwing_collector.app.serving.metrics import rule_reads
from lapwing_collector.app.serving.serving import Serving
from lapwing_collector.app.serving.telemetry import Parts, Telemetry
from lapwing_collector.app.upkeep.declaring import declare_references
from lapwing_collector.app.upkeep.describing import Describing
from lapwing_collector.app.upkeep.keeping import HARMLESS, orders, promoted
from lapwing_collector.app.upkeep.maintenance import Maintenance, tell_nobody
from lapwing_collector.app.upkeep.mending import Mending
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.config import Settings
from lapwing_collector.errors import ConfigError, DataDirectoryError, StateUnavailableError, UnavailableError
from lapwing_collector.query import QueryPool, Spare
from lapwing_collector.state import Place, Role, Store
from lapwing_collector.web import Duty, Live, Read

_GRACE_S: Final = 1.0
"""For each part to finish what it is at: together less than the 5 s in which Ctrl-C must be over."""


async def run_collector(
    project: Project,
    *,
    clock: Clock,
    stop: asyncio.Event,
    on_ready: Callable[[str, str], None],
    arrangement: Arrangement = Arrangement.UP,
    inflow: Inflow | None = None,
    listeners: Mapping[str, socket.socket] | None = None,
    holder: int | None = None,
) -> None:
    """Run until `stop` is set; what was acknowledged is then written, or in the log for the next start.

    Args:
        project: What to run.
        clock: The only one.
        stop: Set it to end.
        on_ready: Told the address, and where people look as a URL, once all of it runs.
        arrangement: Which parts of it.
        inflow: What receives, if it does already; whoever opened it closes it.
        listeners: Sockets that listen already, by the settings' section that says where (`http`, `web`);
            for a section without one, a socket is opened here.
        holder: The process that others who want the data directory are told to stop; this one if None.

    Raises:
        LapwingError: It cannot start: the data directory or the port is taken, or cannot be used.
    """
    arrangement.check(project.settings)
    async with AsyncExitStack() as parts:
        directory = DataDirectory(project.settings.data)
        if arrangement.receives:
            inflow = inflow or await Inflow.open(parts, project, clock, listeners=listeners or {})
        else:
            directory = directory.serving
            parts.callback(Ownership.take(directory.root, holder).release)
        place = state_of(project.settings)
        # In a thread: a server may keep silent for a while.
        opened: Callable[..., Store] = Store.join if place.shared else Store.own
        store = parts.enter_context(closing(await asyncio.to_thread(opened, place)))
        base = _Base(project, arrangement, directory, inflow, place, store, Live(), clock)
        if inflow is not None:
            _expect_one_lake(base, inflow)
        await _Collector(parts, base).run(stop, on_ready, (listeners or {}).get("web"))


@dataclass(frozen=True, slots=True)
class _Base:
    """What most parts are joined of.

    Attributes:
        project: What is run.
        arrangement: Which parts of it.
        directory: What this process owns.
        inflow: What receives; None where nothing does.
        place: Where the state is.
        store: The state, as all share it.
        live: Tells browsers what is new.
        clock: The only one.
    """

    project: Project
    arrangement: Arrangement
    directory: DataDirectory
    inflow: Inflow | None
    place: Place
    store: Store
    live: Live
    clock: Clock

    @property
    def settings(self) -> Settings:
        return self.project.settings

    def now(self) -> datetime:
        """The time, naive UTC."""
        return utc_datetime(self.clock.now_ns())

    def saw(self, *topics: str, models: Iterable[str] = ()) -> None:
        """Tell browsers what this process did; where the state is shared, all follow what is told there."""
        if not self.place.shared:
            self.live.saw(*topics, models=models)

    @property
    def time_of_people(self) -> Callable[[], datetime]:
        """What ranges of pages reach back from: the clock's time, or in a replay that of the data."""
        return self.now if self.settings.clock == "wall" else _TimeOfData(self.store, self.now)

    @property
    def endpoint(self) -> str:
        """Where predictions are sent to, as a URL."""
        return f"http://{self.settings.http.listen}" if self.inflow is None else self.inflow.receiving.url


def _expect_one_lake(base: _Base, inflow: Inflow) -> None:
    """See that who shares the state shares the lake: rules look at one, and would miss what is in others.

    Raises:
        DataDirectoryError: Another collector is there, with a lake of its own.
    """
    if inflow.lake.shared or not base.place.shared:
        return
    others: list[str] = []
    with suppress(StateUnavailableError):  # which stops nobody from acknowledging requests
        others = other_collectors(base.store, collector_name(base.directory.root), base.now())
    if others:
        raise DataDirectoryError(
            f"{base.place.name}: another collector works with this state ({others[0]}), not with this lake: "
            "share the lake (`lake.catalog`), or give each project a database or schema of its own"
        )


class _Collector:
    """The parts of one process. Those that its arrangement leaves out are None."""

    def __init__(self, parts: AsyncExitStack, base: _Base) -> None:
        """Join them; `parts` are closed in reverse, each with what it needs still there."""
        self._parts = parts
        self._base = base
        inflow = base.inflow
        self._own = collector_name(base.directory.root) if inflow is not None and base.place.shared else None
        self._gathering = _gathering(base, self._own)
        self._marking = None if inflow is None or self._own is None else _marking(base, inflow)
        self._pools = self._leading = self._following = None
        if base.arrangement.serves:
            self._following = _following(base)
            self._pools = _query_pools(parts, base.settings, Mending(self._scrub))
            self._leading = _leading(parts, base, self._pools, self._gathering)
        self._election = None if inflow is None else Election(base.place, base.store, Role.MAINTENANCE)
        self._writer = None
        if inflow is not None and self._election is not None:
            self._writer = _writer(base, inflow, self._election, self._leading, self._marking)
        asked = _asked(parts, base, self._writer, self._leading)
        self._duties: list[Describing | Losses] = []
        if inflow is None or self._election is None:
            self._todo: Mapping[str, Order] = {**_at_the_collector(base.settings), **asked}
            commands = OwnerSocket.open(base.directory.root)
            parts.callback(commands.close)
            commands.take(asked)
        else:
            self._todo = _maintain(parts, base, inflow, self._election, asked)
            self._duties = [
                _describing(parts, base, inflow, self._todo, self._election),
                _losses(parts, inflow, base.clock, self._election),
            ]
        self._serving = self._served()
        self._presence = Presence(base.store, base.now)

    async def run(
        self, stop: asyncio.Event, on_ready: Callable[[str, str], None], web: socket.socket | None
    ) -> None:
        """Start in order, and run until `stop` is set."""
        parts, inflow = self._parts, self._base.inflow
        parts.callback(self._presence.close, _GRACE_S)
        if self._following is not None:
            parts.callback(self._following.close, _GRACE_S)
        if self._marking is not None:
            parts.callback(self._marking.close, _GRACE_S)
        parts.push_async_callback(self._serving.stop)
        if self._pools is not None:
            # What runs for people ends before its server waits for it.
            parts.callback(self._pools.people.close)
        await self._serving.start(web)
        if inflow is not None and self._writer is not None:
            await self._begin_to_write(inflow, self._writer)
        self._begin_to_share()
        on_ready("" if inflow is None else inflow.receiving.address, self._serving.url)
        if inflow is not None and not await _unless_stopped(
            inflow.ingestion.recovery.replay, stop, inflow.pending.close
        ):
            return
        for duty in self._duties:
            duty.start()
        if self._leading is not None:
            self._leading.replayed()
        if self._marking is not None and self._own is not None:
            self._marking.start(Teller(self._own, reachable(self._serving.url)))
        await stop.wait()

    async def _begin_to_write(self, inflow: Inflow, writer: Writer) -> None:
        """Write the rows of requests to the lake."""
        await asyncio.to_thread(writer.start)  # a server may keep silent for a while
        self._parts.callback(writer.close, _GRACE_S)
        self._parts.push_async_callback(inflow.receiving.stop)  # before what it feeds
        # Others go on without a file system that fails; a lake that is shared is away for all alike.
        inflow.receiving.needs(lambda: inflow.lake.shared or not writer.failing)

    def _begin_to_share(self) -> None:
        """Lead, or stand by, and tell others who share the state."""
        base, leading = self._base, self._leading
        if leading is not None:
            leading.start()
        if self._following is not None:
            self._following.start()
        if base.place.shared:
            self._presence.start(Me(base.arrangement, reachable(self._serving.url), base.now()))
        if base.place.shared and leading is not None:
            # First of all, so that another one leads before this one has ended.
            self._parts.push_async_callback(asyncio.to_thread, leading.close, _GRACE_S)

    def _served(self) -> Serving:
        """What answers on the port of people; it does not listen yet."""
        base, inflow, leading = self._base, self._base.inflow, self._leading
        access = Access(base.settings) if inflow is None else inflow.receiving.access
        telemetry = Telemetry(
            Parts(
                data=base.directory.root,
                clock=base.clock,
                inflow=inflow,
                writer=self._writer,
                pools={} if self._pools is None else self._pools.by_name,
                leading=leading,
                gathering=self._gathering,
                store=base.store,
            )
        )
        reads: dict[str, Read] = {
            "telemetry": lambda _: telemetry.document(),
            "replicas": lambda _: who_shares(base.store, base.now()),
        }
        duties: dict[str, Duty] = {
            name: partial(_duty, self._todo[name])
            for name in (*HARMLESS, "fire", "reload")
            if name in self._todo
        }
        if inflow is not None:
            duties["senders"] = inflow.ingestion.senders
        if leading is not None:
            reads |= _alert_reads(base.project, base.store, leading)
            duties |= alert_duties(base.store, leading.look)
        if inflow is not None and leading is not None:
            feeding = _feeding(self._parts, inflow)
            reads["demo"] = feeding.state
            duties["load-demo"] = feeding.start
            duties["promote-window"] = lambda asked: self._todo["set-reference"](promoted(asked), tell_nobody)
        works = RuleWorks(base.project.file, base.settings.data).works()
        return Serving(
            base.settings,
            None if self._pools is None else self._pools.people,
            readiness=partial(_readiness, inflow, self._writer, leading),
            metrics=telemetry.exposition,
            reads=reads,
            duties=duties,
            works=works if base.arrangement.serves else {},
            authorize=None if access.open else access.judge,
            tls=access.tls,
            address_file=base.directory.web_address,
            now=base.time_of_people,
            firing=partial(_firing, base.store),
            endpoint=lambda: base.endpoint,
            live=base.live,
        )

    def _scrub(self, only: str | None) -> int:
        return len(self._todo["scrub"]({"only": only}, tell_nobody)["damaged"])


def _gathering(base: _Base, own: str | None) -> Gathering | None:
    """What hears of other collectors; None where there can be none."""
    if not base.place.shared:
        return None
    patience = base.settings.state.wait_for_collectors
    return Gathering(base.store, own=own, patience=patience, now=base.now)


def _following(base: _Base) -> Following | None:
    """What lets browsers know of others' news; not started. None where there can be no others."""
    if not base.place.shared:
        return None
    saw = base.live.saw
    return Following(base.store, brought=lambda tables: saw(models=tables), changed=partial(saw, "alerts"))


def _marking(base: _Base, inflow: Inflow) -> Marking:
    """What tells others how far this collector is; not started."""
    policy = POLICIES[base.settings.clock]
    return Marking(base.store, policy=policy, oldest_waiting=inflow.oldest_waiting, now=base.now)


@dataclass(frozen=True, slots=True)
class _Pools:
    """Processes for live slots, for late ones, and for queries of people, whose pool is closed by itself."""

    rules: QueryPool
    late: QueryPool
    people: QueryPool

    @property
    def by_name(self) -> Mapping[str, QueryPool]:
        return {"people": self.people, "rules": self.rules, "late": self.late}


def _query_pools(parts: AsyncExitStack, settings: Settings, mending: Mending) -> _Pools:
    spare = Spare(lake_of(settings), query_limits(settings))
    parts.callback(spare.close)
    rules = QueryPool(spare, RULE_WORKERS, mend=mending)
    parts.callback(rules.close)
    late = QueryPool(spare, 1, mend=mending)
    parts.callback(late.close)
    query = settings.query
    people = QueryPool(spare, query.workers, queue=query.queue, mend=mending, holding=True)
    return _Pools(rules, late, people)


def _leading(parts: AsyncExitStack, base: _Base, pools: _Pools, gathering: Gathering | None) -> Leading:
    """What leads, or stands by; not started."""

    def build(project: Project, store: Store) -> Led:
        deliverer = deliverer_of(project, store, base.now, partial(base.live.saw, "alerts"))
        judging = Judging(
            project,
            store=store,
            live_queries=pools.rules.run,
            live_rows=pools.rules.rows,
            late_queries=pools.late.run,
            oldest_waiting=(lambda: None) if base.inflow is None else base.inflow.oldest_waiting,
            wake=deliverer.wake,
            busy=(lambda: False) if base.inflow is None else base.inflow.busy,
            clock=base.clock,
            alerts_changed=partial(base.saw, "alerts"),
            use_targets=lambda policy: deliverer.use(policy.targets, policy.fallbacks(), policy.others()),
            others=(lambda: None) if gathering is None else (lambda: gathering.settled),
        )
        return Led(store, judging, deliverer, pruner_of(project, store, base.now))

    leading = Leading(
        with_builtin_rules(base.project),
        place=base.place,
        shared=base.store,
        build=build,
        gathering=gathering,
        now=base.now,
    )
    parts.callback(leading.close, _GRACE_S)
    return leading


def _writer(
    base: _Base, inflow: Inflow, election: Election, leading: Leading | None, marking: Marking | None
) -> Writer:
    """What writes the lake; not started."""

    def tell_of(flushed: Flushed) -> None:
        """Let rules, here and elsewhere, and browsers know what the lake has now."""
        if leading is not None:
            leading.saw(flushed)
        if marking is not None:
            marking.saw(flushed)
        base.saw(models=flushed.times.keys() | flushed.labelled)

    return Writer(
        lake=inflow.lake,
        pending=inflow.pending,
        settle=inflow.ingestion.memory.settle,
        accounts=inflow.accounts,
        dead_letters=DeadLetters(inflow.directory.dead_letters),
        metrics=MetricQueue.of(base.store, partial(_keeps, inflow, election)),
        interval_s=base.settings.write.flush_interval.total_seconds(),
        on_flushed=tell_of,
    )


def _asked(
    parts: AsyncExitStack, base: _Base, writer: Writer | None, leading: Leading | None
) -> dict[str, Order]:
    """What commands may ask for beside what is done to a data directory."""
    wake = (lambda _: None) if leading is None else leading.wake
    asked: dict[str, Order] = {
        "requeue": lambda asked, _tell: requeue_in(base.store, Wanted.of(asked), base.now(), wake)
    }
    if base.inflow is not None and writer is not None:
        asked["status"] = partial(_status, base.inflow, writer, base.store, leading)
        asked["hold-lake"] = partial(_hold_lake, base, base.inflow)
    if leading is not None:
        asked |= {
            "run_rule": leading.run_rule,
            "fire": _drills(parts, base, leading).fire,
            "reload": leading.reload,
        }
    return asked


def _drills(parts: AsyncExitStack, base: _Base, leading: Leading) -> Drills:
    """What holds drills; those under way end when the collector does."""
    ending = threading.Event()
    parts.callback(ending.set)
    return Drills(
        project=lambda: leading.judging.project,
        store=base.store,
        wake=leading.wake,
        now=base.now,
        stopping=ending.wait,
    )


def _alert_reads(
    project: Project, store: Store, leading: Leading
) -> Mapping[str, Callable[[Mapping[str, str]], Any]]:
    """What can be read of alerts, messages and rules."""
    return {
        **alert_reads(store, lambda: leading.judging.project.notify),
        **dead_reads(store),
        **rule_reads(
            lambda: leading.judging.project.rules,
            store.load_rules,
            lambda: rule_files(project.file, project.settings),
        ),
        **threshold_reads(lambda: leading.judging.project.rules),
    }


def _maintain(
    parts: AsyncExitStack, base: _Base, inflow: Inflow, election: Election, asked: Mapping[str, Order]
) -> Mapping[str, Order]:
    """Begin to look after the data directory, and the lake where that is its role; what commands may ask."""
    maintenance = Maintenance(
        lake=inflow.lake,
        log=inflow.ingestion.log,
        remembered=lambda: inflow.ingestion.memory.covers,
        directory=inflow.directory,
        settings=base.settings,
        clock=base.clock,
        busy=inflow.busy,
        is_mine=partial(_keeps, inflow, election),
    )
    todo = {**orders(maintenance), **asked}
    parts.callback(election.close, _GRACE_S)
    parts.callback(maintenance.close, _GRACE_S)
    parts.callback(inflow.commands.close)
    inflow.commands.take(todo)
    election.start()
    maintenance.start()
    return todo


def _keeps(inflow: Inflow, election: Election) -> bool:
    """Whether this process looks after the lake; nobody does once it is taken elsewhere."""
    return election.elected and not inflow.lake.held


def _hold_lake(base: _Base, inflow: Inflow, asked: Mapping[str, Any], _tell: Any) -> Mapping[str, Any]:
    """Write nothing while the lake is taken elsewhere, which must not be somebody else's as well.

    Raises:
        ConfigError: It is not said where to.
        DataDirectoryError: Another collector writes it.
        StateUnavailableError: Nobody can say whether one does.
    """
    target = asked.get("to")
    if not isinstance(target, str):
        raise ConfigError("hold-lake: expected the text `to`")
    if inflow.lake.shared:
        expect_one_writer(base.store, collector_name(base.directory.root), base.now())
    hold_lake(inflow.lake, base.directory, target)
    return {}


def _at_the_collector(settings: Settings) -> Mapping[str, Order]:
    """What only who owns the data directory can do, asked of the one on this machine."""

    def order(name: str) -> Order:
        def ask(arguments: Mapping[str, Any], tell: Callable[[str, int, int], None]) -> Mapping[str, Any]:
            answer = ask_owner(settings.data, name, arguments, tell, beside=False)  # that is this process
            if answer is None:
                raise UnavailableError(f"{name}: no collector runs on this machine; ask one elsewhere")
            return answer

        return ask

    return {name: order(name) for name in ("compact", "retain", "keep-evaluation", "annotate", "scrub")}


def _describing(
    parts: AsyncExitStack, base: _Base, inflow: Inflow, todo: Mapping[str, Order], election: Election
) -> Describing:
    """What keeps descriptions of models; not started."""
    describing = Describing(
        inflow.lake,
        base.project.models,
        now=base.now,
        declare=partial(declare_references, inflow.lake, todo, base.project.models),
        busy=inflow.busy,
        is_mine=partial(_keeps, inflow, election),
    )
    parts.callback(describing.close, _GRACE_S)
    return describing


def _losses(parts: AsyncExitStack, inflow: Inflow, clock: Clock, election: Election) -> Losses:
    """What tells the lake of records that never came, to any collector; not started."""
    lake = inflow.lake
    losses = Losses(
        lake,
        partial(loss_of, lake) if lake.shared else inflow.ingestion.memory.ledger.loss,
        now=lambda: utc_datetime(clock.now_ns()),
        is_mine=partial(_keeps, inflow, election),
    )
    parts.callback(losses.close, _GRACE_S)
    return losses


def _feeding(parts: AsyncExitStack, inflow: Inflow) -> Feeding:
    """What loads the demo; not started."""
    receiving = inflow.receiving
    feeding = Feeding(lambda: receiving.url, inflow.directory.root, open_to_all=receiving.access.open)
    parts.callback(feeding.close)
    return feeding


def _readiness(
    inflow: Inflow | None, writer: Writer | None, leading: Leading | None
) -> tuple[bool, Mapping[str, Any]]:
    """Readiness of the receiver, which needs neither state nor lake, and what waits for these."""
    ready, told = (True, {}) if inflow is None else inflow.receiving.readiness()
    if writer is not None:
        told = {**told, "rows_wait": writer.failing or (inflow is not None and inflow.lake.held)}
    if leading is not None:
        told = {**told, "alerts_wait": leading.problem is not None, "leads": leading.leads}
    return ready, told


def _firing(store: Store) -> int | None:
    """How many alerts fire; None while their state is away, which stops no page that shows something else."""
    with suppress(StateUnavailableError):
        return store.firing_count()
    return None


class _TimeOfData:
    """How far the data is in a replay; the clock's time while there is none."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._newest: datetime | None = None

    def __call__(self) -> datetime:
        with suppress(StateUnavailableError):  # it stands still while nobody can say
            self._newest = max(self._store.load_watermarks().values(), default=None)
        return self._newest or self._now()


def _duty(order: Order, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return order(arguments, tell_nobody)


def _status(
    inflow: Inflow, writer: Writer, store: Store, leading: Leading | None, _asked: Any, _tell: Any
) -> dict[str, Any]:
    """What commands are told."""
    return {
        "pid": os.getpid(),
        "address": inflow.receiving.url,
        "failing": writer.failing,
        "pending_bytes": inflow.pending.size_bytes,
        "books": inflow.accounts.as_dict(),
        "senders": inflow.ingestion.senders({"worst": 1}),
        "state_problem": store.problem if leading is None else leading.problem,
        "leads": leading is not None and leading.leads,
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
