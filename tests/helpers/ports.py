"""Ports for what is told where to listen, or finds nobody there."""

import itertools
import os
import socket
from typing import Final

_FIRST: Final = 10_000
_COUNT: Final = 22_000
"""Below those that the system gives to clients: one could take a port between two starts of a server."""

_numbers = itertools.count(os.getpid() * 1009)  # so that test processes that run side by side do not meet


def free_port() -> int:
    """A port of loopback that nobody has, and that nobody gets who does not ask for it by number."""
    while True:
        port = _FIRST + next(_numbers) % _COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
