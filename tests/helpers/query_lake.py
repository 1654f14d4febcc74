"""A small lake, and query processes over it, shared by the tests of a module because starting takes time."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.batches import labels, predictions
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.lake import CatalogKeeper, Lake, Progress
from lapwing_collector.query import Limits, QueryPool, Session, Spare

LIMITS = Limits(memory_bytes=256 << 20)


def make_lake(folder: Path) -> Path:
    """A lake in `folder` with ten predictions of the model churn, one of them labelled."""
    lake = Lake.open(folder, profiling=PROFILING)
    rows = [
        {"prediction_id": str(i), "inputs.age": i, "output.late": i > 5, "tags": [("region", "=1+1")]}
        for i in range(10)
    ]
    lake.flush([predictions("churn", rows)], [], Progress(1, 0))
    lake.flush([labels("churn", [{"prediction_id": "7", "label": True}])], [], Progress(2, 0))
    lake.close()
    return folder


@dataclass
class Readers:
    """A lake that is held open, and where query processes over it come from."""

    folder: Path
    spare: Spare

    @contextmanager
    def pool(self, size: int = 1, queue: int | None = None, *, holding: bool = False) -> Iterator[QueryPool]:
        """A pool that is closed in the end."""
        pool = QueryPool(self.spare, size, queue=queue, holding=holding)
        try:
            yield pool
        finally:
            pool.close()


@contextmanager
def readers(folder: Path) -> Iterator[Readers]:
    """Processes over the lake in `folder`."""
    keeper = CatalogKeeper.start(folder)
    spare = Spare(folder, LIMITS)
    try:
        yield Readers(folder, spare)
    finally:
        spare.close()
        keeper.close()


@contextmanager
def session_over(folder: Path) -> Iterator[Session]:
    """A session over the lake in `folder`, whose owner is there: without one its catalog has no log."""
    with closing(Lake.open(folder)), closing(Session.open(folder)) as session:
        yield session
