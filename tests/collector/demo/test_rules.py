"""The example's rules, run by DuckDB on tables in the lake's shape, against the independent computation.

They are run for four months, in which each alert fires; the long campaign runs them for all ten, and CI holds
what `make demo` leaves of all ten against the same computation (`test_whole_demo`).
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from itertools import islice, takewhile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from helpers import flights_oracle as oracle
from helpers.faults_plan import LONG
from helpers.metrics import Measured
from lapwing_collector import rules
from lapwing_collector.config import load_settings
from lapwing_collector.demo.flights import INPUTS, REPLAY_FROM, training
from lapwing_collector.lake.statements import statement
from lapwing_collector.model.alerts import RuleState

RULES_FILE = Path(__file__).parents[3] / "examples" / "flights" / "rules.yaml"
RULES = {rule.id.name: rule for rule in rules.load_rules(RULES_FILE.read_text(), RULES_FILE.name)}
ALERTS = [name for name, rule in RULES.items() if rule.kind == "alert"]
RECORDS = [name for name, rule in RULES.items() if rule.kind == "record"]

UNTIL = datetime(2014, 1, 1) if LONG else datetime(2013, 7, 1)

Results = Callable[[str], dict[datetime, rules.Rows]]
"""What a rule's SQL returned at each slot; run when it is first asked for."""


@pytest.fixture(scope="module")
def predicted(flights: pd.DataFrame) -> pd.DataFrame:
    """The replayed flights with the model's answers."""
    return oracle.predicted(flights)


@pytest.fixture(scope="module")
def expected(flights: pd.DataFrame, predicted: pd.DataFrame) -> list[oracle.Transition]:
    """What the alerts should do."""
    return oracle.expected_transitions(flights, predicted)


@pytest.fixture(scope="module")
def slots(predicted: pd.DataFrame) -> list[datetime]:
    """Every midnight of the replay at which a day is over."""
    days = pd.date_range(REPLAY_FROM, predicted["departed_at"].iloc[-1], freq="D")
    return days[1:].to_pydatetime().tolist()


@pytest.fixture(scope="module")
def lake(flights: pd.DataFrame, predicted: pd.DataFrame) -> Iterator[duckdb.DuckDBPyConnection]:
    """What the lake holds after the replay, as far as the rules read it."""
    measured = Measured()
    measured.connection.execute("SET threads = 1")
    inputs = {f"inputs.{name}": predicted[name] for name in INPUTS}
    seen = pd.DataFrame({"time": predicted["departed_at"], "prediction_id": predicted["flight_id"], **inputs})
    seen["output.late"] = predicted["predicted"]
    seen["error_type"] = np.where(predicted["failed"], "UnknownDestinationError", None)
    landed = predicted[predicted["late"].notna()]
    truths = {"prediction_id": landed["flight_id"], "label": landed["late"].astype(bool)}
    truths |= {"prediction_time": landed["departed_at"], "time": landed["arrived_at"]}
    measured.put("flights", seen, pd.DataFrame(truths))
    trained = training(flights)[list(INPUTS)].add_prefix("inputs.")
    measured.profile("flights", sample=trained)
    measured.refer("flights", "train", trained)
    for schema, view in (("predictions", "production_view"), ("labeled", "labeled_view")):
        measured.connection.execute(f"CREATE SCHEMA {schema}")
        measured.connection.execute(f"CREATE VIEW {schema}.flights AS {statement(view, table='flights')}")
    for rule in RULES.values():
        measured.know(rule.expr)
    yield measured.connection
    measured.close()


@pytest.fixture(scope="module")
def results(lake: duckdb.DuckDBPyConnection, slots: list[datetime]) -> Results:

    @cache
    def result(name: str) -> dict[datetime, rules.Rows]:
        asked = {slot: rules.evaluation_query(RULES[name], slot) for slot in slots if slot <= UNTIL}
        return {slot: _ask(lake, query) for slot, query in asked.items()}

    return result


def _ask(lake: duckdb.DuckDBPyConnection, query: rules.Query) -> rules.Rows:
    result = lake.execute(query.sql, query.parameters)
    columns = [(name, str(kind)) for name, kind, *_ in result.description]
    return rules.rows_from(columns, result.fetchall())


def test_alerts_fire_and_resolve_when_the_oracle_says(
    expected: list[oracle.Transition], results: Results
) -> None:
    """All alerts begin and end at the slots, with the labels and values, that the oracle gives."""
    found = []
    for name in ALERTS:
        state = RuleState(RULES[name].definition)
        for slot, rows in results(name).items():
            evaluation = rules.evaluate(RULES[name], rows, state, slot)
            state = evaluation.state
            assert state.error is None
            found += evaluation.transitions
    expected = [step for step in expected if step.slot <= UNTIL]
    assert {step.alert for step in expected} == set(ALERTS)
    steps = [(t.rule.name, t.status.value, t.slot) for t in found]
    assert steps == [(e.alert, e.status, e.slot) for e in expected]
    for transition, wanted in zip(found, expected, strict=True):
        assert wanted.labels.items() <= transition.instance.labels.items()
        assert transition.instance.value == pytest.approx(wanted.value, rel=0, abs=1e-9)


def test_alerts_are_few_and_all_of_them_end(expected: list[oracle.Transition]) -> None:
    """Every rule finds something, all of them in fewer than forty messages, and nothing fires at the end."""
    last = {(step.alert, *step.labels.items()): step.status for step in expected}
    assert {name for name, *_ in last} == set(ALERTS)
    assert set(last.values()) == {"resolved"}
    assert len(expected) < 40


@pytest.mark.parametrize("name", ALERTS)
def test_every_row_is_as_the_oracle_computes_it(
    name: str, flights: pd.DataFrame, predicted: pd.DataFrame, results: Results
) -> None:
    """On every seventh day an alert's rows, values and sample counts agree, also where nothing fires."""
    rule = next(rule for rule in oracle.rules(training(flights)) if rule.name == name)
    until = takewhile(lambda slot_and_rows: slot_and_rows[0] <= UNTIL, oracle.evaluations(rule, predicted))
    for slot, lazy_rows in islice(until, None, None, 7):
        rows = list(lazy_rows)
        columns = [column.name for column in results(name)[slot].columns]
        found = [dict(zip(columns, row, strict=True)) for row in results(name)[slot].tuples]
        by_label = {row[rule.label] if rule.label else "": row for row in found}
        assert by_label.keys() == {row.label for row in rows}
        for row in rows:
            assert by_label[row.label]["sample_count"] == row.sample_count
            if row.sample_count:
                assert by_label[row.label]["value"] == pytest.approx(row.value, rel=0, abs=1e-9)
            else:
                assert by_label[row.label]["value"] is None


def test_recorded_metrics_are_as_the_oracle_computes_them(
    flights: pd.DataFrame, predicted: pd.DataFrame, results: Results
) -> None:
    """Every day's late share and accuracy per origin agree, with sample counts and label coverage."""
    recorded = [
        metric
        for name in RECORDS
        for slot, rows in results(name).items()
        for metric in rules.evaluate(RULES[name], rows, RuleState(RULES[name].definition), slot).metrics
    ]
    assert {metric.model for metric in recorded} == {"flights"}
    found = {(m.metric, m.series["origin"], m.window_start, m.window_end): m for m in recorded}
    expected = {
        (m.metric, m.series["origin"], m[2], m[3]): m
        for m in oracle.expected_metrics(flights, predicted)
        if m.window_end + RULES[m.metric].query_offset <= UNTIL
    }
    assert found.keys() == expected.keys()
    for key, wanted in expected.items():
        metric = found[key]
        assert metric.sample_count == wanted.sample_count
        assert metric.value == pytest.approx(wanted.value, rel=0, abs=1e-9)
        if wanted.label_coverage is None:
            assert metric.label_coverage is None
        else:
            assert metric.label_coverage == pytest.approx(wanted.label_coverage, rel=0, abs=1e-9)


def test_slots_wait_only_after_days_of_diversions(
    lake: duckdb.DuckDBPyConnection, slots: list[datetime]
) -> None:
    """Accuracy is judged at once on all but five days, which follow storms and never get enough labels."""
    waiting = []
    for slot in slots:
        query = rules.wait_query(RULES["AccuracyLow"], slot)
        assert query is not None
        if lake.execute(query.sql, query.parameters).fetchone() != (True,):
            waiting.append(f"{slot:%m-%d}")
    assert waiting == ["07-13", "07-14", "09-14", "09-15", "09-16"]


@pytest.mark.parametrize("name", ["AccuracyLow", "accuracy"])
def test_labels_of_a_window_are_known_when_its_slot_is_due(name: str, predicted: pd.DataFrame) -> None:
    """Every flight lands within the rules' `query_offset`, so that no label comes after its slot."""
    assert (predicted["arrived_at"] - predicted["departed_at"]).max() < RULES[name].query_offset


def test_the_settings_name_the_rules_and_count_time_by_the_data() -> None:
    """The example's settings file is valid, replays by event time, and leads to the rules beside it."""
    settings = load_settings(RULES_FILE.with_name("lapwing.yaml"), environment={})
    assert (settings.clock, settings.rules, settings.notify) == ("data", (RULES_FILE.name,), "notify.yaml")
