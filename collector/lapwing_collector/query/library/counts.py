"""How far two rows of counts over the same bins are apart, and how likely chance alone puts them there.

Counts come as Arrow lists, a pair a row, in the layout of profiles. Pairs are taken together by their length,
so that thousands of fields and windows cost a few array operations. A pair that is not there, or has two
lengths, gives NULL.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

TESTED: Final = pa.struct(
    [("statistic", pa.float64()), ("p_value", pa.float64()), ("effect_size", pa.float64())]
)
"""What a test says: its statistic, how probable one as large is by chance, how large the difference is."""

LEAST_DEVIATION: Final = 0.001
"""What a distance is measured in at least, where the reference hardly varies."""

_PRECISION: Final = 1e-9
"""Share of the squared mean below which a variance made of sums is rounding error."""


def chi2(reference: pa.Array, current: pa.Array) -> pa.Array:
    """Pearson's test that both rows of counts come from the same distribution."""
    return _homogeneity(reference, current, _chi2)


def g_test(reference: pa.Array, current: pa.Array) -> pa.Array:
    """The likelihood-ratio test that both rows of counts come from the same distribution."""
    return _homogeneity(reference, current, _likelihood_ratio)


def kolmogorov_smirnov(reference: pa.Array, current: pa.Array) -> pa.Array:
    """The two-sample test of Kolmogorov and Smirnov on a number's bins in their order.

    Only the edges are looked at, so the statistic is at most that of the values, and the probability at least
    that of Kolmogorov's limit: the test errs on the side of silence. What has no place among numbers (null,
    NaN, infinity) would only hide what became of the others; how much of it there is, is compared by itself.
    """
    from scipy import special

    answer = _Answer(len(reference))
    for rows, (seen, now) in _pairs(reference, current):
        n, m = seen[:, 2:].sum(axis=1), now[:, 2:].sum(axis=1)
        apart = np.abs(_shares(seen[:, 2:]).cumsum(axis=1) - _shares(now[:, 2:]).cumsum(axis=1))
        statistic = np.where((n > 0) & (m > 0), np.minimum(apart.max(axis=1, initial=0.0), 1.0), 0.0)
        p_value = special.kolmogorov(statistic * np.sqrt(_quotient(n * m, n + m)))
        kinds = np.column_stack([seen[:, :2], n]), np.column_stack([now[:, :2], m])
        _, p_missing = _chi2(*kinds)
        several = (kinds[0] + kinds[1] > 0).sum(axis=1) > 1
        p_value = np.where(several, np.minimum(2 * np.fmin(p_value, p_missing), 1.0), p_value)
        p_value[(seen.sum(axis=1) == 0) | (now.sum(axis=1) == 0)] = np.nan
        statistic = np.maximum(statistic, _gone(seen, now))
        answer.put(rows, statistic, p_value, statistic)
    return answer.taken()


def wasserstein(
    reference: pa.Array,
    current: pa.Array,
    edges: pa.Array,
    reference_moments: pa.StructArray,
    current_moments: pa.StructArray,
) -> pa.Array:
    """How far values moved on average, in standard deviations of the reference, plus what went missing.

    All that moved one way less all that moved the other is the way between the means, which is known exactly;
    so only the lesser of the two comes from the bins. There values are taken as spread evenly within a bin,
    and both ends as far as either side reaches. What has no place among numbers (null, NaN, infinity) counts
    as moved by one standard deviation.

    Args:
        reference: Counts as a number's profile has them: null, other, under, the bins, over.
        current: The same for what is compared.
        edges: Of the bins; one more than there are bins.
        reference_moments: Structs of `sum`, `sum_squares`, `minimum` and `maximum` of the finite values.
        current_moments: The same for what is compared.
    """
    moments = {
        f"{side}_{name}": _numbers(pc.struct_field(struct, name))
        for side, struct in (("reference", reference_moments), ("current", current_moments))
        for name in ("sum", "sum_squares", "minimum", "maximum")
    }
    value = np.full(len(reference), np.nan)
    for rows, (seen, now, at) in _pairs(reference, current, edges, longer=(0, 0, 3)):
        gone = _gone(seen, now)
        known = {name: numbers[rows] for name, numbers in moments.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest there is
            moved = _moved(seen[:, 2:], now[:, 2:], at, known)
        value[rows] = np.where(np.isnan(moved), gone, moved + gone)
        value[rows[(seen.sum(axis=1) == 0) | (now.sum(axis=1) == 0)]] = np.nan
    return _nullable(value)


def normal_p(statistic: pa.Array) -> pa.Array:
    """The probability that a standard normal variable is as far from 0, on either side."""
    from scipy import special

    return _nullable(2 * special.ndtr(-np.abs(_numbers(statistic))))


def t_p(statistic: pa.Array, freedom: pa.Array) -> pa.Array:
    """The probability that a variable of Student's t distribution is as far from 0, on either side."""
    from scipy import special

    return _nullable(2 * special.stdtr(_numbers(freedom), -np.abs(_numbers(statistic))))


def t_quantile(probability: pa.Array, freedom: pa.Array) -> pa.Array:
    """Up to where a variable of Student's t distribution is with this probability."""
    from scipy import special

    return _nullable(special.stdtrit(_numbers(freedom), _numbers(probability)))


def effect_size(shares: Floats, others: Floats) -> Floats:
    """Cramér's V of two samples as if they were of one size: 0 for equal shares, 1 for none in common.

    The plain V shrinks when one sample is much larger than the other, as references are.
    """
    size: Floats = np.sqrt(_quotient((shares - others) ** 2, shares + others).sum(axis=-1) / 2)
    return size


def _homogeneity(
    reference: pa.Array, current: pa.Array, test: Callable[[Floats, Floats], tuple[Floats, Floats]]
) -> pa.Array:
    answer = _Answer(len(reference))
    for rows, (seen, now) in _pairs(reference, current):
        answer.put(rows, *test(seen, now), effect_size(_shares(seen), _shares(now)))
    return answer.taken()


def _chi2(seen: Floats, now: Floats) -> tuple[Floats, Floats]:
    parts = [_quotient((counts - expected) ** 2, expected) for counts, expected in _expected(seen, now)]
    return _with_probability(seen, now, sum(parts))


def _likelihood_ratio(seen: Floats, now: Floats) -> tuple[Floats, Floats]:
    from scipy import special

    parts = [2 * special.rel_entr(counts, expected) for counts, expected in _expected(seen, now)]
    return _with_probability(seen, now, sum(parts))


def _expected(seen: Floats, now: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Each side, and what it would be if both were alike."""
    both = seen + now
    total = both.sum(axis=1, keepdims=True)
    for counts in (seen, now):
        yield counts, _quotient(both * counts.sum(axis=1, keepdims=True), total)


def _with_probability(seen: Floats, now: Floats, parts: Any) -> tuple[Floats, Floats]:
    from scipy import special

    freedom = (seen + now > 0).sum(axis=1) - 1
    statistic = parts.sum(axis=1)
    p_value = np.where(freedom > 0, special.chdtrc(np.maximum(freedom, 1), statistic), 1.0)
    p_value[(seen.sum(axis=1) == 0) | (now.sum(axis=1) == 0)] = np.nan
    return statistic, p_value


def _moved(seen: Floats, now: Floats, edges: Floats, known: dict[str, Floats]) -> Floats:
    """How far finite values moved, in standard deviations of the reference; NaN where a side has none."""
    lowest = np.fmin(np.fmin(known["reference_minimum"], known["current_minimum"]), edges[:, 0])
    highest = np.fmax(np.fmax(known["reference_maximum"], known["current_maximum"]), edges[:, -1])
    at = np.column_stack([lowest, edges, highest])
    apart = (_shares(seen) - _shares(now)).cumsum(axis=1)
    apart[:, -1] = 0.0
    up, down = _areas(np.column_stack([np.zeros(len(apart)), apart]), at, edges)
    n, m = seen.sum(axis=1), now.sum(axis=1)
    mean = _quotient(known["reference_sum"], n)
    way = np.abs(mean - _quotient(known["current_sum"], m)) + 2 * np.minimum(up, down)
    variance = _quotient(known["reference_sum_squares"], n) - mean**2
    precise = variance > _PRECISION * mean**2
    deviation = np.sqrt(np.where(precise, variance, _binned_variance(_shares(seen), at)))
    moved: Floats = way / np.maximum(deviation, LEAST_DEVIATION)
    moved[~np.isfinite(moved) | np.isinf(deviation)] = np.inf  # squares are too large to tell
    return np.where((n > 0) & (m > 0), moved, np.nan)


def _areas(heights: Floats, at: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """The areas above and below the axis, up to lines through `heights`, given at `at`.

    Where the last bin holds one number only, each does, where the bin begins: the lines are steps.
    """
    single = (edges[:, -1] == np.nextafter(edges[:, -2], np.inf))[:, None]
    widths = np.diff(at, axis=1)

    def area(height: Floats) -> Floats:
        left, right = height[:, :-1], height[:, 1:]
        above, whole = np.maximum(left, 0) + np.maximum(right, 0), np.abs(left) + np.abs(right)
        across = above * _quotient(above, whole) / 2
        across[:, 1:-1] = np.where(single, np.maximum(right, 0), across)[:, 1:-1]
        found: Floats = (widths * across).sum(axis=1)
        return found

    return area(heights), area(-heights)


def _binned_variance(shares: Floats, at: Floats) -> Floats:
    middles, widths = (at[:, 1:] + at[:, :-1]) / 2, np.diff(at, axis=1)
    mean = (shares * middles).sum(axis=1, keepdims=True)
    variance: Floats = (shares * ((middles - mean) ** 2 + widths**2 / 12)).sum(axis=1)
    return variance


def _gone(seen: Floats, now: Floats) -> Floats:
    """The distance between the shares of null, other, and all the rest."""
    kinds = [_shares(np.column_stack([each[:, :2], each[:, 2:].sum(axis=1)])) for each in (seen, now)]
    gone: Floats = np.abs(kinds[0] - kinds[1]).sum(axis=1) / 2
    return gone


def _shares(counts: Floats) -> Floats:
    return _quotient(counts, counts.sum(axis=1, keepdims=True))


def _quotient(over: Floats, under: Floats) -> Floats:
    """`over / under`, and 0 where that is 0 / 0 of counts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Floats = np.where(under != 0, over / np.where(under != 0, under, 1.0), 0.0)
    return quotient


class _Answer:
    """Structs of `TESTED`, NULL until something is put in their place."""

    def __init__(self, rows: int) -> None:
        self._parts = {field.name: np.full(rows, np.nan) for field in TESTED}

    def put(self, rows: Places, *parts: Floats) -> None:
        for column, part in zip(self._parts.values(), parts, strict=True):
            column[rows] = part

    def taken(self) -> pa.Array:
        empty = np.isnan(self._parts["p_value"])
        return pa.StructArray.from_arrays(
            [_nullable(np.where(empty, np.nan, part)) for part in self._parts.values()], fields=list(TESTED)
        )


def _pairs(*lists: pa.Array, longer: tuple[int, ...] = (0, 0)) -> Iterator[tuple[Places, tuple[Floats, ...]]]:
    """The lists of rows of one length at a time, as arrays of two dimensions, with their rows.

    Args:
        lists: Arrow lists of numbers, of the same number of rows.
        longer: How many more entries the first has than each.
    """
    whole = [_combined(each) for each in lists]
    lengths = [np.asarray(pc.fill_null(pc.list_value_length(each), -1), dtype=np.int64) for each in whole]
    fits = np.all(
        [
            length + less == lengths[0]
            for length, less in zip(lengths, longer or [0] * len(lists), strict=True)
        ]
        + [length > 0 for length in lengths],
        axis=0,
    )
    for length in np.unique(lengths[0][fits]):
        rows = np.flatnonzero(fits & (lengths[0] == length))
        yield (
            rows,
            tuple(_flat(each, rows).reshape(len(rows), -1) for each in whole),
        )


def _flat(lists: pa.Array, rows: Places) -> Floats:
    return np.asarray(lists.take(rows).flatten(), dtype=np.float64)


def _combined(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numbers(column: Any) -> Floats:
    """A column with NaN for NULL."""
    numbers: Floats = _combined(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _nullable(values: Floats) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)
