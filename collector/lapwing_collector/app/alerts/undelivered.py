"""Messages that their targets did not accept: which there are, and sending them again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import ask_owner
from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.errors import ConfigError
from lapwing_collector.state import Delivery, OutboxRow, Store

_MOST: Final = 1000
"""Messages that are listed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead messages are meant: those with the keys, or of the target, or all.

    Attributes:
        keys: Keys, or the first characters of them.
        target: The name of a target, None for any.
    """

    keys: tuple[str, ...] = ()
    target: str | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Wanted":
        """Read what a command or a client asks for.

        Raises:
            ConfigError: It says nothing, or too much.
        """
        match dict(arguments):
            case {"keys": [*keys], **rest} if keys and not rest and all(isinstance(key, str) for key in keys):
                return cls(keys=tuple(keys))
            case {"target": str(target), **rest} if not rest:
                return cls(target=target)
            case {"all": True, **rest} if not rest:
                return cls()
        raise ConfigError(
            'requeue: expected one of `{"keys": [KEY, …]}`, `{"target": NAME}`, `{"all": true}`'
        )

    def as_arguments(self) -> dict[str, Any]:
        """What `of` reads."""
        if self.keys:
            return {"keys": list(self.keys)}
        return {"all": True} if self.target is None else {"target": self.target}


def list_dead(file: Path | None, flags: Mapping[str, Any], target: str | None) -> list[dict[str, Any]]:
    """The messages that were given up, newest first, whether a collector runs or not.

    Raises:
        DataDirectoryError: No collector has run here.
    """
    store = _store(file, flags)
    try:
        return dead(store, target)
    finally:
        store.close()


def dead(store: Store, target: str | None = None) -> list[dict[str, Any]]:
    """The messages that were given up, newest first, as JSON."""
    return [_shown(row) for row in store.outbox_rows(Delivery.DEAD, _MOST, target)]


def dead_reads(store: Store) -> dict[str, Callable[[Mapping[str, str]], Any]]:
    """What HTTP clients may read of dead messages, by address."""
    return {
        "dead": lambda _: dead(store),
        "dead/{target}": lambda parts: dead(store, parts["target"]),
    }


def requeue(file: Path | None, flags: Mapping[str, Any], wanted: Wanted) -> Mapping[str, Any]:
    """Let dead messages be sent again, by the collector that runs or by the next one.

    Raises:
        ConfigError: There is no such message.
        DataDirectoryError: No collector has run here.
    """
    directory = DataDirectory(settings_for(file, flags).data)
    answer = ask_owner(directory.root, "requeue", wanted.as_arguments(), lambda *_: None)
    if answer is not None:
        return answer
    store = _store(file, flags)
    try:
        return requeue_in(store, wanted, utc_datetime(SystemClock().now_ns()), lambda _: None)
    finally:
        store.close()


def requeue_in(store: Store, wanted: Wanted, now: datetime, wake: Callable[[str], None]) -> Mapping[str, Any]:
    """Let dead messages be sent again, and tell `wake` to whom.

    A message whose target was told something newer about the same alerts stays dead: it would be told that an
    alert fires which is long over.

    Raises:
        ConfigError: There is no such message.
    """
    rows = _found(store, wanted)
    queued = store.requeue([row.message.key for row in rows], now)
    for target in {row.message.target for row in rows if row.message.key in queued}:
        wake(target)
    return {
        "queued": [_shown(row) for row in rows if row.message.key in queued],
        "outdated": [_shown(row) for row in rows if row.message.key not in queued],
    }


def _found(store: Store, wanted: Wanted) -> list[OutboxRow]:
    rows = store.outbox_rows(Delivery.DEAD, None, wanted.target)
    if not wanted.keys:
        return rows
    found = []
    for key in wanted.keys:
        named = [row for row in rows if row.message.key.startswith(key)]
        if not named:
            raise ConfigError(
                f"no dead message has the key {key!r}; `lapwing dead` lists those that there are"
            )
        if len(named) > 1:
            raise ConfigError(
                f"{len(named)} dead messages have keys that begin with {key!r}; give more of it"
            )
        found += named
    return found


def _shown(row: OutboxRow) -> dict[str, Any]:
    message = row.message
    return {
        "key": message.key,
        "target": message.target,
        "status": str(message.status),
        "title": message.title,
        "body": message.body,
        "group": message.group,
        "created_at": f"{row.created_at.isoformat(timespec='seconds')}Z",
        "attempts": row.attempts,
        "error": row.last_error,
    }


def _store(file: Path | None, flags: Mapping[str, Any]) -> Store:
    return Store.find(state_of(settings_for(file, flags)))
