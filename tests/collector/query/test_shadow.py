"""Champion and challenger on the requests that both answered, against pandas and scipy."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm, sem
from scipy.stats import t as student
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from helpers.metrics import END, START, Measured
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import METRICS

SPAN = {"since": START, "until": END}
NAMES = [name for name, metric in METRICS.items() if metric.group == "shadow"]
OF_NUMBERS = {"shadow_error_difference", "shadow_fit_difference"}
BINARY = ModelDescription(task=Task.CLASSIFICATION, positive_class="benign", threshold=0.5)


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tumours(measured: Measured) -> pd.DataFrame:
    """Two real models asked the same: the second not each time, and some labels are unknown."""
    data = load_breast_cancer()
    first = LogisticRegression(max_iter=5000).fit(data.data[::2, :2], data.target[::2])
    second = GaussianNB().fit(data.data[::2, :2], data.target[::2])
    frame = pd.DataFrame(
        {
            "score": first.predict_proba(data.data[:, :2])[:, 1],
            "other": second.predict_proba(data.data[:, :2])[:, 1],
            "truth": data.target == 1,
            "weight": np.random.default_rng(6).choice([0.5, 1.0, 2.0], len(data.target)),
        }
    )
    frame["paired"] = np.arange(len(frame)) % 7 > 0
    frame["known"] = np.arange(len(frame)) % 5 > 0
    measured.put("tumours", list(rows(frame)), labels(frame), BINARY)
    return frame


def rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in frame.itertuples():
        asked = {"request_id": f"r{row.Index}", "weight": row.weight}
        when = START + timedelta(seconds=int(row.Index))
        yield asked | answer(f"p{row.Index}", when, row.score, "production", "1")
        if row.paired:
            later = when + timedelta(milliseconds=300)
            yield asked | answer(f"s{row.Index}", later, row.other, "shadow", "2")
            # A request that is tried again is answered twice.
            yield asked | answer(f"t{row.Index}", later + timedelta(seconds=9), 1 - row.other, "shadow", "2")
        if row.Index % 50 == 0:
            yield answer(f"u{row.Index}", when, row.other, "shadow", "2") | {
                "request_id": f"alone{row.Index}"
            }
            yield answer(f"n{row.Index}", when, row.other, "shadow", "2")


def answer(name: str, when: Any, score: float, stage: str, version: str) -> dict[str, Any]:
    return {
        "prediction_id": name,
        "time": when,
        "output.score": score,
        "output.value": "benign" if score >= 0.5 else "malignant",
        "stage": stage,
        "version": version,
    }


def labels(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"prediction_id": f"p{row.Index}", "label": "benign" if row.truth else "malignant"}
        for row in frame.itertuples()
        if row.known
    ]


def call(name: str, model: str = "tumours", extra: str = "") -> str:
    return f"FROM {name}('{model}', $since, $until{extra})"


def test_pairs_are_counted(measured: Measured, tumours: pd.DataFrame) -> None:
    """Predictions of the same request are a pair, once; those without a partner are counted too."""
    row = measured.row(call("shadow_pairs"), **SPAN)
    alone = 2 * len(range(0, len(tumours), 50))
    assert (row["pairs"], row["champion_only"], row["challenger_only"]) == (
        tumours.paired.sum(),
        (~tumours.paired).sum(),
        alone,
    )
    assert (row["value"], row["sample_count"]) == (tumours.paired.mean(), len(tumours))


def test_disagreement_is_known_before_labels(measured: Measured, tumours: pd.DataFrame) -> None:
    """It is the share of pairs of different classes, with scipy's interval."""
    pairs = tumours[tumours.paired]
    differ = (pairs.score >= 0.5) != (pairs.other >= 0.5)
    row = measured.row(call("shadow_disagreement"), **SPAN)
    assert row["value"] == pytest.approx(np.average(differ, weights=pairs.weight))
    row = measured.row(call("shadow_disagreement", extra=", weights := 1 / weight"), **SPAN)
    expected = binomtest(int(differ.sum()), len(pairs)).proportion_ci(method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)
    row = measured.row(call("shadow_difference", extra=", weights := 1 / weight"), **SPAN)
    moved = (pairs.other - pairs.score).abs()
    assert row["value"] == pytest.approx(moved.mean())
    assert row["mean_difference"] == pytest.approx((pairs.other - pairs.score).mean())
    assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, moved.mean(), sem(moved)))


def test_the_difference_of_accuracies(measured: Measured, tumours: pd.DataFrame) -> None:
    """On labelled pairs it is that of both accuracies, with McNemar's exact test and Newcombe's interval."""
    row = measured.row(call("shadow_accuracy_difference", extra=", weights := 1 / weight"), **SPAN)
    pairs = tumours[tumours.paired & tumours.known]
    hit, other = (pairs.score >= 0.5) == pairs.truth, (pairs.other >= 0.5) == pairs.truth
    first, second = int((hit & ~other).sum()), int((~hit & other).sum())
    assert (row["champion"], row["challenger"]) == pytest.approx((hit.mean(), other.mean()))
    assert row["value"] == pytest.approx(other.mean() - hit.mean())
    assert (row["champion_right"], row["challenger_right"]) == (first, second)
    assert row["p_value"] == pytest.approx(binomtest(first, first + second).pvalue)
    assert row["sample_count"] == len(pairs)
    assert row["label_coverage"] == pytest.approx(tumours[tumours.paired].known.mean())
    assert (row["low"], row["high"]) == pytest.approx(newcombe(hit.to_numpy(), other.to_numpy()))
    weighted = measured.row(call("shadow_accuracy_difference"), **SPAN)
    expected = np.average(other, weights=pairs.weight) - np.average(hit, weights=pairs.weight)
    assert weighted["value"] == pytest.approx(expected)


def newcombe(hit: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Method 10 of Newcombe (1998) for `other` minus `hit`, as the paper writes it down."""
    n = len(hit)
    e, f, g, h = (int(np.sum(each)) for each in (other & hit, other & ~hit, ~other & hit, ~other & ~hit))
    bounds = [binomtest(k, n).proportion_ci(method="wilson") for k in (e + f, e + g)]
    dl2, du2 = (e + f) / n - bounds[0].low, bounds[0].high - (e + f) / n
    dl3, du3 = (e + g) / n - bounds[1].low, bounds[1].high - (e + g) / n
    product = (e + f) * (g + h) * (e + g) * (f + h)
    numerator = e * h - f * g
    numerator = max(numerator - n / 2, 0) if numerator > 0 else numerator
    phi = numerator / np.sqrt(product) if product else 0.0
    down = np.sqrt(dl2**2 - 2 * phi * dl2 * du3 + du3**2)
    up = np.sqrt(du2**2 - 2 * phi * du2 * dl3 + dl3**2)
    return (f - g) / n - down, (f - g) / n + up


def delong(truth: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, float, float]:
    """Both areas, and the error of their difference with its degrees of freedom, pair by pair."""
    above = [
        (score[truth][:, None] > score[~truth]) + (score[truth][:, None] == score[~truth]) / 2
        for score in scores
    ]
    differ = above[1] - above[0]
    parts = [differ.mean(axis).var(ddof=1) / differ.shape[1 - axis] for axis in (1, 0)]
    freedom = sum(parts) ** 2 / sum(
        part**2 / (differ.shape[1 - axis] - 1) for part, axis in zip(parts, (1, 0), strict=True)
    )
    return np.array([each.mean() for each in above]), float(np.sqrt(sum(parts))), float(freedom)


def test_the_difference_of_areas(measured: Measured, tumours: pd.DataFrame) -> None:
    """It is that of scikit-learn's, with the error of DeLong's structural components, ties among scores."""
    pairs = tumours[tumours.paired & tumours.known]
    row = measured.row(call("shadow_auc_difference", extra=", weights := 1 / weight"), **SPAN)
    areas = [metrics.roc_auc_score(pairs.truth, pairs[name]) for name in ("score", "other")]
    assert (row["champion"], row["challenger"]) == pytest.approx(areas)
    theirs, error, freedom = delong(pairs.truth.to_numpy(), [pairs.score.to_numpy(), pairs.other.to_numpy()])
    assert theirs == pytest.approx(areas)
    assert row["value"] == pytest.approx(areas[1] - areas[0])
    assert row["p_value"] == pytest.approx(2 * student.sf(abs(row["value"]) / error, freedom))
    assert (row["low"], row["high"]) == pytest.approx(student.interval(0.95, freedom, row["value"], error))
    assert row["sample_count"] == len(pairs)
    weighted = measured.row(call("shadow_auc_difference"), **SPAN)
    areas = [
        metrics.roc_auc_score(pairs.truth, pairs[name], sample_weight=pairs.weight)
        for name in ("score", "other")
    ]
    assert weighted["value"] == pytest.approx(areas[1] - areas[0])


def test_the_difference_of_areas_with_ties_and_few(measured: Measured) -> None:
    """Equal scores count half, and one positive row gives a difference without an interval."""
    dice = np.random.default_rng(8)
    truth = dice.random(60) < 0.2
    first, second = (np.round(dice.normal(truth, 1.5), 0) for _ in range(2))
    made, told = [], []
    for case, rows in (("ties", range(60)), ("one", [int(truth.argmax()), *np.flatnonzero(~truth)[:9]])):
        for at in rows:
            for stage, score in (("production", first[at]), ("shadow", second[at])):
                made.append(
                    {
                        "prediction_id": f"{stage}{case}{at}",
                        "request_id": f"{case}{at}",
                        "inputs.case": case,
                        "output.score": score,
                        "stage": stage,
                    }
                )
            told.append({"prediction_id": f"production{case}{at}", "label": "x" if truth[at] else "y"})
    described = ModelDescription(task=Task.CLASSIFICATION, positive_class="x", threshold=0.5)
    measured.put("ties", made, told, described)
    by_case = ", segments := {'case': inputs.case}"
    found = {
        row["case"]: row for row in measured.rows(call("shadow_auc_difference", "ties", by_case), **SPAN)
    }
    areas, error, freedom = delong(truth, [first, second])
    row = found["ties"]
    assert (row["champion"], row["challenger"]) == pytest.approx(tuple(areas))
    assert (row["low"], row["high"]) == pytest.approx(student.interval(0.95, freedom, row["value"], error))
    assert found["one"]["value"] is not None
    assert (found["one"]["low"], found["one"]["p_value"]) == (None, None)


@pytest.mark.parametrize(
    ("cells", "expected"), [((36, 12, 2, 0), (0.0569, 0.3404)), ((54, 0, 0, 0), (-0.0664, 0.0664))]
)
def test_published_intervals(
    measured: Measured, cells: tuple[int, ...], expected: tuple[float, float]
) -> None:
    """Newcombe's own examples come out as he has them."""
    first, second, third, _ = cells
    sql = f"SELECT unnest(lapwing_paired_shares({first}.0, {second}.0, {third}.0, {sum(cells)}.0, 0.95))"
    row = measured.row(sql)
    assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("loss", ["brier", "log"])
def test_the_difference_of_losses(measured: Measured, tumours: pd.DataFrame, loss: str) -> None:
    """It is the mean of paired differences of scikit-learn's losses."""
    extra = f", loss := '{loss}', weights := 1 / weight"
    row = measured.row(call("shadow_loss_difference", extra=extra), **SPAN)
    pairs = tumours[tumours.paired & tumours.known]
    theirs = {"brier": metrics.brier_score_loss, "log": metrics.log_loss}[loss]
    first, second = theirs(pairs.truth, pairs.score), theirs(pairs.truth, pairs.other)
    assert (row["champion"], row["challenger"]) == pytest.approx((first, second))
    assert row["value"] == pytest.approx(second - first)
    if loss == "brier":
        each = (pairs.other - pairs.truth) ** 2 - (pairs.score - pairs.truth) ** 2
        assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, each.mean(), sem(each)))


def test_the_difference_of_errors(measured: Measured) -> None:
    """For numbers it is the mean of paired differences of errors, absolute or squared."""
    data = load_wine().data
    truth, first, second = data[:, 0], data[:, 0] + data[:, 7], data[:, 0] - data[:, 10] + 0.7
    made = [
        {"prediction_id": f"{stage}{at}", "request_id": str(at), "output.value": value, "stage": stage}
        for at in range(len(data))
        for stage, value in (("production", first[at]), ("candidate", second[at]))
    ]
    told = [{"prediction_id": f"production{at}", "label": value} for at, value in enumerate(truth)]
    measured.put("wines", made, told, ModelDescription(task=Task.REGRESSION))
    for error, power in (("absolute", 1), ("squared", 2)):
        extra = f", challenger_stage := 'candidate', error := '{error}'"
        row = measured.row(call("shadow_error_difference", "wines", extra), **SPAN)
        each = abs(second - truth) ** power - abs(first - truth) ** power
        assert row["value"] == pytest.approx(each.mean())
        assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, each.mean(), sem(each)))
    row = measured.row(call("shadow_difference", "wines", ", challenger_stage := 'candidate'"), **SPAN)
    assert row["value"] == pytest.approx(abs(second - first).mean())


def test_versions_and_variants_choose_sides(measured: Measured) -> None:
    """Versions of one stage are compared by name, and a challenger's fields tell segments apart."""
    made = [
        {"request_id": request, "version": version, "variant": variant, "output.value": value, "stage": stage}
        for request, version, variant, value, stage in (
            ("a", "1", None, "x", "production"),
            ("a", "2", "blue", "y", "production"),
            ("a", "2", "green", "x", "shadow"),
            ("b", "1", None, "x", "production"),
            ("b", "2", "blue", "x", "production"),
            ("b", "3", "green", "y", "shadow"),
        )
    ]
    measured.put("versions", made, None, ModelDescription(task=Task.CLASSIFICATION))
    sides = ", version := '1', challenger_stage := 'production', challenger_version := '2'"
    row = measured.row(call("shadow_disagreement", "versions", sides), **SPAN)
    assert (row["value"], row["sample_count"]) == (0.5, 2)
    green = ", version := '1', challenger_variant := 'green', segments := {'v': challenger.version}"
    found = measured.rows(call("shadow_disagreement", "versions", green), **SPAN)
    assert {row["v"]: row["value"] for row in found} == {"2": 0.0, "3": 1.0}


@pytest.mark.parametrize("name", ["shadow_pairs", "shadow_accuracy_difference"])
def test_segments_and_windows_are_rows_taken_apart(
    measured: Measured, tumours: pd.DataFrame, name: str
) -> None:
    """A window has the values that its rows have by themselves, and partners beyond its end are found."""
    middle, until = START + timedelta(minutes=4), START + timedelta(minutes=8)
    by_version = ", segments := {'v': version}"
    windows = call(name, extra=f"{by_version}, every := INTERVAL 4 MINUTES")
    chosen = "SELECT * EXCLUDE (v) {} WHERE v = '1' AND window_start = $middle"
    within = measured.rows(chosen.format(windows), since=START, until=END, middle=middle)
    whole = chosen.format(call(name, extra=by_version))
    alone = measured.rows(whole.replace("$since", "$middle"), middle=middle, until=until)
    assert within
    assert within == [
        {key: pytest.approx(each) if isinstance(each, float) else each for key, each in row.items()}
        for row in alone
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_NUMBERS])
def test_what_is_undefined_is_null(measured: Measured, name: str) -> None:
    """One pair, no label, no score, or classes that never differ give no error and no NaN."""
    cases = {
        "no label": ("x", 0.9, "y", 0.1, None),
        "one pair": ("x", 0.9, "x", 0.8, "x"),
        "no score": ("x", None, "x", None, "y"),
        "no class": (None, 0.2, None, 0.3, "x"),
        "no number": ("x", float("inf"), "x", float("nan"), "x"),
    }
    made = [
        {
            "request_id": case,
            "inputs.case": case,
            "output.value": row[at],
            "output.score": row[at + 1],
            "stage": stage,
        }
        for case, row in cases.items()
        for at, stage in ((0, "production"), (2, "shadow"))
    ]
    told = [{"prediction_id": str(2 * at), "label": row[4]} for at, row in enumerate(cases.values())]
    measured.put("odd", made, told, ModelDescription(task=Task.CLASSIFICATION, positive_class="x"))
    found = measured.rows(call(name, "odd", ", segments := {'case': inputs.case}"), **SPAN)
    assert {row["case"] for row in found} == set(cases)
    for row in found:
        assert isinstance(row["sample_count"], int)
        assert np.isfinite([each for each in row.values() if isinstance(each, float)]).all()
    if name == "shadow_accuracy_difference":
        values = {row["case"]: (row["value"], row["p_value"]) for row in found}
        assert values["no label"] == values["no class"] == (None, None)
        assert values["one pair"] == (0, 1)


@pytest.mark.parametrize("name", ["shadow_pairs", "shadow_disagreement"])
def test_an_empty_window_has_no_row(measured: Measured, tumours: pd.DataFrame, name: str) -> None:
    """Where nothing was predicted, nothing is said."""
    assert measured.rows(call(name), since=END, until=END + timedelta(days=1)) == []


def test_kinds_of_loss_and_error_are_told(measured: Measured, tumours: pd.DataFrame) -> None:
    """Another name is refused with those that there are."""
    with pytest.raises(duckdb.Error, match="brier or log"):
        measured.rows(call("shadow_loss_difference", extra=", loss := 'hinge'"), **SPAN)
