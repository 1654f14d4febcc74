"""Which announcements people hear of when they are past."""

from datetime import timedelta

import pytest

from helpers.notify_alerts import NOON, instance, transition
from lapwing_collector.app.judging.lateness import marked_late
from lapwing_collector.model.alerts import Status

MINUTE = timedelta(minutes=1)
BEFORE = transition(instance=instance(fingerprint="a"), slot=NOON - MINUTE)
OVER = transition(Status.RESOLVED, instance=instance(fingerprint="a"), slot=NOON)
OTHER = transition(instance=instance(fingerprint="b"), slot=NOON)


@pytest.mark.parametrize(
    ("late", "expected"),
    [(False, [True, True, False]), (True, [True, True, True])],
)
def test_an_alert_that_late_rows_show_ends_late(late: bool, expected: list[bool]) -> None:
    """What late rows show is past, and so is its end with the same slot: people are told of both."""
    marked = marked_late([BEFORE, OVER, OTHER], NOON, late=late)
    assert [each.late for each in marked] == expected
