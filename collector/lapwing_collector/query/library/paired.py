"""Intervals of the difference between two models on the same rows, where no formula gives one: bootstrapped.

Rows are drawn with their truth and both models' answers (paired), and the interval is the bias-corrected and
accelerated one: B. Efron, Better Bootstrap Confidence Intervals, Journal of the American Statistical
Association 82 (1987), as scipy.stats.bootstrap(paired=True, method='BCa') has it. Draws are seeded, and rows
are put in order before, so that the same rows always have the same interval.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

CLASSES: Final = ("f1", "precision", "recall", "balanced_accuracy", "mcc")
NUMBERS: Final = ("rmse", "r2", "average_precision")
TYPE: Final = "STRUCT(champion DOUBLE, challenger DOUBLE, low DOUBLE, high DOUBLE)"

_RESAMPLES: Final = 2000
_FEWEST: Final = 500
_DRAWS: Final = 200_000_000
"""Rows that are drawn together; of more than 100,000 rows there are fewer resamples."""
_AT_ONCE: Final = 2_000_000
"""Rows that are drawn at once: what that takes of memory."""
_BLOCKS: Final = 1000
"""Blocks of rows that are left out in turn, where leaving out each row would take too long."""
_DEFINED: Final = 0.95
"""Share of the resamples that must have a value."""

_Weights = Any
_Statistic = Callable[[_Weights], Any]
"""Gives a value for each row of a matrix, which says how often each kind of row is there."""


def classes(measure: Any, rows: Any, positive: Any, confidence: Any, seed: Any) -> pa.Array:
    """Compare two classifiers.

    Args:
        measure: One of `CLASSES`.
        rows: Lists of structs `truth`, `one`, `other` (classes), `w` (a weight) and `n` (how many such rows).
        positive: The class that counts; NULL for the mean over all classes.
        confidence: Of the interval, between 0 and 1.
        seed: Of the draws.
    """
    told = zip(*(each.to_pylist() for each in (measure, positive, confidence, seed)), strict=True)
    return _answers(
        _of_classes(name, cells, wanted, share, start)
        for (name, wanted, share, start), cells in zip(told, rows, strict=True)
    )


def numbers(measure: Any, rows: Any, confidence: Any, seed: Any) -> pa.Array:
    """Compare two models that give numbers.

    Args:
        measure: One of `NUMBERS`; of `average_precision`, the truth is 1 or 0.
        rows: Lists of structs `truth`, `one`, `other` and `w` (a weight), all numbers.
        confidence: Of the interval, between 0 and 1.
        seed: Of the draws.
    """
    told = zip(*(each.to_pylist() for each in (measure, confidence, seed)), strict=True)
    return _answers(
        _of_numbers(name, cells, share, start) for (name, share, start), cells in zip(told, rows, strict=True)
    )


def _answers(found: Iterator[dict[str, float | None]]) -> pa.Array:
    names = ("champion", "challenger", "low", "high")
    return pa.array(list(found), pa.struct([(name, pa.float64()) for name in names]))


def _of_classes(
    measure: str, rows: Any, positive: str | None, confidence: float, seed: int
) -> dict[str, float | None]:
    fields = {name: rows.values.field(name).to_numpy(zero_copy_only=False) for name in ("w", "n")}
    told = [rows.values.field(name).to_pylist() for name in ("truth", "one", "other")]
    known = sorted({each for column in told for each in column}) if positive is None else [positive]
    places = {name: place for place, name in enumerate(known)}
    truth, one, other = (np.array([places.get(each, -1) for each in column]) for column in told)
    order = np.lexsort((fields["w"], other, one, truth))
    truth, one, other = truth[order], one[order], other[order]
    w, n = fields["w"][order], fields["n"][order].astype(np.int64)

    def of(predicted: Any) -> _Statistic:
        true, said = (column[:, None] == np.arange(len(known)) for column in (truth, predicted))
        parts = np.hstack([true, said, true & said, np.ones((len(w), 1))]) * w[:, None]
        return lambda weights: _of_counts(measure, weights @ parts, len(known))

    return _difference(of(one), of(other), n, confidence, seed)


def _of_counts(measure: str, sums: Any, count: int) -> Any:
    """A measure of how often each class is true, predicted, both, and of all rows."""
    true, said, hit = (sums[:, count * at : count * (at + 1)] for at in range(3))
    everything = sums[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        match measure:
            case "f1":
                each = 2 * hit / (true + said)
            case "precision":
                each = hit / said
            case "recall":
                each = hit / true
            case "balanced_accuracy" if count == 1:
                outside = everything - true[:, 0] - said[:, 0] + hit[:, 0]
                each = np.stack([hit[:, 0] / true[:, 0], outside / (everything - true[:, 0])], axis=1)
            case "balanced_accuracy":
                each = hit / true
            case _:
                return _correlation(true, said, hit, everything)
        known = ~np.isnan(each)
        return np.where(known, each, 0).sum(axis=1) / known.sum(axis=1)


def _correlation(true: Any, said: Any, hit: Any, everything: Any) -> Any:
    """Matthews' coefficient, of several classes as Gorodkin (2004) has it."""
    if true.shape[1] == 1:  # the other class is what is left
        outside = everything[:, None] - true - said + hit
        true, said, hit = (
            np.hstack([part, rest])
            for part, rest in (
                (true, everything[:, None] - true),
                (said, everything[:, None] - said),
                (hit, outside),
            )
        )
    together = hit.sum(axis=1) * everything - (true * said).sum(axis=1)
    spread = (everything**2 - (said**2).sum(axis=1)) * (everything**2 - (true**2).sum(axis=1))
    return together / np.sqrt(spread)


def _of_numbers(measure: str, rows: Any, confidence: float, seed: int) -> dict[str, float | None]:
    truth, one, other, w = (
        np.asarray(rows.values.field(name).to_numpy(zero_copy_only=False), dtype=float)
        for name in ("truth", "one", "other", "w")
    )
    order = np.lexsort((w, other, one, truth))
    truth, one, other, w = truth[order], one[order], other[order], w[order]
    of = _of_ranks if measure == "average_precision" else _of_errors
    first, second = (of(measure, truth, said, w) for said in (one, other))
    return _difference(first, second, np.ones(len(w), np.int64), confidence, seed)


def _of_errors(measure: str, truth: Any, said: Any, w: Any) -> _Statistic:
    centred = truth - np.average(truth, weights=w) if len(w) else truth
    parts = np.stack([np.ones(len(w)), (said - truth) ** 2, centred, centred**2], axis=1) * w[:, None]

    def value(weights: _Weights) -> Any:
        all_, squared, first, second = (weights @ parts).T
        with np.errstate(invalid="ignore", divide="ignore"):
            if measure == "rmse":
                return np.sqrt(squared / all_)
            spread = second - first**2 / all_
            return np.where(spread > 0, 1 - squared / spread, np.nan)

    return value


def _of_ranks(_: str, truth: Any, said: Any, w: Any) -> _Statistic:
    order = np.argsort(-said, kind="stable")
    last = np.append(np.flatnonzero(np.diff(said[order])), len(order) - 1)  # of the rows with a score
    positive = (truth[order] * w[order])[None, :]
    everything = w[order][None, :]

    def value(weights: _Weights) -> Any:
        placed = weights[:, order]
        hits = np.cumsum(placed * positive, axis=1)[:, last]
        rows = np.cumsum(placed * everything, axis=1)[:, last]
        gained = np.diff(hits, axis=1, prepend=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            precise = np.where(rows > 0, hits / rows, 0)
            return (gained * precise).sum(axis=1) / hits[:, -1]

    return value


def _difference(
    one: _Statistic, other: _Statistic, n: Any, confidence: float | None, seed: int | None
) -> dict[str, float | None]:
    """The values of both models, and the interval of what the other has more."""
    if not len(n):
        return dict.fromkeys(("champion", "challenger", "low", "high"))
    whole = n[None, :].astype(float)
    champion, challenger = float(one(whole)[0]), float(other(whole)[0])

    def difference(weights: _Weights) -> Any:
        return other(weights) - one(weights)

    bounds: tuple[float | None, float | None] = (None, None)
    if confidence is not None and 0 < confidence < 1 and n.sum() > 1 and np.isfinite(challenger - champion):
        bounds = _bounds(difference, n, challenger - champion, confidence, seed or 0)
    return {
        "champion": _number(champion),
        "challenger": _number(challenger),
        "low": bounds[0],
        "high": bounds[1],
    }


def _bounds(
    difference: _Statistic, n: Any, found: float, confidence: float, seed: int
) -> tuple[float | None, float | None]:
    from scipy.special import ndtr, ndtri

    draw = np.random.default_rng(seed)
    resampled = np.concatenate([difference(weights) for weights in _resamples(n, draw)])
    values = resampled[np.isfinite(resampled)]
    if len(values) < _DEFINED * len(resampled):
        return None, None
    # Differences of equal counts are equal but for rounding.
    near = 1e-12 * max(1.0, abs(found))
    below = (np.count_nonzero(values < found - near) + np.count_nonzero(values <= found + near)) / 2
    bias = ndtri(np.clip(below / len(values), 0.5 / len(values), 1 - 0.5 / len(values)))
    tails = bias + ndtri(np.array([(1 - confidence) / 2, (1 + confidence) / 2]))
    shares = ndtr(bias + tails / (1 - _acceleration(difference, n, draw) * tails))
    low, high = np.quantile(values, shares)
    return _number(low), _number(high)


def _resamples(n: Any, draw: np.random.Generator) -> Iterator[_Weights]:
    """How often each kind of row is drawn, resample by resample."""
    rows = int(n.sum())
    count = int(np.clip(_DRAWS // rows, _FEWEST, _RESAMPLES)) if len(n) == rows else _RESAMPLES
    while count:
        now = min(count, max(1, _AT_ONCE // len(n)))
        count -= now
        if len(n) < rows:
            yield draw.multinomial(rows, n / rows, size=now).astype(float)
        else:
            drawn = draw.integers(0, rows, (now, rows)) + np.arange(now)[:, None] * rows
            yield np.bincount(drawn.ravel(), minlength=now * rows).reshape(now, rows).astype(float)


def _acceleration(difference: _Statistic, n: Any, draw: np.random.Generator) -> float:
    """How fast the error changes with the value, by what each row, or block of rows, does to it."""
    if len(n) <= _BLOCKS:
        block, without, times = np.arange(len(n)), n - 1, n
    else:
        block, without, times = draw.permutation(len(n)) % _BLOCKS, np.zeros_like(n), np.ones(_BLOCKS)
    at_once = max(1, _AT_ONCE // len(n))
    parts = [
        difference(np.where(block == left_out[:, None], without, n).astype(float))
        for left_out in np.split(np.arange(len(times)), range(at_once, len(times), at_once))
    ]
    values = np.concatenate(parts)
    defined = np.isfinite(values)
    values, times = values[defined], times[defined]
    if not len(values):
        return 0.0
    pulls = np.average(values, weights=times) - values
    spread = (times * pulls**2).sum()
    return float((times * pulls**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
