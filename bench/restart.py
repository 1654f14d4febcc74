"""How long starting, restarting, crashing and ending take, and what the processes hold at rest."""

import http.client
import os
import re
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from lapwing_collector.demo.process import CollectorProcess

ROUNDS = 5
EMPTY = b""
HEADERS = {"Content-Type": "application/x-protobuf"}


def main() -> None:
    """Print medians and the worst of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "lapwing.yaml"
        config.write_text("")
        start, end = [], []
        for number in range(ROUNDS):
            began = time.monotonic()
            collector = CollectorProcess.start(Path(folder) / f"data{number}", config=config, environment={})
            start.append(time.monotonic() - began)
            post(collector.endpoint)
            began = time.monotonic()
            collector.stop()
            end.append(time.monotonic() - began)
        show("from the command to ready", start)
        show("from SIGINT to the exit", end)
        collector = CollectorProcess.start(Path(folder) / "data", config=config, environment={})
        try:
            rest(collector)
            crashes(collector, grpc_address(Path(folder) / "data"))
            restarts(collector)
        finally:
            collector.stop()


def rest(collector: CollectorProcess) -> None:
    """What the processes hold when nothing happens."""
    post(collector.endpoint)
    for what, pid in (("supervisor", collector.pid), ("worker", collector.worker_pid)):
        status = Path(f"/proc/{pid}/status").read_text()
        resident, own = (int(re.findall(rf"{key}:\s+(\d+)", status)[0]) >> 10 for key in ("VmRSS", "RssAnon"))
        print(f"{what:36} {resident} MB resident, {own} MB of it its own")


def crashes(collector: CollectorProcess, grpc: tuple[str, int]) -> None:
    """From kill -9 of the worker to its successor."""
    answered, connected, called = [], [], []
    for _ in range(ROUNDS):
        dead = collector.worker_pid
        began = time.monotonic()
        os.kill(dead, signal.SIGKILL)
        until(lambda dead=dead: worker(collector) not in (None, dead))
        with closing(http.client.HTTPConnection(collector.endpoint.removeprefix("http://"))) as connection:
            connection.connect()
            connected.append(time.monotonic() - began)
        until(lambda: can_connect(grpc))
        called.append(time.monotonic() - began)
        post(collector.endpoint)
        answered.append(time.monotonic() - began)
        until(lambda: ready(collector.endpoint))
    show("from kill -9 to connected over HTTP", connected)
    show("from kill -9 to listening for gRPC", called)
    show("from kill -9 to acknowledged", answered)


def restarts(collector: CollectorProcess) -> None:
    """How long the slowest of many requests took while a worker followed another."""
    slowest, whole = [], []
    for _ in range(ROUNDS):
        before = collector.worker_pid
        times: list[float] = []
        over = threading.Event()

        def ask(times: list[float] = times, over: threading.Event = over) -> None:
            while not over.is_set():
                began = time.monotonic()
                post(collector.endpoint)
                times.append(time.monotonic() - began)

        client = threading.Thread(target=ask)
        client.start()
        began = time.monotonic()
        collector.restart()
        until(lambda before=before: not Path(f"/proc/{before}").exists())
        until(lambda: ready(collector.endpoint))
        whole.append(time.monotonic() - began)
        over.set()
        client.join()
        slowest.append(max(times))
    show("planned restart, in all", whole)
    show("slowest request meanwhile", slowest)


def post(endpoint: str) -> None:
    """Send an empty request, on a connection of its own."""
    with closing(http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("POST", "/v1/logs", EMPTY, HEADERS)
        assert connection.getresponse().status == 200


def ready(endpoint: str) -> bool:
    """Whether records are acknowledged."""
    with closing(http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=60)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200


def worker(collector: CollectorProcess) -> int | None:
    """The worker's process id, if there is one."""
    try:
        return collector.worker_pid
    except ProcessLookupError:
        return None


def grpc_address(data: Path) -> tuple[str, int]:
    """Where gRPC is received, as the collector says."""
    said = (data / "collector.log").read_text()
    host, _, port = re.findall(r"over gRPC to\s+(\S+)", said)[-1].rpartition(":")
    return host, int(port)


def can_connect(address: tuple[str, int]) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    while not condition():
        time.sleep(0.002)


def show(what: str, seconds: list[float]) -> None:
    """Print a line."""
    middle, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    print(f"{what:36} median {middle:5.0f} ms, worst {worst:5.0f} ms")


if __name__ == "__main__":
    main()
