"""What users' tests are given."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import lapwing
from lapwing import _process, _time, redact, semconv
from lapwing._encode import encode_attribute, encode_value, sized
from lapwing.testing import Record, Recorded, SteppingClock, capture

START = datetime(2026, 1, 1, tzinfo=UTC)
START_NS = 1_767_225_600_000_000_000


@lapwing.watch(model="churn", version="3")
def predict(age: int) -> float:
    """Predict."""
    return age / 100


def test_capture_sees_all_threads_and_puts_back_what_was() -> None:
    """Captures nest, take the records of every thread, and leave the process as it was."""
    before = _process.replace_sink(None)
    _process.replace_sink(before)
    with capture() as outer:
        lapwing.log_prediction(model="outer", inputs={}, output=1)
        with capture() as inner, ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda n: lapwing.log_label(model="inner", label=n, request_id="r"), range(10)))
        lapwing.log_prediction(model="outer", inputs={}, output=2)
    assert [record.model for record in outer.records] == ["outer", "outer"]
    assert sorted(record.label for record in inner.labels) == list(range(10))
    assert inner.predictions == []
    after = _process.replace_sink(before)
    assert after is before


def test_capture_is_loud() -> None:
    """Inside capture, what production would only count raises, so that a test sees it."""
    with capture() as recorded:
        with pytest.raises(ValueError, match="prediction_id or the request_id"):
            lapwing.log_label(model="m", label=1)
        with (
            lapwing.at("noon"),  # type: ignore[arg-type]
            pytest.raises(TypeError, match="a time is a datetime or nanoseconds as an int, not str"),
        ):
            lapwing.watch(model="m")(lambda: 1)()
    assert recorded.records == []


def test_flush_and_stats_work_inside_capture() -> None:
    """Code under test may flush, shut down and count; everything that was recorded counts as acknowledged."""
    with capture() as recorded:
        lapwing.log_prediction(model="m", inputs={}, output=1)
        assert lapwing.flush()
        assert lapwing.shutdown()
        stats = lapwing.stats()
    assert (stats.recorded, stats.acknowledged, stats.pending, stats.dropped) == (1, 1, 0, {})
    assert recorded.stats() == stats


def test_quiet_captures_count() -> None:
    """A capture that is not loud counts what was lost as production does, and numbers it, too."""
    with capture(loud=False) as recorded:
        lapwing.log_label(model="m", label=1)
        lapwing.log_label(model="m", label=2, request_id="r")
        assert not lapwing.flush()
        stats = lapwing.stats()
    assert (stats.recorded, stats.acknowledged, stats.dropped) == (2, 1, {"encode_error": 1})
    assert [record.attributes[semconv.SEQUENCE] for record in recorded.records] == [2]


def test_every_record_of_every_thread_has_its_number() -> None:
    """Threads that record and fail at once neither lose records or counts nor share numbers."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    together = threading.Barrier(8)

    def record() -> None:
        together.wait()
        for _ in range(4000):
            recorded.put(b"")
            recorded.drop("encode_error", ValueError())

    try:
        with capture(loud=False) as recorded:
            threads = [threading.Thread(target=record) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    numbers = [number for number, _ in recorded._entries]
    assert len(set(numbers)) == len(numbers) == 32_000
    assert recorded.stats().recorded == 64_000
    assert recorded.stats().dropped == {"encode_error": 32_000}


def test_a_stepping_clock_moves_when_read() -> None:
    """Every reading moves a clock by its step, whichever of the two it is."""
    clock = SteppingClock(START, step=0.5)
    assert [clock.time_ns() - START_NS for _ in range(2)] == [0, 500_000_000]
    assert clock.perf_counter_ns() == 1_000_000_000
    assert clock.time_ns() == START_NS + 1_500_000_000
    assert SteppingClock().time_ns() == START_NS


def test_a_stepping_clock_moves_when_told() -> None:
    """A clock with no step moves by what it is told to; putting it back changes no duration."""
    clock = SteppingClock(START_NS, step=0)
    clock.advance(1e-9)
    assert (clock.time_ns(), clock.perf_counter_ns()) == (START_NS + 1, 1)
    clock.set(START - timedelta(days=1))
    assert (clock.time_ns(), clock.perf_counter_ns()) == (START_NS - 86_400 * 10**9, 1)


def test_a_stepping_clock_does_not_go_back_by_itself() -> None:
    """A step or an advance below zero is a mistake, and so is a time that is none."""
    with pytest.raises(ValueError, match=r"moves by 0 seconds or more, not by -1"):
        SteppingClock(step=-1)
    clock = SteppingClock(START)
    with pytest.raises(ValueError, match=r"moves by 0 seconds or more, not by -0\.5"):
        clock.advance(-0.5)
    with pytest.raises(TypeError, match="a time is a datetime or nanoseconds as an int, not str"):
        clock.set("noon")  # type: ignore[arg-type]


def test_a_clock_makes_times_and_durations() -> None:
    """Inside capture, predictions and labels have their times and durations from the clock it was given."""
    clock = SteppingClock(START, step=0)

    @lapwing.watch(model="slow")
    def slow() -> int:
        clock.advance(0.25)
        return 1

    with capture(clock=clock) as recorded:
        slow()
        clock.advance(3600)
        lapwing.log_label(model="slow", label=1, prediction_id=lapwing.last_prediction_id())
    (prediction,), (label,) = recorded.predictions, recorded.labels
    assert prediction.time == START_NS
    assert prediction.attributes[semconv.PREDICTION_DURATION] == 0.25
    assert label.time == START_NS + 3_600_250_000_000


def run() -> list[Record]:
    """Record this and that, with a clock."""
    with capture(clock=SteppingClock()) as recorded:
        for age in range(3):
            predict(age)
        lapwing.log_prediction(model="churn", inputs={"age": 3}, output=0.5)
        lapwing.log_label(model="churn", label=True, prediction_id=lapwing.last_prediction_id())
    return recorded.records


def test_records_of_a_clock_are_the_same_in_every_run() -> None:
    """With a clock all of a record is deterministic, ids and durations included; ids are still distinct."""
    first, second = run(), run()
    assert first == second
    assert len({record.prediction_id for record in first}) == 4
    assert first[0].attributes[semconv.PREDICTION_DURATION] == 1.0
    times = [record.time for record in first]
    assert times == sorted(set(times))


def fail_with(clock: SteppingClock) -> None:
    """Raise inside a capture with a clock."""
    with capture(clock=clock):
        assert _time.clock is clock
        raise ZeroDivisionError


def test_the_clock_is_put_back() -> None:
    """After capture, and after an error in it, time and ids come from where they came before."""
    before = _time.clock, _time.random_bits
    inner, outer = SteppingClock(step=0), SteppingClock(START - timedelta(days=1), step=0)
    with capture(clock=outer):
        with pytest.raises(ZeroDivisionError):
            fail_with(inner)
        assert _time.clock is outer
        with capture() as recorded:
            predict(31)
    assert recorded.predictions[0].time == outer.time_ns(), "a capture without a clock changes none"
    assert (_time.clock, _time.random_bits) == before


def test_capture_redacts_by_the_rules_it_is_given() -> None:
    """Rules given to capture are applied as those of production, but for this capture only."""
    with capture(redact=[redact.drop("inputs.age")]) as recorded:
        predict(31)
        with capture() as inner:
            predict(47)
    assert recorded.predictions[0].inputs == {}
    assert inner.predictions[0].inputs == {"age": 47}


def failing(_path: str, _value: object) -> object:
    """Fail, as a rule of a user's."""
    raise LookupError


def test_a_rule_that_fails_is_loud() -> None:
    """A rule that fails raises in a capture that is loud, and else leaves its mark, as in production."""
    rules = [redact.custom(failing, "inputs.age")]
    with capture(redact=rules) as loud, pytest.raises(RuntimeError, match=r"failing.+ LookupError"):
        predict(31)
    with capture(redact=rules, loud=False) as quiet:
        predict(31)
    assert loud.records == []
    assert quiet.predictions[0].inputs == {"age": "<redaction failed>"}


@pytest.mark.parametrize("sample", [0.5, {"churn": 0.5}, {"*": 0.5, "other": 1.0}], ids=str)
def test_capture_samples_as_it_is_told(sample: Any) -> None:
    """Captures of a share of the predictions keep that share, each weighted, the same ones each time."""
    with capture(sample=sample, clock=SteppingClock()) as recorded:
        for age in range(200):
            predict(age)
    kept = recorded.predictions
    assert 60 < len(kept) < 140
    assert {record.attributes[semconv.PREDICTION_WEIGHT] for record in kept} == {2.0}


def test_wrong_arguments_are_told() -> None:
    """Capture says what is wrong with its arguments, as init does, and leaves the sink alone."""
    with capture() as recorded:
        with pytest.raises(ValueError, match=r"sample: expected a rate, .+ not 2"), capture(sample=2):
            pass
        with pytest.raises(TypeError, match="redact takes rules"), capture(redact=["age"]):  # type: ignore[list-item]
            pass
        predict(31)
    assert len(recorded.records) == 1


def batch(recorded: Recorded, event: str, columns: dict[str, pa.Array], **attributes: object) -> None:
    """Record a batch as the contract has it."""
    table = pa.table(columns)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    known = {semconv.MODEL_NAME: "churn", semconv.BATCH_ROWS: table.num_rows, **attributes}
    recorded.put(
        b"\x09"
        + START_NS.to_bytes(8, "little")
        + sized(b"\x62", event.encode())
        + b"".join(encode_attribute(name, encode_value(value)) for name, value in known.items())
        + sized(b"\x2a", encode_value(stream.getvalue().to_pybytes()))
    )


def test_a_batch_of_predictions_is_a_record_per_row() -> None:
    """The rows of a batch are predictions as if each had been sent alone; what a row says itself wins."""
    with capture() as recorded:
        batch(
            recorded,
            semconv.EVENT_PREDICTION_BATCH,
            {
                "prediction_id": pa.array(["a", "b", "c"]),
                "time": pa.array(
                    [START + timedelta(days=1), None, START], pa.timestamp("us", "Europe/Berlin")
                ),
                "inputs": pa.array([{"age": 31, "plan": None}, {"age": 47, "plan": "pro"}, {"age": 1}]),
                "output": pa.array([{"score": 0.25}, None, {"score": 0.5}]),
                "request_id": pa.array(["r", None, None]),
                "weight": pa.array([2.0, 1.0, None]),
                "tags": pa.array(
                    [[("region", "eu")], None, [("region", "us")]], pa.map_(pa.string(), pa.string())
                ),
                "error_type": pa.array([None, "ValueError", None]),
                "version": pa.array(["4", None, None]),
            },
            **{semconv.MODEL_VERSION: "3", semconv.PREDICTION_DURATION: 0.5, "region": "all"},
        )
        predict(31)
    common = {semconv.MODEL_NAME: "churn", semconv.PREDICTION_DURATION: 0.5, semconv.SEQUENCE: 1}
    first, second, third, single = recorded.predictions
    assert first.event == "ml.prediction"
    assert (first.prediction_id, first.time) == ("a", START_NS + 86_400 * 10**9)
    assert (first.inputs, first.output) == ({"age": 31, "plan": None}, {"score": 0.25})
    assert first.attributes == {
        **common,
        semconv.PREDICTION_ID: "a",
        semconv.REQUEST_ID: "r",
        semconv.PREDICTION_WEIGHT: 2.0,
        semconv.MODEL_VERSION: "4",
        "region": "eu",
    }
    assert (second.time, second.output, second.body) == (
        START_NS,
        None,
        {"inputs": {"age": 47, "plan": "pro"}},
    )
    assert second.attributes[semconv.ERROR_TYPE] == "ValueError"
    assert second.attributes["region"] == "all"
    assert semconv.REQUEST_ID not in third.attributes
    assert single.inputs == {"age": 31}
    assert len(recorded.records) == 2


def test_a_batch_of_labels_is_a_record_per_row() -> None:
    """The rows of a batch of labels are labels, whatever unit their times have, nulls included."""
    with capture() as recorded:
        batch(
            recorded,
            semconv.EVENT_LABEL_BATCH,
            {
                "prediction_id": pa.array(["a", "b"]),
                "prediction_time": pa.array([START_NS, None], pa.timestamp("ns")),
                "time": pa.array([START_NS // 10**9, None], pa.timestamp("s")),
                "label": pa.array([True, None]),
                "source": pa.array([None, "review"]),
            },
            **{semconv.LABEL_SOURCE: "billing"},
        )
    first, second = recorded.labels
    assert recorded.predictions == []
    assert (first.label, first.time, first.attributes[semconv.PREDICTION_TIME]) == (True, START_NS, START_NS)
    assert (second.label, second.time, second.prediction_id) == (None, START_NS, "b")
    assert semconv.PREDICTION_TIME not in second.attributes
    assert semconv.LABEL_SOURCE not in first.attributes, "a column wins, also with a null"
    assert second.attributes[semconv.LABEL_SOURCE] == "review"


TESTS = """
import lapwing

@lapwing.watch(model="churn")
def predict(age):
    return age / 100

def test_records(lapwing_records):
    predict(31)
    assert lapwing_records.predictions[0].inputs == {"age": 31}

def test_starts_empty(lapwing_records):
    assert lapwing_records.records == []

def test_clock(lapwing_records, lapwing_clock):
    lapwing_clock.set(1_000_000_000)
    predict(31)
    assert lapwing_records.predictions[0].time == 1_000_000_000

def test_clock_first(lapwing_clock, lapwing_records):
    predict(31)
    assert lapwing_records.predictions[0].time == 1_767_225_600_000_000_000

def test_is_loud(lapwing_records):
    lapwing.log_label(model="churn", label=True)
"""


def test_pytest_has_fixtures(tmp_path: Path) -> None:
    """The plugin gives each test its own records and, where asked for, a clock; mistakes fail the test."""
    (tmp_path / "test_it.py").write_text(TESTS)
    options = ["-p", "lapwing._pytest_plugin", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 4 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_it.py::test_is_loud - ValueError: a label needs" in done.stdout


def test_the_plugin_is_light() -> None:
    """Loading the plugin imports neither what tests are given nor protobuf: many tests want none of it."""
    heavy = {"lapwing.testing", "google.protobuf"}
    code = f"import sys, lapwing._pytest_plugin; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
