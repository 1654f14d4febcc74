"""Sending one request until its fate is known: what can become of it, and when to try again."""

from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from typing import Final, Protocol

_FIRST_DELAY_S: Final = 0.25
_LONGEST_DELAY_S: Final = 5.0
_SHORTEST_TIMEOUT_S: Final = 0.1

_ADVICE: Final = {
    "CERTIFICATE_VERIFY_FAILED": "set certificate (OTEL_EXPORTER_OTLP_CERTIFICATE) to the file of the "
    "authority that signed the collector's certificate",
    "CERTIFICATE_REQUIRED": "set client_certificate and client_key (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, "
    "OTEL_EXPORTER_OTLP_CLIENT_KEY)",
}
"""What to do about the names that OpenSSL and BoringSSL give to what went wrong."""


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
    """How long the receiver asks to be left alone, at least."""


Fate = Accepted | Refused | Unavailable


class Transport(Protocol):
    """The way to the outside world: one attempt at one request."""

    def post(self, body: bytes, timeout_s: float) -> Fate:
        """Send a request, wait for the answer and say what it means; no answer is `Unavailable`."""
        ...


class Timer(Protocol):
    """Time that passes, and how much of it may."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; less of it, once, when the process is about to end."""
        ...

    def give_up_at(self) -> float:
        """Moment on the clock of `now` at which the process ends."""
        ...


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
        fate = transport.post(body, max(min(timeout_s, left_s), _SHORTEST_TIMEOUT_S))
        left_s = min(end, timer.give_up_at()) - timer.now()
        if not isinstance(fate, Unavailable) or left_s <= 0:
            return fate
        tell(fate.message)
        wait_s = delay_s * uniform(0.5, 1.0)  # noqa: S311  # spreads clients, keeps no secret
        delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        timer.wait(min(max(wait_s, fate.retry_after_s or 0.0), left_s))


def unreachable(error: str) -> Unavailable:
    """Say that there was no answer and why, with advice where it is known what helps."""
    advice = [text for name, text in _ADVICE.items() if name in error]
    return Unavailable("; ".join([error, *advice]))
