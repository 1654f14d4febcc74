"""Five hundred rules over ten million predictions: how punctual, at what cost, how soon after a start.

    python -m bench rules

The parts of a collector that judge, in one process, with the query processes of `lapwing up`; the rows are
those of `bench/decode.py`, spread over a day up to some minutes from now. Every rule is evaluated each minute
over five minutes of rows, and alerts of every tenth fire all the time. `LAPWING_BENCH_ROWS` and
`LAPWING_BENCH_RULES` make it smaller.

A start finds a slot of every rule due, as after a minute without a collector; the clock is set on for that.

    late        from the moment at which a slot is due and its rule has its turn until its query is asked
    after slot  from the slot's own time until then: rules that are due together start one after another
    overhead    CPU time of the process that judges, per evaluation; queries run in other processes. What the
                kernel does for it is sending, waiting and syncing the state database
    engine      the same for evaluations one after another whose queries are answered at once, as they were
                before: what judging and committing take where no query has emptied the caches of a core
"""

import dataclasses
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from bench.decode import START_NS, request_of
from bench.flush import flush, joined

from lapwing_collector.app.judging.judging import RULE_WORKERS, Judging
from lapwing_collector.app.places.project import Project, load_project
from lapwing_collector.clock import Clock, SystemClock, utc_datetime
from lapwing_collector.decode import decode_logs
from lapwing_collector.errors import QueryError
from lapwing_collector.lake import CatalogKeeper, Lake
from lapwing_collector.model.alerts import AlertState, Instance, RuleId, RuleState, Status, Transition
from lapwing_collector.model.queries import Plain
from lapwing_collector.model.records import Batch
from lapwing_collector.query import QueryPool, Spare
from lapwing_collector.query.limits import Limits
from lapwing_collector.state import Store

ROWS = int(os.environ.get("LAPWING_BENCH_ROWS", "10_000_000"))
RULES = int(os.environ.get("LAPWING_BENCH_RULES", "500"))
ROWS_PER_FILE = min(500_000, ROWS)
PER_REQUEST = 1000
DAY = timedelta(days=1)
AHEAD = timedelta(minutes=4)
FIRST_START_S = 5
LAST_START_S = 45
"""A start elsewhere in a minute is put off: the slot of the minute would come while the last is made good."""
INSTANCES = 1000
RUNAWAY = "SELECT count(*) FROM range(1_000_000) a, range(1_000_000) b WHERE (a.range * b.range) % 7 = 3"
GREEDY = "SELECT count(*) FROM (SELECT DISTINCT a.range * 7919 + b.range FROM range(99_999) a, range(999) b)"

EXPRESSIONS = (
    "SELECT version, count(*) AS sample_count, count(error_type) / count(*) AS value {rows} GROUP BY version",
    "SELECT inputs.city_0 AS city, count(*) AS sample_count, avg(output.score) AS value {rows} GROUP BY ALL",
    "SELECT count(*) AS sample_count, avg((inputs.count_0 IS NULL)::INT) AS value {rows}",
    "SELECT count(*) AS sample_count, quantile_cont(duration_ms, 0.95) AS value {rows}",
)
WINDOW = "FROM predictions.churn WHERE time >= $window_start AND time < $window_end"


def main() -> None:
    """Print punctuality, costs, and the times of a commit, a timeout and a restart."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        root = Path(folder)
        project = project_of(root)
        lake = Lake.open(root / "data" / "lake")
        parts.callback(lake.close)
        started = time.perf_counter()
        fill(lake)
        print(f"{ROWS:,} rows in {time.perf_counter() - started:.0f} s", flush=True)
        parts.callback(CatalogKeeper.start(root / "data" / "lake").close)
        begin(project, root)
        with ExitStack() as judges:
            judged = restart(project, root, judges)
            keep_up(judged)
        alone(project, root, judged.answers)
        commit(root)
        timeouts(root)


def project_of(root: Path) -> Project:
    """A project with so many rules, of four kinds."""
    rules = [
        f"      - alert: rule{number}\n"
        f"        window: 5m\n"
        f"        expr: {EXPRESSIONS[number % len(EXPRESSIONS)].format(rows=WINDOW)}\n"
        f"        condition: value > {2 if number % 10 else -1}\n"
        f"        annotations: {{summary: 'it is {{{{ $value | humanize }}}}'}}\n"
        for number in range(RULES)
    ]
    (root / "rules.yaml").write_text("groups:\n  - name: g\n    rules:\n" + "".join(rules))
    (root / "lapwing.yaml").write_text("rules: [rules.yaml]\n")
    return load_project(root / "lapwing.yaml", {"data": root / "data"})


def fill(lake: Lake) -> None:
    """Write the predictions of a day, up to some minutes from now."""
    draw = Random(11)
    payloads = [request_of(draw, PER_REQUEST, n * PER_REQUEST) for n in range(min(50, ROWS // PER_REQUEST))]
    batches = [batch for payload in payloads for batch in decode_logs(payload, START_NS).batches]
    template = joined(batches * (ROWS_PER_FILE // sum(batch.rows.num_rows for batch in batches)))
    count = template.rows.num_rows
    files = ROWS // count
    end_us = int((time.time() + AHEAD.total_seconds()) * 1e6)
    step_us = int(DAY.total_seconds() * 1e6 / (files * count))
    for number in range(files):
        first_us = end_us - (files - number) * count * step_us
        flush(lake, [at(template, np.arange(first_us, first_us + count * step_us, step_us)[:count])])


def at(batch: Batch, times_us: np.ndarray) -> Batch:
    """The batch's rows at other times, with ids in their order."""
    rows = batch.rows
    columns = {
        "time": pa.array(times_us, pa.timestamp("us")),
        "received_at": pa.array(times_us + 1_000_000, pa.timestamp("us")),
        "prediction_id": pa.array(np.char.mod("%016x", times_us)),
    }
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), values)
    return dataclasses.replace(batch, rows=rows)


class Judged:
    """Rules that are evaluated over a lake.

    Attributes:
        query_s: How long their queries took, together.
        answers: What was answered last, by query.
    """

    def __init__(
        self,
        project: Project,
        root: Path,
        parts: ExitStack,
        clock: Clock,
        known: Mapping[str, Plain] | None = None,
    ) -> None:
        """Ask a pool of processes, or nobody where the answers are known."""
        self.query_s = 0.0
        self.answers: dict[str, Plain] = {}
        self._known = known
        self._lock = threading.Lock()
        self.store = Store.open(root / "data" / "state.sqlite")
        parts.callback(self.store.close)
        spare = Spare(root / "data" / "lake", Limits())
        parts.callback(spare.close)
        self._pool = QueryPool(spare, RULE_WORKERS)
        parts.callback(self._pool.close)
        self.judging = Judging(
            project,
            store=self.store,
            live_queries=self._pool.run,
            live_rows=self._rows,
            late_queries=self._pool.run,
            oldest_waiting=lambda: None,
            wake=lambda _: None,
            busy=lambda: False,
            clock=clock,
        )
        parts.callback(self.judging.close, 10)

    def _rows(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> Plain:
        if self._known is not None:
            return self._known[sql]
        began_s = time.perf_counter()
        answer = self._pool.rows(sql, parameters, timeout_s)
        with self._lock:
            self.query_s += time.perf_counter() - began_s
            self.answers[sql] = answer
        return answer


@dataclasses.dataclass
class Later:
    """The machine's clock, set on by some minutes."""

    minutes: int = 1

    def now_ns(self) -> int:
        """Nanoseconds since the epoch, and those minutes."""
        return time.time_ns() + self.minutes * 60_000_000_000


def begin(project: Project, root: Path) -> None:
    """Evaluate every rule once, so that there are alerts that fire."""
    with ExitStack() as parts:
        judged = Judged(project, root, parts, SystemClock())
        slot = utc_datetime(time.time_ns()).replace(second=0, microsecond=0) - timedelta(minutes=1)
        judged.store.place({rule.id: RuleState(rule.definition, slot, slot) for rule in project.rules})
    with ExitStack() as parts:
        judged = Judged(project, root, parts, SystemClock())
        judged.judging.prepare()
        judged.judging.start()
        wait_for(lambda: judged.judging.alerting.caught_up, 200)


def restart(project: Project, root: Path, parts: ExitStack) -> Judged:
    """Begin again, a minute later, and tell how long that takes."""
    store = Store.open(root / "data" / "state.sqlite")
    fired = {instance.fingerprint: instance.fired_at for _, instance in store.alerts()}
    store.close()
    into_minute_s = time.time() % 60
    if not FIRST_START_S <= into_minute_s <= LAST_START_S:
        time.sleep((FIRST_START_S - into_minute_s) % 60)
    began_s = time.perf_counter()
    judged = Judged(project, root, parts, Later())
    alerting = judged.judging.alerting
    judged.judging.prepare()
    judged.judging.start()
    wait_for(lambda: sum(alerting.counts().values()) > 0, 30, 0.002)
    first_s = time.perf_counter() - began_s
    wait_for(lambda: alerting.caught_up, 60, 0.002)
    all_s = time.perf_counter() - began_s
    print(f"start           first evaluation after {first_s:.2f} s, all {RULES} after {all_s:.2f} s")
    now = {instance.fingerprint: instance.fired_at for _, instance in judged.store.alerts()}
    kept = sum(now.get(fingerprint) == at for fingerprint, at in fired.items())
    told = sum(each.status is Status.RESOLVED for each in judged.store.history(10_000))
    print(f"                {kept} of {len(fired)} alerts fire as before, {told} resolved", flush=True)
    return judged


def keep_up(judged: Judged) -> None:
    """Evaluate every rule at the next slot, and tell how punctually and at what cost."""
    late: list[float] = []
    after_slot: list[float] = []
    watch(judged, late, after_slot)
    before, query_s = os.times(), judged.query_s
    alerting = judged.judging.alerting
    wanted = sum(alerting.counts().values()) + RULES
    wait_for(lambda: sum(alerting.counts().values()) >= wanted, 120, 1)
    after, query_s = os.times(), judged.query_s - query_s
    print(f"late            {quantiles(late)}")
    print(f"after slot      {quantiles(after_slot)}")
    print(f"query           {query_s / len(late) * 1e3:8.2f} ms on average")
    user, system = ((now - then) / len(late) * 1e3 for now, then in zip(after[:2], before[:2], strict=True))
    print(f"overhead        {user:8.2f} ms of CPU an evaluation, {system:.2f} ms in the kernel", flush=True)


def alone(project: Project, root: Path, answers: Mapping[str, Plain]) -> None:
    """Evaluate every rule some slots more, with answers that are there, and tell what the engine takes."""
    spent = []
    for minutes in range(10, 20):
        with ExitStack() as parts:
            judged = Judged(project, root, parts, Later(minutes), answers)
            alerting = judged.judging.alerting
            judged.judging.prepare()
            before = os.times()
            judged.judging.start()
            wait_for(alerting._caught_up.is_set, 60)  # noqa: SLF001  # when all is done
            evaluated = sum(alerting.counts().values())
            assert evaluated >= RULES
            after = os.times()
            spent.append(
                [(now - then) / evaluated * 1e3 for now, then in zip(after[:2], before[:2], strict=True)]
            )
    user, system = (statistics.median(each) for each in zip(*spent, strict=True))
    print(f"engine          {user:8.2f} ms of CPU an evaluation, {system:.2f} ms in the kernel", flush=True)


def watch(judged: Judged, late: list[float], after_slot: list[float]) -> None:
    """Note how late each evaluation begins."""
    alerting = judged.judging.alerting
    begin = alerting._try_to_evaluate  # noqa: SLF001  # what begins one

    def begun(rule: Any, late_s: float) -> bool:
        state = alerting._states[rule.id]  # noqa: SLF001
        slot = rule.slots.after(state.slot)
        late.append(late_s)
        after_slot.append((utc_datetime(Later().now_ns()) - slot).total_seconds())
        return begin(rule, late_s)

    alerting._try_to_evaluate = begun  # type: ignore[method-assign]  # noqa: SLF001


def commit(root: Path) -> None:
    """Keep what one slot decided of a thousand instances, and of as many alerts that began to fire."""
    store = Store.open(root / "commit.sqlite")
    rule = RuleId("g", "many")
    start = datetime(2026, 1, 1)  # noqa: DTZ001  # naive UTC
    before = None
    for name, firing in (("values", False), ("all fire", True)):
        spent = []
        for number in range(40):
            slot = start + timedelta(minutes=len(spent) + 100 * firing)
            since = slot if firing else start
            instances = {f"{n:032x}": instance(n, since, slot, number) for n in range(INSTANCES)}
            told = [
                Transition(rule, Status.FIRING, "", each, slot, slot, slot) for each in instances.values()
            ]
            state = RuleState("d", slot, slot, instances=instances)
            began_s = time.perf_counter()
            store.commit(rule, state, told if firing else (), (), (), slot, before=before)
            spent.append(time.perf_counter() - began_s)
            before = state
        print(f"commit {name:8} {quantiles(spent)} of {INSTANCES} instances", flush=True)
    store.close()


def instance(number: int, since: datetime, slot: datetime, value: int) -> Instance:
    """An alert instance that fires."""
    labels = {"alertname": "Many", "segment": f"segment {number}", "severity": "page"}
    texts = {"summary": f"segment {number} is at {value}"}
    return Instance(
        f"{number:032x}", labels, texts, AlertState.FIRING, value=value, active_at=since, last_seen_at=slot
    )


def timeouts(root: Path) -> None:
    """Let queries run into their time limit, and tell how much longer they were waited for."""
    spare = Spare(root / "data" / "lake", Limits())
    pool = QueryPool(spare, 1)
    for name, sql in (("runaway", RUNAWAY), ("greedy", GREEDY)):
        over = []
        for _ in range(5):
            pool.run("SELECT 1", {}, 60)  # a process is there
            began_s = time.perf_counter()
            try:
                pool.run(sql, {}, 0.5)
            except QueryError:
                over.append(time.perf_counter() - began_s - 0.5)
        print(f"timeout {name:8}  over by {max(over) * 1e3:.1f} ms at most, of {len(over)}", flush=True)
    pool.close()
    spare.close()


def wait_for(condition: Callable[[], bool], seconds: float, every_s: float = 0.05) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(every_s)


def quantiles(seconds: Sequence[float]) -> str:
    """Median, 99th percentile and the longest, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return (
        f"p50 {cuts[49] * 1e3:8.2f} ms   p99 {cuts[98] * 1e3:8.2f} ms   longest {max(seconds) * 1e3:8.2f} ms"
    )


if __name__ == "__main__":
    main()
