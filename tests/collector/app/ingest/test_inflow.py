"""The way in by itself, as a worker has it before all else: acknowledges, and holds commands."""

import asyncio
import http.client
import subprocess
import sys
from contextlib import AsyncExitStack, closing
from pathlib import Path

from helpers.collector import ask, prediction, project, request, running
from helpers.receive_server import PROTOBUF, Answer
from lapwing_collector.app.ingest.inflow import Inflow
from lapwing_collector.app.places.owner_socket import ask_owner
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.clock import SystemClock

BEHIND = ("sqlalchemy", "prometheus_client", "lapwing_collector.state", "lapwing_collector.web")
"""What can be imported once requests are acknowledged."""


def exchange(address: str, method: str, path: str, body: bytes | None = None) -> int:
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request(method, path, body, PROTOBUF)
        return Answer.read(connection).status


def test_requests_are_acknowledged_before_anything_is_behind(tmp_path: Path) -> None:
    """What is sent while nobody writes the lake yet is acknowledged, and there after the next start."""
    configured = project(tmp_path)

    async def run() -> tuple[int, int]:
        async with AsyncExitStack() as parts:
            inflow = await Inflow.open(parts, configured, SystemClock(), listeners={})
            address = inflow.receiving.address
            body = request([prediction("early", "p", 1)])
            sent = await asyncio.to_thread(exchange, address, "POST", "/v1/logs", body)
            return sent, await asyncio.to_thread(exchange, address, "GET", "/readyz")

    assert asyncio.run(run()) == (200, 200)
    with running(configured):
        pass
    assert ask(tmp_path, "SELECT prediction_id FROM predictions.early") == [{"prediction_id": "p"}]


def test_commands_wait_until_it_is_known_what_they_may_ask(tmp_path: Path) -> None:
    """A command that comes early is answered once it can be; one that never can be is told to come again."""

    async def run() -> tuple[object, str]:
        async with AsyncExitStack() as parts:
            inflow = await Inflow.open(parts, project(tmp_path), SystemClock(), listeners={})
            early = asyncio.create_task(asyncio.to_thread(ask_owner, tmp_path, "echo", {"a": 1}, tell_nobody))
            inflow.commands.take({"echo": lambda arguments, _: arguments})
            answer = await early
        async with AsyncExitStack() as parts:
            await Inflow.open(parts, project(tmp_path), SystemClock(), listeners={})
            arrived = asyncio.Event()
            loop = asyncio.get_running_loop()

            def asked() -> str:
                loop.call_soon_threadsafe(arrived.set)
                try:
                    return str(ask_owner(tmp_path, "echo", {}, tell_nobody))
                except Exception as error:  # noqa: BLE001  # what it hears is what is looked at
                    return str(error)

            vain = asyncio.create_task(asyncio.to_thread(asked))
            await arrived.wait()
        return answer, await vain

    answer, heard = asyncio.run(run())
    assert answer == {"a": 1}
    assert heard == "None" or "shutting down" in heard or "went away" in heard  # as early as it came


def test_what_acknowledges_imports_nothing_that_is_behind_it() -> None:
    """State and pages are none of what a worker imports before it is ready."""
    command = (
        "import sys, lapwing_collector.app.processes.worker, lapwing_collector.app.places.project, "
        f"lapwing_collector.app.ingest.inflow; print(*set({BEHIND!r}) & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []
