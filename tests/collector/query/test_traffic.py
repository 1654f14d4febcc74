"""Metrics of traffic against pandas and numpy."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers.metrics import END, START, Measured
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.query.library.quantiles import bin_medians, bin_quantiles

SPAN = {"since": START, "until": END}
HOUR = "every := INTERVAL 1 HOUR"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Calls over a day, with gaps, errors, fallbacks, weights, and durations that are missing or infinite."""
    chance = np.random.default_rng(3)
    n = 2000
    frame = pd.DataFrame(
        {
            "time": START + pd.to_timedelta(np.sort(chance.uniform(0, 86_400, n)).round(3), unit="s"),
            "prediction_id": [str(row) for row in range(n)],
            "variant": chance.choice(["a", "b", None], n),
            "fallback": chance.choice([True, False, None], n),
            "error_type": chance.choice(["ValueError", None], n, p=[0.1, 0.9]),
            "weight": chance.choice([1.0, 2.5], n),
            "duration_ms": chance.lognormal(3, 1, n),
            "output.value": chance.choice(["x", "y"], n),
        }
    )
    frame.loc[::17, "duration_ms"] = np.nan
    frame.loc[5, "duration_ms"] = np.inf
    frame["received_at"] = frame["time"] + pd.to_timedelta(chance.exponential(2, n).round(6), unit="s")
    return frame[(frame["time"].dt.hour != 4)].reset_index(drop=True)


@pytest.fixture(scope="module")
def measured(frame: pd.DataFrame) -> Iterator[Measured]:
    made = Measured()
    labels = [
        {"prediction_id": row.prediction_id, "label": "x", "time": row.time + timedelta(seconds=60 + at)}
        for at, row in enumerate(frame.itertuples())
        if at % 3
    ]
    made.put("m", frame, labels, ModelDescription(label_delay=timedelta(hours=3)))
    yield made
    made.close()


def _hours(frame: pd.DataFrame) -> "pd.core.groupby.DataFrameGroupBy[pd.Timestamp, bool]":
    return frame.groupby(frame["time"].dt.floor("h"))


def test_counts_and_rates(measured: Measured, frame: pd.DataFrame) -> None:
    """Each hour counts by its weights; an hour without calls has no row."""
    expected = _hours(frame)["weight"].sum()
    counts = measured.rows(f"FROM prediction_count('m', $since, $until, {HOUR})", **SPAN)
    assert [row["window_start"] for row in counts] == list(expected.index)
    assert len(counts) == 23
    assert [row["value"] for row in counts] == pytest.approx(list(expected))
    rates = measured.rows(f"FROM prediction_rate('m', $since, $until, {HOUR})", **SPAN)
    assert [row["value"] for row in rates] == pytest.approx(list(expected / 3600))


@pytest.mark.parametrize(("metric", "hits"), [("error_rate", "error_type"), ("fallback_rate", "fallback")])
def test_rates_of_what_went_wrong(measured: Measured, frame: pd.DataFrame, metric: str, hits: str) -> None:
    """They are weighted shares; a call that does not say whether a fallback answered had none."""
    hit = frame["error_type"].notna() if hits == "error_type" else frame["fallback"].eq(other=True)
    row = measured.row(f"FROM {metric}('m', $since, $until)", **SPAN)
    assert row["value"] == pytest.approx(np.average(hit, weights=frame["weight"]))
    assert row["low"] < row["value"] < row["high"]
    assert row["sample_count"] == len(frame)


def test_shares_of_parts(measured: Measured, frame: pd.DataFrame) -> None:
    """The parts of each hour make up one, whatever is NULL among them."""
    sql = f"FROM traffic_share('m', $since, $until, {{'variant': variant}}, {HOUR})"
    found = pd.DataFrame(measured.rows(sql, **SPAN))
    assert found.groupby("window_start")["value"].sum().tolist() == pytest.approx([1.0] * 23)
    whole = pd.DataFrame(measured.rows(sql.replace(f", {HOUR}", ""), **SPAN)).fillna("none")
    weights = frame.fillna({"variant": "none"}).groupby("variant")["weight"].sum()
    expected = weights / weights.sum()
    assert dict(zip(whole["variant"], whole["value"], strict=True)) == pytest.approx(dict(expected))


def test_mean_latency(measured: Measured, frame: pd.DataFrame) -> None:
    """It is the weighted mean of what is known, with the interval that equal weights would give."""
    known = frame[np.isfinite(frame["duration_ms"])]
    row = measured.row("FROM latency_mean('m', $since, $until)", **SPAN)
    weights, values = known["weight"], known["duration_ms"]
    mean = np.average(values, weights=weights)
    effective = weights.sum() ** 2 / (weights**2).sum()
    error = np.sqrt(np.average((values - mean) ** 2, weights=weights) / (effective - 1))
    assert row["value"] == pytest.approx(mean)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.959963984540054 * error)
    assert row["sample_count"] == len(known)


def test_quantiles_of_latency(measured: Measured, frame: pd.DataFrame) -> None:
    """They are those of numpy, told apart by a label."""
    rows = measured.rows("FROM latency_quantiles('m', $since, $until, quantiles := [0, 0.25, 0.99])", **SPAN)
    known = frame["duration_ms"][np.isfinite(frame["duration_ms"])]
    assert [row["quantile"] for row in rows] == ["0.0", "0.25", "0.99"]
    assert [row["value"] for row in rows] == pytest.approx(list(np.quantile(known, [0, 0.25, 0.99])))


def test_delays(measured: Measured, frame: pd.DataFrame) -> None:
    """How late predictions and labels come is told in seconds."""
    arrivals = (frame["received_at"] - frame["time"]).dt.total_seconds()
    rows = measured.rows("FROM arrival_delay_quantiles('m', $since, $until)", **SPAN)
    assert [row["value"] for row in rows] == pytest.approx(list(np.quantile(arrivals, [0.5, 0.9, 0.99])))
    late = [60.0 + at for at in range(len(frame)) if at % 3]
    rows = measured.rows("FROM label_delay_quantiles('m', $since, $until)", **SPAN)
    assert [row["value"] for row in rows] == pytest.approx(list(np.quantile(late, [0.5, 0.9, 0.99])))
    assert {row["sample_count"] for row in rows} == {len(late)}


def test_coverage_by_hour(measured: Measured, frame: pd.DataFrame) -> None:
    """What share has a label, and what share should have one by the newest time that is known."""
    frame = frame.assign(known=[bool(at % 3) for at in range(len(frame))])
    told = frame["time"] + pd.to_timedelta(60 + np.arange(len(frame)), unit="s")
    newest = max(frame["time"].max(), told[frame["known"]].max())
    frame["old"] = frame["time"] + timedelta(hours=3) <= newest
    rows = measured.rows(f"FROM label_coverage('m', $since, $until, {HOUR})", **SPAN)
    assert [row["value"] for row in rows] == pytest.approx(list(_hours(frame)["known"].mean()))
    assert [row["label_maturity"] for row in rows] == pytest.approx(list(_hours(frame)["old"].mean()))


@pytest.mark.parametrize(
    "metric", ["latency_mean", "latency_quantiles", "error_rate", "label_coverage", "label_delay_quantiles"]
)
def test_little_is_no_mistake(measured: Measured, metric: str) -> None:
    """One row without a duration or a label has an unknown value, or a plain one; no rows give none."""
    measured.put("one", [{"output.value": 1.5}])
    rows = measured.rows(f"FROM {metric}('one', $since, $until)", **SPAN)
    assert {row["value"] for row in rows} == (
        {None} if metric.startswith("la") and "cov" not in metric else {0.0}
    )
    assert measured.rows(f"FROM {metric}('one', $until, $until + INTERVAL 1 DAY)", until=END) == []


def test_missing_records_are_those_noticed_in_the_window() -> None:
    """Per process it is what was lost meanwhile; what came after all is taken off, not below 0."""
    minutes = [START + timedelta(minutes=minute) for minute in range(60)]
    sent = [
        {
            "time": time,
            "resource": [("lapwing.process.id", process)],
            "service": service,
            "output.value": 1.0,
        }
        for time in minutes
        for process, service in (("a", "shop"), ("b", "shop"), ("c", "mail"))
        if process != "b" or time >= minutes[30]
    ]
    sent_as = pa.schema(
        [
            ("time", pa.timestamp("us")),
            ("resource", pa.map_(pa.string(), pa.string())),
            ("service", pa.string()),
            ("output.value", pa.float64()),
        ]
    )
    losses = [("a", 5, 3), ("a", 35, 10), ("a", 50, 8), ("b", 40, 2), ("elsewhere", 41, 99)]
    made = Measured()
    try:
        made.put("m", pa.Table.from_pylist(sent, sent_as))
        for process, minute, missing in losses:
            time = minutes[minute]
            for seconds, told in ((0, missing - 1), (30, missing)):  # of two looks the later counts
                row = [process, time, time + timedelta(seconds=seconds), None, None, told]
                made.connection.execute("INSERT INTO lake.main.record_losses VALUES (?, ?, ?, ?, ?, ?)", row)
        by_service = "segments := {'service': service}, every := INTERVAL 20 MINUTES"
        rows = made.rows(f"FROM missing_records('m', $since, $until, {by_service})", since=START, until=END)
        found = {(row["service"], row["window_start"].minute): row["value"] for row in rows}
        # 0-20: three of a; 20-40: seven more of a; from 40 on two of a came, two of b are missing.
        expected = {("mail", minute): 0.0 for minute in (0, 20, 40)}
        assert found == expected | {("shop", 0): 3.0, ("shop", 20): 7.0, ("shop", 40): 2.0}
        (row,) = made.rows("FROM missing_records('m', $since, $until)", since=START, until=END)
        assert (row["value"], row["lossy_processes"], row["sample_count"]) == (10.0, 2, len(sent))
        known = "FROM missing_records('m', $since, $until, as_of := $since + INTERVAL 6 MINUTES)"
        (row,) = made.rows(known, since=START, until=END)
        assert row["value"] == 3.0
    finally:
        made.close()


def test_service_profile(measured: Measured, frame: pd.DataFrame) -> None:
    """Calls and errors from counts are exact; quantiles are within a bin of those of the values."""
    measured.profile("m")
    rows = measured.rows(f"FROM service_profile('m', $since, $until, {HOUR})", **SPAN)
    hours = _hours(frame)
    assert [row["window_start"] for row in rows] == list(hours.groups)
    assert [row["value"] for row in rows] == hours.size().tolist()
    assert [row["error_share"] for row in rows] == pytest.approx(
        hours["error_type"].apply(lambda errors: errors.notna().mean()).tolist()
    )
    for row, (_, hour) in zip(rows, hours, strict=True):
        known = hour["duration_ms"][np.isfinite(hour["duration_ms"])]
        for q in (0.5, 0.9, 0.95, 0.99):
            exact = np.quantile(known, q, method="inverted_cdf")
            assert exact / 1.26 <= row[f"p{q * 100:.0f}"] <= exact * 1.26
    apart = measured.rows("FROM service_profile('m', $since, $until, by_version := true)", **SPAN)
    assert [(row["version"], row["sample_count"]) for row in apart] == [("", len(frame))]


def test_bin_quantiles() -> None:
    """Quantiles of all lists at once are those that are looked for bin by bin; nothing counted has none."""
    chance = np.random.default_rng(4)
    edges = np.geomspace(0.1, 1000, 12).tolist()
    shares = [0.001, 0.5, 0.9, 0.95, 1.0]
    hours = [chance.integers(0, 4, (size, 13)).tolist() for size in (3, 1, 8, 2)]
    counts = [hours[0], None, hours[1], [], hours[2], [[0] * 13], [[0] * 5 + [7] + [0] * 7], hours[3]]
    given = [pa.array(column) for column in (counts, [edges] * len(counts), [shares] * len(counts))]

    def looked_for(counted: list[int], share: float) -> float | None:
        left = share * sum(counted)
        for place, n in enumerate(counted):
            if n and left <= n:
                lower, upper = edges[max(place - 1, 0)], edges[min(place, len(edges) - 1)]
                return float(lower * (upper / lower) ** (left / n))
            left -= n
        return None

    for found, rows in zip(bin_quantiles(*given).to_pylist(), counts, strict=True):
        counted = np.sum(rows or [[0] * 13], axis=0).tolist()
        assert found == pytest.approx([looked_for(counted, share) for share in shares])


def test_bin_medians() -> None:
    """Medians of all lists at once lie in the bins of those of the numbers, whatever bins each list has."""
    chance = np.random.default_rng(6)
    many, few = np.linspace(0, 1, 65), np.arange(5.0)
    numbers = [chance.normal(0.5, 0.4, 300), chance.integers(0, 5, 41).astype(float), chance.uniform(0, 9, 7)]
    edges = [many, few, many, few]
    parts = [np.array_split(each, 3) for each in numbers] + [[]]

    def counted(values: np.ndarray, edge: np.ndarray) -> list[int]:
        return np.bincount(np.searchsorted(edge, values, side="right"), minlength=len(edge) + 1).tolist()

    counts = [[counted(part, edge) for part in told] for told, edge in zip(parts, edges, strict=True)]
    ends = [[float(end(each)) for each in numbers] + [None] for end in (min, max)]
    *found, nothing = bin_medians(
        pa.array(counts, pa.list_(pa.list_(pa.int64()))), pa.array(edges), *map(pa.array, ends)
    ).to_pylist()
    assert nothing is None
    middles = [float(np.quantile(each, 0.5, method="inverted_cdf")) for each in numbers]
    assert found[1] == middles[1]
    for place in (0, 2):
        bounds = np.concatenate([[ends[0][place]], many, [ends[1][place]]])
        bin_ = np.searchsorted(many, middles[place], side="right")
        assert bounds[bin_] <= found[place] <= bounds[bin_ + 1]
