"""Metrics of classifiers, against scikit-learn."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from scipy.stats import t as student
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from helpers.metrics import END, START, Measured
from lapwing_collector.errors import QueryError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import METRICS

SPAN = {"since": START, "until": END}
NAMES = [name for name, metric in METRICS.items() if metric.group == "classification"]
BINARY = ModelDescription(task=Task.CLASSIFICATION, positive_class="malignant", threshold=0.5)
KINDS = [
    "precision_score",
    "roc_auc",
    "log_loss",
    "calibration",
    "class_balance",
    "threshold_table",
    "gain_curve",
]
"""One metric of each way to compute them."""
TIGHT = {"rel": 1e-9, "abs": 1e-12}


class Sample:
    """What a classifier said of real rows, as NumPy has it."""

    def __init__(self, classes: np.ndarray, scores: np.ndarray, truth: np.ndarray, seed: int) -> None:
        """`scores` has a column per class."""
        chance = np.random.default_rng(seed)
        self.classes = classes
        self.scores = scores
        self.truth = truth
        self.predicted = classes[np.argmax(scores, axis=1)]
        self.weights = chance.choice([0.5, 1.0, 2.0, 3.5], len(truth))
        self.groups = chance.choice(["a", "b"], len(truth))

    def rows(self, *, binary: bool) -> list[dict[str, Any]]:
        """As predictions."""
        made = []
        for at, row in enumerate(self.scores):
            made.append(
                {
                    "output.value": str(self.predicted[at]),
                    "inputs.group": str(self.groups[at]),
                    "weight": self.weights[at],
                }
            )
            if binary:
                made[-1]["output.score"] = row[0]
            else:
                made[-1] |= {
                    f"output.scores.{name}": score for name, score in zip(self.classes, row, strict=True)
                }
        return made

    def labels(self) -> list[dict[str, Any]]:
        """As labels."""
        return [{"prediction_id": str(row), "label": str(name)} for row, name in enumerate(self.truth)]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tumours(measured: Measured) -> Sample:
    """A model of two classes; its scores are rounded, so that many are equal."""
    data = load_breast_cancer()
    few = data.data[:, :3]
    model = LogisticRegression(max_iter=5000).fit(few[::2], data.target[::2])
    names = np.array(["malignant", "benign"])
    scores = model.predict_proba(few).round(2)
    sample = Sample(names, scores, names[data.target], 1)
    sample.predicted = np.where(scores[:, 0] >= 0.5, *names)
    measured.put("tumours", sample.rows(binary=True), sample.labels(), BINARY)
    return sample


@pytest.fixture(scope="module")
def wines(measured: Measured) -> Sample:
    """A model of three classes, one of which is never predicted where it is the true one."""
    data = load_wine()
    model = GaussianNB().fit(data.data[::3, :2], data.target[::3])
    names = np.array(["red", "rosé", "white"])
    sample = Sample(names, model.predict_proba(data.data[:, :2]), names[data.target], 2)
    measured.put(
        "wines", sample.rows(binary=False), sample.labels(), ModelDescription(task=Task.CLASSIFICATION)
    )
    return sample


RATIOS = {
    "precision_score()": metrics.precision_score,
    "recall_score()": metrics.recall_score,
    "f_beta()": metrics.f1_score,
    "f_beta(beta := 2)": lambda *args, **kwargs: metrics.fbeta_score(*args, beta=2, **kwargs),
}


def call(metric: str, model: str, extra: str = "") -> str:
    name, _, arguments = metric.rstrip(")").partition("(")
    given = ", ".join(["$since", "$until", *filter(None, (arguments, extra))])
    return f"FROM {name}('{model}', {given})"


@pytest.mark.parametrize("metric", RATIOS)
def test_ratios_of_two_classes(measured: Measured, tumours: Sample, metric: str) -> None:
    """Precision, recall and F-beta of the positive class are scikit-learn's, weighted."""
    row = measured.row(call(metric, "tumours"), **SPAN)
    expected = RATIOS[metric](
        tumours.truth, tumours.predicted, pos_label="malignant", sample_weight=tumours.weights
    )
    assert row["value"] == pytest.approx(expected, **TIGHT)
    assert row["class"] == "malignant"
    assert row["low"] < row["value"] < row["high"]


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "none"])
@pytest.mark.parametrize("metric", RATIOS)
def test_ratios_of_three_classes(measured: Measured, wines: Sample, metric: str, average: str) -> None:
    """Averages over classes, and each class by itself, are scikit-learn's."""
    rows = measured.rows(call(metric, "wines", f"average := '{average}'"), **SPAN)
    expected = RATIOS[metric](
        wines.truth,
        wines.predicted,
        average=None if average == "none" else average,
        sample_weight=wines.weights,
        zero_division=np.nan,
    )
    assert [row["value"] for row in rows] == pytest.approx(np.atleast_1d(expected).tolist(), **TIGHT)
    assert [row["class"] for row in rows] == (list(wines.classes) if average == "none" else [None])


def test_specificity(measured: Measured, tumours: Sample, wines: Sample) -> None:
    """It is the recall of the other class; of several classes, that of being outside each."""
    row = measured.row(call("specificity()", "tumours"), **SPAN)
    expected = metrics.recall_score(
        tumours.truth, tumours.predicted, pos_label="benign", sample_weight=tumours.weights
    )
    assert row["value"] == pytest.approx(expected, **TIGHT)
    each = [
        metrics.recall_score(wines.truth != name, wines.predicted != name, sample_weight=wines.weights)
        for name in wines.classes
    ]
    rows = measured.rows(call("specificity()", "wines", "average := 'none'"), **SPAN)
    assert [row["value"] for row in rows] == pytest.approx(each, **TIGHT)
    row = measured.row(call("specificity()", "wines"), **SPAN)
    assert row["value"] == pytest.approx(np.mean(each), **TIGHT)


@pytest.mark.parametrize("threshold", [0.0, 0.77, 1.0])
def test_another_threshold(measured: Measured, tumours: Sample, threshold: float) -> None:
    """Scores from the threshold on count as predictions of the positive class."""
    positive, truth = tumours.scores[:, 0] >= threshold, tumours.truth == "malignant"
    extra = f"threshold := {threshold}"
    found = {
        name: measured.row(call(f"{name}()", "tumours", extra), **SPAN)["value"]
        for name in ("accuracy", "precision_score", "recall_score", "specificity")
    }
    weighted = {"sample_weight": tumours.weights}
    undefined = not positive.any()
    assert found == {
        "accuracy": pytest.approx(metrics.accuracy_score(truth, positive, **weighted)),
        "precision_score": None
        if undefined
        else pytest.approx(metrics.precision_score(truth, positive, **weighted)),
        "recall_score": pytest.approx(metrics.recall_score(truth, positive, **weighted)),
        "specificity": pytest.approx(metrics.recall_score(~truth, ~positive, **weighted)),
    }
    cells = measured.rows(call("confusion_matrix()", "tumours", extra), **SPAN)
    assert sum(row["value"] for row in cells if row["truth"] == row["prediction"]) == pytest.approx(
        tumours.weights[truth == positive].sum()
    )


def test_intervals_of_shares_are_wilsons(measured: Measured, tumours: Sample) -> None:
    """Without weights, accuracy, precision, recall and specificity have scipy's intervals."""
    truth, positive = tumours.truth == "malignant", tumours.predicted == "malignant"
    cases = {
        "accuracy": (np.sum(truth == positive), len(truth)),
        "precision_score": (np.sum(truth & positive), np.sum(positive)),
        "recall_score": (np.sum(truth & positive), np.sum(truth)),
        "specificity": (np.sum(~truth & ~positive), np.sum(~truth)),
    }
    for name, (hits, n) in cases.items():
        row = measured.row(call(f"{name}()", "tumours", "weights := 1 / weight, confidence := 0.9"), **SPAN)
        expected = binomtest(int(hits), int(n)).proportion_ci(0.9, method="wilson")
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert row["sample_count"] == n


@pytest.mark.parametrize(
    ("metric", "average"),
    [
        ("precision_score()", "macro"),
        ("precision_score()", "weighted"),
        ("f_beta(beta := 2)", "weighted"),
        ("specificity()", "macro"),
        ("specificity()", "micro"),
        ("recall_score()", "micro"),
    ],
)
def test_intervals_of_averages_are_as_wide_as_resampling_says(
    measured: Measured, wines: Sample, metric: str, average: str
) -> None:
    """The delta method agrees with the derivative that moving the weight of each row by a little gives."""
    row = measured.row(call(metric, "wines", f"average := '{average}', confidence := 0.5"), **SPAN)
    classes = list(wines.classes)
    truth = np.array([classes.index(name) for name in wines.truth])
    predicted = np.array([classes.index(name) for name in wines.predicted])

    def value(weights: np.ndarray) -> float:
        cells = np.zeros((3, 3))
        np.add.at(cells, (truth, predicted), weights)
        tp, fp, fn = np.diag(cells), cells.sum(0) - np.diag(cells), cells.sum(1) - np.diag(cells)
        tn = cells.sum() - tp - fp - fn
        hit, whole = {
            "precision_score()": (tp, tp + fp),
            "recall_score()": (tp, tp + fn),
            "f_beta(beta := 2)": (5 * tp, 5 * tp + 4 * fn + fp),
            "specificity()": (tn, tn + fp),
        }[metric]
        if average == "micro":
            return hit.sum() / whole.sum()
        shares = None if average == "macro" else tp + fn
        return float(np.average(hit / whole, weights=shares))

    slopes = []
    for at in range(len(truth)):
        moved = wines.weights.copy()
        moved[at] += 1e-4
        up = value(moved)
        moved[at] -= 2e-4
        slopes.append((up - value(moved)) / 2e-4)
    variance = np.sum((wines.weights * slopes) ** 2)
    share = value(wines.weights)
    rows = share * (1 - share) / variance
    z = 0.6744897501960817
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    assert (row["low"], row["high"]) == pytest.approx((middle - half, middle + half), rel=1e-5)


def test_areas_under_curves(measured: Measured, tumours: Sample, wines: Sample) -> None:
    """ROC-AUC, with equal scores, and average precision are scikit-learn's, each class against the rest."""
    truth, weights = tumours.truth == "malignant", {"sample_weight": tumours.weights}
    row = measured.row(call("roc_auc()", "tumours"), **SPAN)
    expected = metrics.roc_auc_score(truth, tumours.scores[:, 0], **weights)
    assert (row["class"], row["value"]) == ("malignant", pytest.approx(expected, **TIGHT))
    row = measured.row(call("pr_auc()", "tumours"), **SPAN)
    expected = metrics.average_precision_score(truth, tumours.scores[:, 0], **weights)
    assert row["value"] == pytest.approx(expected, **TIGHT)
    for average in ("macro", "weighted"):
        row = measured.row(call("roc_auc()", "wines", f"average := '{average}'"), **SPAN)
        expected = metrics.roc_auc_score(
            wines.truth, wines.scores, multi_class="ovr", average=average, sample_weight=wines.weights
        )
        assert row["value"] == pytest.approx(expected, **TIGHT)
        assert row["low"] < row["value"] < row["high"]
    each = [
        metrics.average_precision_score(wines.truth == name, scores, sample_weight=wines.weights)
        for name, scores in zip(wines.classes, wines.scores.T, strict=True)
    ]
    rows = measured.rows(call("pr_auc()", "wines", "average := 'none'"), **SPAN)
    assert [row["value"] for row in rows] == pytest.approx(each, **TIGHT)


def test_the_interval_of_the_roc_auc_is_delongs(measured: Measured, tumours: Sample) -> None:
    """Its variance is that of the placements of rows among the others, with a little of Hanley and McNeil."""
    truth, scores = tumours.truth == "malignant", tumours.scores[:, 0]
    above = (scores[truth][:, None] > scores[~truth]) + (scores[truth][:, None] == scores[~truth]) / 2
    parts = [np.var(above.mean(1), ddof=1) / truth.sum(), np.var(above.mean(0), ddof=1) / (~truth).sum()]
    variance = sum(parts)
    freedom = variance**2 / sum(p**2 / (n - 1) for p, n in zip(parts, above.shape, strict=True))
    area = above.mean()
    row = measured.row(call("roc_auc()", "tumours", "weights := 1 / weight"), **SPAN)
    m, n = above.shape
    alone = 1 + ((m + n) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
    alone *= area * (1 - area) / (m * n)
    variance = (min(m, n) * variance + 5 * alone) / (min(m, n) + 5)
    reach = student.ppf(0.975, freedom + 5) * np.sqrt(variance) / (area * (1 - area))
    expected = tuple(expit(logit(area) + side * reach) for side in (-1, 1))
    assert (row["low"], row["high"]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("positives", "negatives", "area", "spread"),
    [(6, 100, 0.8, 1.0), (10, 200, 0.7, 2.0), (20, 200, 0.95, 1.0)],
)
def test_the_interval_of_the_roc_auc_holds_with_few_true_rows(
    measured: Measured, positives: int, negatives: int, area: float, spread: float
) -> None:
    """Of 500 samples with few true rows at least 93 in 100 intervals of 95 % hold the area."""
    dice, runs = np.random.default_rng(positives), 500
    apart = norm.ppf(area) * np.sqrt(1 + spread**2)
    scores = np.concatenate(
        [dice.normal(apart, spread, positives * runs), dice.normal(0, 1, negatives * runs)]
    )
    truth = np.repeat([True, False], [positives * runs, negatives * runs])
    run = np.concatenate([np.arange(positives * runs) % runs, np.arange(negatives * runs) % runs])
    ids = [str(row) for row in range(len(truth))]
    rows = pd.DataFrame({"prediction_id": ids, "time": START, "output.score": scores, "inputs.run": run})
    labels = pd.DataFrame(
        {"prediction_id": ids, "prediction_time": START, "label": np.where(truth, "x", "y")}
    )
    described = ModelDescription(task=Task.CLASSIFICATION, positive_class="x", threshold=0.5)
    measured.put("drawn", rows, labels, described)
    found = measured.rows("FROM roc_auc('drawn', $since, $until, segments := {'run': inputs.run})", **SPAN)
    assert len(found) == runs
    assert np.mean([row["low"] <= area <= row["high"] for row in found]) >= 0.93


def test_losses(measured: Measured, tumours: Sample, wines: Sample) -> None:
    """Log loss and Brier score are scikit-learn's, and their intervals those of a mean."""
    truth, score = tumours.truth == "malignant", tumours.scores[:, 0]
    row = measured.row(call("log_loss()", "tumours"), **SPAN)
    expected = metrics.log_loss(truth, score, sample_weight=tumours.weights)
    assert row["value"] == pytest.approx(expected, **TIGHT)
    row = measured.row(call("brier()", "tumours", "weights := 1 / weight"), **SPAN)
    squares = (truth - score) ** 2
    assert row["value"] == pytest.approx(metrics.brier_score_loss(truth, score), **TIGHT)
    half = 1.959963984540054 * np.std(squares, ddof=1) / np.sqrt(len(squares))
    assert (row["low"], row["high"]) == pytest.approx(
        (squares.mean() - half, squares.mean() + half), rel=1e-9
    )
    row = measured.row(call("log_loss()", "wines"), **SPAN)
    expected = metrics.log_loss(wines.truth, wines.scores, sample_weight=wines.weights)
    assert row["value"] == pytest.approx(expected, **TIGHT)
    row = measured.row(call("brier()", "wines"), **SPAN)
    hits = wines.truth[:, None] == wines.classes
    expected = np.average(((wines.scores - hits) ** 2).sum(1), weights=wines.weights)
    assert row["value"] == pytest.approx(expected, **TIGHT)


@pytest.mark.parametrize("bins", [3, 10])
def test_calibration(measured: Measured, tumours: Sample, bins: int) -> None:
    """Bins, mean scores and shares of true rows are scikit-learn's, and their weighted distance the error."""
    truth, score = tumours.truth == "malignant", tumours.scores[:, 0]
    sql = call("calibration()", "tumours", f"bins := {bins}, weights := 1 / weight")
    rows = measured.rows(sql, **SPAN)
    observed, predicted = calibration_curve(truth, score, n_bins=bins)
    assert [row["value"] for row in rows] == pytest.approx(observed.tolist(), **TIGHT)
    assert [row["predicted"] for row in rows] == pytest.approx(predicted.tolist(), **TIGHT)
    assert all(row["bin_start"] <= row["predicted"] <= row["bin_end"] for row in rows)
    counts = np.array([row["sample_count"] for row in rows])
    assert counts.sum() == len(score)
    row = measured.row(
        call("calibration_error()", "tumours", f"bins := {bins}, weights := 1 / weight"), **SPAN
    )
    expected = np.average(np.abs(observed - predicted), weights=counts)
    assert row["value"] == pytest.approx(expected, **TIGHT)


def test_confusion_matrices(measured: Measured, wines: Sample) -> None:
    """Counts and shares by true and predicted class are scikit-learn's; cells without rows are left out."""
    for normalize, theirs in ((None, None), ("truth", "true"), ("prediction", "pred"), ("all", "all")):
        given = "NULL" if normalize is None else f"'{normalize}'"
        rows = measured.rows(call("confusion_matrix()", "wines", f"normalize := {given}"), **SPAN)
        found = np.zeros((3, 3))
        for row in rows:
            place = [list(wines.classes).index(row[name]) for name in ("truth", "prediction")]
            found[*place] = row["value"]
        expected = metrics.confusion_matrix(
            wines.truth, wines.predicted, sample_weight=wines.weights, normalize=theirs
        )
        assert found == pytest.approx(expected, **TIGHT)
    assert sum(row["sample_count"] for row in rows) == len(wines.truth)


def test_class_balance(measured: Measured, wines: Sample) -> None:
    """Shares of classes among predictions and labels add up to one each, and are those of the rows."""
    rows = measured.rows(call("class_balance()", "wines"), **SPAN)
    for source, values in (("prediction", wines.predicted), ("truth", wines.truth)):
        found = {row["class"]: row["value"] for row in rows if row["source"] == source}
        expected = {
            name: wines.weights[values == name].sum() / wines.weights.sum()
            for name in wines.classes
            if (values == name).any()
        }
        assert found == pytest.approx(expected)
        assert sum(found.values()) == pytest.approx(1)


def test_class_separation(measured: Measured, tumours: Sample) -> None:
    """Scores of each true class are spread over the bins as NumPy has it."""
    rows = measured.rows(call("class_separation()", "tumours", "bins := 8"), **SPAN)
    for name in tumours.classes:
        chosen = tumours.truth == name
        expected, edges = np.histogram(tumours.scores[chosen, 0], 8, (0, 1), weights=tumours.weights[chosen])
        found = {row["bin_start"]: row["value"] for row in rows if row["truth"] == name}
        shares = expected / expected.sum()
        assert found == pytest.approx(
            {edge: share for edge, share in zip(edges, shares, strict=False) if share}
        )


def test_curves(measured: Measured, tumours: Sample) -> None:
    """Points of the ROC and precision-recall curves are scikit-learn's at each distinct score."""
    truth, score, weights = tumours.truth == "malignant", tumours.scores[:, 0], tumours.weights
    rows = measured.rows(call("roc_curve()", "tumours", "points := NULL"), **SPAN)
    false, true, thresholds = metrics.roc_curve(truth, score, sample_weight=weights, drop_intermediate=False)
    assert [row["false_positive_rate"] for row in rows] == pytest.approx(false.tolist(), **TIGHT)
    assert [row["value"] for row in rows] == pytest.approx(true.tolist(), **TIGHT)
    assert [row["threshold"] for row in rows] == [None, *thresholds[1:]]
    rows = measured.rows(call("pr_curve()", "tumours", "points := NULL"), **SPAN)
    precision, recall, thresholds = metrics.precision_recall_curve(truth, score, sample_weight=weights)
    assert [row["value"] for row in rows] == pytest.approx(precision[-2::-1].tolist(), **TIGHT)
    assert [row["recall"] for row in rows] == pytest.approx(recall[-2::-1].tolist(), **TIGHT)
    assert [row["threshold"] for row in rows] == thresholds[::-1].tolist()
    few = measured.rows(call("pr_curve()", "tumours", "points := 7"), **SPAN)
    assert len(few) == 7
    assert all(row in rows for row in few)
    assert few[-1] == rows[-1]


def test_a_table_of_thresholds(measured: Measured, tumours: Sample) -> None:
    """What would hold at other thresholds is what scikit-learn finds there."""
    rows = measured.rows(
        call("threshold_table()", "tumours", "thresholds := [0, 0.3, 0.31, 0.9, 1.5]"), **SPAN
    )
    truth, weights = tumours.truth == "malignant", {"sample_weight": tumours.weights}
    for row in rows:
        positive = tumours.scores[:, 0] >= float(row["threshold"])
        (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, positive, **weights)
        counts = [f"{kind}_{side}" for side in ("positives", "negatives") for kind in ("true", "false")]
        assert [row[name] for name in counts] == pytest.approx([tp, fp, tn, fn], abs=1e-9)
        assert row["value"] == pytest.approx(metrics.f1_score(truth, positive, **weights))
        assert row["selection_rate"] == pytest.approx(np.average(positive, weights=tumours.weights))
    assert [row["threshold"] for row in rows] == ["0.0", "0.3", "0.31", "0.9", "1.5"]
    assert rows[-1]["precision"] is None
    assert len(measured.rows(call("threshold_table()", "tumours"), **SPAN)) == 19


def test_gain_and_lift(measured: Measured, tumours: Sample) -> None:
    """The rows with the highest scores hold this part of the class, equal scores in proportion."""
    truth, score = tumours.truth == "malignant", tumours.scores[:, 0]
    share = 0.3
    room = share * len(score)
    border = np.sort(score)[::-1][int(room)]
    above, at = score > border, score == border
    expected = (truth[above].sum() + truth[at].mean() * (room - above.sum())) / truth.sum()
    extra = f"weights := 1 / weight, top := {share}"
    gain = measured.row(call("gain()", "tumours", extra), **SPAN)
    assert gain["value"] == pytest.approx(expected, **TIGHT)
    lift = measured.row(call("lift()", "tumours", extra), **SPAN)
    for name in ("value", "low", "high"):
        assert lift[name] == pytest.approx(gain[name] / share)
    curve = measured.rows(call("gain_curve()", "tumours", "weights := 1 / weight, points := 10"), **SPAN)
    assert [row["top"] for row in curve] == pytest.approx([n / 10 for n in range(1, 11)])
    assert curve[2]["value"] == pytest.approx(expected)
    assert (curve[-1]["value"], curve[-1]["lift"]) == pytest.approx((1, 1))


@pytest.fixture(scope="module")
def apart(measured: Measured, tumours: Sample) -> None:
    """The rows of one segment in one window of `tumours`."""
    rows = [
        row if group == "b" else row | {"stage": "shadow"}
        for row, group in zip(tumours.rows(binary=True), tumours.groups, strict=True)
    ]
    measured.put("apart", rows, tumours.labels(), BINARY)


@pytest.mark.parametrize("name", KINDS)
def test_segments_and_windows_are_rows_taken_apart(
    measured: Measured, tumours: Sample, apart: None, name: str
) -> None:
    """A segment in a window has the values that its rows have by themselves."""
    until, middle = START + timedelta(seconds=len(tumours.truth)), START + timedelta(minutes=5)
    within = measured.rows(
        f"SELECT * EXCLUDE (g) FROM {name}('tumours', $since, $until, segments := {{'g': inputs.group}}, "
        "every := INTERVAL 5 MINUTES) WHERE g = 'b' AND window_start = $start",
        since=START,
        until=until,
        start=middle,
    )
    alone = measured.rows(
        f"SELECT * EXCLUDE (segment) FROM {name}('apart', $since, $until)", since=middle, until=until
    )
    assert within
    assert within == [
        {key: pytest.approx(each) if isinstance(each, float) else each for key, each in row.items()}
        for row in alone
    ]
    assert all(row["window_end"] == until for row in within)


CASES: dict[str, tuple[list[float | None], list[str | None]]] = {
    "no label": ([0.2, 0.7], [None, None]),
    "one row": ([0.7], ["yes"]),
    "only positive": ([0.7, 0.2, 0.7], ["yes"] * 3),
    "only negative": ([0.7, 0.2, 0.7], ["no"] * 3),
    "nothing but missing scores": ([None, None], ["yes", "no"]),
    "NaN": ([float("nan"), 0.3], ["yes", "no"]),
    "infinite": ([float("inf"), float("-inf"), 0.5], ["yes", "no", "no"]),
    "constant": ([0.5] * 4, ["yes", "no", "no", "yes"]),
    "no probabilities": ([-3.0, 7.0, 2.0], ["no", "yes", "no"]),
    "right": ([0.0, 1.0, 0.9], ["no", "yes", "yes"]),
    "wrong": ([1.0, 0.0], ["no", "yes"]),
    "unknown class": ([0.2, 0.9], ["maybe", "maybe"]),
}


@pytest.fixture(scope="module")
def odd(measured: Measured) -> None:
    """A model whose segments are the cases."""
    rows = [
        {"inputs.case": case, "output.score": score, "truth": truth}
        for case, (scores, truths) in CASES.items()
        for score, truth in zip(scores, truths, strict=True)
    ]
    measured.put(
        "odd",
        [{key: row[key] for key in ("inputs.case", "output.score")} for row in rows],
        [{"prediction_id": str(at), "label": row["truth"]} for at, row in enumerate(rows)],
        ModelDescription(task=Task.CLASSIFICATION, positive_class="yes", threshold=0.5),
    )


ODD = "FROM {}('odd', $since, $until, segments := {{'case': inputs.case}})"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_undefined_is_null(measured: Measured, odd: None, name: str) -> None:
    """One class, one row or no label make no error, NaN or infinity, and counts tell how little there is."""
    rows = measured.rows(ODD.format(name), **SPAN)
    for row in rows:
        assert isinstance(row["sample_count"], int)
        numbers = [row[key] for key in ("value", "low", "high") if row.get(key) is not None]
        assert np.isfinite(numbers).all()
        if row.get("low") is not None:
            assert row["low"] <= row["value"] <= row["high"]
        assert row["label_coverage"] == (0 if row["case"] == "no label" else 1)
    assert {row["case"] for row in rows} - {"no label"}


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "roc_auc": {"one class": None, "no label": None, "infinite": 1, "constant": 0.5, "wrong": 0},
        "pr_auc": {"only positive": 1, "only negative": None, "no label": None, "infinite": 1},
        "precision_score": {"only positive": 1, "only negative": 0, "no label": None, "constant": 0.5},
        "recall_score": {"only positive": 2 / 3, "only negative": None, "no label": None, "right": 1},
        "specificity": {"only positive": None, "only negative": 1 / 3, "no label": None, "right": 1},
        "f_beta": {"only positive": 0.8, "only negative": 0, "no label": None, "wrong": 0},
        "log_loss": {"no label": None, "right": np.log(1 / 0.9) / 3, "wrong": 52 * np.log(2)},
        "brier": {"no probabilities": None, "constant": 0.25, "right": 0.01 / 3, "NaN": 0.09},
    }.items(),
)
def test_what_odd_windows_have(
    measured: Measured, odd: None, name: str, expected: dict[str, float | None]
) -> None:
    """An area needs both classes, precision a prediction, recall and average precision a true row."""
    found = {row["case"]: row["value"] for row in measured.rows(ODD.format(name), **SPAN)}
    expected = {
        case: value
        for key, value in expected.items()
        for case in (("only positive", "only negative") if key == "one class" else (key,))
    }
    assert {case: found[case] for case in expected} == {
        case: None if value is None else pytest.approx(value, abs=1e-9) for case, value in expected.items()
    }


@pytest.mark.parametrize("name", KINDS)
def test_an_empty_window_has_no_row(measured: Measured, tumours: Sample, name: str) -> None:
    """Where nothing was predicted, nothing is said."""
    later = END + timedelta(days=1)
    assert measured.rows(call(f"{name}()", "tumours"), since=END, until=later) == []


def test_labels_of_later_are_unknown_by_then(measured: Measured, tumours: Sample) -> None:
    """By a time before labels came, predictions stand without them, and there is no value."""
    for name in ("accuracy", "roc_auc"):
        sql = call(f"{name}()", "tumours", "as_of := $as_of")
        row = measured.row(sql, **SPAN, as_of=START + timedelta(minutes=30))
        assert (row["value"], row["sample_count"], row["label_coverage"]) == (None, 0, 0)
        row = measured.row(sql, **SPAN, as_of=datetime(2026, 1, 1, 1, 3))
        assert (row["label_coverage"] < 1) == (row["sample_count"] < len(tumours.truth))


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("FROM recall_score('tumours', $since, $until, average := 'mean')", "binary, macro, micro"),
        ("FROM recall_score('wines', $since, $until, average := 'binary')", "positive class"),
        ("FROM accuracy('wines', $since, $until, threshold := 0.5)", "positive class"),
        ("FROM roc_auc('wines', $since, $until, average := 'micro')", "macro, weighted or none"),
        ("FROM confusion_matrix('wines', $since, $until, normalize := 'yes')", "truth, prediction or all"),
    ],
)
def test_arguments_that_make_no_sense(
    measured: Measured, tumours: Sample, wines: Sample, sql: str, words: str
) -> None:
    """The error says what can be given, or what has to be declared."""
    with pytest.raises(Exception, match=words):
        measured.rows(sql, **SPAN)


def test_probabilities_have_to_be_known(measured: Measured) -> None:
    """Metrics of scores say how to declare them where nothing is known of any."""
    measured.put(
        "bare",
        [{"output.value": "a"}],
        [{"prediction_id": "0", "label": "a"}],
        ModelDescription(task=Task.CLASSIFICATION),
    )
    with pytest.raises(QueryError, match=r"scores: output\.scores"):
        measured.rows(call("roc_auc()", "bare"), **SPAN)


@settings(max_examples=3, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(0, 8),
            st.sampled_from(["yes", "no", None]),
            st.sampled_from([0.25, 1.0, 7.0]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_bounds_and_symmetries(measured: Measured, rows: list[tuple[str, int, str | None, float]]) -> None:
    """Values are within their bounds; turning scores and classes round keeps the area."""
    both = [(group, 0, score, truth, weight) for group, score, truth, weight in rows] + [
        (group, 1, 8 - score, {"yes": "no", "no": "yes"}.get(truth or "", truth), weight)
        for group, score, truth, weight in rows
    ]
    measured.put(
        "m",
        [
            {"inputs.group": group, "inputs.turned": turned, "output.score": score / 8, "weight": weight}
            for group, turned, score, _, weight in both
        ],
        [{"prediction_id": str(at), "label": row[3]} for at, row in enumerate(both)],
        ModelDescription(task=Task.CLASSIFICATION, positive_class="yes", threshold=0.5),
    )
    sql = "FROM {}('m', $since, $until, segments := {{'g': inputs.group, 't': inputs.turned}})"
    for name in ("roc_auc", "pr_auc", "f_beta", "gain"):
        answer = measured.rows(sql.format(name), **SPAN)
        for row in answer:
            if row["value"] is not None:
                assert 0 <= row["low"] <= row["value"] + 1e-12
                assert row["value"] - 1e-12 <= row["high"] <= 1
        if name == "roc_auc":
            areas = {(row["g"], row["t"]): row["value"] for row in answer}
            for (group, turned), area in areas.items():
                assert area == (None if area is None else pytest.approx(areas[group, 1 - turned]))
