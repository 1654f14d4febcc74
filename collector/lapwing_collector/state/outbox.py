"""Messages on their way to their targets."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select, update
from sqlalchemy.dialects.sqlite import insert  # PostgreSQL's has the same `on_conflict_*` methods

from lapwing_collector.model.alerts import Message
from lapwing_collector.state.database import Database
from lapwing_collector.state.schema import Delivery, outbox

_MESSAGE_FIELDS: Final = tuple(field.name for field in fields(Message))
_UNSENT: Final = (Delivery.QUEUED, Delivery.SENDING)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message and what became of it. Times are wall-clock UTC.

    Attributes:
        attempts: Sends that were begun, whatever came of them.
        next_at: Earliest time of the next attempt while queued.
        sent_at: When the target accepted it, None before.
        last_error: Why the newest failed attempt failed, None where none did.
    """

    message: Message
    delivery: Delivery
    attempts: int
    next_at: datetime
    created_at: datetime
    sent_at: datetime | None
    last_error: str | None


def enqueue(connection: Connection, messages: Sequence[Message], now: datetime) -> None:
    """Put `messages` into the outbox, due at once; those whose key is known already are left as they are."""
    if messages:
        connection.execute(
            insert(outbox).on_conflict_do_nothing(index_elements=["key"]),
            [
                {field: getattr(message, field) for field in _MESSAGE_FIELDS}
                | {"delivery": Delivery.QUEUED, "attempts": 0, "next_at": now, "created_at": now}
                for message in messages
            ],
        )


class Outbox:
    """The outbox of a state database.

    Order: a message waits for the earlier ones of its group and target, so a resolve never overtakes its
    firing, while a message that fails holds up no other group.
    """

    def __init__(self, database: Database) -> None:
        """Use the outbox table of `database`."""
        self._database = database

    def recover(self) -> int:
        """Queue again, with their keys, the messages that a process left half sent when it died.

        Only the process that delivers may call this, before it starts to.

        Returns:
            How many there were.
        """
        with self._database.write() as connection:
            return connection.execute(
                update(outbox).where(outbox.c.delivery == Delivery.SENDING).values(delivery=Delivery.QUEUED)
            ).rowcount

    def due_messages(self, target: str, now: datetime, limit: int) -> list[OutboxRow]:
        """Messages to send to `target` now, oldest first, at most one of each group."""
        query = select(outbox).where(outbox.c.next_at <= now).order_by(outbox.c.id).limit(limit)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(_sendable(query, target))]

    def next_due(self, target: str) -> datetime | None:
        """When the next message to `target` is due, None where none waits."""
        query = _sendable(select(func.min(outbox.c.next_at)), target)
        with self._database.read() as connection:
            due: datetime | None = connection.execute(query).scalar_one()
        return due

    def mark_sending(self, key: str) -> bool:
        """Count an attempt that is about to begin; False where the message is not waiting any more."""
        return self._mark(key, Delivery.QUEUED, delivery=Delivery.SENDING, attempts=outbox.c.attempts + 1)

    def mark_sent(self, key: str, now: datetime) -> None:
        """Note that the target accepted the message at `now`."""
        self._mark(key, Delivery.SENDING, delivery=Delivery.SENT, sent_at=now)

    def mark_retry(self, key: str, next_at: datetime, error: str) -> None:
        """Queue the message again for `next_at`, after an attempt that failed with `error`."""
        self._mark(key, Delivery.SENDING, delivery=Delivery.QUEUED, next_at=next_at, last_error=error)

    def mark_dead(self, key: str, error: str) -> None:
        """Give the message up, after an attempt that failed with `error`."""
        self._mark(key, Delivery.SENDING, delivery=Delivery.DEAD, last_error=error)

    def outbox_rows(self, delivery: Delivery | None = None, limit: int = 100) -> list[OutboxRow]:
        """The newest messages, newest first; of one `delivery` where given."""
        query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
        if delivery is not None:
            query = query.where(outbox.c.delivery == delivery)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(query)]

    def outbox_counts(self) -> dict[tuple[str, Delivery], int]:
        """How many messages each target has in each delivery state."""
        query = select(outbox.c.target, outbox.c.delivery, func.count()).group_by(
            outbox.c.target, outbox.c.delivery
        )
        with self._database.read() as connection:
            return {(target, delivery): count for target, delivery, count in connection.execute(query)}

    def unsent(self) -> int:
        """How many messages wait or are under way; dead ones are neither."""
        query = select(func.count()).where(outbox.c.delivery.in_(_UNSENT))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def _mark(self, key: str, expected: Delivery, **values: Any) -> bool:
        statement = update(outbox).where(outbox.c.key == key, outbox.c.delivery == expected).values(**values)
        with self._database.write() as connection:
            return connection.execute(statement).rowcount == 1


def _sendable(query: Select[Any], target: str) -> Select[Any]:
    """Narrow `query` to the queued messages of `target` that have no unsent earlier one of their group."""
    earlier = outbox.alias("earlier")
    blocked = (
        select(earlier.c.id)
        .where(
            earlier.c.target == outbox.c.target,
            earlier.c.group == outbox.c.group,
            earlier.c.id < outbox.c.id,
            earlier.c.delivery.in_(_UNSENT),
        )
        .exists()
    )
    return query.where(outbox.c.target == target, outbox.c.delivery == Delivery.QUEUED, ~blocked)


def _row(row: Row[Any]) -> OutboxRow:
    values = row._mapping  # noqa: SLF001  # SQLAlchemy's public name for it
    return OutboxRow(
        message=Message(**{field: values[field] for field in _MESSAGE_FIELDS}),
        delivery=row.delivery,
        attempts=row.attempts,
        next_at=row.next_at,
        created_at=row.created_at,
        sent_at=row.sent_at,
        last_error=row.last_error,
    )
