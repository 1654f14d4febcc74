"""The demo from start to end, held against the raw flights: rows, joined labels, alerts and their values.

LAPWING_DEMO_DATA names what a demo of all ten months left: CI holds what `make demo` leaves. The long
campaign replays four months itself, in which each alert fires.
"""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.faults_plan import LONG
from helpers.flights_oracle import expected_metrics, expected_transitions, floats, predicted
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.demo.flights import INPUTS
from lapwing_collector.query import Session
from lapwing_collector.state import Delivery, Store

COMMAND = [sys.executable, "-m", "lapwing_collector.cli"]
LEFT = os.environ.get("LAPWING_DEMO_DATA")
UNTIL = datetime(2014 if LEFT else 2013, 1 if LEFT else 7, 1)


@dataclass(frozen=True)
class Run:
    """What one demo left behind."""

    data: Path
    said: str | None
    flights: pd.DataFrame
    table: pd.DataFrame

    def ask(self, sql: str) -> pd.DataFrame:
        session = Session.open(self.data / "lake")
        try:
            return session.run(sql).to_pandas(types_mapper=None)
        finally:
            session.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, flights: pd.DataFrame) -> Run:
    replayed = flights[flights["departed_at"] < UNTIL + timedelta(hours=12)]
    if LEFT:
        return Run(Path(LEFT), None, replayed, predicted(replayed))
    if not LONG:
        pytest.skip("CI holds what `make demo` leaves, see .ci/run; LAPWING_FAULTS=long replays it here")
    data = tmp_path_factory.mktemp("demo") / "data"
    done = subprocess.run(
        [*COMMAND, "demo", "--once", "--data", str(data), "--until", f"{UNTIL:%Y-%m-%d}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(data, done.stdout, replayed, predicted(replayed))


@pytest.fixture(scope="module")
def store(run: Run) -> Iterator[Store]:
    opened = Store.open(DataDirectory(run.data).state)
    yield opened
    opened.close()


def test_every_flight_is_a_row_as_it_was(run: Run) -> None:
    """Each of the flights is stored once, its inputs, times and nulls those of the source."""
    columns = ", ".join(f"inputs.{name} AS {name}" for name in INPUTS)
    stored = run.ask(
        f"SELECT time, inputs.flight AS flight, error_type, output, {columns} FROM predictions.flights"
    )
    assert len(stored) == len(run.table) >= 110_000
    assert stored["flight"].is_unique
    stored = stored.set_index("flight").loc[run.table["flight_id"]]
    assert (stored["time"].to_numpy() == run.table["departed_at"].to_numpy()).all()
    for name in INPUTS:
        source = run.table[name]
        if pd.api.types.is_numeric_dtype(source):
            np.testing.assert_array_equal(floats(stored[name]), floats(source), err_msg=name)
        else:
            assert stored[name].tolist() == source.tolist(), name
    assert (stored["error_type"].notna().to_numpy() == run.table["failed"].to_numpy()).all()
    late = [None if output is None else output["late"] for output in stored["output"]]
    assert late == [None if pd.isna(value) else bool(value) for value in run.table["predicted"]]


def test_every_truth_is_joined(run: Run) -> None:
    """Each flight that arrived has its label and the time it was known; the diverted ones have none."""
    joined = run.ask("SELECT inputs.flight AS flight, label, label_time FROM labeled.flights").set_index(
        "flight"
    )
    joined = joined.loc[run.table["flight_id"]]
    known = run.table["late"].notna().to_numpy()
    assert (joined["label"].notna().to_numpy() == known).all()
    assert joined["label"][known].tolist() == run.table["late"][known].tolist()
    assert (joined["label_time"][known].to_numpy() == run.table["arrived_at"][known].to_numpy()).all()


def test_the_documented_query_works_as_typed(run: Run) -> None:
    """Accuracy by origin, from the command line, equals pandas."""
    query = "SELECT inputs.origin, avg((output.late = label)::INT) FROM labeled.flights GROUP BY 1"
    done = subprocess.run(
        [*COMMAND, "sql", query, "--data", str(run.data), "-f", "json"], capture_output=True, check=True
    )
    answer = {
        row["origin"]: next(v for k, v in row.items() if k != "origin") for row in json.loads(done.stdout)
    }
    expected = run.table.groupby("origin")["right"].mean()
    assert answer == pytest.approx({origin: float(share) for origin, share in expected.items()}, abs=1e-12)


def test_alerts_are_those_of_the_raw_data(run: Run, store: Store) -> None:
    """The same alerts fire and resolve at the same slots with the same values as computed without Lapwing."""
    hidden = {"alertname", "model", "severity"}
    found = sorted(
        (
            (
                transition.rule.name,
                tuple((k, v) for k, v in sorted(transition.instance.labels.items()) if k not in hidden),
                str(transition.status),
                transition.slot,
            ),
            transition.instance.value,
        )
        for transition in store.history(limit=1000)
    )
    expected = sorted(
        ((t.alert, tuple(sorted(t.labels.items())), t.status, t.slot), t.value)
        for t in expected_transitions(run.flights, run.table)
    )
    assert [key for key, _ in found] == [key for key, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=1e-9)


def test_metrics_are_those_of_the_raw_data(run: Run) -> None:
    """Each metric has one row per window and origin, with the value, count and coverage of pandas."""
    stored = run.ask(
        "SELECT metric, series['origin'] AS origin, window_start, window_end, value, sample_count, "
        "label_coverage FROM metric_values"
    )
    found = {
        (row["metric"], row["origin"], row["window_start"], row["window_end"]): row
        for row in stored.to_dict("records")
    }
    assert len(found) == len(stored)
    expected = expected_metrics(run.flights, run.table)
    assert {(m.metric, m.series["origin"], m.window_start, m.window_end) for m in expected} == set(found)
    for metric in expected:
        row: dict[Any, Any] = found[
            metric.metric, metric.series["origin"], metric.window_start, metric.window_end
        ]
        assert row["sample_count"] == metric.sample_count
        assert row["value"] == pytest.approx(metric.value, abs=1e-9, nan_ok=True)
        coverage = math.nan if metric.label_coverage is None else metric.label_coverage
        assert row["label_coverage"] == pytest.approx(coverage, abs=1e-9, nan_ok=True)


def test_each_transition_was_told_once_to_each_target(run: Run, store: Store) -> None:
    """The outbox holds one sent message per transition and target, none tried twice."""
    told = len(expected_transitions(run.flights, run.table))
    rows = store.outbox_rows(limit=10_000)
    assert {row.delivery for row in rows} == {Delivery.SENT}
    assert Counter(row.message.target for row in rows) == {"webhook": told, "mail": told}
    assert len({row.message.key for row in rows}) == len(rows)
    assert {row.attempts for row in rows} == {1}
    assert len(store.history(limit=1000)) == told


def test_the_summary_says_how_to_go_on(run: Run) -> None:
    """The demo ends with what it found and commands that can be copied."""
    if run.said is None:
        pytest.skip("it ran before")
    told = len(expected_transitions(run.flights, run.table))
    assert f"each was told once by webhook ({told}) and once by mail ({told})" in run.said
    assert "InputDrift" in run.said
    assert "✗" not in run.said
    assert f'lapwing sql --data {run.data} "SELECT' in run.said
