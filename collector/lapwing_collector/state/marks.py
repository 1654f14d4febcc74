"""How far the collectors are that share a state, and what they brought into the lake."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Final

from sqlalchemy import case, delete, func, or_, select

from lapwing_collector.model.replicas import Arrival, Mark
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import insert
from lapwing_collector.state.schema import arrivals, marks

_MARK_FIELDS: Final = tuple(field.name for field in fields(Mark))


class Marks:
    """Marks and arrivals of a state database."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    def tell_mark(self, mark: Mark) -> None:
        """Tell how far a collector is; after `tell_arrivals` of all that this covers."""
        statement = insert(marks)
        changed = {field: statement.excluded[field] for field in _MARK_FIELDS if field != "collector"}
        statement = statement.on_conflict_do_update(index_elements=["collector"], set_=changed)
        with self._database.note() as connection:
            connection.execute(statement, asdict(mark))

    def tell_arrivals(self, newest: Mapping[str, datetime | None]) -> None:
        """Tell which tables have new rows, with the newest event time of each."""
        if not newest:
            return
        statement = insert(arrivals)
        new = statement.excluded
        later = or_(arrivals.c.newest.is_(None), new.newest > arrivals.c.newest)
        changed = {"newest": case((later, new.newest), else_=arrivals.c.newest), "number": new.number}
        statement = statement.on_conflict_do_update(index_elements=["table"], set_=changed)
        with self._database.write() as connection:
            newest_number = select(func.coalesce(func.max(arrivals.c.number), 0))
            number = connection.execute(newest_number).scalar_one() + 1
            connection.execute(
                statement,
                [{"table": table, "newest": at, "number": number} for table, at in sorted(newest.items())],
            )

    def marks(self) -> list[Mark]:
        """How far each collector is, as far as it told."""
        with self._database.read() as connection:
            return [Mark(*row) for row in connection.execute(select(marks).order_by(marks.c.collector))]

    def arrivals(self, after: int) -> list[Arrival]:
        """What was told after something with this number; of each table that is told once."""
        query = select(arrivals).where(arrivals.c.number > after).order_by(arrivals.c.number)
        with self._database.read() as connection:
            return [Arrival(*row) for row in connection.execute(query)]

    def forget_mark(self, collector: str) -> None:
        """Wait no more for a collector that has brought all that it had."""
        with self._database.note() as connection:
            connection.execute(delete(marks).where(marks.c.collector == collector))

    def forget_marks(self, before: datetime) -> None:
        """Forget collectors that told last before a time."""
        with self._database.note() as connection:
            connection.execute(delete(marks).where(marks.c.seen_at < before))
