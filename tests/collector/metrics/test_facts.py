"""What samples of rows show."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lapwing_collector.metrics import facts_of
from lapwing_collector.model.facts import Facts, FieldFacts

START = datetime(2026, 1, 1)


def look(inputs: list[dict[str, Any]], *more: pa.Table, classes_of: tuple[str, ...] = ()) -> Facts:
    rows = pa.table(
        {
            "prediction_id": [str(n) for n in range(len(inputs))],
            "time": [START] * len(inputs),
            "inputs": inputs,
        }
    )
    return facts_of([*more, rows], [], classes_of=classes_of, predictions_stored=7, labels_stored=3)


def test_values_are_counted_by_kind() -> None:
    """Nulls are left out, nested fields have dotted names, and only asked-for classes are told."""
    rows = [
        {"n": 1, "x": float("inf"), "t": "a b", "b": True, "deep": {"s": "2026-01-01"}, "e": [0.5]},
        {"n": None, "x": float("nan"), "t": None, "b": None, "deep": None, "e": None},
        {
            "n": 3,
            "x": -2.5,
            "t": " c\td  e ",
            "b": False,
            "deep": {"s": "2026-01-01T10:00:00+02:00"},
            "e": [],
        },
    ]
    facts = look(rows, classes_of=("inputs.n", "inputs.b"))
    assert facts.fields == {
        "inputs.n": FieldFacts(2, 2, least=1.0, greatest=3.0, classes=("1", "3")),
        "inputs.x": FieldFacts(1, 1, least=-2.5, greatest=-2.5),
        "inputs.t": FieldFacts(2, 2, words=2.5, times=0.0),
        "inputs.b": FieldFacts(2, 2, classes=("false", "true")),
        "inputs.deep.s": FieldFacts(2, 2, words=1.0, times=1.0),
    }
    assert (facts.predictions, facts.labels) == (7, 3)


def test_a_field_of_which_the_type_was_widened_counts_as_it_is_now() -> None:
    """Older files have a field as integers, or not at all: those with its type of today are looked at."""
    older = pa.table({"prediction_id": ["a"], "time": [START], "inputs": [{"n": 1}]})
    assert look([{"n": 0.5, "m": "x"}], older).fields["inputs.n"] == FieldFacts(1, 1, least=0.5, greatest=0.5)


def test_no_rows_show_nothing() -> None:
    """A model without rows, or with nulls only, has facts that say so."""
    assert facts_of([], [], classes_of=(), predictions_stored=0, labels_stored=0) == Facts()
    nulls = pa.table({"prediction_id": ["a"], "time": [START], "inputs": pa.array([{"t": None}], STRUCT)})
    seen = facts_of([nulls], [], classes_of=(), predictions_stored=1, labels_stored=0)
    assert seen.fields == {"inputs.t": FieldFacts(0, 0)}


STRUCT = pa.struct([("t", pa.string())])


def delays(seconds: list[float], known: list[bool]) -> Facts:
    ids = [str(n) for n in range(len(seconds))]
    made = pa.table({"prediction_id": ids, "time": pa.array([START] * len(ids), pa.timestamp("us"))})
    told = pa.table(
        {
            "prediction_id": ids,
            "prediction_time": pa.array([START if k else None for k in known], pa.timestamp("us")),
            "time": pa.array([START + timedelta(seconds=s) for s in seconds], pa.timestamp("us")),
        }
    )
    return facts_of([made], [told], classes_of=(), predictions_stored=0, labels_stored=0)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0, 1e7), st.booleans()), min_size=100, max_size=150))
def test_the_delay_of_labels_is_that_of_numpy(pairs: list[tuple[float, bool]]) -> None:
    """The 95th percentile to two digits, whether labels know the prediction's time or are found by id."""
    seconds, known = map(list, zip(*pairs, strict=True))
    expected = float(f"{np.quantile(np.round(seconds, 6), 0.95):.1e}")
    found = delays(seconds, known).label_delay_s
    assert found is not None
    assert abs(found - expected) <= 0.1 * expected + 1e-6
    assert found >= np.quantile(np.round(seconds, 6), 0.95) * (1 - 1e-12)


def test_a_delay_is_never_told_too_short() -> None:
    """Labels that all come a day later are expected after a day and some minutes, not before it."""
    assert delays([86_400.0] * 100, [True] * 100).label_delay_s == 87_000.0


def test_few_labels_tell_no_delay() -> None:
    """Below a hundred, the first labels would stand for those that have not come yet."""
    assert delays([1.0] * 99, [True] * 99).label_delay_s is None
    assert delays([1.0] * 100, [True] * 100).label_delay_s == 1.0


def test_facts_survive_being_written_down() -> None:
    """What was seen reads back as it was."""
    facts = look([{"n": 1, "t": "a"}], classes_of=("inputs.t",))
    assert Facts.from_json(facts.to_json()) == facts
