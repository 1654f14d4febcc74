"""Which messages need not be sent any more, because a later one says all that they say. Pure."""

from collections.abc import Mapping, Sequence

from lapwing_collector.model.alerts import Message, Spoken, Status


def superseded(
    message: Message,
    later: Sequence[Message],
    alerts: Mapping[str, Mapping[str, Spoken]],
    *,
    heard: bool,
    tried: bool,
) -> list[tuple[str, str]]:
    """What of the messages that wait for one target about one group is dropped: keys, each with the reason.

    A message is dropped for the newest where that one speaks of every alert it speaks of. What came and went
    before anybody could be told no later one tells again: such a message is kept. A resolve is dropped, too,
    where nobody can have heard of the firing: neither of an earlier one, nor of those that are
    dropped here.

    Args:
        message: The oldest that waits.
        later: Those that wait behind it, oldest first.
        alerts: How each speaks of alerts, by key and fingerprint; one that is not there speaks of its whole
            group.
        heard: The target was told before that alerts of the group fire, and not that they are over.
        tried: Sending `message` was tried; a service may have taken what it did not answer.
    """

    def spoken(each: Message) -> frozenset[str]:
        return frozenset(alerts.get(each.key, {each.group}))

    def tells_of_the_past(each: Message) -> bool:
        return Spoken.PAST in alerts.get(each.key, {}).values()

    if not later or tells_of_the_past(message) or not spoken(message) <= (told := spoken(later[-1])):
        return []
    newest = later[-1]
    dropped = [
        each for each in (message, *later[:-1]) if spoken(each) <= told and not tells_of_the_past(each)
    ]
    result = [(each.key, f"superseded by message {newest.key}") for each in dropped]
    unheard = not (heard or tried or tells_of_the_past(newest)) and len(dropped) == len(later)
    if newest.status is Status.RESOLVED and unheard:
        result.append((newest.key, "over before anybody was told that it fires"))
    return result
