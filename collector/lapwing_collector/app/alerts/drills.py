"""`lapwing fire`: an alert that there is not, on the way that real ones take, and what became of it."""

import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lapwing_collector.app.judging.dispatching import told_of
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import Tell, ask_owner
from lapwing_collector.app.places.project import Project, load_project, rule_named, settings_for
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import parse_duration
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.alerts import Transition
from lapwing_collector.notify import Deliverer, Reach, alert_of, drill_tellings, hush_by
from lapwing_collector.rules import Rule, drill, drill_over
from lapwing_collector.state import Delivery, OutboxRow, Store

DEFAULT_WAIT_S: Final = 30.0
_LOOK_S: Final = 0.1
_KEYS: Final = frozenset({"rule", "labels", "target", "value", "wait", "resolve"})
_ENDED: Final = frozenset({Delivery.SENT, Delivery.DEAD, Delivery.SUPPRESSED})
_GRACE_S: Final = 5.0


class Drills:
    """Holds drills with the rules, routes, outbox and targets of a collector."""

    def __init__(
        self,
        *,
        project: Callable[[], Project],
        store: Store,
        wake: Callable[[str], None],
        now: Callable[[], datetime],
        stopping: Callable[[float], bool],
    ) -> None:
        """Join the parts.

        Args:
            project: Whose alerts may be tried, and who hears of them.
            store: The outbox, silences, and what fires.
            wake: Tells that the outbox has something for a target.
            now: Wall-clock time, naive UTC.
            stopping: Waits for so many seconds; True if there is no more waiting.
        """
        self._project = project
        self._store = store
        self._wake = wake
        self._now = now
        self._stopping = stopping

    def fire(self, asked: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        """Let an alert fire, and resolve, and wait for what becomes of the messages.

        Args:
            asked: `rule`, its name or `group/name`; `labels`, what a row would have; `target`, the only one
                that is told; `value`; `wait`, a duration; `resolve`, whether it is over at once.
            tell: Told how far it is.

        Raises:
            ConfigError: There is no such rule or target, or nobody would be told.
        """
        unknown = sorted(set(asked) - _KEYS)
        if unknown:
            raise ConfigError(f"fire: there is no {unknown[0]}; there is {', '.join(sorted(_KEYS))}")
        rule = rule_named(self._project().rules, _text(asked, "rule"))
        labels = asked.get("labels") or {}
        if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
            raise ConfigError("fire: expected `labels` to be texts by name")
        target = self._target(asked.get("target"))
        wait_s = _seconds(asked.get("wait"))
        value = asked.get("value")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"fire: expected a number as `value`, not {value!r}")
        fired = drill(rule, labels, value, self._now())
        rows = self._send(rule, fired, target, None, wait_s, tell)
        if not rows:
            raise ConfigError(
                f"nobody would be told of {rule.id} with these labels: no route leads to a target; "
                "`lapwing routes test` shows where labels lead"
            )
        reached = {row.message.target for row in rows if row.delivery is Delivery.SENT}
        if asked.get("resolve", True) and reached:
            rows += self._send(rule, drill_over(fired, self._now()), target, reached, wait_s, tell)
        return {
            "rule": str(rule.id),
            "labels": dict(fired.instance.labels),
            "reached": bool(rows) and all(row.delivery is Delivery.SENT for row in rows),
            "messages": [_row(row) for row in rows],
        }

    def _send(  # noqa: PLR0917  # what one announcement is made of
        self,
        rule: Rule,
        transition: Transition,
        target: str | None,
        only: Iterable[str] | None,
        wait_s: float,
        tell: Tell,
    ) -> list[OutboxRow]:
        """Put messages into the outbox, and give them as they are once each has arrived or been given up."""
        now = self._now()
        hush = hush_by(self._project().notify, self._store.silences(now), self._store.firing_labels(), now)
        tellings = drill_tellings(self._project().notify, alert_of(transition, rule.condition), hush, target)
        told = told_of(
            [each for each in tellings if only is None or each.target in only], self._project().notify.targets
        )
        self._store.announce((), told, now)
        keys = {each.message.key for each in told}
        for each in told:
            self._wake(each.message.target)
        waited = 0.0
        while True:
            about = self._store.messages_about(transition.instance.fingerprint)
            rows = sorted(
                (row for row in about if row.message.key in keys), key=lambda row: row.message.target
            )
            ended = sum(row.delivery in _ENDED for row in rows)
            tell(f"{transition.status} to {len(rows)} targets", ended, len(rows))
            if ended == len(rows) or waited >= wait_s or self._stopping(_LOOK_S):
                return rows
            waited += _LOOK_S

    def _target(self, name: Any) -> str | None:
        known = [target.name for target in self._project().notify.targets]
        if name is not None and name not in known:
            raise ConfigError(f"there is no target {name!r}; there are {', '.join(known) or 'none'}")
        return None if name is None else str(name)


def fire(
    file: Path | None, flags: Mapping[str, Any], tell: Tell, asked: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Hold a drill: by the collector that owns the data directory, if one runs, else here.

    Without a collector nothing of it is kept, and nothing else that waits is sent.

    Raises:
        LapwingError: It cannot be done.
    """
    data = DataDirectory(settings_for(file, flags).data)
    answer = ask_owner(data.root, "fire", asked, tell)
    if answer is not None:
        return answer
    project = load_project(file, flags)
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="lapwing-drill-") as folder:
        store = Store.open(Path(folder) / "state.sqlite")
        deliverer = Deliverer(
            store,
            project.targets,
            lambda: utc_datetime(clock.now_ns()),
            reach=Reach(project.settings.delivery.allow_networks),
            fallbacks=project.notify.fallbacks(),
        )
        try:
            deliverer.start()
            return Drills(
                project=lambda: project,
                store=store,
                wake=deliverer.wake,
                now=lambda: utc_datetime(clock.now_ns()),
                stopping=threading.Event().wait,
            ).fire(asked, tell)
        finally:
            deliverer.stop(_GRACE_S)
            store.close()


def _text(asked: Mapping[str, Any], key: str) -> str:
    value = asked.get(key)
    if not isinstance(value, str):
        raise ConfigError(f"fire: expected a text as `{key}`")
    return value


def _seconds(wait: Any) -> float:
    if wait is None:
        return DEFAULT_WAIT_S
    try:
        return parse_duration(str(wait)).total_seconds()
    except ValueError as error:
        raise ConfigError(f"fire: wait: expected {error}") from error


def _row(row: OutboxRow) -> dict[str, Any]:
    return {
        "target": row.message.target,
        "status": str(row.message.status),
        "delivery": str(row.delivery),
        "attempts": row.attempts,
        "error": row.last_error,
        "title": row.message.title,
        "body": row.message.body,
    }
