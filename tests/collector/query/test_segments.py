"""Queries over one segment of the rows that they read."""

from collections.abc import Iterator
from datetime import timedelta

import duckdb
import pytest

from helpers.metrics import END, START, Measured
from lapwing_collector.query import SEGMENT, segment_values, within_segment


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """Predictions of two models, with labels of one, as the lake's views show them."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE SCHEMA predictions")
        connection.execute("CREATE SCHEMA labeled")
        connection.execute(
            """
            CREATE TABLE predictions."my model" AS
            SELECT
                TIMESTAMP '2026-01-01' + INTERVAL (i) SECOND AS time,
                i::VARCHAR AS prediction_id,
                {'carrier': CASE WHEN i % 4 = 0 THEN 'UA' ELSE 'o''B' END, 'a.b': i % 2} AS inputs,
                MAP {'region': CASE WHEN i < 50 THEN 'north' ELSE 'south' END} AS tags,
                i::DOUBLE AS score,
                CASE WHEN i % 8 = 0 THEN 'ValueError' END AS error_type
            FROM range(100) AS r(i)
            """
        )
        connection.execute(
            'CREATE TABLE labeled."my model" AS SELECT *, score > 90 AS label FROM predictions."my model"'
        )
        yield connection


def answer(lake: duckdb.DuckDBPyConnection, sql: str, field: str, value: str) -> list[tuple[object, ...]]:
    """What a query gives within a segment."""
    narrowed = within_segment(lake, sql, field, value)
    assert narrowed is not None
    return lake.execute(narrowed, {SEGMENT: value}).fetchall()


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("inputs.carrier", "UA", "inputs.carrier = 'UA'"),
        ("inputs.carrier", "o'B", "inputs.carrier = 'o''B'"),
        ('inputs."a.b"', "1", 'inputs."a.b" = 1'),
        ("tags.region", "south", "tags['region'] = 'south'"),
        ("prediction_id", "7", "prediction_id = '7'"),
        ("inputs.carrier", "nobody", "false"),
    ],
)
@pytest.mark.parametrize(
    "sql",
    [
        'SELECT count(*), avg(score), count(error_type) FROM predictions."my model" WHERE {0}',
        'SELECT count(*), sum(p.score) FROM Predictions."my model" AS p WHERE p.score > 10 AND {0}',
        'SELECT count(*) FROM predictions."my model" WHERE "my model".score > 10 AND {0}',
        'WITH w AS (SELECT * FROM labeled."my model" WHERE {0}) SELECT count(*), avg(label::INT) FROM w',
        'SELECT n FROM (SELECT count(*) AS n FROM predictions."my model" WHERE {0}) WHERE n >= 0',
        'SELECT 1 FROM predictions."my model" WHERE {0} UNION ALL SELECT 2 FROM labeled."my model" WHERE {0}',
    ],
)
def test_a_query_sees_the_rows_of_the_segment_alone(
    lake: duckdb.DuckDBPyConnection, sql: str, field: str, value: str, where: str
) -> None:
    """Whatever the query, it gives what it would give if it had the condition in it."""
    told = answer(lake, sql.format("true"), field, value)
    assert told == lake.execute(sql.format(where)).fetchall()


def test_parameters_stay(lake: duckdb.DuckDBPyConnection) -> None:
    """The parameters of a query are those of the one that is made of it."""
    sql = 'SELECT count(*) FROM predictions."my model" WHERE time >= $window_start AND time < $window_end'
    narrowed = within_segment(lake, sql, "inputs.carrier", "UA")
    assert narrowed is not None
    bounds = {"window_start": "2026-01-01 00:00:10", "window_end": "2026-01-01 00:00:20"}
    assert lake.execute(narrowed, bounds | {SEGMENT: "UA"}).fetchall() == [(2,)]


def test_what_reads_no_rows_has_no_segments(lake: duckdb.DuckDBPyConnection) -> None:
    """A query that names no table of predictions and no metric is not made narrower."""
    assert within_segment(lake, "SELECT 1 AS value", "inputs.carrier", "UA") is None
    assert within_segment(lake, "SELECT count(*) FROM metric_values", "inputs.carrier", "UA") is None


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("", "segment := 'all', "),
        (", segments := {'region': tags['region']}", "region := tags['region'], "),
    ],
)
def test_a_metric_is_asked_for_one_more_segment(
    lake: duckdb.DuckDBPyConnection, given: str, made: str
) -> None:
    """A metric over rows gets the field beside its own segments, and keeps to one value of it."""
    sql = f"SELECT value FROM accuracy('m', $window_start, $window_end{given}) AS a"
    narrowed = within_segment(lake, sql, "inputs.plan", "pro")
    assert narrowed is not None
    struct = f"main.struct_pack({made}lapwing_segment := CAST(inputs.plan AS VARCHAR))"
    assert f"accuracy('m', $window_start, $window_end, segments := {struct})" in narrowed
    assert "(SELECT * EXCLUDE (lapwing_segment) FROM " in narrowed
    assert narrowed.endswith("WHERE (lapwing_segment = $lapwing_segment)) AS a")


def test_a_metric_over_profiles_is_asked_for_one_of_them(lake: duckdb.DuckDBPyConnection) -> None:
    """A metric that reads profiles is told the segment as it calls them; one that has its own keeps it."""
    made = within_segment(lake, "SELECT value FROM psi('m', $a, $b)", "inputs.plan", "o'B")
    assert made is not None
    assert "segment := 'inputs.plan=o''B'" in made
    own = "SELECT value FROM psi('m', $a, $b, segment := 'version')"
    assert within_segment(lake, own, "inputs.plan", "pro") is None


def test_the_most_frequent_values_come_first(lake: duckdb.DuckDBPyConnection) -> None:
    """The values of a field are told by how many rows of the window have them."""
    bounds = {"window_start": "2026-01-01", "window_end": "2026-01-02", "most": 5}
    found = lake.execute(segment_values("my model", "inputs.carrier"), bounds).fetchall()
    assert found == [("o'B", 75), ("UA", 25)]


@pytest.fixture(scope="module")
def model() -> Iterator[Measured]:
    """A model with labels, and with profiles kept apart by plan."""
    made = Measured()
    rows = [
        {
            "time": START + timedelta(minutes=number),
            "inputs.plan": "pro" if number % 3 else "free",
            "inputs.age": float(number % 10 + (40 if number % 3 and number > 600 else 0)),
            "output.value": number % 2 == 0,
        }
        for number in range(1200)
    ]
    truths = [
        {"prediction_id": str(number), "label": number % 2 == 0 if number % 3 else number % 4 == 0}
        for number in range(1200)
    ]
    made.put("m", rows, truths)
    made.profile("m", segments=["inputs.plan"])
    yield made
    made.close()


PSI = (
    "psi('m', $since + INTERVAL 10 HOUR, $until, fields := 'inputs.age', reference_since := $since, "
    "reference_until := $since + INTERVAL 10 HOUR{})"
)


@pytest.mark.parametrize("plan", ["pro", "free"])
@pytest.mark.parametrize(
    ("call", "apart", "label"),
    [
        ("accuracy('m', $since, $until{})", ", segments := {{'part': inputs.plan}}", "{}"),
        ("prediction_count('m', $since, $until{})", ", segments := {{'part': inputs.plan}}", "{}"),
        (PSI, ", segment := 'inputs.plan'", "inputs.plan={}"),
    ],
)
def test_metrics_over_a_segment_are_those_of_its_rows(
    model: Measured, plan: str, call: str, apart: str, label: str
) -> None:
    """A metric within a segment gives what it gives for that segment when it tells all apart."""
    part = "segment" if "psi" in call else "part"
    sql = f"SELECT value, sample_count FROM {call.format('')}"
    narrowed = within_segment(duckdb.connect(), sql, "inputs.plan", plan)
    assert narrowed is not None
    given = {SEGMENT: plan} if f"${SEGMENT}" in narrowed else {}
    (found,) = model.rows(narrowed, since=START, until=END, **given)
    (expected,) = model.rows(
        f"SELECT value, sample_count FROM {call.format(apart.format())} "
        f"WHERE {part} = '{label.format(plan)}'",
        since=START,
        until=END,
    )
    (whole,) = model.rows(sql, since=START, until=END)
    assert found == expected
    assert found["value"] is not None
    assert found["sample_count"] < whole["sample_count"]
