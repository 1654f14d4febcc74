"""What the supervisor and a worker tell each other, over a pair of sockets.

    supervisor             worker
    Start ───────────────►
          ◄─────────────── Wanted      its settings are fine; this is where it wants to listen
    Listen ──────────────►             followed by the sockets themselves
          ◄─────────────── Holding     clients connect, and wait
    Own   ───────────────►             the one before it is gone: the data directory is its own
          ◄─────────────── Ready       requests are acknowledged
          ◄─────────────── Whole       all its parts run

Instead of any of these, a worker may say `Failed`, and end. When its supervisor dies, the pair is closed,
and the worker ends in good order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapwing_collector.logs import Format


@dataclass(frozen=True, slots=True)
class Start:
    """What to run.

    Attributes:
        file: The settings file, if any.
        flags: Settings of the command line, by dotted name.
        holder: The process that others are told of when they want the data directory.
        hurry: Clients wait already: hold them first, and check the rules afterwards.
        arrangement: Which parts.
    """

    file: Path | None
    flags: Mapping[str, Any]
    holder: int
    hurry: bool
    arrangement: str = "up"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where the settings say to listen, by section, and how to log."""

    addresses: Mapping[str, str]
    log_format: Format
    log_level: str


@dataclass(frozen=True, slots=True)
class Listen:
    """The sections whose sockets follow, in this order."""

    sections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """Clients can connect; their requests wait."""


@dataclass(frozen=True, slots=True)
class Own:
    """Take the data directory."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Requests are acknowledged.

    Attributes:
        version: Lapwing's.
        address: Where OTLP/HTTP is received, as a URL; empty where it is not.
        grpc_address: Where OTLP/gRPC is received; empty where it is not.
        dashboard: Where people look, as a URL.
        data: The data directory.
        arrangement: Which parts run.
        rules: How many there are.
        targets: How many are notified.
    """

    version: str
    address: str
    grpc_address: str
    dashboard: str
    data: Path
    arrangement: str
    rules: int
    targets: int


@dataclass(frozen=True, slots=True)
class Whole:
    """All parts run: pages are shown, and rules judged."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot start, and why, for a person."""

    why: str


Report = Wanted | Holding | Ready | Whole | Failed
