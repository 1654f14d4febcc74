"""When a replica takes the lead, by what it sees of who has it. Pure: time is an argument.

Who leads holds a lock that the database gives to one session, and lets go of when that session ends. So there
is nothing to agree upon: a replica takes a lock that is free. But a process that was stopped, or cut off from
the network, keeps its session for minutes. It is ended by others once it has kept silent for long enough, as
each of them counts for itself: clocks of machines need not agree, and who was stopped itself begins anew.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

SILENT_AFTER_S: Final = 5.0
"""Who leads tells that it is there ten times as often."""


class Act(Enum):
    """What a replica that stands by does next."""

    WAIT = auto()
    TAKE = auto()
    EVICT = auto()
    """End the session of who leads, and take the lead."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a replica sees.

    Attributes:
        holder: Whose session holds the lock; None if it is free.
        beats: How often the holder told that it is there; None where it does not: a command is not ended.
    """

    holder: str | None
    beats: int | None


class Succession:
    """How long whoever leads has kept silent."""

    def __init__(self, silent_after_s: float = SILENT_AFTER_S) -> None:
        """Begin.

        Args:
            silent_after_s: For how long who leads may keep silent.
        """
        self._silent_after_s = silent_after_s
        self._seen: Sight | None = None
        self._since_s = self._looked_s = 0.0

    def look(self, sight: Sight, now_s: float) -> Act:
        """What to do after a look.

        Args:
            sight: What was seen.
            now_s: Seconds that pass whatever is done to the wall clock.
        """
        was_away = now_s - self._looked_s > self._silent_after_s / 2  # itself: it cannot tell who else was
        self._looked_s = now_s
        if sight.holder is None:
            self._seen = None
            return Act.TAKE
        if was_away or sight != self._seen:
            self._seen, self._since_s = sight, now_s
        if sight.beats is None or now_s - self._since_s < self._silent_after_s:
            return Act.WAIT
        self._seen = None
        return Act.EVICT
