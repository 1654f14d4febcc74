"""Every state meets every kind of evidence."""

from datetime import timedelta

import pytest

from helpers.rules_build import START
from lapwing_collector.model.alerts import AlertState, Instance
from lapwing_collector.rules.states import TRANSITIONS, Evidence, Moment, step

SLOT = START
MINUTE = timedelta(minutes=1)
LONG, SHORT = timedelta(hours=1), timedelta(0)

# state, then the next state by evidence: long after `for` and `keep_firing_for` have passed / long before
TABLE = {
    # evidence:  active                  clear                      hold         gone        alarm
    "inactive": ["firing/pending", "inactive", "inactive", "inactive", "firing"],
    "pending": ["firing/pending", "inactive", "pending", "inactive", "firing"],
    "firing": ["firing", "inactive/recovering", "firing", "inactive", "firing"],
    "recovering": ["firing", "inactive/recovering", "recovering", "inactive", "firing"],
}


def test_the_table_covers_every_state_and_evidence() -> None:
    """No pair of state and evidence is forgotten."""
    assert set(TRANSITIONS) == {(state, evidence) for state in AlertState for evidence in Evidence}


@pytest.mark.parametrize("waits", [SHORT, LONG], ids=["passed", "running"])
@pytest.mark.parametrize(
    ("state", "evidence", "expected"),
    [(s, e, cell) for s, cells in TABLE.items() for e, cell in zip(Evidence, cells, strict=True)],
)
def test_a_state_and_evidence_give_the_next_state(
    state: str, evidence: Evidence, expected: str, waits: timedelta
) -> None:
    """The next state is the table's, for waits that have passed and for waits that still run."""
    began = SLOT - 2 * MINUTE
    instance = Instance(
        "f", {}, state=AlertState(state), active_at=began, fired_at=began, recovering_at=began
    )
    after = step(instance, evidence, Moment(SLOT, MINUTE, MINUTE, for_=waits, keep_firing_for=waits))
    assert after.state == (
        expected.split("/", maxsplit=1)[0] if waits is SHORT else expected.rsplit("/", maxsplit=1)[-1]
    )


ACTIVE_AT, FIRED_AT, RECOVERING_AT, RESOLVED_AT = (SLOT - n * MINUTE for n in (9, 8, 7, 99))
ELAPSED = 3 * MINUTE  # since the evaluation before: two slots were not evaluated
KEPT, NOW, NONE = "kept", "now", "none"
LATER, WAITED = (
    "two later",
    "three later",
)  # a slot with evidence speaks for one of three minutes, others for none

# what becomes of active_at, fired_at, recovering_at, resolved_at and the peak
TIMES = {
    ("inactive", "active", LONG): (NOW, NONE, NONE, NONE, NONE),
    ("inactive", "active", SHORT): (NOW, NOW, NONE, NONE, NONE),
    ("inactive", "alarm", LONG): (NOW, NOW, NONE, NONE, NONE),
    ("pending", "active", LONG): (LATER, KEPT, KEPT, KEPT, KEPT),
    ("pending", "active", SHORT): (LATER, NOW, KEPT, KEPT, KEPT),
    ("pending", "clear", LONG): (NONE, KEPT, KEPT, KEPT, NONE),
    ("pending", "hold", SHORT): (WAITED, KEPT, KEPT, KEPT, KEPT),
    ("pending", "gone", LONG): (NONE, KEPT, KEPT, KEPT, NONE),
    ("pending", "alarm", LONG): (KEPT, NOW, KEPT, KEPT, KEPT),
    ("firing", "clear", LONG): (KEPT, KEPT, NOW, KEPT, KEPT),
    ("firing", "clear", SHORT): (KEPT, KEPT, NONE, NOW, KEPT),
    ("firing", "gone", LONG): (KEPT, KEPT, NONE, NOW, KEPT),
    ("recovering", "active", LONG): (KEPT, KEPT, NONE, KEPT, KEPT),
    ("recovering", "clear", LONG): (KEPT, KEPT, LATER, KEPT, KEPT),
    ("recovering", "clear", SHORT): (KEPT, KEPT, NONE, NOW, KEPT),
    ("recovering", "hold", SHORT): (KEPT, KEPT, WAITED, KEPT, KEPT),
    ("recovering", "gone", LONG): (KEPT, KEPT, NONE, NOW, KEPT),
    ("recovering", "alarm", LONG): (KEPT, KEPT, NONE, KEPT, KEPT),
}
NOTHING_MOVES = (KEPT,) * 5


@pytest.mark.parametrize("waits", [SHORT, LONG], ids=["passed", "running"])
@pytest.mark.parametrize("evidence", Evidence)
@pytest.mark.parametrize("state", AlertState)
def test_a_transition_moves_the_times_that_the_table_says(
    state: AlertState, evidence: Evidence, waits: timedelta
) -> None:
    """Each transition begins, ends or pushes the times that belong to it, and leaves all others alone."""
    before = Instance(
        "f",
        {},
        state=state,
        active_at=ACTIVE_AT,
        fired_at=FIRED_AT,
        recovering_at=RECOVERING_AT,
        resolved_at=RESOLVED_AT,
        peak=9.0,
    )
    after = step(before, evidence, Moment(SLOT, ELAPSED, MINUTE, for_=waits, keep_firing_for=waits))
    # Where the waits make no difference to the times, the table has one line for both.
    other = SHORT if waits is LONG else LONG
    moves = TIMES.get((state, evidence, waits)) or TIMES.get((state, evidence, other), NOTHING_MOVES)
    for name, move in zip(
        ("active_at", "fired_at", "recovering_at", "resolved_at", "peak"), moves, strict=True
    ):
        kept = getattr(before, name)
        expected = {
            KEPT: kept,
            NONE: None,
            NOW: SLOT,
            LATER: kept and name != "peak" and kept + 2 * MINUTE,
            WAITED: kept and name != "peak" and kept + 3 * MINUTE,
        }
        assert getattr(after, name) == expected[move], name


def test_a_new_episode_forgets_the_times_of_the_last() -> None:
    """An instance that becomes active again carries nothing of its last episode."""
    old = SLOT - LONG
    instance = Instance("f", {}, active_at=old, fired_at=old, resolved_at=old, peak=99.0)
    after = step(instance, Evidence.ACTIVE, Moment(SLOT, MINUTE, MINUTE, for_=LONG, keep_firing_for=SHORT))
    assert (after.active_at, after.fired_at, after.resolved_at, after.peak) == (SLOT, None, None, None)
