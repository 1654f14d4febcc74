"""From when on a model's predictions are whole, so that earlier windows stay as they were judged."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.app.judging.history import KeptFrom
from lapwing_collector.clock import SteppingClock, epoch_ns
from lapwing_collector.config import load_settings
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK
from lapwing_collector.state import Store

NOON = datetime(2026, 3, 1, 12)
OLDEST = datetime(2026, 2, 3, 4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state.sqlite")
    yield opened
    opened.close()


def kept_from(store: Store, retention: str, *, newest: datetime | None = NOON, replay: bool = False) -> Any:
    completeness = Completeness(
        store=store,
        policy=DATA_CLOCK if replay else WALL_CLOCK,
        clock=SteppingClock(epoch_ns(NOON)),
        oldest_waiting=lambda: None,
    )
    if newest is not None:
        completeness.saw({"m": pa.array([newest], pa.timestamp("us"))})
    completeness.advance()
    flags = {f"retention.{key}": value for key, value in (part.split("=") for part in retention.split())}
    asked: list[str] = []

    def run(sql: str, _parameters: Any, _timeout_s: float) -> pa.Table:
        asked.append(sql)
        if newest is None:
            raise NotSeenYetError("no table m")
        return pa.table({"oldest": pa.array([OLDEST], pa.timestamp("us"))})

    return KeptFrom(load_settings(None, flags=flags), completeness)("m", run), asked


def test_everything_is_kept_unless_the_settings_say_otherwise(store: Store) -> None:
    """Without retention no window is too old, and nobody is asked."""
    assert kept_from(store, "") == (None, [])


def test_what_is_too_old_is_cut_at_whole_days(store: Store) -> None:
    """As retention cuts it, back from the clock."""
    assert kept_from(store, "keep=10d")[0] == datetime(2026, 2, 19)


def test_in_a_replay_age_is_counted_from_the_newest_row(store: Store) -> None:
    """As retention does it there."""
    late = NOON - timedelta(days=20)
    assert kept_from(store, "keep=10d", newest=late, replay=True)[0] == datetime(2026, 1, 30)


def test_where_size_is_limited_the_oldest_row_tells(store: Store) -> None:
    """Nobody knows beforehand what a limit of size takes; without rows there is nothing to spoil."""
    found, asked = kept_from(store, "max_bytes=1000")
    assert found == OLDEST
    assert len(asked) == 1
    assert kept_from(store, "max_bytes=1000", newest=None)[0] is None
