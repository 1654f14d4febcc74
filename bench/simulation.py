"""What Lapwing would need for more than one machine can be asked for: a simulation with measured costs.

    python -m bench simulation

Collectors flush as `app.ingest.writing` has them: rows gather for an interval, or until they are as much as
is written at once; a file is written for each model that has any; files are sent; then the collector waits
for its turn at the catalog, of which there is one for all. What a turn, a table, a row and a value cost was
measured on one machine, by `bench/scaling.py` and what else `Costs` names; what was not is in `Assumed`.
Nothing is left to chance but when each collector begins, which is drawn from a seed.

A `Setup` grows until it bears a `Load`, and what gives way is named at each step.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lapwing_collector.lake.merging import TIERS_BYTES


@dataclass(frozen=True)
class Costs:
    """Seconds of one core of the machine that `bench/RESULTS.md` names, unless said.

    Attributes:
        receive_row_s: To receive a row: HTTP, decoding, numbers, log.
        receive_value_s: The same for each of its features.
        flush_s: A flush without rows.
        table_s: A table in a flush: its file, its counts.
        column_s: A feature of a table in a flush: its part of the file.
        write_row_s: A row in a flush.
        write_value_s: A feature of a row in a flush.
        profile_value_s: Counting a value in its bins; `bench/drift.py`.
        turn_s: How long a commit has the catalog for itself.
        turn_table_s: How much longer for each table in it.
        postgres_s: CPU of PostgreSQL for a commit.
        merge_file_s: Merging a file with others.
        merge_row_s: Merging a row with others, once.
        query_s: A page or a rule over profiles; `bench/rules.py`, `bench/drift.py`.
        row_bytes: A row in memory, until it is in the lake.
        value_bytes: A feature of it.
        stored_value_bytes: A feature of a row in the lake, random numbers; `bench/lake_queries.py`.
    """

    receive_row_s: float = 25e-6
    receive_value_s: float = 123e-9
    flush_s: float = 0.012
    table_s: float = 0.005
    column_s: float = 99e-6
    write_row_s: float = 0.52e-6
    write_value_s: float = 22e-9
    profile_value_s: float = 12.7e-9
    turn_s: float = 0.013
    turn_table_s: float = 0.49e-3
    postgres_s: float = 0.022
    merge_file_s: float = 0.009
    merge_row_s: float = 1.16e-6
    query_s: float = 0.018
    row_bytes: float = 157.0
    value_bytes: float = 9.0
    stored_value_bytes: float = 7.0


@dataclass(frozen=True)
class Assumed:
    """What was not measured.

    Attributes:
        put_s: From the first byte of a file to the store's word that it is there.
        puts_at_once: `lake.writer` sends so many.
        puts_per_s: What a store takes; AWS names 3 500 a second for each prefix, and a table is one.
        flush_bytes: `app.ingest.writing` writes no more at once.
        flush_cores: Of a collector, that a flush can use beside receiving.
        spare: Share of anything that is to be left over.
        longest_flush_s: Rows should be seen within a minute.
    """

    put_s: float = 0.03
    puts_at_once: int = 4
    puts_per_s: float = 3_500.0
    flush_bytes: float = 32 * 2**20
    flush_cores: float = 1.0
    spare: float = 0.3
    longest_flush_s: float = 60.0


@dataclass(frozen=True)
class Load:
    """What comes.

    Attributes:
        rate: Predictions a second.
        models: Evenly as many of each.
        features: Of each model.
        queries: Of people and rules, a second.
    """

    rate: float
    models: int
    features: int
    queries: float = 1.0


@dataclass(frozen=True)
class Setup:
    """What there is for it.

    Attributes:
        collectors: How many.
        cores: Of each.
        flush_interval_s: `write.flush_interval`.
        routed: Whether a balancer sends all rows of a model to one collector.
        merging_share: `maintenance.share`, of the one process that merges.
        query_cores: Of `lapwing serve`, on all machines.
        lakes: Projects among which models are divided, each with a catalog, collectors and merging of its
            own; a query or a rule sees one of them.
    """

    collectors: int = 1
    cores: int = 2
    flush_interval_s: float = 1.0
    routed: bool = False
    merging_share: float = 0.25
    query_cores: int = 1
    lakes: int = 1


class Limit(StrEnum):
    """What may give way."""

    ROWS_CPU = "CPU of collectors, for rows"
    FILES_CPU = "CPU of collectors, for files of models"
    TURNS = "turns at the catalog"
    PUTS = "requests of the object store"
    MERGING = "merging, of which one process takes care"
    QUERIES = "CPU of query processes"


@dataclass(frozen=True)
class Outcome:
    """How it went.

    Attributes:
        used: Share of each resource that is in use; above 1, it gives way.
        freshness_s: From acknowledged to queryable, 95th percentile of the rows.
        files_a_day: Written by flushes.
        bytes_a_day: In the lake.
        pending_bytes: The most that waits in a collector.
        postgres_cores: CPU seconds a second.
        gathers_s: How long rows gather: the interval, or until there is as much as is written at once.
    """

    used: dict[Limit, float]
    freshness_s: float
    files_a_day: float
    bytes_a_day: float
    pending_bytes: float
    postgres_cores: float
    gathers_s: float

    @property
    def bottleneck(self) -> Limit:
        """What is used most."""
        return max(self.used, key=lambda name: self.used[name])


_LEAST_CORES = 0.25
"""Of a collector that receives more than it can: the system gives its flushes some, too."""


@dataclass
class _Collector:
    """When its next flush begins, since when rows gather for it, and rows of those before with their ages."""

    begins_s: float
    gathered_from_s: float = 0.0
    ages: list[tuple[float, float]] = field(default_factory=list)


def simulate(
    load: Load, setup: Setup, costs: Costs = Costs(), assumed: Assumed = Assumed(), flushes: int = 40
) -> Outcome:
    """Let every collector flush so many times.

    Raises:
        ValueError: There is nothing to simulate.
    """
    if min(load.rate, load.models, setup.collectors, flushes) <= 0:
        raise ValueError("expected some rows, models, collectors and flushes")
    dice = random.Random(5)
    lakes, count = setup.lakes, math.ceil(setup.collectors / setup.lakes)
    of_each = replace(load, rate=load.rate / lakes, models=math.ceil(load.models / lakes))
    rate = of_each.rate / count
    models = of_each.models / count if setup.routed else float(of_each.models)
    receive_s = costs.receive_row_s + load.features * costs.receive_value_s
    row_bytes = costs.row_bytes + load.features * costs.value_bytes
    interval_s = min(setup.flush_interval_s, assumed.flush_bytes / row_bytes / rate)
    flush_cores = max(min(setup.cores - rate * receive_s, assumed.flush_cores), _LEAST_CORES)
    collectors = [_Collector(dice.uniform(0, interval_s)) for _ in range(count)]
    rows_s = files_s = turns_s = puts = written = 0.0
    free_s = 0.0
    pending = 0.0
    # The next to begin is the one that began longest ago, or was held up least.
    for _ in range(flushes * count):
        each = min(collectors, key=lambda one: one.begins_s)
        rows = min(rate * (each.begins_s - each.gathered_from_s), assumed.flush_bytes / row_bytes)
        tables = models * -math.expm1(-rows / models)  # some rows in each, which fall where they may
        of_files_s = costs.flush_s + tables * (costs.table_s + load.features * costs.column_s)
        of_rows_s = rows * (costs.write_row_s + load.features * (costs.write_value_s + costs.profile_value_s))
        sent_s = math.ceil(tables / assumed.puts_at_once) * assumed.put_s
        written_s = each.begins_s + max((of_files_s + of_rows_s) / flush_cores, sent_s)
        turn_s = costs.turn_s + tables * costs.turn_table_s
        free_s = max(free_s, written_s) + turn_s
        each.ages.append((rows, free_s - each.gathered_from_s))
        pending = max(pending, rate * (free_s - each.gathered_from_s) * row_bytes)
        rows_s += of_rows_s
        files_s += of_files_s
        turns_s += turn_s
        puts += tables + 1
        written += rows
        each.gathered_from_s = each.begins_s
        each.begins_s = max(each.begins_s + interval_s, free_s)
    lasted_s = max(one.begins_s for one in collectors)
    cores = setup.cores * count
    in_a_file = written / (puts - flushes * count) * load.features * costs.stored_value_bytes
    arrived = of_each.rate * lasted_s
    # Files of the next tier, a few for a hundred, are left out.
    merging_s = puts / lasted_s * costs.merge_file_s + of_each.rate * merges(in_a_file) * costs.merge_row_s
    used = {
        # Where rows come faster than they are written, what is left behind is to be written, too.
        Limit.ROWS_CPU: (of_each.rate * receive_s + arrived / written * rows_s / lasted_s) / cores,
        Limit.FILES_CPU: arrived / written * files_s / lasted_s / (flush_cores * count),
        Limit.TURNS: arrived / written * turns_s / lasted_s,
        Limit.PUTS: puts / lasted_s / assumed.puts_per_s / of_each.models,
        Limit.MERGING: merging_s / setup.merging_share,
        Limit.QUERIES: load.queries * costs.query_s / setup.query_cores,
    }
    return Outcome(
        used=used,
        freshness_s=_percentile([age for one in collectors for age in one.ages[flushes // 4 :]], 0.95),
        files_a_day=lakes * puts / lasted_s * 86_400,
        bytes_a_day=load.rate * 86_400 * load.features * costs.stored_value_bytes,
        pending_bytes=pending,
        postgres_cores=lakes * count * flushes * costs.postgres_s / lasted_s,
        gathers_s=interval_s,
    )


def merges(file_bytes: float) -> int:
    """How often a row of a file of this size is merged until its file is as large as they become."""
    return sum(file_bytes < tier for tier in TIERS_BYTES)


def grow(
    load: Load, setup: Setup, costs: Costs = Costs(), assumed: Assumed = Assumed()
) -> Iterator[tuple[Setup, Outcome, Limit | None]]:
    """Each set-up until one bears a load, how it goes, and what gave way: nothing, in the last."""
    while True:
        outcome = simulate(load, setup, costs, assumed)
        limit = outcome.bottleneck
        if outcome.used[limit] <= 1 - assumed.spare:
            yield setup, outcome, None
            return
        yield setup, outcome, limit
        setup = helped(setup, outcome, assumed)


def helped(setup: Setup, outcome: Outcome, assumed: Assumed) -> Setup:
    """What is done about that which is used most: what costs nothing first."""
    limit = outcome.bottleneck
    enough = outcome.used[limit] / (1 - assumed.spare)
    waits = setup.flush_interval_s < assumed.longest_flush_s and outcome.gathers_s == setup.flush_interval_s
    longer = replace(setup, flush_interval_s=min(2 * setup.flush_interval_s, assumed.longest_flush_s))
    lakes = replace(setup, lakes=2 * setup.lakes, collectors=max(setup.collectors, 2 * setup.lakes))
    routed = replace(setup, routed=True)
    can_route = not setup.routed and setup.collectors > 1
    match limit:
        case Limit.ROWS_CPU:
            return replace(setup, collectors=math.ceil(setup.collectors * enough))
        case Limit.QUERIES:
            return replace(setup, query_cores=math.ceil(setup.query_cores * enough))
        case Limit.MERGING:
            more = replace(setup, merging_share=min(2 * setup.merging_share, 1.0))
            return more if setup.merging_share < 1 else longer if waits else lakes
        case Limit.FILES_CPU:
            return (
                routed if can_route else longer if waits else replace(setup, collectors=2 * setup.collectors)
            )
        case _:
            return routed if can_route else longer if waits else lakes


STEPS = (
    Load(1_000, 10, 20),
    Load(10_000, 50, 20, 5),
    Load(50_000, 100, 50, 10),
    Load(200_000, 1_000, 50, 20),
    Load(1_000_000, 10_000, 50, 100),
)
"""What is asked of one set-up after the other."""

SIZES = (
    Load(100, 5, 20),
    Load(1_000, 20, 50),
    Load(1_000, 500, 50, 5),
    Load(10_000, 20, 20, 5),
    Load(10_000, 200, 50, 5),
    Load(20_000, 50, 200, 10),
    Load(50_000, 100, 50, 10),
)
"""What people ask for by themselves."""

PROCESS_BYTES = 420e6
"""A collector under load, with what waits while the store is slow; `bench/ingest.py`."""


_LOAD = "predictions/s · models · features · queries/s"


def main() -> None:
    """Print the tables of docs/scaling.md, and every share of the last set-up of each step."""
    print("\n".join(steps_table()))
    print()
    print("\n".join(sizes_table()))
    setup = Setup()
    for load in STEPS:
        *_, (setup, outcome, _) = grow(load, setup)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in outcome.used.items())
        print(f"\n{load.rate:,.0f}/s, {load.models:,} models: {shares}")


def steps_table() -> list[str]:
    """What gives way at each step, in this order, and what bears it in the end."""
    lines = [
        f"| {_LOAD} | gives way, in this order | what bears it | queryable within |",
        "|---|---|---|---:|",
    ]
    setup = Setup()
    for load in STEPS:
        steps = list(grow(load, setup))
        met: dict[Limit, float] = {}
        for _, outcome, limit in steps:
            if limit is not None:
                met.setdefault(limit, outcome.used[limit])
        named = [f"{limit} ({used:.0%})" for limit, used in met.items()]
        setup, outcome, _ = steps[-1]
        lines.append(
            f"| {_told(load)} | {'; '.join(named) or 'nothing'} | {_described(setup)} | "
            f"{outcome.freshness_s:.1f} s |"
        )
    return lines


def sizes_table() -> list[str]:
    """What each load needs by itself."""
    lines = [
        f"| {_LOAD} | what bears it | MB each | GB a day | files a day | PostgreSQL | queryable within |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for load in SIZES:
        *_, (setup, outcome, _) = grow(load, Setup())
        lines.append(
            f"| {_told(load)} | {_described(setup)} | {(PROCESS_BYTES + outcome.pending_bytes) / 1e6:.0f} | "
            f"{outcome.bytes_a_day / 1e9:,.1f} | {outcome.files_a_day:,.0f} | "
            f"{outcome.postgres_cores:.2f} cores | {outcome.freshness_s:.1f} s |"
        )
    return lines


def _told(load: Load) -> str:
    return f"{load.rate:,.0f} · {load.models:,} · {load.features} · {load.queries:g}"


def _described(setup: Setup) -> str:
    """A set-up in words."""
    parts = [
        f"{setup.lakes} lakes" if setup.lakes > 1 else "",
        f"{setup.collectors} of {setup.cores} cores" + (", a model at one collector" if setup.routed else ""),
        f"flush every {setup.flush_interval_s:g} s" if setup.flush_interval_s != 1 else "",
        f"`maintenance.share` {setup.merging_share:g}" if setup.merging_share != Setup.merging_share else "",
        f"{setup.query_cores} cores for queries" if setup.query_cores > 1 else "",
    ]
    return "; ".join(filter(None, parts))


def _percentile(ages: list[tuple[float, float]], share: float) -> float:
    """The age that so many of the rows are not older than."""
    left = share * sum(rows for rows, _ in ages)
    for rows, age in sorted(ages, key=lambda each: each[1]):
        left -= rows
        if left <= 0:
            return age
    return max((age for _, age in ages), default=0.0)


if __name__ == "__main__":
    main()
