"""`lapwing rules backtest`: what rules would have told, by the real engine over the lake's history.

Every process reads the same snapshot, so that what comes in meanwhile changes nothing. Queries of one rule
run ahead of the engine, on all cores, a bounded number of slots at a time; the engine takes rows in order.
A rule that reads what was counted of rows, and not the rows, is asked for many slots in one query: it is the
planning that takes the time, and all of it is in memory. Rows are read window by window: only so are files
left out that have none.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lapwing_collector import engine
from lapwing_collector.app.answers.asking import query_limits
from lapwing_collector.app.answers.models import models_in
from lapwing_collector.app.judging.evaluating import RunQuery
from lapwing_collector.app.judging.walking import DiffersError, Look, look, look_at_once, walk
from lapwing_collector.app.places.lake_place import expect_lake
from lapwing_collector.app.places.owner_socket import Tell
from lapwing_collector.app.places.project import Project, load_project, with_models
from lapwing_collector.app.rule_tools.spans import Span, chosen, moment, not_seen, slots_of
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import parse_duration
from lapwing_collector.errors import ConfigError, DataDirectoryError, NotSeenYetError
from lapwing_collector.lake import CatalogKeeper
from lapwing_collector.query import QueryPool, Spare, check_select, oldest_times, reads_rows
from lapwing_collector.rules import Course, Following, Gathering, Rule, Summary, condition_sql, tried_with

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 16
"""Slots that a thread evaluates before it hands them over."""
_IN_ONE_QUERY: Final = 96
"""Slots of a rule over counts that are asked for at once."""
_AHEAD: Final = 4
"""Such pieces of work for each core that may wait for the engine."""
_LOOK_UP_S: Final = 60.0
MOST_SLOTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one rule.

    Attributes:
        rule: Its name, as `group/rule`.
        condition: Its condition.
        for_s: Seconds of its `for`.
        first: The first slot; None if there is none.
        last: The last one.
        slots: How many.
        failed: How many of them failed.
        error: Why one of those did.
        not_seen: What of the model or field that it names has not come yet; None if all has.
        summary: What it would have done.
        course: What it was slot by slot; None unless that was asked for.
    """

    rule: str
    condition: str | None
    for_s: float
    first: datetime | None
    last: datetime | None
    slots: int
    failed: int
    error: str | None
    not_seen: str | None
    summary: Summary
    course: Course | None = None


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What is to be another than the files say.

    Attributes:
        condition: The condition.
        threshold: The number in it.
        for_: The `for`, as rule files have it.
        slots: Tell of every slot, too.
        most_slots: How many slots a rule may have.
    """

    condition: str | None = None
    threshold: float | None = None
    for_: str | None = None
    slots: bool = False
    most_slots: int = MOST_SLOTS

    def rule(self, rule: Rule) -> Rule:
        """The rule as it is to be tried.

        Raises:
            LapwingError: It cannot be so.
        """
        try:
            for_ = None if self.for_ is None else parse_duration(self.for_)
        except ValueError as error:
            raise ConfigError(f"--for: expected {error}") from error
        if self.condition is not None:
            with engine.parser() as parser:
                check_select(parser, condition_sql(self.condition))
        try:
            return tried_with(rule, condition=self.condition, threshold=self.threshold, for_=for_)
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Backtest:
    """What became of rules.

    Attributes:
        snapshot: The one of the lake that all of it is about.
        rules: What became of each.
    """

    snapshot: int
    rules: Sequence[Tried]


def backtest(  # noqa: PLR0917  # each is an option of the command
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    names: Sequence[str],
    since: str,
    until: str | None,
    cores: int | None = None,
    otherwise: Otherwise | None = None,
) -> Backtest:
    """Walk alerts through the past from nothing, with what is known of it now; nothing is kept or told.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        names: Rules, as `group/rule`; all alerts that are enabled if there is none.
        since: ISO time, UTC unless it says otherwise, or how long before the end.
        until: ISO time; now if None.
        cores: Query processes; one for each core if None.
        otherwise: What is to be another than the files say.

    Raises:
        LapwingError: It cannot be done.
    """
    project = load_project(file, flags)
    span = _span(since, until)
    place = expect_lake(project.settings)
    cores = cores or os.cpu_count() or 1
    with ExitStack() as parts:
        keeper = CatalogKeeper.start(place)
        parts.callback(keeper.close)
        if keeper.snapshot is None:
            raise DataDirectoryError(f"{place}: the lake is empty")
        spare = Spare(place, query_limits(project.settings, threads=1), keeper.snapshot)
        parts.callback(spare.close)
        pool = QueryPool(spare, cores)
        parts.callback(pool.close)
        threads = parts.enter_context(ThreadPoolExecutor(cores, thread_name_prefix="lapwing-backtest"))
        ahead = cores * _AHEAD
        if project.model_groups:
            project = with_models(project, models_in(pool.run))
        otherwise = otherwise or Otherwise()
        rules = [otherwise.rule(rule) for rule in chosen(project, names) if rule.kind == "alert"]
        tried = []
        for rule in rules:
            slots = _slots(project, rule, span, pool.run, otherwise.most_slots)
            looks = partial(_looks, slots=slots, threads=threads, ahead=ahead)
            unknown = not_seen(pool.run, rule, span)
            tried.append(_try_fast(rule, slots, pool.run, looks, unknown, tell, follow=otherwise.slots))
        return Backtest(keeper.snapshot, tried)


def _span(since: str, until: str | None) -> Span:
    end = utc_datetime(SystemClock().now_ns()) if until is None else moment("--to", until)
    try:
        begin = end - parse_duration(since)
    except ValueError:
        begin = moment("--from", since)
    if begin >= end:
        raise ConfigError(f"--from {begin:%Y-%m-%d %H:%M} is not before --to {end:%Y-%m-%d %H:%M}")
    return begin, end


def _slots(project: Project, rule: Rule, span: Span, run_query: RunQuery, most_slots: int) -> list[datetime]:
    """The slots whose windows end in the span, from the oldest row of the rule's models on."""
    oldest = []
    for table, schemas in project.sources[rule.id].items():
        for sql in oldest_times(schemas, table):
            try:
                oldest.append(run_query(sql, {}, _LOOK_UP_S).column(0)[0].as_py())
            except NotSeenYetError:
                continue
    begin = max(span[0], min((time for time in oldest if time is not None), default=span[0]))
    slots = list(islice(rule.slots.between(*slots_of(rule, (begin, span[1]))), most_slots + 1))
    if len(slots) > most_slots:
        raise ConfigError(f"{rule.id} has more than {most_slots:,} slots in that time, too many for one time")
    return slots


def _looks(
    work: Callable[[Sequence[datetime]], list[Look]],
    at_once: int,
    *,
    slots: Sequence[datetime],
    threads: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[Look]:
    """What is seen at slots, in order; asked for in pieces, of which at most `ahead` run or wait."""
    pieces = iter([slots[at : at + at_once] for at in range(0, len(slots), at_once)])
    waiting: deque[Future[list[Look]]] = deque(threads.submit(work, piece) for piece in islice(pieces, ahead))
    try:
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(threads.submit(work, piece) for piece in islice(pieces, 1))
            yield from done
    finally:
        for each in waiting:
            each.cancel()


def _try_fast(  # noqa: PLR0917  # what a rule is tried with
    rule: Rule,
    slots: Sequence[datetime],
    run_query: RunQuery,
    looks: Callable[[Callable[[Sequence[datetime]], list[Look]], int], Iterator[Look]],
    unknown: str | None,
    tell: Tell,
    *,
    follow: bool,
) -> Tried:
    """Try a rule by queries for many slots if it reads counts alone, else by one for each slot."""
    if _reads_counts(rule):
        with suppress(DiffersError):
            seen = looks(partial(look_at_once, run_query, rule), _IN_ONE_QUERY)
            return _try(rule, slots, seen, unknown, tell, follow=follow)
        logger.info("%s is asked slot by slot: all at once gives other numbers", rule.id)

    def one_by_one(piece: Sequence[datetime]) -> list[Look]:
        return [look(run_query, rule, slot) for slot in piece]

    return _try(rule, slots, looks(one_by_one, _AT_ONCE), unknown, tell, follow=follow)


def _reads_counts(rule: Rule) -> bool:
    with engine.parser() as parser:
        return rule.wait_for is None and not reads_rows(parser, rule.expr)


def _try(  # what a rule is tried with
    rule: Rule,
    slots: Sequence[datetime],
    looks: Iterator[Look],
    unknown: str | None,
    tell: Tell,
    *,
    follow: bool,
) -> Tried:
    gathering, following = Gathering(rule), Following()
    failed, error = 0, None
    for number, (seen, evaluation) in enumerate(walk(rule, looks), start=1):
        gathering.take(seen.slot, seen.outcome, evaluation, incomplete=seen.incomplete)
        if follow:
            following.take(seen.slot, evaluation)
        if evaluation.state.error is not None:
            failed, error = failed + 1, evaluation.state.error
        tell(str(rule.id), number, len(slots))
    return Tried(
        rule=str(rule.id),
        condition=rule.condition,
        for_s=rule.for_.total_seconds(),
        first=slots[0] if slots else None,
        last=slots[-1] if slots else None,
        slots=len(slots),
        failed=failed,
        error=error,
        not_seen=unknown,
        summary=gathering.summary(),
        course=following.course() if follow else None,
    )
