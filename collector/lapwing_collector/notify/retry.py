"""When a message that failed is tried again. Pure."""

from datetime import datetime, timedelta
from typing import Final

GIVE_UP_AFTER: Final = timedelta(hours=24)
LONGEST_DELAY: Final = timedelta(minutes=10)
_FIRST_DELAY: Final = timedelta(seconds=1)
_DOUBLINGS: Final = 10  # past the longest delay, and short of an overflow


def next_attempt(attempts: int, created_at: datetime, now: datetime, jitter: float) -> datetime | None:
    """The time of the next attempt, None where the message is to be given up.

    Delays double from one second up to ten minutes; each is cut to a random share, so that messages that
    failed together do not come back together.

    Args:
        attempts: Attempts made so far, at least 1.
        created_at: When the message was put in.
        now: When the newest attempt ended.
        jitter: The share of the delay to wait, from 0 to 1.
    """
    delay = min(_FIRST_DELAY * 2 ** min(attempts - 1, _DOUBLINGS), LONGEST_DELAY) * jitter
    due = now + delay
    return due if due - created_at <= GIVE_UP_AFTER else None
