"""What the lake is told of records that never came."""

from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from helpers.batches import START
from helpers.flaky import make_flaky
from lapwing_collector.app.ingest.losses import Losses
from lapwing_collector.clock import SteppingClock, epoch_ns, utc_datetime
from lapwing_collector.dedup import Ledger
from lapwing_collector.lake import Lake

_NEWEST = """
SELECT process_id, missing FROM record_losses
QUALIFY row_number() OVER (PARTITION BY process_id ORDER BY observed_at DESC) = 1 ORDER BY ALL
"""


def accept(ledger: Ledger, process: str, *numbers: int, at: SteppingClock) -> None:
    with ledger.admitting(at.now_ns()) as admitting:
        admitting.admit(process, np.array(numbers, np.int64))
        admission = admitting.done()
    ledger.keep(admission)


def test_what_stays_missing_is_told_once(tmp_path: Path) -> None:
    """A gap that is there at two looks is a row, its growth or end another; what came meanwhile is not."""
    clock, ledger = SteppingClock(epoch_ns(START)), Ledger()
    lake = Lake.open(tmp_path / "lake")
    try:

        def look() -> int:
            clock.step(30)
            duty.work()
            return int(lake.catalog.rows("SELECT count(*) FROM record_losses")[0][0])

        def begun() -> Losses:
            return Losses(lake, ledger.loss, now=lambda: utc_datetime(clock.now_ns()))

        duty = begun()
        accept(ledger, "a", 1, 2, 5, at=clock)  # 3 and 4 are missing
        accept(ledger, "b", 1, 4, at=clock)
        assert look() == 0
        accept(ledger, "b", 2, 3, at=clock)  # was on its way
        assert look() == 1
        assert lake.catalog.rows("FROM record_losses") == [
            ("a", START, START + timedelta(seconds=60), 5, 3, 2)
        ]
        assert look() == 1
        accept(ledger, "a", 9, at=clock)
        assert look() == 1
        duty = begun()  # after a restart what was missing before is given time again
        assert look() == 1
        assert look() == 2
        assert lake.catalog.rows(_NEWEST) == [("a", 5)]
        accept(ledger, "a", 3, 4, 6, 7, 8, at=clock)
        assert look() == 3
        assert look() == 3
        assert lake.catalog.rows(_NEWEST) == [("a", 0)]
    finally:
        lake.close()


def test_what_could_not_be_told_is_told_later(tmp_path: Path) -> None:
    """Where the lake refuses, the next look adds the row."""
    clock, ledger = SteppingClock(epoch_ns(START)), Ledger()
    lake = Lake.open(tmp_path / "lake")
    try:
        accept(ledger, "a", 1, 3, at=clock)
        duty = Losses(lake, ledger.loss, now=lambda: utc_datetime(clock.now_ns()))
        duty.work()
        make_flaky(lake, "COMMIT", takes_place=False)
        with pytest.raises(duckdb.Error, match="disk"):
            duty.work()
        duty.work()
        assert lake.catalog.rows(_NEWEST) == [("a", 1)]
    finally:
        lake.close()
