"""Makes the library known to a connection."""

import duckdb

from lapwing_collector.query.library.catalogue import LIBRARY
from lapwing_collector.query.library.functions import register


def load(connection: duckdb.DuckDBPyConnection) -> None:
    """Let SQL on `connection` call the metrics; only a connection that has not got them may be given.

    They read the views `scored:…`, `truths:…` and `described:…` of the model that they are called for.
    """
    register(connection)
    connection.execute(LIBRARY)
