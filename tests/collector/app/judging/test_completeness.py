"""When slots may be judged: never before what was acknowledged by then is in the lake."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.clock import SteppingClock, epoch_ns
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK, WatermarkPolicy
from lapwing_collector.state import Store

NOON = datetime(2026, 1, 1, 12)
SECOND = timedelta(seconds=1)


class Harness:
    """A `Completeness` with a stepping clock and a backlog set by the test."""

    def __init__(self, store: Store, policy: WatermarkPolicy) -> None:
        self.clock = SteppingClock(epoch_ns(NOON))
        self.waiting: datetime | None = None
        self.others: datetime | None = None
        self.completeness = Completeness(
            store=store,
            policy=policy,
            clock=self.clock,
            oldest_waiting=lambda: self.waiting,
            others=lambda: self.others,
        )
        self.completeness.load()

    def mark(self) -> datetime | None:
        self.completeness.advance()
        marks = self.completeness.marks(["m"])
        return marks[0] if marks else None

    def saw(self, moment: datetime) -> None:
        self.completeness.saw({"M": pa.array([moment], pa.timestamp("us"))})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state.sqlite")
    yield opened
    opened.close()


def test_a_table_without_rows_has_no_mark(store: Store) -> None:
    """A model that never predicted is not complete up to anywhere."""
    assert Harness(store, WALL_CLOCK).mark() is None


def test_a_backlog_is_not_silence(store: Store) -> None:
    """While a request waits for the lake, the clock counts only up to its arrival."""
    harness = Harness(store, WALL_CLOCK)
    harness.saw(NOON - 10 * SECOND)
    harness.waiting = NOON
    harness.clock.step(600)
    assert harness.mark() == NOON - 40 * SECOND
    harness.waiting = None
    assert harness.mark() == NOON + 540 * SECOND


def test_closing_a_replay_waits_for_what_came_before(store: Store) -> None:
    """`rules advance` acts once every row that was acknowledged before it is in the lake."""
    harness = Harness(store, DATA_CLOCK)
    harness.saw(NOON)
    harness.waiting = NOON
    harness.clock.step(5)
    store.advance_to(NOON + timedelta(days=1))
    assert harness.mark() == NOON - 30 * SECOND
    harness.waiting = NOON + 60 * SECOND  # came after the wish
    assert harness.mark() == NOON + timedelta(days=1)


def test_closing_is_for_replays(store: Store) -> None:
    """Live, no wish moves a watermark ahead of the clock."""
    harness = Harness(store, WALL_CLOCK)
    harness.saw(NOON - 10 * SECOND)
    store.advance_to(NOON + timedelta(days=365))
    assert harness.mark() == NOON - 40 * SECOND


def test_marks_survive_a_restart(store: Store) -> None:
    """A new process starts from the marks of the one before and never goes back."""
    first = Harness(store, DATA_CLOCK)
    first.saw(NOON)
    assert first.mark() == NOON - 30 * SECOND
    second = Harness(store, DATA_CLOCK)
    second.saw(NOON - timedelta(hours=5))
    assert second.mark() == NOON - 30 * SECOND


def test_rules_without_models_wait_as_long_as_silence(store: Store) -> None:
    """A rule over logs is judged when a model that fell silent would be."""
    harness = Harness(store, WALL_CLOCK)
    assert harness.completeness.marks([]) == [NOON - 60 * SECOND]
    harness.waiting = NOON - 100 * SECOND
    assert harness.completeness.marks([]) == [NOON - 160 * SECOND]


def test_a_slot_waits_for_all_collectors(store: Store) -> None:
    """What one collector brought moves a watermark only as far as the others are, as does the clock."""
    harness = Harness(store, WALL_CLOCK)
    harness.others = NOON - 60 * SECOND
    harness.saw(NOON - 10 * SECOND)
    assert harness.mark() == NOON - 90 * SECOND
    harness.clock.step(600)
    assert harness.mark() == NOON - 90 * SECOND
    assert harness.completeness.settled() == NOON - 60 * SECOND
    harness.others = NOON
    assert harness.mark() == NOON - 40 * SECOND
    harness.others = None
    assert harness.mark() == NOON + 540 * SECOND


def test_what_others_brought_moves_watermarks(store: Store) -> None:
    """The newest row counts whoever brought it; that labels came says nothing of a watermark."""
    harness = Harness(store, WALL_CLOCK)
    harness.completeness.heard({"m": NOON - 10 * SECOND, "n": None})
    assert harness.mark() == NOON - 40 * SECOND
    assert harness.completeness.unknown(["m", "n"]) == {"n"}
