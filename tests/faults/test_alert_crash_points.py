"""The process dies between any two statements of an alert's way: nothing is lost, nothing invented.

At each boundary the files of the state database are taken as they are and a new process goes on with them; of
each commit there are pictures in which it was cut off half written, too. Where the engine, the store and the
outbox stand then must be what an undisturbed run was before or after that commit, and nothing between.
"""

import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from helpers.faults_pictures import Photographer, Picture
from helpers.faults_plan import LONG, SEED
from helpers.rules_build import CELLS, MINUTE, START, rows_of, rule_of
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.notify import BY_ALL_LABELS, Policy, Receiver, Route, Target
from lapwing_collector.rules import NO_ROWS, Outcome, QueryFailure, Rule, Skipped, evaluate
from lapwing_collector.state import Store

PARTS = 100 if LONG else 5
POINTS_PER_PART = 400
GOES_ON = 0.1
"""How often a new process goes on; where the same is kept as without a crash, the same comes of it."""
DECIDED = ("rules", "instances", "history")
SLOTS = 12
NAMES = "abc"


TARGETS = (Target("chat", "json://127.0.0.1/chat"), Target("mail", "json://127.0.0.1/mail"))
POLICY = Policy(
    Route("route", "team", (BY_ALL_LABELS,), timedelta(0), timedelta(0), timedelta(days=365)),
    {"team": Receiver("team", ("chat", "mail"))},
    TARGETS,
)
"""Everybody hears of each alert by itself, at once."""


@dataclass
class Life:
    """A process that evaluates a rule slot by slot and tells what comes of it.

    Attributes:
        accepted: Keys of the messages that targets accepted, in order; what a target has it keeps.
    """

    store: Store
    rule: Rule
    script: Sequence[Outcome]
    accepted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Tell, as a process that starts does, what the one before could not."""
        self.dispatcher = Dispatcher(
            policy=POLICY,
            store=self.store,
            wake=lambda _: None,
            now=lambda: self.at(len(self.script)),
            caught_up=lambda: True,
        )

    def start(self) -> None:
        """Begin where another process ended."""
        for target in TARGETS:
            self.store.recover(target.name)
        self.dispatcher.follow_routes({})
        self.dispatcher.look()
        self.deliver()

    def go_on(self) -> None:
        """Evaluate one slot and tell what came of it."""
        before = self.store.load_rules().get(self.rule.id, RuleState(self.rule.definition))
        number = 1 if before.slot is None else (before.slot - START) // MINUTE + 1
        if number <= len(self.script):
            slot = self.at(number)
            evaluation = evaluate(self.rule, self.script[number - 1], before, slot)
            changes = self.dispatcher.changes(evaluation.transitions, self.rule.condition)
            self.store.commit(self.rule.id, evaluation.state, evaluation.transitions, changes, (), slot)
            self.dispatcher.look()
            self.deliver()

    def deliver(self) -> None:
        """Send what waits, each message as the deliverer does."""
        now = self.at(len(self.script))
        for target in TARGETS:
            while due := self.store.due_messages(target.name, now, 100):
                for queued in due:
                    if self.store.mark_sending(queued.message.key):
                        self.accepted.append(queued.message.key)
                        self.store.mark_sent(queued.message.key, now)

    def at(self, number: int) -> datetime:
        """The time of a slot."""
        return START + number * MINUTE


def script(dice: random.Random) -> list[Outcome]:
    """What the slots of a rule give: alerts that come and go, beside failures and silence."""
    outcomes: list[Outcome] = []
    for _ in range(SLOTS):
        kind = dice.choices(["rows", "none", "fails", "skipped"], [8, 1, 1, 1])[0]
        rows = [CELLS[dice.choice("AAccin")] | {"name": name} for name in NAMES if dice.random() < 0.8]
        outcomes.append(
            {"none": NO_ROWS, "fails": QueryFailure("boom"), "skipped": Skipped()}.get(kind, rows_of(*rows))
        )
    return outcomes


def rule(dice: random.Random) -> Rule:
    """A rule that waits for little, so that much happens."""
    return rule_of(
        for_=dice.choice(["0s", "1m"]),
        keep_firing_for=dice.choice(["0s", "1m"]),
        no_data_for="0s",
        error_for="0s",
        limit=dice.choice([2, 1000]),
        missing_evals=1,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: nothing here is about disks."""
    shm = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
    yield made
    shutil.rmtree(made)


@dataclass(frozen=True, eq=False)
class Kept:
    """What is in a database, read without the store.

    Attributes:
        slots: How many are committed.
        rows: Every row of what a slot decides.
        keys: Of all messages.
        unsent: Keys of those that a new process will send.
    """

    slots: int
    rows: tuple[object, ...] = field(repr=False)
    keys: frozenset[str]
    unsent: frozenset[str]

    @classmethod
    def of(cls, path: Path) -> "Kept":
        """Read it, as whoever opens it next finds it."""
        database = sqlite3.connect(path)
        rows = tuple(
            row for table in DECIDED for row in database.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        )
        slot = next((slot for (slot,) in database.execute("SELECT slot FROM rules")), None)
        messages = database.execute("SELECT key, delivery FROM outbox").fetchall()
        database.close()
        return cls(
            0 if slot is None else (datetime.fromisoformat(slot) - START) // MINUTE,
            rows,
            frozenset(key for key, _ in messages),
            frozenset(key for key, delivery in messages if delivery in {"queued", "sending"}),
        )

    def follows(self, before: "Kept", after: "Kept") -> bool:
        """Whether the slot of `after` is whole, and told whole or not at all; sent or not."""
        return self.rows == after.rows and self.keys in {before.keys, after.keys}


def undisturbed(path: Path, given: Rule, outcomes: Sequence[Outcome]) -> list[Kept]:
    """What is kept after each slot where nothing dies."""
    life = Life(Store.open(path), given, outcomes)
    kept = [Kept.of(path)]
    for _ in outcomes:
        life.go_on()
        kept.append(Kept.of(path))
    life.store.close()
    assert Counter(life.accepted) == Counter(kept[-1].keys)
    return kept


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_dies_between_any_two_statements(part: int, folder: Path) -> None:
    """A new process finds whole slots and goes on; only what was under way is sent twice, and all is once."""
    dice = random.Random(f"{SEED} {part}")
    points = 0
    while points < POINTS_PER_PART:
        run = folder / str(points)
        run.mkdir()
        points += dies_everywhere(run, dice)


def dies_everywhere(folder: Path, dice: random.Random) -> int:
    """Let a rule's life end at each of its moments; how many there were."""
    given, outcomes = rule(dice), script(dice)
    path, heirs = folder / "state.sqlite", folder / "heir.sqlite"
    expected = undisturbed(folder / "undisturbed.sqlite", given, outcomes)
    life, heir = Life(Store.open(path), given, outcomes), Life(Store.open(heirs), given, outcomes)
    points = 0

    def dies(picture: Picture) -> None:
        """Judge what the process leaves behind, and let a new one go on with it now and then."""
        nonlocal points
        points += 1
        picture.restore(heirs)
        found = Kept.of(heirs)
        assert found.follows(expected[max(found.slots - 1, 0)], expected[found.slots]), picture.moment
        assert found.unsent | set(life.accepted) == found.keys, picture.moment
        assert found.unsent & set(life.accepted) <= set(life.accepted[-1:]), picture.moment
        if dice.random() < GOES_ON:
            heir.store.close()  # its connections: they are to another file
            heir.accepted = list(life.accepted)
            heir.start()
            assert set(heir.accepted) == expected[found.slots].keys, picture.moment
            heir.go_on()
            now, then = Kept.of(heirs), expected[min(found.slots + 1, SLOTS)]
            assert (now.rows, now.keys) == (then.rows, then.keys), picture.moment
            assert set(heir.accepted) == then.keys, picture.moment

    with Photographer(path, dies, dice).watching():
        for _ in outcomes:
            life.go_on()
    life.store.close()
    heir.store.close()
    return points
