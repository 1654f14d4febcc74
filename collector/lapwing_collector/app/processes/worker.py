"""The process that does the work; its supervisor starts it, and starts another where it dies.

Nothing heavy is imported before clients that wait already are held. Query processes, which import this module
too, have no use for it.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from socket import socket
from typing import TYPE_CHECKING

from lapwing_collector.app.places.arrangement import Arrangement
from lapwing_collector.app.processes.orders import (
    Failed,
    Holding,
    Listen,
    Own,
    Ready,
    Report,
    Start,
    Wanted,
    Whole,
)
from lapwing_collector.errors import LapwingError
from lapwing_collector.logs import set_up_logging, tell_failed_thread
from lapwing_collector.sandbox import leave_out_pandas

if TYPE_CHECKING:
    from lapwing_collector.app.ingest.inflow import Inflow
    from lapwing_collector.app.ingest.receiving import Receiving
    from lapwing_collector.app.places.project import Project
    from lapwing_collector.config import Settings

logger = logging.getLogger(__name__)


def main(descriptor: int) -> int:
    """Work until the supervisor at the other end of `descriptor` ends it, or dies; returns the exit code."""
    import uvloop

    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    faulthandler.enable()
    gc.disable()
    allow_open_files()
    leave_out_pandas()
    return uvloop.run(_Worker(Connection(descriptor)).run())


def allow_open_files() -> None:
    """Let this process have as many connections and files open as it may; the usual 1024 are soon used up."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # what is allowed now must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Worker:
    def __init__(self, supervisor: Connection) -> None:
        self._supervisor = supervisor
        self._stop = asyncio.Event()
        self._own = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # A second one is the supervisor's to act on: one Ctrl-C reaches both.
            loop.add_signal_handler(number, self._stop.set)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            await self._work(self._supervisor.recv())
        except LapwingError as error:
            self._say(Failed(str(error)))
        except EOFError:
            pass  # the supervisor is gone
        except Exception as error:
            logger.exception("the worker failed", extra={"action": "worker_failed"})
            self._say(Failed(f"the collector failed with {type(error).__name__}: {error}"))
        else:
            return 0
        return 1

    async def _work(self, start: Start) -> None:
        from lapwing_collector.config import load_settings, settings_file

        settings = load_settings(settings_file(start.file), flags=start.flags)
        set_up_logging(settings.logging.format, settings.logging.level)
        threading.excepthook = _end_with_thread
        project = None if start.hurry else await asyncio.to_thread(_load, start)
        if self._stop.is_set():
            return
        arrangement = Arrangement(start.arrangement)
        arrangement.check(settings)
        listeners = self._listeners(settings, arrangement)
        receiving = await self._hold_clients(settings, listeners) if arrangement.receives else None
        self._say(Holding())
        asyncio.get_running_loop().add_reader(self._supervisor.fileno(), self._on_order)
        try:
            if project is None:
                project = await asyncio.to_thread(_load, start)
            await self._collect(start, project, arrangement, receiving, listeners)
        finally:
            if receiving is not None:
                await receiving.stop()

    async def _collect(
        self,
        start: Start,
        project: "Project",
        arrangement: Arrangement,
        receiving: "Receiving | None",
        listeners: Mapping[str, socket],
    ) -> None:
        """Acknowledge requests as soon as that is possible, and then do all the rest."""
        importing = None if receiving is None else asyncio.ensure_future(asyncio.to_thread(_import_inflow))
        if not await self._may_own():
            return
        async with AsyncExitStack() as parts:
            inflow = None
            if receiving is not None and importing is not None:
                inflow = await _let_in(parts, start, project, receiving, importing)
                self._say(_ready(project, arrangement, receiving, _shown_at(project, receiving, listeners)))
            await asyncio.to_thread(_import_the_rest)
            from lapwing_collector.app.processes.collector import run_collector
            from lapwing_collector.clock import SystemClock

            def on_ready(_: str, shown: str) -> None:
                if receiving is None:
                    self._say(_ready(project, arrangement, None, shown))
                self._say(Whole())

            await run_collector(
                project,
                clock=SystemClock(),
                stop=self._stop,
                on_ready=on_ready,
                arrangement=arrangement,
                inflow=inflow,
                listeners=listeners,
                holder=start.holder,
            )

    def _listeners(self, settings: "Settings", arrangement: Arrangement) -> dict[str, socket]:
        """The sockets that the supervisor holds where the settings say, by section."""
        addresses = {"web": settings.web.listen}
        if arrangement.receives:
            addresses = {"http": settings.http.listen, "grpc": settings.grpc.listen, **addresses}
        self._say(Wanted(addresses, settings.logging.format, settings.logging.level))
        order = self._supervisor.recv()
        assert isinstance(order, Listen)  # noqa: S101  # as the order of orders says
        return {section: socket(fileno=recv_handle(self._supervisor)) for section in order.sections}

    async def _hold_clients(self, settings: "Settings", listeners: Mapping[str, socket]) -> "Receiving":
        """Let clients connect; their requests wait."""
        from lapwing_collector.app.ingest.receiving import Receiving

        receiving = Receiving(settings)
        await receiving.start(listeners)
        return receiving

    async def _may_own(self) -> bool:
        """Wait until the data directory is free; False if this worker is to end instead."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._own, self._stop)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for wait in waiting:
            wait.cancel()
        return not self._stop.is_set()

    def _on_order(self) -> None:
        try:
            if isinstance(self._supervisor.recv(), Own):
                self._own.set()
        except (EOFError, OSError):
            # The supervisor died. What holds the port now is this process alone: it must not stay.
            asyncio.get_running_loop().remove_reader(self._supervisor.fileno())
            self._stop.set()

    def _say(self, report: Report) -> None:
        with suppress(OSError):  # the supervisor died
            self._supervisor.send(report)


def _end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """End this process: who waits for a thread that is no more waits for ever, and the next worker has it."""
    if failed.exc_type is not SystemExit:
        tell_failed_thread(failed)
        os._exit(1)


def _load(start: Start) -> "Project":
    """Read what the person configured, and import what that takes."""
    from lapwing_collector.app.places.project import load_project

    return load_project(start.file, start.flags)


def _import_inflow() -> None:
    """Import what requests are acknowledged by, while DuckDB opens the lake or the worker before leaves."""
    import lapwing_collector.app.ingest.inflow  # noqa: F401  # used later


async def _let_in(
    parts: AsyncExitStack,
    start: Start,
    project: "Project",
    receiving: "Receiving",
    importing: "asyncio.Future[None]",
) -> "Inflow":
    """Own the data directory, and acknowledge requests from then on."""
    from lapwing_collector.app.places.owning import OwnedData
    from lapwing_collector.clock import SystemClock

    owned = await asyncio.to_thread(OwnedData.take, project, start.holder)
    await importing
    from lapwing_collector.app.ingest.inflow import Inflow

    return await Inflow.open(parts, project, SystemClock(), listeners={}, receiving=receiving, owned=owned)


def _import_the_rest() -> None:
    """Import the collector, while requests are acknowledged already.

    Hundred thousands of objects come of a start, and stay. Nobody looks for garbage among them while they are
    made, which would take a tenth of the time, nor later, when each look would stop all requests for 40 ms.
    """
    import lapwing_collector.app.processes.collector  # noqa: F401  # used later

    gc.freeze()
    gc.enable()


def _shown_at(project: "Project", receiving: "Receiving", listeners: Mapping[str, socket]) -> str:
    """Where people will look, as a URL: its socket is listened on already."""
    host, _, _ = project.settings.web.listen.rpartition(":")
    scheme = "http" if receiving.access.tls is None else "https"
    return f"{scheme}://{host.strip('[]')}:{listeners['web'].getsockname()[1]}"


def _ready(
    project: "Project", arrangement: Arrangement, receiving: "Receiving | None", dashboard: str
) -> Ready:
    import lapwing

    return Ready(
        version=lapwing.__version__,
        address="" if receiving is None else receiving.url,
        grpc_address="" if receiving is None else receiving.grpc_address,
        dashboard=dashboard,
        data=project.settings.data,
        arrangement=str(arrangement),
        rules=len(project.rules),
        targets=len(project.targets),
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
