"""Metrics of models that predict numbers, against scikit-learn, scipy and NumPy."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from helpers.metrics import END, START, Measured
from lapwing_collector.errors import QueryError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import METRICS

SPAN = {"since": START, "until": END}
NAMES = [name for name, metric in METRICS.items() if metric.group == "regression"]
KINDS = ["mae", "r2", "error_quantiles", "error_groups", "error_bias", "error_normality"]
"""One metric of each way to compute them."""
DESCRIBED = ModelDescription(task=Task.REGRESSION)
TIGHT = {"rel": 1e-9, "abs": 1e-12}
Z = 1.959963984540054


class Sample:
    """What a model said of real patients; truths are whole numbers, of which many are equal."""

    def __init__(self) -> None:
        data = load_diabetes(scaled=False)
        chance = np.random.default_rng(3)
        self.inputs = data.data
        self.truth = data.target
        model = LinearRegression().fit(data.data[::2, :5], data.target[::2])
        self.predicted = model.predict(data.data[:, :5]).round(1)
        self.errors = self.predicted - self.truth
        self.weights = chance.choice([0.5, 1.0, 2.0], len(self.truth))
        self.groups = chance.choice(["a", "b"], len(self.truth))

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "output.value": self.predicted[at],
                "inputs.age": self.inputs[at, 0],
                "inputs.sex": "f" if self.inputs[at, 1] == 2 else "m",
                "inputs.group": str(self.groups[at]),
                "weight": self.weights[at],
            }
            for at in range(len(self.truth))
        ]

    def labels(self) -> list[dict[str, Any]]:
        return [{"prediction_id": str(at), "label": truth} for at, truth in enumerate(self.truth)]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def patients(measured: Measured) -> Sample:
    sample = Sample()
    measured.put("patients", sample.rows(), sample.labels(), DESCRIBED)
    return sample


def call(name: str, model: str, extra: str = "") -> str:
    if name == "error_bias" and "field" not in extra:
        extra = f"{extra}, field := inputs.age"
    return f"FROM {name}('{model}', $since, $until{extra})"


Expected = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

VALUES: dict[str, Expected] = {
    "mean_error": lambda y, p, w: np.average(p - y, weights=w),
    "mae": lambda y, p, w: metrics.mean_absolute_error(y, p, sample_weight=w),
    "rmse": lambda y, p, w: metrics.root_mean_squared_error(y, p, sample_weight=w),
    "mape": lambda y, p, w: metrics.mean_absolute_percentage_error(y, p, sample_weight=w),
    "smape": lambda y, p, w: np.average(2 * abs(p - y) / (abs(p) + abs(y)), weights=w),
    "r2": lambda y, p, w: metrics.r2_score(y, p, sample_weight=w),
    "max_error": lambda y, p, w: metrics.max_error(y, p),
    "median_absolute_error": lambda y, p, w: metrics.median_absolute_error(y, p, sample_weight=w),
}


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", VALUES)
def test_values(measured: Measured, patients: Sample, name: str, weighted: bool) -> None:
    """They are scikit-learn's, with the weights of sampling and without."""
    row = measured.row(call(name, "patients", "" if weighted else ", weights := 1 / weight"), **SPAN)
    weights = patients.weights if weighted else np.ones(len(patients.truth))
    expected = VALUES[name](patients.truth, patients.predicted, weights)
    assert row["value"] == pytest.approx(expected, **TIGHT)
    assert row["sample_count"] == len(patients.truth)
    if "low" in row:
        assert row["low"] < row["value"] < row["high"]


def test_intervals_of_means(measured: Measured, patients: Sample) -> None:
    """They are normal ones by the standard error of the mean; that of the RMSE is their root."""
    even = ", weights := 1 / weight"
    for name, values in (("mean_error", patients.errors), ("mae", abs(patients.errors))):
        row = measured.row(call(name, "patients", even), **SPAN)
        expected = stats.norm.interval(0.95, values.mean(), stats.sem(values))
        assert (row["low"], row["high"]) == pytest.approx(expected, rel=1e-9)
    row = measured.row(call("rmse", "patients", even), **SPAN)
    squares = patients.errors**2
    expected = np.sqrt(stats.norm.interval(0.95, squares.mean(), stats.sem(squares)))
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected), rel=1e-9)


def test_the_interval_of_r2(measured: Measured, patients: Sample) -> None:
    """It agrees with how much R² moves when the weight of each row does."""
    row = measured.row(call("r2", "patients"), **SPAN)
    truth = patients.truth

    def value(weights: np.ndarray) -> float:
        spread = weights @ (truth - np.average(truth, weights=weights)) ** 2
        return float(1 - weights @ patients.errors**2 / spread)

    slopes = []
    for at in range(len(truth)):
        step = 1e-4 * (np.arange(len(truth)) == at)
        slopes.append((value(patients.weights + step) - value(patients.weights - step)) / 2e-4)
    assert row["value"] == pytest.approx(value(patients.weights))
    half = Z * np.sqrt(np.sum((patients.weights * slopes) ** 2))
    assert (row["high"] - row["value"], row["value"] - row["low"]) == pytest.approx((half, half), rel=1e-5)


def test_quantiles(measured: Measured, patients: Sample) -> None:
    """Quantiles of errors are NumPy's, and their bounds those of the ranks that are as likely."""
    rows = measured.rows(call("error_quantiles", "patients", ", weights := 1 / weight"), **SPAN)
    shares = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    half = Z * np.sqrt(shares * (1 - shares) / len(patients.errors))
    for column, moved in (("value", shares), ("low", shares - half), ("high", shares + half)):
        expected = np.quantile(patients.errors, moved, method="averaged_inverted_cdf")
        assert [row[column] for row in rows] == pytest.approx(expected.tolist(), **TIGHT)
    (row,) = measured.rows(call("error_quantiles", "patients", ", quantiles := [0.123]"), **SPAN)
    expected = np.quantile(patients.errors, 0.123, weights=patients.weights, method="inverted_cdf")
    assert (row["quantile"], row["value"]) == (0.123, pytest.approx(expected))


def test_groups_of_errors(measured: Measured, patients: Sample) -> None:
    """The mean errors of the 5 % that are most over- and underestimated are as Evidently documents them."""
    rows = measured.rows(call("error_groups", "patients", ", weights := 1 / weight"), **SPAN)
    lower, upper = np.quantile(patients.errors, [0.05, 0.95])
    under, over = patients.errors <= lower, patients.errors >= upper
    sides = {"under": under, "over": over, "majority": ~under & ~over}
    assert {row["side"]: row["sample_count"] for row in rows} == {
        side: chosen.sum() for side, chosen in sides.items()
    }
    assert {row["side"]: row["value"] for row in rows} == {
        side: pytest.approx(patients.errors[chosen].mean()) for side, chosen in sides.items()
    }


def test_bias_of_errors(measured: Measured, patients: Sample) -> None:
    """A field is compared between the groups: means of numbers by their range, shares of categories."""
    even = ", weights := 1 / weight, field := "
    lower, upper = np.quantile(patients.errors, [0.05, 0.95])
    under, over = patients.errors <= lower, patients.errors >= upper
    ages, women = patients.inputs[:, 0], patients.inputs[:, 1] == 2
    row = measured.row(call("error_bias", "patients", even + "inputs.age"), **SPAN)
    means = {"under": ages[under].mean(), "over": ages[over].mean(), "majority": ages[~under & ~over].mean()}
    assert {side: row[side] for side in means} == pytest.approx(means)
    assert row["value"] == pytest.approx(abs(means["over"] - means["under"]) / np.ptp(ages))
    assert row["commonest_over"] is None
    row = measured.row(call("error_bias", "patients", even + "inputs.sex"), **SPAN)
    assert row["value"] == pytest.approx(abs(women[over].mean() - women[under].mean()))
    assert row["commonest_over"] == ("f" if women[over].mean() > 0.5 else "m")
    assert row["over"] is None


def test_normality_of_errors(measured: Measured, patients: Sample) -> None:
    """Skewness, kurtosis, and the test of Jarque and Bera are scipy's."""
    row = measured.row(call("error_normality", "patients", ", weights := 1 / weight"), **SPAN)
    expected = stats.jarque_bera(patients.errors)
    assert (row["value"], row["p_value"]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    assert (row["skewness"], row["kurtosis"]) == pytest.approx(
        (stats.skew(patients.errors), stats.kurtosis(patients.errors)), rel=1e-9
    )


def test_the_distribution_of_errors(measured: Measured, patients: Sample) -> None:
    """Bins are NumPy's, those without rows left out."""
    rows = measured.rows(call("error_distribution", "patients", ", bins := 9"), **SPAN)
    counts, edges = np.histogram(patients.errors, 9, weights=patients.weights)
    expected = counts / counts.sum()
    assert [row["value"] for row in rows] == pytest.approx([share for share in expected if share])
    assert [row["bin_start"] for row in rows] == pytest.approx(
        [edge for edge, share in zip(edges, expected, strict=False) if share]
    )


@pytest.fixture(scope="module")
def apart(measured: Measured, patients: Sample) -> None:
    """The rows of one segment in one window of `patients`."""
    rows = [
        row if group == "b" else row | {"stage": "shadow"}
        for row, group in zip(patients.rows(), patients.groups, strict=True)
    ]
    measured.put("apart", rows, patients.labels(), DESCRIBED)


@pytest.mark.parametrize("name", KINDS)
def test_segments_and_windows_are_rows_taken_apart(
    measured: Measured, patients: Sample, apart: None, name: str
) -> None:
    """A segment in a window has the values that its rows have by themselves."""
    until, middle = START + timedelta(seconds=len(patients.truth)), START + timedelta(minutes=4)
    segmented = ", segments := {'g': inputs.group}, every := INTERVAL 4 MINUTES"
    within = measured.rows(
        f"SELECT * EXCLUDE (g) {call(name, 'patients', segmented)} WHERE g = 'b' AND window_start = $start",
        since=START,
        until=until,
        start=middle,
    )
    alone = measured.rows(f"SELECT * EXCLUDE (segment) {call(name, 'apart')}", since=middle, until=until)
    assert within
    assert within == [
        {key: pytest.approx(each) if isinstance(each, float) else each for key, each in row.items()}
        for row in alone
    ]


INF = float("inf")
CASES: dict[str, tuple[list[float | None], list[float | None]]] = {
    "no label": ([1.0, 2.0], [None, None]),
    "one row": ([3.0], [2.0]),
    "nulls": ([1.0, None, 3.0], [2.0, 2.0, None]),
    "infinite": ([INF, -INF, 3.0, 4.0], [1.0, 2.0, INF, 3.0]),
    "NaN": ([float("nan"), 3.0], [1.0, 1.0]),
    "zeros": ([0.0, 1.0, 0.0], [0.0, 0.0, 0.0]),
    "constant": ([3.3] * 5, [3.2] * 5),
    "huge": ([1e200, -1.7e308, 1.0], [-1e200, 1.7e308, 1.0]),
    "tiny": ([1e-200, 1e-300], [2e-200, 3e-300]),
    "offset": ([1e9 + 1, 1e9 + 2, 1e9 + 4], [1e9, 1e9 + 1, 1e9 + 2]),
}


@pytest.fixture(scope="module")
def odd(measured: Measured) -> None:
    """A model whose segments are the cases."""
    rows = [
        (case, prediction, truth)
        for case, (predictions, truths) in CASES.items()
        for prediction, truth in zip(predictions, truths, strict=True)
    ]
    measured.put(
        "odd",
        [{"inputs.case": case, "inputs.age": 1.0, "output.value": value} for case, value, _ in rows],
        [{"prediction_id": str(at), "label": truth} for at, (_, _, truth) in enumerate(rows)],
        DESCRIBED,
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_undefined_is_null(measured: Measured, odd: None, name: str) -> None:
    """No window makes an error, NaN or infinity, and counts tell how little there is."""
    rows = measured.rows(call(name, "odd", ", segments := {'case': inputs.case}"), **SPAN)
    coverage = {"no label": 0, "nulls": 2 / 3}
    for row in rows:
        assert isinstance(row["sample_count"], int)
        assert np.isfinite([each for each in row.values() if isinstance(each, float)]).all()
        if row.get("low") is not None and row["value"] is not None:
            assert row["low"] <= row["value"] <= row["high"]
        assert row["label_coverage"] == pytest.approx(coverage.get(row["case"], 1))
    assert "constant" in {row["case"] for row in rows}


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "mean_error": {"no label": None, "one row": 1, "nulls": -1, "infinite": 1, "NaN": 2, "offset": 4 / 3},
        "mae": {"no label": None, "zeros": 1 / 3, "constant": 0.1},
        "rmse": {"one row": 1, "offset": np.sqrt(2), "constant": 0.1},
        "mape": {"zeros": None, "constant": 0.1 / 3.2, "one row": 0.5},
        "smape": {"zeros": 2 / 3, "one row": 0.4},
        "r2": {"one row": None, "constant": None, "zeros": None, "offset": 1 - 6 / 2},
        "max_error": {"no label": None, "infinite": 1, "huge": 2e200},
        "median_absolute_error": {"no label": None, "offset": 1},
        "error_normality": {"no label": None, "one row": None, "constant": None},
    }.items(),
)
def test_what_odd_windows_have(
    measured: Measured, odd: None, name: str, expected: dict[str, float | None]
) -> None:
    """What is not finite does not count, and what is divided by nothing is unknown."""
    rows = measured.rows(call(name, "odd", ", segments := {'case': inputs.case}"), **SPAN)
    found = {row["case"]: row["value"] for row in rows}
    assert {case: found[case] for case in expected} == {
        case: None if value is None else pytest.approx(value, rel=1e-6) for case, value in expected.items()
    }


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_window_has_no_row(measured: Measured, patients: Sample, name: str) -> None:
    """Where nothing was predicted, nothing is said."""
    assert measured.rows(call(name, "patients"), since=END, until=END + timedelta(days=1)) == []


def test_a_classifier_has_no_errors_of_numbers(measured: Measured) -> None:
    """Metrics of numbers say how a model is declared that has none."""
    measured.put(
        "classes",
        [{"output.value": "a"}],
        [{"prediction_id": "0", "label": "a"}],
        ModelDescription(task=Task.CLASSIFICATION),
    )
    with pytest.raises(QueryError, match="task: regression"):
        measured.rows(call("mae", "classes"), **SPAN)


NUMBERS = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@settings(max_examples=3, deadline=None)
@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from([0.25, 1.0, 7.0])), min_size=1, max_size=30))
def test_bounds_and_symmetries(measured: Measured, rows: list[tuple[float, float, float]]) -> None:
    """Changing prediction and truth turns the mean error round and keeps the others, which are in order."""
    both = [(0, *row) for row in rows] + [(1, truth, guess, weight) for guess, truth, weight in rows]
    measured.put(
        "m",
        [
            {"inputs.turned": turned, "output.value": guess, "weight": weight}
            for turned, guess, _, weight in both
        ],
        [{"prediction_id": str(at), "label": row[2]} for at, row in enumerate(both)],
        DESCRIBED,
    )
    found = {}
    for name in ("mean_error", "mae", "rmse", "smape", "median_absolute_error", "max_error"):
        answer = measured.rows(call(name, "m", ", segments := {'t': inputs.turned}"), **SPAN)
        found[name] = [row["value"] for row in answer]
        assert found[name][1] == pytest.approx(found[name][0] * (-1 if name == "mean_error" else 1), abs=1e-6)
    assert abs(found["mean_error"][0]) <= found["mae"][0] + 1e-6
    assert found["mae"][0] <= found["rmse"][0] + 1e-6
    assert found["rmse"][0] <= found["max_error"][0] + 1e-6
    assert 0 <= found["smape"][0] <= 2


@pytest.mark.usefixtures("patients")
def test_error_bias_asks_for_its_field(measured: Measured) -> None:
    """Without a field it says what is missing; a field that is NULL of every row is one."""
    with pytest.raises(duckdb.InvalidInputException, match=r"field := inputs\.area"):
        measured.rows("FROM error_bias('patients', $since, $until)", **SPAN)
    rows = measured.rows("FROM error_bias('patients', $since, $until, field := NULL::DOUBLE)", **SPAN)
    assert [row["value"] for row in rows] == [None]
