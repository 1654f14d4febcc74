"""What the process that leads does for all: rules, messages to people, and letting go of old ones."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lapwing_collector.app.judging.judging import Judging
from lapwing_collector.app.judging.pruning import Pruner
from lapwing_collector.app.places.project import Project
from lapwing_collector.notify import Deliverer, Reach
from lapwing_collector.state import Store


@dataclass(frozen=True, slots=True)
class Led:
    """The parts of one term, over the store that writes in it; where another process leads, they stand still.

    Attributes:
        store: What they write to.
        judging: Rules.
        deliverer: Messages.
        pruner: Old ones.
    """

    store: Store
    judging: Judging
    deliverer: Deliverer
    pruner: Pruner

    def close(self, grace_s: float) -> None:
        """Let each finish what it is at; what hangs longer cannot write any more once the store is closed."""
        self.pruner.close(grace_s)
        self.judging.close(grace_s)
        self.deliverer.stop(grace_s)


def deliverer_of(
    project: Project, store: Store, now: Callable[[], datetime], noted: Callable[[], None]
) -> Deliverer:
    """What sends the messages of a project; not started. `noted` is called as `Deliverer` says."""
    return Deliverer(
        store,
        project.targets,
        now,
        reach=Reach(project.settings.delivery.allow_networks),
        fallbacks=project.notify.fallbacks(),
        others=project.notify.others(),
        noted=noted,
    )


def pruner_of(project: Project, store: Store, now: Callable[[], datetime]) -> Pruner:
    """What lets go of old alerts and messages; not started."""
    kept = project.settings.retention
    return Pruner(store, now, alerts=kept.alerts, messages=kept.messages)
