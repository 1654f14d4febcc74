"""A collector as processes of its own, to be started, hurt and started again at the same addresses."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from helpers.ports import free_port
from helpers.processes import family

T = TypeVar("T")

TIMEOUT_S = 60.0
_POLL_S = 0.02

LISTENERS = ("http", "grpc", "web")


def wait_until(found: Callable[[], T], what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Ask until the answer is true, and give it."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (answer := found()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        pause.wait(_POLL_S)
    return answer


@dataclass
class Victim:
    """A collector over `data`.

    Attributes:
        data: Its data directory.
        settings: What its settings file says beside the addresses, by section.
        arrangement: What it is started as.
        up: What `lapwing up` becomes: the way there costs a third more, and is none of a fault's.
        command: What other commands are started by.
        starts_s: How long each start took until it was ready.
    """

    data: Path
    settings: Mapping[str, object] = field(default_factory=lambda: {"write": {"flush_interval": "50ms"}})
    up: Sequence[str] = (sys.executable, "-P", "-m", "lapwing_collector.cli.up")
    command: Sequence[str] = (sys.executable, "-m", "lapwing_collector.cli")
    environment: Mapping[str, str] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in LISTENERS})
    arrangement: str = "up"
    process: "subprocess.Popen[bytes] | None" = None
    launches: int = 0

    @property
    def output(self) -> Path:
        """What it prints."""
        return self.data.with_name(self.data.name + ".output")

    @property
    def http(self) -> str:
        """Where it takes OTLP over HTTP."""
        return f"127.0.0.1:{self.ports['http']}"

    @property
    def web(self) -> str:
        """Where it answers for people and machines that look at it."""
        return f"127.0.0.1:{self.ports['web']}"

    @property
    def grpc(self) -> str:
        """Where it takes OTLP over gRPC."""
        return f"127.0.0.1:{self.ports['grpc']}"

    def launch(self, prefix: Sequence[str] = (), **environment: str) -> "subprocess.Popen[bytes]":
        """Start it, by `prefix` if one is given, and do not wait."""
        assert self.process is None or self.process.poll() is not None
        config = self.data.with_name(self.data.name + ".yaml")
        config.write_text(yaml.safe_dump(dict(self.settings)))
        # Variables win over the file, and over what other tests say in variables.
        listen = {f"LAPWING_{name.upper()}__LISTEN": f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self.launches += 1
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *self.up, json.dumps([str(config), {"data": str(self.data)}, self.arrangement])],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "COLUMNS": "500",
                    **listen,
                    **self.environment,
                    **environment,
                },
                start_new_session=True,
            )
        return self.process

    def start(self, prefix: Sequence[str] = (), **environment: str) -> None:
        """Start it and wait until it is ready."""
        began = time.monotonic()
        process = self.launch(prefix, **environment)
        wait_until(lambda: self.ready or process.poll() is not None, "the collector is ready")
        assert process.poll() is None, f"it did not start:\n{self.said()}"
        self.starts_s.append(time.monotonic() - began)

    @property
    def ready(self) -> bool:
        """Whether it says that it accepts and acknowledges."""
        return self.status("/readyz") == 200

    def status(self, path: str) -> int | None:
        """The status of a GET; None if nobody answers."""
        connection = http.client.HTTPConnection(self.http, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def told(self, path: str) -> dict[str, Any]:
        """What a GET at its port for people answers, in JSON."""
        connection = http.client.HTTPConnection(self.web, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.load(connection.getresponse())
            return answer
        finally:
            connection.close()

    def post(self, body: bytes) -> int:
        """Send a request to /v1/logs; the status of the answer."""
        connection = http.client.HTTPConnection(self.http, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/v1/logs", body, {"Content-Type": "application/x-protobuf"})
            return connection.getresponse().status
        finally:
            connection.close()

    def takes(self, body: bytes) -> bool:
        """Whether it acknowledges a request; one that is hurt meanwhile does not."""
        try:
            return self.post(body) == 200
        except (OSError, http.client.HTTPException):
            return False

    def said(self) -> str:
        """The end of what it printed."""
        return self.output.read_text(errors="replace")[-4000:]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another command over the same data."""
        config = self.data.with_name(self.data.name + ".yaml")
        command = [*self.command, *arguments, "--config", str(config), "--data", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    def run_for(self, seconds: float) -> None:
        """Let it work; it must not end by itself."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.process.wait(seconds)
            raise AssertionError(f"it ended by itself with status {status}:\n{self.said()}")

    def worker(self) -> int | None:
        """The process that does the work behind the one that was started; None while there is none."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in map(int, children):
            with contextlib.suppress(OSError):
                if b"lapwing_collector.app.processes.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
        return None

    def kill(self) -> None:
        """Kill all its processes at once, as kill -9 or the kernel would, and wait until none is left.

        Those that are in a group or a session of their own end by themselves, some in good order: until they
        have, files may change.
        """
        assert self.process is not None
        leader = self.process.pid
        known = family(leader)
        self.signal_all(signal.SIGKILL)
        self.process.wait()
        wait_until(lambda: not family(leader, known), "all its processes have ended")

    def signal_all(self, number: int) -> None:
        """Send a signal to all its processes."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def died(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        assert self.process is not None
        return self.process.wait(TIMEOUT_S)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end and wait; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.died()

    def clear(self) -> None:
        """Leave no process behind, whatever the test did."""
        if self.process is not None:
            self.kill()
