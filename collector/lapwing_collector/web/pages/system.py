"""System: whether the collector keeps up, what became of every row, and what it tells of itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lapwing_collector.errors import LapwingError
from lapwing_collector.web.pages.page import Page, View

_SLOW_S: Final = 10.0
"""A row that waits longer for the lake is worth a word: people do not see it yet."""
_NEARLY_FULL: Final = 0.1


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not as it ought to be: what, and what to do about it."""

    what: str
    do: str


class Telemetry:
    """What the collector tells of itself, by name; labels are ways to one of several values."""

    def __init__(self, told: Iterable[Mapping[str, Any]]) -> None:
        """Look things up in `told`, the document `telemetry`."""
        self._samples = {each["name"]: each["samples"] for each in told}

    def value(self, name: str, **labels: str) -> float:
        """One value; the sum of several, and 0 where there is none yet."""
        found = (each for each in self._samples.get(name, ()) if labels.items() <= each["labels"].items())
        return sum((float(each["value"]) for each in found), 0.0)

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values by one of their labels."""
        found: dict[str, float] = {}
        for each in self._samples.get(name, ()):
            key = each["labels"].get(label, "")
            found[key] = found.get(key, 0.0) + each["value"]
        return found


def show(view: View) -> Mapping[str, Any]:
    """The state of the collector: trouble first, then the books, then all that it tells."""
    told = view.read("telemetry")
    now = Telemetry(told)
    return {
        "trouble": list(_trouble(now)),
        "now": now,
        "books": now.by("lapwing_rows", "outcome"),
        "requests": _table(told, "lapwing_requests", "transport", "status"),
        "pools": [
            {
                "pool": pool,
                "running": now.value("lapwing_queries_running", pool=pool),
                "waiting": now.value("lapwing_queries_waiting", pool=pool),
                "answered": now.value("lapwing_queries", pool=pool, outcome="answered"),
                "failed": now.value("lapwing_queries", pool=pool, outcome="failed"),
                "over_limit": now.value("lapwing_queries", pool=pool, outcome="over_limit"),
                "turned_away": now.value("lapwing_queries", pool=pool, outcome="turned_away"),
            }
            for pool in now.by("lapwing_queries", "pool")
        ],
        "targets": _targets(now),
        "shared": _shared(view),
        "told": told,
        "endpoint": view.sources.endpoint(),
        "version": view.sources.version,
    }


def _trouble(now: Telemetry) -> Iterable[Trouble]:
    """What is wrong, the worst first."""
    free, size = now.value("lapwing_disk_free_bytes"), now.value("lapwing_disk_size_bytes")
    checks = (
        (
            not now.value("lapwing_ready"),
            "Records are not accepted",
            "lapwing doctor says why; senders keep what they have, as far as they can",
        ),
        (
            now.value("lapwing_log_failing"),
            "The durable log cannot be written",
            "make room on its disk, or mend it; until then every request is answered 503",
        ),
        (
            now.value("lapwing_flush_failing"),
            "The newest flush failed",
            "it is tried again, and nothing is lost; the collector's log says why",
        ),
        (
            size and free / size < _NEARLY_FULL,
            "The disk is nearly full",
            "delete or move files, or keep less: settings retention.*",
        ),
        (
            now.value("lapwing_oldest_waiting_seconds") > _SLOW_S,
            "Rows wait long before queries see them",
            "more comes than can be written; see what waits below",
        ),
        (
            now.value("lapwing_notification_target_down"),
            "A target takes no messages",
            "they wait and are tried again; see targets below",
        ),
        (
            any(each["state"] == "failing" for each in _targets(now)),
            "A target has accepted no message",
            "see targets below, and what is wrong with each message under Alerts",
        ),
        (
            now.value("lapwing_state_away"),
            "The alert state is away",
            "rules and messages wait for its database, and go on by themselves when it is back",
        ),
        (
            now.value("lapwing_collectors_left_out"),
            "A collector tells nothing, and slots are judged without it",
            "start it again: what it has not brought yet comes late; see replicas below",
        ),
        (
            now.value("lapwing_replicas", state="gone"),
            "A replica is gone",
            "start it again, or leave it: it is forgotten after a day; see replicas below",
        ),
        (
            now.value("lapwing_log_damaged_parts"),
            "Parts of the log were damaged",
            "copies are in log/quarantine; lapwing doctor says more",
        ),
    )
    return (Trouble(what, do) for holds, what, do in checks if holds)


def _shared(view: View) -> Mapping[str, Any]:
    """Who shares the alert state; nobody is known while that is away."""
    try:
        told = view.read("replicas")
    except LapwingError:
        return {"replicas": []}
    rows = [
        {
            "name": each["name"].removeprefix("lapwing "),
            "kind": each["kind"],
            "address": each["address"],
            "does": _does(each),
            "since": each["since"],
            "seen_at": each["seen_at"],
        }
        for each in told["replicas"]
    ]
    return {**told, "replicas": rows}


def _does(replica: Mapping[str, Any]) -> str:
    """What a replica does beside what all do."""
    if replica["gone"]:
        return "gone"
    roles = [
        what for key, what in (("leads", "leads"), ("maintains", "looks after the lake")) if replica[key]
    ]
    return ", ".join(roles) or ("receives" if replica["kind"] == "collect" else "stands by")


def _targets(now: Telemetry) -> list[dict[str, Any]]:
    dead = now.by("lapwing_notifications_dead", "target")
    down = now.by("lapwing_notification_target_down", "target")
    names = sorted({*now.by("lapwing_notification_attempts", "target"), *dead, *down})
    return [
        {
            "target": name,
            "accepted": now.value("lapwing_notification_attempts", target=name, verdict="sent"),
            "attempts": now.value("lapwing_notification_attempts", target=name),
            "dead": dead.get(name, 0.0),
            "state": _standing(now, name, down=bool(down.get(name)), gave_up=bool(dead.get(name))),
        }
        for name in names
    ]


def _standing(now: Telemetry, target: str, *, down: bool, gave_up: bool) -> str:
    """How a target does, in a word: one that never accepted anything and was given up on is not well."""
    if down:
        return "down"
    attempts = now.value("lapwing_notification_attempts", target=target)
    accepted = now.value("lapwing_notification_attempts", target=target, verdict="sent")
    return "failing" if not accepted and (gave_up or attempts) else "ok"


def _table(told: Iterable[Mapping[str, Any]], name: str, *labels: str) -> list[dict[str, Any]]:
    samples = next((each["samples"] for each in told if each["name"] == name), ())
    return [{label: each["labels"][label] for label in labels} | {"value": each["value"]} for each in samples]


PAGE: Final = Page(path="/system", name="system", title="System", nav="System", show=show)
