"""Processes that share one state: who they are, and which of them leads."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that shares a state with others, as it told last. Times are naive UTC, by its own clock.

    Attributes:
        name: Unique among all that there ever were.
        kind: What it was started as: `up`, `serve` or `collect`.
        address: Where it answers people and commands, as a URL.
        version: Lapwing's.
        since: When it started.
        beats: How often it told that it is there; others look whether that grows.
        seen_at: When it told last.
    """

    name: str
    kind: str
    address: str
    version: str
    since: datetime
    beats: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, or did last.

    Attributes:
        term: Grows with each that begins to.
        name: The replica's.
        since: When it began; None where nobody knows.
    """

    term: int
    name: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a collector is, as it told last. Times are naive UTC, by its own clock.

    Attributes:
        collector: Its data directory's own name, which stays when it starts anew.
        address: Where it answers, as a URL.
        settled_at: Every request that came to it before is in the lake.
        beats: How often it told; others look whether that changes.
        seen_at: When it told last.
    """

    collector: str
    address: str
    settled_at: datetime
    beats: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """That the lake has new rows of a model.

    Attributes:
        table: The model's.
        newest: The newest event time of its predictions that can be believed; None where only labels came.
        number: Grows in the order in which it was told.
    """

    table: str
    newest: datetime | None
    number: int
