"""Test files of rules: series as promtool writes them, and what is wrong with a file."""

import math
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.errors import MistakesError
from lapwing_collector.rules import load_cases
from lapwing_collector.rules.cases import SeriesEntry, points


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("1 2.5 -3 1e3", [1, 2.5, -3, 1000]),
        ("0+10x3", [0, 10, 20, 30]),
        ("5-2x2", [5, 3, 1]),
        ("-1+0.5x2", [-1, -0.5, 0]),
        ("7x2", [7, 7, 7]),
        ("_ 1 _x2 2", [None, 1, None, None, 2]),
        ("-Inf +Inf", [-math.inf, math.inf]),
    ],
)
def test_values_are_written_as_in_promtool(text: str, expected: list[float | None]) -> None:
    """A start, a step and how often it is taken; an underscore is no value."""
    assert points(text) == expected


@given(st.lists(st.none() | st.floats(allow_nan=False), max_size=20))
def test_plain_values_are_read_as_they_are(values: list[float | None]) -> None:
    """What is written down one by one comes back one by one."""
    text = " ".join("_" if value is None else repr(value).replace("inf", "Inf") for value in values)
    assert points(text) == values


@pytest.mark.parametrize("text", ["x", "1x", "1+x3", "1+2", "0x1000001", "_x9999999"])
def test_other_values_are_refused(text: str) -> None:
    """With what is expected instead."""
    with pytest.raises(ValueError, match="values"):
        points(text)


def test_a_series_stands_for_rows() -> None:
    """Labels become columns, each value as many rows as asked for."""
    entry = SeriesEntry(
        series='predictions.churn{version="v7", tags.plan="a \\"b\\""}',
        values="1 _ 2",
        column="output.value",
        rows=2,
    )
    start = datetime(2026, 1, 1)
    common = {"version": "v7", "tags.plan": 'a "b"'}
    first, second = (
        {"time": start, "output.value": 1.0},
        {"time": start + timedelta(minutes=2), "output.value": 2.0},
    )
    assert entry.table == "predictions.churn"
    assert list(entry.rows_from(start, timedelta(minutes=1))) == [
        common | first,
        common | first,
        common | second,
        common | second,
    ]


def test_all_mistakes_of_a_test_file_are_told_with_their_lines() -> None:
    """As of any other file."""
    text = """\
rule_files: []
tests:
  - start_timestamp: soon
    input_series:
      - {series: 'churn{', values: [1]}
    input_tables:
      a: {}
  - alert_rule_test: [{eval_time: 1, alertname: A, exp_alert: []}]
"""
    with pytest.raises(MistakesError) as error:
        load_cases(text, "t.yaml")
    assert [line[:62] for line in str(error.value).splitlines()] == [
        "t.yaml:1: rule_files: expected List should have at least 1 ite",
        "t.yaml:3: tests[0].start_timestamp: expected a time such as 20",
        "t.yaml:3: tests[0]: tests nothing; it needs one of the keys al",
        "t.yaml:5: tests[0].input_series[0].series: expected a series s",
        "t.yaml:5: tests[0].input_series[0].values: expected a valid st",
        "t.yaml:7: tests[0].input_tables.a: needs one of the keys file ",
        "t.yaml:8: tests[1].alert_rule_test[0].eval_time: expected a du",
        "t.yaml:8: tests[1].alert_rule_test[0].exp_alert: is not a key ",
    ]
