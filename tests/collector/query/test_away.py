"""Queries while the server of the catalog is away, and when it is back."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import duckdb
import pytest

from helpers.batches import predictions
from lapwing_collector.engine.place import CatalogServer, Folder, Place
from lapwing_collector.errors import DamagedFileError, QueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import Session
from lapwing_collector.query.mistakes import may_pass, query_error

if TYPE_CHECKING:
    from helpers.postgres import Server

pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")

QUERIES = (
    "SELECT count(*) AS n FROM predictions.churn",
    "SELECT count(*) AS n FROM models",
    "SELECT count(*) AS n FROM service_profile('churn', now() - INTERVAL 1 DAY, now())",
)
TOLD = "server closed the connection unexpectedly"
AWAY = r"^the lake does not answer.*doctor` says more$"
END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname LIKE 'lake%'
"""


@pytest.fixture(scope="module")
def session(postgres: "Server", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    place = Place(CatalogServer.of(postgres.database()), Folder(tmp_path_factory.mktemp("lake")))
    with closing(Lake.open(place)) as lake:
        lake.flush(
            [predictions("churn", [{"prediction_id": "p", "inputs.age": 30, "output.told": TOLD}])],
            [],
            Progress(1, 0),
        )
    with closing(Session.open(place)) as session:
        yield session


def ask(session: Session, sql: str, *, holding: bool) -> int:
    return session.stream(sql, {}, lambda rows: rows.read_all().num_rows, holding=holding)


@pytest.mark.parametrize("holding", [False, True])
def test_a_catalog_that_is_away_is_no_damage_and_stays_unnamed(
    session: Session, postgres: "Server", *, holding: bool
) -> None:
    """Who asks is told in a sentence that nothing answers, not where that is, and answered again later."""
    for sql in QUERIES:
        assert ask(session, sql, holding=holding) == 1
    postgres.stop()
    try:
        for sql in QUERIES:
            with pytest.raises(QueryError, match=AWAY) as told:
                ask(session, sql, holding=holding)
            assert not isinstance(told.value, DamagedFileError)
        with pytest.raises(QueryError, match=AWAY):
            session.explain(QUERIES[-1])
    finally:
        postgres.start()
    for sql in QUERIES:
        assert ask(session, sql, holding=holding) == 1


@pytest.mark.parametrize("holding", [False, True])
def test_a_connection_that_was_ended_costs_no_answer(
    session: Session, postgres: "Server", *, holding: bool
) -> None:
    """Where the server was restarted meanwhile, a query is answered over a new connection."""
    for sql in QUERIES:
        assert ask(session, sql, holding=holding) == 1
        postgres.execute(END_OTHERS)
        assert ask(session, sql, holding=holding) == 1


@pytest.mark.parametrize(
    ("kind", "type_", "message"),
    [
        (duckdb.Error, "Invalid", "Failed to get data file list from DuckLake: server closed the connection"),
        (duckdb.Error, "Invalid", 'Failed to execute query \\"ROLLBACK\\": '),
        (duckdb.BinderException, "Binder", "Failed to prepare: server closed the connection unexpectedly"),
        (
            duckdb.InvalidInputException,
            "Invalid Input",
            r"Attempting to fetch from it\nError: Invalid Error: Failed to get: no connection to the server",
        ),
        (OSError, "TransactionContext", "Failed to commit: server closed the connection unexpectedly"),
        (duckdb.TransactionException, "TransactionContext", "Failed to commit: no connection to the server"),
        (
            duckdb.Error,
            "Invalid",
            "Failed to query: FATAL:  terminating connection due to administrator command",
        ),
        (duckdb.IOException, "IO", "HTTP GET error on 'https://store.example.org/bucket/a' (HTTP 503)"),
    ],
)
def test_servers_that_hang_up_are_away_in_errors_of_every_kind(
    kind: type[Exception], type_: str, message: str
) -> None:
    """What DuckDB says when a server leaves in the middle of a query is no damage, and worth a second try."""
    error = kind(f'{type_} Error: {{"exception_type":"{type_}","exception_message":"{message}"}}')
    assert may_pass(error)
    told = query_error(error, "SELECT 1", "s3://bucket/lake/")
    assert re.match(AWAY, str(told))
    assert not isinstance(told, DamagedFileError)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT output.told::INT FROM predictions.churn",
        "SELECT 'HTTP Client error 503'::INT",
        "SELECT strptime('terminating connection', '%Y')",
        "SELECT error('HTTP GET error')",
        "SELECT error('Failed to commit: server closed the connection')",
        "SELECT error(inputs.age || 'Failed to get: server closed the connection') FROM predictions.churn",
    ],
)
def test_what_rows_and_queries_say_is_no_server(session: Session, sql: str) -> None:
    """Who converts a text about a connection, or raises one, is told their own mistake."""
    with pytest.raises(QueryError) as told:
        session.run(sql)
    assert not re.match(AWAY, str(told.value))
