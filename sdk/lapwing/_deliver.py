"""Sending one request until its fate is known: what an answer means, and when to try again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from math import isfinite
from random import uniform
from typing import Final, Protocol

from lapwing._request import read_partial_success, read_status_message

_RETRYABLE: Final = (429, 502, 503, 504)
PROTOBUF: Final = "application/x-protobuf"
_FIRST_DELAY_S: Final = 0.25
_LONGEST_DELAY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered.

    Attributes:
        status: HTTP status.
        content_type: The header's value, empty where there was none.
        retry_after: The header's value, None where there was none.
        body: The body; None when it was too large to read.
    """

    status: int
    content_type: str = ""
    retry_after: str | None = None
    body: bytes | None = b""


class Transport(Protocol):
    """The way to the outside world: one attempt at one request."""

    def post(self, body: bytes, timeout_s: float) -> Reply:
        """Send a request and wait for the answer.

        Raises:
            OSError: There was none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver took the request, except for some records that it rejected for good."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver does not take the request, however often it is sent."""

    message: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The receiver could not be reached or could not answer now."""

    message: str
    retry_after_s: float | None = None


Fate = Accepted | Refused | Unavailable


class Timer(Protocol):
    """Time that passes, and how much of it may."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; less of it, once, when the process is about to end."""
        ...

    def give_up_at(self) -> float:
        """Moment on the clock of `now` at which the process ends."""
        ...


def judge(reply: Reply, wall_s: float) -> Fate:
    """Say what a reply means, at `wall_s` seconds since the epoch, for a `Retry-After` that is a date."""
    if reply.body is None:
        return Refused(f"status {reply.status} with more of an answer than a collector gives")
    body = reply.body if reply.content_type.startswith(PROTOBUF) else b""
    if 200 <= reply.status < 300:
        return Accepted(*read_partial_success(body))
    message = f"status {reply.status} {read_status_message(body)}".rstrip()
    if reply.status in _RETRYABLE:
        return Unavailable(message, _retry_after_s(reply.retry_after, wall_s))
    return Refused(message)


def deliver(
    transport: Transport,
    body: bytes,
    *,
    timeout_s: float,
    retry_for_s: float,
    timer: Timer,
    tell: Callable[[str], None],
) -> Fate:
    """Send a request, again and again while the receiver is unavailable; always the same bytes.

    Args:
        transport: The way out.
        body: The request.
        timeout_s: Seconds that an attempt may take.
        retry_for_s: Seconds after the first attempt in which others may begin.
        timer: Time.
        tell: Told what is the matter before every further attempt.

    Returns:
        Accepted or Refused; Unavailable when it was given up.
    """
    end = timer.now() + retry_for_s
    delay_s = _FIRST_DELAY_S
    while True:
        left_s = timer.give_up_at() - timer.now()
        try:
            fate = judge(transport.post(body, max(min(timeout_s, left_s), 0.1)), timer.wall())
        except OSError as error:
            fate = Unavailable(f"{type(error).__name__}: {error}")
        left_s = min(end, timer.give_up_at()) - timer.now()
        if not isinstance(fate, Unavailable) or left_s <= 0:
            return fate
        tell(fate.message)
        wait_s = fate.retry_after_s
        if wait_s is None:
            wait_s = delay_s * uniform(0.5, 1.0)  # noqa: S311  # spreads clients, keeps no secret
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        timer.wait(min(wait_s, left_s))


def _retry_after_s(value: str | None, wall_s: float) -> float | None:
    """Read `Retry-After`, which is seconds or a date; None where it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415  # heavy, and rarely needed

        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - wall_s
    return max(seconds, 0.0) if isfinite(seconds) else None
