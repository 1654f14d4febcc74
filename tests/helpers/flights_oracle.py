"""What the rules of examples/flights should find, worked out a second time without the collector.

Everything here comes from the flights, scikit-learn's own predictions and pandas, numpy and scipy. The
thresholds are stated again on purpose: a changed rule file has to disagree with this one.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from lapwing_collector.demo import flights as data
from lapwing_collector.demo import model

DAY = timedelta(days=1)
LATENESS = timedelta(seconds=30)
DRIFT_FIELDS = ("temp", "dep_delay", "wind_speed", "visib", "plane_year", "distance")
SMALLEST_SHARE = 1e-4


class Transition(NamedTuple):
    """An alert instance that fires or resolves; `labels` are the label columns of the rule's rows."""

    alert: str
    labels: dict[str, str]
    status: str
    slot: datetime
    value: float


class Metric(NamedTuple):
    """A row that a `record:` rule stores."""

    metric: str
    series: dict[str, str]
    window_start: datetime
    window_end: datetime
    value: float
    sample_count: int
    label_coverage: float | None


class Row(NamedTuple):
    """One row of a rule's result; `label` is the one label's value, empty where the rule has no label."""

    label: str
    value: float
    sample_count: int


@dataclass(frozen=True)
class Rule:
    """An alert in numbers.

    `sign` is +1 where high is bad, -1 where low is bad. Between `fires_beyond` and `clears_within` an
    alert stays as it is; without `clears_within` there is no between.
    """

    name: str
    label: str
    rows: Callable[[pd.DataFrame], Iterator[Row]]
    window: timedelta
    sign: int
    fires_beyond: float
    clears_within: float | None
    min_samples: int
    query_offset: timedelta = timedelta(0)
    hold_for: timedelta = timedelta(0)
    keep_firing_for: timedelta = timedelta(0)
    wait_coverage: float | None = None
    wait_timeout: timedelta = timedelta(0)


def quantile_edges(values: np.ndarray) -> np.ndarray:
    """Edges of a reference's bins: 64 of them between quantiles, with one for each value that is frequent.

    A frequent value is with those that follow where these are few. Few values have a bin each.
    """
    known = np.sort(values[~np.isnan(values)])
    if len(set(known)) <= 64:
        return np.append(np.unique(known), np.nextafter(known[-1], np.inf))
    ranks = [max(0, math.ceil(part * len(known) / 64) - 1) for part in range(65)]
    times = Counter(known[ranks].tolist())
    edges = sorted(times)
    for value, following in pairwise([*sorted(times), np.inf]):
        between = ((known > value) & (known < following)).sum()
        if times[value] > 1 and (between >= len(known) / 256 or following == np.inf):
            edges.append(np.nextafter(value, np.inf))
    return np.sort(edges)


def bin_counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count values below all bins, in ten parts with as many bins each, above all of them, and missing.

    The last bin has its upper edge, too.
    """
    missing = np.isnan(values)
    known = values[~missing]
    inside, _ = np.histogram(known, edges)
    if len(inside) > 10:
        bounds = [part * len(inside) // 10 for part in range(11)]
        inside = np.array([inside[low:high].sum() for low, high in pairwise(bounds)])
    return np.array([(known < edges[0]).sum(), *inside, (known > edges[-1]).sum(), missing.sum()])


def stability_index(current: np.ndarray, reference: np.ndarray) -> float:
    """PSI of two vectors of counts: Jeffreys' divergence of their shares, none taken smaller than 1e-4."""
    now, then = (np.maximum(counts / counts.sum(), SMALLEST_SHARE) for counts in (current, reference))
    return float((rel_entr(now, then) + rel_entr(then, now)).sum())


def predicted(flights: pd.DataFrame) -> pd.DataFrame:
    """Add to the replayed flights what the pipeline says: `predicted` (nullable) and `failed`."""
    learned = data.training(flights)
    pipeline = model.train(learned)
    replayed = data.replayed(flights).reset_index(drop=True)
    known = replayed["dest"].isin(learned["dest"].unique())
    answers = pd.Series(pd.NA, index=replayed.index, dtype="boolean")
    answers[known] = pipeline.predict(replayed.loc[known, list(data.INPUTS)])
    return replayed.assign(predicted=answers, failed=~known, right=answers == replayed["late"])


def expected_transitions(flights: pd.DataFrame, table: pd.DataFrame | None = None) -> list[Transition]:
    """List what the alerts do during the replay of `flights` (of `load_flights`), by rule, then by slot.

    `table` is `predicted(flights)`, for those who have it already.
    """
    table = predicted(flights) if table is None else table
    reference = data.training(flights)
    return [step for rule in rules(reference) for step in transitions(rule, evaluations(rule, table))]


def expected_metrics(flights: pd.DataFrame, table: pd.DataFrame | None = None) -> list[Metric]:
    """List what the `record:` rules store during the replay, by rule, then by day and origin."""
    table = predicted(flights) if table is None else table
    last = _slots(table)[-1]
    days = list(table.groupby([table["departed_at"].dt.floor("D"), "origin"]))
    shares = [
        Metric(
            "late_share",
            *_series(day, origin),
            _mean(rows["predicted"]),
            int(rows["predicted"].count()),
            None,
        )
        for (day, origin), rows in days
        if day + DAY <= last
    ]
    accuracies = [
        Metric(
            "accuracy",
            *_series(day, origin),
            _mean(rows["right"]),
            int(rows["right"].count()),
            float(rows["late"].notna().mean()),
        )
        for (day, origin), rows in days
        if day + 2 * DAY <= last
    ]
    return shares + accuracies


def _series(day: pd.Timestamp, origin: str) -> tuple[dict[str, str], datetime, datetime]:
    start = day.to_pydatetime()
    return {"origin": origin}, start, start + DAY


def evaluations(rule: Rule, table: pd.DataFrame) -> Iterator[tuple[datetime, Iterator[Row]]]:
    """Give the slots of a rule in order, each with the rows that its SQL should return."""
    ends = table["departed_at"].iloc[-1] - LATENESS
    for slot in _slots(table):
        end = slot - rule.query_offset
        window = _between(table, end - rule.window, end)
        if rule.wait_coverage is not None and window["late"].notna().sum() < rule.wait_coverage * len(window):
            # Nothing that is still in the air can complete this window: only the timeout lets it go.
            assert (window["arrived_at"].dropna() <= slot).all()
            if slot + rule.wait_timeout > ends:
                return
        yield slot, rule.rows(window)


def transitions(rule: Rule, slots: Iterator[tuple[datetime, Iterator[Row]]]) -> list[Transition]:
    """Walk one rule through its slots.

    A row without enough samples or without a value changes nothing, nor does one between the two thresholds.
    """
    found: list[Transition] = []
    instances: dict[str, _Instance] = {}
    for slot, rows in slots:
        for row in rows:
            if row.sample_count < rule.min_samples or np.isnan(row.value):
                continue
            before = instances.get(row.label, _Instance())
            after = _step(rule, before, row.value)
            instances[row.label] = after
            if before.firing != after.firing:
                labels = {rule.label: row.label} if rule.label else {}
                status = "firing" if after.firing else "resolved"
                found.append(Transition(rule.name, labels, status, slot, row.value))
    return found


@dataclass(frozen=True)
class _Instance:
    """How an alert instance stands; `bad` and `good` count slots that said so, undecided ones left out."""

    firing: bool = False
    bad: int = 0
    good: int = 0


def _step(rule: Rule, was: _Instance, value: float) -> _Instance:
    if rule.sign * value > rule.sign * rule.fires_beyond:
        bad = was.bad + 1
        return _Instance(was.firing or (bad - 1) * DAY >= rule.hold_for, bad)
    if rule.clears_within is not None and rule.sign * value >= rule.sign * rule.clears_within:
        return was
    if was.firing and was.good * DAY < rule.keep_firing_for:
        return replace(was, good=was.good + 1)
    return _Instance()


def rules(reference: pd.DataFrame) -> tuple[Rule, ...]:
    """The alerts, with `reference` as the data that inputs are compared with."""
    return (
        Rule(
            "InputDrift",
            "feature",
            _drift(reference),
            window=14 * DAY,
            sign=+1,
            fires_beyond=0.75,
            clears_within=0.45,
            min_samples=10_000,
            hold_for=7 * DAY,
        ),
        Rule(
            "LateShareHigh",
            "origin",
            _late_share_by_origin,
            window=3 * DAY,
            sign=+1,
            fires_beyond=0.4,
            clears_within=0.25,
            min_samples=500,
        ),
        Rule(
            "PredictErrors",
            "",
            _error_rate,
            window=DAY,
            sign=+1,
            fires_beyond=0.01,
            clears_within=None,
            min_samples=100,
            keep_firing_for=7 * DAY,
        ),
        Rule(
            "AccuracyLow",
            "",
            _accuracy,
            window=3 * DAY,
            sign=-1,
            fires_beyond=0.84,
            clears_within=0.87,
            min_samples=2_000,
            query_offset=DAY,
            wait_coverage=0.985,
            wait_timeout=timedelta(hours=12),
        ),
    )


def _drift(reference: pd.DataFrame) -> Callable[[pd.DataFrame], Iterator[Row]]:
    trained = {field: floats(reference[field]) for field in DRIFT_FIELDS}
    edges = {field: quantile_edges(values) for field, values in trained.items()}
    counts = {field: bin_counts(values, edges[field]) for field, values in trained.items()}

    def rows(window: pd.DataFrame) -> Iterator[Row]:
        for field in DRIFT_FIELDS:
            now = bin_counts(floats(window[field]), edges[field])
            yield Row(field, stability_index(now, counts[field]), len(window))

    return rows


def _late_share_by_origin(window: pd.DataFrame) -> Iterator[Row]:
    for origin, flights in window.groupby("origin"):
        yield Row(str(origin), _mean(flights["predicted"]), int(flights["predicted"].count()))


def _error_rate(window: pd.DataFrame) -> Iterator[Row]:
    yield Row("", _mean(window["failed"]), len(window))


def _accuracy(window: pd.DataFrame) -> Iterator[Row]:
    yield Row("", _mean(window["right"]), int(window["right"].count()))


def _slots(table: pd.DataFrame) -> list[datetime]:
    """The midnights (UTC) that the newest departure has left behind, from the first after a departure."""
    first, last = table["departed_at"].iloc[0], table["departed_at"].iloc[-1] - LATENESS
    return pd.date_range(first.floor("D") + DAY, last, freq="D").to_pydatetime().tolist()


def _between(table: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    low, high = table["departed_at"].searchsorted([pd.Timestamp(start), pd.Timestamp(end)], side="left")
    return table.iloc[low:high]


def _mean(flags: pd.Series) -> float:
    """The share of true ones among those that are known; NaN where none is."""
    return float(flags.mean()) if flags.count() else np.nan


def floats(column: pd.Series) -> np.ndarray:
    """Values of a column as numbers, NaN where it has none."""
    return column.to_numpy(dtype="float64", na_value=np.nan)
