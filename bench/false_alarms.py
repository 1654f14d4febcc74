"""How often the rule for drift in docs/drift.md fires without drift, and how surely with drift.

Weeks of independent rows with 50 features of mixed shapes are drawn, counted by the real profile, compared by
the real SQL and judged by the real alert states. In half of them nothing changes. In the others one number is
moved by half of its standard deviation, and the rule has two windows to notice.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from lapwing_collector.lake.profiles import owned
from lapwing_collector.lake.statements import statement
from lapwing_collector.metrics import ProfileCounter, freeze, reference_rows
from lapwing_collector.model.alerts import RuleState, Status
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.model.profiles import BINNING_ROWS, REFERENCE_BIN_ROWS, REFERENCE_SET_ROWS, Binning
from lapwing_collector.query.library import load, views_behind
from lapwing_collector.query.subjects import make_views
from lapwing_collector.query.views import Subject, views
from lapwing_collector.rules import Rule, evaluate, load_rules, rows_from
from lapwing_collector.rules.query import evaluation_sql

PAGE = Path(__file__).parents[1] / "docs/drift.md"
START = datetime(2026, 1, 1)  # noqa: DTZ001  # naive UTC, a slot of rules with an interval of a week
WEEK = timedelta(days=7)
SHIFT = 0.5
WEEKS = 1000
PLANTED = 500
REFERENCES = 20

Values = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, int], Values]


@dataclass(frozen=True, slots=True)
class Variant:
    """A rule that differs from the page's in some arguments of `drift`, or in how long it waits."""

    name: str
    arguments: str = ""
    waits: bool = True


VARIANTS = (
    Variant("as on the page"),
    Variant("for: 0s", waits=False),
    Variant("for: 0s, adjust := false", ", adjust := false", waits=False),
    Variant("for: 0s, no significance, no effect", ", significance := 1, min_effect := 0", waits=False),
    Variant("for: 0s, all of these", ", adjust := false, significance := 1, min_effect := 0", waits=False),
)


MEANS = {f"n_counts{place}": 0.5 * 6**place for place in range(4)}


def features() -> dict[str, Draw]:
    """50 features by name; those of numbers begin with `n`."""
    found: dict[str, Draw] = {}
    for place in range(14):
        found[f"n_normal{place}"] = lambda draw, n, s=10.0**place: draw.normal(s, s / 3, n)
    for place in range(6):
        found[f"n_lognormal{place}"] = lambda draw, n, s=0.3 + place / 4: draw.lognormal(0, s, n)
    for place in range(4):
        found[f"n_uniform{place}"] = lambda draw, n: draw.random(n)
    for place in range(4):
        found[f"n_missing{place}"] = lambda draw, n, p=0.1 + place / 5: np.where(
            draw.random(n) < p, np.nan, draw.exponential(1, n)
        )
    for name, mean in MEANS.items():
        found[name] = lambda draw, n, mean=mean: draw.poisson(mean, n).astype(float)
    for place in range(4):
        found[f"n_zeros{place}"] = lambda draw, n, p=0.2 + place / 5: np.where(
            draw.random(n) < p, 0.0, draw.gamma(2, 1, n)
        )
    for place in range(10):
        odds = 1 / np.arange(1, 3 + place * 4) ** 1.2
        shares = odds / odds.sum()
        found[f"c_skewed{place}"] = lambda draw, n, shares=shares: draw.choice(len(shares), n, p=shares)
    for place in range(2):
        found[f"c_flag{place}"] = lambda draw, n, p=0.02 + place / 3: (draw.random(n) < p).astype(int)
    for place in range(2):
        found[f"c_missing{place}"] = lambda draw, n, m=4 + place * 8: draw.choice(m + 1, n) - 1
    return found


FEATURES = features()
NUMBERS = [name for name in FEATURES if name.startswith("n_")]


class World:
    """A model whose profile and reference are known, in a database in memory."""

    def __init__(self) -> None:
        """Make its tables and the library of metrics."""
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("ATTACH ':memory:' AS lake")
        self._connection.execute("USE lake")
        self._connection.execute(statement("system_tables"))
        load(self._connection, ["drift("], set())

    def know(self, reference: Mapping[str, pa.Array], weeks: pa.Table) -> None:
        """Keep a reference and the profile of some weeks, in place of those before."""
        for table in ("binnings", "profiles", "reference_sets", "reference_bins"):
            self._connection.execute(f"DELETE FROM {table}")
        binnings = {each.field: each for each in freeze(pa.table(dict(reference)), "churn")}
        self._insert("binnings", _binning_rows(binnings.values()))
        model = Subject("churn", ModelDescription(), {field: pa.float64() for field in binnings})
        make_views(self._connection, views(model, views_behind("drift")))
        whose = {"model": "churn", "table_name": "churn", "reference": "train", "version": 1}
        bins = [whose | row for row in reference_rows(reference, binnings).to_pylist()]
        self._insert("reference_bins", pa.Table.from_pylist(bins, REFERENCE_BIN_ROWS))
        one = whose | {"role": "drift", "source": "drawn", "created_at": START}
        self._insert("reference_sets", pa.Table.from_pylist([one], REFERENCE_SET_ROWS))
        for counted in ProfileCounter(list(binnings.values())).count(weeks):
            self._insert("profiles", owned(counted, "churn", "churn"))

    def results(self, rule: Rule, arguments: str, weeks: int) -> Iterator[Any]:
        """What the rule's SQL gives of every week: the same call, for all windows at once."""
        sql = evaluation_sql(rule).replace("SELECT field", "SELECT window_start, field")
        sql = sql.replace(
            "fields := 'inputs.*'", f"fields := 'inputs.*', every := INTERVAL 7 DAYS{arguments}"
        )
        assert sql.count("window_start") > 1
        assert "every" in sql
        found = self._connection.execute(
            sql, {"window_start": START, "window_end": START + weeks * WEEK}
        ).to_arrow_table()
        starts = np.array(found.column("window_start").to_pylist())
        rest = found.drop_columns(["window_start"])
        columns = [(each.name, str(each.type)) for each in rest.schema]
        for week in range(weeks):
            rows = rest.filter(pa.array(starts == START + week * WEEK))
            yield rows_from(columns, [tuple(row.values()) for row in rows.to_pylist()])

    def _insert(self, table: str, rows: pa.Table) -> None:
        self._connection.register("added", rows)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM added")


def main() -> None:
    """Print both shares by the size of a week and of the reference, then what each default is for."""
    print(f"{WEEKS} weeks without drift; {PLANTED} pairs of weeks in which one number moves")
    for reference in (500, 5000):
        for size in (100, 300, 1000, 3000):
            (found,) = simulate(size, reference, VARIANTS[:1])
            print(f"{reference:5} rows of reference, {size:5} a week: {found}", flush=True)
    for reference in (500, 5000):
        print(f"{reference} rows of reference, 1000 a week, and the rule")
        for variant, found in zip(VARIANTS, simulate(1000, reference, VARIANTS), strict=True):
            print(f"  {variant.name:36} {found}", flush=True)


@dataclass
class Found:
    """What came of a simulation.

    Attributes:
        weeks: Without drift.
        false: Those of them in which the rule fired.
        pairs: Of weeks with drift in one number.
        noticed: Those of them in which the rule fired for it.
    """

    weeks: int = 0
    false: int = 0
    pairs: int = 0
    noticed: int = 0

    def __str__(self) -> str:
        """Both shares."""
        return (
            f"fires in {100 * self.false / self.weeks:5.2f} % of weeks without drift, "
            f"notices {100 * self.noticed / self.pairs:6.2f} % of shifts within two windows"
        )


def simulate(
    size: int,
    reference: int,
    variants: tuple[Variant, ...],
    *,
    weeks: int = WEEKS,
    planted: int = PLANTED,
    references: int = REFERENCES,
    seed: int = 1,
) -> list[Found]:
    """Judge weeks of `size` rows by rules that differ, against references of `reference` rows each."""
    draw = np.random.default_rng(seed)
    rules = [page_rule(waits=variant.waits) for variant in variants]
    found = [Found() for _ in variants]
    world = World()
    quiet, pairs = weeks // references, planted // references
    for _ in range(references):
        seen = {name: make(draw, reference) for name, make in FEATURES.items()}
        moved = [NUMBERS[draw.integers(len(NUMBERS))] for _ in range(pairs)]
        world.know(_columns(seen), _weeks(draw, size, quiet, moved))
        for rule, variant, count in zip(rules, variants, found, strict=True):
            results = list(world.results(rule, variant.arguments, quiet + 2 * pairs))
            count.weeks += quiet
            count.false += sum(bool(fired) for fired in _fired(rule, results[:quiet]))
            count.pairs += pairs
            for pair, name in enumerate(moved):
                first = quiet + 2 * pair
                count.noticed += any(
                    f"inputs.{name}" in each for each in _fired(rule, results[first : first + 2])
                )
    return found


def page_rule(*, waits: bool = True) -> Rule:
    """The rule on the page; without its `for` unless it waits."""
    (text,) = re.findall(r"```yaml\n(groups:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (rule,) = load_rules(text if waits else re.sub(r"for: \w+", "for: 0s", text), "docs/drift.md")
    return rule


def _fired(rule: Rule, results: list[Any]) -> Iterator[set[str]]:
    """The fields for which the rule begins to fire, week by week."""
    state = RuleState(rule.definition)
    for week, rows in enumerate(results):
        evaluation = evaluate(rule, rows, state, START + (week + 1) * WEEK)
        state = evaluation.state
        firing = [each for each in evaluation.transitions if each.status is Status.FIRING]
        yield {each.instance.labels["field"] for each in firing}


def _weeks(draw: np.random.Generator, size: int, quiet: int, moved: list[str]) -> pa.Table:
    """Rows of weeks without drift, then of two weeks for each of the numbers that move."""
    weeks = quiet + 2 * len(moved)
    values = {name: make(draw, size * weeks) for name, make in FEATURES.items()}
    for pair, name in enumerate(moved):
        first = size * (quiet + 2 * pair)
        values[name][first : first + 2 * size] = _moved(name, draw, 2 * size)
    inputs = _columns(values)
    times = np.repeat(np.datetime64(START, "us") + np.arange(weeks) * np.timedelta64(7, "D"), size)
    names = [name.removeprefix("inputs.") for name in inputs]
    return pa.table(
        {
            "time": pa.array(times, pa.timestamp("us")),
            "version": pa.repeat(pa.scalar("1"), len(times)),
            "stage": pa.repeat(pa.scalar("production"), len(times)),
            "inputs": pa.StructArray.from_arrays(list(inputs.values()), names),
        }
    )


def _moved(name: str, draw: np.random.Generator, n: int) -> Values:
    """Values of a number whose mean moved; counts stay counts."""
    if name in MEANS:
        return draw.poisson(MEANS[name] + SHIFT * MEANS[name] ** 0.5, n).astype(float)
    deviation = np.nanstd(FEATURES[name](np.random.default_rng(0), 100_000))
    return FEATURES[name](draw, n) + SHIFT * deviation


def _columns(values: Mapping[str, Values]) -> dict[str, pa.Array]:
    """Columns by field: NaN is null among numbers, -1 among categories."""
    return {
        f"inputs.{name}": pa.array(each, from_pandas=True)
        if name in NUMBERS
        else pa.array(np.array([*map(str, range(64)), None], object)[each], pa.string())
        for name, each in values.items()
    }


def _binning_rows(binnings: Any) -> pa.Table:
    rows = [
        {
            "binning_id": each.binning_id,
            "model": "churn",
            "table_name": "churn",
            "field": each.field,
            "kind": each.kind,
            "edges": each.edges,
            "categories": each.categories,
            "created_at": START,
        }
        for each in binnings
        if isinstance(each, Binning)
    ]
    return pa.Table.from_pylist(rows, BINNING_ROWS)


if __name__ == "__main__":
    main()
