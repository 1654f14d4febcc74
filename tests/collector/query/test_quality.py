"""Metrics of data quality against pandas."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from helpers.metrics import END, START, Measured
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.query.library import METRICS

SPAN = {"since": START, "until": END}
NUMBERS = ["inputs.age", "inputs.income", "inputs.fixed", "inputs.huge", "output.score"]
TEXTS = ["inputs.plan", "inputs.on"]
REFERENCE = "reference_since := TIMESTAMP '2026-01-01', reference_until := TIMESTAMP '2026-01-01 12:00'"
LATER = {"since": START + timedelta(hours=12), "until": END}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A day with missing values, NaN, infinities, ties, a constant, huge numbers and repeated rows."""
    chance = np.random.default_rng(11)
    n = 600
    frame = pd.DataFrame(
        {
            "time": START + pd.to_timedelta(np.arange(n) * 144, unit="s"),
            "prediction_id": [str(row % 590) for row in range(n)],
            "inputs.age": chance.integers(18, 30, n).astype(object),
            "inputs.income": chance.lognormal(8, 1, n),
            "inputs.fixed": 3,
            "inputs.huge": chance.choice([1e300, 1.0], n),
            "inputs.plan": chance.choice(["basic", "pro", "team", None], n, p=[0.5, 0.3, 0.1, 0.1]),
            "inputs.on": chance.choice([True, False], n),
            "output.score": chance.uniform(0, 1, n),
            "output.value": chance.choice(["yes", "no"], n),
            "extra": [None if row % 4 else '{"inputs.age": "forty"}' for row in range(n)],
        }
    )
    frame.loc[::9, "inputs.age"] = None
    frame.loc[::11, "inputs.income"] = np.nan
    frame.loc[7, "inputs.income"] = np.inf
    frame.loc[500:, "inputs.plan"] = frame.loc[500:, "inputs.plan"].replace({"team": "gold"})
    frame.loc[520:, "inputs.income"] *= 1000
    again = frame.loc[:19].assign(time=frame.loc[:19, "time"] + timedelta(seconds=1))
    again["output.value"] = again["output.value"].where(again.index % 2 == 0, "else")
    return pd.concat([frame, again], ignore_index=True)


@pytest.fixture(scope="module")
def measured(frame: pd.DataFrame) -> Iterator[Measured]:
    made = Measured()
    known = frame[:300]
    labels = pd.DataFrame(
        {
            "prediction_id": known["prediction_id"],
            "prediction_time": known["time"],
            "label": np.where(known["inputs.income"] > 3000, "yes", "no"),
        }
    )
    made.put("m", frame, labels, ModelDescription(positive_class="yes", threshold=0.5))
    yield made
    made.close()


def _values(rows: list[dict[str, object]], *by: str) -> dict[object, object]:
    return {tuple(row[name] for name in by) if len(by) > 1 else row[by[0]]: row["value"] for row in rows}


def _finite(frame: pd.DataFrame, field: str) -> pd.Series:
    values = frame[field].astype(float)
    return values[np.isfinite(values)]


def test_missing(measured: Measured, frame: pd.DataFrame) -> None:
    """NULL and NaN are missing, infinity is not; every field of inputs and output has its row."""
    fields = [*NUMBERS, *TEXTS, "output.value"]
    found = measured.rows("FROM missing_share('m', $since, $until)", **SPAN)
    assert _values(found, "field") == pytest.approx({name: frame[name].isna().mean() for name in fields})
    assert {row["sample_count"] for row in found} == {len(frame)}


def test_only_the_fields_that_are_asked_for(measured: Measured) -> None:
    """Fields are chosen by name, and one that never came is told with what may have been meant."""
    sql = "FROM missing_share('m', $since, $until, fields := ['inputs.age', 'output.score'])"
    assert {row["field"] for row in measured.rows(sql, **SPAN)} == {"inputs.age", "output.score"}
    with pytest.raises(NotSeenYetError, match=r"did you mean inputs\.age"):
        measured.rows("FROM missing_share('m', $since, $until, fields := ['inputs.agee'])", **SPAN)


def test_numbers(measured: Measured, frame: pd.DataFrame) -> None:
    """Extremes, mean, spread and quantiles are those of the finite values; what overflows is unknown."""
    found = _values(measured.rows("FROM numeric_summary('m', $since, $until)", **SPAN), "field", "statistic")
    for field in NUMBERS:
        values = _finite(frame, field)
        expected = {"min": values.min(), "max": values.max(), "mean": None, "std": None}
        expected |= {f"q{q}": values.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        if field != "inputs.huge":
            expected |= {"mean": values.mean(), "std": values.std()}
        assert {name: found[field, name] for name in expected} == pytest.approx(expected), field
    assert len(found) == 9 * len(NUMBERS)


def test_numbers_by_hour(measured: Measured, frame: pd.DataFrame) -> None:
    """Means and extremes from counts by hour are exact, and medians lie in the bin of those of the values."""
    measured.put("hourly", frame)
    measured.profile("hourly")
    every = "every := INTERVAL 6 HOURS"
    rows = measured.rows(f"FROM number_profile('hourly', $since, $until, {every})", **SPAN)
    windows = frame["time"].dt.floor("6h")
    assert {row["field"] for row in rows} == set(NUMBERS)
    assert len(rows) == len(NUMBERS) * windows.nunique()
    for row in rows:
        field = row["field"]
        values = _finite(frame[windows == row["window_start"]], field)
        assert row["sample_count"] == len(values)
        found = [row[name] for name in ("value", "minimum", "maximum")]
        assert found == pytest.approx([values.mean(), values.min(), values.max()]), field
        sql = "SELECT edges FROM binnings WHERE table_name = 'hourly' AND field = $field"
        (bins,) = measured.rows(sql, field=field)
        bounds = np.array([values.min(), *bins["edges"], values.max()])
        middle = np.quantile(values, 0.5, method="inverted_cdf")
        place = np.searchsorted(bins["edges"], middle, side="right")
        assert bounds[place] <= row["median"] <= bounds[place + 1], field
    sql = f"FROM number_profile('hourly', $since, $until, fields := 'output.*', version := 'none', {every})"
    assert measured.rows(sql, **SPAN) == []


def test_values(measured: Measured, frame: pd.DataFrame) -> None:
    """How many values a field has, and how much of it is the most common one, missing included."""
    fields = [*NUMBERS, *TEXTS, "output.value"]
    distinct = _values(measured.rows("FROM distinct_count('m', $since, $until)", **SPAN), "field")
    assert distinct == {name: frame[name].nunique() for name in fields}
    common = _values(measured.rows("FROM most_common_share('m', $since, $until)", **SPAN), "field")
    counts = {name: frame[name].value_counts(dropna=False, normalize=True) for name in fields}
    assert common == pytest.approx({name: each.max() for name, each in counts.items()})
    assert common["inputs.fixed"] == 1.0


def test_categories(measured: Measured, frame: pd.DataFrame) -> None:
    """Their shares are those of the rows that have a value, the most common first to be kept."""
    sql = "FROM category_share('m', $since, $until, fields := ['inputs.plan'], top := 2)"
    expected = frame["inputs.plan"].value_counts(normalize=True)[:2]
    assert _values(measured.rows(sql, **SPAN), "category") == pytest.approx(dict(expected))


def test_ranges_lists_and_patterns(measured: Measured, frame: pd.DataFrame) -> None:
    """Values beyond bounds, off a list or unlike a pattern are counted among those that are there."""

    def value(call: str) -> object:
        return measured.row(f"SELECT value FROM {call}", **SPAN)["value"]

    ages, incomes, plans = (frame[f"inputs.{name}"].dropna() for name in ("age", "income", "plan"))
    beyond = ((ages < 20) | (ages > 25)).mean()
    assert value("out_of_range_share('m', $since, $until, inputs.age, 20, 25)") == pytest.approx(beyond)
    assert value("out_of_range_share('m', $since, $until, inputs.age, NULL, 25)") == pytest.approx(
        (ages > 25).mean()
    )
    above = (incomes > 5000).mean()
    assert value("out_of_range_share('m', $since, $until, inputs.income, 0, 5000)") == pytest.approx(above)
    unlisted = (~plans.isin(["basic", "pro"])).mean()
    assert value("unlisted_share('m', $since, $until, inputs.plan, ['basic', 'pro'])") == pytest.approx(
        unlisted
    )
    matching = plans.str.contains("^.[aeo]").mean()
    assert value("pattern_share('m', $since, $until, inputs.plan, '^.[aeo]')") == pytest.approx(matching)


def test_against_an_earlier_span(measured: Measured, frame: pd.DataFrame) -> None:
    """Values beyond earlier extremes, and categories that are new or lost, each with its rows."""
    noon = START + timedelta(hours=12)
    before, after = frame[frame["time"] < noon], frame[frame["time"] >= noon]
    sql = f"('m', $since, $until, {REFERENCE})"
    beyond = _values(measured.rows(f"FROM beyond_reference_share{sql}", **LATER), "field")
    for field in NUMBERS:
        known, values = _finite(before, field), _finite(after, field)
        expected = ((values < known.min()) | (values > known.max())).mean()
        assert beyond[field] == pytest.approx(expected), field
    assert beyond["inputs.income"] > 0.1
    plans, known_plans = after["inputs.plan"].dropna(), set(before["inputs.plan"].dropna())
    shares = _values(measured.rows(f"FROM new_category_share{sql}", **LATER), "field")
    assert shares["inputs.plan"] == pytest.approx((~plans.isin(known_plans)).mean())
    assert shares["inputs.on"] == 0.0
    new = _values(measured.rows(f"FROM new_categories{sql}", **LATER), "field", "category")
    assert new == {("inputs.plan", "gold"): float((plans == "gold").sum())}
    back = {"since": LATER["until"] - timedelta(hours=3), "until": LATER["until"]}
    lost = _values(
        measured.rows(f"FROM lost_categories{sql[:-1]}, fields := ['inputs.plan'])", **back),
        "field",
        "category",
    )
    assert lost == {("inputs.plan", "team"): float((before["inputs.plan"] == "team").sum())}


def test_against_a_stored_reference(measured: Measured, frame: pd.DataFrame) -> None:
    """A reference kept as counts tells what its rows do, but for values that it counted together."""
    noon = START + timedelta(hours=12)
    before = frame[frame["time"] < noon]
    measured.profile("m", sample=before[[*NUMBERS, *TEXTS]])
    measured.refer("m", "morning", before[[*NUMBERS, *TEXTS]])
    fields = "fields := ['inputs.age', 'inputs.income', 'output.score', 'inputs.plan', 'inputs.on']"
    for metric in ("beyond_reference_share", "new_category_share", "new_categories", "lost_categories"):
        call = f"FROM {metric}('m', $since, $until, {fields}, "
        kept = measured.rows(call + "reference := 'morning')", **LATER)
        assert kept == measured.rows(call + f"{REFERENCE})", **LATER), metric
        assert kept or metric == "lost_categories"
    few = before[["inputs.plan"]].replace({"pro": "another"})
    measured.refer("m", "vague", few)
    row = measured.row(
        "FROM new_category_share('m', $since, $until, reference := 'vague', fields := ['inputs.plan'])",
        **LATER,
    )
    assert (row["value"], row["reference_count"]) == (None, 0)


def test_no_reference(measured: Measured) -> None:
    """Without reference rows nothing can be told, and nothing is new."""
    sql = f"('m', $since, $until, {REFERENCE})".replace("2026", "2020")
    rows = measured.rows(f"FROM new_category_share{sql}", **SPAN)
    assert {(row["value"], row["low"], row["high"], row["reference_count"]) for row in rows} == {
        (None, None, None, 0)
    }
    rows = measured.rows(f"FROM beyond_reference_share{sql}", **SPAN)
    assert {(row["value"], row["low"], row["high"], row["reference_count"]) for row in rows} == {
        (None, None, None, 0)
    }
    assert measured.rows(f"FROM new_categories{sql}", **SPAN) == []


def test_repeated_rows(measured: Measured, frame: pd.DataFrame) -> None:
    """Rows that repeat others, ids that do, and inputs that got several predictions."""

    def value(metric: str) -> object:
        return measured.row(f"SELECT value FROM {metric}('m', $since, $until)", **SPAN)["value"]

    inputs = [name for name in frame if name.startswith("inputs.")]
    outputs = [name for name in frame if name.startswith("output.")]
    assert value("duplicate_row_share") == pytest.approx(frame.duplicated([*inputs, *outputs]).mean())
    assert value("duplicate_id_share") == pytest.approx(frame["prediction_id"].duplicated().mean())
    predictions = frame.groupby(inputs, dropna=False)["output.value"].transform("nunique")
    assert value("conflicting_share") == pytest.approx((predictions > 1).mean())


def test_conflicting_truths(measured: Measured, frame: pd.DataFrame) -> None:
    """Equal inputs with different labels are counted among what is labelled."""
    inputs = ["inputs.age", "inputs.plan"]
    rows = frame.iloc[:200].assign(prediction_id=[str(row) for row in range(200)])
    truth = ["yes" if row % 3 else "no" for row in range(200)]
    labels = [{"prediction_id": str(row), "label": truth[row]} for row in range(200) if row % 5]
    measured.put("told", rows[["time", "prediction_id", *inputs]], labels)
    row = measured.row("FROM conflicting_truth_share('told', $since, $until)", **SPAN)
    known = rows.assign(truth=truth)[np.arange(200) % 5 > 0]
    kinds = known.groupby(inputs, dropna=False)["truth"].transform("nunique")
    assert row["value"] == pytest.approx((kinds > 1).mean())
    assert 0 < row["value"] < 1
    assert (row["sample_count"], row["label_coverage"]) == (len(known), 0.8)


def test_fields_that_say_the_same(measured: Measured, frame: pd.DataFrame) -> None:
    """Pairs of columns that are equal in every row are told; where they differ once there is none."""
    rows = frame[["time", "inputs.age", "inputs.plan", "output.value"]].copy()
    rows["inputs.again"], rows["inputs.tariff"] = rows["inputs.age"], rows["inputs.plan"]
    rows["inputs.nothing"] = pd.Series(None, index=rows.index, dtype=object)
    rows.loc[3, "inputs.tariff"] = "other"
    measured.put("twice", rows)
    found = measured.rows("FROM duplicate_fields('twice', $since, $until)", **SPAN)
    pairs = [(row["field"], row["other_field"], row["value"], row["sample_count"]) for row in found]
    assert pairs == [("inputs.again", "inputs.age", 1.0, len(rows))]
    later = "FROM duplicate_fields('twice', $since + INTERVAL 1 HOUR, $until, fields := $fields)"
    fields = ["inputs.age", "inputs.plan", "inputs.tariff"]
    found = measured.rows(later, fields=fields, **SPAN)
    assert [(row["field"], row["other_field"]) for row in found] == [("inputs.plan", "inputs.tariff")]


def test_types_that_changed(measured: Measured, frame: pd.DataFrame) -> None:
    """Fields whose values had to be kept apart are told with the share of rows."""
    rows = measured.rows("FROM type_change_share('m', $since, $until)", **SPAN)
    assert _values(rows, "field") == pytest.approx({"inputs.age": frame["extra"].notna().mean()})


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlations_of_pairs(measured: Measured, frame: pd.DataFrame, method: str) -> None:
    """Every pair has its correlation over the rows that have both, as pandas has it."""
    sql = f"FROM correlation('m', $since, $until, method := '{method}')"
    found = _values(measured.rows(sql, **SPAN), "field", "other_field")
    assert len(found) == 10
    numbers = frame[NUMBERS].astype(float).replace([np.inf, -np.inf, 1e300], np.nan)
    for (left, right), value in found.items():
        both = numbers[[left, right]].dropna()
        if 0.0 in (np.ptp(both[left]), np.ptp(both[right])):
            assert value is None
        elif method == "pearson":
            assert value == pytest.approx(both[left].corr(both[right]), abs=1e-12)
        else:
            assert value == pytest.approx(spearmanr(both[left], both[right]).statistic, abs=1e-12)


def test_correlations_with_one(measured: Measured, frame: pd.DataFrame) -> None:
    """Each field is compared with an expression, or with the truth where it is known."""
    rows = measured.rows("FROM correlation_with('m', $since, $until, output.score > 0.5)", **SPAN)
    found = _values(rows, "field")
    high = (frame["output.score"] > 0.5).astype(float)
    assert found["inputs.fixed"] is None
    for field in ("inputs.age", "inputs.income", "output.score"):
        values = _finite(frame, field)
        assert found[field] == pytest.approx(values.corr(high[values.index]), abs=1e-12)
    rows = measured.rows("FROM truth_correlation('m', $since, $until)", **SPAN)
    known = frame[:300]
    truth = (known["inputs.income"] > 3000).astype(float)
    values = _finite(known, "inputs.income")
    assert _values(rows, "field")["inputs.income"] == pytest.approx(
        values.corr(truth[values.index]), abs=1e-12
    )


ALL = [name for name, metric in METRICS.items() if metric.group == "quality" and not metric.reads_bins]


@pytest.mark.parametrize("name", ALL)
def test_segments_and_windows(measured: Measured, name: str) -> None:
    """Every metric goes by segment and window, and a row of it is what the same rows alone give."""
    call = (
        METRICS[name]
        .example.partition(" WHERE ")[0]
        .replace("'churn'", "'m'")
        .replace(", reference := 'training'", "")
    )
    call = call.replace("$window_start", "$since").replace("$window_end", "$until")
    call = call.replace("'inputs.tenure'", "'inputs.income'").replace("FROM", "FROM", 1)
    parts = measured.rows(call[:-1] + ", segments := {'on': inputs.on}, every := INTERVAL 8 HOURS)", **SPAN)
    evening = {"since": START + timedelta(hours=16), "until": END}
    alone = measured.rows(call[:-1] + ", segments := {'on': inputs.on})", **evening)
    assert [row for row in parts if row["window_start"] == evening["since"]] == alone
    assert all(row["value"] is None or np.isfinite(row["value"]) for row in parts)


@pytest.mark.parametrize("name", ALL)
def test_little_and_odd_data(measured: Measured, name: str) -> None:
    """One row, fields of other kinds, and no rows at all are no mistakes."""
    call = (
        METRICS[name]
        .example.partition(" WHERE ")[0]
        .replace("'churn'", "'odd'")
        .replace(", reference := 'training'", "")
    )
    call = call.replace("inputs.plan", "output.value").replace("output.score", "inputs.age")
    call = call.replace("'inputs.age'", "'inputs.vector'").replace("inputs.tenure", "inputs.vector")
    times = {"window_start": START, "window_end": END}
    measured.put("odd", [{"inputs.age": None, "inputs.vector": [1.0, 2.0], "output.value": "basic"}])
    for row in measured.rows(call, **times):
        assert row["value"] is None or 0 <= row["value"] <= 1
    later = {"window_start": END, "window_end": END + timedelta(days=1)}
    assert measured.rows(call, **later) == []


_NUMBER = st.one_of(st.none(), st.floats())


@settings(max_examples=8, deadline=None)
@given(values=st.lists(st.tuples(_NUMBER, _NUMBER), max_size=30))
def test_bounds(measured: Measured, values: list[tuple[float | None, float | None]]) -> None:
    """Whatever the numbers are, shares lie within 0 and 1, correlations within -1 and 1, both ways alike."""
    rows = [{"inputs.a": a, "inputs.b": b, "output.value": "x"} for a, b in [*values, (0.5, 0.5)]]
    measured.put("any", rows)
    for metric in ("missing_share", "most_common_share"):
        for row in measured.rows(f"FROM {metric}('any', $since, $until)", **SPAN):
            assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    for row in measured.rows("FROM numeric_summary('any', $since, $until)", **SPAN):
        assert row["value"] is None or np.isfinite(row["value"])
    pairs = measured.rows("SELECT value FROM correlation('any', $since, $until)", **SPAN)
    (pair,) = [row["value"] for row in pairs] or [None]
    with_b = _values(measured.rows("FROM correlation_with('any', $since, $until, inputs.b)", **SPAN), "field")
    assert with_b["inputs.a"] == pytest.approx(pair, abs=1e-9)
    assert pair is None or abs(pair) <= 1 + 1e-9
