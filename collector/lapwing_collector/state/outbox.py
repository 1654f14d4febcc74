"""Messages on their way to their targets."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from lapwing_collector.model.alerts import Message, Spoken, Status
from lapwing_collector.model.groups import Told
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import insert
from lapwing_collector.state.hearsay import hear, still_known
from lapwing_collector.state.prepared import Prepared
from lapwing_collector.state.schema import Delivery, message_alerts, outbox

_MESSAGE_FIELDS: Final = tuple(field.name for field in fields(Message))
_UNSENT: Final = (Delivery.QUEUED, Delivery.SENDING)
_LONGER_THAN_ANY_WAIT: Final = timedelta(hours=2)
"""What is tried again is so sooner."""


Letters = Callable[[int, int], Sequence[Message]]
"""What tells of a message that was given up: of the alerts that it says fire, so many may still, and so many
are over."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message and what became of it. Times are wall-clock UTC.

    Attributes:
        attempts: Sends that were begun since it was queued last, whatever came of them.
        next_at: Earliest time of the next attempt while queued.
        created_at: When it was put in.
        queued_at: When it was queued last: then, or when somebody wanted it to be sent again.
        sent_at: When the target accepted it, None before.
        last_error: Why the newest failed attempt failed, or why it is not sent; None where neither is so, and
            where nobody noted what came of the newest attempt.
    """

    message: Message
    delivery: Delivery
    attempts: int
    next_at: datetime
    created_at: datetime
    queued_at: datetime
    sent_at: datetime | None
    last_error: str | None

    @property
    def interrupted(self) -> bool:
        """Whether it waits after an attempt of which nobody noted what came of it."""
        return self.delivery is Delivery.QUEUED and self.attempts > 0 and self.last_error is None


def enqueue(connection: Connection, messages: Sequence[Message], now: datetime) -> None:
    """Put `messages` into the outbox, due at once; those whose key is known already are left as they are."""
    if messages:
        connection.execute(_NEW_KEY, [_new(message, now) for message in messages])


def enqueue_told(connection: Connection, told: Sequence[Told], now: datetime) -> int:
    """Put messages about groups into the outbox, due at once or with the reason why they are not sent.

    One whose key is known already is left as it is.

    Returns:
        How many were not.
    """
    new = 0
    for each in told:
        row = _new(each.message, now)
        if each.suppressed:
            row |= {"delivery": Delivery.SUPPRESSED, "last_error": each.suppressed}
        message_id = _TOLD.one(connection, tuple(row.values()))
        new += message_id is not None
        if message_id is not None and each.alerts:
            _SPOKEN.many(
                connection, [(message_id, alert, spoken) for alert, spoken in sorted(each.alerts.items())]
            )
    return new


_TIMES: Final = ("next_at", "created_at", "queued_at")
_NEW_KEY: Final = insert(outbox).on_conflict_do_nothing(index_elements=["key"])
_TOLD: Final = Prepared(
    _NEW_KEY.returning(outbox.c.id), (*_MESSAGE_FIELDS, "delivery", "attempts", *_TIMES, "last_error")
)
_SPOKEN: Final = Prepared(insert(message_alerts), ("message_id", "fingerprint", "spoken"))


def _new(message: Message, now: datetime) -> dict[str, Any]:
    values = {field: getattr(message, field) for field in _MESSAGE_FIELDS}
    values |= {"delivery": Delivery.QUEUED, "attempts": 0}
    return values | dict.fromkeys(_TIMES, now) | {"last_error": None}


class Outbox:
    """The outbox of a state database.

    Order: a message waits for the earlier ones of its group and target, so a resolve never overtakes its
    firing, while a message that fails holds up no other group.
    """

    def __init__(self, database: Database) -> None:
        """Use the outbox table of `database`."""
        self._database = database

    def enqueue(self, messages: Sequence[Message], now: datetime) -> None:
        """Put `messages` into the outbox, due at once; those whose key is known already are left."""
        with self._database.write() as connection:
            enqueue(connection, messages, now)

    def messages_about(self, fingerprint: str, limit: int = 100) -> list[OutboxRow]:
        """The newest messages that speak of an alert, newest first, those that were not sent, too."""
        about = select(message_alerts.c.message_id).where(message_alerts.c.fingerprint == fingerprint)
        query = select(outbox).where(outbox.c.id.in_(about)).order_by(outbox.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(query)]

    def unaccepted(self, keys: Collection[str]) -> set[str]:
        """Those of some messages that no target has accepted."""
        query = select(outbox.c.key).where(outbox.c.key.in_(keys), outbox.c.delivery != Delivery.SENT)
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def untold(self, alerts: Collection[str]) -> dict[str, dict[str, Delivery]]:
        """By alert, the targets that accepted no message that it fires, and how far the newest such one is.

        What they accepted before it was last over does not count.
        """
        alert, target = message_alerts.c.fingerprint, outbox.c.target
        fires = message_alerts.c.spoken == Spoken.FIRING
        spoken = select(alert, target).join(outbox).where(alert.in_(alerts))
        waits = spoken.where(fires, outbox.c.delivery.in_((*_UNSENT, Delivery.DEAD)))

        def newest(*which: ColumnElement[bool]) -> ColumnElement[int]:
            return func.coalesce(func.max(case((and_(*which), outbox.c.id))), 0)

        told = (
            spoken.add_columns(
                newest(not_(fires)).label("over"),
                newest(fires, outbox.c.delivery == Delivery.SENT).label("accepted"),
                newest(fires, outbox.c.delivery != Delivery.SUPPRESSED).label("newest"),
            )
            .where(tuple_(alert, target).in_(waits))
            .group_by(alert, target)
            .subquery()
        )
        query = (
            select(told.c.fingerprint, told.c.target, outbox.c.delivery)
            .join(outbox, outbox.c.id == told.c.newest)
            .where(told.c.newest > told.c.over, told.c.accepted <= told.c.over)
        )
        found: dict[str, dict[str, Delivery]] = {}
        with self._database.read() as connection:
            for fingerprint, name, delivery in connection.execute(query):
                found.setdefault(fingerprint, {})[name] = delivery
        return found

    def recover(self, target: str) -> int:
        """Queue again, with their keys, the messages to a target that were left half sent.

        Only who delivers to it may call this, while nothing is being sent.

        Returns:
            How many there were.
        """
        with self._database.write() as connection:
            return connection.execute(
                update(outbox)
                .where(outbox.c.target == target, outbox.c.delivery == Delivery.SENDING)
                .values(delivery=Delivery.QUEUED, last_error=None)
            ).rowcount

    def give_up_without_target(self, known: Collection[str], before: datetime) -> int:
        """Give up what was queued before a time for targets that nobody has any more.

        Returns:
            How many there were.
        """
        statement = update(outbox).where(
            outbox.c.target.not_in(known),
            outbox.c.delivery.in_(_UNSENT),
            outbox.c.queued_at < before,
        )
        statement = statement.values(
            delivery=Delivery.DEAD, last_error="the notify file has no target of this name any more"
        )
        with self._database.write() as connection:
            return connection.execute(statement).rowcount

    def due_messages(self, target: str, now: datetime, limit: int) -> list[OutboxRow]:
        """Messages to send to `target` now, oldest first, at most one of each group."""
        values = {"to": target, "now": now, "far": now + _LONGER_THAN_ANY_WAIT, "most": limit}
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(_DUE, values)]

    def next_due(self, target: str) -> datetime | None:
        """When the next message to `target` is due, None where none waits."""
        with self._database.read() as connection:
            due: datetime | None = connection.execute(_NEXT_DUE, {"to": target}).scalar_one()
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

    def mark_dead(self, key: str, error: str, letters: Letters, now: datetime) -> Sequence[Message]:
        """Give the message up, after an attempt that failed with `error`, and put in what tells of it.

        Who learns by that of alerts hears of their end.

        Returns:
            What was put in.
        """
        with self._database.write() as connection:
            if not _marked(connection, key, Delivery.SENDING, delivery=Delivery.DEAD, last_error=error):
                return ()
            told = _alerts_of(connection, [key]).get(key, {})
            firing = {alert for alert, spoken in told.items() if spoken is Spoken.FIRING}
            known = still_known(connection, key, firing)
            written = letters(len(known), len(firing) - len(known))
            new = [letter for letter in written if enqueue_told(connection, [Told(letter, told)], now)]
            hear(connection, key, {letter.target: letter.key for letter in new}, known, now)
            return new

    def drop(self, reasons: Mapping[str, str]) -> None:
        """Let messages that wait go unsent, each for its reason, by key: all of them or none."""
        with self._database.write() as connection:
            for key, reason in reasons.items():
                _marked(connection, key, Delivery.QUEUED, delivery=Delivery.SUPPRESSED, last_error=reason)

    def hasten(self, target: str, now: datetime) -> None:
        """Let all that waits for `target` be due now."""
        statement = update(outbox).values(next_at=now)
        statement = statement.where(
            outbox.c.target == target, outbox.c.delivery == Delivery.QUEUED, outbox.c.next_at > now
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def waiting_behind(self, key: str) -> list[Message]:
        """Messages of the same group to the same target that wait behind a message, oldest first."""
        with self._database.read() as connection:
            return [_row(row).message for row in connection.execute(_BEHIND, {"its_key": key})]

    def alerts_of(self, keys: Sequence[str]) -> dict[str, dict[str, Spoken]]:
        """How messages speak of alerts, by key and fingerprint, where that is known."""
        with self._database.read() as connection:
            return _alerts_of(connection, keys)

    def heard(self, key: str) -> bool:
        """Whether its target was told before that the group fires, or may have been, and not that it is over.

        A resolve counts once the target accepted it, whatever became of firings after it.
        """
        with self._database.read() as connection:
            return connection.execute(_HEARD, {"its_key": key}).first() is not None

    def requeue(self, keys: Sequence[str], now: datetime) -> set[str]:
        """Let messages that were given up be sent again, with their keys, as if they were put in now.

        One whose target was told something newer about the same group, or is just now, stays as it is.

        Returns:
            The keys of those that are queued.
        """
        later = outbox.alias("later")
        told_since = (
            select(later.c.id)
            .where(
                _same_group(later, outbox),
                later.c.id > outbox.c.id,
                later.c.delivery.in_((Delivery.SENDING, Delivery.SENT)),
            )
            .exists()
        )
        statement = (
            update(outbox)
            .where(outbox.c.key.in_(keys), outbox.c.delivery == Delivery.DEAD, ~told_since)
            .values(delivery=Delivery.QUEUED, attempts=0, next_at=now, queued_at=now)
            .returning(outbox.c.key)
        )
        with self._database.write() as connection:
            return set(connection.execute(statement).scalars())

    def outbox_rows(
        self, delivery: Delivery | None = None, limit: int | None = 100, target: str | None = None
    ) -> list[OutboxRow]:
        """The newest messages, newest first; of one `delivery` and to one `target` where given."""
        query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
        if delivery is not None:
            query = query.where(outbox.c.delivery == delivery)
        if target is not None:
            query = query.where(outbox.c.target == target)
        with self._database.read() as connection:
            return [_row(row) for row in connection.execute(query)]

    def outbox_counts(self) -> dict[tuple[str, Delivery], int]:
        """How many messages each target has in each delivery state."""
        query = select(outbox.c.target, outbox.c.delivery, func.count()).group_by(
            outbox.c.target, outbox.c.delivery
        )
        with self._database.read() as connection:
            return {(target, delivery): count for target, delivery, count in connection.execute(query)}

    def dead_counts(self) -> dict[str, int]:
        """How many messages were given up, by target."""
        query = select(outbox.c.target, func.count().label("messages"))
        query = query.where(outbox.c.delivery == Delivery.DEAD)
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(outbox.c.target))
            return {row.target: row.messages for row in rows}

    def unsent(self) -> int:
        """How many messages wait or are under way; dead ones are neither."""
        query = select(func.count()).where(outbox.c.delivery.in_(_UNSENT))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def _mark(self, key: str, expected: Delivery, **values: Any) -> bool:
        with self._database.write() as connection:
            return _marked(connection, key, expected, **values)


def _marked(connection: Connection, key: str, expected: Delivery, **values: Any) -> bool:
    statement = update(outbox).where(outbox.c.key == key, outbox.c.delivery == expected).values(**values)
    return connection.execute(statement).rowcount == 1


def _alerts_of(connection: Connection, keys: Sequence[str]) -> dict[str, dict[str, Spoken]]:
    query = select(outbox.c.key, message_alerts.c.fingerprint, message_alerts.c.spoken).join(message_alerts)
    found: dict[str, dict[str, Spoken]] = {}
    for key, fingerprint, spoken in connection.execute(query.where(outbox.c.key.in_(keys))):
        found.setdefault(key, {})[fingerprint] = spoken
    return found


def _same_group(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(one.c.target == other.c.target, one.c.group == other.c.group)


def _sendable(query: Select[Any]) -> Select[Any]:
    """Narrow `query` to the queued messages of a target that have no unsent earlier one of their group."""
    earlier = outbox.alias("earlier")
    blocked = (
        select(earlier.c.id)
        .where(_same_group(earlier, outbox), earlier.c.id < outbox.c.id, earlier.c.delivery.in_(_UNSENT))
        .exists()
    )
    return query.where(outbox.c.target == bindparam("to"), outbox.c.delivery == Delivery.QUEUED, ~blocked)


def _due() -> Select[Any]:
    # What was not tried never waits, and nothing waits for long: such times a clock told that was ahead.
    time = outbox.c.next_at
    now, far = (bindparam(name, type_=time.type) for name in ("now", "far"))
    query = select(outbox).where(or_(time <= now, outbox.c.attempts == 0, time > far))
    return _sendable(query.order_by(outbox.c.id).limit(bindparam("most")))


def _behind() -> Select[Any]:
    first = outbox.alias("first")
    return (
        select(outbox)
        .join(first, _same_group(outbox, first))
        .where(
            first.c.key == bindparam("its_key"),
            outbox.c.id > first.c.id,
            outbox.c.delivery == Delivery.QUEUED,
        )
        .order_by(outbox.c.id)
    )


def _heard() -> Select[Any]:
    first, firing, over = (outbox.alias(name) for name in ("first", "firing", "over"))
    accepted = (
        select(over.c.id)
        .where(
            _same_group(over, first),
            over.c.id > firing.c.id,
            over.c.id < first.c.id,
            over.c.status == Status.RESOLVED,
            over.c.delivery == Delivery.SENT,
        )
        .exists()
    )
    return (
        select(firing.c.id)
        .join(first, _same_group(firing, first))
        .where(
            first.c.key == bindparam("its_key"),
            firing.c.id < first.c.id,
            firing.c.status == Status.FIRING,
            or_(firing.c.attempts > 0, firing.c.delivery.in_((Delivery.SENT, Delivery.DEAD))),
            ~accepted,
        )
        .limit(1)
    )


# Made once: each target asks for them whenever it looks, and to make them takes longer than to answer.
_DUE: Final = _due()
_NEXT_DUE: Final = _sendable(select(func.min(outbox.c.next_at)))
_BEHIND: Final = _behind()
_HEARD: Final = _heard()


def _row(row: Row[Any]) -> OutboxRow:
    values = row._mapping  # noqa: SLF001  # SQLAlchemy's public name for it
    return OutboxRow(
        message=Message(**{field: values[field] for field in _MESSAGE_FIELDS}),
        delivery=row.delivery,
        attempts=row.attempts,
        next_at=row.next_at,
        created_at=row.created_at,
        queued_at=row.queued_at,
        sent_at=row.sent_at,
        last_error=row.last_error,
    )
