"""Bootstrapped intervals of what two models differ in, against scipy's bootstrap and scikit-learn."""

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap
from sklearn import metrics

from helpers.metrics import END, START, Measured
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import paired

ROWS = 400
SPAN = {"since": START, "until": END}
CANDIDATE = ", challenger_stage := 'candidate'"
CLASSES = {
    "f1": metrics.f1_score,
    "precision": metrics.precision_score,
    "recall": metrics.recall_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "mcc": metrics.matthews_corrcoef,
}
Score = Callable[..., float]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


def put(measured: Measured, model: str, frame: pd.DataFrame, told: ModelDescription, name: str) -> None:
    """Production and candidate with the outputs `one` and `other` as `name`, and the truth."""
    rows = [
        {"prediction_id": f"{stage}{at}", "request_id": str(at), name: value, "stage": stage}
        for stage, column in (("production", "one"), ("candidate", "other"))
        for at, value in enumerate(frame[column])
    ]
    labels = [{"prediction_id": f"production{at}", "label": value} for at, value in enumerate(frame["truth"])]
    measured.put(model, rows, labels, told)


@pytest.fixture(scope="module")
def letters(measured: Measured) -> pd.DataFrame:
    """Three classes, of which two models tell some wrong; the second model more."""
    draw = np.random.default_rng(1)
    truth = draw.choice(list("aab"), ROWS)
    frame = pd.DataFrame({"truth": np.where(draw.random(ROWS) < 0.2, "c", truth)})
    for name, right in (("one", 0.8), ("other", 0.7)):
        frame[name] = np.where(draw.random(ROWS) < right, frame["truth"], draw.choice(list("abc"), ROWS))
    put(measured, "letters", frame, ModelDescription(task=Task.CLASSIFICATION), "output.value")
    binary = ModelDescription(task=Task.CLASSIFICATION, positive_class="a")
    put(measured, "is_a", frame, binary, "output.value")
    return frame


@pytest.fixture(scope="module")
def prices(measured: Measured) -> pd.DataFrame:
    """Numbers far from 0, of which the second model tells a little less, with errors of a long tail."""
    draw = np.random.default_rng(2)
    truth = 1e6 + draw.gamma(2, 50, ROWS)
    first, second = (truth + spread * draw.standard_t(4, ROWS) for spread in (20, 23))
    frame = pd.DataFrame({"truth": truth, "one": first, "other": second})
    put(measured, "prices", frame, ModelDescription(task=Task.REGRESSION), "output.value")
    return frame


@pytest.fixture(scope="module")
def scores(measured: Measured) -> pd.DataFrame:
    """Scores in steps, so that many are equal, of few positive rows."""
    draw = np.random.default_rng(3)
    truth = draw.random(ROWS) < 0.2
    first, second = (np.round(draw.beta(2, 4, ROWS) + truth * lift, 2) for lift in (0.3, 0.2))
    frame = pd.DataFrame({"truth": truth, "one": first, "other": second})
    told = ModelDescription(task=Task.CLASSIFICATION, positive_class="true", score="output.score")
    put(measured, "scores", frame, told, "output.score")
    return frame


def macro_f1(truth: Any, said: Any) -> float:
    """As scikit-learn's, of codes, in a hundredth of its time."""
    known = np.arange(max(truth.max(), said.max()) + 1)
    true, told = truth[:, None] == known, said[:, None] == known
    both = true.sum(axis=0) + told.sum(axis=0)
    return float((2 * (true & told).sum(axis=0)[both > 0] / both[both > 0]).mean())


def rmse(truth: Any, said: Any) -> float:
    return float(np.sqrt(((truth - said) ** 2).mean()))


def r2(truth: Any, said: Any) -> float:
    return float(1 - ((truth - said) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def average_precision(truth: Any, said: Any) -> float:
    order = np.argsort(-said)
    hits, score = np.cumsum(truth[order]), said[order]
    last = np.flatnonzero(np.append(np.diff(score) != 0, True))
    return float((np.diff(hits[last], prepend=0) * hits[last] / (last + 1)).sum() / hits[-1])


def interval(frame: pd.DataFrame, score: Score) -> tuple[float, float]:
    """Scipy's interval of the difference of a metric on the same rows."""

    def difference(*columns: Any) -> float:
        truth, one, other = columns
        return score(truth, other) - score(truth, one)

    names = ["truth", "one", "other"]
    data = [frame[name].to_numpy() for name in names]
    if data[0].dtype.kind not in "fb":  # scipy draws numbers only
        data = list(pd.factorize(frame[names].to_numpy().T.ravel())[0].reshape(3, -1))
    drawn = np.random.default_rng(7)
    found = bootstrap(data, difference, paired=True, vectorized=False, n_resamples=3000, rng=drawn)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def check(row: dict[str, Any], frame: pd.DataFrame, theirs: Score, score: Score) -> None:
    """Values are those of scikit-learn, and the interval scipy's but for what draws differ by."""
    values = [theirs(frame["truth"], frame[name]) for name in ("one", "other")]
    assert [row["champion"], row["challenger"]] == pytest.approx(values)
    assert row["value"] == pytest.approx(values[1] - values[0])
    assert row["sample_count"] == ROWS
    low, high = interval(frame, score)
    assert [row["low"], row["high"]] == pytest.approx([low, high], abs=0.06 * (high - low))


def test_several_classes_are_as_scipy_has_them(measured: Measured, letters: pd.DataFrame) -> None:
    """The mean over all classes comes with scipy's interval; Matthews' coefficient is scikit-learn's."""
    (row,) = measured.rows(f"FROM shadow_class_difference('letters', $since, $until{CANDIDATE})", **SPAN)
    check(row, letters, partial(metrics.f1_score, average="macro"), macro_f1)
    extra = f"{CANDIDATE}, measure := 'mcc'"
    (row,) = measured.rows(f"FROM shadow_class_difference('letters', $since, $until{extra})", **SPAN)
    values = [metrics.matthews_corrcoef(letters["truth"], letters[name]) for name in ("one", "other")]
    assert [row["champion"], row["challenger"]] == pytest.approx(values)


@pytest.mark.parametrize("measure", CLASSES)
def test_the_positive_class_counts_where_there_is_one(
    measured: Measured, letters: pd.DataFrame, measure: str
) -> None:
    """Each measure is that of the positive class, as scikit-learn has it."""
    extra = f"{CANDIDATE}, measure := '{measure}'"
    (row,) = measured.rows(f"FROM shadow_class_difference('is_a', $since, $until{extra})", **SPAN)
    values = [CLASSES[measure](letters["truth"] == "a", letters[name] == "a") for name in ("one", "other")]
    assert [row["champion"], row["challenger"]] == pytest.approx(values)
    assert row["low"] < row["value"] < row["high"]


@pytest.mark.parametrize("measure", ["rmse", "r2"])
def test_numbers_are_as_scipy_has_them(measured: Measured, prices: pd.DataFrame, measure: str) -> None:
    """Errors and R² come with scipy's interval, also where the truth hardly varies."""
    extra = f"{CANDIDATE}, measure := '{measure}'"
    (row,) = measured.rows(f"FROM shadow_fit_difference('prices', $since, $until{extra})", **SPAN)
    theirs = {"rmse": metrics.root_mean_squared_error, "r2": metrics.r2_score}[measure]
    check(row, prices, theirs, {"rmse": rmse, "r2": r2}[measure])


def test_average_precision_is_as_scipy_has_it(measured: Measured, scores: pd.DataFrame) -> None:
    """With equal scores, too, it is scikit-learn's, with scipy's interval of pairs."""
    (row,) = measured.rows(f"FROM shadow_pr_auc_difference('scores', $since, $until{CANDIDATE})", **SPAN)
    check(row, scores, metrics.average_precision_score, average_precision)


def test_equal_rows_have_equal_intervals(measured: Measured, letters: pd.DataFrame) -> None:
    """Draws are seeded, whatever order rows come in; another seed has other draws."""
    shuffled = letters.sample(frac=1, random_state=5)
    put(measured, "shuffled", shuffled, ModelDescription(task=Task.CLASSIFICATION), "output.value")
    found = [
        measured.row(f"FROM shadow_class_difference('{model}', $since, $until{CANDIDATE}{extra})", **SPAN)
        for model, extra in (("letters", ""), ("shuffled", ""), ("letters", ", seed := 2"))
    ]
    bounds = [(row["low"], row["high"]) for row in found]
    assert bounds[0] == bounds[1] != bounds[2]
    assert bounds[2] == pytest.approx(bounds[0], abs=0.02)


def test_weights_count_as_copies_do(measured: Measured, prices: pd.DataFrame) -> None:
    """A row of weight 2 has the values of two rows."""
    weights = np.arange(ROWS) % 2 + 1
    rows = [
        {
            "prediction_id": f"{stage}{at}",
            "request_id": str(at),
            "output.value": value,
            "stage": stage,
            "weight": float(weights[at]),
        }
        for stage, column in (("production", "one"), ("candidate", "other"))
        for at, value in enumerate(prices[column])
    ]
    labels = [
        {"prediction_id": f"production{at}", "label": value} for at, value in enumerate(prices["truth"])
    ]
    measured.put("weighed", rows, labels, ModelDescription(task=Task.REGRESSION))
    row = measured.row(f"FROM shadow_fit_difference('weighed', $since, $until{CANDIDATE})", **SPAN)
    copies = prices.loc[prices.index.repeat(weights)]
    assert row["challenger"] == pytest.approx(
        metrics.root_mean_squared_error(copies["truth"], copies["other"])
    )


def test_what_cannot_be_told_is_null(measured: Measured) -> None:
    """One pair has values and no interval; no label has neither; the same model twice differs by nothing."""
    frame = pd.DataFrame({"truth": ["a"], "one": ["a"], "other": ["b"]})
    put(measured, "single", frame, ModelDescription(task=Task.CLASSIFICATION), "output.value")
    row = measured.row(f"FROM shadow_class_difference('single', $since, $until{CANDIDATE})", **SPAN)
    assert (row["champion"], row["low"], row["high"]) == (1.0, None, None)
    put(
        measured,
        "blind",
        frame.assign(truth=None),
        ModelDescription(task=Task.CLASSIFICATION),
        "output.value",
    )
    row = measured.row(f"FROM shadow_class_difference('blind', $since, $until{CANDIDATE})", **SPAN)
    assert (row["champion"], row["value"], row["low"]) == (None, None, None)
    twice = pd.DataFrame({"truth": list("abab"), "one": list("aabb"), "other": list("aabb")})
    put(measured, "twice", twice, ModelDescription(task=Task.CLASSIFICATION), "output.value")
    row = measured.row(f"FROM shadow_class_difference('twice', $since, $until{CANDIDATE})", **SPAN)
    assert (row["value"], row["low"], row["high"]) == (0, 0, 0)
    with pytest.raises(Exception, match="measure is f1, precision"):
        measured.row(
            f"FROM shadow_class_difference('twice', $since, $until{CANDIDATE}, measure := 'auc')", **SPAN
        )


def test_blocks_of_many_rows_tell_what_single_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving out blocks instead of rows hardly changes the interval."""
    draw = np.random.default_rng(4)
    truth = draw.gamma(1, 10, 900)
    sides = [
        paired._of_errors("rmse", truth, truth + spread * draw.standard_t(5, 900), np.ones(900))
        for spread in (3, 3.3)
    ]
    n = np.ones(900, np.int64)
    single = paired._difference(*sides, n, 0.95, 1)
    monkeypatch.setattr(paired, "_BLOCKS", 100)
    blocks = paired._difference(*sides, n, 0.95, 1)
    assert blocks != single
    width = (single["high"] or 0) - (single["low"] or 0)
    assert [blocks["low"], blocks["high"]] == pytest.approx([single["low"], single["high"]], abs=0.05 * width)


def test_blocks_are_left_out_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaving out blocks takes of memory does not grow with how many there are."""
    draw = np.random.default_rng(4)
    truth = draw.gamma(1, 10, 10_000)
    value = paired._of_errors("rmse", truth, truth + draw.standard_t(5, 10_000), np.ones(10_000))
    monkeypatch.setattr(paired, "_AT_ONCE", 50_000)
    tracemalloc.start()
    paired._acceleration(value, np.ones(10_000, np.int64), draw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * paired._AT_ONCE
