"""Generators: what their consumers see with and without watching, and what is recorded of them."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lapwing
from lapwing.testing import Recorded, capture


class ThrownError(Exception):
    """Thrown into generators."""


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep what is recorded."""
    with capture() as kept:
        yield kept


REACTIONS = ("go on", "give", "pass on", "return", "fail", "fail later")


def reacting(reaction: str, items: int) -> Any:
    """Give items, and react in some way to what is thrown, the end included."""
    given = None
    for number in range(items):
        failure = None
        try:
            given = yield (number, given)
        except BaseException as error:
            match reaction:
                case "go on":
                    continue
                case "give":
                    given = yield repr(error)
                case "return":
                    return "stopped"
                case "fail":
                    raise LookupError("handled") from None
                case "fail later":
                    failure = LookupError("later")
                case _:
                    raise
        if failure is not None:
            raise failure
    return "done"


async def reacting_async(reaction: str, items: int) -> Any:
    """As `reacting`."""
    given = None
    for number in range(items):
        await asyncio.sleep(0)
        failure = None
        try:
            given = yield (number, given)
        except BaseException as error:  # all that can be thrown
            match reaction:
                case "go on":
                    continue
                case "give":
                    given = yield repr(error)
                case "return":
                    return
                case "fail":
                    raise LookupError("handled") from None
                case "fail later":
                    failure = LookupError("later")
                case _:
                    raise
        if failure is not None:
            raise failure


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from([None, 1])),
        st.tuples(
            st.just("throw"), st.sampled_from([ThrownError, GeneratorExit, StopIteration, KeyboardInterrupt])
        ),
        st.just(("close", None)),
    ),
    max_size=6,
)


def told(error: BaseException) -> tuple[str, str, str]:
    """Tell all that can be seen of an exception."""
    return repr(error), repr(error.__cause__), repr(error.__context__)


def driven(generator: Any, steps: list[tuple[str, Any]]) -> list[Any]:
    """Take the steps, and tell what came of each."""
    seen: list[Any] = []
    for step, value in steps:
        try:
            match step:
                case "send":
                    seen.append(generator.send(value))
                case "throw":
                    seen.append(generator.throw(value("thrown")))
                case _:
                    seen.append(generator.close())
        except BaseException as error:  # noqa: BLE001  # all of them are compared
            seen.append(told(error))
    return seen


async def driven_async(generator: Any, steps: list[tuple[str, Any]]) -> list[Any]:
    """As `driven`."""
    seen: list[Any] = []
    for step, value in steps:
        try:
            match step:
                case "send":
                    seen.append(await generator.asend(value))
                case "throw":
                    seen.append(await generator.athrow(value("thrown")))
                case _:
                    seen.append(await generator.aclose())
        except BaseException as error:  # noqa: BLE001  # all of them are compared
            seen.append(told(error))
    return seen


def exhausted(generator: Any) -> None:
    """Take what is left."""
    for _ in generator:
        pass


async def exhausted_async(generator: Any) -> None:
    """Take what is left."""
    async for _ in generator:
        pass


@given(st.sampled_from(REACTIONS), st.integers(0, 4), STEPS)
def test_a_consumer_sees_no_difference(reaction: str, items: int, steps: list[tuple[str, Any]]) -> None:
    """Items, results, exceptions and their contexts are the same for any steps, with one record at most."""
    with capture() as kept:
        watched = lapwing.watch(reacting, model="m")(reaction, items)
        plain = reacting(reaction, items)
        assert driven(watched, steps) == driven(plain, steps)
        exhausted(watched)
        exhausted(plain)
    assert len(kept.records) <= 1


@given(st.sampled_from(REACTIONS), st.integers(0, 4), STEPS)
def test_an_asynchronous_consumer_sees_no_difference(
    reaction: str, items: int, steps: list[tuple[str, Any]]
) -> None:
    """As for generators; asynchronous ones have no results."""

    async def seen(function: Callable[..., Any]) -> list[Any]:
        generator = function(reaction, items)
        found = await driven_async(generator, steps)
        await exhausted_async(generator)
        return found

    with capture() as kept:
        assert asyncio.run(seen(lapwing.watch(reacting_async, model="m"))) == asyncio.run(
            seen(reacting_async)
        )
    assert len(kept.records) <= 1


def test_the_result_of_a_generator_is_kept(recorded: Recorded) -> None:
    """`yield from` a watched generator gives its return value."""
    results = []

    def outer() -> Iterator[Any]:
        results.append((yield from lapwing.watch(reacting, model="m")("go on", 2)))

    assert list(outer()) == [(0, None), (1, None)]
    assert results == ["done"]


def test_a_generator_that_never_started_is_no_prediction(recorded: Recorded) -> None:
    """Nothing ran, so nothing is recorded, whether it is closed, thrown into or forgotten."""
    watched = lapwing.watch(reacting, model="m")
    watched("go on", 1).close()
    with pytest.raises(ThrownError):
        watched("go on", 1).throw(ThrownError())
    watched("go on", 1)
    gc.collect()
    assert recorded.records == []


def test_a_forgotten_generator_is_recorded_when_it_is_collected(recorded: Recorded) -> None:
    """Who drops a generator wants no more of its items: what it gave is the output."""
    generator = lapwing.watch(reacting, model="m")("pass on", 3)
    next(generator)
    del generator
    gc.collect()
    (record,) = recorded.predictions
    assert record.output == {"value": [[0, None]]}
    assert "error.type" not in record.attributes


def test_an_exception_that_was_thrown_in_is_a_failure(recorded: Recorded) -> None:
    """One that comes out again is the prediction's error; one that is handled is none."""
    watched = lapwing.watch(reacting, model="m")
    for reaction in ("pass on", "return"):
        generator = watched(reaction, 2)
        next(generator)
        with pytest.raises((ThrownError, StopIteration)):
            generator.throw(ThrownError("x"))
    failed, handled = recorded.predictions
    assert failed.attributes["error.type"].endswith("ThrownError")
    assert handled.output == {"value": [[0, None]]}


def test_generators_hold_nothing_of_what_was_thrown() -> None:
    """A generator that ended with an exception needs no garbage collector."""

    class Held(Exception):  # noqa: N818  # its life is what counts
        alive = 0

        def __init__(self) -> None:
            super().__init__()
            Held.alive += 1

        def __del__(self) -> None:
            Held.alive -= 1

    def thrown() -> None:
        generator = lapwing.watch(reacting, model="m")("pass on", 2)
        next(generator)
        with pytest.raises(Held):
            generator.throw(Held())

    with capture():
        gc.collect()
        gc.disable()
        try:
            thrown()
            assert Held.alive == 0
        finally:
            gc.enable()


def test_annotations_of_a_stream_and_its_consumer_stay_apart(recorded: Recorded) -> None:
    """Each says something about its own prediction, also in turns."""

    @lapwing.watch(model="inner")
    def inner() -> Iterator[int]:
        lapwing.annotate(tags={"first": "inner"})
        yield 1
        lapwing.annotate(tags={"second": "inner"})
        yield 2

    @lapwing.watch(model="outer")
    def outer() -> int:
        lapwing.annotate(tags={"before": "outer"})
        total = 0
        for number in inner():
            lapwing.annotate(tags={f"at {number}": "outer"})
            total += number
        return total

    assert outer() == 3
    tags = {
        record.model: {name: tag for name, tag in record.attributes.items() if tag == record.model}
        for record in recorded.predictions
    }
    assert tags == {
        "inner": {"ml.model.name": "inner", "first": "inner", "second": "inner"},
        "outer": {"ml.model.name": "outer", "before": "outer", "at 1": "outer", "at 2": "outer"},
    }


def test_asynchronous_streams_are_recorded_when_closed_early(recorded: Recorded) -> None:
    """What an asynchronous generator gave before its consumer left is joined or reduced."""

    @lapwing.watch(model="m")
    async def words() -> AsyncIterator[str]:
        for word in ("a", "b", "c"):
            yield word

    async def some(stream: Any) -> None:
        async for word in stream:
            if word == "b":
                break
        await stream.aclose()

    asyncio.run(some(words()))
    asyncio.run(some(lapwing.watch(words.__wrapped__, model="m", reduce=len)()))
    assert [record.output for record in recorded.predictions] == [{"value": "ab"}, {"value": 2}]


def test_a_reducer_that_fails_costs_the_record_only() -> None:
    """The consumer has all items; the failure is counted."""
    with capture(loud=False) as kept:
        assert list(lapwing.watch(reacting, model="m", reduce=lambda items: items[9])("go on", 1)) == [
            (0, None)
        ]
    assert kept.records == []
    assert kept.stats().dropped == {"encode_error": 1}
