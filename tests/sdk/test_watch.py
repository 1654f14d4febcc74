"""The decorator: what it records of a call, and that the call never notices."""

import asyncio
import inspect
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from mypy import api as mypy
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import lapwing
from lapwing import semconv
from lapwing.testing import Recorded, capture


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep records in memory."""
    with capture() as found:
        yield found


def only(recorded: Recorded) -> Any:
    """Give the only record."""
    (record,) = recorded.records
    return record


def test_a_call_becomes_a_prediction(recorded: Recorded) -> None:
    """A watched call is recorded with its model, inputs by name, output, duration, id and time."""

    @lapwing.watch(model="churn", version="3", tags={"region": "eu"})
    def predict(age: int, plan: str = "free") -> dict[str, float]:
        return {"score": 0.25, "value": 1}

    before = time.time_ns()
    predict(31)
    after = time.time_ns()

    record = only(recorded)
    assert record.event == "ml.prediction"
    assert record.body == {"inputs": {"age": 31, "plan": "free"}, "output": {"score": 0.25, "value": 1}}
    assert before <= record.time <= after
    assert UUID(record.prediction_id).version == 7
    assert 0 < record.attributes.pop("ml.prediction.duration") < (after - before) / 1e9
    assert record.attributes == {
        "ml.model.name": "churn",
        "ml.model.version": "3",
        "ml.prediction.stage": "production",
        "ml.prediction.id": lapwing.last_prediction_id(),
        "lapwing.sequence": 1,
        "region": "eu",
    }


@pytest.mark.parametrize(
    ("args", "kwargs", "inputs"),
    [
        ((1, 2), {"c": 3}, {"a": 1, "b": 2, "rest": [], "c": 3, "d": 4}),
        ((1, 2, 5, 6), {"c": 3}, {"a": 1, "b": 2, "rest": [5, 6], "c": 3, "d": 4}),
        ((1,), {"b": 2, "c": 3, "d": 9, "e": 7}, {"a": 1, "b": 2, "rest": [], "c": 3, "d": 9, "e": 7}),
        ((1,), {"c": None}, {"a": 1, "b": 0, "rest": [], "c": None, "d": 4}),
    ],
)
def test_arguments_are_bound_by_name(
    recorded: Recorded, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: dict[str, Any]
) -> None:
    """However a call is written, its arguments are recorded by parameter name, defaults included."""

    @lapwing.watch(model="m")
    def predict(a: int, /, b: int = 0, *rest: int, c: int | None, d: int = 4, **more: int) -> None:
        """Predict."""

    predict(*args, **kwargs)
    assert only(recorded).inputs == inputs


class Box:
    """A result of no known shape."""

    def __str__(self) -> str:
        """Name it."""
        return "a box"


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (True, {"value": True}),
        (3, {"value": 3}),
        (0.5, {"value": 0.5}),
        ("cat", {"value": "cat"}),
        (None, {"value": None}),
        ([0.1, 0.9], {"value": [0.1, 0.9]}),
        ({}, {}),
        ({"scores": {"cat": 0.9}}, {"scores": {"cat": 0.9}}),
        (Box(), {"value": "a box"}),
    ],
    ids=str,
)
def test_results_are_recorded_and_untouched(recorded: Recorded, result: Any, output: Any) -> None:
    """A mapping keeps its keys, anything else is `output.value`; the caller gets the very same object."""
    watched = lapwing.watch(model="m")(lambda: result)
    assert watched() is result
    assert only(recorded).output == output


def test_methods_leave_out_their_owner(recorded: Recorded) -> None:
    """`self` and `cls` are no inputs; static methods have neither."""

    class Model:
        @lapwing.watch(model="m")
        def predict(self, x: int) -> int:
            return x

        @classmethod
        @lapwing.watch(model="m")
        def predict_class(cls, x: int) -> int:
            return x

        @staticmethod
        @lapwing.watch(model="m")
        def predict_static(x: int) -> int:
            return x

    assert (Model().predict(1), Model.predict_class(2), Model.predict_static(3)) == (1, 2, 3)
    assert [record.inputs for record in recorded.records] == [{"x": 1}, {"x": 2}, {"x": 3}]


def test_inputs_are_those_the_function_was_given(recorded: Recorded) -> None:
    """What a function does to its arguments afterwards is not recorded."""

    @lapwing.watch(model="m")
    def predict(basket: list[int]) -> int:
        basket.clear()
        return 0

    predict([1, 2])
    assert only(recorded).inputs == {"basket": [1, 2]}


def test_exceptions_are_recorded_and_reraised(recorded: Recorded) -> None:
    """A failing call raises the very same exception, and is recorded with it and without an output."""
    error = UnicodeError("no such letter")

    @lapwing.watch(model="m")
    def predict(x: int) -> int:
        raise error

    with pytest.raises(UnicodeError) as caught:
        predict(1)
    assert caught.value is error
    record = only(recorded)
    assert record.body == {"inputs": {"x": 1}}
    assert record.attributes[semconv.ERROR_TYPE] == "UnicodeError"
    assert record.attributes[semconv.EXCEPTION_MESSAGE] == "no such letter"
    assert "raise error" in record.attributes[semconv.EXCEPTION_STACKTRACE]


def test_error_types_of_libraries_are_qualified(recorded: Recorded) -> None:
    """The type of an exception that is not Python's own is recorded with its module."""

    @lapwing.watch(model="m")
    def predict() -> None:
        raise asyncio.QueueFull

    with pytest.raises(asyncio.QueueFull):
        predict()
    assert only(recorded).attributes["error.type"] == "asyncio.queues.QueueFull"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_interpreter_stopping_is_no_prediction(recorded: Recorded, stop: type[BaseException]) -> None:
    """A call that ends because the interpreter stops is not recorded as the model's failure."""

    @lapwing.watch(model="m")
    def predict() -> None:
        raise stop

    with pytest.raises(stop):
        predict()
    assert recorded.records == []


def test_a_call_that_does_not_fit_fails_as_without_watching(recorded: Recorded) -> None:
    """Wrong arguments raise Python's own TypeError, and nothing was predicted."""

    @lapwing.watch(model="m")
    def predict(a: int, b: int) -> int:
        return a + b

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'b'"):
        predict(1)  # type: ignore[call-arg]
    assert recorded.records == []


def test_async_functions_are_recorded_when_they_answer(recorded: Recorded) -> None:
    """Concurrent async calls are each recorded with their own inputs and their own last id."""

    @lapwing.watch(model="m")
    async def predict(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    async def one(x: int) -> tuple[int, str | None]:
        return await predict(x), lapwing.last_prediction_id()

    async def many() -> list[tuple[int, str | None]]:
        return await asyncio.gather(*(one(x) for x in range(20)))

    answers = asyncio.run(many())
    assert inspect.iscoroutinefunction(predict)
    found = {
        record.prediction_id: (record.inputs["x"], record.output["value"]) for record in recorded.records
    }
    assert [found[id_] for _, id_ in answers if id_] == [(x, 2 * x) for x in range(20)]


def test_a_cancelled_call_is_recorded(recorded: Recorded) -> None:
    """A call that was cancelled, as by a timeout, is recorded as failed and stays cancelled."""

    @lapwing.watch(model="m")
    async def predict() -> None:
        await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.ensure_future(predict())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert only(recorded).attributes["error.type"] == "asyncio.exceptions.CancelledError"


def test_the_active_span_is_kept(recorded: Recorded) -> None:
    """Trace and span id of the active OpenTelemetry context are on the record, none without one."""
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    watched = lapwing.watch(model="m")(lambda: 1)
    with trace.use_span(span):
        watched()
    watched()
    first, second = recorded.records
    assert (first.trace_id, first.span_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert (second.trace_id, second.span_id) == ("", "")


def test_at_sets_the_event_time(recorded: Recorded) -> None:
    """Inside `at`, also nested and in tasks, predictions have its time; outside, the clock's."""
    watched = lapwing.watch(model="m")(lambda: 1)

    @lapwing.watch(model="m")
    async def watched_async() -> None:
        """Predict."""

    with lapwing.at(datetime(2013, 3, 1, 12, tzinfo=UTC)):
        watched()
        with lapwing.at(datetime(2013, 3, 1, 13)):  # naive is UTC
            watched()
        asyncio.run(watched_async())
    with lapwing.at(1_000):
        watched()
    before = time.time_ns()
    watched()
    times = [record.time for record in recorded.records]
    noon = 1_362_139_200 * 10**9
    assert times[:4] == [noon, noon + 3600 * 10**9, noon, 1_000]
    assert times[4] >= before


def test_a_wrong_time_costs_the_record_not_the_call() -> None:
    """Inside a time that is none, calls work and nothing is recorded under a wrong time."""
    watched = lapwing.watch(model="m")(lambda: 7)
    with capture(loud=False) as recorded:
        for wrong in ("yesterday", -1, 2**64):
            with lapwing.at(wrong):  # type: ignore[arg-type]
                assert watched() == 7
    assert recorded.records == []
    assert recorded.stats().dropped == {"encode_error": 3}


def test_the_function_stays_itself() -> None:
    """Name, documentation and signature of a watched function are those of the function."""

    def predict(age: int, plan: str = "free") -> float:
        """Predict."""
        return 0.5

    watched = lapwing.watch(model="m")(predict)
    assert (watched.__name__, watched.__doc__) == ("predict", "Predict.")
    assert inspect.signature(watched) == inspect.signature(predict)


def test_types_are_kept() -> None:
    """A type checker sees the function's own types through the decorator."""
    here = Path(__file__)
    root = here.parents[2]
    report, errors, status = mypy.run(
        [
            f"--config-file={root / 'pyproject.toml'}",
            f"--cache-dir={root / '.mypy_cache'}",  # what checking everything left there, where it was done
            str(here.with_name("typing_watch.py")),
        ]
    )
    assert (status, errors) == (0, ""), report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": ""}, "a model's name is 1 to 128 characters"),
        ({"model": "a\nb"}, "without control characters"),
        ({"model": "m" * 129}, "1 to 128"),
        ({"model": 3}, "not 3"),
        ({"model": "m", "stage": "prod"}, "production, shadow, candidate, not 'prod'"),
        ({"model": "m", "tags": {"ml.model.name": "x"}}, "not 'ml.model.name'"),
        ({"model": "m", "tags": {"": "x"}}, "a tag's name is text"),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments: dict[str, Any], message: str) -> None:
    """A decorator that can never work says so where it stands, not at the first call."""
    with pytest.raises(ValueError, match=message):
        lapwing.watch(**arguments)


def test_watching_what_cannot_be_called_is_told_at_once() -> None:
    """A class, or an object that cannot be called, is refused where it stands."""
    for target in (int, 3):
        with pytest.raises(TypeError, match="watch takes functions"):
            lapwing.watch(target, model="m")
