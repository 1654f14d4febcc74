"""Rules over a real lake and state database, step by step: what arrives, when, and what is evaluated then."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from helpers.batches import labels, predictions
from lapwing_collector.app.judging.alerting import Alerting
from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.app.judging.recomputing import Recomputing
from lapwing_collector.app.places.project import load_project
from lapwing_collector.clock import SteppingClock, epoch_ns, utc_datetime
from lapwing_collector.lake import CatalogKeeper, Lake, Progress, QueuedMetric
from lapwing_collector.metrics import DATA_CLOCK, WALL_CLOCK
from lapwing_collector.notify import NOBODY
from lapwing_collector.query import Session
from lapwing_collector.state import Store

Row = Mapping[str, Any]


class LateBench:
    """The parts that evaluate rules, driven by hand. The model is called `m`.

    Attributes:
        clock: The wall clock.
        evaluated: Queries that late slots asked.
        broken: Raised by the next queries of late slots, one each.
    """

    def __init__(self, folder: Path, config: Path, start: datetime, *, replay: bool = False) -> None:
        """Begin at `start` with the rules that `config` names."""
        project = load_project(config, {"data": folder})
        self.clock = SteppingClock(epoch_ns(start))
        self.lake = Lake.open(folder / "lake")
        self.keeper = CatalogKeeper.start(folder / "lake")
        self.session = Session.open(folder / "lake")
        self.store = Store.open(folder / "state.sqlite")
        self.evaluated = 0
        self.broken: list[Exception] = []
        self.kept_from: datetime | None = None
        self.waiting: datetime | None = None
        completeness = Completeness(
            store=self.store,
            policy=DATA_CLOCK if replay else WALL_CLOCK,
            clock=self.clock,
            oldest_waiting=lambda: self.waiting,
        )
        self.completeness = completeness
        self.alerting = Alerting(
            rules=project.rules,
            tables=project.tables,
            store=self.store,
            completeness=completeness,
            run_query=lambda sql, parameters, _: self.session.run(sql, parameters),
            dispatcher=Dispatcher(
                policy=NOBODY,
                store=self.store,
                wake=lambda _: None,
                now=lambda: self.now,
                caught_up=lambda: True,
            ),
            clock=self.clock,
            workers=1,
        )
        self.late = Recomputing(
            rules=project.rules,
            sources=project.sources,
            reached=self.alerting.reached,
            settled=completeness.settled,
            as_of=completeness.as_of,
            kept_from=lambda *_: self.kept_from,
            store=self.store,
            run_query=self._run_late,
            clock=self.clock,
            gather=not replay,
            busy=lambda: False,
        )
        for part in (completeness, self.late, self.alerting):
            part.load()
        self.late.prepare()
        self.alerting.prepare()
        self._numbers = itertools.count(self.lake.progress.log + 1)

    @property
    def now(self) -> datetime:
        """The present."""
        return utc_datetime(self.clock.now_ns())

    def reach(self, moment: datetime) -> None:
        """Let time pass until `moment`."""
        self.clock.step((moment - self.now).total_seconds())

    def receive(self, predicted: Sequence[Row] = (), labelled: Sequence[Row] = ()) -> None:
        """Let rows arrive now, and be written."""
        now = self.now
        batches = []
        if predicted:
            batches.append(predictions("m", [{**row, "received_at": now} for row in predicted]))
        if labelled:
            batches.append(labels("m", [{**row, "received_at": now} for row in labelled]))
        self.lake.flush(batches, [], Progress(next(self._numbers), self.lake.progress.metrics))
        self.completeness.saw({"m": pa.array([row["time"] for row in predicted], pa.timestamp("us"))})
        self.late.saw(["m"])

    def work(self) -> None:
        """Evaluate what is due, late and live, and write what came of it."""
        while self.late.work():
            pass
        self.alerting.work()
        while self.late.work():
            pass
        queued = [
            QueuedMetric(number, row, as_of)
            for number, row, as_of in self.store.queued_metrics(self.lake.progress.metrics, 100_000)
        ]
        if queued:
            self.lake.flush([], queued, Progress(self.lake.progress.log, queued[-1].number))
            self.store.forget_metrics(queued[-1].number)

    def live_only(self) -> None:
        """Evaluate what is due, and nothing again."""
        self.alerting.work()

    def ask(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a query, with maps as dicts."""
        rows: list[dict[str, Any]] = self.session.run(sql, parameters).to_pylist(maps_as_pydicts="strict")
        return rows

    def close(self) -> None:
        """Let go of everything."""
        self.alerting.close(1)
        self.late.close(1)
        self.session.close()
        self.store.close()
        self.keeper.close()
        self.lake.close()

    def _run_late(self, sql: str, parameters: Mapping[str, Any], _timeout_s: float) -> pa.Table:
        if "lapwing_active" in sql:
            self.evaluated += 1
            if self.broken:
                raise self.broken.pop()
        return self.session.run(sql, parameters)


@contextmanager
def late_bench(folder: Path, rules: str, start: datetime, *, replay: bool = False) -> Iterator[LateBench]:
    """A bench in `folder` with the rules of a file's text; opened again, it goes on where it was."""
    (folder / "lapwing.yaml").write_text(f"clock: {'data' if replay else 'wall'}\nrules: [rules.yaml]\n")
    (folder / "rules.yaml").write_text(rules)
    bench = LateBench(folder / "data", folder / "lapwing.yaml", start, replay=replay)
    try:
        yield bench
    finally:
        bench.close()


def hours(count: float) -> timedelta:
    """So many hours."""
    return timedelta(hours=count)
