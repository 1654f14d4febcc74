"""When a message that failed is tried again. Pure."""

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from lapwing_collector.clock import naive_utc

GIVE_UP_AFTER: Final = timedelta(hours=24)
LONGEST_DELAY: Final = timedelta(minutes=10)
LONGEST_HOLD: Final = timedelta(hours=1)
"""The longest that a service can make us wait."""

_FIRST_DELAY: Final = timedelta(seconds=1)
_DOUBLINGS: Final = 10  # past the longest delay, and short of an overflow


def backoff(attempts: int, jitter: float) -> timedelta:
    """The wait after a number of attempts, at least one, that failed.

    It doubles from one second up to ten minutes, and is cut to the share `jitter` (0 to 1), so that messages
    that failed together do not come back together.
    """
    longest = min(_FIRST_DELAY * (1 << min(attempts - 1, _DOUBLINGS)), LONGEST_DELAY)
    return longest * jitter


def next_attempt(  # noqa: PLR0917  # what decides, in the order it came about
    attempts: int,
    queued_at: datetime,
    now: datetime,
    jitter: float,
    max_age: timedelta = GIVE_UP_AFTER,
    not_before: datetime | None = None,
) -> datetime | None:
    """The time of the next attempt, None where the message is to be given up.

    Args:
        attempts: Attempts made so far, at least 1.
        queued_at: When the message was put in.
        now: When the newest attempt ended.
        jitter: The share of the delay to wait, from 0 to 1.
        max_age: How long after it was put in a message is still tried.
        not_before: What the service asked for.
    """
    due = now + backoff(attempts, jitter)
    if not_before is not None:
        due = max(due, not_before)
    return due if due - queued_at <= max_age else None


def asked_for(retry_after: str | None, now: datetime) -> datetime | None:
    """The time that the header Retry-After asks to wait for, at most an hour from now; None for none.

    Args:
        retry_after: Seconds, which some services give with a fraction, or an HTTP date.
        now: When it was said, naive UTC.
    """
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
        asked = now + timedelta(seconds=seconds)
    except OverflowError:
        return now + LONGEST_HOLD if seconds > 0 else None
    except ValueError:
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        asked = naive_utc(moment)
    return min(asked, now + LONGEST_HOLD) if asked > now else None
