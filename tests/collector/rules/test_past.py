"""What is gathered of a rule's past: episodes, flaps, and advice that follows from them."""

from datetime import timedelta
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.rules_build import MINUTE, START, outcome_of, play, rows_of, rule_of
from lapwing_collector.model.alerts import RuleState, Status
from lapwing_collector.rules import Gathering, Outcome, Rule, Summary, evaluate
from lapwing_collector.rules.past import _MOST_VALUES, _Sample


def gathered(rule: Rule, *outcomes: Outcome) -> Summary:
    state, gathering = RuleState(rule.definition), Gathering(rule)
    for number, outcome in enumerate(outcomes, start=1):
        slot = START + number * rule.slots.step
        evaluation = evaluate(rule, outcome, state, slot)
        state = evaluation.state
        gathering.take(slot, outcome, evaluation, incomplete=False)
    return gathering.summary()


def by_signs(signs: str, **keys: Any) -> Summary:
    return gathered(rule_of(**keys), *map(outcome_of, signs))


def value_of(number: float) -> Outcome:
    return rows_of({"value": number, "active": number > 10, "clear": number <= 10})


def test_an_episode_has_its_times_and_its_peak() -> None:
    """One that still fires lasts up to the last slot, and has no end."""
    summary = by_signs("cAAAcccAA")
    first, second = summary.episodes
    assert (first.began, first.ended) == (START + 2 * MINUTE, START + 5 * MINUTE)
    assert (first.seconds, first.peak, first.reason) == (180, 20, "condition")
    assert first.labels["name"] == "x"
    assert (second.began, second.ended, second.seconds) == (START + 8 * MINUTE, None, 60)
    assert (summary.fired, summary.firing_s, summary.flaps, summary.busiest) == (2, 240, 1, 3)
    # Two instances, of which one is active in five of nine slots.
    assert summary.share == pytest.approx(5 / 18)


def test_slots_are_counted_by_what_they_could_say() -> None:
    """Failed ones, and those without rows, are told apart from good ones."""
    assert by_signs("c0EEc").health == {"ok": 2, "no_data": 1, "error": 2}


def test_a_long_silence_ends_a_flap() -> None:
    """An alert that fires again an hour and more after it resolved is another alarm."""
    assert by_signs("Ac" + "c" * 58 + "A").flaps == 1
    assert by_signs("Ac" + "c" * 61 + "A").flaps == 0


@given(st.text("AAAccc-n.0E", max_size=40))
def test_variants_are_what_the_engine_says_with_another_for(signs: str) -> None:
    """Each is counted as if the rule had been written with it."""
    summary = by_signs(signs)
    for variant in summary.variants:
        _, _, timeline = play(rule_of(for_=f"{variant.for_s:.0f}s"), signs)
        told = [each.status for each in timeline.transitions]
        assert variant.fired == told.count(Status.FIRING)


def test_only_longer_ones_are_tried() -> None:
    """And what is suggested is the shortest that calms it, and still fires."""
    assert [each.for_s for each in by_signs("A", for_="5m").variants] == [360, 720, 1440]
    flapping = "AAcAAcAAcAAc" + "A" * 10
    assert by_signs(flapping).suggested_for_s == 120
    assert by_signs("AAcAAc").suggested_for_s is None  # nothing would fire
    assert by_signs("cccAAAccc").suggested_for_s is None  # it does not flap


@pytest.mark.parametrize(
    ("condition", "values", "suggested"),
    [
        ("value > 10", [n / 10 for n in range(1000)], "value > 99.8"),  # always past it
        ("value > 1000", [n / 10 for n in range(1000)], "value > 99.8"),  # never near it
        ("value < 50", [n / 10 for n in range(1000)], "value < 0.1"),
        ("value > 99.8", [n / 10 for n in range(1000)], None),  # as rare as one can wish
        ("value > 10 AND sample_count > 3", [n / 10 for n in range(1000)], None),  # not of value alone
        ("value > 10", [], None),
    ],
)
def test_a_threshold_is_suggested_where_it_is_past_all_or_none(
    condition: str, values: list[float], suggested: str | None
) -> None:
    """It is the value that one in a thousand passes."""
    keys = {"condition": condition, "resolve_condition": None}
    assert gathered(rule_of(**keys), *map(value_of, values)).suggested_condition == suggested


def test_values_are_summed_up_without_those_that_say_nothing() -> None:
    """NaN and too few samples are none."""
    summary = gathered(rule_of(), *map(value_of, [1, 2, 3, 4, float("nan")]))
    assert summary.values is not None
    assert (summary.values.count, summary.values.least, summary.values.most) == (4, 1, 4)
    assert by_signs("0E").values is None


def test_memory_is_bounded_however_many_values_there_are() -> None:
    """Quantiles come from evenly spaced values, least and greatest from all."""
    sample = _Sample()
    for number in range(5 * _MOST_VALUES):
        sample.add(float(number))
    assert len(sample._kept) < _MOST_VALUES
    known = sample.summary()
    assert known is not None
    assert (known.count, known.least, known.most) == (5 * _MOST_VALUES, 0, 5 * _MOST_VALUES - 1)
    assert known.median == pytest.approx(median(range(5 * _MOST_VALUES)), rel=1e-3)


def test_busiest_counts_changes_of_one_alert_within_a_day() -> None:
    """Not those of the day after."""
    rule = rule_of(group={"interval": "6h"})
    assert rule.slots.step == timedelta(hours=6)
    assert gathered(rule, *map(outcome_of, "AcAcAcccccAc")).busiest == 4
