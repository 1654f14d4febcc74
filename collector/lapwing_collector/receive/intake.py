"""The way of a request's bytes to the rest of the collector, whichever protocol brought them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from lapwing_collector.errors import LapwingError, UnavailableError
from lapwing_collector.receive.budget import Budget, Claim, Line
from lapwing_collector.receive.limits import Limits
from lapwing_collector.receive.tally import Tally

_LOGGER: Final = logging.getLogger(__name__)
_LEAST_TURNS: Final = 4


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request that is durable now.

    Attributes:
        rejected: Records of it that can not be stored, whatever is tried again.
        message: Why not, or a warning; empty when there is nothing to say.
    """

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests are accepted and acknowledged, and whether an old log is being read back behind it."""

    ready: bool
    replaying: bool


Ingest = Callable[[bytes], Awaitable[Accepted]]
"""Makes a decompressed OTLP logs request durable, or raises DecodeError or UnavailableError."""

Guard = Callable[[str | None], object]
"""Told the `Authorization` of a request that wants to send; raises AccessError if it may not."""


class Intake:
    """What all servers of one event loop share: the room for bodies, and who takes them.

    Attributes:
        limits: What requests may use.
        tally: What requests were answered.
        turns: For messages of which nobody knows how long they are before they are read whole: as many at
            once as could all be of full size, and a few in any case, so that a slow one keeps nobody out.
    """

    def __init__(self, ingest: Ingest, limits: Limits, starting: Callable[[], bool] = lambda: False) -> None:
        """Hand bodies to `ingest`.

        Args:
            ingest: Called with the body of each request. It runs to its end, never cancelled, even when
                its client was told to try again because it took too long.
            limits: What requests may use.
            starting: Whether requests are held, as nobody takes them yet.
        """
        self._starting = starting
        self.limits = limits
        self.tally = Tally()
        self._ingest = ingest
        self.turns = Line(max(limits.in_flight_bytes // limits.body_bytes, _LEAST_TURNS))
        self._budget = Budget(limits.in_flight_bytes)
        self._running: set[asyncio.Task[Accepted]] = set()

    def claim(self) -> Claim:
        """What a new request holds of the room: nothing yet."""
        return Claim(self._budget, self.limits.room_wait_s)

    async def take(self, data: bytes, claim: Claim) -> Accepted:
        """Ingest `data` and wait for it, but not longer than a client would; gives `claim` back in the end.

        Raises:
            DecodeError: It is not what it claims to be.
            UnavailableError: It can not be stored now, or not in time.
        """

        async def run() -> Accepted:
            try:
                return await self._ingest(data)
            finally:
                claim.release()

        self.tally.body_bytes += len(data)
        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        patience_s = self.limits.held_s if self._starting() else self.limits.answer_s
        await asyncio.wait([task], timeout=patience_s - claim.waited_s)
        if task.done():
            return task.result()
        task.add_done_callback(_tell_late_failure)
        raise UnavailableError("storing the request takes too long; try again")


def refused(error: BaseException) -> LapwingError:
    """What a client is told of an error: its own if it is meant for people, else to try again.

    The error lets go of where it happened: a task that keeps it would keep the body of the request, too.
    """
    if isinstance(error, LapwingError):
        return error.with_traceback(None)
    if isinstance(error, asyncio.CancelledError):
        return UnavailableError("the collector is shutting down")
    _LOGGER.error(
        "A request failed; its client is asked to send it again",
        exc_info=error,
        extra={"action": "ingest_failed"},
    )
    return UnavailableError("the collector failed; its log says why")


def _tell_late_failure(task: asyncio.Task[Accepted]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _LOGGER.warning("A request failed after its client was told to try again: %s", error)
