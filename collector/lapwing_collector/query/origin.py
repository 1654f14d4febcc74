"""The near end of the process that query processes are forked from."""

import logging
import os
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final

from lapwing_collector.errors import QueryError
from lapwing_collector.query.child import Child, Spawned, launch
from lapwing_collector.query.forks import LONGEST_ANSWER_BYTES
from lapwing_collector.sandbox import Needs

if TYPE_CHECKING:
    import subprocess

_LOGGER: Final = logging.getLogger(__name__)

_START_S: Final = 30.0

_SCRIPT: Final = """
import sys
descriptor, *sys.path[:] = sys.argv[1:]
from lapwing_collector import sandbox
sandbox.leave_out_pandas()
from lapwing_collector.query.forks import fork_on_order
fork_on_order(int(descriptor))
"""


class Forked:
    """A query process that was forked; a descriptor stands for it, so that no other is taken for it."""

    def __init__(self, pid: int, handle: int) -> None:
        """Take over `handle`."""
        self._pid = pid
        self._handle: int | None = handle
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def ended(self) -> bool:
        """Whether it is no more."""
        with self._lock:
            return self._handle is None or _ended(self._handle)

    def kill(self) -> None:
        """End it at once."""
        with self._lock:
            if self._handle is not None and not _ended(self._handle):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until it is no more."""
        with self._lock:
            if self._handle is not None:
                _ended(self._handle, None)
                os.close(self._handle)
                self._handle = None


class Origin:
    """Where query processes come from: one that has imported what they need, off which each is forked.

    It is started when the first is wanted and ends with the last who `hold` this. Where it dies, so do they,
    and the next but one who is wanted comes from another. Where there is none, each query process is an
    interpreter of its own, which takes six times as long to start: where nobody holds it, since one process
    is sooner there without it; on systems where a process is known by its number alone, as macOS; and if ever
    a library begins a thread that a fork would lose.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._holders = 0
        self._forks = _has_handles()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def hold(self) -> None:
        """Keep it until `let_go`, to be called as often as this."""
        with self._lock:
            self._holders += 1

    def let_go(self) -> None:
        """Need it no more; with the last who does it ends, and whatever was forked off it."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._end()

    def start(self, theirs: socket.socket, needs: Needs) -> Child:
        """Start a query process.

        Args:
            theirs: Its end of a pair of sockets.
            needs: What it may reach.

        Raises:
            QueryError: It cannot be started.
        """
        with self._lock:
            if self._forks and self._holders:
                try:
                    return self._fork(theirs, needs)
                except OSError as error:
                    self._end()
                    _LOGGER.warning(
                        "a query process is started the long way: %s",
                        error,
                        extra={"action": "query_process_not_forked"},
                    )
        return Spawned(theirs, needs)

    def _fork(self, theirs: socket.socket, needs: Needs) -> Child:
        orders = self._orders or self._begin()
        socket.send_fds(orders, [needs.written().encode()], [theirs.fileno()])
        answer, handles, _, _ = socket.recv_fds(orders, LONGEST_ANSWER_BYTES, 1)
        if not answer:
            raise ConnectionError("what it would be forked off is dead")
        if not handles:
            raise QueryError(f"no query process can be started: {answer.decode()}")
        return Forked(int(answer), handles[0])

    def _begin(self) -> socket.socket:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.settimeout(_START_S)
        with theirs:
            self._process = launch(_SCRIPT, theirs)
        threads = self._orders.recv(LONGEST_ANSWER_BYTES)
        if threads != b"1":
            self._forks = not threads
            why = f"has {threads.decode()} threads" if threads else "does not start"
            raise ConnectionError(f"what it would be forked off {why}")
        return self._orders

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _has_handles() -> bool:
    """Whether a descriptor can stand for a process here."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an old kernel, or one that something forbids it
        return False
    return True


def _ended(handle: int, patience_ms: int | None = 0) -> bool:
    """Whether the process that a descriptor stands for ends within a time; None waits for it."""
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(patience_ms))


ORIGIN: Final = Origin()
"""One for all lakes that a process asks: nothing of a lake is in it."""
