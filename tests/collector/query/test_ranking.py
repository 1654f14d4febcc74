"""Metrics of rankings, against scikit-learn and plain counting."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from helpers.metrics import END, START, Measured
from lapwing_collector.errors import QueryError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query.library import METRICS

SPAN = {"since": START, "until": END}
DESCRIBED = ModelDescription(task=Task.RANKING)
ITEMS = [f"item {number}" for number in range(12)]
LISTS = 40
NAMES = [name for name, metric in METRICS.items() if metric.group == "ranking"]
BOUNDED = [name for name in NAMES if name not in {"cg_at_k", "dcg_at_k", "lift_at_k", "novelty"}]


class Searches:
    """Whole rankings of a small catalogue; for each something is relevant, in degrees."""

    def __init__(self) -> None:
        chance = np.random.default_rng(11)
        self.lists = [list(map(str, chance.permutation(ITEMS))) for _ in range(LISTS)]
        self.gains = [
            {item: float(chance.choice([0, 0, 0, 1, 3])) for item in ITEMS} | {str(chance.choice(ITEMS)): 2.0}
            for _ in range(LISTS)
        ]
        self.genres = {item: "abc"[number % 3] for number, item in enumerate(ITEMS)}

    def put(self, measured: Measured) -> None:
        predictions = [
            {"output.items": items, "output.genres": [self.genres[item] for item in items]}
            for items in self.lists
        ]
        labels = [{"prediction_id": str(number), "label": gains} for number, gains in enumerate(self.gains)]
        measured.put("searches", predictions, _as_structs(labels), DESCRIBED)

    @property
    def truth(self) -> np.ndarray:
        return np.array([[gains[item] for item in ITEMS] for gains in self.gains])

    @property
    def scores(self) -> np.ndarray:
        return np.array([[-items.index(item) for item in ITEMS] for items in self.lists])

    def tops(self, k: int) -> list[list[float]]:
        """Gains of the first items of each list."""
        return [
            [gains[item] for item in items[:k]] for items, gains in zip(self.lists, self.gains, strict=True)
        ]

    def relevant(self) -> list[int]:
        return [sum(gain > 0 for gain in gains.values()) for gains in self.gains]


def _as_structs(labels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Labels whose degrees are a field an item, as the SDK logs a dict."""
    return [
        {"prediction_id": each["prediction_id"]}
        | {f'label."{item}"': gain for item, gain in each["label"].items()}
        for each in labels
    ]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def searches(measured: Measured) -> Searches:
    made = Searches()
    made.put(measured)
    return made


def value(measured: Measured, name: str, model: str, extra: str = "") -> float:
    found = measured.row(f"FROM {name}('{model}', $since, $until{extra})", **SPAN)["value"]
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize("k", [1, 3, 12])
def test_the_order_is_judged_as_scikit_learn_judges_it(
    measured: Measured, searches: Searches, k: int
) -> None:
    """DCG and NDCG with degrees of relevance agree to rounding."""
    for name, oracle in (("dcg_at_k", metrics.dcg_score), ("ndcg_at_k", metrics.ndcg_score)):
        expected = oracle(searches.truth, searches.scores, k=k)
        assert value(measured, name, "searches", f", k := {k}") == pytest.approx(expected, rel=1e-12)


def test_exponential_gains_are_those_of_doubled_degrees(measured: Measured, searches: Searches) -> None:
    """NDCG with exponential gains is linear NDCG of 2^relevance - 1."""
    expected = metrics.ndcg_score(2**searches.truth - 1, searches.scores, k=5)
    found = value(measured, "ndcg_at_k", "searches", ", k := 5, gain := 'exponential'")
    assert found == pytest.approx(expected, rel=1e-12)


def test_average_precision_of_whole_rankings_is_scikit_learns(measured: Measured, searches: Searches) -> None:
    """Without a cut-off, MAP is what scikit-learn calls label ranking average precision."""
    expected = metrics.label_ranking_average_precision_score(searches.truth > 0, searches.scores)
    assert value(measured, "map_at_k", "searches", ", k := NULL") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("k", [1, 4, 12])
def test_relevant_items_are_counted_within_the_first_k(
    measured: Measured, searches: Searches, k: int
) -> None:
    """Precision, recall, F, hit rate, gain, lift and ranks agree with counting list by list."""
    tops, relevant = searches.tops(k), searches.relevant()
    hits = [sum(gain > 0 for gain in top) for top in tops]
    precision = [hit / k for hit in hits]
    recall = [hit / all_of for hit, all_of in zip(hits, relevant, strict=True)]
    expected = {
        "precision_at_k": fmean(precision),
        "recall_at_k": fmean(recall),
        "f_beta_at_k": fmean(
            5 * p * r / (4 * p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)
        ),
        "hit_rate_at_k": fmean(hit > 0 for hit in hits),
        "mrr": fmean(next((1 / place for place, gain in enumerate(top, 1) if gain > 0), 0.0) for top in tops),
    }
    expected |= {
        "cg_at_k": fmean(sum(top) for top in tops),
        "lift_at_k": fmean(p / (all_of / len(ITEMS)) for p, all_of in zip(precision, relevant, strict=True)),
        "mar_at_k": fmean(average_recall(top, all_of) for top, all_of in zip(tops, relevant, strict=True)),
    }
    for name, wanted in expected.items():
        beta = ", beta := 2.0" if name == "f_beta_at_k" else ""
        assert value(measured, name, "searches", f", k := {k}{beta}") == pytest.approx(wanted, rel=1e-12), (
            name
        )


def average_recall(top: Sequence[float], relevant: int) -> float:
    """Recall at each relevant place of a list, on average over these."""
    found = [
        sum(gain > 0 for gain in top[:place]) / relevant for place, gain in enumerate(top, 1) if gain > 0
    ]
    return fmean(found) if found else 0.0


def test_what_lists_hold_together_agrees_with_pairs(measured: Measured, searches: Searches) -> None:
    """Coverage, concentration, personalization and diversity agree with going over all items and pairs."""
    k = 4
    tops = [items[:k] for items in searches.lists]
    often = sorted(Counter(item for top in tops for item in top).values())
    shared = fmean(len(set(one) & set(other)) / k for one, other in combinations(tops, 2))
    differences = sum(abs(one - other) for one in often for other in often)
    genres = searches.genres
    expected = {
        "item_coverage": len(often) / len(ITEMS),
        "item_concentration": differences / (2 * len(often) * sum(often)),
        "personalization": 1 - shared,
        "diversity": fmean(
            genres[one] != genres[other] for top in tops for one, other in combinations(top, 2)
        ),
    }
    for name, wanted in expected.items():
        kinds = ", kinds := output.genres" if name == "diversity" else ""
        assert value(measured, name, "searches", f", k := {k}{kinds}") == pytest.approx(wanted, rel=1e-9), (
            name
        )
    assert value(measured, "item_coverage", "searches", ", k := 4, catalogue := 48") == len(often) / 48


def test_popularity_is_the_share_of_lists_an_item_was_relevant_for(
    measured: Measured, searches: Searches
) -> None:
    """Popularity bias, novelty and serendipity agree with counting how often items are relevant."""
    k = 3
    wanted = Counter(item for gains in searches.gains for item, gain in gains.items() if gain > 0)
    popular = {item: wanted[item] / LISTS for item in ITEMS}
    listed = [item for items in searches.lists for item in items[:k]]
    top = sorted(ITEMS, key=lambda item: (-popular[item], item))[:k]
    surprising = [
        sum(gains[item] > 0 and item not in top for item in items[:k]) / k
        for items, gains in zip(searches.lists, searches.gains, strict=True)
    ]
    expected = {
        "popularity_bias": fmean(popular[item] for item in listed),
        "novelty": fmean(-math.log2(popular[item] or 1 / LISTS) for item in listed),
        "serendipity": fmean(surprising),
    }
    for name, number in expected.items():
        found = value(measured, name, "searches", f", k := {k}")
        assert found == pytest.approx(number, rel=1e-12), name


def test_diversity_of_embeddings_is_by_cosine(measured: Measured) -> None:
    """Items told by numbers differ by 1 minus the cosine of their angle."""
    vectors = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]
    measured.put("vectors", [{"output.items": ["a", "b", "c"], "output.vectors": vectors}], None, DESCRIBED)
    expected = fmean([1.0, 1 - math.sqrt(0.5), 1 - math.sqrt(0.5)])
    found = value(measured, "diversity", "vectors", ", kinds := output.vectors")
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_relevant_item_that_is_listed_twice_counts_once(measured: Measured) -> None:
    """Repeating the right answer does not make a list better."""
    measured.put(
        "twice", [{"output.items": ["a", "a", "b"]}], [{"prediction_id": "0", "label": ["a", "b"]}], DESCRIBED
    )
    assert value(measured, "precision_at_k", "twice", ", k := 3") == pytest.approx(2 / 3)
    assert value(measured, "map_at_k", "twice", ", k := 3") == pytest.approx((1 + 2 / 3) / 2)


def test_lists_for_which_nothing_is_relevant_have_a_precision_and_no_recall(measured: Measured) -> None:
    """What is undefined is NULL with its count, and does not drag others down."""
    measured.put(
        "empty",
        [{"output.items": ["a", "b"]}, {"output.items": None}, {"output.items": ["c"]}],
        [{"prediction_id": "0", "label": []}, {"prediction_id": "1", "label": ["x"]}],
        DESCRIBED,
    )
    precision = measured.row("FROM precision_at_k('empty', $since, $until, k := 2)", **SPAN)
    assert (precision["value"], precision["sample_count"]) == (0.0, 1)
    assert precision["label_coverage"] == pytest.approx(2 / 3)
    for name in ("recall_at_k", "ndcg_at_k", "map_at_k", "f_beta_at_k"):
        row = measured.row(f"FROM {name}('empty', $since, $until, k := 2)", **SPAN)
        assert (row["value"], row["sample_count"]) == (None, 0), name


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_give_no_row(measured: Measured, searches: Searches, name: str) -> None:
    """A span without predictions is no zero."""
    kinds = ", kinds := output.genres" if name == "diversity" else ""
    assert measured.rows(f"FROM {name}('searches', $since, $until{kinds})", since=END, until=END) == []


def test_an_unknown_gain_is_told(measured: Measured, searches: Searches) -> None:
    """A misspelt kind of gain says which there are."""
    with pytest.raises(Exception, match="gain is linear or exponential, and not log"):
        measured.rows("FROM ndcg_at_k('searches', $since, $until, gain := 'log')", **SPAN)


def test_a_classifier_has_no_ranking(measured: Measured) -> None:
    """Who asks for a ranking of a model that has none is told what to declare."""
    measured.put("churn", [{"output.value": True}], [{"prediction_id": "0", "label": True}])
    with pytest.raises(QueryError, match="ranking"):
        measured.rows("FROM ndcg_at_k('churn', $since, $until)", **SPAN)


LISTED = st.lists(st.sampled_from("abcde"), max_size=6)
RELEVANT = st.none() | st.lists(st.sampled_from("abcdef"))


@settings(max_examples=3, deadline=None)
@given(lists=st.lists(st.tuples(LISTED, RELEVANT), min_size=20, max_size=40))
def test_every_value_is_within_its_bounds(
    measured: Measured, lists: list[tuple[list[str], list[str] | None]]
) -> None:
    """Whatever is listed and relevant, shares are shares, and surprise is never negative."""
    measured.put(
        "any",
        [{"output.items": ["z", *items], "output.kinds": ["z", *items]} for items, _ in lists],
        [{"prediction_id": str(number), "label": wanted} for number, (_, wanted) in enumerate(lists)],
        DESCRIBED,
    )
    for name in NAMES:
        kinds = ", kinds := output.kinds" if name == "diversity" else ""
        call = f"FROM {name}('any', $since, $until, k := 3, segments := {{'row': prediction_id}}{kinds})"
        for row in measured.rows(call, **SPAN):
            number, low, high = row["value"], row.get("low"), row.get("high")
            most = 1 + 1e-12 if name in BOUNDED else math.inf
            assert number is None or -1e-12 <= number <= most, (name, row)
            assert low is None or low <= number <= high, (name, row)
