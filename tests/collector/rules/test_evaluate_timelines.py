"""Timelines: evidence slot by slot, the states it leads to, and what people are told.

Evidence: A active, c clear, - between both conditions, i too few samples, n NaN, N NULL, u undecided,
. row missing beside another, 0 no rows, E query failed, S slot skipped, _ not evaluated.
States: I inactive, P pending, F firing, R recovering, `.` nothing remembered. Told: ^ firing, v resolved.
"""

from typing import Any

import pytest

from helpers.rules_build import play, rule_of

TIMELINES = [
    # keys, evidence, states, told
    ("fires at once without for", {}, "cAAc", "IFFI", " ^ v"),
    ("for counts from the first active slot", {"for_": "2m"}, "AAAAc", "PPFFI", "  ^ v"),
    ("a clear slot cancels pending in silence", {"for_": "2m"}, "AAcAA", "PPIPP", "     "),
    ("between both conditions nothing moves", {}, "-A--c-", "IFFFII", " ^  v "),
    ("for does not count what says nothing", {"for_": "2m"}, "A-AA", "PPPF", "   ^"),
    ("for does not count failed queries", {"for_": "2m"}, "AEEAA", "PPPPF", "    ^"),
    ("for does not count skipped slots", {"for_": "2m"}, "ASSAA", "PPPPF", "    ^"),
    ("for does not count time without evaluation", {"for_": "2m"}, "A___AA", "P___PF", "     ^"),
    ("few samples, NaN and NULL hold", {"min_samples": 10}, "inNAinNc", "IIIFFFFI", "   ^   v"),
    (
        "keep_firing_for counts from the first clear slot",
        {"keep_firing_for": "2m"},
        "AcccA",
        "FRRIF",
        "^  v^",
    ),
    ("an active slot ends recovery in silence", {"keep_firing_for": "2m"}, "AccAccc", "FRRFRRI", "^     v"),
    ("recovery does not count what says nothing", {"keep_firing_for": "2m"}, "Ac-Ecc", "FRRRRI", "^    v"),
    (
        "recovery does not count time without evaluation",
        {"keep_firing_for": "2m"},
        "Ac__cc",
        "FR__RI",
        "^    v",
    ),
    ("a failed query resolves nothing", {"error_for": "0s"}, "AEEEEc", "FFFFFI", "^    v"),
    ("a missing row resolves after missing_evals", {}, "A..", "FF.", "^ v"),
    ("a row that comes back in time was never missing", {}, "A.A.A..", "FFFFFF.", "^     v"),
    ("a missing row can keep its alert", {"on_missing": "keep"}, "A.....c", "FFFFFFI", "^     v"),
    ("a pending row that goes is forgotten in silence", {"for_": "9m"}, "A..A", "PP.P", "    "),
    ("a healthy row that goes is forgotten", {"on_missing": "keep"}, "c..", "II.", "   "),
    ("a missing row ends recovery", {"keep_firing_for": "9m"}, "Ac..", "FRR.", "^  v"),
    ("no rows hold until no_data_for", {"no_data_for": "2m", "on_no_data": "ok"}, "A000A", "FFF.F", "^  v^"),
    ("no rows fire what is known", {"no_data_for": "1m"}, "c000c", "IIFFI", "  ^ v"),
    ("no rows fire on what fires", {"no_data_for": "0s"}, "A00A", "FFFF", "^   "),
    ("no rows fire what is pending", {"no_data_for": "1m", "for_": "9m"}, "A00", "PPF", "  ^"),
    ("no rows stop recovery", {"no_data_for": "1m", "keep_firing_for": "5m"}, "Ac00", "FRRF", "^   "),
    ("no rows may alert", {"no_data_for": "1m", "on_no_data": "alert"}, "c00c", "IIFI", "  ^v"),
    ("no rows may be held for ever", {"no_data_for": "0s", "on_no_data": "keep"}, "A000c", "FFFFI", "^   v"),
    ("no_data_for counts only evaluations", {"no_data_for": "2m"}, "c0__00", "II__IF", "     ^"),
    ("no_data_for does not count failures", {"no_data_for": "2m"}, "c0EE00", "IIIIIF", "     ^"),
    ("a row in between starts no_data_for anew", {"no_data_for": "1m"}, "c0c00", "IIIIF", "    ^"),
]

BARE = {"condition": None, "resolve_condition": None}
BARE_TIMELINES = [
    ("every row is active, an absent one clear", {}, "A.", "F.", "^v"),
    ("no rows are clear too", {}, "A0", "F.", "^v"),
    ("for counts", {"for_": "1m"}, "AA.", "PF.", " ^v"),
    ("a pending row that goes is forgotten", {"for_": "1m"}, "A.A", "P.P", "   "),
    ("keep_firing_for counts absence", {"keep_firing_for": "2m"}, "A.0.", "FRR.", "^  v"),
    ("NaN holds", {}, "AnN.", "FFF.", "^  v"),
    ("a failed query holds", {}, "AE.", "FF.", "^ v"),
]


@pytest.mark.parametrize(
    ("keys", "evidence", "states", "told"),
    [pytest.param(*line[1:], id=line[0]) for line in TIMELINES]
    + [
        pytest.param({**BARE, **line[1]}, *line[2:], id=f"without condition: {line[0]}")
        for line in BARE_TIMELINES
    ],
)
def test_evidence_leads_to_states_and_announcements(
    keys: dict[str, Any], evidence: str, states: str, told: str
) -> None:
    """Each slot's evidence leads to the state and the announcement that the table says."""
    got_states, got_told, _ = play(rule_of(**keys), evidence)
    assert (got_states, got_told) == (states, told)


@pytest.mark.parametrize(
    ("evidence", "health"),
    [
        ("A", "ok"),
        ("-", "ok"),
        ("i", "insufficient"),
        ("n", "insufficient"),
        ("N", "insufficient"),
        ("u", "insufficient"),
        ("A.", "missing"),
        ("A.A", "ok"),
        ("A0", "no_data"),
        ("AE", "ok"),
        ("AEEEEEE", "error"),
        ("AEEEEEEA", "ok"),
        ("A0S", "no_data"),
    ],
)
def test_an_instance_has_the_health_of_its_newest_evidence(evidence: str, health: str) -> None:
    """Health says how much the newest evaluation could say; an error shows once it lasted `error_for`."""
    _, _, timeline = play(rule_of(min_samples=10), evidence)
    assert timeline.watched().health == health


@pytest.mark.parametrize(
    ("evidence", "health", "since"),
    [("A", "ok", None), ("AE", "error", 2), ("AE_E", "error", 3), ("AEA", "ok", None), ("A00", "no_data", 2)],
)
def test_a_rule_has_the_health_of_its_newest_evaluation(
    evidence: str, health: str, since: int | None
) -> None:
    """A rule tells at once that its query fails or gives nothing, and since which slot, without idle time."""
    rule = rule_of()
    _, _, timeline = play(rule, evidence)
    began = timeline.state.error_since or timeline.state.no_data_since
    first = timeline.slot - (len(evidence) - 1) * rule.slots.grid
    assert timeline.state.health == health
    assert began == (None if since is None else first + (since - 1) * rule.slots.grid)
