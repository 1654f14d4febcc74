"""What people said about alerts: silences and acks."""

from dataclasses import fields
from datetime import datetime
from typing import Final

from sqlalchemy import delete, or_, select, update

from lapwing_collector.model.alerts import Status
from lapwing_collector.model.groups import Ack, Silence
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import insert
from lapwing_collector.state.groups import look_again
from lapwing_collector.state.schema import acks, group_alerts, silences

_SILENCE_FIELDS: Final = tuple(field.name for field in fields(Silence))
_ACK_FIELDS: Final = tuple(field.name for field in fields(Ack))


class Hushes:
    """Silences and acks of a state database. What changes them has every group looked at again."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    def silences(self, now: datetime | None = None) -> list[Silence]:
        """Silences, newest first; those alone that are not over by `now` where that is given."""
        query = select(silences).order_by(silences.c.created_at.desc(), silences.c.key)
        if now is not None:
            query = query.where(or_(silences.c.ends_at.is_(None), silences.c.ends_at > now))
        with self._database.read() as connection:
            return [
                Silence(**{field: row[field] for field in _SILENCE_FIELDS})
                for row in connection.execute(query).mappings()
            ]

    def silence(self, silence: Silence) -> None:
        """Keep a silence."""
        with self._database.write() as connection:
            connection.execute(
                insert(silences).values({field: getattr(silence, field) for field in _SILENCE_FIELDS})
            )
            look_again(connection, silence.created_at)

    def end_silence(self, key: str, now: datetime) -> bool:
        """End a silence; False where there is none that could be ended."""
        with self._database.write() as connection:
            ended = connection.execute(
                update(silences)
                .where(silences.c.key == key, or_(silences.c.ends_at.is_(None), silences.c.ends_at > now))
                .values(ends_at=now)
            ).rowcount
            look_again(connection, now)
        return ended == 1

    def acks(self) -> dict[str, Ack]:
        """Acks of alerts that fire, by fingerprint."""
        with self._database.read() as connection:
            return {
                row["fingerprint"]: Ack(**{field: row[field] for field in _ACK_FIELDS})
                for row in connection.execute(select(acks)).mappings()
            }

    def acknowledge(self, ack: Ack) -> bool:
        """Keep an ack, in place of an earlier one of the alert; False where that fires in no group.

        An ack of what is over would keep people from hearing of it the next time.
        """
        values = {field: getattr(ack, field) for field in _ACK_FIELDS}
        statement = insert(acks).values(values)
        fires = select(group_alerts.c.fingerprint).where(
            group_alerts.c.fingerprint == ack.fingerprint, group_alerts.c.status == Status.FIRING
        )
        with self._database.write() as connection:
            if connection.execute(fires.limit(1)).first() is None:
                return False
            connection.execute(statement.on_conflict_do_update(index_elements=["fingerprint"], set_=values))
            look_again(connection, ack.created_at)
        return True

    def withdraw_ack(self, fingerprint: str, now: datetime) -> bool:
        """Forget an ack; False where there is none."""
        with self._database.write() as connection:
            found = connection.execute(delete(acks).where(acks.c.fingerprint == fingerprint)).rowcount
            look_again(connection, now)
        return found == 1
