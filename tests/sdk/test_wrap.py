"""Watched functions behave as they do without watching, whatever their kind, signature and arguments."""

import asyncio
import functools
import inspect
import pickle
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lapwing
from lapwing.testing import Recorded, capture


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep what is recorded."""
    with capture() as kept:
        yield kept


SENTINEL = object()
NAMES = ("a", "b", "self", "result", "_lapwing_state", "function", "args")


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """Make the text of any signature."""
    names = iter(draw(st.permutations(NAMES)))
    counts = draw(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)))
    positional_only, positional, keyword_only = counts
    first_default = draw(st.integers(0, positional_only + positional))
    parts = []
    for number in range(positional_only + positional):
        parts.append(next(names) + ("=DEFAULT" if number >= first_default else ""))
        if number + 1 == positional_only:
            parts.append("/")
    if draw(st.booleans()):
        parts.append("*rest")
    elif keyword_only:
        parts.append("*")
    parts += [next(names) + draw(st.sampled_from(["", "=DEFAULT"])) for _ in range(keyword_only)]
    if draw(st.booleans()):
        parts.append("**more")
    return ", ".join(parts)


def outcome(call: Callable[[], object]) -> tuple[str, object]:
    """Tell what became of a call: its result, or the text of its exception."""
    try:
        return "result", call()
    except TypeError as error:
        return "error", str(error)


@settings(max_examples=150, deadline=None)
@given(
    signatures(),
    st.lists(st.integers(), max_size=5),
    st.dictionaries(st.sampled_from([*NAMES, "other"]), st.integers(), max_size=4),
    st.sampled_from(["def", "async def"]),
    st.booleans(),
)
def test_calls_fit_or_fail_as_without_watching(
    signature: str, args: list[int], kwargs: dict[str, int], kind: str, yields: bool
) -> None:
    """Any call of any signature gives the same arguments, or the same TypeError at the same moment."""
    space: dict[str, Any] = {"DEFAULT": SENTINEL}
    body = "    yield locals()" if yields else "    return locals()"
    exec(f"{kind} f({signature}):\n{body}", space)  # the point of the test
    plain, watched = space["f"], lapwing.watch(space["f"], model="m")
    assert inspect.signature(watched) == inspect.signature(plain)
    for is_kind in (
        inspect.isfunction,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert is_kind(watched) == is_kind(plain)

    def run(function: Callable[..., Any]) -> tuple[str, object]:
        def call() -> object:
            made = function(*args, **kwargs)
            if kind == "def":
                return list(made) if yields else made
            return asyncio.run(drained(made)) if yields else asyncio.run(made)

        return outcome(call)

    with capture() as kept:
        assert run(watched) == run(plain)
    assert len(kept.records) == (run(plain)[0] == "result")


async def drained(generator: Any) -> list[Any]:
    """Take all that an asynchronous generator gives."""
    return [item async for item in generator]


class ThrownError(Exception):
    """Thrown into generators."""


def talkative() -> Any:
    """Give what is sent, survive what is thrown, and end when told."""
    sent = None
    while sent != "end":
        try:
            sent = yield sent
        except ThrownError as error:
            sent = f"caught {error}"
    return "done"


STEPS = st.lists(
    st.one_of(
        st.just(("next", None)),
        st.tuples(st.just("send"), st.sampled_from([1, "end", None])),
        st.tuples(st.just("throw"), st.sampled_from([ThrownError("x"), KeyError("k")])),
        st.just(("close", None)),
    ),
    max_size=8,
)


def driven(generator: Any, steps: list[tuple[str, Any]]) -> list[Any]:
    """Drive a generator, and note what each step gives."""
    notes: list[Any] = []
    for step, value in steps:
        try:
            match step:
                case "next":
                    notes.append(next(generator))
                case "send":
                    notes.append(generator.send(value))
                case "throw":
                    notes.append(generator.throw(value))
                case _:
                    notes.append(generator.close())
        except (StopIteration, TypeError, ThrownError, KeyError) as error:
            notes.append(repr(error))
    return notes


@given(STEPS)
def test_generators_do_as_without_watching(steps: list[tuple[str, Any]]) -> None:
    """Whatever is sent, thrown or closed, a watched generator answers alike, and is recorded once at most."""
    with capture() as kept:
        watched = lapwing.watch(talkative, model="m")()
        assert driven(watched, steps) == driven(talkative(), steps)
        watched.close()
    assert len(kept.records) <= 1


async def async_talkative() -> Any:
    """As `talkative`."""
    sent = None
    while sent != "end":
        try:
            sent = yield sent
        except ThrownError as error:
            sent = f"caught {error}"


async def async_driven(generator: Any, steps: list[tuple[str, Any]]) -> list[Any]:
    """As `driven`."""
    notes: list[Any] = []
    for step, value in steps:
        try:
            match step:
                case "next":
                    notes.append(await anext(generator))
                case "send":
                    notes.append(await generator.asend(value))
                case "throw":
                    notes.append(await generator.athrow(value))
                case _:
                    notes.append(await generator.aclose())
        except (StopAsyncIteration, TypeError, ThrownError, KeyError) as error:
            notes.append(repr(error))
    await generator.aclose()
    return notes


@given(STEPS)
def test_asynchronous_generators_do_as_without_watching(steps: list[tuple[str, Any]]) -> None:
    """As for generators, with the asynchronous protocol."""
    watch = lapwing.watch(model="m")
    with capture() as kept:
        watched = asyncio.run(async_driven(watch(async_talkative)(), steps))
        assert watched == asyncio.run(async_driven(async_talkative(), steps))
    assert len(kept.records) <= 1


def test_a_stream_is_recorded_once_with_what_it_gave(recorded: Recorded) -> None:
    """Texts are joined, a reducer decides otherwise, and who stops early ends the stream."""

    @lapwing.watch(model="words")
    def words(count: int) -> Iterator[str]:
        for number in range(count):
            yield f"w{number} "

    list(words(3))
    for _ in words(9):
        break
    list(lapwing.watch(words.__wrapped__, model="words", reduce=len)(4))
    outputs = [(record.inputs["count"], record.output["value"]) for record in recorded.predictions]
    assert outputs == [(3, "w0 w1 w2 "), (9, "w0 "), (4, 4)]


def test_an_exception_in_a_stream_is_recorded(recorded: Recorded) -> None:
    """A generator that fails is a failed prediction."""

    @lapwing.watch(model="m")
    def fails() -> Iterator[int]:
        yield 1
        raise ThrownError("broken")

    with pytest.raises(ThrownError):
        list(fails())
    (record,) = recorded.predictions
    assert record.attributes["exception.message"] == "broken"
    assert record.output is None


def test_wrapping_functions_are_called_as_they_are(recorded: Recorded) -> None:
    """A function that adds arguments to those of another gets just what it was given; inputs have names."""

    def with_database(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function("db", *args, **kwargs)

        return call

    def retried(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            assert kwargs.keys() <= {"x"}
            return function(*args, **kwargs)

        return call

    @lapwing.watch(model="m")
    @with_database
    def stored(db: str, x: int) -> tuple[str, int]:
        return db, x

    @lapwing.watch(model="m")
    @retried
    def simple(x: int, y: int = 5) -> int:
        return x + y

    assert (stored(3), simple(1), simple(x=2)) == (("db", 3), 6, 7)
    inputs = [record.inputs for record in recorded.predictions]
    assert inputs == [{"args": [3]}, {"x": 1, "y": 5}, {"x": 2, "y": 5}]


@pytest.mark.parametrize("name", ["_lapwing_function", "_lapwing_begin", "_lapwing_", "make"])
def test_names_of_functions_do_not_matter(recorded: Recorded, name: str) -> None:
    """A function may have a name that the wrapper uses itself."""
    space: dict[str, Any] = {}
    exec(f"def {name}(x): return x", space)  # the point of the test
    watched = lapwing.watch(space[name], model="m")
    assert (watched(1), watched.__name__) == (1, name)
    assert len(recorded.predictions) == 1


@lapwing.watch(model="m")
def scaled(x: "Scale", by: "int" = 2) -> "Scale":
    """Scale; its annotations are texts."""
    return x * by


Scale = int


def test_module_functions_are_found_by_name(recorded: Recorded) -> None:
    """Annotations that are texts are resolved in the function's own module, and pickle finds it there."""
    assert typing.get_type_hints(scaled) == {"x": int, "by": int, "return": int}
    assert inspect.signature(scaled, eval_str=True).return_annotation is int
    assert pickle.loads(pickle.dumps(Pickled.scaled)) is Pickled.scaled


class Pickled:
    """Has a function that pickle finds by its qualified name."""

    @staticmethod
    @lapwing.watch(model="m")
    def scaled(x: int) -> int:
        """Scale."""
        return x


async def awaited(by: int, x: int) -> int:
    """Multiply."""
    return by * x


class Awaited:
    """Calling it gives a coroutine."""

    async def __call__(self, x: int) -> int:
        """Give it back."""
        return x


def test_kinds_show_through_partials_and_callables(recorded: Recorded) -> None:
    """A partial of a coroutine function, and an object whose call is one, give coroutine functions."""
    for target in (functools.partial(functools.partial(awaited), 3), Awaited()):
        watched = lapwing.watch(target, model="m")
        assert inspect.iscoroutinefunction(watched)
        assert asyncio.run(watched(x=1)) in (1, 3)
    assert [record.output["value"] for record in recorded.predictions] == [3, 1]


class Base:
    """Is overridden."""

    @lapwing.watch(model="base")
    def predict(self, x: int) -> int:
        """Give it back."""
        return x


class Derived(Base):
    """Overrides."""

    @lapwing.watch(model="derived")
    def predict(self, x: int) -> int:
        """Add one."""
        return super().predict(x) + 1


def test_overriding_methods_are_each_recorded(recorded: Recorded) -> None:
    """`super()` finds the watched method of the base."""
    assert Derived().predict(1) == 2
    assert [record.model for record in recorded.predictions] == ["base", "derived"]


class Model:
    """Methods of every kind."""

    scale = 2

    @lapwing.watch(model="m")
    def method(self, x: int) -> int:
        """Scale."""
        return self.scale * x

    @lapwing.watch(model="m")
    @classmethod
    def of_class(cls, x: int) -> int:
        """Scale."""
        return cls.scale * x

    @staticmethod
    @lapwing.watch(model="m")
    def static(x: int) -> int:
        """Scale."""
        return 2 * x

    def __call__(self, x: int) -> int:
        """Scale."""
        return self.scale * x


def test_methods_and_callables_are_watched(recorded: Recorded) -> None:
    """Methods, in either order of decorators, partials, callables and built-ins are recorded by name."""
    model = Model()
    doubled = functools.partial(Model.method, model, x=4)
    results = [
        model.method(1),
        Model.of_class(1),
        model.static(1),
        lapwing.watch(model, model="m")(1),
        lapwing.watch(model.method.__wrapped__.__get__(model), model="m")(1),
        lapwing.watch(functools.partial(pow, 2), model="m")(3),
        lapwing.watch(max, model="m")(1, 2),
    ]
    assert results == [2, 2, 2, 2, 2, 8, 2]
    assert doubled() == 8
    assert [record.inputs for record in recorded.predictions] == [
        *[{"x": 1}] * 5,
        {"exp": 3, "mod": None},
        {"args": [1, 2]},
        {"x": 4},
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs the model's name"),
        ({"model": "m", "modle": 1}, "does not know modle"),
        ({"model": "m", "capture": 5}, "capture: expected a function"),
        ({"model": "m", "tags": ["a"]}, "tags: expected a mapping"),
        ({"model": "m", "include": "age"}, "include is a list of names"),
        ({"model": "m", "prediction_id": 5}, "prediction_id: expected the name of a field"),
        ({"model": "m", "batch": "no"}, "batch: expected True or False"),
    ],
    ids=["none", "unknown", "capture", "tags", "include", "prediction_id", "batch"],
)
def test_wrong_options_are_told_where_they_stand(options: dict[str, Any], message: str) -> None:
    """An option that can never work is a TypeError at the decorator."""
    with pytest.raises(TypeError, match=message):
        lapwing.watch(**options)
