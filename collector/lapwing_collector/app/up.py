"""`lapwing up`: the collector as a process that signals stop."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop

from lapwing_collector.app.collector import run_collector
from lapwing_collector.app.project import Project, load_project
from lapwing_collector.clock import SystemClock


def up(file: Path | None, flags: Mapping[str, Any], announce: Callable[[Project, str], None]) -> None:
    """Run the collector until SIGINT or SIGTERM; a second one ends it at once. Durable rows stay durable.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line, by dotted name.
        announce: Told project and address once requests are accepted.

    Raises:
        LapwingError: Something is configured wrong, or the collector cannot start.
    """
    project = load_project(file, flags)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(_run(project, announce))


async def _run(project: Project, announce: Callable[[Project, str], None]) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    await run_collector(
        project, clock=SystemClock(), stop=stop, on_ready=lambda address: announce(project, address)
    )
