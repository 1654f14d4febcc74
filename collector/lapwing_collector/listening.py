"""Listening sockets: whoever opens one can hand it to another process, which then accepts."""

import errno
import socket
from typing import Final

from lapwing_collector.errors import AddressInUseError, ConfigError

BACKLOG: Final = 2048
"""Connections that wait for their turn, also while nobody accepts."""


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket; port 0 means any that is free.

    Raises:
        AddressInUseError: Another process listens there.
        ConfigError: Nobody can listen there.
    """
    where = f"{host}:{port}"
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                f"{where} is in use by another process, perhaps a collector that runs already; "
                "stop it, or choose another port"
            ) from error
        raise ConfigError(
            f"{where} cannot be listened on: {error.strerror}; choose another address"
        ) from error


def reserve(host: str, port: int) -> socket.socket:
    """Keep a port for servers that open their own sockets and share it, without listening there.

    Servers that share a port do not notice others on it; whoever holds this socket knows that there are none,
    before the first of them, between two, and in the end.

    Raises:
        AddressInUseError: Another process listens there.
        ConfigError: Nobody can listen there.
    """
    with listen(host, port) as free:
        family, where = free.family, free.getsockname()
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(where)
    return reserved
