"""Verdicts of drift: which method, how significance and effect decide, over all fields and by importance."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from helpers.drift import Profiled
from helpers.metrics import START
from lapwing_collector.errors import NotSeenYetError, QueryError
from lapwing_collector.model.description import Feature, FeatureType, ModelDescription

SPAN = {"since": START, "until": START + timedelta(days=7)}


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


def verdicts(model: Profiled, arguments: str = "") -> dict[str, dict[str, Any]]:
    rows = model.rows(f"FROM drift('m', $since, $until{arguments})", **SPAN)
    return {row["field"]: row for row in rows}


@pytest.mark.parametrize(
    ("rows", "methods"),
    [
        (1000, {"many": "ks_binned", "few": "chi2", "two": "z_test", "plan": "chi2", "yes": "z_test"}),
        (
            1001,
            {
                "many": "wasserstein_binned",
                "few": "js_distance",
                "two": "js_distance",
                "plan": "js_distance",
                "yes": "js_distance",
            },
        ),
    ],
)
def test_the_method_fits_the_field_and_the_reference(
    model: Profiled, rows: int, methods: dict[str, str]
) -> None:
    """Tests up to 1 000 rows, distances beyond; numbers with few values are compared as categories are."""
    draw = np.random.default_rng(1)
    fields: dict[str, Any] = {
        "many": draw.normal(size=rows),
        "few": draw.integers(0, 5, rows).astype(float),
        "two": draw.integers(0, 2, rows).astype(float),
        "plan": draw.choice(["a", "b", "c"], rows).tolist(),
        "yes": draw.choice(["false", "true"], rows).tolist(),
    }
    for field, values in fields.items():
        model.bins(field, values)
    model.keep(fields)
    model.count(fields)
    found = verdicts(model)
    assert {field: row["method"] for field, row in found.items()} == methods
    assert {row["drifted"] for row in found.values()} == {0}
    thresholds = {
        "ks_binned": 0.05,
        "chi2": 0.05,
        "z_test": 0.05,
        "js_distance": 0.1,
        "wasserstein_binned": 0.1,
    }
    assert {row["threshold"] for row in found.values()} == {thresholds[each] for each in methods.values()}


@pytest.mark.parametrize("moved", [[0, 0], [40, 41, 0, 20, 30], [5, 80, 81, 12, 300, 44, 44]])
def test_probabilities_are_adjusted_for_the_number_of_fields(shared: Profiled, moved: list[int]) -> None:
    """They are those of Benjamini and Hochberg, as scipy has them."""
    shared.forget()
    for place, moves in enumerate(moved):
        field = f"f{place}"
        shared.bins(field, ["a", "b"])
        shared.keep({field: ["a", "b"] * 450}, version=1)
        shared.count({field: ["a"] * (450 + moves) + ["b"] * (450 - moves)})
    found = verdicts(shared)
    p_values = [row["p_value"] for row in found.values()]
    expected = stats.false_discovery_control(p_values)
    assert [row["adjusted_p_value"] for row in found.values()] == pytest.approx(expected, abs=1e-15)
    plain = verdicts(shared, ", adjust := false")
    assert [row["adjusted_p_value"] for row in plain.values()] == p_values


def test_a_significant_trifle_is_no_drift(model: Profiled) -> None:
    """A test must have its effect size too, unless that is switched off; a distance must be significant."""
    model.bins("plan", ["a", "b"])
    model.keep({"plan": ["a", "b"] * 20_000})
    model.count({"plan": ["a"] * 21_000 + ["b"] * 19_000})
    trifle = verdicts(model, ", method := 'chi2'")["plan"]
    assert (trifle["adjusted_p_value"] < 1e-9, trifle["drifted"]) == (True, 0)
    assert verdicts(model, ", method := 'chi2', min_effect := 0")["plan"]["drifted"] == 1

    model.forget()
    letters = [chr(ord("a") + place) for place in range(26)]
    model.bins("letter", letters)
    model.keep({"letter": letters * 100})
    model.count({"letter": np.random.default_rng(3).choice(letters, 150).tolist()})
    noise = verdicts(model)["letter"]
    assert (noise["value"] > noise["threshold"], noise["drifted"]) == (True, 0)
    assert verdicts(model, ", significance := 1")["letter"]["drifted"] == 1


def test_a_method_can_be_asked_for(model: Profiled) -> None:
    """Where it suits: tests of numbers are not made of categories, and an unknown one is refused."""
    draw = np.random.default_rng(1)
    fields: dict[str, Any] = {"x": draw.normal(size=2000), "plan": draw.choice(["a", "b"], 2000).tolist()}
    for field, values in fields.items():
        model.bins(field, values)
    model.keep(fields)
    model.count({"x": fields["x"] + 0.5, "plan": fields["plan"]})
    for method in ("psi", "js_distance", "kl_divergence", "hellinger", "total_variation", "g_test", "chi2"):
        found = verdicts(model, f", method := '{method}'")
        (alone,) = model.rows(f"FROM {method}('m', $since, $until, fields := 'x')", **SPAN)
        assert found["x"]["method"] == method
        assert (found["x"]["value"], found["x"]["drifted"]) == (pytest.approx(alone["value"]), 1)
        assert found["plan"]["drifted"] == 0
    assert verdicts(model, ", method := 'ks_binned'")["plan"]["method"] == "js_distance"
    with pytest.raises(QueryError, match=r"psi, js_distance, .* or z_test, and not magic"):
        verdicts(model, ", method := 'magic'")
    assert verdicts(model, ", method := 'psi', threshold := 0.5")["x"]["drifted"] == 0


def test_the_share_of_drifted_fields(model: Profiled) -> None:
    """All alike, or by importance where the description tells it; fields without a verdict do not count."""
    draw = np.random.default_rng(1)
    names = [f"inputs.{name}" for name in "abcd"]
    seen = {name: draw.normal(size=2000) for name in names}
    for name in names:
        model.bins(name, seen[name])
    model.keep({name: seen[name] for name in names})
    now = {name: seen[name] + shift for name, shift in zip(names, (2, 1, 0, 0), strict=True)}
    model.count(now | {"inputs.d": [None] * 50})
    call = "SELECT * FROM dataset_drift('m', $since, $until, nulls := false{})"
    plain = model.row(call.format(""), **SPAN)
    assert plain["value"] == pytest.approx(2 / 3)
    assert (plain["drifted"], plain["drifted_count"], plain["field_count"]) == (1, 2, 3)
    assert plain["top_fields"] == ["inputs.a", "inputs.b"]
    assert (plain["weighted_share"], plain["reason"]) == (None, None)

    features = {
        name: Feature(FeatureType.NUMBER, importance)
        for name, importance in zip(names, (1, 3, 12, None), strict=True)
    }
    model.put("m", [{"inputs.x": 1.0}], description=ModelDescription(features=features))
    weighted = model.row(call.format(", weighted := true, top := 1"), **SPAN)
    assert weighted["value"] == pytest.approx(4 / 16)
    assert (weighted["drifted"], weighted["top_fields"]) == (0, ["inputs.b"])
    assert verdicts(model)["inputs.c"]["importance"] == 12
    none = model.row(call.format(", min_rows := 5000"), **SPAN)
    assert (none["value"], none["drifted"], none["field_count"]) == (None, None, 0)
    assert none["reason"].startswith("fewer than 5000 rows")
    model.connection.execute("DELETE FROM model_descriptions")


def test_latencies_are_no_fields_that_drift(model: Profiled) -> None:
    """The profile's durations are left to metrics of traffic."""
    model.bins("duration_ms", [1.0, 2.0])
    model.connection.execute("UPDATE binnings SET kind = 'duration'")
    model.keep({"duration_ms": [1.0, 2.0] * 100})
    model.count({"duration_ms": [2.0] * 500})
    assert verdicts(model) == {}
    assert model.row("FROM ks_binned('m', $since, $until)", **SPAN)["value"] < 0.05


def test_a_reference_that_is_not_there_is_told(model: Profiled) -> None:
    """A misspelt one does not pass for one that has nothing to compare with."""
    model.bins("plan", ["a", "b"])
    model.keep({"plan": ["a", "b"] * 100})
    model.count({"plan": ["a", "b"] * 100})
    (name,) = {row["reference"] for row in model.rows("FROM reference_sets")}
    assert verdicts(model, f", reference := '{name}'")["plan"]["drifted"] == 0
    with pytest.raises(QueryError, match=f"m has no reference '{name}s'; did you mean {name}\\?"):
        verdicts(model, f", reference := '{name}s'")
    with pytest.raises(QueryError, match=f"it has {name}"):
        verdicts(model, ", reference := '_'")
    model.forget()
    with pytest.raises(QueryError, match="`lapwing reference set` makes one"):
        verdicts(model, ", reference := 'train'")


def test_what_nothing_can_be_told_of_is_told(model: Profiled) -> None:
    """No answer without a reason: no bins yet, no such field, no profile by such segments."""
    with pytest.raises(NotSeenYetError, match="no field of m has bins yet"):
        verdicts(model)
    model.bins("inputs.plan", ["a", "b"])
    model.count({"inputs.plan": ["a", "b"] * 100})
    assert list(verdicts(model, ", fields := 'inputs.*'")) == ["inputs.plan"]
    with pytest.raises(NotSeenYetError, match=r"called plan; did you mean inputs\.plan\?"):
        verdicts(model, ", fields := 'plan'")
    with pytest.raises(NotSeenYetError, match=r"inputs\.x of m has no bins yet"):
        verdicts(model, ", fields := 'inputs.x'")
    with pytest.raises(NotSeenYetError, match=r"no profile of m is kept by inputs\.plan"):
        verdicts(model, ", segment := 'inputs.plan'")
