"""Telling the service manager how the collector is doing, where there is one (`Type=notify` in systemd)."""

import os
import socket
import time
from contextlib import suppress


def tell_ready() -> None:
    """Requests are acknowledged."""
    _tell("READY=1")


def tell_restarting() -> None:
    """A restart was asked for; it ends with `tell_ready`."""
    _tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def tell_stopping() -> None:
    """The end has begun."""
    _tell("STOPPING=1")


def _tell(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, suppress(OSError):
        manager.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
