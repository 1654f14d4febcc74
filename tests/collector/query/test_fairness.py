"""Metrics that compare groups of people, against what pandas and scikit-learn make of the same rows."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from helpers.metrics import END, START, Measured
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import METRICS

SPAN = {"since": START, "until": END}
NAMES = [name for name, metric in METRICS.items() if metric.group == "fairness"]
DESCRIBED = ModelDescription(task=Task.CLASSIFICATION, positive_class="ill", threshold=0.5)


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def people(measured: Measured) -> pd.DataFrame:
    """Real patients by age, of whom a model finds those whose disease advances; a few have no group."""
    data = load_diabetes(scaled=False)
    model = LinearRegression().fit(data.data[::2], data.target[::2])
    frame = pd.DataFrame(
        {
            "score": (model.predict(data.data) / 300).clip(0, 1).round(2),
            "actual": data.target > 150,
            "member": pd.cut(data.data[:, 0], [0, 40, 55, 99], labels=["young", "middle", "old"]).astype(
                object
            ),
            "site": np.where(np.arange(len(data.target)) % 3 == 0, "x", "y"),
            "weight": np.random.default_rng(4).choice([0.5, 1.0, 2.0], len(data.target)),
        }
    )
    frame.loc[frame.index[-10:-4], "member"] = None
    frame.loc[frame.index[-4:], "member"] = "few"
    frame["chosen"] = frame.score >= 0.5
    measured.put("patients", rows(frame), labels(frame), DESCRIBED)
    return frame


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "output.value": "ill" if row.chosen else "well",
            "output.score": row.score,
            "inputs.member": row.member if isinstance(row.member, str) else None,
            "inputs.site": row.site,
            "weight": row.weight,
        }
        for row in frame.itertuples()
    ]


def labels(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"prediction_id": str(at), "label": "ill" if actual else "well"}
        for at, actual in enumerate(frame.actual)
    ]


RATES = {
    "selection_rate": (lambda each: each.index == each.index, "chosen"),
    "base_rate": (lambda each: each.index == each.index, "actual"),
    "true_positive_rate": (lambda each: each.actual, "chosen"),
    "false_positive_rate": (lambda each: ~each.actual, "chosen"),
    "positive_predictive_value": (lambda each: each.chosen, "actual"),
}


def rates(frame: pd.DataFrame, metric: str) -> pd.Series:
    """What pandas finds for each group of at least 30 rows."""
    among, hit = RATES[metric]
    chosen = frame[among(frame)]
    grouped = chosen.groupby("member")
    found = grouped.apply(lambda each: np.average(each[hit], weights=each.weight), include_groups=False)
    return found[grouped.size() >= 30]


def call(name: str, extra: str = "") -> str:
    return f"FROM {name}('patients', $since, $until, attribute := inputs.member{extra})"


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_rates_of_groups(measured: Measured, people: pd.DataFrame, threshold: float | None) -> None:
    """Every rate of every group is what its rows give, at another threshold too."""
    frame = people if threshold is None else people.assign(chosen=people.score >= threshold)
    extra = "" if threshold is None else f", threshold := {threshold}"
    found = measured.rows(call("fairness_by_group", extra), **SPAN)
    assert {(row["member"], row["metric"]) for row in found} == {
        (member, metric)
        for member in ("young", "middle", "old", "few", None)
        for metric in (*RATES, "accuracy")
    }
    for metric in RATES:
        expected = rates(frame, metric)
        values = {row["member"]: row["value"] for row in found if row["metric"] == metric}
        assert {member: values[member] for member in expected.index} == pytest.approx(expected.to_dict())
    (row,) = [row for row in found if row["metric"] == "accuracy" and row["member"] == "old"]
    old = frame[frame.member == "old"]
    assert row["value"] == pytest.approx(np.average(old.chosen == old.actual, weights=old.weight))
    assert row["sample_count"] == len(old)


def test_intervals_of_rates_are_wilsons(measured: Measured, people: pd.DataFrame) -> None:
    """Without weights they are scipy's."""
    sql = call("fairness_by_group", ", weights := 1 / weight") + " WHERE member = 'old'"
    old = people[people.member == "old"]
    for row in measured.rows(sql, **SPAN):
        if row["metric"] in RATES:
            among, hit = RATES[row["metric"]]
            hits = old[among(old)][hit]
            expected = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
            assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)
            assert row["sample_count"] == len(hits)


@pytest.mark.parametrize(
    ("name", "metrics"),
    {
        "demographic_parity_difference": ["selection_rate"],
        "equalized_odds_difference": ["true_positive_rate", "false_positive_rate"],
        "equal_opportunity_difference": ["true_positive_rate"],
        "predictive_parity_difference": ["positive_predictive_value"],
    }.items(),
)
def test_differences_between_groups(
    measured: Measured, people: pd.DataFrame, name: str, metrics: list[str]
) -> None:
    """They are those of the extreme groups that have rows enough, with Newcombe's interval."""
    row = measured.row(call(name), **SPAN)
    spans = {metric: np.ptp(rates(people, metric)) for metric in metrics}
    worst = max(spans, key=spans.__getitem__)
    assert row["value"] == pytest.approx(spans[worst])
    found = measured.rows(call("fairness_by_group"), **SPAN)
    compared = [each for each in found if each["metric"] == worst and each["member"] in rates(people, worst)]
    top, bottom = (pick(compared, key=lambda each: each["value"]) for pick in (max, min))
    down = np.hypot(top["value"] - top["low"], bottom["high"] - bottom["value"])
    up = np.hypot(top["high"] - top["value"], bottom["value"] - bottom["low"])
    assert row["low"] == pytest.approx(max(row["value"] - down, 0))
    assert row["high"] == pytest.approx(min(row["value"] + up, 1))
    assert row["sample_count"] >= 30


def test_the_ratio_of_selection_rates(measured: Measured, people: pd.DataFrame) -> None:
    """It is the lowest by the highest; its interval that of a ratio of shares."""
    row = measured.row(call("demographic_parity_ratio", ", weights := 1 / weight"), **SPAN)
    even = people.assign(weight=1.0)
    expected, sizes = rates(even, "selection_rate"), even.groupby("member").size()
    ratio = expected.min() / expected.max()
    parts = [
        (1 - expected[each]) / (expected[each] * sizes[each])
        for each in (expected.idxmin(), expected.idxmax())
    ]
    reach = 1.959963984540054 * np.sqrt(sum(parts))
    assert row["value"] == pytest.approx(ratio)
    assert (row["low"], row["high"]) == pytest.approx((ratio * np.exp(-reach), min(ratio * np.exp(reach), 1)))


def test_groups_of_few_rows_are_not_compared(measured: Measured, people: pd.DataFrame) -> None:
    """A group needs rows enough; who asks for less gets all that have a group."""
    name = "demographic_parity_difference"
    assert measured.row(call(name, ", min_samples := 1000"), **SPAN)["value"] is None
    assert measured.row(call(name, ", min_samples := 1000"), **SPAN)["sample_count"] == 0
    row = measured.row(call(name, ", min_samples := 0"), **SPAN)
    weighted = people.dropna(subset="member").groupby("member")
    expected = weighted.apply(lambda each: np.average(each.chosen, weights=each.weight), include_groups=False)
    assert row["value"] == pytest.approx(np.ptp(expected))
    assert row["sample_count"] == 4


@pytest.mark.parametrize("name", ["fairness_by_group", "equalized_odds_difference"])
def test_segments_and_windows_are_rows_taken_apart(
    measured: Measured, people: pd.DataFrame, name: str
) -> None:
    """A segment in a window has the values that its rows have by themselves."""
    until, middle = START + timedelta(seconds=len(people)), START + timedelta(minutes=4)
    extra = ", segments := {'site': inputs.site}, every := INTERVAL 4 MINUTES"
    sql = f"SELECT * EXCLUDE (site) {call(name, extra)} WHERE site = 'y' AND window_start = $start"
    within = measured.rows(sql, since=START, until=until, start=middle)
    apart = [row | {"stage": "production" if row["inputs.site"] == "y" else "shadow"} for row in rows(people)]
    measured.put("apart", apart, labels(people), DESCRIBED)
    alone = measured.rows(
        f"SELECT * EXCLUDE (segment) {call(name).replace('patients', 'apart')}", since=middle, until=until
    )
    assert within
    assert within == [
        {key: pytest.approx(each) if isinstance(each, float) else each for key, each in row.items()}
        for row in alone
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_undefined_is_null(measured: Measured, name: str) -> None:
    """One group, one class, or no label leave what they leave unknown, and give no error."""
    cases = {
        "no label": [("a", 0.9, None), ("b", 0.1, None)],
        "one group": [("a", 0.9, "ill"), ("a", 0.1, "well")],
        "one class": [("a", 0.9, "ill"), ("b", 0.9, "ill")],
        "nobody chosen": [("a", 0.1, "ill"), ("b", 0.1, "well")],
        "one row": [("a", 0.9, "ill")],
        "no group": [(None, 0.9, "ill"), (None, 0.1, "well")],
        "no score": [("a", None, "ill"), ("b", None, "well")],
    }
    flat = [(case, *row) for case, each in cases.items() for row in each]
    measured.put(
        "odd",
        [
            {"inputs.case": case, "inputs.member": member, "output.score": score}
            for case, member, score, _ in flat
        ],
        [{"prediction_id": str(at), "label": row[3]} for at, row in enumerate(flat)],
        DESCRIBED,
    )
    few = "" if name == "fairness_by_group" else ", min_samples := 0"
    extra = f", segments := {{'case': inputs.case}}{few}"
    found = measured.rows(call(name, extra).replace("patients", "odd"), **SPAN)
    assert {row["case"] for row in found} == set(cases)
    for row in found:
        assert isinstance(row["sample_count"], int)
        assert np.isfinite([each for each in row.values() if isinstance(each, float)]).all()
        assert row["label_coverage"] == (0 if row["case"] == "no label" else 1)
    if name != "fairness_by_group":
        values = {row["case"]: row["value"] for row in found}
        alone = ("one group", "one row", "no group", "no score")
        assert [values[case] for case in alone] == [None] * 4
    if name == "demographic_parity_difference":
        assert (values["no label"], values["nobody chosen"]) == (1, 0)
    if name == "demographic_parity_ratio":
        assert (values["no label"], values["nobody chosen"]) == (0, None)


def test_groups_have_to_be_told(measured: Measured, people: pd.DataFrame) -> None:
    """Without an attribute the error says how to give one."""
    with pytest.raises(duckdb.Error, match=r"attribute := inputs\.sex"):
        measured.rows("FROM equalized_odds_difference('patients', $since, $until)", **SPAN)
