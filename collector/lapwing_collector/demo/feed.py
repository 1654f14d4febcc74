"""The flights of a month, as if it were the last one, for a collector that runs: what "load the demo" does.

    python -m lapwing_collector.demo.feed http://127.0.0.1:4318 lapwing-data

The month is June and July 2013, with summer's drift and destinations that the model was never shown, moved
by whole weeks so that it ends now. Truths that would become known later are left out.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa

import lapwing
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.demo.flights import INPUTS, events, load_flights, training
from lapwing_collector.demo.model import compile_service, train
from lapwing_collector.demo.replay import MODEL, Replayed, replay
from lapwing_collector.errors import LapwingError

_BEGINS: Final = datetime(2013, 6, 10)  # noqa: DTZ001  # naive UTC, as every time in a table
_LASTS: Final = timedelta(days=30)
_WEEK: Final = timedelta(days=7)
_FLUSH_S: Final = 60.0


def feed(endpoint: str, data: Path, now: datetime) -> Replayed:
    """Train the model, keep what it learned from as its reference, and send a month up to `now`.

    Args:
        endpoint: Where predictions are received.
        data: The data directory of the collector that receives them.
        now: The end of the month, naive UTC.

    Raises:
        LapwingError: The flights are not installed, or not everything was acknowledged.
    """
    flights = load_flights()
    known = training(flights)
    inputs = pa.Table.from_pandas(known[list(INPUTS)], preserve_index=False)
    set_reference(None, {"data": data}, tell_nobody, model=MODEL, name="train", rows=inputs)
    lapwing.init(endpoint=endpoint, service="flights-demo", environment="demo", on_full="wait")
    done = replay(events(moved(flights, now)), compile_service(train(known)))
    if not lapwing.flush(timeout_s=_FLUSH_S):
        raise LapwingError("not everything of the demo was acknowledged")
    lapwing.shutdown()
    return done


def moved(flights: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """The flights of the month, moved by whole weeks so that the last of it departs before `now`."""
    weeks = (now - (_BEGINS + _LASTS)) // _WEEK + 1
    far = weeks * _WEEK
    end = now - far
    month = flights[(flights["departed_at"] >= end - _LASTS) & (flights["departed_at"] < end)].copy()
    month["arrived_at"] = month["arrived_at"].where(month["arrived_at"] < end)
    for column in ("departed_at", "arrived_at"):
        month[column] = (month[column] + far).dt.as_unit("us")
    return month


def main() -> int:
    """Feed the collector that the command line names; the exit code."""
    endpoint, data = sys.argv[1:]
    try:
        feed(endpoint, Path(data), utc_datetime(SystemClock().now_ns()))
    except LapwingError as error:
        print(error, file=sys.stderr)  # noqa: T201  # who started it reads this
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
