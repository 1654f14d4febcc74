"""Drift from values themselves: every method against scipy, or the formula that Evidently documents."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from helpers.metrics import START, Measured

WEEK = timedelta(days=7)
SPANS = {"a": START, "b": START + WEEK, "c": START + 2 * WEEK}
CALL = "FROM {}('m', $b, $c, {}, $a, $b{})"

Floats = np.ndarray[Any, np.dtype[np.float64]]


def sides() -> dict[str, tuple[list[Any], list[Any]]]:
    """Values of both weeks, with nulls, ties, infinities and NaN among them."""
    draw = np.random.default_rng(7)
    odd = [None, math.nan, math.inf, -math.inf]
    return {
        "x": ([*draw.normal(size=900), *odd], [*draw.normal(0.2, 1.2, size=600), *odd]),
        "tied": (
            draw.integers(0, 30, 904).astype(float).tolist(),
            draw.integers(2, 33, 604).astype(float).tolist(),
        ),
        "small": (draw.integers(0, 6, 904).tolist(), draw.integers(0, 7, 604).tolist()),
        "plan": (
            draw.choice(["a", "b", "c", None], 904).tolist(),
            draw.choice(["a", "b", "d", None], 604, p=[0.4, 0.3, 0.1, 0.2]).tolist(),
        ),
        "yes": ((draw.random(904) < 0.2).tolist(), (draw.random(604) < 0.3).tolist()),
        "constant": ([1.5] * 904, [1.5] * 604),
        "gone": (["a", "b"] * 452, [None] * 604),
        "come": ([None] * 904, ["a", "b"] * 302),
    }


SIDES = sides()


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    times = [START + i * WEEK / 904 for i in range(904)] + [START + WEEK + i * WEEK / 604 for i in range(604)]
    columns = {f"inputs.{name}": pa.array(seen + now) for name, (seen, now) in SIDES.items()}
    labels = [
        {"prediction_id": str(i), "label": value} for i, value in enumerate(SIDES["yes"][0] + SIDES["yes"][1])
    ]
    made.put("m", pa.table({"time": pa.array(times, pa.timestamp("us"))} | columns), labels)
    yield made
    made.close()


def finite(name: str) -> tuple[Floats, Floats]:
    seen, now = (np.array([np.nan if v is None else v for v in side], np.float64) for side in SIDES[name])
    return seen[np.isfinite(seen)], now[np.isfinite(now)]


TESTS: dict[str, Callable[[Floats, Floats], Any]] = {
    "ks_test": stats.ks_2samp,
    "mann_whitney": stats.mannwhitneyu,
    "epps_singleton": stats.epps_singleton_2samp,
    "anderson_darling": lambda r, c: stats.anderson_ksamp([r, c], variant="midrank"),
    "cramer_von_mises": stats.cramervonmises_2samp,
    "t_test": lambda r, c: stats.ttest_ind(c, r),
}


@pytest.mark.filterwarnings("ignore:p-value:UserWarning")
@pytest.mark.parametrize("field", ["x", "tied"])
@pytest.mark.parametrize("metric", TESTS)
def test_tests_of_numbers(measured: Measured, metric: str, field: str) -> None:
    """Statistic and probability are scipy's, over the finite values."""
    found = measured.row(CALL.format(metric, f"inputs.{field}", ""), **SPANS)
    seen, now = finite(field)
    expected = TESTS[metric](seen, now)
    assert found["statistic"] == pytest.approx(expected.statistic, rel=1e-9)
    assert found["value"] == found["p_value"] == pytest.approx(expected.pvalue, rel=1e-6)
    assert (found["sample_count"], found["reference_count"], found["reason"]) == (len(now), len(seen), None)
    if metric != "t_test":
        assert found["effect_size"] == pytest.approx(stats.ks_2samp(seen, now).statistic)


@pytest.mark.parametrize("field", ["x", "tied"])
def test_distances_of_numbers(measured: Measured, field: str) -> None:
    """Wasserstein is in deviations of the reference, energy in the number's own unit."""
    seen, now = finite(field)
    found = measured.row(CALL.format("wasserstein", f"inputs.{field}", ""), **SPANS)
    assert found["value"] == pytest.approx(stats.wasserstein_distance(seen, now) / np.std(seen))
    found = measured.row(CALL.format("energy_distance", f"inputs.{field}", ""), **SPANS)
    assert found["value"] == pytest.approx(stats.energy_distance(seen, now))


def test_mean_discrepancy(measured: Measured) -> None:
    """It is the unbiased one with a Gaussian kernel, of those values whose ids have the least hashes."""
    found = measured.row(CALL.format("empirical_mmd", "inputs.x", ", samples := 200"), **SPANS)
    drawn = []
    for first, last in (("a", "b"), ("b", "c")):
        sql = (
            "SELECT inputs.x AS x FROM predictions_all.m WHERE time >= $first AND time < $last "
            "AND isfinite(inputs.x) ORDER BY hash(prediction_id) LIMIT 200"
        )
        drawn.append(np.array([row["x"] for row in measured.rows(sql, first=SPANS[first], last=SPANS[last])]))
    x, y = drawn
    width = np.median((x[:, None] - x[None, :]) ** 2)

    def kernel(a: Floats, b: Floats) -> Floats:
        return np.exp(-((a[:, None] - b[None, :]) ** 2) / width)  # type: ignore[no-any-return]

    within = [(kernel(each, each).sum() - 200) / (200 * 199) for each in (x, y)]
    assert found["statistic"] == pytest.approx(sum(within) - 2 * kernel(x, y).mean(), rel=1e-9)
    assert (found["sampled"], found["sample_count"]) == (200, 600)
    assert 0 < found["value"] < 0.3
    same = measured.row(
        "FROM empirical_mmd('m', $a, $b, inputs.x, $a, $b, samples := 200)", a=START, b=START + WEEK
    )
    assert same["value"] > 0.5


def counted(name: str, *, nulls: bool = True) -> tuple[Floats, Floats]:
    seen, now = ([value for value in side if nulls or value is not None] for side in SIDES[name])
    values = sorted({*map(str, seen), *map(str, now)})
    seen_counts, now_counts = (
        np.array([list(map(str, side)).count(v) for v in values]) for side in (seen, now)
    )
    return seen_counts.astype(float), now_counts.astype(float)


def test_tests_of_categories(measured: Measured) -> None:
    """Both sides are samples, and missing values are a category of their own."""
    seen, now = counted("plan")
    for metric, by in (("chi2_rows", "pearson"), ("g_test_rows", "log-likelihood")):
        found = measured.row(CALL.format(metric, "inputs.plan", ""), **SPANS)
        expected = stats.chi2_contingency([seen, now], correction=False, lambda_=by)
        assert (found["statistic"], found["value"]) == pytest.approx((expected.statistic, expected.pvalue))
        assert found["sample_count"] == 604
        bare = measured.row(CALL.format(metric, "inputs.plan", ", nulls := false"), **SPANS)
        expected = stats.chi2_contingency(counted("plan", nulls=False), correction=False, lambda_=by)
        assert bare["value"] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("field", ["gone", "come"])
def test_a_category_that_goes_missing_drifts(measured: Measured, field: str) -> None:
    """Null is a value like others even where there is no other, unless nulls are left out."""
    seen, now = SIDES[field]
    table = [[side.count(value) for value in ("a", "b", None)] for side in (seen, now)]
    found = measured.row(CALL.format("chi2_rows", f"inputs.{field}", ""), **SPANS)
    assert found["statistic"] == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)
    assert (found["sample_count"], found["reference_count"]) == (604, 904)
    found = measured.row(CALL.format("js_distance_rows", f"inputs.{field}", ""), **SPANS)
    assert found["value"] == pytest.approx(math.sqrt(math.log(2)))
    bare = measured.row(CALL.format("chi2_rows", f"inputs.{field}", ", nulls := false"), **SPANS)
    assert bare["value"] is None
    assert bare["reason"] is not None


def test_total_variation_by_permutation(measured: Measured) -> None:
    """The distance is half of what shares differ by, its probability near that of scipy's permutations."""
    found = measured.row(CALL.format("total_variation_rows", "inputs.small", ""), **SPANS)
    seen, now = counted("small")
    assert found["statistic"] == pytest.approx(np.abs(seen / 904 - now / 604).sum() / 2)

    def distance(a: Floats, b: Floats) -> float:
        counts = [np.bincount(each.astype(int), minlength=7) / len(each) for each in (a, b)]
        return float(np.abs(counts[0] - counts[1]).sum() / 2)

    sides = tuple(np.array(side) for side in SIDES["small"])
    expected = stats.permutation_test(sides, distance, n_resamples=400, rng=1, alternative="greater")
    assert found["value"] == pytest.approx(expected.pvalue, abs=0.02)
    again = measured.row(
        "FROM total_variation_rows('m', $a, $b, inputs.small, $a, $b)", a=START, b=START + WEEK
    )
    assert (again["statistic"], again["value"]) == (0, 1)


def test_tests_of_two_shares(measured: Measured) -> None:
    """Z, Fisher's and Barnard's, for two values; for more there is a reason why not."""
    table = np.array(counted("yes"))
    pooled = table[:, 0].sum() / table.sum()
    shares = table[:, 0] / table.sum(axis=1)
    z = (shares[0] - shares[1]) / math.sqrt(pooled * (1 - pooled) * (1 / table.sum(axis=1)).sum())
    found = measured.row(CALL.format("z_test", "inputs.yes", ""), **SPANS)
    assert (found["statistic"], found["value"]) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))
    found = measured.row(CALL.format("fisher_exact", "inputs.yes", ""), **SPANS)
    expected = stats.fisher_exact(table)
    assert (found["statistic"], found["value"]) == pytest.approx((expected.statistic, expected.pvalue))
    few = {"a": START, "b": START + timedelta(hours=10), "c": START + WEEK + timedelta(hours=10)}
    sql = "FROM {}('m', $b - INTERVAL 10 HOUR, $b, inputs.yes, $c - INTERVAL 10 HOUR, $c)"
    found = measured.row(sql.format("barnard_exact"), b=few["b"], c=few["c"])
    sizes = [found["reference_count"], found["sample_count"]]
    now, seen = SIDES["yes"][0][: sizes[1]], SIDES["yes"][1][: sizes[0]]
    square = [[side.count(False), side.count(True)] for side in (seen, now)]
    assert found["value"] == pytest.approx(stats.barnard_exact(np.array(square).T).pvalue, rel=1e-6)
    for metric in ("z_test", "fisher_exact", "barnard_exact"):
        reason = measured.row(CALL.format(metric, "inputs.plan", ""), **SPANS)["reason"]
        assert "for two values" in reason or "200 rows" in reason


def evidently(seen: Floats, now: Floats, *, numbers: bool) -> tuple[Floats, Floats]:
    """Shares by the method that Evidently documents."""
    if numbers and len(np.unique(seen)) > 20:
        edges = np.histogram_bin_edges(np.concatenate([seen, now]), bins="sturges")
        return np.histogram(seen, edges)[0] / len(seen), np.histogram(now, edges)[0] / len(now)
    values = np.union1d(seen, now)
    return (
        np.array([(seen == value).mean() for value in values]),
        np.array([(now == value).mean() for value in values]),
    )


def filled(shares: Floats) -> Floats:
    least = shares[shares > 0].min()
    return np.where(shares == 0, least / 1e6 if least <= 1e-4 else 1e-4, shares)


@pytest.mark.parametrize("field", ["x", "tied", "small", "plan"])
def test_distances_by_evidentlys_method(measured: Measured, field: str) -> None:
    """Pooled edges by Sturges' rule, or a bin per value; empty bins filled where a logarithm needs it."""
    if field == "plan":
        seen, now = (np.array([v for v in side if v is not None]) for side in SIDES["plan"])
    else:
        seen, now = finite(field)
    p, q = evidently(seen, now, numbers=field != "plan")
    expected = {
        "psi": ((filled(p) - filled(q)) * np.log(filled(p) / filled(q))).sum(),
        "js_distance": jensenshannon(p, q),
        "kl_divergence": stats.entropy(filled(p), filled(q)),
    }
    if field == "plan":
        expected["hellinger"] = math.sqrt(1 - np.sqrt(p * q).sum())
    elif field != "small":
        edges = np.histogram_bin_edges(np.union1d(seen, now), bins="sturges")
        shares = (np.histogram(each, edges)[0] / len(each) for each in (seen, now))
        expected["hellinger"] = math.sqrt(1 - np.sqrt(np.prod(list(shares), axis=0)).sum())
    for metric, value in expected.items():
        sql = CALL.format(f"{metric}_rows", f"inputs.{field}", ", binning := 'evidently', nulls := false")
        assert measured.row(sql, **SPANS)["value"] == pytest.approx(value, rel=1e-9), metric


def test_empty_bins_beside_rare_ones_by_evidentlys_method(measured: Measured) -> None:
    """Where a share is no more than 1e-4, an empty bin counts as a millionth of the least one."""
    r, c = [100_000, 5, 0], [50, 0, 50]
    p, q = (filled(np.array(each) / sum(each)) for each in (r, c))
    assert p.min() < 1e-9
    sql = "SELECT lapwing_two_counts($method, $r, $c, 'evidently').statistic AS value"
    found = {name: measured.row(sql, method=name, r=r, c=c)["value"] for name in ("psi", "kl_divergence")}
    assert found["psi"] == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert found["kl_divergence"] == pytest.approx(stats.entropy(p, q))


def test_tests_by_evidentlys_method(measured: Measured) -> None:
    """The reference is taken for the truth: a goodness of fit, and a new value is drift for certain."""
    seen, now = counted("yes")
    expected = seen * now.sum() / seen.sum()
    for metric, by in (("chi2_rows", "pearson"), ("g_test_rows", "log-likelihood")):
        sql = CALL.format(metric, "inputs.yes", ", binning := 'evidently'")
        found = stats.power_divergence(now, expected, lambda_=by)
        assert measured.row(sql, **SPANS)["value"] == pytest.approx(found.pvalue)
        sql = CALL.format(metric, "inputs.plan", ", binning := 'evidently', nulls := false")
        assert measured.row(sql, **SPANS)["value"] == 0


def test_bins_of_the_reference(measured: Measured) -> None:
    """Unless told otherwise numbers are binned at the deciles of the reference."""
    seen, now = finite("x")
    edges = [-math.inf, *np.quantile(seen, np.arange(1, 10) / 10), math.inf]
    p, q = (np.histogram(each, edges)[0] / len(each) for each in (seen, now))
    found = measured.row(CALL.format("psi_rows", "inputs.x", ""), **SPANS)
    assert found["value"] == pytest.approx(((p - q) * np.log(p / q)).sum())


def test_tests_without_a_reference(measured: Measured) -> None:
    """The mean, or a share, against what it ought to be."""
    _, now = finite("x")
    span = {"b": SPANS["b"], "c": SPANS["c"]}
    found = measured.row("FROM one_sample_t('m', $b, $c, inputs.x, 0.1)", **span)
    expected = stats.ttest_1samp(now, 0.1)
    assert (found["statistic"], found["value"]) == pytest.approx((expected.statistic, expected.pvalue))
    found = measured.row("FROM one_sample_z('m', $b, $c, inputs.x, 0.1, 1.2)", **span)
    z = (now.mean() - 0.1) / 1.2 * math.sqrt(len(now))
    assert (found["statistic"], found["value"]) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))
    share = sum(SIDES["yes"][1]) / 604
    found = measured.row("FROM one_proportion('m', $b, $c, inputs.yes, 0.2)", **span)
    z = (share - 0.2) / math.sqrt(0.2 * 0.8 / 604)
    assert (found["statistic"], found["value"]) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))
    for call in ("t('m', $b, $c, inputs.constant, 1.0)", "z('m', $b, $c, inputs.constant, 1.0, 0)"):
        constant = measured.row(f"FROM one_sample_{call}", **span)
        assert (constant["value"], constant["reason"]) == (None, "nothing varies")
    sure = measured.row("FROM one_proportion('m', $b, $c, inputs.constant > 1, 1)", **span)
    assert (sure["value"], sure["effect_size"], sure["reason"]) == (None, 0, "nothing varies")
    few = measured.row("FROM one_sample_t('m', $b, $c, inputs.x, 0.1, min_rows := 601)", **span)
    assert (few["value"], few["reason"]) == (None, "fewer than 601 rows")


@pytest.mark.parametrize("metric", [*TESTS, "empirical_mmd", "wasserstein", "energy_distance", "psi_rows"])
def test_constants_and_single_rows_are_no_errors(measured: Measured, metric: str) -> None:
    """What cannot be told of them is NULL with a reason, or no difference at all."""
    same = measured.row(CALL.format(metric, "inputs.constant", ""), **SPANS)
    if metric == "t_test":
        assert (same["value"], same["reason"]) == (None, "the values do not vary")
    else:
        assert same["value"] == (1 if metric in TESTS or metric == "empirical_mmd" else 0)
    single = (
        "FROM {}('m', $b, $b + INTERVAL 1 SECOND, inputs.tied, $a, $a + INTERVAL 1 SECOND, min_rows := 1)"
    )
    found = measured.row(single.format(metric), a=SPANS["a"], b=SPANS["b"])
    assert (found["sample_count"], found["reference_count"]) == (1, 1)
    assert found["value"] is None or math.isfinite(found["value"])
    empty = measured.rows(CALL.format(metric, "inputs.x", ""), a=START - WEEK, b=START, c=START + WEEK)
    assert (empty[0]["value"], empty[0]["reference_count"]) == (None, 0)
    assert empty[0]["reason"] == "the reference, or span, has no values to compare with here"
    assert (
        measured.rows(CALL.format(metric, "inputs.x", ""), a=START, b=START + 3 * WEEK, c=START + 4 * WEEK)
        == []
    )


def test_labels_that_drift(measured: Measured) -> None:
    """Truth is compared as it is: by segment, in windows, as known at a time, and only where it is known."""
    found = measured.row("FROM label_drift('m', $b, $c, $a, $b)", **SPANS)
    table = np.array(counted("yes"))
    expected = stats.chi2_contingency(table, correction=False)
    assert (found["method"], found["p_value"]) == ("z_test", pytest.approx(expected.pvalue))
    assert found["drifted"] == int(expected.pvalue <= 0.05 and found["effect_size"] >= 0.1)
    assert (found["sample_count"], found["reference_count"], found["label_coverage"]) == (604, 904, 1)
    sql = (
        "FROM label_drift('m', $b, $c, $a, $b, segments := {'plan': inputs.plan}, every := INTERVAL 84 HOUR)"
    )
    rows = measured.rows(sql, **SPANS)
    assert sum(row["sample_count"] for row in rows) == 604
    early = measured.row("FROM label_drift('m', $b, $c, $a, $b, as_of := $b)", **SPANS)
    assert (early["value"], early["sample_count"]) == (None, 0) or early["reason"] is not None
