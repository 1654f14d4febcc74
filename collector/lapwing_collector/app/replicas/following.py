"""Lets browsers that look at this process know what others brought, judged and were told."""

from collections.abc import Callable, Collection
from typing import Any, Final

from lapwing_collector.app.background.rounds import Rounds
from lapwing_collector.state import Store

_LOOK_S: Final = 0.5


class Following:
    """Looks twice a second, in a thread of its own. What this process did itself is told there, too."""

    def __init__(
        self, store: Store, *, brought: Callable[[Collection[str]], None], changed: Callable[[], None]
    ) -> None:
        """Prepare.

        Args:
            store: What is shared.
            brought: Told whose rows came into the lake, as names of tables in lower case.
            changed: Called once alerts changed, or what is said of them.
        """
        self._store = store
        self._brought = brought
        self._changed = changed
        self._after = 0
        self._alerts: Any = None
        self._rounds = Rounds(
            "lapwing-following",
            _LOOK_S,
            self.look,
            failed="pages show what is new later",
            action="following_failed",
        )

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def close(self, timeout_s: float) -> bool:
        """Stop; tells whether it did in time."""
        return self._rounds.close(timeout_s)

    def look(self) -> None:
        """Tell what is new since the last look; at the first, all that there is.

        Raises:
            StateUnavailableError: The state is away; it is told the next time.
        """
        if arrivals := self._store.arrivals(self._after):
            self._after = arrivals[-1].number
            self._brought([each.table for each in arrivals])
        alerts = self._store.alert_changes()
        if alerts != self._alerts:
            self._alerts = alerts
            self._changed()
