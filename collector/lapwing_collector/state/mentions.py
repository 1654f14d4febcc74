"""Where a state says a text, for who has to show that it is nowhere."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Enum,
    String,
    Table,
    Text,
    exists,
    func,
    or_,
    select,
    type_coerce,
)

from lapwing_collector.state.database import Database
from lapwing_collector.state.documents import as_json
from lapwing_collector.state.schema import metadata


class Mentions:
    """Looks through all that a state database has."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    def mentions(self, texts: Collection[str]) -> list[str]:
        """The tables with a row in which one of some texts stands, as it is or within a document."""
        written = {*texts, *(as_json(text)[1:-1] for text in texts)}
        if not written:
            return []
        with self._database.read() as connection:
            return [
                table.name
                for table in metadata.sorted_tables
                if (said := _says(table, written)) is not None
                and connection.execute(select(exists().select_from(table).where(said))).scalar()
            ]


def _says(table: Table, texts: Collection[str]) -> ColumnElement[bool] | None:
    columns = [type_coerce(column, Text) for column in table.columns if _has_texts(column)]
    if not columns:
        return None
    return or_(*(func.replace(column, text, "") != column for column in columns for text in texts))


def _has_texts(column: Column[Any]) -> bool:
    return isinstance(column.type, (String, JSON)) and not isinstance(column.type, Enum)
