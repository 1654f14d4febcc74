"""Whether a classifier can tell the rows of one sample from those of another.

Where it cannot, both may come from the same source. What is drawn by chance is drawn with a fixed seed.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BOUND: Final = 0.55
"""Area above which large samples count as told apart."""
_SEED: Final = 0
_SHUFFLES: Final = 999
_PERCENTILE: Final = 95
_ROUNDS: Final = 50


@dataclass(frozen=True, slots=True)
class Apart:
    """How well rows were told apart that the classifier had not seen.

    Attributes:
        area: Area under its ROC curve: 0.5 for guessing, 1 for always right.
        by_chance: The 95th percentile of the area when the sides of those rows are dealt by chance.
        p_value: How probable an area as large is by chance.
        weights: What each feature adds to the score for the second sample.
        rows: Which rows these were, both samples counted through.
        scores: Their scores: the higher, the more a row looks as if from the second sample.
    """

    area: float
    by_chance: float
    p_value: float
    weights: Floats
    rows: npt.NDArray[np.intp]
    scores: Floats


def tell_apart(features: Any, seen: int) -> Apart:
    """Train a linear classifier on one half of each sample, and ask it about the others.

    Args:
        features: A matrix, dense or sparse, of the rows of both samples.
        seen: How many rows are of the first sample, which comes first.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from scipy import stats
    from sklearn.linear_model import SGDClassifier

    draw = np.random.default_rng(_SEED)
    count = features.shape[0]
    order = (draw.permutation(seen), seen + draw.permutation(count - seen))
    train = np.concatenate([rows[: len(rows) // 2] for rows in order])
    test = np.concatenate([rows[len(rows) // 2 :] for rows in order])
    classifier = SGDClassifier(loss="log_loss", max_iter=_ROUNDS, random_state=_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would have learned a little more
        classifier.fit(features[train], train >= seen)
    scores = classifier.decision_function(features[test])
    ranks = stats.rankdata(scores)
    now = test >= seen
    area = _area(ranks, now[:, None])[0]
    dealt = _area(ranks, np.column_stack([draw.permutation(now) for _ in range(_SHUFFLES)]))
    return Apart(
        area=float(area),
        by_chance=float(np.percentile(dealt, _PERCENTILE)),
        p_value=float((1 + (dealt >= area - 1e-12).sum()) / (1 + _SHUFFLES)),
        weights=classifier.coef_[0],
        rows=test,
        scores=scores,
    )


def _area(ranks: Floats, sides: npt.NDArray[np.bool_]) -> Floats:
    """The area under the curve of each column of sides, by the ranks of the scores."""
    inside = sides.sum(axis=0)
    above = ranks @ sides - inside * (inside + 1) / 2
    found: Floats = above / (inside * (len(ranks) - inside))
    return found
