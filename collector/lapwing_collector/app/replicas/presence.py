"""Tells others who share the state that this process is there, and what it is."""

import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import lapwing
from lapwing_collector.app.background.rounds import Rounds
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.replicas import Replica
from lapwing_collector.state import Role, Store

_BEAT_S: Final = 0.5
_GONE_AFTER: Final = timedelta(seconds=15)
"""Who has told nothing for so long is shown as gone."""
_FORGET_AFTER: Final = timedelta(days=1)
_FORGET_EVERY: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Me:
    """What this process is.

    Attributes:
        kind: What it was started as.
        address: Where it answers, as a URL.
        since: When it started.
    """

    kind: str
    address: str
    since: datetime


class Presence:
    """Tells twice a second, from a thread of its own: no other work keeps it from that."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        """Prepare.

        Args:
            store: What is shared.
            now: Wall-clock time, naive UTC.
        """
        self._store = store
        self._now = now
        self._beats = 0
        self._forgot_at = now()
        self._me: Me | None = None
        self._rounds = Rounds(
            "lapwing-presence",
            _BEAT_S,
            self._tell,
            lambda: store.leave(store.name),
            failed="others do not hear of this process",
            action="presence_failed",
        )

    def start(self, me: Me) -> None:
        """Begin to tell."""
        self._me = me
        self._rounds.start()

    def close(self, timeout_s: float) -> bool:
        """Stop, and let others know; tells whether it did in time."""
        return self._rounds.close(timeout_s)

    def _tell(self) -> None:
        assert self._me is not None  # noqa: S101  # it is set before the thread starts
        now = self._now()
        self._beats += 1
        me = self._me
        self._store.beat(
            Replica(self._store.name, me.kind, me.address, lapwing.__version__, me.since, self._beats, now)
        )
        if not timedelta() <= now - self._forgot_at < _FORGET_EVERY:
            self._forgot_at = now
            self._store.forget_replicas(now - _FORGET_AFTER, but=self._store.name)


def reachable(url: str) -> str:
    """An address at which others reach this machine: by its name where all of its own are listened on."""
    parts = urlsplit(url)
    if parts.hostname not in {"0.0.0.0", "::"}:  # noqa: S104  # nothing listens here
        return url
    return f"{parts.scheme}://{socket.gethostname()}:{parts.port}"


def is_gone(seen_at: datetime, now: datetime) -> bool:
    """Whether who told last at a time counts as gone."""
    return now - seen_at > _GONE_AFTER


def other_collectors(store: Store, own: str, now: datetime) -> list[str]:
    """Where the collectors are, but the one of this name, that told lately that they work with this state.

    Raises:
        StateUnavailableError: Nobody can say.
    """
    return [
        mark.address for mark in store.marks() if mark.collector != own and not is_gone(mark.seen_at, now)
    ]


def expect_one_writer(store: Store, own: str, now: datetime) -> None:
    """See that no collector but the one of this name writes the lake, which is to be taken elsewhere.

    Raises:
        DataDirectoryError: Another one does: what it writes meanwhile would be left behind.
        StateUnavailableError: Nobody can say whether one does.
    """
    if others := other_collectors(store, own, now):
        raise DataDirectoryError(
            f"another collector writes this lake ({others[0]}): stop all but one, each when nothing of it "
            "waits, and say it again"
        )


def who_shares(store: Store, now: datetime) -> dict[str, Any]:
    """Who leads, since when, and who else is there, as JSON.

    Raises:
        StateUnavailableError: The state is away.
    """
    leader, known = store.leader(), store.replicas()
    maintainer = store.holder(Role.MAINTENANCE)
    return {
        "term": 0 if leader is None else leader.term,
        "leader": None if leader is None else leader.name,
        "since": None if leader is None or leader.since is None else _time(leader.since),
        "replicas": [
            _shown(each, now)
            | {"leads": leader is not None and each.name == leader.name, "maintains": each.name == maintainer}
            for each in known
        ],
    }


def _shown(replica: Replica, now: datetime) -> dict[str, Any]:
    told = asdict(replica) | {"since": _time(replica.since), "seen_at": _time(replica.seen_at)}
    del told["beats"]
    return told | {"gone": is_gone(replica.seen_at, now)}


def _time(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='seconds')}Z"
