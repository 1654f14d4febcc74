"""Slots that late rows and labels touched, and the queue of metric rows that evaluating them fills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Connection,
    RowMapping,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from lapwing_collector.model.alerts import MetricRow, RuleId
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import insert as upsert
from lapwing_collector.state.schema import late_cursors, late_slots, metric_queue

_METRIC_FIELDS: Final = tuple(field.name for field in fields(MetricRow))
_KEY: Final = ("rule_group", "rule_name", "slot")


@dataclass(frozen=True, slots=True)
class LateSlot:
    """A slot to evaluate again.

    Attributes:
        touched_at: All that touched it was received before.
        changes: How often it changed in a row, without having rested untouched.
        attempts: How often its evaluation failed in a row.
    """

    rule: RuleId
    slot: datetime
    touched_at: datetime
    changes: int
    attempts: int


@dataclass(frozen=True, slots=True)
class LateBacklog:
    """Slots that are to be evaluated again.

    Attributes:
        waiting: How many there are.
        failing: How many of them failed when they were tried last.
        error: Why one of those did.
    """

    waiting: int
    failing: int
    error: str | None


class LateSlots:
    """Late slots and queued metric rows of a state database."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    def late_cursors(self) -> dict[RuleId, datetime]:
        """Of each rule, up to when what was received has been looked through."""
        with self._database.read() as connection:
            return {
                RuleId(row.rule_group, row.rule_name): row.received_to
                for row in connection.execute(
                    select(late_cursors).where(late_cursors.c.received_to.is_not(None))
                )
            }

    def backfilled(self) -> dict[RuleId, datetime]:
        """Of each rule of which a person asked for the past, after which slot on it was evaluated."""
        with self._database.read() as connection:
            return {
                RuleId(row.rule_group, row.rule_name): row.since
                for row in connection.execute(select(late_cursors).where(late_cursors.c.since.is_not(None)))
            }

    def backfill(self, rule: RuleId, since: datetime) -> None:
        """Count the slots of a rule after `since` as evaluated: they are about to be."""
        statement = upsert(late_cursors).values(rule_group=rule.group, rule_name=rule.name, since=since)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["rule_group", "rule_name"],
            set_={"since": new.since},
            where=or_(late_cursors.c.since.is_(None), new.since < late_cursors.c.since),
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def looked_through(self, cursors: Mapping[RuleId, datetime], now: datetime) -> None:
        """Remember up to when what was received has been looked through; forget slots that have rested."""
        statement = upsert(late_cursors)
        statement = statement.on_conflict_do_update(
            index_elements=["rule_group", "rule_name"],
            set_={"received_to": statement.excluded.received_to},
        )
        rested = and_(late_slots.c.touched_at.is_(None), late_slots.c.next_at <= now)
        with self._database.write() as connection:
            connection.execute(delete(late_slots).where(rested))
            if cursors:
                connection.execute(
                    statement,
                    [
                        {"rule_group": rule.group, "rule_name": rule.name, "received_to": received_to}
                        for rule, received_to in cursors.items()
                    ],
                )

    def touch(
        self,
        rule: RuleId,
        slots: Sequence[datetime],
        touched_at: datetime,
        now: datetime,
        *,
        rested: bool = False,
    ) -> None:
        """Have slots evaluated again: now, or once they have rested.

        Args:
            rule: Whose.
            slots: Evaluated before.
            touched_at: What touched them was received before; another one than at any former call.
            now: Wall-clock time, UTC.
            rested: They need not rest, and how they failed before is forgotten.
        """
        statement = upsert(late_slots)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=_KEY,
            set_={
                "touched_at": new.touched_at,
                "next_at": new.next_at if rested else late_slots.c.next_at,
                "attempts": new.attempts if rested else late_slots.c.attempts,
                "error": None if rested else late_slots.c.error,
                "queued_at": case(
                    (late_slots.c.touched_at.is_(None), new.queued_at), else_=late_slots.c.queued_at
                ),
            },
        )
        if slots:
            with self._database.write() as connection:
                connection.execute(
                    statement,
                    [
                        {
                            "rule_group": rule.group,
                            "rule_name": rule.name,
                            "slot": slot,
                            "touched_at": touched_at,
                            "queued_at": now,
                            "next_at": now,
                            "changes": 0,
                            "attempts": 0,
                        }
                        for slot in slots
                    ],
                )

    def late_slots(self, now: datetime, limit: int, *, but_of: Sequence[RuleId] = ()) -> list[LateSlot]:
        """Slots to evaluate again now: those first that were touched first, of these the newest first.

        Args:
            now: Wall-clock time, UTC.
            limit: At most so many.
            but_of: Rules whose slots stay as they are.
        """
        query = (
            select(late_slots)
            .where(late_slots.c.touched_at.is_not(None), late_slots.c.next_at <= now, _is_of_others(but_of))
            .order_by(late_slots.c.queued_at, late_slots.c.slot.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [
                LateSlot(
                    RuleId(row.rule_group, row.rule_name), row.slot, row.touched_at, row.changes, row.attempts
                )
                for row in connection.execute(query)
            ]

    def evaluated_again(
        self, late: LateSlot, metrics: Sequence[MetricRow], as_of: datetime, rest_until: datetime
    ) -> None:
        """Keep what evaluating a slot again changed: all of it or nothing.

        Args:
            late: As it was read; if it was touched since, it is evaluated once more.
            metrics: For the queue to the lake.
            as_of: All that was received up to then was looked at.
            rest_until: Until when it is left alone now.
        """
        touched_since = case(
            (late_slots.c.touched_at != late.touched_at, late_slots.c.touched_at), else_=None
        )
        with self._database.write() as connection:
            queue_metrics(connection, metrics, as_of)
            connection.execute(
                update(late_slots)
                .where(_is(late_slots, late.rule), late_slots.c.slot == late.slot)
                .values(
                    touched_at=touched_since,
                    next_at=rest_until,
                    changes=late.changes + bool(metrics),
                    attempts=0,
                    error=None,
                )
            )

    def not_evaluated_again(self, late: LateSlot, error: str, next_at: datetime) -> None:
        """Remember why a slot could not be evaluated again, and try it at `next_at`."""
        with self._database.write() as connection:
            connection.execute(
                update(late_slots)
                .where(_is(late_slots, late.rule), late_slots.c.slot == late.slot)
                .values(next_at=next_at, attempts=late.attempts + 1, error=error)
            )

    def touched(self, rule: RuleId) -> dict[datetime, datetime]:
        """Slots of a rule that were touched and not evaluated again, in order, with when they were."""
        query = (
            select(late_slots.c.slot, late_slots.c.touched_at)
            .where(_is(late_slots, rule), late_slots.c.touched_at.is_not(None))
            .order_by(late_slots.c.slot)
        )
        with self._database.read() as connection:
            return {row.slot: row.touched_at for row in connection.execute(query)}

    def looked_at_again(self, rule: RuleId, touched: Mapping[datetime, datetime]) -> None:
        """Forget slots that were looked at again, as they were read, but for those touched since."""
        with self._database.write() as connection:
            for slot, touched_at in touched.items():
                connection.execute(
                    delete(late_slots).where(
                        _is(late_slots, rule),
                        late_slots.c.slot == slot,
                        late_slots.c.touched_at == touched_at,
                    )
                )

    def forget_late_slot(self, late: LateSlot) -> None:
        """Leave a slot as it is."""
        with self._database.write() as connection:
            connection.execute(
                delete(late_slots).where(_is(late_slots, late.rule), late_slots.c.slot == late.slot)
            )

    def late_backlog(
        self,
        rule: RuleId | None = None,
        after: datetime | None = None,
        through: datetime | None = None,
        *,
        but_of: Sequence[RuleId] = (),
    ) -> LateBacklog:
        """How many slots are to be evaluated again: of all rules but some, or of one in a range."""
        query = select(func.count(), func.count(late_slots.c.error), func.max(late_slots.c.error))
        query = query.where(late_slots.c.touched_at.is_not(None), _is_of_others(but_of))
        if rule is not None:
            query = query.where(_is(late_slots, rule))
        if after is not None and through is not None:
            query = query.where(late_slots.c.slot > after, late_slots.c.slot <= through)
        with self._database.read() as connection:
            return LateBacklog(*connection.execute(query).one())

    def queued_of(
        self, metric: str, window_start: datetime, window_end: datetime
    ) -> list[tuple[MetricRow, datetime]]:
        """Rows of a metric's window that wait for the lake, with their as-of times."""
        query = select(metric_queue).where(
            metric_queue.c.metric == metric,
            metric_queue.c.window_start == window_start,
            metric_queue.c.window_end == window_end,
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(metric_queue.c.id)).mappings()
            return [(_metric(row), row["as_of"]) for row in rows]

    def queued_metrics(self, after: int, limit: int) -> list[tuple[int, MetricRow, datetime]]:
        """Rows of `record:` rules that wait for the lake: id, row and as-of time, by ascending id.

        Args:
            after: Highest id the lake has committed; ids are positive and never reused.
            limit: At most so many.
        """
        query = select(metric_queue).where(metric_queue.c.id > after).order_by(metric_queue.c.id).limit(limit)
        with self._database.read() as connection:
            return [(row["id"], _metric(row), row["as_of"]) for row in connection.execute(query).mappings()]

    def number_metrics_after(self, number: int) -> None:
        """Give rows that are queued from now on ids above this one."""
        with self._database.write() as connection:
            self._database.number_after(connection, metric_queue.name, number)

    def forget_metrics(self, through: int) -> None:
        """Drop the queued rows with ids up to and including `through`: the lake has committed them."""
        with self._database.write() as connection:
            connection.execute(delete(metric_queue).where(metric_queue.c.id <= through))


def queue_metrics(connection: Connection, metrics: Sequence[MetricRow], as_of: datetime) -> None:
    """Put rows into the queue to the lake."""
    if metrics:
        connection.execute(
            insert(metric_queue),
            [
                {field: getattr(metric, field) for field in _METRIC_FIELDS} | {"as_of": as_of}
                for metric in metrics
            ],
        )


def forget_late(connection: Connection, rule: RuleId) -> None:
    """Drop the late slots of a rule that is no longer in the files."""
    for table in (late_cursors, late_slots):
        connection.execute(delete(table).where(_is(table, rule)))


def _is(table: Table, rule: RuleId) -> Any:
    return and_(table.c.rule_group == rule.group, table.c.rule_name == rule.name)


def _is_of_others(rules: Sequence[RuleId]) -> Any:
    named = tuple_(late_slots.c.rule_group, late_slots.c.rule_name)
    return named.not_in([(rule.group, rule.name) for rule in rules])


def _metric(row: RowMapping) -> MetricRow:
    return MetricRow(**{field: row[field] for field in _METRIC_FIELDS})
