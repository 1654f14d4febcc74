"""A dispatcher over a real store and a clock that steps, told what happens in short sentences."""

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from textwrap import dedent
from typing import Final

from helpers.notify_alerts import NOON, RULE, Wall, instance, transition
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.model.alerts import AlertState, RuleState, Status, Transition
from lapwing_collector.model.groups import Ack, GroupChange, Silence
from lapwing_collector.notify import Policy, read_notify_file
from lapwing_collector.state import Delivery, OutboxRow, Store

FILE: Final = """
route:
  receiver: team
  group_by: [alertname]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h
  routes:
    - {matchers: [kind=page], receiver: oncall, group_wait: 0s, escalate: [{after: 15m, receiver: lead}]}
    - {matchers: [kind=ticket], mute_time_intervals: [afternoon]}
    - {matchers: [kind=each], group_by: ['...'], group_wait: 0s, group_interval: 0s}
receivers:
  - {name: team, apprise_configs: [{name: chat, url: "json://127.0.0.1/"}]}
  - name: oncall
    apprise_configs:
      - {name: pager, url: "json://127.0.0.1/"}
      - {name: mail, url: "json://127.0.0.1/", send_resolved: false}
      - {name: screen, url: "json://127.0.0.1/", resolve_silenced: false}
  - {name: lead, apprise_configs: [{name: phone, url: "json://127.0.0.1/"}]}
inhibit_rules: [{source_matchers: [kind=source], target_matchers: [kind!=source], equal: [model]}]
time_intervals: [{name: afternoon, time_intervals: [{times: [{start_time: '12:00', end_time: '13:00'}]}]}]
"""
"""The clock starts at noon."""


@cache
def policy_of(file: str) -> Policy:
    """What a notify file says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notify.yaml"
        path.write_text(dedent(file))
        return read_notify_file(path)


class Desk:
    """Alerts are called by a letter, which is their fingerprint; `kind` is one of their labels."""

    def __init__(self, folder: Path, file: str = FILE) -> None:
        """Keep state in `folder`, and follow the notify file `file`."""
        self.wall = Wall()
        self.caught_up = True
        self.woken: list[str] = []
        self.folder = folder
        self.file = file
        self._kinds: dict[str, str] = {}
        self._slots = 0
        self.store, self.dispatcher = self._open()

    @property
    def policy(self) -> Policy:
        """What the notify file says."""
        return policy_of(self.file)

    @property
    def seconds(self) -> int:
        """Since noon."""
        return int((self.wall.now - NOON).total_seconds())

    def fire(self, names: str, kind: str = "", *, late: bool = False) -> None:
        """Let alerts begin to fire in one slot."""
        self.commit(self.begun(names, kind, late=late))

    def begun(self, names: str, kind: str = "", *, late: bool = False) -> list[Transition]:
        """Alerts that begin to fire, before that is committed."""
        self._kinds |= dict.fromkeys(names, kind)
        return [self._transition(name, Status.FIRING, late=late) for name in names]

    def resolve(self, names: str, *, late: bool = False) -> None:
        """Let alerts resolve in one slot."""
        self.commit([self._transition(name, Status.RESOLVED, late=late) for name in names])

    def change(self, names: str, kind: str = "") -> None:
        """Let alerts end and begin anew in one slot, as those of a rule that was changed."""
        over = [self._transition(name, Status.RESOLVED, late=False) for name in names]
        self._kinds |= dict.fromkeys(names, kind)
        self.commit([*over, *(self._transition(name, Status.FIRING, late=False) for name in names)])

    def fire_all(self, names: Iterable[str]) -> None:
        """Let alerts with longer names begin to fire in one slot."""
        self.commit([self._transition(name, Status.FIRING, late=False) for name in names])

    def resolve_all(self, names: Iterable[str]) -> None:
        """Let them resolve in one slot."""
        self.commit([self._transition(name, Status.RESOLVED, late=False) for name in names])

    def commit(
        self,
        transitions: list[Transition],
        changes: Sequence[GroupChange] | None = None,
        *,
        look: bool = True,
    ) -> None:
        """Commit a slot, and tell at once what is due; `changes` are what the routes say if not given."""
        self._slots += 1
        state = RuleState(
            "d",
            NOON + timedelta(seconds=self._slots),
            instances={
                each.instance.fingerprint: each.instance
                for each in transitions
                if each.status is Status.FIRING
            },
        )
        if changes is None:
            changes = self.dispatcher.changes(transitions, "value < 0.7")
        self.store.commit(RULE, state, transitions, changes, [], self.wall.now)
        if look:
            self.dispatcher.look()

    def forget_rule(self) -> None:
        """Delete the rule; written anew, it comes to its slots of before."""
        self.store.forget_rule(RULE, (), (), self.wall.now)
        self._slots = 0

    def go_to(self, seconds: int) -> None:
        """Let time pass, and the dispatcher look whenever it wants to."""
        end = NOON + timedelta(seconds=seconds)
        while (at := self.store.next_look()) is not None and at <= end:
            self.wall.now = max(at, self.wall.now)
            self.dispatcher.look()
        self.wall.now = end

    def restart(self, file: str | None = None) -> None:
        """Stop and start again, perhaps with another notify file."""
        self.store.close()
        self.file = file or self.file
        self.store, self.dispatcher = self._open()

    def use(self, file: str) -> None:
        """Go on with another notify file."""
        self.file = file
        self.dispatcher.use(self.policy)

    def silence(self, matchers: str, seconds: int | None, starts: int = 0) -> None:
        """Silence alerts for a while, or until they resolve."""
        starts_at = self.wall.now + timedelta(seconds=starts)
        ends_at = None if seconds is None else starts_at + timedelta(seconds=seconds)
        self.store.silence(
            Silence(f"s{self.seconds}", matchers, starts_at, ends_at, "ann", "busy", self.wall.now)
        )
        self.dispatcher.look()

    def ack(self, name: str) -> None:
        """Acknowledge an alert."""
        assert self.store.acknowledge(Ack(name, "ann", "", self.wall.now))
        self.dispatcher.look()

    def said(self) -> list[str]:
        """What was told: when, to whom, why, which alerts fire (+) and which are over (-)."""
        return [
            f"{at} {what}" for at, delivery, what, _ in self._rows() if delivery is not Delivery.SUPPRESSED
        ]

    def unsaid(self) -> list[str]:
        """What was not told: when, to whom, which alerts, and why."""
        return [
            f"{at} {what}: {reason}"
            for at, delivery, what, reason in self._rows()
            if delivery is Delivery.SUPPRESSED
        ]

    def play(self, steps: str) -> None:
        """Do what sentences between semicolons say: `20 fire ab page`, `30 resolve a`, `60 end`."""
        for step in steps.split(";"):
            at, verb, *words = step.split()
            self.go_to(int(at))
            self._verbs()[verb](*words)

    def _verbs(self) -> Mapping[str, Callable[..., None]]:
        def until(seconds: str) -> int | None:
            return None if seconds == "until-resolved" else int(seconds)

        return {
            "fire": self.fire,
            "replay": partial(self.fire, late=True),
            "resolve": self.resolve,
            "change": self.change,
            "replayed": partial(self.resolve, late=True),
            "silence": lambda matchers, seconds: self.silence(matchers, until(seconds)),
            "unsilence": lambda key: self._look_after(self.store.end_silence(key, self.wall.now)),
            "ack": self.ack,
            "unack": lambda name: self._look_after(self.store.withdraw_ack(name, self.wall.now)),
            "restart": self.restart,
            "end": lambda: None,
        }

    def _look_after(self, done: bool) -> None:
        assert done
        self.dispatcher.look()

    def _open(self) -> tuple[Store, Dispatcher]:
        store = Store.open(self.folder / "state.sqlite")
        dispatcher = Dispatcher(
            policy=self.policy,
            store=store,
            wake=self.woken.append,
            now=self.wall,
            caught_up=lambda: self.caught_up,
        )
        dispatcher.follow_routes({RULE: "value < 0.7"})
        return store, dispatcher

    def _transition(self, name: str, status: Status, *, late: bool) -> Transition:
        labels = {"alertname": "Drift", "name": name, "kind": self._kinds.get(name, "")}
        state = AlertState.FIRING if status is Status.FIRING else AlertState.INACTIVE
        about = instance(fingerprint=name, labels=labels, state=state)
        slot = NOON + timedelta(seconds=self._slots)
        return transition(status, instance=about, slot=slot, late=late)

    def told(self, row: OutboxRow) -> list[tuple[str, str, bool]]:
        """The alerts of a message, each with its status and whether it is news."""
        return [
            (alert["fingerprint"], alert["status"], alert["new"])
            for alert in json.loads(row.message.payload)["alerts"]
        ]

    def _rows(self) -> list[tuple[int, Delivery, str, str]]:
        rows = []
        for row in reversed(self.store.outbox_rows(limit=10_000)):
            at = int((row.created_at - NOON).total_seconds())
            if row.message.origin:  # a letter
                shown = f"{row.message.target} {row.message.title.split(']')[0]}]"
                rows.append((at, row.delivery, shown, row.last_error or ""))
                continue
            told = json.loads(row.message.payload)
            fires, over = (
                "".join(alert["fingerprint"] for alert in told["alerts"] if alert["status"] == status)
                for status in Status
            )
            shown = [row.message.target, *([] if row.delivery is Delivery.SUPPRESSED else [told["reason"]])]
            shown += ([f"+{fires}"] if fires else []) + ([f"-{over}"] if over else [])
            rows.append((at, row.delivery, " ".join(shown), row.last_error or ""))
        return rows
