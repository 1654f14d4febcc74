"""The demo's model: will this flight arrive late? Trained by scikit-learn, served from tables."""

import math
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lapwing_collector.demo.flights import INPUTS

_NUMBERS: Final = ("distance", "dep_delay", "temp", "wind_speed", "precip", "visib", "plane_year")

_RARE: Final = 50
"""Categories seen in fewer training flights share one weight."""

_UNSEEN: Final = {"carrier": "", "origin": "", "hour": -1}
"""The columns of categories beside the destination, each with one that no flight has."""

_STEP: Final = 1024.0
"""How far a number is moved to see its slope; a power of two divides without rounding."""


class UnknownDestinationError(LookupError):
    """The model was asked about a destination that it was never shown."""


class Effects(dict[Any, float]):
    """What each category adds to the log-odds, compared with one that the model was never shown."""

    def __missing__(self, category: object) -> float:
        """Nothing is known of an unseen category, so it adds nothing."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Slope:
    """What a number adds to the log-odds: `per_unit` times the number, or `missing` where there is none."""

    per_unit: float
    missing: float


@dataclass(frozen=True, slots=True)
class Service:
    """The model as a production service runs it: a few look-ups and sums a call, no data frames.

    Attributes:
        baseline: Log-odds to which everything else is added.
        destinations: What each known destination adds.
        categories: Effects of carrier, origin and hour.
        numbers: Effects of the numbers, in the order of `INPUTS`.
    """

    baseline: float
    destinations: dict[str, float]
    categories: tuple[Effects, ...]
    numbers: tuple[Slope, ...]

    def predict(
        self,
        *,
        carrier: str,
        origin: str,
        dest: str,
        distance: float,
        hour: int,
        dep_delay: float,
        temp: float | None,
        wind_speed: float | None,
        precip: float | None,
        visib: float | None,
        plane_year: int | None,
    ) -> dict[str, bool | float]:
        """Predict from the inputs of `flights.INPUTS` whether the flight arrives late.

        Returns:
            `late`, and `score`: the probability of it.

        Raises:
            UnknownDestinationError: No training flight went to `dest`.
        """
        try:
            log_odds = self.baseline + self.destinations[dest]
        except KeyError:
            raise UnknownDestinationError(f"no training flight went to {dest}: train again") from None
        for effects, category in zip(self.categories, (carrier, origin, hour), strict=True):
            log_odds += effects[category]
        values = (distance, dep_delay, temp, wind_speed, precip, visib, plane_year)
        for slope, value in zip(self.numbers, values, strict=True):
            log_odds += slope.missing if value is None else slope.per_unit * value
        return {"late": log_odds > 0, "score": 0.5 + 0.5 * math.tanh(log_odds / 2)}


def train(flights: pd.DataFrame) -> Pipeline:
    """Fit a logistic regression on `flights`, which all have `late`.

    Destinations are encoded strictly, as scikit-learn does unless told otherwise: the pipeline, too, refuses
    one that it was never shown.
    """
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    tolerant = OneHotEncoder(min_frequency=_RARE, handle_unknown="infrequent_if_exist")
    strict = OneHotEncoder(min_frequency=_RARE)
    columns = make_column_transformer(
        (numbers, list(_NUMBERS)), (tolerant, list(_UNSEEN)), (strict, ["dest"])
    )
    pipeline = make_pipeline(columns, LogisticRegression(max_iter=1000))
    return pipeline.fit(flights[list(INPUTS)], flights["late"].astype("bool"))


def compile_service(pipeline: Pipeline) -> Service:
    """Read the tables of a `Service` off a fitted pipeline.

    The model is additive, and linear in its numbers: changing one input at a time tells all that it knows.
    """
    encoders = pipeline[0].named_transformers_
    destinations = encoders["onehotencoder-2"].categories_[0].tolist()
    known = [column.tolist() for column in encoders["onehotencoder-1"].categories_]
    base = {"dest": destinations[0], **_UNSEEN, **dict.fromkeys(_NUMBERS, 0.0)}
    probes = [base]
    probes += [base | {"dest": destination} for destination in destinations]
    probes += [base | {name: value} for name, values in zip(_UNSEEN, known, strict=True) for value in values]
    probes += [base | {name: value} for name in _NUMBERS for value in (_STEP, math.nan)]
    baseline, *log_odds = pipeline.decision_function(pd.DataFrame(probes)).tolist()
    effects = iter([value - baseline for value in log_odds])
    return Service(
        baseline=baseline,
        destinations={destination: next(effects) for destination in destinations},
        categories=tuple(Effects({value: next(effects) for value in values}) for values in known),
        numbers=tuple(Slope(per_unit=next(effects) / _STEP, missing=next(effects)) for _ in _NUMBERS),
    )
