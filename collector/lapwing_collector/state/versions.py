"""Which schema a state has, looked up without bringing it up to date."""

from sqlalchemy import inspect, select
from sqlalchemy.exc import SQLAlchemyError

from lapwing_collector.errors import DataDirectoryError, StateUnavailableError
from lapwing_collector.state.dialects import Place
from lapwing_collector.state.schema import refuse_newer, schema_version


def schema_of(place: Place) -> int | None:
    """The schema of a state; None where none was made yet.

    Raises:
        DataDirectoryError: It was written by a newer version, or cannot be used.
        StateUnavailableError: It is away.
    """
    if not place.exists():
        return None
    reading, writing = place.engines(owner=False)
    try:
        with reading.connect() as connection, connection.begin():
            if not inspect(connection).has_table(schema_version.name):
                return None
            found: int = connection.execute(select(schema_version.c.version)).scalar_one()
    except SQLAlchemyError as error:
        kind = StateUnavailableError if place.is_away(error) else DataDirectoryError
        raise kind(f"{place.name}: cannot be used as the alert state: {place.explain(error)}") from error
    finally:
        for engine in (reading, writing):
            engine.dispose()
    refuse_newer(found, place.name)
    return found
