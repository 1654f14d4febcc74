"""Time as the SDK reads it, moments that users give, and the ids made from them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Final, Protocol

Time = datetime | int
"""A moment: an aware datetime, a naive one (taken as UTC), or nanoseconds since the epoch."""


class Clock(Protocol):
    """What time it is. `time` of the standard library is one."""

    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        ...

    def perf_counter_ns(self) -> int:
        """Nanoseconds since some moment, on a clock that never goes back."""
        ...


clock: Clock = time
"""Read by everything that records; `lapwing.testing` puts another in its place."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_random = Random()  # noqa: S311  # seeded by the system; ids need to be distinct, not secret


random_bits: Callable[[], int] = partial(_random.getrandbits, 62)
"""Gives 62 random bits; `lapwing.testing` puts others in its place."""


def reseed() -> None:
    """Begin another sequence of random bits: the child of a fork has the parent's."""
    _random.seed()


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


def new_prediction_id(time: int) -> str:
    """Make a UUIDv7 (RFC 9562) for an event time in nanoseconds; ids sort as their times do, to 1/4 µs."""
    milliseconds, rest_ns = divmod(time, 1_000_000)
    bits = random_bits()
    return "%08x-%04x-%04x-%04x-%012x" % (  # noqa: UP031  # half as long as an f-string takes
        milliseconds >> 16,
        milliseconds & 0xFFFF,
        0x7000 | (rest_ns << 12) // 1_000_000,
        0x8000 | bits >> 48,
        bits & 0xFFFF_FFFF_FFFF,
    )
