"""Rules without a lake, over a real state database and a clock that tests set: what is evaluated when."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from lapwing_collector.app.judging.alerting import Alerting
from lapwing_collector.app.judging.briefing import Brief
from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.app.judging.dispatching import Dispatcher
from lapwing_collector.clock import SteppingClock, epoch_ns, utc_datetime
from lapwing_collector.metrics import WALL_CLOCK
from lapwing_collector.notify import NOBODY, Policy
from lapwing_collector.rules import Rule, load_rules
from lapwing_collector.state import Store

RULES = "groups:\n  - name: g\n"
EVERY_MINUTE = """
      - alert: {name}
        query_offset: 1m                       # the watermark of the clock is a minute behind
        expr: SELECT '{name}' AS rule, {value} AS value, $slot AS at
        condition: value > 0
"""


def group(*rules: str, keys: str = "") -> str:
    """A file of one group."""
    return RULES + keys + "    rules:\n" + "".join(rules)


def alert(name: str, value: str = "1", keys: str = "") -> str:
    """A rule that is evaluated every minute, exactly when its slot has come, and fires for `value` > 0."""
    return EVERY_MINUTE.format(name=name, value=value) + keys


class RuleBench:
    """What evaluates rules, driven by hand, or running.

    Attributes:
        clock: The wall clock.
        evaluated: Slots that rules were evaluated at, in order.
        before_query: Called with a rule's name before its SQL is answered.
        away: Raised by every query, while there is one.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        start: datetime,
        *,
        spacing_s: float,
        policy: Policy,
        brief: Brief | None,
    ) -> None:
        """Begin, or go on, at `start`."""
        self.clock = SteppingClock(epoch_ns(start))
        self.evaluated: list[tuple[str, datetime]] = []
        self.before_query: Callable[[str], None] = lambda _: None
        self.away: Exception | None = None
        self.store = Store.open(folder / "state.sqlite")
        self._passed_s = 0.0
        self._duckdb = duckdb.connect(":memory:")
        self._asking = threading.Lock()
        rules = load_rules(text, "rules.yaml")
        self.completeness = Completeness(
            store=self.store, policy=WALL_CLOCK, clock=self.clock, oldest_waiting=lambda: None
        )
        self.dispatcher = Dispatcher(
            policy=policy,
            store=self.store,
            wake=lambda _: None,
            now=lambda: self.now,
            caught_up=lambda: self.alerting.caught_up,
        )
        self.alerting = Alerting(
            rules=rules,
            tables=_no_tables(rules),
            store=self.store,
            completeness=self.completeness,
            run_query=self._run,
            dispatcher=self.dispatcher,
            clock=self.clock,
            workers=2,
            brief=brief,
            spacing_s=spacing_s,
            monotonic_s=lambda: self._passed_s,
        )
        self.completeness.load()
        self.alerting.load()

    @property
    def now(self) -> datetime:
        """The wall clock's time."""
        return utc_datetime(self.clock.now_ns())

    def slots_of(self, name: str) -> list[datetime]:
        """The slots at which a rule was evaluated."""
        return [slot for rule, slot in self.evaluated if rule == name]

    def let_pass(self, seconds: float) -> None:
        """Let time go by."""
        self.clock.step(seconds)
        self._passed_s += seconds

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock forward, or back; no time passes."""
        self.clock.step(seconds)

    def use(self, text: str) -> None:
        """Go on with another file."""
        rules = load_rules(text, "rules.yaml")
        self.alerting.use(rules, _no_tables(rules))

    def told(self) -> list[tuple[str, str, str]]:
        """Rule, status and reason of what people were told, in order."""
        return [(each.rule.name, str(each.status), each.reason) for each in reversed(self.store.history())]

    def close(self) -> None:
        """Let go of everything."""
        assert self.alerting.close(30)
        self.store.close()
        self._duckdb.close()

    def _run(self, sql: str, parameters: Mapping[str, Any], _timeout_s: float) -> pa.Table:
        if self.away is not None:
            raise self.away
        with self._asking:
            answer = self._duckdb.execute(sql, dict(parameters)).to_arrow_table()
        if "lapwing_active" in sql:
            name = answer.column("rule")[0].as_py()
            self.before_query(name)
            self.evaluated.append((name, parameters["slot"]))
        return answer


def _no_tables(rules: tuple[Rule, ...]) -> dict[Any, frozenset[str]]:
    return {rule.id: frozenset() for rule in rules}


@contextmanager
def rule_bench(
    folder: Path,
    text: str,
    start: datetime,
    *,
    spacing_s: float = 0,
    policy: Policy = NOBODY,
    brief: Brief | None = None,
) -> Iterator[RuleBench]:
    """A bench in `folder`; opened again, it goes on where it was. New rules begin with the present."""
    bench = RuleBench(folder, text, start, spacing_s=spacing_s, policy=policy, brief=brief)
    try:
        bench.alerting.prepare()
        yield bench
    finally:
        bench.close()
