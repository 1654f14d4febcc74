"""What is kept no longer: history, messages that are done with, and silences that are over."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, func, or_, select

from lapwing_collector.model.alerts import AlertState
from lapwing_collector.state.database import Database
from lapwing_collector.state.schema import (
    Delivery,
    group_alerts,
    groups,
    history,
    instances,
    message_alerts,
    outbox,
    silences,
)

_COUNTED: Final = (history, outbox, message_alerts, instances, groups, group_alerts, silences)


@dataclass(frozen=True, slots=True)
class Keep:
    """From when on is kept what happened.

    Attributes:
        alerts: Transitions, messages that were given up, and silences from their end.
        messages: Messages that were delivered, or kept back.
    """

    alerts: datetime
    messages: datetime


@dataclass(frozen=True, slots=True)
class Pruned:
    """What came of a step.

    Attributes:
        rows: How many rows went, by table; those that went with a message are not counted.
        after: Where the next step begins; None if there is nothing more that is old.
    """

    rows: Mapping[str, int]
    after: tuple[str, int] | None


class Pruning:
    """Lets go of old rows of a state database, some at a time."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    def prune(self, keep: Keep, after: tuple[str, int] = ("history", 0), limit: int = 200) -> Pruned:
        """Let go of old rows among the next ones.

        What belongs to an alert that is not over stays, whatever its age: its history, the messages of its
        group, and what tells whether a message that was given up may be sent again.

        Args:
            keep: What is old.
            after: Where the step before ended.
            limit: How many rows are looked at.
        """
        table, number = after
        if table == history.name:
            done = self._step(history, history.c.recorded_at, keep.alerts, number, limit, _over(keep))
            return done if done.after else Pruned(done.rows, (outbox.name, 0))
        if table == outbox.name:
            newest = max(keep.alerts, keep.messages)
            return self._step(outbox, outbox.c.created_at, newest, number, limit, _done_with(keep))
        raise ValueError(f"nothing of {table} is old")

    def forget_silences(self, keep: Keep) -> int:
        """Let go of silences that have long been over; how many there were."""
        with self._database.write() as connection:
            return connection.execute(delete(silences).where(silences.c.ends_at < keep.alerts)).rowcount

    def row_counts(self) -> dict[str, int]:
        """How many rows there are of what grows, by table."""
        with self._database.read() as connection:
            return {table.name: _count(connection, table) for table in _COUNTED}

    def _step(  # noqa: PLR0917  # what a step is made of
        self,
        table: Table,
        made_at: Column[datetime],
        before: datetime,
        after: int,
        limit: int,
        goes: ColumnElement[bool],
    ) -> Pruned:
        """Rows are numbered as they come, so that old ones come first: the first that is not old ends it."""
        query = select(table.c.id, made_at).where(table.c.id > after).order_by(table.c.id).limit(limit)
        with self._database.read() as connection:
            rows = list(connection.execute(query))
        old = [number for number, _ in takewhile(lambda row: row[1] < before, rows)]
        if not old:
            return Pruned({}, None)
        with self._database.write() as connection:
            gone = connection.execute(delete(table).where(table.c.id.between(old[0], old[-1]), goes)).rowcount
        more = len(old) == limit
        return Pruned({table.name: gone}, (table.name, old[-1]) if more else None)


def _over(keep: Keep) -> ColumnElement[bool]:
    """Transitions of alerts that are over."""
    current = select(instances.c.fingerprint).where(instances.c.state != AlertState.INACTIVE)
    told = select(group_alerts.c.fingerprint)
    return and_(
        history.c.recorded_at < keep.alerts,
        history.c.fingerprint.not_in(current),
        history.c.fingerprint.not_in(told),
    )


def _done_with(keep: Keep) -> ColumnElement[bool]:
    """Messages that nobody asks for any more."""
    earlier = outbox.alias("earlier")
    # A message that was given up may be sent again, unless its target was told something newer since.
    may_be_wanted = (
        select(earlier.c.id)
        .where(
            earlier.c.target == outbox.c.target,
            earlier.c.group == outbox.c.group,
            earlier.c.id < outbox.c.id,
            earlier.c.delivery == Delivery.DEAD,
        )
        .exists()
    )
    sent_or_not = outbox.c.delivery.in_((Delivery.SENT, Delivery.SUPPRESSED))
    return and_(
        or_(
            and_(sent_or_not, outbox.c.queued_at < keep.messages, ~may_be_wanted),
            and_(outbox.c.delivery == Delivery.DEAD, outbox.c.queued_at < keep.alerts),
        ),
        outbox.c.group.not_in(select(groups.c.key)),
    )


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
