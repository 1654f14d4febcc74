"""The process that stays: it holds the listening sockets and keeps a worker running behind them.

Workers die, and are exchanged for others with new settings; the sockets stay open meanwhile, so that clients
wait in line instead of being refused. It is deliberately little: it reads no settings, imports nothing heavy,
and can therefore neither grow nor fail with what a worker does.
"""

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any, Final

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
from lapwing_collector.app.processes.systemd import tell_ready, tell_restarting, tell_stopping
from lapwing_collector.errors import LapwingError
from lapwing_collector.listening import listen, reserve
from lapwing_collector.logs import set_up_logging

logger = logging.getLogger(__name__)

WORKER_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Blocked in a worker until it has handlers for them."""

_PATIENCE_S: Final = 4.5
"""For a worker that was asked to end: less than the 5 s in which Ctrl-C must be over."""
_RELIEF_S: Final = 60.0
"""For a new worker to read its settings and hold clients; the one before it runs on meanwhile."""
_FIRST_TRIES: Final = 3
"""So often a worker may die before one ever was whole, until that is called hopeless."""
_LONGEST_WAIT_S: Final = 30.0

FRUGAL: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
"""What lets a worker give memory back: bodies and rows of every size come and go, and left to itself the
system's allocator keeps some 100 MB of holes between them, in a heap a thread, and Arrow's another 50 MB.
What is set in the supervisor's environment holds before it."""

Announce = Callable[[Ready], None]


@dataclass(eq=False)
class _Worker:
    pid: int
    channel: Connection
    wanted: Wanted | None = None
    holding: bool = False
    whole: bool = False
    why: str = ""
    """Why it failed, in its own words."""


@dataclass(eq=False)
class Supervisor:
    """Keeps a worker running until told to stop.

    SIGINT and SIGTERM stop it, a second one at once; SIGHUP exchanges the worker for one with the settings as
    they are then.

    Args:
        file: The settings file, if any.
        flags: Settings of the command line, by dotted name.
        announce: Told, once, when the first worker is ready.
        arrangement: Which parts a worker is made of.
    """

    file: Path | None
    flags: Mapping[str, Any]
    announce: Announce
    arrangement: str = "up"
    _terminal: "_Terminal" = field(init=False)
    _current: _Worker | None = None
    _next: _Worker | None = None
    _held: dict[tuple[str, str], socket.socket] = field(default_factory=dict)
    _announced: bool = False
    _proven: bool = False
    _deaths: int = 0
    _start_at: float | None = None
    _kill_at: float | None = None
    _relief_until: float | None = None
    _stopping: bool = False
    _exit_code: int = 0

    def run(self) -> int:
        """Run; the exit code is returned.

        Raises:
            LapwingError: No worker can start: something is configured wrong, or cannot be used.
        """
        set_up_logging("auto", "info")
        self._terminal = _Terminal()
        try:
            with _wakeups() as wakeups:
                self._current = self._launch(hurry=False)
                while not (self._stopping and not self._workers()):
                    self._wait(wakeups)
        finally:
            for worker in self._workers():
                os.kill(worker.pid, signal.SIGKILL)
                os.waitpid(worker.pid, 0)
            self._close_sockets()
        return self._exit_code

    def _workers(self) -> list[_Worker]:
        return [worker for worker in (self._current, self._next) if worker is not None]

    def _wait(self, wakeups: socket.socket) -> None:
        """Wait for the next thing to happen, and see to it."""
        channels = {w.channel.fileno(): w for w in self._workers() if not w.channel.closed}
        moments = (self._start_at, self._kill_at, self._relief_until)
        times = [moment for moment in moments if moment is not None]
        timeout_s = max(0.0, min(times) - time.monotonic()) if times else None
        happened, _, _ = select.select([wakeups.fileno(), *channels], [], [], timeout_s)
        if wakeups.fileno() in happened:
            for number in wakeups.recv(4096):
                self._on_signal(number)
        for channel, worker in channels.items():
            if channel in happened:
                self._hear(worker)
        self._reap()
        now = time.monotonic()
        if self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._current = self._launch(hurry=True)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            self._kill("did not finish in time; what it acknowledged is in the log")
        if self._relief_until is not None and now >= self._relief_until:
            self._relief_until = None
            if self._next is not None and not self._next.holding:
                self._next.why = f"it did not read its settings and open its ports within {_RELIEF_S:g} s"
                os.kill(self._next.pid, signal.SIGKILL)

    def _launch(self, *, hurry: bool) -> _Worker:
        ours, theirs = Pipe()
        os.set_inheritable(theirs.fileno(), True)
        # -P: a module of the folder that a person happens to be in is none of ours.
        command = [sys.executable, "-P", "-m", "lapwing_collector.app.processes.worker", str(theirs.fileno())]
        environment = FRUGAL | os.environ
        pid = os.posix_spawn(sys.executable, command, environment, setsigmask=WORKER_SIGNALS)
        theirs.close()
        worker = _Worker(pid, ours)
        self._send(worker, Start(self.file, dict(self.flags), os.getpid(), hurry, self.arrangement))
        return worker

    # What a worker says

    def _hear(self, worker: _Worker) -> None:
        try:
            while not worker.channel.closed and worker.channel.poll():
                self._on_report(worker, worker.channel.recv())
        except (EOFError, OSError):
            worker.channel.close()  # it is ending, and will be reaped

    def _on_report(self, worker: _Worker, report: Report) -> None:
        match report:
            case Wanted():
                worker.wanted = report
                if worker is self._current:
                    set_up_logging(report.log_format, report.log_level)
                self._hand_sockets(worker, report.addresses)
            case Holding():
                worker.holding = True
                if worker is self._current:
                    self._send(worker, Own())
                elif self._current is not None:
                    self._end(self._current)
            case Ready():
                self._on_ready(worker, report)
            case Whole():
                self._on_whole(worker)
            case Failed(why):
                worker.why = why

    def _hand_sockets(self, worker: _Worker, addresses: Mapping[str, str]) -> None:
        try:
            for section, address in addresses.items():
                if (section, address) not in self._held:
                    host, _, port = address.rpartition(":")
                    # gRPC takes no socket from others: its workers share the port while one follows another.
                    open_ = reserve if section == "grpc" else listen
                    self._held[section, address] = open_(host.strip("[]"), int(port))
        except LapwingError as error:
            worker.why = str(error)
            os.kill(worker.pid, signal.SIGKILL)
            return
        self._send(worker, Listen(tuple(addresses)))
        for where in addresses.items():
            send_handle(worker.channel, self._held[where].fileno(), worker.pid)

    def _on_ready(self, worker: _Worker, report: Ready) -> None:
        self._let_go_of_unwanted()
        if worker.wanted is not None:
            set_up_logging(worker.wanted.log_format, worker.wanted.log_level)
        if not self._stopping:
            tell_ready()
        if not self._announced:
            self._announced = True
            self.announce(report)

    def _on_whole(self, worker: _Worker) -> None:
        worker.whole = True
        if self._proven or self._deaths:
            logger.info("the new worker is ready", extra={"action": "worker_ready", "worker": worker.pid})
        self._deaths = 0
        self._proven = True

    def _send(self, worker: _Worker, order: Start | Listen | Own) -> None:
        with suppress(OSError):  # it is ending, and will be reaped
            worker.channel.send(order)

    # How a worker ends

    def _reap(self) -> None:
        while self._workers():
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            # As the first process of a container it also inherits children that are not its own.
            for worker in self._workers():
                if worker.pid == pid:
                    self._hear(worker)
                    worker.channel.close()
                    self._on_end(worker, os.waitstatus_to_exitcode(status))

    def _on_end(self, worker: _Worker, status: int) -> None:
        said = worker.why or _ending(status)
        if worker is self._next:
            self._next = None
            if not self._stopping:
                logger.error(
                    "the new worker cannot start, the one before runs on: %s",
                    said,
                    extra={"action": "restart_failed"},
                )
                tell_ready()
                self._let_go_of_unwanted()
            return
        self._current, self._next = self._next, None
        if self._stopping:
            return
        self._kill_at = None
        if self._current is None:
            self._start_another(worker, said)
        elif self._current.holding:
            self._send(self._current, Own())

    def _start_another(self, worker: _Worker, said: str) -> None:
        """Start a worker in the place of one that ended and was not asked to; later, if that goes on and on.

        Raises:
            LapwingError: There is no use in it.
        """
        self._deaths = 0 if worker.whole else self._deaths + 1
        if not self._proven and (worker.why or self._deaths == _FIRST_TRIES):
            raise LapwingError(
                worker.why or f"the collector died {_FIRST_TRIES} times while starting: it {said}"
            )
        wait_s = min(2.0 ** (self._deaths - 2), _LONGEST_WAIT_S) if self._deaths > 1 else 0.0
        logger.error(
            "the worker ended: %s; another starts %s",
            said,
            f"in {wait_s:g} s" if wait_s else "now",
            extra={"action": "worker_ended", "worker": worker.pid},
        )
        self._start_at = time.monotonic() + wait_s

    def _end(self, worker: _Worker) -> None:
        """Ask a worker to end in good order, within the time for that."""
        os.kill(worker.pid, signal.SIGTERM)
        self._kill_at = self._kill_at or time.monotonic() + _PATIENCE_S

    def _kill(self, why: str) -> None:
        """End at once whoever was asked to end."""
        for worker in self._workers() if self._stopping else [self._current]:
            if worker is not None:
                logger.warning("a worker %s", why, extra={"action": "worker_killed", "worker": worker.pid})
                os.kill(worker.pid, signal.SIGKILL)

    def _close_sockets(self) -> None:
        while self._held:
            self._held.popitem()[1].close()

    def _let_go_of_unwanted(self) -> None:
        """Close the sockets that no worker asks for any more."""
        wanted = {
            where for w in self._workers() if w.wanted is not None for where in w.wanted.addresses.items()
        }
        for where in self._held.keys() - wanted:
            self._held.pop(where).close()

    # What a person or a service manager says

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and not self._terminal.hung_up():
            self._restart()
        elif number in WORKER_SIGNALS:
            self._stop()

    def _restart(self) -> None:
        if self._stopping:
            return
        if self._current is None:
            self._start_at = time.monotonic()
        elif self._next is not None:
            logger.warning("a restart is under way already", extra={"action": "restart_under_way"})
        else:
            logger.info("restarting with the settings as they are now", extra={"action": "restart"})
            tell_restarting()
            self._next = self._launch(hurry=False)
            self._relief_until = time.monotonic() + _RELIEF_S

    def _stop(self) -> None:
        if self._stopping:
            self._exit_code = 130
            self._kill("was told to stop at once")
            return
        logger.info("stopping", extra={"action": "stopping"})
        self._stopping = True
        self._start_at = None
        tell_stopping()
        self._close_sockets()
        for worker in self._workers():
            self._end(worker)


class _Terminal:
    """Tells whether SIGHUP means that the terminal is gone, and not that somebody asks for a restart."""

    def __init__(self) -> None:
        self._had_one = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()

    def hung_up(self) -> bool:
        return self._had_one and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ending(status: int) -> str:
    """How a process ended, in words."""
    return (
        f"it was killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
    )


@contextmanager
def _wakeups() -> Iterator[socket.socket]:
    """A socket that becomes readable when a signal comes; its number is the byte in it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = {
            number: signal.signal(number, lambda _number, _frame: None)
            for number in (*WORKER_SIGNALS, signal.SIGCHLD)
        }
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
