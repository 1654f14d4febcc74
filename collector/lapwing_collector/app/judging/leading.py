"""Leads while no other process does, and stands by while one does.

All that a leader decides is written by the very session that holds the lock, and in its term. So one that was
cut off or stopped, and does not know yet that another leads, can neither commit a slot nor begin to send.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from lapwing_collector.app.ingest.writing import Flushed
from lapwing_collector.app.judging.judging import Judging, difference
from lapwing_collector.app.judging.led import Led
from lapwing_collector.app.places.owner_socket import Tell
from lapwing_collector.app.places.project import Project, with_files_again
from lapwing_collector.app.replicas.election import may_take
from lapwing_collector.app.replicas.gathering import Gathering
from lapwing_collector.app.replicas.succession import Succession
from lapwing_collector.errors import LapwingError, StateUnavailableError, UnavailableError
from lapwing_collector.notify import Deliverer
from lapwing_collector.state import OwnedElsewhereError, Place, Role, Store

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
"""How often it is looked who leads."""
_WAIT_S: Final = 0.5
"""For the session of who led before to end."""
_AGAIN_S: Final = 5.0
"""How soon who could not lead tries again; others may have led by then."""
_GRACE_S: Final = 1.0

Build = Callable[[Project, Store], Led]


class Leading:
    """Rules and messages of this process, while it leads; what there is to know of them while it does not."""

    def __init__(
        self,
        project: Project,
        *,
        place: Place,
        shared: Store,
        build: Build,
        gathering: Gathering | None,
        now: Callable[[], datetime],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nobody leads yet.

        Args:
            project: Whose rules and targets.
            place: Where the state is kept; of a file, this process leads without being asked.
            shared: The state there, for what needs no leader.
            build: Joins the parts that work over a store.
            gathering: What other collectors bring; None where there are none.
            now: Wall-clock time, naive UTC.
            monotonic_s: Seconds that pass whatever is done to the wall clock.
        """
        self._place = place
        self._shared = shared
        self._build = build
        self._gathering = gathering
        self._now = now
        self._monotonic_s = monotonic_s
        self._led = build(project, shared)
        self._leads = not place.shared
        self._succession = Succession()
        self._changing = threading.Lock()
        self._replayed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lapwing-lead", daemon=True)

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self._leads

    @property
    def judging(self) -> Judging:
        """The rules; they stand still while another process leads."""
        return self._led.judging

    @property
    def deliverer(self) -> Deliverer:
        """What sends messages; the same holds."""
        return self._led.deliverer

    @property
    def pruned(self) -> Mapping[str, int]:
        """How many rows of the state went since this process leads, by table."""
        return self._led.pruner.counts()

    @property
    def problem(self) -> str | None:
        """Why nothing can be decided now, or could be if it were this process's turn; None if it can."""
        return self._shared.problem or self._led.store.problem

    def start(self) -> None:
        """Begin: send what waits at once, and judge once `replayed` was called."""
        self._thread.start()

    def replayed(self) -> None:
        """Rows that an earlier process left are all there: rules may look at them."""
        self._replayed.set()

    def close(self, grace_s: float) -> None:
        """Let go of the lead; another process has it within a moment. Harmless twice."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._replayed.set()
        if self._thread.ident is not None:
            self._thread.join(grace_s)
        with self._changing:
            self._leads = False
            self._led.close(grace_s)
            if self._led.store is not self._shared:
                self._led.store.close()

    # What others tell and ask, whether it leads or not

    def saw(self, flushed: Flushed) -> None:
        """Take note of what is in the lake now."""
        if self._leads:
            self._led.judging.saw(flushed)

    def look(self) -> None:
        """Tell at once what is due; who leads elsewhere looks by itself before long."""
        if self._leads:
            self._led.judging.dispatcher.look()

    def wake(self, target: str) -> None:
        """Say that the outbox may hold something for `target`; who leads elsewhere looks by itself."""
        self._led.deliverer.wake(target)

    def run_rule(self, asked: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        """Evaluate the past of a rule that records; what a command asks for.

        Raises:
            ConfigError: There is no such rule.
            UnavailableError: Another process leads, or it will not be done.
        """
        if not self._leads:
            raise UnavailableError(f"this process stands by; {self._who_leads()} evaluates rules: ask there")
        return self._led.judging.run_rule(asked, tell)

    def reload(self, asked: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        """Go on with rules and targets as their files are now.

        Raises:
            ConfigError: A file has mistakes; all goes on as it was.
        """
        with self._changing:
            if self._leads:
                return self._led.judging.reload(asked, tell)
            before = self._led
            self._led = self._build(with_files_again(before.judging.written), self._shared)
            before.close(_GRACE_S)
            return difference(before.judging.project, self._led.judging.project)

    def _who_leads(self) -> str:
        """Who leads, for a person."""
        with suppress(StateUnavailableError):
            leader = self._shared.leader()
            known = {each.name: each.address for each in self._shared.replicas()}
            if leader is not None:
                return known.get(leader.name) or leader.name
        return "another one"

    # Taking the lead and letting go of it

    def _run(self) -> None:
        if not self._place.shared:
            self._lead(self._led)
            return
        self._replayed.wait()  # rules had better be judged by somebody who has read back what there is
        while not self._stop.is_set():
            pause_s = _LOOK_S
            try:
                if self._leads:
                    if self._led.store.lost:
                        self._stand_by()
                    else:
                        self._hear(self._led)
                elif may_take(self._shared, Role.OWNER, self._succession, self._monotonic_s()):
                    self._take()
            except StateUnavailableError:
                pass
            except Exception:
                logger.exception("this process cannot lead now", extra={"action": "lead_failed"})
                self._stand_by()
                pause_s = _AGAIN_S
            self._stop.wait(pause_s)

    def _take(self) -> None:
        try:
            store = Store.own(self._place, now=self._now(), wait_s=_WAIT_S, quiet=True)
        except OwnedElsewhereError:  # another one was faster
            return
        if not store.wait(0):
            store.close()
            return
        logger.info("this process leads now", extra={"action": "leads"})
        with self._changing:
            before = self._led
            try:
                led = self._build(self._as_files_are(before.judging.written), store)
            except BaseException:
                store.close()
                raise
            before.close(_GRACE_S)
            self._led, self._leads = led, True
        self._lead(led)

    def _as_files_are(self, project: Project) -> Project:
        """The project as its files are by now: who led before may have read them again, and this one not."""
        try:
            return with_files_again(project)
        except LapwingError as error:
            logger.error(  # noqa: TRY400  # it is for people
                "rules and targets are as they were when they were read last: %s",
                error,
                extra={"action": "files_wrong"},
            )
            return project

    def _lead(self, led: Led) -> None:
        with self._changing:
            if self._stop.is_set():
                return
            led.deliverer.start()
        # Rules look at rows that were acknowledged long ago only when all of them are there.
        self._replayed.wait()
        while not self._stop.is_set() and not led.store.lost:
            if led.store.wait(_LOOK_S):
                with suppress(StateUnavailableError):
                    arrivals = () if self._gathering is None else self._gathering.begin()
                    led.judging.prepare()
                    led.judging.heard(arrivals)
                    break
        else:
            return
        with self._changing:
            if not self._stop.is_set():
                led.judging.start()
                led.pruner.start()

    def _hear(self, led: Led) -> None:
        """Let rules know what other collectors brought, and up to where they are."""
        if self._gathering is not None:
            led.judging.heard(self._gathering.look())

    def _stand_by(self) -> None:
        """Let go of all that is remembered of the term, and wait for the next."""
        with self._changing:
            led, self._leads = self._led, False
            if led.store is self._shared or self._stop.is_set():
                return
            logger.warning("this process leads no more; it stands by", extra={"action": "stands_by"})
            self._led = self._build(led.judging.written, self._shared)
        led.close(_GRACE_S)
        led.store.close()
