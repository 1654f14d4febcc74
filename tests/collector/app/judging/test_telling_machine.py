"""Rules, files, people and receivers that do anything in any order: what is told, from slot to acceptance.

Everything between the result of a rule's SQL and the service behind a target is the real thing. The oracle
knows which alerts fire, and keeps account of who was told what; it knows no groups' times, and no keys.
"""

import json
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from conftest import LONG
from helpers.notify_alerts import Wall
from helpers.rules_build import CELLS, MINUTE, START, rows_of, rule_of
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.model.alerts import Message, RuleState, Spoken, Status, Transition
from lapwing_collector.model.groups import Ack, GroupChange, Silence
from lapwing_collector.notify import Deliverer, Outcome, Policy, Reach, Target, Verdict, read_notify_file
from lapwing_collector.rules import Rule, evaluate, rule_deleted, rule_disabled
from lapwing_collector.state import Delivery, OutboxRow, Store

NAMES: Final = "abcd"
TARGETS: Final = ("chat", "pager", "phone", "deputy", "spare")

ONCALL: Final = "receiver: oncall, group_wait: 0s, escalate: [{after: 15m, receiver: lead}]"


def file_of(*routes: str, receiver: str = "team", group_by: str = "[alertname]", lead: str = "phone") -> str:
    """A notify file with these routes below the first one."""
    address = 'url: "json://127.0.0.1/"'
    return f"""
receivers:
  - {{name: team, apprise_configs: [{{name: chat, {address}}}]}}
  - {{name: oncall, fallback: second, apprise_configs: [{{name: pager, {address}}}]}}
  - {{name: second, apprise_configs: [{{name: deputy, {address}}}]}}
  - {{name: other, apprise_configs: [{{name: spare, {address}}}]}}
  - {{name: lead, apprise_configs: [{{name: {lead}, {address}}}]}}
route:
  receiver: {receiver}
  group_by: {group_by}
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h
  routes:
""" + "".join(f"    - {{{each}}}\n" for each in routes)


FILES: Final = (
    file_of(f"matchers: ['name=~\"a|b\"'], {ONCALL}", "matchers: [name=c], group_wait: 30s"),
    file_of(
        "matchers: [name=a], repeat_interval: 30m",
        f"matchers: ['name=~\"b|c\"'], {ONCALL}",
        group_by="[name]",
    ),
    file_of("matchers: [name=z], receiver: other", f"matchers: ['name=~\"a|b|d\"'], {ONCALL}"),
    file_of("matchers: [name=a], group_by: []", receiver="other", lead="another"),
)
TOLD_AT_ONCE: Final = (
    {"a": "pager", "b": "pager", "c": "chat", "d": "chat"},
    {"a": "chat", "b": "pager", "c": "pager", "d": "chat"},
    {"a": "pager", "b": "pager", "c": "chat", "d": "pager"},
    {"a": "spare", "b": "spare", "c": "spare", "d": "spare"},
)
"""Who hears of each alert at once, file by file. The last one has no target `phone`."""


class Died(BaseException):
    """The process died."""


class Receiver(Target):
    """A service that does what it is told to, and keeps what it accepts."""

    mode = "up"
    accepted: list[Message]

    def send(self, note: Message, reach: Reach | None = None) -> Outcome:  # type: ignore[override]
        match self.mode:
            case "down":
                return Outcome(Verdict.RETRY, "error=503")
            case "refuses":
                return Outcome(Verdict.DEAD, "error=404")
        self.accepted.append(note)
        match self.mode:
            case "mute":
                return Outcome(Verdict.RETRY, "no answer")
            case "deadly":
                self.mode = "up"
                raise Died
        return Outcome(Verdict.SENT)


@cache
def policy_of(number: int) -> Policy:
    """What a file says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notify.yaml"
        path.write_text(dedent(FILES[number]))
        return read_notify_file(path)


@cache
def receiver_of(name: str) -> Receiver:
    """Apprise's services cost much to make."""
    return Receiver(name, "json://127.0.0.1/")


@cache
def rule_with(threshold: int) -> Rule:
    """The rule, which a threshold makes another one."""
    return rule_of(condition=f"value > {threshold}", missing_evals=1)


@dataclass
class Account:
    """What somebody who watches one target and one group keeps account of.

    Attributes:
        told: Alerts that it was told to fire, and not that they are over, each with its episode.
        doubtful: Alerts that were over when it was told for another target; it may hear so once more.
        heard: Alerts that fire by what the service accepted.
    """

    told: dict[str, int] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)


class World:
    """A collector as far as alerts go, its receivers, and what is true."""

    def __init__(self, folder: Path) -> None:
        self.wall = Wall(START)
        self.folder = folder
        self.file = 0
        self.threshold = 10
        self.enabled = True
        self.receivers = {name: receiver_of(name) for name in TARGETS}
        for receiver in self.receivers.values():
            receiver.mode, receiver.accepted = "up", []
        self.fires: set[str] = set()
        self.episodes = dict.fromkeys(NAMES, 0)
        self.silenced: dict[str, datetime] = {}
        self.accounts: dict[tuple[str, str], Account] = {}
        self.contents: dict[str, tuple[str, str]] = {}
        self._names: dict[str, str] = {}
        self._rows_seen = 0
        self._accepted_seen = dict.fromkeys(TARGETS, 0)
        self._keys_seen: set[tuple[str, str]] = set()
        self.open()

    # The collector

    def open(self) -> None:
        """Start."""
        self.store = Store.open(self.folder / "state.sqlite")
        self.dispatcher = Dispatcher(
            policy=policy_of(self.file),
            store=self.store,
            wake=lambda _: None,
            now=self.wall,
            caught_up=lambda: True,
        )
        self.dispatcher.follow_routes({})
        for target in TARGETS:
            self.store.recover(target)
        self.deliverer = self._new_deliverer()
        self.state = self.store.load_rules().get(self.rule.id, RuleState(self.rule.definition))
        self.dispatcher.look()
        self.deliver()

    def restart(self, file: int | None = None) -> None:
        """Stop, however, and start."""
        self.store.close()
        self.file = self.file if file is None else file
        self.open()

    def use(self, file: int) -> None:
        """Go on with another file."""
        self.file = file
        self.dispatcher.use(policy_of(file))
        self.deliverer = self._new_deliverer()
        self.deliver()

    @property
    def rule(self) -> Rule:
        """As it is in its file now."""
        return rule_with(self.threshold)

    def slot(self, signs: str, *, late: bool = False, between: Callable[[], None] = lambda: None) -> None:
        """Evaluate the next slot, whose rows say A (fires) or c (does not), in the order of names."""
        newest = self.state.slot or START
        slot = self.rule.slots.after(max(newest, self.wall.now) if not late else newest)
        if slot > self.wall.now:
            self.go_to(slot)
        if not self.enabled:
            return
        rows = rows_of(*({"name": name, **CELLS[sign]} for name, sign in zip(NAMES, signs, strict=True)))
        evaluation = evaluate(self.rule, rows, self.state, slot)
        self._names |= {each.fingerprint: each.labels["name"] for each in evaluation.state.instances.values()}
        changed = self.state.definition != self.rule.definition
        firing = {name for name, sign in zip(NAMES, signs, strict=True) if sign == "A"}
        transitions = [replace(each, late=late) for each in evaluation.transitions]
        changes = self.dispatcher.changes(transitions, self.rule.condition)
        between()
        for name in firing - (set() if changed else self.fires):
            self.episodes[name] += 1
        self.fires = firing
        self.store.commit(self.rule.id, evaluation.state, transitions, changes, [], self.wall.now)
        self.state = evaluation.state
        self.look()

    def end_rule(self, transitions: tuple[Transition, ...], *, deleted: bool) -> None:
        """The rule is gone, or switched off."""
        changes: list[GroupChange] = list(self.dispatcher.changes(transitions, None))
        end = self.store.forget_rule if deleted else self.store.forget_alerts
        end(self.rule.id, transitions, changes, self.wall.now)
        self.state = self.store.load_rules().get(
            self.rule.id, RuleState(self.rule.definition, slot=self.state.slot, since=self.state.since)
        )
        self.fires = set()
        self.look()

    def go_to(self, end: datetime) -> None:
        """Let time pass: the dispatcher looks when it wants to, and receivers get what is due."""
        while self.wall.now < end:
            now = self.wall.now
            at = self.store.next_look()
            moments = [] if at is None else [max(at, now + timedelta(seconds=1))]
            waiting = {name for name, delivery in self.store.outbox_counts() if delivery is Delivery.QUEUED}
            for name, worker in self.deliverer._workers.items():
                if name in waiting and (due := self.store.next_due(name)) is not None:
                    moments.append(max(due, worker._pace.ready_at(now), now + timedelta(seconds=20)))
            self.wall.now = min(*moments, end, end)
            self.look()

    def look(self) -> None:
        """What is due is told, and sent."""
        self.dispatcher.look()
        self.deliver()

    def known(self) -> set[str]:
        """The targets of the file."""
        return {target.name for target in policy_of(self.file).targets} & set(TARGETS)

    def deliver(self) -> None:
        """Send what can be sent now, as the threads of targets do; a process may die of that."""
        self._take_account()
        died = False
        while not died and (ready := self._ready()):
            for worker in ready:
                try:
                    worker._deliver_due()
                except Died:
                    died = True
                    break
        self._take_account()
        if died:
            self.restart()

    def _ready(self) -> list[Any]:
        """Those who have something to do now."""
        now = self.wall.now
        waiting = {name for name, delivery in self.store.outbox_counts() if delivery is Delivery.QUEUED}
        return [
            worker
            for name, worker in self.deliverer._workers.items()
            if name in waiting and worker._pace.ready_at(now) <= now and self.store.due_messages(name, now, 1)
        ]

    def _new_deliverer(self) -> Deliverer:
        made = Deliverer(
            self.store,
            [self.receivers[name] for name in sorted(self.known())],
            self.wall,
            lambda: 0.5,
            fallbacks=policy_of(self.file).fallbacks(),
            monotonic_s=self.wall.monotonic_s,
        )
        for worker in made._workers.values():
            worker._thread = threading.current_thread()
        return made

    # The oracle

    def _take_account(self) -> None:
        """Note what was put into the outbox, and what was accepted, and that it may be so."""
        new = sum(self.store.outbox_counts().values()) - self._rows_seen
        rows = self.store.outbox_rows(limit=new)[::-1] if new else []
        spoken = self.store.alerts_of([row.message.key for row in rows])
        for row in rows:
            self._account_for(row, spoken.get(row.message.key, {}))
        self._rows_seen += new
        kinds: dict[str, dict[str, Spoken]] = {}
        for name, receiver in self.receivers.items():
            for message in receiver.accepted[self._accepted_seen[name] :]:
                content = message.title, message.body
                assert self.contents.setdefault(message.key, content) == content, "a key for two contents"
                if (name, message.key) in self._keys_seen:
                    continue  # a receiver drops what it has
                self._keys_seen.add((name, message.key))
                kinds |= self.store.alerts_of([message.key])
                self._hear(self._account(message), message, kinds.get(message.key, {}))
            self._accepted_seen[name] = len(receiver.accepted)

    def _account(self, message: Message) -> Account:
        return self.accounts.setdefault((message.target, message.group), Account())

    def _account_for(self, row: OutboxRow, spoken: dict[str, Spoken]) -> None:
        message, account = row.message, self._account(row.message)
        why = row.last_error or ""
        if row.delivery is Delivery.SUPPRESSED and not ("superseded" in why or "before anybody" in why):
            return  # a note of what is not told
        news = set(self._names)
        if message.payload:
            news = {each["fingerprint"] for each in json.loads(message.payload)["alerts"] if each["new"]}
        for key, what in spoken.items():
            name = self._names[key]
            match what:
                case Spoken.FIRING if message.origin:
                    if name in self.fires and message.status is Status.FIRING:
                        account.told.setdefault(key, self.episodes[name])
                    else:
                        account.doubtful.add(key)
                case Spoken.FIRING:
                    assert name in self.fires, f"{message.target} is told that {name} fires"
                    if key in news:
                        self._is_new(message, key)
                        assert not self._is_silenced(name), f"{name} is silenced"
                    account.told.setdefault(key, self.episodes[name])
                case Spoken.RESOLVED if not message.origin:  # a letter says that another was not told
                    was = account.told.pop(key, None) is not None or key in account.doubtful
                    account.doubtful.discard(key)
                    assert was, f"{message.target} is told the end of {name}, of which it knows nothing"

    def _is_new(self, message: Message, key: str) -> None:
        """An alert is told anew: nobody may know it from elsewhere."""
        episode = self.episodes[self._names[key]]
        for (target, _), account in self.accounts.items():
            if target == message.target:
                assert account.told.get(key) != episode, f"{target} hears twice of {self._names[key]}"

    def _is_silenced(self, name: str) -> bool:
        return self.silenced.get(name, START) > self.wall.now

    def _hear(self, account: Account, message: Message, spoken: dict[str, Spoken]) -> None:
        for key, what in spoken.items():
            if what is Spoken.FIRING and (not message.origin or message.status is Status.FIRING):
                account.heard.add(key)
            elif what is Spoken.RESOLVED:
                account.heard.discard(key)

    def forget_absent(self) -> None:
        """Who is not in the file is not told what ends: nobody expects that any more."""
        for (target, _), account in self.accounts.items():
            if target not in self.known():
                gone = {key for key in account.told if self._names[key] not in self.fires}
                for key in gone:
                    del account.told[key]
                account.heard -= gone

    def settle(self) -> None:
        """All is well for some hours: who is to know what fires does, and what is over is so for all."""
        for receiver in self.receivers.values():
            receiver.mode = "up"
        for silence in self.store.silences(self.wall.now):
            self.store.end_silence(silence.key, self.wall.now)
        self.silenced.clear()
        for key in self.store.acks():
            self.store.withdraw_ack(key, self.wall.now)
        self.look()
        self.go_to(self.wall.now + timedelta(hours=2))
        self._check_what_was_told()
        self._check_what_was_accepted()

    def _check_what_was_told(self) -> None:
        believed: dict[str, set[str]] = {name: set() for name in TARGETS}
        for (target, _), account in self.accounts.items():
            believed[target] |= {self._names[key] for key in account.told}
        for name in self.fires:
            target = TOLD_AT_ONCE[self.file][name]
            assert name in believed[target], f"{target} was not told that {name} fires"
        for target in self.known():
            assert believed[target] <= self.fires, f"{target} believes that {believed[target]} fire"

    def _check_what_was_accepted(self) -> None:
        known = self.known()
        given_up: set[tuple[str, str, str]] = set()
        for row in self.store.outbox_rows(limit=None):
            waits = row.delivery in {Delivery.QUEUED, Delivery.SENDING}
            assert not (waits and row.message.target in known), f"{row.message.key} was not sent"
            if row.delivery is Delivery.DEAD:
                alerts = self.store.alerts_of([row.message.key]).get(row.message.key, {})
                over = {key for key, what in alerts.items() if what is Spoken.RESOLVED}
                given_up |= {(row.message.target, row.message.group, key) for key in over}
        for (target, group), account in self.accounts.items():
            for key in account.heard - account.told.keys() - account.doubtful if target in known else ():
                expected = self._names[key] in self.fires or (target, group, key) in given_up
                assert expected, f"{target} never accepted the end of {self._names[key]}"


signs = st.lists(st.sampled_from("AcA"), min_size=4, max_size=4).map("".join)
names = st.sampled_from(NAMES)
files = st.integers(0, len(FILES) - 1)


class Machine(RuleBasedStateMachine):
    """What may happen."""

    @initialize(at=files)
    def begin(self, at: int) -> None:
        shm = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
        self.world = World(Path(self.folder.name))
        self.world.use(at)

    def after(self) -> None:
        self.world.forget_absent()

    @rule(signs=signs)
    def slot(self, signs: str) -> None:
        self.world.slot(signs)
        self.after()

    @rule(some=st.lists(signs, min_size=1, max_size=3))
    def replay(self, some: list[str]) -> None:
        """Slots that are evaluated late, one after the other."""
        self.world.go_to(self.world.wall.now + len(some) * MINUTE)
        for each in some:
            self.world.slot(each, late=True)
        self.after()

    @rule(seconds=st.sampled_from([1, 9, 31, 61, 900, 4000]))
    def wait(self, seconds: int) -> None:
        self.world.go_to(self.world.wall.now + timedelta(seconds=seconds))
        self.after()

    @rule(name=names, seconds=st.sampled_from([30, 2000]))
    def silence(self, name: str, seconds: int) -> None:
        world = self.world
        now = world.wall.now
        end = now + timedelta(seconds=seconds)
        key = f"s{len(world.store.silences())}"
        world.store.silence(Silence(key, f"name={name}", now, end, "ann", "", now))
        world.silenced[name] = max(end, world.silenced.get(name, end))
        world.look()

    @precondition(lambda self: self.world.fires)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        world = self.world
        name = data.draw(st.sampled_from(sorted(world.fires)))
        key = next(key for key, its in world._names.items() if its == name)
        world.store.acknowledge(Ack(key, "ann", "", world.wall.now))
        world.look()

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule(file=files, restarts=st.booleans())
    def other_file(self, file: int, restarts: bool) -> None:
        if restarts:
            self.world.restart(file)
        else:
            self.world.use(file)
        self.after()

    @rule(file=files, signs=signs)
    def file_changes_amid_a_slot(self, file: int, signs: str) -> None:
        """What a slot means to groups was decided by the file of before."""
        self.world.slot(signs, between=lambda: self.world.use(file))
        self.after()

    @rule(threshold=st.sampled_from([10, 11]))
    def other_rule(self, threshold: int) -> None:
        self.world.threshold = threshold

    @precondition(lambda self: self.world.enabled)
    @rule(deleted=st.booleans())
    def switch_off(self, deleted: bool) -> None:
        """A rule is deleted, and written again, or switched off for some slots."""
        world = self.world
        end = rule_deleted if deleted else rule_disabled
        world.end_rule(end(world.rule.id, world.state), deleted=deleted)
        world.enabled = deleted

    @precondition(lambda self: not self.world.enabled)
    @rule()
    def switch_on(self) -> None:
        self.world.enabled = True

    @rule(
        whose=st.sampled_from(TARGETS),
        mode=st.sampled_from(["up", "down", "refuses", "mute", "deadly"]),
    )
    def receiver(self, whose: str, mode: str) -> None:
        self.world.receivers[whose].mode = mode

    @rule(signs=signs, more=signs, mode=st.sampled_from(["down", "refuses"]))
    def pager_fails_for_a_while(self, signs: str, more: str, mode: str) -> None:
        """While slots go by; most of what is told goes there."""
        self.world.receivers["pager"].mode = mode
        self.world.slot(signs)
        self.world.slot(more)
        self.world.receivers["pager"].mode = "up"
        self.after()

    @rule(days=st.sampled_from([1, 30]))
    def clock_leaps(self, days: int) -> None:
        self.world.wall.leap(timedelta(days=days))
        self.world.look()
        self.after()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.settle()
        world.use(0)
        self.after()
        world.enabled = True
        world.slot("cccc")
        world.settle()
        assert world.store.groups() == []
        world.store.close()
        self.folder.cleanup()


Machine.TestCase.settings = settings(
    max_examples=200 if LONG else 8,
    stateful_step_count=50 if LONG else 20,
    deadline=None,
    derandomize=not LONG,
)
TestTelling = Machine.TestCase
