"""Event times and the ids made from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from os import urandom
from struct import Struct
from time import time_ns
from typing import Final

Time = datetime | int
"""A moment: an aware datetime, a naive one (taken as UTC), or nanoseconds since the epoch."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_pack_uuid: Final = Struct(">QQ").pack

_event_time: ContextVar[Time | None] = ContextVar("lapwing_event_time", default=None)
_last_prediction_id: ContextVar[str | None] = ContextVar("lapwing_last_prediction_id", default=None)


def to_ns(time: Time) -> int:
    """Turn a moment into nanoseconds since the epoch, exactly.

    Raises:
        TypeError: It is no datetime and no integer.
    """
    if isinstance(time, int):
        return time
    if not isinstance(time, datetime):
        raise TypeError(f"a time is a datetime or nanoseconds as an int, not {type(time).__qualname__}")
    since = (time.replace(tzinfo=UTC) if time.tzinfo is None else time) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def event_time_ns() -> int:
    """Give the event time of a prediction that starts now: the time of `at`, else the clock's."""
    time = _event_time.get()
    return time_ns() if time is None else to_ns(time)


@contextmanager
def at(time: Time) -> Iterator[None]:
    """Set the event time of the predictions made inside, for replays and backfills.

    It follows the context, as tracing does: tasks started inside keep it, threads do not. If the time is not
    one, the predictions inside are not recorded, and counted as `encode_error`: none gets a wrong time.

    Args:
        time: A datetime (a naive one is UTC) or nanoseconds since the epoch.
    """
    token = _event_time.set(time)
    try:
        yield
    finally:
        _event_time.reset(token)


def new_prediction_id(time: int) -> str:
    """Make a UUIDv7 for an event time in nanoseconds; ids sort as their times do, to 1/4 microsecond."""
    milliseconds, rest_ns = divmod(time, 1_000_000)
    first = milliseconds << 16 | 0x7000 | (rest_ns << 12) // 1_000_000
    second = 0x8000_0000_0000_0000 | int.from_bytes(urandom(8)) >> 2
    text = _pack_uuid(first, second).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def remember_prediction_id(prediction_id: str) -> None:
    """Make an id the answer of `last_prediction_id` in this context."""
    _last_prediction_id.set(prediction_id)


def last_prediction_id() -> str | None:
    """Give the id of the newest prediction made in this context; None before the first.

    Predictions made in another thread, or in a task that was started and not awaited in place, are not seen.
    """
    return _last_prediction_id.get()
