"""Processes that share a state: each tells that it is there, and one of them leads."""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select

from lapwing_collector.model.replicas import Leader, Replica
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import Role, insert
from lapwing_collector.state.schema import leadership, replicas

_FIELDS: Final = tuple(field.name for field in fields(Replica))


class Replicas:
    """Who shares a state database. None of it waits for who writes the rest."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    @property
    def name(self) -> str:
        """What this process is called among those who share the database."""
        return self._database.name

    def beat(self, replica: Replica) -> None:
        """Tell that a replica is there."""
        statement = insert(replicas)
        changed = {field: statement.excluded[field] for field in _FIELDS if field != "name"}
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=changed)
        with self._database.note() as connection:
            connection.execute(statement, asdict(replica))

    def replicas(self) -> list[Replica]:
        """Those that told, oldest first, whether they are there still or not."""
        with self._database.read() as connection:
            rows = connection.execute(select(replicas).order_by(replicas.c.since, replicas.c.name))
            return [Replica(*row) for row in rows]

    def leader(self) -> Leader | None:
        """Who leads, or did last; None where nobody did."""
        with self._database.read() as connection:
            row = connection.execute(select(leadership)).one_or_none()
            return None if row is None else Leader(*row)

    def forget_replicas(self, before: datetime, *, but: str) -> None:
        """Forget those that told last before a time, but for one."""
        with self._database.note() as connection:
            connection.execute(delete(replicas).where(replicas.c.seen_at < before, replicas.c.name != but))

    def leave(self, name: str) -> None:
        """Forget a replica that ends in good order."""
        with self._database.note() as connection:
            connection.execute(delete(replicas).where(replicas.c.name == name))

    def holder(self, role: Role = Role.OWNER) -> str | None:
        """Which replica's session holds the lock of a role; None where none does."""
        return self._database.holder(role)

    def evict(self, name: str, role: Role = Role.OWNER) -> None:
        """End the session by which a replica has a role; what it began in it and did not commit is gone."""
        self._database.evict(name, role)
