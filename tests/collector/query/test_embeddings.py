"""Drift of embeddings: every method against numpy, scipy or scikit-learn."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, cosine
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.metrics import START, Measured

DAY = timedelta(days=1)
SPANS = {"a": START, "b": START + DAY, "c": START + 2 * DAY}
CALL = "FROM embedding_drift('m', $b, $c, {}, $a, $b{})"
SEEN, NOW = 400, 300

Floats = np.ndarray[Any, np.dtype[np.float64]]


def sides(shift: float) -> tuple[Floats, Floats]:
    draw = np.random.default_rng(3)
    spread = np.array([1, 2, 0.5, 1, 3, 1])
    moved = np.array([shift, 0, shift, 0, 0, 0])
    return (
        1 + draw.normal(size=(SEEN, 6)) * spread,
        1 + draw.normal(size=(NOW, 6)) * spread + moved,
    )


SIDES = {"same": sides(0), "moved": sides(0.5)}


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    draw = np.random.default_rng(5)
    times = [START + i * DAY / SEEN for i in range(SEEN)] + [START + DAY + i * DAY / NOW for i in range(NOW)]
    columns = {
        f"inputs.{name}": pa.array(np.concatenate(both).tolist(), pa.list_(pa.float64()))
        for name, both in SIDES.items()
    }
    columns["inputs.single"] = pa.array(np.concatenate(SIDES["moved"]).tolist(), pa.list_(pa.float32()))
    columns["inputs.fixed"] = pa.array(np.concatenate(SIDES["moved"]).tolist(), pa.list_(pa.float64(), 6))
    columns["inputs.zero"] = pa.array([[0.0, 0.0]] * (SEEN + NOW))
    columns["inputs.uneven"] = pa.array([[0.5] * (2 + i % 2) for i in range(SEEN + NOW)])
    odd = [None, [], [None, 1.0], [np.nan, 1.0], [np.inf, 1.0], [1e200, 1.0]]
    columns["inputs.gaps"] = pa.array(
        [odd[i % 6] if i % 3 == 0 else draw.normal(size=2).tolist() for i in range(SEEN + NOW)],
        pa.list_(pa.float64()),
    )
    columns["inputs.odd_text"] = pa.array(["no vector"] * (SEEN + NOW))
    columns["inputs.half"] = pa.array([i % 2 == 0 for i in range(SEEN + NOW)])
    made.put("m", pa.table({"time": pa.array(times, pa.timestamp("us"))} | columns))
    yield made
    made.close()


@pytest.mark.parametrize("field", SIDES)
def test_distances_of_centroids(measured: Measured, field: str) -> None:
    """Both are those of the mean vectors, and drift is above 0.2."""
    one, other = (side.mean(axis=0) for side in SIDES[field])
    expected = {"euclidean": np.linalg.norm(one - other), "cosine": cosine(one, other)}
    for method, distance in expected.items():
        found = measured.row(CALL.format(f"inputs.{field}", f", method := '{method}'"), **SPANS)
        assert found["value"] == pytest.approx(distance, rel=1e-9)
        assert (found["threshold"], found["drifted"]) == (0.2, int(distance > 0.2))
        assert (found["sample_count"], found["reference_count"], found["sampled"]) == (NOW, SEEN, NOW)
        assert (found["p_value"], found["reason"]) == (None, None)


@pytest.mark.parametrize("field", SIDES)
def test_share_of_components_that_moved(measured: Measured, field: str) -> None:
    """A component moved where Wasserstein's distance is a tenth of its standard deviation."""
    seen, now = SIDES[field]
    moved = [stats.wasserstein_distance(a, b) / np.std(a) >= 0.1 for a, b in zip(seen.T, now.T, strict=True)]
    found = measured.row(CALL.format(f"inputs.{field}", ", method := 'components'"), **SPANS)
    assert found["value"] == pytest.approx(np.mean(moved))
    assert 0 < sum(moved) < 6


def drawn(measured: Measured, field: str, samples: int) -> list[Floats]:
    """What is looked at of either side: the vectors whose ids have the least hashes."""
    sql = (
        f"SELECT inputs.{field} AS x FROM predictions_all.m WHERE time >= $first AND time < $last "
        f"ORDER BY hash(prediction_id) LIMIT {samples}"
    )
    spans = ((SPANS["a"], SPANS["b"]), (SPANS["b"], SPANS["c"]))
    return [
        np.array([row["x"] for row in measured.rows(sql, first=first, last=last)]) for first, last in spans
    ]


def test_mean_discrepancy(measured: Measured) -> None:
    """It is the unbiased one with a Gaussian kernel, with a probability by shuffling."""
    found = measured.row(CALL.format("inputs.moved", ", method := 'mmd', samples := 150"), **SPANS)
    x, y = drawn(measured, "moved", 150)
    width = np.median(cdist(x, x, "sqeuclidean"))

    def kernel(a: Floats, b: Floats) -> Floats:
        return np.exp(-cdist(a, b, "sqeuclidean") / width)  # type: ignore[no-any-return]

    within = [(kernel(each, each).sum() - 150) / (150 * 149) for each in (x, y)]
    assert found["value"] == pytest.approx(sum(within) - 2 * kernel(x, y).mean(), rel=1e-9)
    assert (found["threshold"], found["sampled"]) == (0.015, 150)
    assert found["p_value"] < 0.05
    same = measured.row(CALL.format("inputs.same", ", method := 'mmd'"), **SPANS)
    assert (same["drifted"], same["p_value"] > 0.05) == (0, True)


def test_principal_components(measured: Measured) -> None:
    """Vectors can be looked at along the directions in which the reference varies most."""
    seen, now = SIDES["moved"]
    spread = np.linalg.eigh(np.cov(seen.T))[1][:, ::-1][:, :2]
    expected = np.linalg.norm((seen @ spread).mean(axis=0) - (now @ spread).mean(axis=0))
    found = measured.row(CALL.format("inputs.moved", ", method := 'euclidean', components := 2"), **SPANS)
    assert found["value"] == pytest.approx(expected, rel=1e-9)
    width = seen.shape[1]
    whole = f", method := 'euclidean', components := {width}"
    every = measured.row(CALL.format("inputs.moved", whole), **SPANS)
    plain = measured.row(CALL.format("inputs.moved", ", method := 'euclidean'"), **SPANS)
    assert every["value"] == pytest.approx(plain["value"])
    many = measured.row(CALL.format("inputs.moved", ", method := 'euclidean', components := 99"), **SPANS)
    assert (many["value"], many["drifted"]) == (None, None)
    assert many["reason"].startswith(f"components is from 1 to {width} for ")


def test_a_classifier_tells_sides_apart(measured: Measured) -> None:
    """Its area is near that of scikit-learn's own pipeline, and its bound is what chance gives."""
    seen, now = SIDES["moved"]
    draw = np.random.default_rng(11)
    areas = []
    for _ in range(20):
        rows, others = draw.permutation(SEEN), draw.permutation(NOW)
        train = np.concatenate([seen[rows[: SEEN // 2]], now[others[: NOW // 2]]])
        test = np.concatenate([seen[rows[SEEN // 2 :]], now[others[NOW // 2 :]]])
        truth = np.arange(350) >= SEEN // 2
        model = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=1))
        areas.append(roc_auc_score(truth, model.fit(train, truth).decision_function(test)))
    found = measured.row(CALL.format("inputs.moved", ""), **SPANS)
    assert min(areas) - 0.02 < found["value"] < max(areas) + 0.02
    # The area of scores that know nothing has the variance of Mann and Whitney's statistic.
    error = np.sqrt((200 + 150 + 1) / (12 * 200 * 150))
    assert found["threshold"] == pytest.approx(0.5 + 1.645 * error, abs=0.01)
    assert (found["drifted"], found["p_value"]) == (1, 0.001)
    same = measured.row(CALL.format("inputs.same", ""), **SPANS)
    assert (same["drifted"], same["p_value"] > 0.05, same["reason"]) == (0, True, None)
    assert measured.row(CALL.format("inputs.moved", ""), **SPANS) == found
    told = measured.row(CALL.format("inputs.moved", ", threshold := 0.99"), **SPANS)
    assert (told["threshold"], told["drifted"]) == (0.99, 0)


def test_a_large_reference_has_a_fixed_bound(measured: Measured) -> None:
    """From a thousand vectors on the area is held against 0.55."""
    rows = np.random.default_rng(1).normal(size=(2000, 2)).tolist()
    made = {"time": [START + DAY * (i % 2) for i in range(2000)], "inputs.v": rows}
    measured.put("large", pa.table(made))
    sql = "FROM embedding_drift('large', $b, $c, inputs.v, $a, $b, samples := {})"
    assert measured.row(sql.format(1000), **SPANS)["threshold"] == 0.55
    assert measured.row(sql.format(999), **SPANS)["threshold"] != 0.55


def test_all_kinds_of_lists_are_vectors(measured: Measured) -> None:
    """Lists of single precision, and those of a fixed length, are as good as any."""
    for field in ("single", "fixed"):
        found = measured.row(CALL.format(f"inputs.{field}", ", method := 'euclidean'"), **SPANS)
        one, other = (side.mean(axis=0) for side in SIDES["moved"])
        assert found["value"] == pytest.approx(np.linalg.norm(one - other), rel=1e-5)


def test_vectors_with_gaps_are_left_out(measured: Measured) -> None:
    """What is missing, empty, partly missing or infinite does not count."""
    for method in ("classifier", "euclidean", "components", "mmd"):
        found = measured.row(CALL.format("inputs.gaps", f", method := '{method}'"), **SPANS)
        whole = [sum(i % 3 != 0 for i in rows) for rows in (range(SEEN), range(SEEN, SEEN + NOW))]
        assert [found["reference_count"], found["sample_count"]] == whole
        assert np.isfinite(found["value"])


@pytest.mark.parametrize(
    ("field", "more", "reason"),
    [
        ("same", ", min_rows := 301", "fewer than 301 rows"),
        ("same", ", min_rows := 401", "fewer than 401 rows in the reference"),
        ("uneven", ", method := 'euclidean'", "vectors of 2 and 3 numbers"),
        ("zero", ", method := 'cosine'", "undefined for these vectors"),
        ("odd_text", "", "the reference, or span, has no values to compare with here"),
    ],
)
def test_what_cannot_be_told_has_a_reason(measured: Measured, field: str, more: str, reason: str) -> None:
    """Too few vectors, unequal lengths and unknown methods give NULL and say why."""
    found = measured.row(CALL.format(f"inputs.{field}", more), **SPANS)
    assert (found["value"], found["drifted"]) == (None, None)
    assert found["reason"].startswith(reason)


@pytest.mark.parametrize("method", ["classifier", "euclidean", "components", "mmd"])
def test_constant_vectors_are_no_drift(measured: Measured, method: str) -> None:
    """Where every vector is the same there is no distance."""
    found = measured.row(CALL.format("inputs.zero", f", method := '{method}'"), **SPANS)
    assert found["value"] == (0.5 if method == "classifier" else 0)
    assert found["drifted"] == 0


def test_segments_and_windows_are_told_apart(measured: Measured) -> None:
    """Each has the reference of its segment."""
    apart = ", segments := {'half': inputs.half}, every := INTERVAL 12 HOURS"
    sql = CALL.format("inputs.moved", f"{apart}, method := 'euclidean', min_rows := 9")
    rows = measured.rows(sql, **SPANS)
    assert [(row["half"], row["sample_count"], row["reference_count"]) for row in rows] == [
        (half, 75, 200) for half in (False, True) for _ in range(2)
    ]
    seen, now = SIDES["moved"]
    expected = np.linalg.norm(seen[1::2].mean(axis=0) - now[1:150:2].mean(axis=0))
    assert rows[0]["value"] == pytest.approx(expected)


def test_a_missing_library_is_told(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn the classifier says how to get it; the other methods do without."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    found = measured.row(CALL.format("inputs.moved", ""), **SPANS)
    assert found["value"] is None
    assert found["reason"] == "scikit-learn is not installed: pip install 'lapwing[ml]'"
    for method in ("euclidean", "cosine", "components", "mmd"):
        assert measured.row(CALL.format("inputs.moved", f", method := '{method}'"), **SPANS)["value"]
