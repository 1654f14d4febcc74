"""Dead letters: what others are told of a message that its target did not accept. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from lapwing_collector.model.alerts import Message, Status

_KEY_CHARS: Final = 32


def dead_letters(
    message: Message, error: str, fallbacks: Iterable[str], firing: int = 0, over: int = 0
) -> list[Message]:
    """What others are told of a message that its target did not accept.

    Letters about letters are not written: what cannot be delivered anywhere ends there.

    Args:
        message: The message.
        error: Why it was not accepted.
        fallbacks: Names of the targets that are told.
        firing: How many of the alerts that it says fire may do so still: who is told hears of their end.
        over: How many do not: nobody hears of these again.
    """
    if message.origin:
        return []
    since = ""
    if over:
        since = (
            f"\n{over} of the {firing + over} alerts that it says fire are over."
            if firing
            else "\nIt is over."
        )
    return [
        replace(
            message,
            key=hashlib.sha256(f"{message.key} {target}".encode()).hexdigest()[:_KEY_CHARS],
            target=target,
            status=Status.RESOLVED if over and not firing else message.status,
            title=f"[UNDELIVERED to {message.target}] {message.title}",
            body=f"{message.target} did not accept this message: {error}{since}\n\n{message.body}",
            body_format="text",
            payload="",
            origin=message.key,
        )
        for target in fallbacks
        if target != message.target
    ]
