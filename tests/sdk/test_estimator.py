"""Estimators and modules, watched as they are."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lapwing
from lapwing.testing import Recorded, capture

ROWS = pd.DataFrame({"age": [20.0, 30, 40, 50], "fee": [0.0, 1, 0, 1]})
TRUTH = ["no", "yes", "no", "yes"]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep what is recorded."""
    with capture() as kept:
        yield kept


def forest() -> Any:
    """Fit a classifier whose `predict` calls its own `predict_proba`."""
    return RandomForestClassifier(n_estimators=3, random_state=0).fit(ROWS, TRUTH)


@pytest.mark.parametrize("pipeline", [False, True], ids=["estimator", "pipeline"])
def test_predictions_are_rows_with_the_names_of_features(recorded: Recorded, pipeline: bool) -> None:
    """A row each for `predict`, once, with the very result of the estimator."""
    plain = make_pipeline(StandardScaler(), forest()).fit(ROWS, TRUTH) if pipeline else forest()
    watched = lapwing.watch(plain, model="churn")
    assert isinstance(watched, type(plain))
    expected = plain.predict(ROWS)
    assert list(watched.predict(ROWS)) == list(expected)
    assert [record.inputs for record in recorded.predictions] == ROWS.to_dict("records")
    assert [record.output for record in recorded.predictions] == [{"value": value} for value in expected]


def test_probabilities_are_scores_by_class(recorded: Recorded) -> None:
    """`predict_proba` gives a score per class, and that of the second of two as the score."""
    watched = lapwing.watch(forest(), model="churn")
    probabilities = watched.predict_proba(ROWS)
    for record, (no, yes) in zip(recorded.predictions, probabilities, strict=True):
        assert record.output == {"scores": {"no": no, "yes": yes}, "score": yes}


def test_an_estimator_says_what_it_is(recorded: Recorded) -> None:
    """Task, classes and importances of a fitted estimator are told once, whichever method is called first."""
    plain = forest()
    watched = lapwing.watch(plain, model="churn", threshold=0.7)
    watched.predict_proba(ROWS)
    watched.predict(ROWS)
    (said,) = recorded.models
    age, fee = plain.feature_importances_
    assert said.body == {
        "task": "classification",
        "classes": ["no", "yes"],
        "positive_class": "yes",
        "threshold": 0.7,
        "features": {"inputs.age": {"importance": age}, "inputs.fee": {"importance": fee}},
    }


def test_a_pipeline_and_a_regression_say_what_they_are(recorded: Recorded) -> None:
    """A pipeline knows the classes of its last step, as SQL writes them; a regression has none."""
    late = [False, True, False, True]
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=3)).fit(ROWS, late)
    lapwing.watch(pipeline, model="late").predict(ROWS)
    regression = LinearRegression().fit(ROWS, [1.0, 2, 3, 4])
    lapwing.watch(regression, model="price", task=None, rename={"age": "years"}).predict(ROWS)
    bodies = {said.model: said.body for said in recorded.models}
    assert bodies == {
        "late": {"task": "classification", "classes": ["false", "true"], "positive_class": "true"}
    }
    lapwing.watch(regression, model="cost").predict(ROWS)
    assert recorded.models[-1].body == {"task": "regression"}


@pytest.mark.parametrize(
    "rows",
    [ROWS.to_numpy(), ROWS.to_numpy().tolist(), csr_matrix(ROWS.to_numpy())],
    ids=["array", "lists", "sparse"],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_rows_without_names_get_those_of_the_fit(recorded: Recorded, rows: Any) -> None:
    """Arrays, lists of lists and sparse matrices have the features' names that the estimator knows."""
    lapwing.watch(LinearRegression().fit(ROWS, [1, 2, 3, 4]), model="fee").predict(rows)
    assert [record.inputs for record in recorded.predictions] == ROWS.to_dict("records")


def test_copies_clones_and_pickles_are_plain() -> None:
    """A stored or cloned model needs no Lapwing, and a search over a watched one records nothing."""
    plain = forest()
    watched = lapwing.watch(plain, model="churn")
    for other in (clone(watched), copy.deepcopy(watched), pickle.loads(pickle.dumps(watched))):
        assert type(other) is type(plain)
    with capture() as kept:
        GridSearchCV(watched, {"max_depth": [1, 2]}, cv=2).fit(ROWS, TRUTH)
    assert kept.records == []


def test_a_failing_predict_is_raised_and_recorded(recorded: Recorded) -> None:
    """Wrong rows are the estimator's own error, and a failed prediction for each row of a frame."""
    watched = lapwing.watch(forest(), model="churn")
    with pytest.raises(ValueError, match="feature names"):
        watched.predict(pd.DataFrame({"wrong": [1.0, 2.0]}))
    assert [record.attributes["error.type"] for record in recorded.predictions] == ["ValueError"] * 2


class Linear:
    """A module as PyTorch has them: calling it runs `forward`."""

    def __init__(self) -> None:
        self.weight = np.array([2.0, 3.0])
        self.training = True

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def forward(self, x: Any) -> Any:
        """Multiply."""
        return x @ self.weight

    def eval(self) -> "Linear":
        """Stop training."""
        self.training = False
        return self


def test_a_module_is_watched_through_its_call(recorded: Recorded) -> None:
    """`forward` is recorded when the module is called; parameters are shared with the original."""
    module = Linear()
    watched = lapwing.watch(module, model="linear").eval()
    assert list(watched(np.ones((2, 2)))) == [5.0, 5.0]
    assert watched.weight is module.weight
    assert [record.output for record in recorded.predictions] == [{"value": 5.0}] * 2
    assert recorded.predictions[0].inputs == {"x0": 1.0, "x1": 1.0}


class Streaming:
    """A model that answers bit by bit."""

    def predict(self, x: int) -> Iterator[int]:
        """Count."""
        yield from range(x)


def test_an_estimator_that_streams_is_recorded_once(recorded: Recorded) -> None:
    """A generator method is one prediction."""
    assert list(lapwing.watch(Streaming(), model="m").predict(3)) == [0, 1, 2]
    assert [record.output for record in recorded.predictions] == [{"value": [0, 1, 2]}]


class Loaded:
    """A model that says by itself how it is stored."""

    def __init__(self, path: str) -> None:
        self.path = path

    def predict(self, x: int) -> tuple[str, int]:
        """Answer."""
        return self.path, x

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Keep the path only."""
        return Loaded, (self.path,)


def test_models_that_store_themselves_still_do(recorded: Recorded) -> None:
    """Copies and pickles are made as the class wants."""
    watched = lapwing.watch(Loaded("a"), model="m")
    for other in (copy.copy(watched), copy.deepcopy(watched), pickle.loads(pickle.dumps(watched))):
        assert type(other) is Loaded
        assert other.predict(1) == ("a", 1)
    assert recorded.records == []


class Slotted:
    """Has no room for a twin's state."""

    __slots__ = ("x",)

    def predict(self, x: int) -> int:
        """Give it back."""
        return x


class Static:
    """Predicts without itself."""

    @staticmethod
    def predict(x: int) -> int:
        """Give it back."""
        return x


class PartlySlotted(Slotted):
    """Has room for more, but not in its slots."""


class Dictionary(dict[str, int]):
    """Holds more than its attributes."""

    def predict(self, x: int) -> int:
        """Add."""
        return self["bias"] + x


@pytest.mark.parametrize(
    "target",
    [Slotted(), PartlySlotted(), Dictionary(bias=1), Static()],
    ids=["slots", "some slots", "dict", "static"],
)
def test_what_cannot_be_taken_over_is_told(target: object) -> None:
    """An object whose methods cannot be replaced is a TypeError that says what to do."""
    with pytest.raises(TypeError, match=r"decorate a function|watch predict itself"):
        lapwing.watch(target, model="m")
