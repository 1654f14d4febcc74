"""Dead letters: what others are told of a message that its target did not accept. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from lapwing_collector.model.alerts import Message

_KEY_CHARS: Final = 32


def dead_letters(message: Message, error: str, fallbacks: Iterable[str]) -> list[Message]:
    """What the targets `fallbacks` are told of `message`, which its target did not accept because of `error`.

    Letters about letters are not written: what cannot be delivered anywhere ends there.
    """
    if message.origin:
        return []
    return [
        replace(
            message,
            key=hashlib.sha256(f"{message.key} {target}".encode()).hexdigest()[:_KEY_CHARS],
            target=target,
            title=f"[UNDELIVERED to {message.target}] {message.title}",
            body=f"{message.target} did not accept this message: {error}\n\n{message.body}",
            body_format="text",
            payload="",
            origin=message.key,
        )
        for target in fallbacks
        if target != message.target
    ]
