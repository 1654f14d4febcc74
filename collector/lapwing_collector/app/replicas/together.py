"""Up to where several collectors together have brought what they received. Pure: time is an argument.

Each tells up to when all that came to it is in the lake; what all have reached can be judged. One that tells
nothing any more is waited for, and after a while left out: what it still has comes late, as late rows do.
When it is back, what it brings is looked for from where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lapwing_collector.model.replicas import Mark

_RETURNS_S: Final = 5.0
"""How long one that is back counts as being where it was, so that late rows are looked for from there on."""


@dataclass(slots=True)
class _Heard:
    """What is known of a collector.

    Attributes:
        mark: What it told last.
        at_s: When that was heard.
        left_out: Whether it is waited for no more.
        was_at: Where it was when it was left out before.
        back_until_s: Until when it counts as being there.
    """

    mark: Mark
    at_s: float
    left_out: bool = False
    was_at: datetime | None = None
    back_until_s: float = 0.0

    def settled_at(self, now_s: float) -> datetime:
        if self.was_at is None or now_s >= self.back_until_s:
            return self.mark.settled_at
        return min(self.was_at, self.mark.settled_at)


class Together:
    """What was heard of collectors.

    Attributes:
        settled: Every request that came before, to any of them but those left out, is in the lake; None where
            there are none.
        left_out: Addresses of those that are waited for no more.
    """

    def __init__(self, patience_s: float) -> None:
        """Begin.

        Args:
            patience_s: How long one that tells nothing is waited for.
        """
        self._patience_s = patience_s
        self._heard: dict[str, _Heard] = {}
        self._looked_s = 0.0
        self.settled: datetime | None = None
        self.left_out: tuple[str, ...] = ()

    def look(self, marks: Sequence[Mark], now_s: float) -> None:
        """Take note of what collectors told.

        Args:
            marks: What each told last.
            now_s: Seconds that pass whatever is done to the wall clock.
        """
        was_away = now_s - self._looked_s > self._patience_s / 2  # itself: it cannot tell who else was
        self._looked_s = now_s
        self._heard = {mark.collector: self._hear(mark, now_s, anew=was_away) for mark in marks}
        awaited = [each.settled_at(now_s) for each in self._heard.values() if not each.left_out]
        self.settled = min(awaited, default=None)
        self.left_out = tuple(each.mark.address for each in self._heard.values() if each.left_out)

    def _hear(self, mark: Mark, now_s: float, *, anew: bool) -> _Heard:
        known = self._heard.get(mark.collector)
        if known is None:
            return _Heard(mark, now_s)
        if mark != known.mark:
            if known.left_out:
                known.left_out, known.was_at = False, known.mark.settled_at
                known.back_until_s = now_s + _RETURNS_S
            known.mark, known.at_s = mark, now_s
        elif anew:
            known.at_s = now_s
        elif now_s - known.at_s >= self._patience_s:
            known.left_out = True
        return known
