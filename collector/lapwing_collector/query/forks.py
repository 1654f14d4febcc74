"""The process that query processes are forked from: it imports what they need, once, and does nothing else.

It opens no lake and sees no query, so it stays as it began, and it has one thread only: a fork copies no
other. Each query process enters a sandbox of its own, as its first act, in which it can reach neither this
one nor another.
"""

import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

import duckdb

from lapwing_collector import sandbox
from lapwing_collector.query.serve import serve

LONGEST_ANSWER_BYTES: Final = 1024
_LONGEST_ORDER_BYTES: Final = 8192


def fork_on_order(descriptor: int) -> None:
    """Fork a query process for each order, until the other end of `descriptor` closes.

    Args:
        descriptor: One end of a pair of sockets. First goes how many threads there are. Then comes, each
            time, what it may reach with a descriptor for `serve`, and back go the number of the new
            process with a descriptor of it, or why there is none.
    """
    # DuckDB opens one by itself to name its types, with a thread for every processor.
    duckdb.set_default_connection(duckdb.connect(config={"threads": 1}))
    gc.collect()
    gc.freeze()  # objects that stay are not looked at, so that their memory stays shared
    orders = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGCHLD, _bury)
    orders.send(b"%d" % len([*Path("/proc/self/task").iterdir()]))
    while True:
        order, given, _, _ = socket.recv_fds(orders, _LONGEST_ORDER_BYTES, 1)
        if not order:
            return
        _fork(orders, sandbox.Needs.read(order.decode()), *given)


def _fork(orders: socket.socket, needs: sandbox.Needs, theirs: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # until it is known by more than its number
    us = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        orders.send(str(error).encode()[:LONGEST_ANSWER_BYTES])
    else:
        if not pid:
            orders.close()
            _become(us, theirs, needs)
        handle = os.pidfd_open(pid)
        socket.send_fds(orders, [b"%d" % pid], [handle])
        os.close(handle)
    finally:
        os.close(theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become(origin: int, theirs: int, needs: sandbox.Needs) -> NoReturn:
    """Be a query process, in a process that was just forked from `origin`."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        landlock = sandbox.enter(needs)
        if os.getppid() == origin:  # else it has died before this could be bound to it
            serve(theirs, landlock)
        status = 0
    except BaseException as error:  # noqa: BLE001  # nothing of the origin's may run in this process
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _bury(*_: object) -> None:
    """Have the system forget who has ended; whoever asked them knows by then."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
