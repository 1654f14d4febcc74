"""Rules over one idea of what is complete: slots that are due, and past ones that late rows touch."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from lapwing_collector.app.alerting import Alerting
from lapwing_collector.app.completeness import Completeness
from lapwing_collector.app.evaluating import RunQuery
from lapwing_collector.app.history import KeptFrom
from lapwing_collector.app.project import Project
from lapwing_collector.app.recomputing import Recomputing
from lapwing_collector.app.writing import Flushed
from lapwing_collector.clock import Clock
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK
from lapwing_collector.state import Store

_POLICIES: Final = {"wall": WALL_CLOCK, "data": DATA_CLOCK}

RULE_WORKERS: Final = 2
"""Rules evaluated at the same time, each with a query process of its own."""


class Judging:
    """Evaluates the rules of a project.

    Attributes:
        alerting: Slots that are due.
        recomputing: Slots that were evaluated and are touched again.
    """

    def __init__(
        self,
        project: Project,
        *,
        store: Store,
        live_queries: RunQuery,
        late_queries: RunQuery,
        oldest_waiting: Callable[[], datetime | None],
        wake: Callable[[str], None],
        busy: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """Join the parts.

        Args:
            project: Whose rules and targets.
            store: State and outbox.
            live_queries: Answers SQL over the lake for slots that are due.
            late_queries: The same for late ones, which must not hold those up.
            oldest_waiting: When the oldest request came whose rows may not be in the lake; None if all are.
            wake: Tells that the outbox has something for a target.
            busy: Whether rows wait to be written, so that late slots had better wait.
            clock: The wall clock.
        """
        self._completeness = Completeness(
            store=store,
            policy=_POLICIES[project.settings.clock],
            clock=clock,
            oldest_waiting=oldest_waiting,
        )
        self.alerting = Alerting(
            rules=project.rules,
            tables=project.tables,
            targets=project.targets,
            store=store,
            completeness=self._completeness,
            run_query=live_queries,
            wake=wake,
            clock=clock,
            workers=RULE_WORKERS,
        )
        self.recomputing = Recomputing(
            rules=project.rules,
            sources=project.sources,
            reached=self.alerting.reached,
            settled=self._completeness.settled,
            as_of=self._completeness.as_of,
            kept_from=KeptFrom(project.settings, self._completeness),
            store=store,
            run_query=late_queries,
            clock=clock,
            gather=not self._completeness.replaying,
            busy=busy,
        )

    def start(self) -> None:
        """Begin."""
        self.recomputing.start()  # first: what comes before a rule's first slot begins is seen by that
        self.alerting.start()

    def saw(self, flushed: Flushed) -> None:
        """Take note of what is in the lake now."""
        self._completeness.saw(flushed.times)
        self.recomputing.saw(flushed.labelled | flushed.times.keys())
        self.alerting.look()

    def close(self, timeout_s: float) -> bool:
        """Finish the slots at hand and stop; tells whether they were in time."""
        return all([self.recomputing.close(timeout_s), self.alerting.close(timeout_s)])
