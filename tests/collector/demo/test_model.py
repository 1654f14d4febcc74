"""The served model against scikit-learn's own predictions."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from lapwing_collector.demo.flights import INPUTS, Departure, events, replayed, training
from lapwing_collector.demo.model import Service, UnknownDestinationError

NUMBERS = ("temp", "wind_speed", "precip", "visib", "plane_year")


def served(service: Service, rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Answers of the service: scores and decisions."""
    answers = [service.predict(**row) for row in rows]
    return np.array([a["score"] for a in answers]), np.array([a["late"] for a in answers])


def assert_served_as_fitted(service: Service, pipeline: Pipeline, rows: list[dict[str, Any]]) -> None:
    """Compare the service's answers with the pipeline's, one by one."""
    table = pd.DataFrame(rows, columns=list(INPUTS)).astype(dict.fromkeys(NUMBERS, "float64"))
    scores, decisions = served(service, rows)
    np.testing.assert_allclose(scores, pipeline.predict_proba(table)[:, 1], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(decisions, pipeline.predict(table))


@pytest.fixture(scope="module")
def rows(flights: pd.DataFrame, service: Service) -> list[dict[str, Any]]:
    """Inputs of one flight in ten of the whole year, to known destinations."""
    departures = (event for event in events(flights[::10]) if isinstance(event, Departure))
    return [event.inputs for event in departures if event.inputs["dest"] in service.destinations]


def test_the_service_answers_as_the_pipeline(
    service: Service, pipeline: Pipeline, rows: list[dict[str, Any]]
) -> None:
    """On tens of thousands of real flights scores agree to 1e-9 and decisions agree."""
    assert len(rows) > 30_000
    assert_served_as_fitted(service, pipeline, rows)


@pytest.mark.parametrize("missing", NUMBERS)
def test_missing_numbers_are_imputed_alike(
    service: Service, pipeline: Pipeline, rows: list[dict[str, Any]], missing: str
) -> None:
    """A null in any number means the same to both."""
    assert_served_as_fitted(service, pipeline, [row | {missing: None} for row in rows[:300]])


@pytest.mark.parametrize("unseen", [{"carrier": "ZZ"}, {"origin": "TEB"}, {"hour": 3}])
def test_unseen_categories_are_tolerated_alike(
    service: Service, pipeline: Pipeline, rows: list[dict[str, Any]], unseen: dict[str, Any]
) -> None:
    """A carrier, origin or hour that training did not have means the same to both."""
    assert_served_as_fitted(service, pipeline, [row | unseen for row in rows[:300]])


def test_an_unknown_destination_is_refused_by_both(
    service: Service, pipeline: Pipeline, flights: pd.DataFrame
) -> None:
    """The first flight to Nantucket, which has none in winter, fails in the service as in scikit-learn."""
    first = flights[flights["dest"] == "ACK"].head(1)
    with pytest.raises(ValueError, match="unknown categories"):
        pipeline.predict(first[list(INPUTS)])
    departure = next(events(first))
    assert isinstance(departure, Departure)
    with pytest.raises(UnknownDestinationError, match="ACK"):
        service.predict(**departure.inputs)


def test_answers_are_plain_values(service: Service, rows: list[dict[str, Any]]) -> None:
    """Answers are a bool and a float between 0 and 1, also for delays far beyond all that was seen."""
    for delay in (-1e6, 0.0, 1e6):
        answer = service.predict(**rows[0] | {"dep_delay": delay})
        assert set(answer) == {"late", "score"}
        assert type(answer["late"]) is bool
        assert type(answer["score"]) is float
        assert 0 <= answer["score"] <= 1
        assert not math.isnan(answer["score"])


def test_the_model_is_worth_watching(pipeline: Pipeline, flights: pd.DataFrame) -> None:
    """On flights after training it is right far more often than who says that no flight is late."""
    known = training(flights)["dest"].unique()
    later = replayed(flights)
    later = later[later["late"].notna() & later["dest"].isin(known)]
    truth = later["late"].astype("bool")
    assert (pipeline.predict(later[list(INPUTS)]) == truth).mean() > 0.89 > (~truth).mean() + 0.1
