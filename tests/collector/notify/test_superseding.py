"""Which messages need not be sent any more."""

from helpers.notify_alerts import message
from lapwing_collector.model.alerts import Message, Spoken, Status
from lapwing_collector.notify.superseding import superseded

SPOKEN: dict[str, dict[str, Spoken]] = {}


def told(key: str, firing: str = "", resolved: str = "", past: str = "") -> Message:
    """A message of one group that speaks of the alerts named by the letters."""
    SPOKEN[key] = (
        dict.fromkeys(firing, Spoken.FIRING)
        | dict.fromkeys(resolved, Spoken.RESOLVED)
        | dict.fromkeys(past, Spoken.PAST)
    )
    return message(key, group="g", status=Status.FIRING if firing else Status.RESOLVED)


def dropped(first: Message, *later: Message, heard: bool = False, tried: bool = False) -> list[str]:
    """The keys that are dropped."""
    return [key for key, _ in superseded(first, later, SPOKEN, heard=heard, tried=tried)]


def test_a_message_without_a_successor_is_sent() -> None:
    """There is nothing to drop it for."""
    assert dropped(told("1", "a")) == []


def test_the_newest_takes_the_place_of_those_it_covers() -> None:
    """Of three states of the same alerts, the last one is told."""
    assert dropped(told("1", "a"), told("2", "ab"), told("3", "ab")) == ["1", "2"]


def test_a_firing_and_its_resolve_go_together_where_nobody_heard() -> None:
    """What began and ended while the target was down is not told, neither the one nor the other."""
    assert dropped(told("1", "a"), told("2", resolved="a")) == ["1", "2"]


def test_a_resolve_is_told_where_somebody_may_have_heard() -> None:
    """A firing that was told, or whose sending was tried, gets its resolve."""
    assert dropped(told("1", "a"), told("2", resolved="a"), heard=True) == ["1"]
    assert dropped(told("1", "a"), told("2", resolved="a"), tried=True) == ["1"]


def test_a_message_with_an_alert_that_the_newest_leaves_out_is_sent() -> None:
    """A resolve that only the older message speaks of must be told."""
    assert dropped(told("1", "b", resolved="a"), told("2", "b")) == []


def test_a_message_between_that_is_not_covered_keeps_its_resolve() -> None:
    """Where one between must be sent, people hear of the group, and so of its end."""
    assert dropped(told("1", "a"), told("2", "ab"), told("3", resolved="a")) == ["1"]


def test_what_came_and_went_is_told_whatever_follows() -> None:
    """A digest tells what no later message tells again; it still stands for what waits before it."""
    assert dropped(told("1", past="a"), told("2", past="a")) == []
    assert dropped(told("1", "b", past="a"), told("2", "ab"), tried=True) == []
    assert dropped(told("1", "b"), told("2", past="a", resolved="b")) == ["1"]
    assert dropped(told("1", "b"), told("2", past="b"), told("3", "b")) == ["1"]


def test_messages_that_name_no_alert_speak_of_their_group() -> None:
    """A message of which nobody noted the alerts is known by the group it belongs to."""
    assert dropped(message("x", group="g"), message("y", group="g")) == ["x"]
    assert dropped(message("x", group="g"), told("2", "a")) == []
