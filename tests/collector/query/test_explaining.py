"""The SQL behind metrics, as people are shown it."""

import duckdb
import pytest

from helpers.metrics import END, START, Measured
from helpers.query_lake import make_lake
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.query import METRICS, Session, explain, script
from lapwing_collector.query.library.functions import FUNCTIONS, register


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session.open(make_lake(tmp_path_factory.mktemp("data") / "lake"))


@pytest.mark.parametrize("name", {metric.group: name for name, metric in METRICS.items()}.values())
def test_what_is_shown_is_all_there_is(name: str) -> None:
    """The SQL that explains a metric makes it work on a connection that has nothing else."""
    with duckdb.connect() as connection:
        for function in FUNCTIONS:
            register(connection, function)
        connection.execute(script(explain([METRICS[name]], {})))
        made = connection.execute(
            "SELECT 1 FROM duckdb_functions() WHERE function_name = $name", {"name": name}
        )
        assert made.fetchone()


@pytest.mark.parametrize(
    ("call", "views"),
    [
        ("service_profile('churn', {span})", set()),
        ("error_rate('churn', {span})", {"scored:churn"}),
        ("accuracy('churn', {span})", {"described:churn", "scored:churn", "truths:churn", "untimed:churn"}),
    ],
)
def test_only_views_that_are_read_are_made(session: Session, call: str, views: set[str]) -> None:
    """A metric has those views of its model that it reads, and counts by hour need none."""
    span = "TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02'"
    explained = session.explain(f"FROM {call.format(span=span)}").to_pylist()
    assert {row["name"] for row in explained if row["part"] == "view"} == views


def test_a_query_is_explained(session: Session) -> None:
    """It names views, pieces and metrics, and run elsewhere over the same rows they give the same answer."""
    sql = "SELECT value FROM accuracy('churn', TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02')"
    explained = session.explain(sql).to_pylist()
    kinds = [row["part"] for row in explained]
    assert kinds == sorted(kinds, key=["view", "function", "piece", "metric"].index)
    assert {"scored:churn", "truths:churn", "lapwing_labeled", "accuracy"} <= {
        row["name"] for row in explained
    }
    views = {row["name"]: row["sql"] for row in explained if row["part"] == "view"}
    assert '"output"."late"' in views["scored:churn"]
    measured = Measured()
    measured.put(
        "churn", [{"output.late": True}, {"output.late": False}], [{"prediction_id": "0", "label": True}]
    )
    for row in explained:
        measured.connection.execute(row["sql"].replace("CREATE TEMP", "CREATE OR REPLACE TEMP"))
    assert measured.connection.execute(sql).fetchall() == [(1.0,)]
    measured.close()


def test_a_query_without_metrics_has_nothing_behind_it(session: Session) -> None:
    """What calls no metric is explained by no rows, and a mistake is told as when it runs."""
    assert session.explain("SELECT 1").num_rows == 0
    with pytest.raises(NotSeenYetError, match="did you mean churn"):
        session.explain("FROM accuracy('chum', $since, $until)")


def test_explaining_leaves_nothing_behind(session: Session) -> None:
    """A session that explained a query answers it as before."""
    sql = "SELECT value FROM prediction_count('churn', $since, $until)"
    for _ in range(2):
        session.explain(sql)
        assert session.run(sql, {"since": START, "until": END}).to_pylist() == [{"value": 10.0}]
