"""One place that messages go to, and what came of an attempt to send there."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Self

from lapwing_collector.model.alerts import Message
from lapwing_collector.notify.attempt import Attempt
from lapwing_collector.notify.pace import Rate
from lapwing_collector.notify.reach import Reach
from lapwing_collector.notify.retry import GIVE_UP_AFTER

ATTEMPT_LIMIT_S: Final = 60.0
"""How long one attempt may take, whatever the other side does."""

_PASSING: Final = frozenset({408, 409, 421, 423, 425, 429})
"""Client errors of HTTP that the same request may not meet again."""

_PUBLIC: Final = Reach()


class Verdict(StrEnum):
    """What an attempt came to."""

    SENT = "sent"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on an attempt.

    Attributes:
        verdict: What it came to.
        error: Why it failed where it did; never shows an address.
        retry_after: What the service said in the header Retry-After, None where it did not.
    """

    verdict: Verdict
    error: str = ""
    retry_after: str | None = None


class Target:
    """One service with one recipient; only one thread may send.

    Attributes:
        name: What people call it; its address is a secret and is never shown.
        kind: The scheme of its address, which says what service it is: `slack`, `mailtos`, `json`.
        send_resolved: Whether it wants to hear that an alert is over.
        resolve_silenced: Whether it does even if the alert is silenced by then.
        title_max: Characters it takes as a title.
        takes_files: Files can come with a message.
        keeps_incidents: It opens an incident for a firing, and closes it for the resolve.
        rate: How often it may be sent something.
        max_age: When a message that it does not accept is given up.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        send_resolved: bool = True,
        resolve_silenced: bool = True,
        rate: Rate | None = None,
        max_age: timedelta = GIVE_UP_AFTER,
        limit_s: float = ATTEMPT_LIMIT_S,
    ) -> None:
        """Make the service behind the Apprise address `url`.

        Args:
            name: What people call it.
            url: Names exactly one recipient.
            send_resolved: Whether it wants to hear that an alert is over.
            resolve_silenced: Whether it does even if the alert is silenced by then.
            rate: How often it may be sent something; what the service itself asks for if None.
            max_age: When a message that it does not accept is given up.
            limit_s: How long one attempt may take.

        Raises:
            ValueError: The address is none, or names several recipients; the message leaves it out.
        """
        # Apprise costs a quarter of a second and 26 MB, which a project that notifies nobody does not pay.
        from lapwing_collector.notify.services import Service  # noqa: PLC0415

        self.name = name
        self.send_resolved = send_resolved
        self.resolve_silenced = resolve_silenced
        self.max_age = max_age
        self._url = url
        self._limit_s = limit_s
        self._service = Service(url)
        self.kind = self._service.kind
        self.title_max = self._service.title_max
        self.keeps_incidents = self._service.keeps_incidents
        self.takes_files = self._service.takes_files
        self._rate = rate
        self.rate = rate or (
            Rate(1, timedelta(seconds=self._service.pause_s)) if self._service.pause_s else None
        )

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    def again(self) -> Self:
        """The same target for another thread, sharing nothing with this one."""
        return type(self)(
            self.name,
            self._url,
            send_resolved=self.send_resolved,
            resolve_silenced=self.resolve_silenced,
            rate=self._rate,
            max_age=self.max_age,
            limit_s=self._limit_s,
        )

    def leads_where(self, other: "Target") -> bool:
        """Whether both have the same address."""
        return self._url == other._url  # noqa: SLF001  # another one of this class

    def is_as(self, other: "Target") -> bool:
        """Whether both have the same address, and all else that can be said of a target."""
        return self.leads_where(other) and all(
            getattr(self, name) == getattr(other, name)
            for name in ("name", "send_resolved", "resolve_silenced", "rate", "max_age", "_limit_s")
        )

    def body_max(self, title: str) -> int:
        """Characters that it takes as a body beside `title`."""
        return self._service.body_max(title)

    def send(self, message: Message, reach: Reach = _PUBLIC) -> Outcome:
        """Try once to deliver `message`, in this thread, to addresses within `reach`.

        It ends within the target's limit, or within seconds of it where a name is being resolved.
        """
        attempt = Attempt(reach, self._limit_s)
        try:
            error = self._service.send(message, attempt)
        except ValueError as refused:
            return Outcome(Verdict.DEAD, str(refused))
        except Exception as failure:  # noqa: BLE001  # told by its kind alone: its text may hold the address
            return Outcome(Verdict.RETRY, f"sending failed with {type(failure).__name__}")
        if error is None:
            return Outcome(Verdict.SENT)
        return Outcome(_verdict(attempt), error, attempt.retry_after)


def _verdict(attempt: Attempt) -> Verdict:
    """Judge a failure by its HTTP status or SMTP reply; where there is none, the network or server failed."""
    if attempt.out_of_reach:
        return Verdict.DEAD
    if attempt.reply is not None:
        return Verdict.DEAD if attempt.reply >= 500 else Verdict.RETRY
    status = attempt.status
    return Verdict.DEAD if status is not None and _is_permanent(status) else Verdict.RETRY


def _is_permanent(status: int) -> bool:
    return 400 <= status < 500 and status not in _PASSING
