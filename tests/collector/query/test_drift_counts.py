"""Drift from counts: distances and tests against scipy, and what is compared with what."""

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from helpers.drift import Profiled
from helpers.metrics import START
from lapwing_collector.metrics.binning import MOST_CATEGORIES
from lapwing_collector.model.profiles import BINS, DURATIONS

SPAN = {"since": START, "until": START + timedelta(days=7)}
DISTANCES = ("psi", "js_distance", "kl_divergence", "hellinger", "total_variation")
HOUR = timedelta(hours=1)

pairs_of_counts = st.integers(2, 40).flatmap(
    lambda size: st.tuples(
        *[st.lists(st.integers(0, 10_000), min_size=size, max_size=size).filter(any) for _ in range(2)]
    )
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Profiled]:
    made = Profiled()
    made.put("m", [{"inputs.x": 1.0}])
    yield made
    made.close()


@pytest.fixture
def model(shared: Profiled) -> Profiled:
    shared.forget()
    return shared


def compared(measured: Profiled, r: list[int], c: list[int]) -> dict[str, Any]:
    distances = ", ".join(
        f"lapwing_{name}(p, q) AS {name}, lapwing_{name}(q, p) AS {name}_back" for name in DISTANCES
    )
    return measured.row(
        f"SELECT {distances}, lapwing_chi2(r, c) AS chi2, lapwing_g_test(r, c) AS g_test, "
        "lapwing_ks_counts(r, c) AS ks FROM (SELECT r, c, lapwing_shares(r) AS p, lapwing_shares(c) AS q "
        "FROM (SELECT $r::BIGINT[] AS r, $c::BIGINT[] AS c))",
        r=r,
        c=c,
    )


@given(pairs_of_counts)
@settings(max_examples=25, deadline=None)
def test_distances_and_tests_of_counts(shared: Profiled, pair: tuple[list[int], list[int]]) -> None:
    """They agree with scipy to 9 digits, are symmetric where they should be, and keep their bounds."""
    r, c = pair
    found = compared(shared, r, c)
    p, q = np.array(r) / sum(r), np.array(c) / sum(c)
    filled = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    near = {"rel": 1e-9, "abs": 1e-9}
    assert found["js_distance"] == pytest.approx(np.nan_to_num(jensenshannon(p, q)), abs=1e-7)
    assert found["kl_divergence"] == pytest.approx(stats.entropy(*filled), **near)
    assert found["psi"] == pytest.approx(
        (filled[0] * np.log(filled[0] / filled[1])).sum() + (filled[1] * np.log(filled[1] / filled[0])).sum(),
        **near,
    )
    assert found["hellinger"] == pytest.approx(
        math.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2), abs=1e-7
    )
    assert found["total_variation"] == pytest.approx(np.maximum(p - q, 0).sum(), **near)
    for name in set(DISTANCES) - {"kl_divergence"}:
        assert found[name] == pytest.approx(found[f"{name}_back"], **near)
    assert 0 <= found["js_distance"] <= math.sqrt(math.log(2)) + 1e-12
    assert 0 <= found["hellinger"] <= 1
    assert min(found[name] for name in DISTANCES) >= 0
    table = np.array([r, c])
    table = table[:, table.any(axis=0)]
    if table.shape[1] > 1:
        for name, by in (("chi2", "pearson"), ("g_test", "log-likelihood")):
            expected = stats.chi2_contingency(table, correction=False, lambda_=by)
            assert found[name]["statistic"] == pytest.approx(expected.statistic, rel=1e-9, abs=1e-7)
            assert found[name]["p_value"] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert 0 <= found["chi2"]["effect_size"] <= 1 + 1e-12
    statistic, p_value = kolmogorov_smirnov(r, c)
    assert found["ks"]["statistic"] == pytest.approx(statistic, abs=1e-12)
    assert found["ks"]["p_value"] == pytest.approx(p_value, rel=1e-6, abs=1e-9)


def kolmogorov_smirnov(r: list[int], c: list[int]) -> tuple[float, float]:
    """The test of the bins of numbers, and that of how much is missing, null and infinite, for two tries."""
    statistic, p_value = 0.0, 1.0
    n, m = sum(r[2:]), sum(c[2:])
    if n and m:
        statistic = float(np.abs(np.cumsum(r[2:]) / n - np.cumsum(c[2:]) / m).max())
        p_value = float(stats.kstwobign.sf(statistic * math.sqrt(n * m / (n + m))))
    kinds = np.array([[*r[:2], n], [*c[:2], m]])
    kinds = kinds[:, kinds.any(axis=0)]
    if kinds.shape[1] > 1:
        shares = kinds / kinds.sum(axis=1, keepdims=True)
        statistic = max(statistic, float(np.abs(shares[0] - shares[1]).sum() / 2))
        p_value = min(1.0, 2 * min(p_value, stats.chi2_contingency(kinds, correction=False).pvalue))
    return statistic, p_value


@given(pairs_of_counts, st.integers(1, 50))
@settings(max_examples=10, deadline=None)
def test_equal_shares_are_no_distance(
    shared: Profiled, pair: tuple[list[int], list[int]], times: int
) -> None:
    """What has the same shares is 0 apart by every method, however many rows there are."""
    r, _ = pair
    found = compared(shared, r, [each * times for each in r])
    assert [found[name] for name in DISTANCES] == pytest.approx([0] * 5, abs=1e-7)
    assert found["chi2"]["p_value"] == pytest.approx(1)
    assert (found["ks"]["statistic"], found["ks"]["p_value"]) == pytest.approx((0, 1), abs=1e-9)


def test_effect_size_is_that_of_equal_samples(shared: Profiled) -> None:
    """Cramér's V of two samples of one size, as scipy has it, however large the reference is."""
    expected = stats.contingency.association(np.array([[500, 300, 200], [400, 300, 300]]))
    found = compared(shared, [50_000, 30_000, 20_000], [40, 30, 30])
    assert found["chi2"]["effect_size"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("r", "c"), [(None, [1, 2]), ([1, 2], None), ([1, 2], [1, 2, 3]), ([0, 0], [1, 2]), ([1, 2], [0, 0])]
)
def test_nothing_to_compare_is_null(shared: Profiled, r: list[int] | None, c: list[int] | None) -> None:
    """Counts that are missing, empty or of other bins give NULL, and no error."""
    found = compared(shared, r, c)  # type: ignore[arg-type]
    if r is None or c is None or len(r) == len(c):
        assert [found[name] for name in DISTANCES] == [None] * 5
    assert found["chi2"]["p_value"] is None
    if r is None or c is None or len(r) != len(c):
        assert found["ks"]["p_value"] is None


def values(model: Profiled, metric: str, arguments: str = "") -> dict[str, dict[str, Any]]:
    rows = model.rows(f"FROM {metric}('m', $since, $until{arguments})", **SPAN)
    return {row["field"]: row for row in rows}


def drawn(seed: int = 1, n: int = 4000) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    return {
        "normal": draw.normal(size=n),
        "tail": draw.lognormal(sigma=1.5, size=n),
        "whole": draw.integers(0, 12, n).astype(float),
        "flag": draw.integers(0, 2, n).astype(float),
        "spikes": np.where(draw.random(n) < 0.4, 0.0, draw.exponential(size=n)),
    }


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.7, 5.0])
def test_wasserstein_from_bins(model: Profiled, shift: float) -> None:
    """It is scipy's of the values over the reference's deviation, within a hundredth of it or 2 per cent."""
    reference, current = drawn(1), drawn(2)
    current["normal"] += shift
    current["tail"] *= 1 + shift
    current["whole"] += round(shift)
    current["flag"][: int(1000 * shift)] = 1
    for field, each in reference.items():
        model.bins(field, each)
    model.keep(reference)
    model.count(current)
    found = values(model, "wasserstein_binned", ", reference := 'train'")
    for field, seen in reference.items():
        expected = stats.wasserstein_distance(seen, current[field]) / np.std(seen)
        assert found[field]["value"] == pytest.approx(expected, rel=0.02, abs=0.01), field


def test_profiles_as_the_lake_keeps_them(model: Profiled) -> None:
    """Counts by the lake's own bins give what the values give that fall between their edges."""
    seen, now = drawn(1), drawn(2, 900)
    now["normal"][::9] = np.nan
    columns = {f"inputs.{name}": values for name, values in now.items()}
    rows = [
        dict(zip(columns, each, strict=True))
        for each in zip(*(now[name].tolist() for name in now), strict=True)
    ]
    model.put("real", rows)
    model.profile("real", sample=pa.table({f"inputs.{name}": values for name, values in seen.items()}))
    model.refer("real", "train", pa.table({f"inputs.{name}": values for name, values in seen.items()}))
    bins = {row["field"]: row["edges"] for row in model.rows("FROM binnings WHERE table_name = 'real'")}
    found = model.rows("FROM psi('real', $since, $until, bins := NULL, fields := 'inputs.*')", **SPAN)
    assert len(found) == len(now)
    for row in found:
        name = row["field"].removeprefix("inputs.")
        edges = [-math.inf, *bins[row["field"]], math.inf]
        shares = [
            np.array([np.isnan(each).sum(), *np.histogram(each[~np.isnan(each)], edges)[0]]) / len(each)
            for each in (seen[name], now[name])
        ]
        p, q = (np.maximum(each, 1e-4) for each in shares)
        assert row["value"] == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=0.02, abs=2e-3), name


def test_wasserstein_knows_what_went_missing(model: Profiled) -> None:
    """A value that is null, NaN or infinite counts as moved by a deviation; so do all of them."""
    seen = drawn()["normal"]
    for field in ("some", "all", "infinite", "same"):
        model.bins(field, seen)
    model.keep(dict.fromkeys(("some", "all", "infinite", "same"), seen))
    model.count(
        {
            "some": [None if i % 4 == 0 else x for i, x in enumerate(seen)],
            "all": [None] * 4000,
            "infinite": [-math.inf if i % 2 else math.nan for i in range(4000)],
            "same": seen,
        }
    )
    found = {field: row["value"] for field, row in values(model, "wasserstein_binned").items()}
    assert found == pytest.approx({"some": 0.25, "all": 1, "infinite": 1, "same": 0}, abs=0.02)
    assert values(model, "ks_binned")["some"]["effect_size"] == pytest.approx(0.25, abs=1e-3)


def test_a_constant_that_changes_is_far_away(model: Profiled) -> None:
    """The reference's deviation counts as 0.001 at least, and what left its one bin is found."""
    model.bins("x", [5.0])
    model.keep({"x": [5.0] * 500})
    model.count({"x": [7.0] * 500})
    assert values(model, "wasserstein_binned")["x"]["value"] == pytest.approx(2000)
    assert values(model, "js_distance")["x"]["value"] == pytest.approx(math.sqrt(math.log(2)))
    assert values(model, "drift")["x"]["drifted"] == 1


def test_numbers_too_large_to_square(model: Profiled) -> None:
    """They fail alone, with a reason; what goes by ranks and shares works."""
    large, usual = drawn(1)["normal"] * 1e200, drawn(2)["normal"]
    for field, seen in (("large", large), ("usual", usual)):
        model.bins(field, seen)
    with np.errstate(over="ignore"):
        model.keep({"large": large, "usual": usual})
        model.count({"large": large * 2, "usual": usual})
    for metric in ("wasserstein_binned", "mean_shift", "drift"):
        found = values(model, metric)
        assert (found["large"]["value"], found["usual"]["value"]) == (None, pytest.approx(0, abs=1e-9))
        assert (found["large"]["reason"] is None, found["usual"]["reason"]) == (False, None)
    assert values(model, "ks_binned")["large"]["value"] < 1e-9
    assert values(model, "psi")["large"]["value"] > 0.25


def test_mean_shift_is_welchs(model: Profiled) -> None:
    """From sums alone come Cohen's d and the probability that scipy finds in the values."""
    seen, now = drawn(1)["normal"], drawn(2, 700)["normal"] * 1.5 + 0.1
    model.bins("x", seen)
    model.keep({"x": seen})
    model.count({"x": [*now[:300], None, math.inf]})
    model.count({"x": now[300:]}, START + HOUR)
    found = values(model, "mean_shift")["x"]
    expected = stats.ttest_ind(now, seen, equal_var=False)
    assert found["p_value"] == pytest.approx(expected.pvalue, rel=1e-6)
    spread = math.sqrt((now.var(ddof=1) + seen.var(ddof=1)) / 2)
    assert found["value"] == pytest.approx((now.mean() - seen.mean()) / spread, rel=1e-9)


def test_fewer_bins_are_sums_of_all(shared: Profiled) -> None:
    """Ranges side by side are put together, none is lost, and null, other, under and over stay apart."""
    found = shared.row("SELECT lapwing_coarse(range(68)::BIGINT[], 'number', 10) AS coarse")["coarse"]
    groups = [range(3 + part * 64 // 10, 3 + (part + 1) * 64 // 10) for part in range(10)]
    assert found == [0, 1, 2, *(sum(group) for group in groups), 67]
    same = "lapwing_coarse(range({n})::BIGINT[], '{kind}', {bins})"
    for n, kind, bins in ((68, "number", "NULL"), (68, "category", "10"), (12, "number", "10")):
        sql = same.format(n=n, kind=kind, bins=bins)
        assert shared.row(f"SELECT {sql} AS coarse")["coarse"] == list(range(n))


def test_the_longest_binning_is_added_up(shared: Profiled) -> None:
    """Counts of as many places as a binning can have, and of every shorter one, add up place by place."""
    longest = max(MOST_CATEGORIES + 2, BINS + 4, DURATIONS.length)
    whole = f"('a', range({longest})::BIGINT[])"
    rows = f"(VALUES {whole}, {whole}, ('b', [1, 2]), ('b', [3, 4]))"
    sql = f"SELECT lapwing_total(counts) AS total FROM {rows} AS t(name, counts) GROUP BY name ORDER BY name"
    found = [row["total"] for row in shared.rows(sql)]
    assert found == [[2 * n for n in range(longest)], [4, 6]]


def test_missing_values_are_a_bin_unless_told(model: Profiled) -> None:
    """A share of nulls is drift; with `nulls := false` the rest is compared, and nulls are no rows."""
    model.bins("plan", ["a", "b"])
    model.keep({"plan": ["a", "b"] * 500})
    model.count({"plan": ["a", "b", None, None] * 250})
    found = values(model, "psi")["plan"]
    assert (found["sample_count"], found["value"] > 0.25) == (1000, True)
    found = values(model, "psi", ", nulls := false")["plan"]
    assert (found["sample_count"], found["value"]) == (500, pytest.approx(0))


def test_too_few_rows_are_no_verdict(model: Profiled) -> None:
    """Either side needs its least number of rows; what lacks is told, of every field by itself."""
    seen = drawn()["normal"]
    for field, n in (("few_now", 4000), ("few_before", 99), ("alone", 4000)):
        model.bins(field, seen)
        if field != "alone":
            model.keep({field: seen[:n]}, version=1)
    model.count({"few_now": seen[:99], "few_before": seen, "alone": seen})
    for metric in ("psi", "chi2", "ks_binned", "wasserstein_binned", "mean_shift", "drift"):
        found = values(model, metric)
        assert [found[field]["value"] for field in found] == [None] * 3
        assert found["few_now"]["reason"] == "fewer than 100 rows"
        assert found["few_before"]["reason"] == "fewer than 100 rows in the reference"
        assert found["alone"]["reason"] == "the reference has no value of this field"
    assert values(model, "psi", ", min_rows := 99")["few_now"]["value"] is not None
    found = values(model, "drift")
    assert (found["few_now"]["drifted"], found["few_now"]["method"]) == (None, "wasserstein_binned")
    assert (found["alone"]["drifted"], found["alone"]["method"]) == (None, None)


def test_the_newest_version_of_a_reference_is_meant(model: Profiled) -> None:
    """By its name, or the newest of all that are for drift."""
    model.bins("plan", ["a", "b"])
    model.keep({"plan": ["a"] * 500}, "train", 1)
    model.keep({"plan": ["a", "b"] * 500}, "train", 2)
    model.keep({"plan": ["b"] * 500}, "other", 3)
    model.count({"plan": ["a", "b"] * 100})
    assert values(model, "psi", ", reference := 'train'")["plan"]["value"] == pytest.approx(0)
    assert values(model, "psi")["plan"]["value"] > 1


def test_bins_that_changed_are_not_mixed(model: Profiled) -> None:
    """Of a field that was binned anew, the rows in the bins of the reference are compared."""
    model.bins("plan", ["a", "b"])
    model.keep({"plan": ["a", "b"] * 500})
    model.count({"plan": ["a", "b"] * 100})
    model.bins("plan", ["a", "b", "c"], version=2)
    model.count({"plan": ["c"] * 300})
    (found,) = model.rows("FROM psi('m', $since, $until)", **SPAN)
    assert (found["sample_count"], found["value"]) == (200, pytest.approx(0))


def test_another_span_can_be_the_reference(model: Profiled) -> None:
    """Its counts are taken of the same profile, by segment too, in windows of any length."""
    model.bins("plan", ["a", "b"])
    for day, plans in enumerate(["ab", "ab", "ab", "bb"]):
        for carrier, extra in (("AA", ""), ("UA", "bbb" * day)):
            drawn_plans = [*(plans * 60), *(extra * 60)]
            model.count({"plan": drawn_plans}, START + timedelta(days=day), f"inputs.carrier={carrier}")
    found = model.rows(
        "FROM psi('m', $since + INTERVAL 2 DAYS, $since + INTERVAL 4 DAYS, segment := 'inputs.carrier', "
        "reference_since := $since, reference_until := $since + INTERVAL 2 DAYS, every := INTERVAL 1 DAY)",
        since=START,
    )
    assert [(row["segment"], row["window_start"].day, row["value"] > 0.1) for row in found] == [
        ("inputs.carrier=AA", 3, False),
        ("inputs.carrier=AA", 4, True),
        ("inputs.carrier=UA", 3, True),
        ("inputs.carrier=UA", 4, True),
    ]
    model.keep({"plan": ["a", "b"] * 500})
    (found, *_) = model.rows("FROM psi('m', $since, $until, segment := 'inputs.carrier=AA')", **SPAN)
    assert (found["value"], "reference_since" in found["reason"]) == (None, True)


def test_policies_choose_the_past_of_each_window(model: Profiled) -> None:
    """`rolling` is the time before a window, `same_hours` the same hours of earlier weeks."""
    model.bins("plan", ["day", "night"])
    shown = {
        START + hour * HOUR: {"plan": ["day" if 8 <= hour % 24 < 20 else "night"] * 200}
        for hour in range(15 * 24)
    }
    model.counts(shown)
    model.choose("last day", "rolling", timedelta(days=1))
    model.choose("same hours", "same_hours", timedelta(weeks=2))
    since = START + timedelta(days=14, hours=9)
    span = {"since": since, "until": since + 2 * HOUR}
    call = "FROM psi('m', $since, $until, reference := '{}', every := INTERVAL 1 HOUR)"
    rolling = model.rows(call.format("last day"), **span)
    assert [row["reference_count"] for row in rolling] == [24 * 200] * 2
    assert min(row["value"] for row in rolling) > 0.25
    same = model.rows(call.format("same hours"), **span)
    assert [(row["reference_count"], row["value"]) for row in same] == [(400, pytest.approx(0))] * 2


def test_fields_are_chosen_by_pattern(model: Profiled) -> None:
    """Those that the pattern fits, and tests of numbers pass categories over."""
    fields: dict[str, Any] = {
        "inputs.age": drawn()["normal"],
        "inputs.plan": ["a", "b"] * 2000,
        "output.score": drawn()["tail"],
    }
    for field, each in fields.items():
        model.bins(field, each)
    model.keep(fields)
    model.count(fields)
    assert set(values(model, "psi", ", fields := 'inputs.*'")) == {"inputs.age", "inputs.plan"}
    assert set(values(model, "ks_binned")) == {"inputs.age", "output.score"}
    assert set(values(model, "drift", ", fields := 'output.*'")) == {"output.score"}
