"""Predictions and labels recorded by hand."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lapwing
from lapwing._time import new_prediction_id, to_ns
from lapwing.testing import Recorded, capture

NOON = datetime(2013, 3, 1, 12, tzinfo=UTC)
NOON_NS = 1_362_139_200_000_000_000


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep records in memory."""
    with capture() as found:
        yield found


def test_a_prediction_is_logged_with_all_it_has(recorded: Recorded) -> None:
    """Every argument of `log_prediction` has its place in the record, and the id is given back."""
    prediction_id = lapwing.log_prediction(
        model="flights",
        inputs={"origin": "JFK", "delay": None},
        output={"late": True},
        version="7",
        time=NOON,
        prediction_id="f-1",
        duration_s=0.25,
        error="Timeout",
        stage="shadow",
        request_id="r-1",
        tags={"carrier": "UA"},
    )
    (record,) = recorded.predictions
    assert prediction_id == "f-1" == lapwing.last_prediction_id()
    assert record.time == NOON_NS
    assert record.body == {"inputs": {"origin": "JFK", "delay": None}, "output": {"late": True}}
    assert record.attributes == {
        "ml.model.name": "flights",
        "ml.model.version": "7",
        "ml.prediction.id": "f-1",
        "ml.prediction.duration": 0.25,
        "ml.prediction.stage": "shadow",
        "ml.request.id": "r-1",
        "error.type": "Timeout",
        "carrier": "UA",
        "lapwing.sequence": 1,
    }


def test_the_least_prediction_is_complete(recorded: Recorded) -> None:
    """Without further arguments a prediction has the clock's time and an id made of it, and no more."""
    before = time.time_ns()
    prediction_id = lapwing.log_prediction(model="m", inputs={}, output=3)
    (record,) = recorded.predictions
    assert before <= record.time <= time.time_ns()
    assert prediction_id == record.prediction_id
    assert UUID(prediction_id).int >> 80 == record.time // 1_000_000
    assert record.body == {"inputs": {}, "output": {"value": 3}}
    assert set(record.attributes) == {
        "ml.model.name",
        "ml.prediction.id",
        "ml.prediction.stage",
        "lapwing.sequence",
    }


def test_a_failed_prediction_has_no_output(recorded: Recorded) -> None:
    """An error without an output leaves the output out, while no error and None is a null."""
    error = ValueError("no")
    lapwing.log_prediction(model="m", inputs={}, output=None, error=error)
    lapwing.log_prediction(model="m", inputs={}, output=None)
    failed, null = recorded.predictions
    assert failed.body == {"inputs": {}}
    assert (failed.attributes["error.type"], failed.attributes["exception.message"]) == ("ValueError", "no")
    assert null.body == {"inputs": {}, "output": {"value": None}}


def test_at_holds_for_logged_predictions(recorded: Recorded) -> None:
    """Inside `at` a logged prediction has its time, unless it names its own; labels have their own."""
    with lapwing.at(NOON):
        lapwing.log_prediction(model="m", inputs={}, output=1)
        lapwing.log_prediction(model="m", inputs={}, output=1, time=5)
        lapwing.log_label(model="m", label=1, prediction_id="p", time=7)
    assert [record.time for record in recorded.records] == [NOON_NS, 5, 7]


def test_a_label_is_logged_with_all_it_has(recorded: Recorded) -> None:
    """Every argument of `log_label` has its place in the record."""
    lapwing.log_label(
        model="flights",
        label={"late": False, "minutes": 3},
        prediction_id="f-1",
        request_id="r-1",
        prediction_time=NOON,
        time=NOON + timedelta(hours=2),
        source="tower",
    )
    (record,) = recorded.labels
    assert record.event == "ml.label"
    assert record.time == NOON_NS + 7_200 * 10**9
    assert record.label == {"late": False, "minutes": 3}
    assert record.attributes == {
        "ml.model.name": "flights",
        "ml.prediction.id": "f-1",
        "ml.request.id": "r-1",
        "ml.prediction.time": NOON_NS,
        "ml.label.source": "tower",
        "lapwing.sequence": 1,
    }


def test_the_least_label_is_complete(recorded: Recorded) -> None:
    """A label by request id alone has the clock's time and nothing it was not given; it may be a null."""
    before = time.time_ns()
    lapwing.log_label(model="m", label=None, request_id="r-1")
    (record,) = recorded.labels
    assert before <= record.time <= time.time_ns()
    assert record.body == {"label": None}
    assert set(record.attributes) == {"ml.model.name", "ml.request.id", "lapwing.sequence"}


def test_what_cannot_be_recorded_is_counted_and_never_raises() -> None:
    """Wrong arguments of the logging functions cost the record, are counted, and return what id there is."""
    with capture(loud=False) as recorded:
        assert lapwing.log_prediction(model="", inputs={}, output=1, prediction_id="p") == "p"
        assert lapwing.log_prediction(model="m", inputs={}, output=1, time="now") == ""  # type: ignore[arg-type]
        assert lapwing.log_prediction(model="m", inputs=[1], output=1)  # type: ignore[arg-type]
        lapwing.log_prediction(model="m", inputs={}, output=1, time=-1)
        lapwing.log_label(model="m", label=1)
        lapwing.log_label(model="m", label=1, prediction_id="p", prediction_time="now")  # type: ignore[arg-type]
    assert recorded.records == []
    assert recorded.stats() == lapwing.Stats(6, 0, 0, {"encode_error": 6})


@given(st.datetimes(datetime(1970, 1, 1), datetime(2500, 1, 1)), st.integers(-14, 14))
def test_times_are_exact(moment: datetime, hours: int) -> None:
    """A datetime becomes its nanoseconds exactly, in any time zone; a naive one is UTC."""
    microseconds = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    assert to_ns(moment) == microseconds * 1000
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert to_ns(aware) == (microseconds - hours * 3_600_000_000) * 1000


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2))
def test_ids_sort_as_their_times(times: list[int]) -> None:
    """Ids are version 7 UUIDs, differ, and sort as text like their times do, to 1/4 microsecond."""
    ids = [new_prediction_id(moment) for moment in times]
    assert len(set(ids)) == len(ids)
    assert all((UUID(id_).version, str(UUID(id_))) == (7, id_) for id_ in ids)
    for id_, moment in zip(ids, times, strict=True):
        for other, later in zip(ids, times, strict=True):
            assert id_ < other or later - moment < 245
