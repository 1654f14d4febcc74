"""Performance that is estimated before labels come, against scikit-learn's isotonic regression."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from helpers.batches import labels, predictions
from helpers.metrics import END, START, Measured
from helpers.query_lake import readers
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import METRICS

NAMES = [name for name, metric in METRICS.items() if metric.group == "estimation"]
DESCRIBED = ModelDescription(task=Task.CLASSIFICATION, positive_class="benign", threshold=0.5)
Z = 1.959963984540054


class Sample:
    """A model of real tumours that is too sure of itself: 300 labels make the probabilities of the others."""

    def __init__(self) -> None:
        data = load_breast_cancer()
        chance = np.random.default_rng(8)
        order = chance.permutation(len(data.target))
        model = LogisticRegression(max_iter=5000).fit(data.data[::2, 1:3], data.target[::2])
        odds = model.decision_function(data.data[order, 1:3])
        self.score = (1 / (1 + np.exp(-2 * odds - 0.5))).round(3)
        self.truth = data.target[order] == 1
        self.weights = chance.choice([0.5, 1.0, 2.0], len(order))
        self.known = np.arange(len(order)) % 4 > 0
        self.known[:300] = True
        self.now = slice(300, None)
        self.time = START + timedelta(seconds=300)
        self.until = START + timedelta(seconds=len(order))

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "output.value": "benign" if score >= 0.5 else "malignant",
                "output.score": score,
                "inputs.third": str(at % 3),
                "weight": self.weights[at],
            }
            for at, score in enumerate(self.score)
        ]

    def labels(self) -> list[dict[str, Any]]:
        return [
            {"prediction_id": str(at), "label": "benign" if truth else "malignant"}
            for at, truth in enumerate(self.truth)
            if self.known[at]
        ]

    def probabilities(self) -> np.ndarray:
        """Of the rows that are estimated."""
        past = slice(0, 300)
        curve = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1)
        curve.fit(self.score[past], self.truth[past], sample_weight=self.weights[past])
        return curve.predict(self.score[self.now])


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tumours(measured: Measured) -> Sample:
    sample = Sample()
    measured.put("tumours", sample.rows(), sample.labels(), DESCRIBED)
    return sample


def call(name: str, extra: str = "", model: str = "tumours") -> str:
    return f"FROM {name}('{model}', $since, $until{extra})"


def expected(p: np.ndarray, chosen: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Metrics of every row twice: as positive with weight p, as negative with the rest."""
    truth = np.repeat([True, False], len(p))
    twice = np.concatenate([weights * p, weights * (1 - p)])
    guess, scores = np.tile(chosen, 2), np.tile(scores, 2)
    given = {"sample_weight": twice}
    return {
        "accuracy": metrics.accuracy_score(truth, guess, **given),
        "precision": metrics.precision_score(truth, guess, **given),
        "recall": metrics.recall_score(truth, guess, **given),
        "specificity": metrics.recall_score(~truth, ~guess, **given),
        "f1": metrics.f1_score(truth, guess, **given),
        "roc_auc": metrics.roc_auc_score(truth, scores, **given),
    }


@pytest.mark.parametrize("threshold", [None, 0.8])
def test_estimates_are_those_of_calibrated_scores(
    measured: Measured, tumours: Sample, threshold: float | None
) -> None:
    """They are scikit-learn's metrics of expected counts, and beside them stands what labels tell since."""
    extra = "" if threshold is None else f", threshold := {threshold}"
    rows = measured.rows(call("estimated_performance", extra), since=tumours.time, until=tumours.until)
    chosen = tumours.score[tumours.now] >= (threshold or 0.5)
    scores, weights = tumours.score[tumours.now], tumours.weights[tumours.now]
    found = expected(tumours.probabilities(), chosen, scores, weights)
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(found, rel=1e-9)
    known = tumours.known[tumours.now]
    came = tumours.truth[tumours.now][known].astype(float)
    realized = expected(came, chosen[known], scores[known], weights[known])
    assert {row["metric"]: row["realized"] for row in rows} == pytest.approx(realized, rel=1e-9)
    assert [row["label_coverage"] for row in rows] == pytest.approx([known.mean()] * 6)
    assert {(row["calibration_count"], row["sample_count"]) for row in rows} == {(300, len(scores))}


def test_intervals_are_as_wide_as_chance_makes_the_realized_metric(
    measured: Measured, tumours: Sample
) -> None:
    """Their variance is that of truths that are drawn by their probabilities, by the slope of the metric."""
    rows = measured.rows(call("estimated_performance"), since=tumours.time, until=tumours.until)
    p, weights = tumours.probabilities(), tumours.weights[tumours.now]
    scores = tumours.score[tumours.now]
    chosen = scores >= 0.5
    above = (scores[:, None] > scores) + (scores[:, None] == scores) / 2

    def values(p: np.ndarray) -> dict[str, float]:
        pos, neg = weights * p, weights * (1 - p)
        tp, fp, fn, tn = (np.sum(each) for each in (pos[chosen], neg[chosen], pos[~chosen], neg[~chosen]))
        return {
            "accuracy": (tp + tn) / weights.sum(),
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "roc_auc": pos @ above @ neg / pos.sum() / neg.sum(),
        }

    slopes: dict[str, list[float]] = {row["metric"]: [] for row in rows}
    for at in range(len(p)):
        moved = [p + step * (np.arange(len(p)) == at) for step in (1e-4, -1e-4)]
        up, down = (values(each) for each in moved)
        for name, each in slopes.items():
            each.append((up[name] - down[name]) / 2e-4)
    for row in rows:
        variance = np.sum(p * (1 - p) * np.square(slopes[row["metric"]]))
        share = row["value"]
        n = share * (1 - share) / variance
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
        assert (row["low"], row["high"]) == pytest.approx((middle - half, middle + half), rel=1e-4)


def test_the_calibration_is_shown(measured: Measured, tumours: Sample) -> None:
    """What came, by bins of the probability that was told before it came, is scikit-learn's curve."""
    extra = ", weights := 1 / weight, bins := 5"
    rows = measured.rows(call("estimated_calibration", extra), since=tumours.time, until=tumours.until)
    known = tumours.known[tumours.now]
    curve = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(
        tumours.score[:300], tumours.truth[:300]
    )
    p = curve.predict(tumours.score[tumours.now][known])
    observed, predicted = calibration_curve(tumours.truth[tumours.now][known], p, n_bins=5)
    assert [row["value"] for row in rows] == pytest.approx(observed.tolist())
    assert [row["predicted"] for row in rows] == pytest.approx(predicted.tolist())
    assert sum(row["sample_count"] for row in rows) == known.sum()
    assert {row["calibration_count"] for row in rows} == {300}


def test_scores_can_be_taken_as_they_are(measured: Measured, tumours: Sample) -> None:
    """Without calibration the estimate is as sure of itself as the model."""
    extra = ", method := 'none', weights := 1 / weight"
    rows = measured.rows(call("estimated_performance", extra), since=tumours.time, until=tumours.until)
    scores = tumours.score[tumours.now]
    found = expected(scores, scores >= 0.5, scores, np.ones(len(scores)))
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(found, rel=1e-9)


def test_nothing_is_estimated_from_few_labels(measured: Measured, tumours: Sample) -> None:
    """Where less than is asked for was labelled before, nothing is told; nor by a time before labels came."""
    span = {"since": tumours.time, "until": tumours.until}
    for extra in (
        ", min_samples := 301",
        ", as_of := $since",
        ", calibrate_until := $since - INTERVAL 250 SECONDS",
    ):
        rows = measured.rows(call("estimated_performance", extra), **span)
        assert [(row["value"], row["low"], row["sample_count"]) for row in rows] == [(None, None, 0)] * 6
        assert measured.rows(call("estimated_calibration", extra), **span) == []
    rows = measured.rows(call("estimated_performance", ", min_samples := 301"), **span)
    assert [row["calibration_count"] for row in rows] == [300] * 6
    rows = measured.rows(call("estimated_performance", ", min_samples := 300"), **span)
    assert all(row["value"] is not None for row in rows)


def test_what_labels_tell_is_no_part_of_the_estimate(measured: Measured, tumours: Sample) -> None:
    """Labels of the span itself change what is realized, and not what is estimated."""
    turned = [
        label | {"label": {"benign": "malignant", "malignant": "benign"}[label["label"]]}
        if int(label["prediction_id"]) >= 300
        else label
        for label in tumours.labels()
    ]
    measured.put("turned", tumours.rows(), turned, DESCRIBED)
    span = {"since": tumours.time, "until": tumours.until}
    before = measured.rows(call("estimated_performance"), **span)
    after = measured.rows(call("estimated_performance", model="turned"), **span)
    for name in ("value", "low", "high"):
        assert [row[name] for row in before] == pytest.approx([row[name] for row in after], rel=1e-12)
    assert before[0]["realized"] != after[0]["realized"]


@pytest.mark.parametrize("name", NAMES)
def test_segments_and_windows_are_rows_taken_apart(measured: Measured, tumours: Sample, name: str) -> None:
    """A segment in a window has the values that its rows have by themselves, on the curve of all segments."""
    middle, until = tumours.time + timedelta(seconds=100), tumours.time + timedelta(seconds=200)
    fixed = ", calibrate_until := $since, calibrate_since := $since - INTERVAL 1 HOUR"
    segmented = f"{fixed}, segments := {{'third': inputs.third}}"
    chosen = "SELECT * EXCLUDE (third) {} WHERE third = '1' AND window_start = $middle"
    within = measured.rows(
        chosen.format(call(name, f"{segmented}, every := INTERVAL 100 SECONDS")),
        since=tumours.time,
        until=tumours.until,
        middle=middle,
    )
    alone = chosen.format(f"FROM {name}('tumours', $middle, $until{segmented})")
    assert within
    assert within == [
        {key: pytest.approx(each) if isinstance(each, float) else each for key, each in row.items()}
        for row in measured.rows(alone, since=tumours.time, until=until, middle=middle)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_undefined_is_null(measured: Measured, name: str) -> None:
    """Past labels of one class, and scores that are infinite, missing or the same, give no error or NaN."""
    past = [(0.2, "x"), (float("inf"), "x"), (float("-inf"), "y"), (0.7, "x"), (None, "x"), (0.2, "y")]
    for told in (past, [(0.5, "x")] * 3):
        now = [(score, None) for score in (0.1, 0.4, float("inf"), float("-inf"), float("nan"), None, 9.0)]
        now += [(0.3, "x")]
        both = [*told, *now]
        measured.put(
            "odd",
            [{"output.score": score, "inputs.at": at} for at, (score, _) in enumerate(both)],
            [{"prediction_id": str(at), "label": truth} for at, (_, truth) in enumerate(both)],
            ModelDescription(task=Task.CLASSIFICATION, positive_class="x", threshold=0.5),
        )
        since = START + timedelta(seconds=len(told))
        for extra in ("", ", segments := {'at': inputs.at}"):
            sql = call(name, f", min_samples := 1{extra}", "odd")
            rows = measured.rows(sql, since=since, until=END)
            assert rows
            for row in rows:
                assert isinstance(row["sample_count"], int)
                assert np.isfinite([each for each in row.values() if isinstance(each, float)]).all()
                if row["value"] is not None:
                    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1


class Wines:
    """Three real classes by a model that is too sure of itself: the labels of one half make probabilities."""

    def __init__(self) -> None:
        data = load_wine()
        order = np.random.default_rng(3).permutation(len(data.target))
        order = np.concatenate([order, order])  # the second half is asked again, and some of it labelled
        model = LogisticRegression(max_iter=5000).fit(data.data[::3, :2], data.target[::3])
        odds = 2 * model.decision_function(data.data[order, :2])
        self.scores = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        self.truth = data.target[order]
        self.chosen = self.scores.argmax(axis=1)
        self.past = len(order) // 2
        self.known = np.arange(len(order)) % 5 > 0
        self.known[: self.past] = True

    def put(self, measured: Measured) -> None:
        rows = [
            {
                "output.value": f"c{self.chosen[at]}",
                **{f"output.scores.c{k}": score for k, score in enumerate(scores.tolist())},
            }
            for at, scores in enumerate(self.scores)
        ]
        told = [
            {"prediction_id": str(at), "label": f"c{truth}"}
            for at, truth in enumerate(self.truth)
            if self.known[at]
        ]
        measured.put("wines", rows, told, ModelDescription(task=Task.CLASSIFICATION))

    def probabilities(self) -> np.ndarray:
        """Of the rows that are estimated, class by class."""
        alone = np.column_stack(
            [
                IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1)
                .fit(self.scores[: self.past, k], self.truth[: self.past] == k)
                .predict(self.scores[self.past :, k])
                for k in range(3)
            ]
        )
        return alone / alone.sum(axis=1, keepdims=True)


def test_several_classes_are_estimated_each_against_the_rest(measured: Measured) -> None:
    """Of three classes: scikit-learn's metrics of expected counts per class, their means, the accuracy."""
    wines = Wines()
    wines.put(measured)
    span = {"since": START + timedelta(seconds=wines.past), "until": END}
    p, chosen, scores = wines.probabilities(), wines.chosen[wines.past :], wines.scores[wines.past :]
    by_class = [expected(p[:, k], chosen == k, scores[:, k], np.ones(len(p))) for k in range(3)]
    rows = measured.rows(call("estimated_performance", ", average := 'none'", "wines"), **span)
    found = {(row["class"], row["metric"]): row["value"] for row in rows}
    own = p[np.arange(len(p)), chosen]
    accuracy = found.pop((None, "accuracy"))
    assert accuracy == pytest.approx(own.mean())
    assert found == pytest.approx(
        {
            (f"c{k}", name): value
            for k, each in enumerate(by_class)
            for name, value in each.items()
            if name != "accuracy"
        }
    )
    rows = measured.rows(call("estimated_performance", model="wines"), **span)
    assert {row["class"] for row in rows} == {None}
    means = {name: np.mean([each[name] for each in by_class]) for name in by_class[0]}
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(means | {"accuracy": own.mean()})
    known = wines.known[wines.past :]
    truth = wines.truth[wines.past :][known]
    realized = {row["metric"]: row["realized"] for row in rows}
    assert realized["accuracy"] == pytest.approx(metrics.accuracy_score(truth, chosen[known]))
    assert realized["f1"] == pytest.approx(metrics.f1_score(truth, chosen[known], average="macro"))
    area = metrics.roc_auc_score(truth, scores[known], multi_class="ovr")
    assert realized["roc_auc"] == pytest.approx(area)
    row = next(row for row in rows if row["metric"] == "accuracy")
    n = accuracy * (1 - accuracy) / (np.sum(own * (1 - own)) / len(p) ** 2)
    middle = (accuracy + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(accuracy * (1 - accuracy) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    assert (row["low"], row["high"]) == pytest.approx((middle - half, middle + half))
    weighted = measured.rows(call("estimated_performance", ", average := 'weighted'", "wines"), **span)
    recall = next(row["value"] for row in weighted if row["metric"] == "recall")
    assert recall == pytest.approx(own.mean())  # what is weighted by true rows is the accuracy


def test_the_calibration_of_several_classes_is_shown(measured: Measured) -> None:
    """Each class has its curve of what came by what was told, as scikit-learn has it."""
    wines = Wines()
    wines.put(measured)
    span = {"since": START + timedelta(seconds=wines.past), "until": END}
    rows = measured.rows(call("estimated_calibration", ", bins := 4", "wines"), **span)
    known = wines.known[wines.past :]
    for k in range(3):
        came = wines.truth[wines.past :][known] == k
        observed, predicted = calibration_curve(came, wines.probabilities()[known, k], n_bins=4)
        own = [row for row in rows if row["class"] == f"c{k}"]
        assert [row["value"] for row in own] == pytest.approx(observed.tolist())
        assert [row["predicted"] for row in own] == pytest.approx(predicted.tolist())
        assert {row["calibration_count"] for row in own} == {wines.past}


def test_it_works_in_the_sandbox(tmp_path: Path, tumours: Sample) -> None:
    """A query process sorts, ranks and calibrates scores within the bounds of its memory."""
    times = [START + timedelta(seconds=at) for at in range(len(tumours.score))]
    made = [
        {"prediction_id": str(at), "time": time, "output.value": score >= 0.5, "output.score": score}
        for at, (time, score) in enumerate(zip(times, tumours.score.tolist(), strict=True))
    ]
    told = [
        {"prediction_id": str(at), "time": time, "prediction_time": time, "label": truth}
        for at, (time, truth) in enumerate(zip(times, tumours.truth.tolist(), strict=True))
    ]
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("tumours", made)], [], Progress(1, 0))
    lake.flush([labels("tumours", told)], [], Progress(2, 0))
    lake.close()
    with readers(tmp_path / "lake") as there, there.pool() as pool:
        rows = pool.run(
            call("estimated_performance"), {"since": tumours.time, "until": tumours.until}, 60
        ).to_pylist()
    area = next(row for row in rows if row["metric"] == "roc_auc")
    now = tumours.now
    assert area["realized"] == pytest.approx(metrics.roc_auc_score(tumours.truth[now], tumours.score[now]))
    assert area["low"] < area["value"] < area["high"]


def test_methods_are_told(measured: Measured, tumours: Sample) -> None:
    """Another method is refused with those that there are."""
    with pytest.raises(duckdb.Error, match="isotonic or none"):
        measured.rows(
            call("estimated_performance", ", method := 'platt'"), since=tumours.time, until=tumours.until
        )
