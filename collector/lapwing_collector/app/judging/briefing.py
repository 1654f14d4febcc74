"""What people are told beside an alert: how its value came about, which rows are to blame, where to see them.

It is looked up once, as an alert begins to fire or resolves: after that is committed, before it is told. It
may take a share of the time and no more, and what cannot be found out is left out. Nothing of it decides
anything, and a process that dies over it has lost nothing else.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from lapwing_collector import engine
from lapwing_collector.app.judging.evaluating import RunQuery, outcome_of
from lapwing_collector.errors import QueryError
from lapwing_collector.model.alerts import Context, SegmentValue, Status, Transition
from lapwing_collector.model.description import ModelDescription, parts
from lapwing_collector.query import SEGMENT, counts_failures, example_ids, segment_values, within_segment
from lapwing_collector.rules import (
    Outcome,
    Row,
    Rule,
    evaluation_query,
    readings,
    rows_from,
    sample_rows,
    wanted_samples,
    window_of,
    with_samples,
)

logger = logging.getLogger(__name__)

Brief = Callable[[Rule, Collection[str], Sequence[Transition], Outcome, datetime], Sequence[Transition]]
"""Gives transitions that are committed what was looked up beside them: `Briefing.brief`."""

RECENT: Final = 12
"""Windows of a trend, the alert's own among them."""
_SHOWN: Final = 100
"""Alerts of one evaluation that get a context: no message shows more."""
_BRIEFED: Final = 3
"""Alerts of one evaluation whose segments are looked at: in a storm, the first ones stand for all."""
_FIELDS: Final = 3
_VALUES: Final = 8
_TOLD: Final = 3
_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 1.0
"""How long is looked at most beside one evaluation, but for its samples: people wait for it."""
_SHARE: Final = 0.1
_MOST_S: Final = 2.0
_PLAIN: Final = frozenset({"version", "environment", "service", "variant", "stage"})
_FIELD_LABELS: Final = frozenset({"field", "feature"})
_DESCRIPTION: Final = (
    "SELECT description FROM model_descriptions WHERE lower(table_name) = lower($table) "
    "ORDER BY described_at DESC LIMIT 1"
)


class Purse:
    """Time that may be spent on what is not needed: it fills with a share of the time that passes."""

    def __init__(self, now_s: Callable[[], float], share: float = _SHARE, most_s: float = _MOST_S) -> None:
        """Begin with a full one.

        Args:
            now_s: Seconds that pass whatever is done to the wall clock.
            share: How much of them may be spent.
            most_s: How much is saved up at most.
        """
        self._now_s = now_s
        self._share = share
        self._most_s = most_s
        self._left_s = most_s
        self._seen_s = now_s()
        self._lock = threading.Lock()

    def left_s(self) -> float:
        """Seconds that may be spent now."""
        with self._lock:
            now_s = self._now_s()
            self._left_s = min(self._most_s, self._left_s + self._share * (now_s - self._seen_s))
            self._seen_s = now_s
            return self._left_s

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Take out the time that what is done inside takes."""
        begun_s = self._now_s()
        try:
            yield
        finally:
            with self._lock:
                self._left_s -= self._now_s() - begun_s


@dataclass(frozen=True, slots=True)
class _Limit:
    """When looking has to end.

    Attributes:
        now_s: Seconds that pass.
        until_s: How many have passed then.
    """

    now_s: Callable[[], float]
    until_s: float

    def left_s(self) -> float | None:
        """Seconds that a query may take now; None where there is no time for one."""
        left_s = self.until_s - self.now_s()
        return left_s if left_s >= _SHORTEST_S else None

    def of(self, rule: Rule) -> Rule | None:
        """The rule with no more time for its SQL than is left; None where there is none."""
        left_s = self.left_s()
        return None if left_s is None else replace(rule, timeout=min(rule.timeout, timedelta(seconds=left_s)))


@dataclass(frozen=True, slots=True)
class _About:
    """The model that a rule is about.

    Attributes:
        name: As people call it.
        table: Its table's name.
        description: What is known of it.
        failed: Whether it is about the model's calls that failed: then those are what people want to see.
    """

    name: str
    table: str
    description: ModelDescription
    failed: bool


class Briefing:
    """Looks up the context of alerts."""

    def __init__(
        self,
        *,
        run_query: RunQuery,
        dashboard: str | None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wire the parts.

        Args:
            run_query: Answers SQL over the lake.
            dashboard: Where people reach the dashboard; None where nobody said.
            monotonic_s: Seconds that pass whatever is done to the wall clock.
        """
        self._run_query = run_query
        self._dashboard = dashboard.rstrip("/") if dashboard else None
        self._purse = Purse(monotonic_s)
        self._monotonic_s = monotonic_s
        self._parser = engine.parser()
        self._parsing = threading.Lock()

    def close(self) -> None:
        """Let go of the parser."""
        self._parser.close()

    def brief(
        self,
        rule: Rule,
        tables: Collection[str],
        transitions: Sequence[Transition],
        outcome: Outcome,
        as_of: datetime,
    ) -> list[Transition]:
        """Look up the rows behind alerts that begin to fire, and the context of all.

        Args:
            rule: Whose transitions.
            tables: The models' tables that its SQL names, lower-cased.
            transitions: Of one evaluation.
            outcome: What its SQL gave.
            as_of: All that was received up to then was looked at.

        Returns:
            Those of which something is known now.
        """
        if not transitions:
            return []
        told = self._sampled(rule, transitions[:_SHOWN], outcome, as_of)
        try:
            with self._purse.spending():
                return self._briefed(rule, tables, told, readings(rule, outcome) or {}, as_of)
        except Exception as error:  # noqa: BLE001  # whatever it is, people must hear of the alert
            logger.warning(
                "rule %s: its alerts are told without their context: %s",
                rule.id,
                error,
                extra={"action": "briefing_failed"},
            )
            return list(told)

    def _sampled(
        self, rule: Rule, transitions: Sequence[Transition], outcome: Outcome, as_of: datetime
    ) -> Sequence[Transition]:
        """Put the rows behind the alerts that begin to fire beside them.

        They get the time of one query; one that fails goes without.
        """
        limit = _Limit(self._monotonic_s, self._monotonic_s() + rule.timeout.total_seconds())
        samples = {}
        for key, query in wanted_samples(rule, outcome, transitions, as_of).items():
            left_s = limit.left_s()
            if left_s is None:
                break
            try:
                answer = self._run_query(query.sql, query.parameters, left_s)
                rows = [tuple(row.values()) for row in answer.to_pylist(maps_as_pydicts="lossy")]
            except (QueryError, ValueError, OverflowError) as error:  # or values that Python has no type for
                logger.warning("rule %s: no sample: %s", rule.id, error, extra={"action": "sample_failed"})
                break  # the others would fail, or take as long, too
            samples[key] = sample_rows(rule, answer.column_names, rows)
        attach = rule.sample is not None and rule.sample.attach
        return with_samples(transitions, samples, attach=attach)

    def _briefed(
        self,
        rule: Rule,
        tables: Collection[str],
        transitions: Sequence[Transition],
        rows: Mapping[str, Row],
        as_of: datetime,
    ) -> list[Transition]:
        firing = [
            each for each in transitions if each.status is Status.FIRING and each.instance.fingerprint in rows
        ]
        begun_s, left_s = self._monotonic_s(), min(self._purse.left_s(), _LONGEST_S)
        limit = _Limit(self._monotonic_s, begun_s + left_s)
        # Half of the time at most, so that there is some for the segments.
        recent = self._recent(rule, firing, as_of, _Limit(self._monotonic_s, begun_s + left_s / 2))
        briefed = []
        for transition in transitions:
            key = transition.instance.fingerprint
            about = self._about(rule, tables, transition, limit)
            wanted = about if transition in firing[:_BRIEFED] else None
            segments = self._segments(rule, wanted, transition, as_of, limit) if wanted else ()
            context = Context(
                recent=tuple(recent.get(key, ())),
                step_s=(transition.slot - rule.slots.before(transition.slot)).total_seconds(),
                values=_values(rows.get(key)),
                segments=segments,
                examples=self._examples(wanted, transition, segments, limit) if wanted else (),
                rows_url=self._rows_url(about, transition),
            )
            briefed.append(replace(transition, context=context))
        return briefed

    # The trend

    def _recent(
        self, rule: Rule, firing: Sequence[Transition], as_of: datetime, limit: _Limit
    ) -> dict[str, list[float | None]]:
        """The values of the last windows, of every alert that fires, as far back as there is time to look."""
        found: dict[str, list[float | None]] = {
            each.instance.fingerprint: [each.instance.value] for each in firing
        }
        slot = firing[0].slot if firing else None
        while slot is not None and all(len(values) < RECENT for values in found.values()):
            slot = rule.slots.before(slot)
            limited = limit.of(rule)
            if limited is None:
                break
            rows = readings(rule, outcome_of(self._run_query, limited, slot, as_of))
            if rows is None:
                break
            for key, values in found.items():
                row = rows.get(key)
                values.insert(0, None if row is None or not row.conclusive else row.value)
        return {key: known for key, values in found.items() if len(known := _since_first(values)) > 1}

    # The model

    def _about(
        self, rule: Rule, tables: Collection[str], transition: Transition, limit: _Limit
    ) -> _About | None:
        labelled = transition.instance.labels.get("model") or rule.model
        table = next((each for each in tables if labelled and each == labelled.lower()), None)
        if table is None and len(tables) == 1:
            (table,) = tables
        if table is None:
            return None
        with self._parsing:
            failed = counts_failures(self._parser, rule.expr)
        return _About(labelled or table, table, self._description(table, limit), failed)

    def _description(self, table: str, limit: _Limit) -> ModelDescription:
        left_s = limit.left_s()
        if left_s is None:
            return ModelDescription()
        try:
            answer = self._run_query(_DESCRIPTION, {"table": table}, left_s).column("description").to_pylist()
            return ModelDescription.from_json(answer[0]) if answer else ModelDescription()
        except (QueryError, ValueError):
            return ModelDescription()

    # The rows

    def _rows_url(self, about: _About | None, transition: Transition) -> str:
        if self._dashboard is None or about is None:
            return ""
        asked = {
            "name": about.name,
            "from": f"{transition.window_start.isoformat()}Z",
            "to": f"{transition.window_end.isoformat()}Z",
        }
        asked |= filters_of(transition.instance.labels, about.description)
        asked |= {"error_type__missing": "no"} if about.failed else {}
        return f"{self._dashboard}/model/rows?{urlencode(asked)}"

    # The segments

    def _segments(
        self, rule: Rule, about: _About, transition: Transition, as_of: datetime, limit: _Limit
    ) -> tuple[SegmentValue, ...]:
        """The segments in which the rule's value is worse than in all rows, those with most of it first.

        Of what adds up, such as a count, no part is worse than the whole: then those with most of it.
        """
        fixed = filters_of(transition.instance.labels, about.description)
        fields = about.description.segments if rule.segments is None else rule.segments
        found: list[tuple[float, float, SegmentValue]] = []
        for field in [each for each in fields if each not in fixed][:_FIELDS]:
            for value, count in self._most_frequent(rule, about.table, field, transition.slot, limit):
                row = self._within(rule, field, value, transition, as_of, limit)
                if row is not None and row.value is not None:
                    samples = count if row.sample_count is None else row.sample_count
                    beyond = _beyond(rule, row.value, transition.instance.value)
                    told = SegmentValue(f"{field}={value}", row.value, samples)
                    found.append((beyond * samples, beyond, told))
        worse = [(weight, told) for weight, _, told in found if weight >= 0]
        ranked = worse or [(beyond, told) for _, beyond, told in found]
        ranked.sort(key=lambda each: (-each[0], each[1].segment))
        return tuple(told for _, told in ranked[:_TOLD])

    def _most_frequent(
        self, rule: Rule, table: str, field: str, slot: datetime, limit: _Limit
    ) -> list[tuple[str, int]]:
        window = window_of(rule, slot)
        bounds = {"window_start": window.start, "window_end": window.end, "most": _VALUES}
        left_s = limit.left_s()
        if left_s is None:
            return []
        try:
            rows = self._run_query(segment_values(table, field), bounds, left_s).to_pylist()
        except QueryError:
            return []
        return [(row["segment"], row["n"]) for row in rows]

    def _within(  # noqa: PLR0917  # which part of which slot
        self, rule: Rule, field: str, value: str, transition: Transition, as_of: datetime, limit: _Limit
    ) -> Row | None:
        limited = limit.of(rule)
        with self._parsing:
            sql = within_segment(self._parser, rule.expr, field, value) if limited else None
        if limited is None or sql is None:
            return None
        query = evaluation_query(replace(limited, expr=sql), transition.slot, as_of)
        asked: dict[str, Any] = dict(query.parameters)
        if f"${SEGMENT}" in sql:
            asked[SEGMENT] = value
        try:
            answer = self._run_query(query.sql, asked, limited.timeout.total_seconds())
        except QueryError:
            return None
        rows = rows_from(
            [(each.name, str(each.type)) for each in answer.schema],
            [tuple(row.values()) for row in answer.to_pylist()],
        )
        return (readings(rule, rows) or {}).get(transition.instance.fingerprint)

    # Examples

    def _examples(
        self, about: _About, transition: Transition, segments: Sequence[SegmentValue], limit: _Limit
    ) -> tuple[str, ...]:
        """Some of its predictions, of the worst segment if there is one; none where a sample has them."""
        left_s = limit.left_s()
        if transition.sample or left_s is None:
            return ()
        fields = filters_of(transition.instance.labels, about.description)
        fields.pop("field", None)
        if segments:
            name, _, value = segments[0].segment.partition("=")
            fields[name] = value
        asked: dict[str, Any] = {f"value_{number}": value for number, value in enumerate(fields.values())}
        asked |= {"window_start": transition.window_start, "window_end": transition.window_end, "most": _TOLD}
        try:
            sql = example_ids(about.table, list(fields), failed_first=about.failed)
            answer = self._run_query(sql, asked, left_s)
        except QueryError:
            return ()
        return tuple(answer.column("prediction_id").to_pylist())


def filters_of(labels: Mapping[str, str], description: ModelDescription) -> dict[str, str]:
    """Which rows of a model an alert's labels speak of: fields with their values.

    A label is one of the columns that every model has, or bears the name of a field, or the last part of it.
    The labels `field` and `feature` say which field it is about.
    """
    fields = dict.fromkeys([*description.segments, *description.features])
    short = {parts(name)[-1]: name for name in reversed(fields)}
    found = {}
    for name, value in labels.items():
        if name in _PLAIN:
            found[name] = value
        elif name in _FIELD_LABELS:
            found["field"] = value if value in fields else short.get(value, value)
        elif name in fields or name in short:
            found[name if name in fields else short[name]] = value
    return found


def _since_first(values: list[float | None]) -> list[float | None]:
    """Values without what was missing before the first: there was nothing to look at yet."""
    first = next((place for place, value in enumerate(values) if value is not None), len(values))
    return values[first:]


def _values(row: Row | None) -> dict[str, Any]:
    """The numbers and times beside the value, as JSON has them."""
    if row is None:
        return {}
    told = {name: value for name, value in row.values.items() if name not in {"value", "sample_count"}}
    return {
        name: value if isinstance(value, bool | int | float | None) else str(value)
        for name, value in told.items()
        if name not in {"window_start", "window_end"}
    }


def _beyond(rule: Rule, value: float, whole: float | None) -> float:
    """How much worse a value is than that of all rows."""
    beyond = value - (whole or 0.0)
    return -beyond if rule.fires_below else beyond
