"""The collector as a process of its own, as a production service would meet it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from lapwing_collector.errors import LapwingError

_ADDRESSES: Final = re.compile(
    r"send predictions to\s+(http://\S+)\s.*look at them on\s+(http://\S+)\s", re.DOTALL
)
_START_S: Final = 60.0
_STOP_S: Final = 10.0
_POLL_S: Final = 0.05

_ANYWHERE: Final = ("--grpc", "127.0.0.1:0", "--web", "127.0.0.1:0")

COMMAND: Final = (sys.executable, "-m", "lapwing_collector.cli")
"""The `lapwing` command of this very installation."""


class CollectorProcess:
    """A running `lapwing up`.

    Attributes:
        endpoint: Where it receives predictions.
        dashboard: Where people look at them.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", endpoint: str = "", dashboard: str = "") -> None:
        """Use `start` instead."""
        self._process = process
        self.endpoint = endpoint
        self.dashboard = dashboard

    @classmethod
    def start(
        cls, data: Path, *, config: Path, environment: Mapping[str, str], http: str = "127.0.0.1:0"
    ) -> Self:
        """Start a collector over `data` and wait until it is ready.

        What it prints goes to `collector.log` in the data directory.

        Raises:
            LapwingError: It did not become ready; the message has its last words.
        """
        data.mkdir(parents=True, exist_ok=True)
        output = data / "collector.log"
        with output.open("ab") as file:
            said_before = file.tell()
            process = subprocess.Popen(  # noqa: S603  # our own command
                [*COMMAND, "up", "--config", str(config), "--data", str(data), "--http", http, *_ANYWHERE],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "500", **environment},
                # Ctrl-C is for the demo, which then stops the collector itself.
                start_new_session=True,
            )
        try:
            return cls(process, *_addresses(process, output, said_before))
        except BaseException:  # a Ctrl-C, too, which this session is out of reach of
            cls(process).kill()
            raise

    @property
    def pid(self) -> int:
        """The supervisor's process id, which is also that of the process group."""
        return self._process.pid

    @property
    def worker_pid(self) -> int:
        """The process id of the worker, where the system is Linux.

        Raises:
            ProcessLookupError: There is none just now.
        """
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        if not children:
            raise ProcessLookupError(f"the supervisor {self.pid} has no worker")
        return int(children[0])

    def stop(self) -> int:
        """Ask it to end as Ctrl-C would, and wait; returns its exit code. Stopping twice is harmless."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def wait(self, timeout_s: float) -> int:
        """Wait until it has ended; returns its exit code.

        Raises:
            TimeoutExpired: It has not.
        """
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End all of it without warning (`kill -9`): supervisor, worker and whatever they started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Ask for a worker with the settings as they are now, in the place of this one."""
        self._process.send_signal(signal.SIGHUP)


def _addresses(process: "subprocess.Popen[bytes]", output: Path, said_before: int) -> tuple[str, ...]:
    """Where a collector receives and is looked at, once it says so in what it prints.

    Raises:
        LapwingError: It ended, or says nothing for too long.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        said = output.read_bytes()[said_before:].decode(errors="replace")
        if found := _ADDRESSES.search(said):
            return found.groups()
        if process.poll() is not None:
            raise LapwingError(f"the collector did not start:\n{said.strip()}")
        time.sleep(_POLL_S)
    raise LapwingError(f"the collector was not ready after {_START_S:g} s; see {output}")
