"""Whether to retrain a model, by what its metrics say."""

from typing import Any

import pytest

from lapwing_collector.gate import Answer, advise
from lapwing_collector.model.description import ModelDescription, Task

TOLD = ModelDescription(
    task=Task.CLASSIFICATION, prediction="output.value", score="output.score", positive_class="1"
)
SIDES = ("current", "reference")

Row = dict[str, Any]


def quality(value: float | None, half: float = 0.01, n: int = 5000) -> Row:
    bounds = {} if value is None else {"low": value - half, "high": value + half}
    return {"value": value, "low": None, "high": None, "sample_count": n} | bounds


def share(field: str, value: float, half: float = 0.002) -> Row:
    return {"field": field, "value": value, "low": max(value - half, 0), "high": value + half}


def drift(field: str, drifted: int | None) -> Row:
    return {"field": field, "drifted": drifted, "effect_size": 0.3 if drifted else 0.0, "value": 0.1}


def asked(**changes: Any) -> dict[tuple[str, str], Answer]:
    """Answers of a model that is as it was, but for changes such as `now_missing` and `then_auc`."""
    found: dict[str, list[Row]] = {
        "now_auc": [quality(0.9)],
        "then_auc": [quality(0.9)],
        "now_missing": [share("inputs.age", 0.01)],
        "then_missing": [share("inputs.age", 0.01)],
        "new": [],
        "failing": [share("", 0.0)],
        "drift": [drift("inputs.age", 0), drift("output.score", 1)],
        "coverage": [{"value": 1.0, "label_coverage": 0.8, "sample_count": 5000}],
        "balance": [
            {"source": "truth", "class": "1", "value": 0.1, "sample_count": 4000},
            {"source": "truth", "class": "0", "value": 0.9, "sample_count": 4000},
        ],
    } | changes
    names = {"now_auc": ("current", "quality:ROC-AUC"), "then_auc": ("reference", "quality:ROC-AUC")}
    names |= {"now_missing": ("current", "missing"), "then_missing": ("reference", "missing")}
    return {names.get(key, ("current", key)): Answer(rows) for key, rows in found.items()}


WORSE = {"now_auc": [quality(0.8)]}
DRIFTED = {"drift": [drift("inputs.age", 1)]}
UNLABELLED = {
    "now_auc": [quality(None)],
    "coverage": [{"value": 0.0, "label_coverage": 0.0, "sample_count": 5000}],
}


@pytest.mark.parametrize(
    ("changes", "state", "answers"),
    [
        ({}, "fine", ["no", "no", "no", "yes"]),
        (DRIFTED, "watch", ["no", "no", "yes", "yes"]),
        (WORSE | DRIFTED, "retrain", ["yes", "no", "yes", "yes"]),
        (WORSE, "retrain", ["yes", "no", "no", "yes"]),
        ({"now_auc": [quality(0.89)]}, "fine", ["no", "no", "no", "yes"]),
        (WORSE | {"now_missing": [share("inputs.age", 0.3)]}, "fix_data", ["yes", "yes", "no", "yes"]),
        ({"now_missing": [share("inputs.age", 0.3)]}, "fix_data", ["no", "yes", "no", "yes"]),
        ({"now_missing": [share("inputs.age", 0.015, 0.001)]}, "fine", ["no", "no", "no", "yes"]),
        ({"new": [share("inputs.plan", 0.05)]}, "fix_data", ["no", "yes", "no", "yes"]),
        ({"failing": [share("", 0.05)]}, "fix_data", ["no", "yes", "no", "yes"]),
        (
            WORSE | {"coverage": [{"value": 1, "label_coverage": 0.1, "sample_count": 5000}]},
            "collect_labels",
            ["yes", "no", "no", "no"],
        ),
        (
            WORSE | {"balance": [{"source": "truth", "class": "1", "value": 0.01, "sample_count": 4000}]},
            "collect_labels",
            ["yes", "no", "no", "no"],
        ),
        (UNLABELLED | DRIFTED, "collect_labels", ["unknown", "no", "yes", "no"]),
        (UNLABELLED, "unknown", ["unknown", "no", "no", "no"]),
        (DRIFTED | {"then_auc": []}, "unknown", ["unknown", "no", "yes", "yes"]),
        (
            {"then_auc": [], "then_missing": [], "drift": []},
            "unknown",
            ["unknown", "unknown", "unknown", "yes"],
        ),
    ],
)
def test_the_way_to_an_advice(changes: dict[str, list[Row]], state: str, answers: list[str]) -> None:
    """Data that is broken is mended first; drift alone is watched; few labels are no ground."""
    advice = advise(TOLD, asked(**changes), SIDES)
    assert [step.answer for step in advice.steps] == answers
    assert advice.state == state
    assert all(step.because for step in advice.steps)


def test_an_advice_says_by_which_numbers() -> None:
    """The metric with both intervals, the fields, how many labels there are and how many would do."""
    worse, broken, drifted, labelled = advise(TOLD, asked(**WORSE, **DRIFTED), SIDES, enough=10_000).steps
    assert worse.because == "ROC-AUC is 0.8 (0.79 to 0.81), in reference it was 0.9 (0.89 to 0.91)"
    assert "no more is missing" in broken.because
    assert drifted.because == "1 of 1 inputs drifted: inputs.age"
    assert labelled.because == "4,000 of 5,000 rows have a label, and 10,000 would do"


def coverage_of(count: int) -> list[Row]:
    """What `label_coverage` tells of so many rows; of none it has no row."""
    return [{"value": None, "label_coverage": 0.0, "sample_count": count}] if count else []


@pytest.mark.parametrize(
    ("count", "broken"), [(0, "unknown"), (1, "unknown"), (29, "unknown"), (30, "yes"), (5000, "yes")]
)
def test_a_row_without_a_value_is_no_broken_data(count: int, broken: str) -> None:
    """Shares of a handful of rows do not say that data is broken, and of none nothing is said at all."""
    changes = {"now_missing": [share("inputs.age", 1.0, 0.8)], "failing": [share("", 1.0, 0.8)]}
    advice = advise(TOLD, asked(**UNLABELLED | changes | {"coverage": coverage_of(count)}), SIDES)
    assert advice.steps[1].answer == broken
    assert advice.state == ("fix_data" if broken == "yes" else "unknown")
    assert ("no predictions" in advice.text) == (count == 0)


def test_of_a_regression_more_error_is_worse() -> None:
    """Which way is worse follows from the task; a model whose task nobody knows is not judged."""
    told = ModelDescription(task=Task.REGRESSION, prediction="output.value")
    answers = {
        ("current", "quality:mean absolute error"): Answer([quality(3.0)]),
        ("reference", "quality:mean absolute error"): Answer([quality(2.0)]),
    }
    assert advise(told, answers, SIDES).steps[0].answer == "yes"
    assert advise(ModelDescription(), answers, SIDES).steps[0].answer == "unknown"
