"""How long something has waited by a clock that is set."""

from datetime import timedelta

from helpers.notify_alerts import NOON
from lapwing_collector.notify.lived import Lived

HOUR = timedelta(hours=1)


def test_time_that_a_clock_leaves_out_does_not_count() -> None:
    """What waited before a step, between two, and after them, waited as long as time passed."""
    lived = Lived()
    begun = NOON
    for hours, passed_s in ((0, 0), (1, 3600), (26, 2 * 3600), (27, 3 * 3600), (52, 4 * 3600)):
        lived.look(begun + hours * HOUR, 1000.0 + passed_s)
    now = begun + 52 * HOUR
    assert lived.since(begun, now) == 4 * HOUR
    assert lived.since(begun + 26.5 * HOUR, now) == 1.5 * HOUR
    assert lived.since(begun + 10 * HOUR, now) == 2 * HOUR
    assert lived.since(now, now + HOUR) == HOUR


def test_small_steps_and_steps_back_are_taken_as_they_are() -> None:
    """A clock that is kept right counts as it is, and one that is set back, too."""
    lived = Lived()
    lived.look(NOON, 0.0)
    lived.look(NOON + timedelta(seconds=50), 0.5)
    assert lived.since(NOON, NOON + timedelta(seconds=50)) == timedelta(seconds=50)
    lived.look(NOON - HOUR, 1.0)
    assert lived.since(NOON, NOON - HOUR) == -HOUR
