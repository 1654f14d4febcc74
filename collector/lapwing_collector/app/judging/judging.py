"""Rules over one idea of what is complete: slots that are due, and past ones that late rows touch."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

from lapwing_collector.app.answers.models import models_in
from lapwing_collector.app.ingest.writing import Flushed
from lapwing_collector.app.judging.alerting import Alerting
from lapwing_collector.app.judging.briefing import Briefing
from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.app.judging.evaluating import ReadRows, RunQuery
from lapwing_collector.app.judging.history import KeptFrom
from lapwing_collector.app.judging.recomputing import Recomputing
from lapwing_collector.app.places.owner_socket import Tell
from lapwing_collector.app.places.project import Project, with_files_again, with_models
from lapwing_collector.app.replicas.marking import POLICIES
from lapwing_collector.clock import Clock, utc_datetime
from lapwing_collector.errors import ConfigError, StateUnavailableError, UnavailableError
from lapwing_collector.model.alerts import RuleId
from lapwing_collector.model.replicas import Arrival
from lapwing_collector.notify import Policy
from lapwing_collector.rules import is_builtin
from lapwing_collector.state import Store

logger = logging.getLogger(__name__)

RULE_WORKERS: Final = 2
"""Rules evaluated at the same time, each with a query process of its own."""

_AGAIN_S: Final = 5.0
_LOOK_S: Final = 0.2
"""How often it is looked whether what a command asked for is done."""
_BEGINS_S: Final = 10.0
"""For rules to begin, after a start: first, what an earlier process left is read back."""


class Judging:
    """Evaluates the rules of a project.

    Attributes:
        alerting: Slots that are due.
        recomputing: Slots that were evaluated and are touched again.
        dispatcher: What people are told.
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
        live_rows: ReadRows | None = None,
        alerts_changed: Callable[[], None] = lambda: None,
        use_targets: Callable[[Policy], None] = lambda _: None,
        others: Callable[[], datetime | None] = lambda: None,
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
            live_rows: Answers the SQL of rules for slots that are due, where that is quicker.
            use_targets: Has the targets of another notify file sent to.
            alerts_changed: Called after alerts changed, and what people said about them.
            others: Every request that came to other collectors before is in the lake; None if there are none.
        """
        self._written = self._project = project
        self._store = store
        self._queries = live_queries
        self._use_targets = use_targets
        self._models: Mapping[str, str] = {}
        self._behind = False
        self._begun = threading.Event()
        self._ending = threading.Event()
        self._changing = threading.Lock()
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="lapwing-rule-files")
        self._completeness = Completeness(
            store=store,
            policy=POLICIES[project.settings.clock],
            clock=clock,
            oldest_waiting=oldest_waiting,
            others=others,
        )
        self._briefing = Briefing(run_query=live_queries, dashboard=project.settings.web.dashboard)
        self.dispatcher = Dispatcher(
            policy=project.notify,
            store=store,
            wake=wake,
            now=lambda: utc_datetime(clock.now_ns()),
            caught_up=lambda: self.alerting.caught_up,
            looked=alerts_changed,
        )
        self.alerting = Alerting(
            rules=project.rules,
            tables=project.tables,
            store=store,
            completeness=self._completeness,
            run_query=live_queries,
            dispatcher=self.dispatcher,
            clock=clock,
            workers=RULE_WORKERS,
            read_rows=live_rows,
            brief=self._briefing.brief,
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

    @property
    def project(self) -> Project:
        """Its rules, those of models included, and targets, as files had them when they were read last."""
        return self._project

    @property
    def written(self) -> Project:
        """The same without the rules of models: what another one begins with."""
        return self._written

    def load(self) -> None:
        """Begin with what was kept.

        Raises:
            StateUnavailableError: The state is away.
        """
        self._completeness.load()
        self.recomputing.load()
        self.alerting.load()

    def prepare(self) -> None:
        """Read what is remembered, and follow what is another since; harmless twice, before `start`.

        Raises:
            StateUnavailableError: The state is away.
        """
        with self._changing:  # else files that are read again meanwhile would be forgotten
            self.load()
            self.dispatcher.follow_routes({rule.id: rule.condition for rule in self._project.rules})
            self.dispatcher.look()  # what was decided before the last stop is told before anything is decided
            self.recomputing.prepare()  # first: what comes before a rule's first slot begins is seen by that
            if self._written.model_groups:
                self._use(self._project, complete=False)
            self.alerting.prepare()

    def start(self) -> None:
        """Begin."""
        if self._written.model_groups:
            self._changes.submit(self._keep_up)
        self.recomputing.start()
        self.alerting.start()
        self.dispatcher.start()
        self._begun.set()

    def reload(self, _asked: Mapping[str, Any], _tell: Tell) -> Mapping[str, Any]:
        """Go on with rules and targets as their files are now; what is remembered of those that stay is kept.

        Raises:
            ConfigError: A file has mistakes; all goes on as it was.
            StateUnavailableError: The state is away; once it is back, all goes on as the files were.
        """
        with self._changing:
            before = self._project
            self._written = with_files_again(self._written)
            try:
                self._follow_files()
            except StateUnavailableError as error:
                self._changes.submit(self._keep_up)
                raise StateUnavailableError(
                    f"the files were read, and are followed as soon as the state is back: {error}"
                ) from error
            except Exception:
                self._changes.submit(self._keep_up)  # half of what the files say is followed by nobody
                raise
            after = self._project
        logger.info("the rules were read again: %d now", len(after.rules), extra={"action": "rules_reloaded"})
        return difference(before, after)

    def saw(self, flushed: Flushed) -> None:
        """Take note of what is in the lake now."""
        self._look_for(flushed.times.keys())
        self._completeness.saw(flushed.times)
        self.recomputing.saw(flushed.labelled | flushed.times.keys())
        self.alerting.look()

    def heard(self, arrivals: Sequence[Arrival]) -> None:
        """Take note of what other collectors brought into the lake."""
        if not arrivals:
            return
        newest = {each.table: each.newest for each in arrivals}
        self._look_for({table for table, at in newest.items() if at is not None})
        self._completeness.heard(newest)
        self.recomputing.saw(newest.keys())
        self.alerting.look()

    def _look_for(self, tables: Collection[str]) -> None:
        """Let groups that stand for models know of new ones."""
        if self._written.model_groups:
            known = {table.lower() for table in self._models.values()}
            if any(table.lower() not in known for table in tables):
                self._changes.submit(self._keep_up)

    def run_rule(self, asked: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        """Evaluate the past of a rule that records, behind live slots; what a command asks for.

        Args:
            asked: `group` and `rule` name it; its slots after `after`, up to `through`, are meant.
            tell: Told how far it is.

        Raises:
            ConfigError: There is no such rule, or something else was asked.
            UnavailableError: The collector stops, or has not begun yet.
        """
        if not self._begun.wait(_BEGINS_S):
            raise UnavailableError(
                "rules have not begun yet: what was received before is read back; ask again"
            )
        match asked:
            case {"group": str(group), "rule": str(name), "after": str(after), "through": str(through)}:
                span = datetime.fromisoformat(after), datetime.fromisoformat(through)
                return self.backfill(RuleId(group, name), *span, tell, lambda: self._ending.wait(_LOOK_S))
        raise ConfigError("run_rule: expected the texts `group`, `rule`, `after` and `through`")

    def backfill(
        self, wanted: RuleId, after: datetime, through: datetime, tell: Tell, work: Callable[[], bool]
    ) -> Mapping[str, Any]:
        """Have slots evaluated, and call `work` until that is done, or it says that it will not be.

        Raises:
            ConfigError: There is no such rule.
            UnavailableError: It will not be done.
        """
        rule = next((rule for rule in self._project.rules if rule.id == wanted), None)
        if rule is None:
            raise ConfigError(f"there is no rule {wanted} in the files that the collector has read")
        while self.recomputing.behind:
            if work():
                raise UnavailableError(f"{wanted}: it is evaluated when the collector is back")
        total = self.recomputing.backfill(rule, after, through)
        while True:
            backlog = self._store.late_backlog(wanted, after, through)
            left = backlog.waiting - backlog.failing
            tell(str(wanted), total - left, total)
            if not left:
                return {"windows": total, "failed": backlog.failing, "error": backlog.error}
            if work():
                raise UnavailableError(f"{wanted}: {left} windows are evaluated when the collector is back")

    def close(self, timeout_s: float) -> bool:
        """Finish the slots at hand and stop; tells whether they were in time."""
        self._ending.set()
        self._changes.shutdown(wait=False, cancel_futures=True)
        parts = self.recomputing, self.alerting, self.dispatcher
        in_time = all([part.close(timeout_s) for part in parts])  # noqa: C419  # all of them, whatever the first
        if in_time:
            self._briefing.close()
        return in_time

    def _keep_up(self) -> None:
        """Follow files that could not be yet, and have rules for the models that there are now."""
        while not self._ending.is_set():
            try:
                with self._changing:
                    if self._behind:
                        self._follow_files()
                if self._written.model_groups:
                    self._look_for_models()
            except StateUnavailableError:
                self._ending.wait(_AGAIN_S)
            except Exception:
                logger.exception("rules that are new wait", extra={"action": "rules_wait"})
                self._ending.wait(_AGAIN_S)
            else:
                return

    def _follow_files(self) -> None:
        self._behind = True
        # First who is told, so that nothing is told to somebody who is there no more.
        self.dispatcher.use(self._written.notify)
        self._use_targets(self._written.notify)
        self._use(with_models(self._written, self._models), complete=True)
        self._behind = False

    def _look_for_models(self) -> None:
        models = models_in(self._queries)
        with self._changing:
            if models != self._models or not self._models:
                self._use(with_models(self._written, models), complete=True)
                self._models = models

    def _use(self, project: Project, *, complete: bool) -> None:
        self.recomputing.use(project.rules, project.sources)  # first, as at the start
        self.alerting.use(project.rules, project.tables, complete=complete)
        self._project = project


def difference(before: Project, after: Project) -> Mapping[str, Any]:
    """What is another one in files that were read again."""
    rules = _changes({str(rule.id): rule for rule in before.rules}, {str(r.id): r for r in after.rules})
    targets = _changes(
        {target.name: target for target in before.targets},
        {target.name: target for target in after.targets},
        lambda one, other: one.is_as(other),
    )
    own = sum(is_builtin(rule.id) for rule in after.rules)
    return {"rules": len(after.rules), "builtin": own} | rules | {"targets": targets}


def _changes(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    alike: Callable[[Any, Any], bool] = lambda one, other: bool(one == other),
) -> dict[str, list[str]]:
    """What came, what is another one, and what is gone, by name."""
    return {
        "added": sorted(after.keys() - before.keys()),
        "changed": sorted(
            name for name in before.keys() & after.keys() if not alike(before[name], after[name])
        ),
        "removed": sorted(before.keys() - after.keys()),
    }
