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


def test_a_new_episode_forgets_the_times_of_the_last() -> None:
    """An instance that becomes active again carries nothing of its last episode."""
    old = SLOT - LONG
    instance = Instance("f", {}, active_at=old, fired_at=old, resolved_at=old, peak=99.0)
    after = step(instance, Evidence.ACTIVE, Moment(SLOT, MINUTE, MINUTE, for_=LONG, keep_firing_for=SHORT))
    assert (after.active_at, after.fired_at, after.resolved_at, after.peak) == (SLOT, None, None, None)
