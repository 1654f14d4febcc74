"""When a target may be sent something next: its rate, and rest while it is down. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.notify.retry import LONGEST_HOLD, backoff

FAILURES_TO_OPEN: Final = 5
"""Failures in a row after which a target gets one try at a time."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` messages in any span `per`, as many at once."""

    count: int
    per: timedelta


class Pace:
    """A token bucket and a circuit breaker for one target.

    While the breaker is open nothing is sent; then one message is, and only its success closes the breaker.
    So a target that is down costs one attempt in ten minutes, however many messages wait for it.

    Attributes:
        error: Why the newest attempt failed; empty after one that succeeded.
    """

    def __init__(self, rate: Rate | None) -> None:
        """Send as often as `rate` says, without limit if None."""
        self.error = ""
        self._rate = rate
        self._tokens = float(rate.count) if rate else 0.0
        self._filled_at: datetime | None = None
        self._failures = 0
        self._rest_until: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether the target counts as down."""
        return self._failures >= FAILURES_TO_OPEN

    def ready_at(self, now: datetime) -> datetime:
        """When the next attempt may begin: `now`, or later."""
        ready = max(now, self._fill(now))
        if self._rest_until is not None:
            if self._rest_until > now + LONGEST_HOLD:
                self._rest_until = None  # the clock was set back: no rest is that long
            else:
                ready = max(ready, self._rest_until)
        return ready

    def keep_to(self, rate: Rate | None) -> None:
        """Send as often as `rate` says from now on; whether the target counts as down stays as it is."""
        self._rate = rate
        self._tokens = min(self._tokens, float(rate.count)) if rate else 0.0

    def begin(self, now: datetime) -> None:
        """Count an attempt that begins."""
        self._fill(now)
        if self._rate is not None:
            self._tokens -= 1

    def succeeded(self) -> bool:
        """Note that the target answered; tells whether it had counted as down."""
        was_open = self.open
        self._failures, self._rest_until, self.error = 0, None, ""
        return was_open

    def failed(self, now: datetime, error: str, jitter: float) -> None:
        """Note that the target could not be reached, or could not do its work."""
        self._failures += 1
        self.error = error
        if self.open:
            self.hold(now + backoff(self._failures, jitter))

    def hold(self, until: datetime) -> None:
        """Rest until then, at least."""
        self._rest_until = max(until, self._rest_until or until)

    def _fill(self, now: datetime) -> datetime:
        """Let tokens come in; when there is one."""
        if self._rate is None:
            return now
        per_token = self._rate.per / self._rate.count
        if self._filled_at is not None:
            gained = (now - self._filled_at) / per_token
            self._tokens = min(float(self._rate.count), self._tokens + max(0.0, gained))
        self._filled_at = now
        return now if self._tokens >= 1 else now + per_token * (1 - self._tokens)
