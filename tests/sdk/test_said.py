"""What is said about predictions: which fields, ids, scopes, annotations, samples, and by hand."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lapwing
from lapwing._policy import weight_of
from lapwing.testing import Record, Recorded, capture


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep what is recorded."""
    with capture() as kept:
        yield kept


def only(recorded: Recorded) -> Record:
    """Give the only prediction."""
    (record,) = recorded.predictions
    return record


def test_fields_are_chosen_and_renamed(recorded: Recorded) -> None:
    """Inputs and outputs are left out, kept and renamed by their columns' names."""
    call = dict(age=31, tenure=2, secret="x")  # noqa: C408  # reads as a call

    def predict(**given: Any) -> dict[str, Any]:
        return {"p": 0.25, "why": "…"}

    lapwing.watch(predict, model="m", exclude=["secret", "output.why"], rename={"output.p": "score"})(**call)
    lapwing.watch(predict, model="m", include=["age", "output.p"], rename={"age": "years"})(**call)
    first, second = recorded.predictions
    assert (first.inputs, first.output) == ({"age": 31, "tenure": 2}, {"score": 0.25})
    assert (second.inputs, second.output) == ({"years": 31}, {"p": 0.25})


def test_columns_of_tables_are_chosen_likewise(recorded: Recorded) -> None:
    """`include` names columns, `exclude` a column or an argument, `rename` both sides."""
    rows = pd.DataFrame({"age": [1, 2], "name": ["x", "y"]})

    @lapwing.watch(model="m", exclude=["name"], rename={"age": "years", "output.value": "score"})
    def predict(rows: pd.DataFrame, limit: float = 0.5) -> list[float]:
        return [limit] * len(rows)

    predict(rows)
    lapwing.watch(predict.__wrapped__, model="m", include=["age"])(rows)
    assert [record.inputs for record in recorded.predictions] == [
        {"years": 1, "limit": 0.5},
        {"years": 2, "limit": 0.5},
        {"age": 1},
        {"age": 2},
    ]
    assert recorded.predictions[0].output == {"score": 0.5}


@dataclass
class Answer:
    """An object with fields."""

    score: float


def test_capture_functions_and_objects_with_fields(recorded: Recorded) -> None:
    """Functions of the user's own give inputs and outputs; an answer's fields are the output's."""
    lapwing.watch(
        lambda request: Answer(request["n"] / 4),
        model="m",
        capture=lambda given: {"n": given["request"]["n"]},
    )({"n": 1})
    lapwing.watch(lambda n: n, model="m", capture_output=lambda n: {"score": n / 4})(1)
    assert [(record.inputs, record.output) for record in recorded.predictions] == [
        ({"n": 1}, {"score": 0.25})
    ] * 2


def test_roles_are_declared_once_a_process(recorded: Recorded) -> None:
    """Which fields are prediction and score is told once per model."""
    predict = lapwing.watch(
        lambda: {"label": 1, "proba": 0.5}, model="m", prediction="label", score="output.proba"
    )
    predict()
    predict()
    (model,) = recorded.models
    assert model.body == {"roles": {"prediction": "output.label", "score": "output.proba"}}


def test_all_there_is_to_know_of_a_model_is_told_once(recorded: Recorded) -> None:
    """What `watch` and `log_model` say has the names of columns, and is sent when it is new."""
    said: Any = {
        "task": "classification",
        "score": "p",
        "label": "left",
        "positive_class": True,
        "classes": [True, False],
        "threshold": 1,
        "label_delay": timedelta(days=2),
        "features": {"age": "number", "fee": 0.5, "output.v": {"type": "embedding", "importance": 2}},
        "segments": ["plan", "tags.region", "version"],
    }
    predict = lapwing.watch(lambda n: {"p": n / 4}, model="m", version="3", **said)
    assert recorded.models == []
    predict(1)
    predict(2)
    lapwing.log_model(model="m", version="3", **said)
    (told,) = recorded.models
    assert (told.model, told.attributes["ml.model.version"]) == ("m", "3")
    assert told.body == {
        "roles": {"score": "output.p", "label": "label.left"},
        "task": "classification",
        "positive_class": "true",
        "classes": ["true", "false"],
        "threshold": 1.0,
        "label_delay": 172_800.0,
        "features": {
            "inputs.age": {"type": "number"},
            "inputs.fee": {"importance": 0.5},
            "output.v": {"type": "embedding", "importance": 2.0},
        },
        "segments": ["inputs.plan", "tags.region", "version"],
    }
    lapwing.log_model(model="m", version="3", task="regression")
    assert recorded.models[-1].body == {"task": "regression"}
    assert len(recorded.predictions) == 2


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"task": "clustering"}, "task: expected classification, regression, ranking, not 'clustering'"),
        ({"score": 1}, "score: expected the name of a field"),
        ({"threshold": "0.5"}, "threshold: expected a number"),
        ({"label_delay": -1}, "label_delay: expected a time of 0 or more"),
        ({"classes": "ab"}, "classes is a list"),
        ({"segments": "plan"}, "segments is a list"),
        ({"features": {"age": "float"}}, "features: age: expected number, category"),
        ({"features": {"age": {"kind": "text"}}}, "features: age: expected type and importance, not kind"),
        ({"features": {"age": {"importance": "high"}}}, "features: age: importance: expected a number"),
    ],
)
def test_a_wrong_description_is_told_where_it_stands(recorded: Recorded, said: Any, error: str) -> None:
    """`watch` refuses it when it decorates; `log_model` only counts it, but in tests raises."""
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        lapwing.watch(model="m", **said)
    with pytest.raises((TypeError, ValueError), match=re.escape(error)):
        lapwing.log_model(model="m", **said)
    assert recorded.models == []
    with capture(loud=False) as quiet:
        lapwing.log_model(model="m", **said)
    assert not quiet.flush(0)


def test_ids_come_from_arguments(recorded: Recorded) -> None:
    """The prediction's and the request's id are an argument, or lie in one; a table's ids are a column."""
    order = {"id": "o-1", "request": "r-1"}
    lapwing.watch(lambda order: 1, model="m", prediction_id="order.id", request_id="order.request")(order)
    assert lapwing.last_prediction_id() == "o-1"
    assert only(recorded).attributes["ml.request.id"] == "r-1"
    rows = pd.DataFrame({"key": ["a", "b"], "x": [1, 2]})
    lapwing.watch(lambda rows: [1, 2], model="m", prediction_id="key")(rows)
    assert list(lapwing.last_prediction_ids()) == ["a", "b"]
    lapwing.log_labels((True, False), model="m", prediction_ids=lapwing.last_prediction_ids())
    assert [(label.prediction_id, label.label) for label in recorded.labels] == [("a", True), ("b", False)]


def test_what_is_said_nearest_wins(recorded: Recorded) -> None:
    """Annotations win over arguments, these over scopes, and these over the decorator; tags are joined."""

    @lapwing.watch(model="m", variant="A", tags={"by": "decorator", "a": 1}, fallback="is_default")
    def predict() -> dict[str, Any]:
        lapwing.annotate(tags={"by": "annotation"}, request_id="inner")
        return {"value": 1, "is_default": True}

    with lapwing.scope(variant="B", request_id="outer", tags={"by": "scope", "b": 2}):
        predict()
    predict()
    first, second = recorded.predictions
    assert (
        first.attributes.items()
        >= {
            "ml.model.variant": "B",
            "ml.request.id": "inner",
            "ml.prediction.fallback": True,
            "by": "annotation",
            "a": 1,
            "b": 2,
        }.items()
    )
    assert second.attributes["ml.model.variant"] == "A"
    assert "b" not in second.attributes


def test_annotations_stay_with_their_prediction(recorded: Recorded) -> None:
    """What an inner prediction is annotated with does not reach the outer one, nor the other way."""
    inner = lapwing.watch(lambda: lapwing.annotate(tags={"of": "inner"}), model="inner")

    @lapwing.watch(model="outer")
    def outer() -> None:
        lapwing.annotate(tags={"of": "outer"})
        inner()

    outer()
    assert {record.model: record.attributes["of"] for record in recorded.predictions} == {
        "inner": "inner",
        "outer": "outer",
    }


def test_scopes_follow_tasks(recorded: Recorded) -> None:
    """Concurrent tasks each have the scope in which they were started."""

    @lapwing.watch(model="m")
    async def predict(x: int) -> int:
        await asyncio.sleep(0)
        return x

    async def request(x: int) -> None:
        with lapwing.scope(request_id=str(x)):
            await predict(x)

    async def all_of_them() -> None:
        await asyncio.gather(*map(request, range(5)))

    asyncio.run(all_of_them())
    assert all(
        record.attributes["ml.request.id"] == str(record.inputs["x"]) for record in recorded.predictions
    )


def test_wrong_tags_and_foreign_contexts_do_not_reach_the_host(recorded: Recorded) -> None:
    """Tags that are no mapping are a tag, and a scope that ends in another context just ends."""
    with lapwing.scope(tags=["a"]), lapwing.scope(variant="b"):  # type: ignore[arg-type]
        lapwing.log_prediction(model="m", inputs={}, output=1)
    assert only(recorded).attributes["tags"] == ["a"]

    def scoped() -> Iterator[None]:
        with lapwing.scope(variant="c"):
            yield

    import contextvars  # only here

    generator = scoped()
    contextvars.copy_context().run(next, generator)
    generator.close()


def test_a_block_is_a_prediction(recorded: Recorded) -> None:
    """`with lapwing.prediction` records what is set in it, or the exception that leaves it."""
    with lapwing.prediction(model="m", inputs={"a": 1}) as p:
        p.inputs["b"] = 2
        p.output = {"score": 0.5}
        p.tags["region"] = "eu"
        p.fallback = True

    def fails() -> None:
        with lapwing.prediction(model="m") as p:
            p.tags = None  # type: ignore[assignment]
            raise KeyError("x")

    with pytest.raises(KeyError):
        fails()
    first, second = recorded.predictions
    assert (first.inputs, first.output, first.attributes["region"]) == (
        {"a": 1, "b": 2},
        {"score": 0.5},
        "eu",
    )
    assert second.attributes["error.type"] == "KeyError"
    assert second.output is None


def test_a_prediction_that_was_not_recorded_has_no_id() -> None:
    """After a call that could not be recorded there is no last id, and a label for none is counted."""
    with capture(loud=False) as kept:
        lapwing.watch(lambda x: x, model="m")(1)
        lapwing.watch(lambda x: x, model="m", capture=lambda given: given["y"])(1)
        assert lapwing.last_prediction_id() is None
        lapwing.log_label(model="m", label=1, prediction_id="")
    assert kept.stats().dropped == {"encode_error": 2}


@given(st.uuids(), st.floats(0.01, 1))
def test_an_id_decides_the_same_everywhere(identity: Any, rate: float) -> None:
    """Whether an id is recorded depends on nothing else; one that is at some rate is at any higher one."""
    weight = weight_of(str(identity), rate)
    assert weight in (0.0, pytest.approx(1 / rate))
    if weight:
        assert weight_of(str(identity), (1 + rate) / 2)


def test_samples_count_all_and_errors_are_kept() -> None:
    """The weights of a sample add up to the calls, within five standard deviations; no error is missing."""
    calls, rate = 4000, 0.25
    with capture(sample={"m": rate}) as kept:
        predict = lapwing.watch(lambda x: 1 / x, model="m")
        for number in range(calls):
            with pytest.raises(ZeroDivisionError) if number % 100 == 0 else lapwing.scope():
                predict(number % 100)
        frame = pd.DataFrame({"x": np.arange(calls)})
        lapwing.watch(lambda rows: rows["x"], model="m")(frame)
        lapwing.watch(lambda rows: rows["x"], model="m")(frame[:0])
    good = [record for record in kept.predictions if "error.type" not in record.attributes]
    assert len(kept.predictions) - len(good) == calls / 100
    expected = calls * 0.99 + calls
    deviation = sqrt(expected * rate * (1 - rate)) / rate
    weights = [record.attributes["ml.prediction.weight"] for record in good]
    assert sum(weights) == pytest.approx(expected, abs=5 * deviation)


def test_models_of_a_request_are_sampled_together() -> None:
    """Production and shadow of one request are both recorded, or both not; `watch` may say its own share."""
    with capture(sample=0.5) as kept:
        for number in range(200):
            with lapwing.scope(request_id=f"r{number}"):
                lapwing.log_prediction(model="a", inputs={}, output=1)
                lapwing.watch(lambda: 1, model="b", stage="shadow")()
                lapwing.watch(lambda: 1, model="c", sample=1.0)()
    requests = {
        model: {r.attributes["ml.request.id"] for r in kept.predictions if r.model == model}
        for model in "abc"
    }
    assert requests["a"] == requests["b"]
    assert 50 < len(requests["a"]) < 150
    assert len(requests["c"]) == 200


def test_init_inside_capture_changes_nothing(recorded: Recorded) -> None:
    """An application's own start-up does not take the records away from its test."""
    lapwing.init(endpoint="http://localhost:1")
    lapwing.log_prediction(model="m", inputs={}, output=1)
    assert only(recorded).output == {"value": 1}


def test_a_stream_keeps_the_scope_it_began_in(recorded: Recorded) -> None:
    """A generator that is drained after its scope has ended is of that scope."""
    stream = lapwing.watch(lambda: iter("ab"), model="plain")

    def letters() -> Iterator[str]:
        yield from "ab"

    with lapwing.scope(variant="B"):
        begun = lapwing.watch(letters, model="m")()
        next(begun)
    assert list(begun) == ["b"]
    assert list(stream()) == ["a", "b"]
    variants = {record.model: record.attributes.get("ml.model.variant") for record in recorded.predictions}
    assert variants == {"m": "B", "plain": None}
