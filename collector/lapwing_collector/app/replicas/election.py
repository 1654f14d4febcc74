"""Gives one of several processes a role, and another one where that is gone or silent."""

import logging
import time
from collections.abc import Callable
from typing import Final

from lapwing_collector.app.background.rounds import Rounds
from lapwing_collector.app.replicas.succession import Act, Sight, Succession
from lapwing_collector.state import Place, Role, Store

logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_EVICTED: Final = {Role.OWNER: "leader_evicted", Role.MAINTENANCE: "maintainer_evicted"}


def may_take(store: Store, role: Role, succession: Succession, now_s: float) -> bool:
    """Whether it is worth a try to take a role; the session of a holder that keeps silent is ended.

    Raises:
        StateUnavailableError: The state is away.
    """
    holder = store.holder(role)
    beats = {each.name: each.beats for each in store.replicas()}
    act = succession.look(Sight(holder, None if holder is None else beats.get(holder)), now_s)
    if act is Act.EVICT and holder is not None:
        logger.warning(
            "%s has the role of %s and is silent; its session is ended",
            holder,
            role,
            extra={"action": _EVICTED[role]},
        )
        store.evict(holder, role)
    return act is not Act.WAIT


class Election:
    """A role that this process has while no other has it; of a state that nobody shares, for ever."""

    def __init__(
        self,
        place: Place,
        store: Store,
        role: Role,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            place: Where the state is kept.
            store: The state there, for looking.
            role: Which one.
            monotonic_s: Seconds that pass whatever is done to the wall clock.
        """
        self._shared = place.shared
        self._store = store
        self._role = role
        self._monotonic_s = monotonic_s
        self._seat = place.seat(role)
        self._elected = not place.shared
        self._succession = Succession()
        self._rounds = Rounds(
            f"lapwing-{role}",
            _LOOK_S,
            self._try_to_look,
            self._let_go,
            failed=f"it is not known whose {role} is",
            action="role_unknown",
        )

    @property
    def elected(self) -> bool:
        """Whether this process has the role."""
        return self._elected

    def start(self) -> None:
        """Begin to try."""
        if self._shared:
            self._rounds.start()

    def close(self, timeout_s: float) -> bool:
        """Let another one have it; tells whether that was in time."""
        return self._rounds.close(timeout_s)

    def look(self) -> None:
        """See whether this process has the role, and take it if it can.

        Raises:
            StateUnavailableError: The state is away.
        """
        if self._seat.holds():
            self._elected = True
            return
        if self._elected:
            logger.warning("%s is another process's now", self._role, extra={"action": "role_lost"})
        self._elected = False
        now_s = self._monotonic_s()
        if may_take(self._store, self._role, self._succession, now_s) and self._seat.take():
            self._elected = True
            logger.info("%s is this process's now", self._role, extra={"action": "role_taken"})

    def _try_to_look(self) -> None:
        try:
            self.look()
        except BaseException:
            self._elected = False
            raise

    def _let_go(self) -> None:
        self._elected = False
        self._seat.release()
