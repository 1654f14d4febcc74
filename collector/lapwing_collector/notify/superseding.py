"""Which messages need not be sent any more, because a later one says all that they say. Pure."""

import json
from collections.abc import Sequence

from lapwing_collector.model.alerts import Message, Status


def superseded(
    message: Message, later: Sequence[Message], *, heard: bool, tried: bool
) -> list[tuple[str, str]]:
    """What of the messages that wait for one target about one group is dropped: keys, each with the reason.

    A message is dropped for the newest where that one speaks of every alert it speaks of. A resolve is
    dropped, too, where nobody can have heard of the firing: neither of an earlier one, nor of those that are
    dropped here.

    Args:
        message: The oldest that waits.
        later: Those that wait behind it, oldest first.
        heard: The target was told before that alerts of the group fire, and not that they are over.
        tried: Sending `message` was tried; a service may have taken what it did not answer.
    """
    if not later or not _alerts(message) <= (told := _alerts(later[-1])):
        return []
    newest = later[-1]
    dropped = [each for each in (message, *later[:-1]) if _alerts(each) <= told]
    result = [(each.key, f"superseded by message {newest.key}") for each in dropped]
    if newest.status is Status.RESOLVED and not (heard or tried) and len(dropped) == len(later):
        result.append((newest.key, "over before anybody was told that it fires"))
    return result


def _alerts(message: Message) -> frozenset[str]:
    """The alerts that a message speaks of: where it leaves some out, one that no other message has."""
    if not message.payload:
        return frozenset({message.group})
    document = json.loads(message.payload)
    spoken = [*document.get("alerts", ()), *document.get("firing", ()), *document.get("resolved", ())]
    left_out = document.get("truncated") or document.get("truncatedAlerts")
    return frozenset(alert["fingerprint"] for alert in spoken) | ({message.key} if left_out else set())
