"""Tests and distances of two samples of values, and of two rows of counts where sizes are small.

Samples come bounded, and without NULL, NaN and infinity. What is drawn by chance is drawn with a fixed seed,
so that the same samples give the same answer.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lapwing_collector.query.library.counts import LEAST_DEVIATION, effect_size

Floats = npt.NDArray[np.float64]
Told = dict[str, Any]
Found = tuple[float, float]
"""A statistic or distance, and how probable one as large is by chance; NaN where nobody knows."""

_SEED: Final = 0
_EXACT: Final = 1000
"""Values of a side up to which a probability is counted out rather than taken from the limit distribution."""
KERNEL: Final = 500
"""Values of a side that MMD looks at: its work grows with the square."""
_SHUFFLES: Final = 499
_DISCRETE: Final = 20
"""Distinct values of the reference up to which each is a bin of its own."""
_QUANTILES: Final = 10
_LEAST_SHARE: Final = 1e-4
_BARNARD: Final = 200
"""Rows of both sides up to which Barnard's test takes well below a second."""


def two_samples(method: str, reference: Sequence[float], current: Sequence[float], binning: str) -> Told:
    """Compare two samples of numbers.

    Args:
        method: A name in `SAMPLE_METHODS`, or one in `COUNT_METHODS` over bins.
        reference: Its values; those at the start are as good as any.
        current: What is compared with it.
        binning: For methods over bins: `evidently` for edges over both samples by Sturges' rule, where the
            reference has more than 20 distinct values, else a bin per value; `reference` for edges at the
            deciles of the reference.

    Returns:
        `statistic`, `p_value`, `effect_size` (the greatest distance between both cumulative shares) and
        `reason`, where there is nothing to tell.
    """
    seen, now = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if not len(seen) or not len(now):
        return _nothing("no values" if len(seen) else "no values in the reference")
    if method in COUNT_METHODS:
        known, counted = _binned(seen, now, method, binning)
        return two_counts(method, known.tolist(), counted.tolist(), binning)
    call = SAMPLE_METHODS.get(method)
    if call is None:
        return _nothing(f"no such method: {method}; there are {', '.join(SAMPLE_METHODS)}")
    if method not in _DISTANCES and len(np.unique(np.concatenate([seen, now]))) == 1:
        return _told(lambda: (0.0, 1.0), 0.0)  # which is beyond what most tests are made for
    return _told(lambda: call(seen, now), _apart(seen, now))


def two_counts(method: str, reference: Sequence[int], current: Sequence[int], binning: str) -> Told:
    """Compare how often each of several values came in two samples.

    Args:
        method: A name in `COUNT_METHODS`.
        reference: How often, in an order of values.
        current: The same for what is compared, in the same order.
        binning: `evidently` for what its formulas do with bins that are empty, and for tests that take the
            reference for the truth; anything else for tests that know both to be samples.

    Returns:
        `statistic`, `p_value`, `effect_size` (Cramér's V, as if both were of one size) and `reason`, where
        there is nothing to tell.
    """
    seen, now = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if not seen.sum() or not now.sum():
        return _nothing("no values" if seen.sum() else "no values in the reference")
    call = COUNT_METHODS.get(method)
    if call is None:
        return _nothing(f"no such method: {method}; there are {', '.join(COUNT_METHODS)}")
    size = effect_size(seen / seen.sum(), now / now.sum())
    return _told(lambda: call(seen, now, binning == "evidently"), float(size))


def _told(call: Callable[[], Found], size: float) -> Told:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of limits that documentation tells: bounded probabilities, ties
            statistic, p_value = call()
    except (ValueError, ArithmeticError, LookupError, np.linalg.LinAlgError) as error:
        return _nothing(str(error))
    if not np.isfinite(statistic) and np.isnan(p_value):
        return _nothing("undefined for these values")
    return {
        "statistic": _known(statistic),
        "p_value": _known(p_value),
        "effect_size": _known(size),
        "reason": None,
    }


def _nothing(reason: str) -> Told:
    return {"statistic": None, "p_value": None, "effect_size": None, "reason": reason}


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _apart(seen: Floats, now: Floats) -> float:
    """The greatest distance between both cumulative shares."""
    at = np.concatenate([seen, now])
    below = [np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (seen, now)]
    return float(np.abs(below[0] - below[1]).max())


def _kolmogorov_smirnov(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    found = stats.ks_2samp(seen, now, method="exact" if max(len(seen), len(now)) <= _EXACT else "asymp")
    return found.statistic, found.pvalue


def _mann_whitney(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    found = stats.mannwhitneyu(seen, now)
    return found.statistic, found.pvalue


def _epps_singleton(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    found = stats.epps_singleton_2samp(seen, now)
    return found.statistic, found.pvalue


def _anderson_darling(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    found = stats.anderson_ksamp([seen, now])
    return found.statistic, found.pvalue


def _cramer_von_mises(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    found = stats.cramervonmises_2samp(seen, now)
    return found.statistic, found.pvalue


def _wasserstein(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    return stats.wasserstein_distance(seen, now) / max(float(np.std(seen)), LEAST_DEVIATION), np.nan


def _energy(seen: Floats, now: Floats) -> Found:
    from scipy import stats

    return stats.energy_distance(seen, now), np.nan


def _mmd(seen: Floats, now: Floats) -> Found:
    every = np.concatenate([seen[:KERNEL], now[:KERNEL]])
    return mean_discrepancy((every[:, None] - every[None, :]) ** 2, min(len(seen), KERNEL))


def mean_discrepancy(squares: Floats, n: int) -> Found:
    """Unbiased squared maximum mean discrepancy with a Gaussian kernel, and its probability by shuffling.

    Args:
        squares: Squared distances between all values of both samples, the reference first.
        n: How many are of the reference.

    Raises:
        ValueError: A sample has fewer than two values.
    """
    m = len(squares) - n
    if min(n, m) < 2:
        raise ValueError("fewer than two values")
    width = np.median(squares[:n, :n]) or 1.0  # twice the square of the kernel's sigma, by the reference
    kernel = np.exp(-squares / width)
    np.fill_diagonal(kernel, 0.0)
    draw = np.random.default_rng(_SEED)
    first = np.arange(n + m) < n
    sides = np.column_stack([first, *(draw.permutation(first) for _ in range(_SHUFFLES))]).astype(np.float64)
    towards = kernel @ sides
    within = (sides * towards).sum(axis=0)
    across = ((1 - sides) * towards).sum(axis=0)
    others = kernel.sum() - within - 2 * across
    found = within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)
    return float(found[0]), _as_large(found[0], found[1:])


def _as_large(seen: float, shuffled: Floats) -> float:
    """How probable it is by chance: never 0, because what was seen is one of the possible orders."""
    return float((1 + (shuffled >= seen - 1e-12).sum()) / (1 + len(shuffled)))


SAMPLE_METHODS: Final[Mapping[str, Callable[[Floats, Floats], Found]]] = MappingProxyType(
    {
        "kolmogorov_smirnov": _kolmogorov_smirnov,
        "mann_whitney": _mann_whitney,
        "epps_singleton": _epps_singleton,
        "anderson_darling": _anderson_darling,
        "cramer_von_mises": _cramer_von_mises,
        "wasserstein": _wasserstein,
        "energy": _energy,
        "mmd": _mmd,
    }
)
"""Over two samples of numbers."""

_DISTANCES: Final = frozenset({"wasserstein", "energy"})
"""Those of them that are no tests."""


def _binned(seen: Floats, now: Floats, method: str, binning: str) -> tuple[Floats, Floats]:
    """How many of either sample are in each bin."""
    if len(np.unique(seen)) <= _DISCRETE:
        values = np.union1d(seen, now)
        return _counted(np.searchsorted(values, seen), np.searchsorted(values, now), len(values))
    if binning == "evidently":
        # Which for Hellinger makes the edges of values that are counted once each.
        pooled = np.union1d(seen, now) if method == "hellinger" else np.concatenate([seen, now])
        edges = np.histogram_bin_edges(pooled, bins="sturges")[1:-1]
    else:
        edges = np.unique(np.quantile(seen, np.linspace(0, 1, _QUANTILES + 1)[1:-1]))
    return _counted(
        np.searchsorted(edges, seen, side="right"), np.searchsorted(edges, now, side="right"), len(edges) + 1
    )


def _counted(seen: npt.NDArray[np.intp], now: npt.NDArray[np.intp], bins: int) -> tuple[Floats, Floats]:
    counted = [np.bincount(places, minlength=bins).astype(np.float64) for places in (seen, now)]
    return counted[0], counted[1]


def _homogeneous(seen: Floats, now: Floats, by: str, *, given: bool) -> Found:
    from scipy import stats

    some = (seen + now) > 0
    seen, now = seen[some], now[some]
    if len(seen) < 2:
        return 0.0, 1.0
    if given:
        expected = seen * now.sum() / seen.sum()
        if (expected == 0).any():
            return np.inf, 0.0
        found = stats.power_divergence(now, expected, lambda_=by)
        return found.statistic, found.pvalue
    found = stats.chi2_contingency(np.stack([seen, now]), correction=False, lambda_=by)
    return found.statistic, found.pvalue


def _chi2(seen: Floats, now: Floats, given: bool) -> Found:
    return _homogeneous(seen, now, "pearson", given=given)


def _g_test(seen: Floats, now: Floats, given: bool) -> Found:
    return _homogeneous(seen, now, "log-likelihood", given=given)


def _two_by_two(seen: Floats, now: Floats) -> npt.NDArray[np.int64]:
    table = np.stack([seen, now]).astype(np.int64)
    table = table[:, table.any(axis=0)]
    values = table.shape[1]
    if values > 2:
        raise ValueError(f"for two values, and there are {values}")
    return np.pad(table, ((0, 0), (0, 2 - values)))


def _proportions(seen: Floats, now: Floats, _: bool) -> Found:
    from scipy import special

    table = _two_by_two(seen, now)
    n, m = table.sum(axis=1)
    pooled = table[:, 0].sum() / (n + m)
    if pooled in (0.0, 1.0):
        return 0.0, 1.0
    z = (table[0, 0] / n - table[1, 0] / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return float(z), float(2 * special.ndtr(-abs(z)))


def _fisher(seen: Floats, now: Floats, _: bool) -> Found:
    from scipy import stats

    found = stats.fisher_exact(_two_by_two(seen, now))
    return found.statistic, found.pvalue


def _barnard(seen: Floats, now: Floats, _: bool) -> Found:
    from scipy import stats

    table = _two_by_two(seen, now)
    if table.sum() > _BARNARD:
        raise ValueError(f"for up to {_BARNARD} rows of both sides, not {table.sum()}: use fisher_exact")
    if not table.sum(axis=0).all():
        return 0.0, 1.0
    found = stats.barnard_exact(table.T)
    return found.statistic, found.pvalue


def _total_variation(seen: Floats, now: Floats, _: bool) -> Found:
    n, m = seen.sum(), now.sum()
    both = (seen + now).astype(np.int64)
    draw = np.random.default_rng(_SEED)
    first = draw.multivariate_hypergeometric(both, int(n), size=_SHUFFLES, method="marginals")
    shuffled = np.abs(first / n - (both - first) / m).sum(axis=1) / 2
    found = float(np.abs(seen / n - now / m).sum() / 2)
    return found, _as_large(found, shuffled)


def _psi(seen: Floats, now: Floats, given: bool) -> Found:
    p, q = _filled(seen, given), _filled(now, given)
    return float(((p - q) * np.log(p / q)).sum()), np.nan


def _kl_divergence(seen: Floats, now: Floats, given: bool) -> Found:
    p, q = _filled(seen, given), _filled(now, given)
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum()), np.nan


def _js_distance(seen: Floats, now: Floats, _: bool) -> Found:
    from scipy import special

    p, q = seen / seen.sum(), now / now.sum()
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum() / 2
    return float(np.sqrt(max(0.0, divergence))), np.nan


def _hellinger(seen: Floats, now: Floats, _: bool) -> Found:
    shared = np.sqrt(seen / seen.sum() * now / now.sum()).sum()
    return float(np.sqrt(1 - min(shared, 1.0))), np.nan


def _filled(counts: Floats, given: bool) -> Floats:
    """Shares, with something for bins that are empty: their logarithm is asked for."""
    shares: Floats = counts / counts.sum()
    least = shares[shares > 0].min()
    if not given:
        shares = np.maximum(shares, _LEAST_SHARE)
    shares[shares == 0] = least / 1e6 if least <= _LEAST_SHARE else _LEAST_SHARE
    return shares


COUNT_METHODS: Final[Mapping[str, Callable[[Floats, Floats, bool], Found]]] = MappingProxyType(
    {
        "psi": _psi,
        "js_distance": _js_distance,
        "kl_divergence": _kl_divergence,
        "hellinger": _hellinger,
        "total_variation": _total_variation,
        "chi2": _chi2,
        "g_test": _g_test,
        "proportions": _proportions,
        "fisher_exact": _fisher,
        "barnard": _barnard,
    }
)
"""Over two rows of counts."""
