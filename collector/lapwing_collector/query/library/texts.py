"""Whether two samples of texts can be told apart, by which words, and which texts best.

Samples come as Arrow lists of structs of `id` and `text`, bounded.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from lapwing_collector.query.library.apart import BOUND, Apart, tell_apart
from lapwing_collector.query.library.vectors import NO_CLASSIFIER

TYPE: Final = (
    "STRUCT(statistic DOUBLE, threshold DOUBLE, p_value DOUBLE, reason VARCHAR, "
    "words STRUCT(side VARCHAR, word VARCHAR, weight DOUBLE, sample_share DOUBLE, reference_share DOUBLE)[], "
    "examples STRUCT(side VARCHAR, id VARCHAR, score DOUBLE)[])"
)
_ARROW_TYPE: Final = pa.struct(
    [
        ("statistic", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("reason", pa.string()),
        (
            "words",
            pa.list_(
                pa.struct(
                    [
                        ("side", pa.string()),
                        ("word", pa.string()),
                        ("weight", pa.float64()),
                        ("sample_share", pa.float64()),
                        ("reference_share", pa.float64()),
                    ]
                )
            ),
        ),
        (
            "examples",
            pa.list_(pa.struct([("side", pa.string()), ("id", pa.string()), ("score", pa.float64())])),
        ),
    ]
)
MOST: Final = 100
"""How many words, and how many texts, are told of each side at most."""
_LARGE: Final = 1000
"""Texts of the reference above which the classifier's area is held against a fixed bound."""
_WORDS: Final = 20_000
"""Words that the classifier knows: those that come most often."""


def texts(reference: Any, current: Any) -> pa.Array:
    """Tell two samples of texts apart by their words, row by row.

    Args:
        reference: Lists of structs of `id` and `text`.
        current: What is compared with them.

    Returns:
        Structs: the area under the ROC curve, where it begins to be drift, how probable one as large is by
        chance, and why there is nothing to tell; then the words that speak most for either side and the
        texts that most surely are of their own.
    """
    return pa.array([_compared(*row) for row in zip(reference, current, strict=True)], _ARROW_TYPE)


def _compared(reference: Any, current: Any) -> dict[str, Any] | None:
    if not (reference.is_valid and current.is_valid):
        return None
    try:
        return _told(reference.values, current.values)
    except ImportError:
        return {"reason": NO_CLASSIFIER}


def _told(reference: pa.StructArray, current: pa.StructArray) -> dict[str, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    seen = len(reference)
    vectorizer = TfidfVectorizer(
        sublinear_tf=True,
        max_features=_WORDS,
        token_pattern=r"\w+",  # noqa: S106 (no password)
    )
    every = [text for side in (reference, current) for text in side.field("text").to_pylist()]
    try:
        features = vectorizer.fit_transform(every)
    except ValueError:
        return {"reason": "the texts have no words"}
    told = tell_apart(features, seen)
    ids = [each for side in (reference, current) for each in side.field("id").to_pylist()]
    return {
        "statistic": told.area,
        "threshold": BOUND if seen > _LARGE else told.by_chance,
        "p_value": told.p_value,
        "reason": None,
        "words": _words(vectorizer.get_feature_names_out(), features, told, seen),
        "examples": _examples(ids, told, seen),
    }


def _words(names: Any, features: Any, told: Apart, seen: int) -> list[dict[str, Any]]:
    """The words of greatest weight on either side, those that say most first."""
    reference_shares = (features[:seen] > 0).mean(axis=0).A1
    shares = (features[seen:] > 0).mean(axis=0).A1
    order = np.argsort(told.weights, kind="stable")
    chosen = [("reference", at) for at in order[:MOST] if told.weights[at] < 0]
    chosen += [("current", at) for at in order[::-1][:MOST] if told.weights[at] > 0]
    return [
        {
            "side": side,
            "word": names[at],
            "weight": abs(told.weights[at]),
            "sample_share": shares[at],
            "reference_share": reference_shares[at],
        }
        for side, at in chosen
    ]


def _examples(ids: list[str | None], told: Apart, seen: int) -> list[dict[str, Any]]:
    """The texts that are most surely on their own side, among those the classifier had not seen."""
    order = np.argsort(told.scores, kind="stable")
    first = [at for at in order if told.rows[at] < seen and told.scores[at] < 0][:MOST]
    second = [at for at in order[::-1] if told.rows[at] >= seen and told.scores[at] > 0][:MOST]
    return [
        {"side": side, "id": ids[told.rows[at]], "score": abs(told.scores[at])}
        for side, chosen in (("reference", first), ("current", second))
        for at in chosen
    ]
