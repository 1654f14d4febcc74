"""Descriptions of models: inferred from fields, merged by precedence, written down and read again."""

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapwing_collector.model.description import (
    Feature,
    FeatureType,
    ModelDescription,
    Source,
    Task,
    dotted,
    infer,
    merged,
    parts,
    without,
)
from lapwing_collector.model.facts import Facts, FieldFacts

NUMBER, CATEGORY = Feature(FeatureType.NUMBER), Feature(FeatureType.CATEGORY)

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_maybe_text = st.none() | _texts.filter(bool)
_features = st.builds(
    Feature, st.none() | st.sampled_from(FeatureType), st.none() | st.floats(allow_nan=False)
)
_descriptions = st.builds(
    ModelDescription,
    task=st.none() | st.sampled_from(Task),
    prediction=_maybe_text,
    score=_maybe_text,
    scores=_maybe_text,
    items=_maybe_text,
    label=_maybe_text,
    positive_class=_maybe_text,
    classes=st.lists(_texts, max_size=3).map(tuple),
    threshold=st.none() | st.floats(0, 1),
    label_delay=st.none() | st.timedeltas(timedelta(0), timedelta(days=36_500)),
    features=st.dictionaries(_texts, _features, max_size=3),
    segments=st.lists(_texts, max_size=3).map(tuple),
    types=st.dictionaries(_texts, _texts, max_size=3),
    references=st.dictionaries(_texts, st.dictionaries(_texts, st.integers(), max_size=2), max_size=2),
    sources=st.dictionaries(_texts, st.sampled_from(Source), max_size=3),
)


@settings(max_examples=50)
@given(_descriptions)
def test_a_description_survives_being_written_down(description: ModelDescription) -> None:
    """Whatever is known reads back as it was."""
    assert ModelDescription.from_json(description.to_json()) == description


def test_keys_of_newer_versions_are_passed_over() -> None:
    """A description that a newer version wrote can be read, and what is no description is told."""
    assert ModelDescription.from_json('{"task": "ranking", "mood": "good"}').task is Task.RANKING
    with pytest.raises(ValueError, match="a JSON object"):
        ModelDescription.from_json("[]")


@given(st.lists(_texts, min_size=1, max_size=4))
def test_the_parts_of_a_field_survive_being_joined(path: list[str]) -> None:
    """Whatever names hold, the dotted name tells them apart."""
    assert parts(dotted(path)) == tuple(path)


def test_fields_are_named_as_people_write_them() -> None:
    """Only names that hold a dot or a quote are quoted."""
    assert dotted(["inputs", "sepal length (cm)"]) == "inputs.sepal length (cm)"
    assert dotted(["inputs", "a.b"]) == 'inputs."a.b"'
    with pytest.raises(ValueError, match="a field such as"):
        parts("inputs..age")


@settings(max_examples=25)
@given(_descriptions, _descriptions, _descriptions)
def test_the_first_source_that_has_a_value_wins(
    file: ModelDescription, sdk: ModelDescription, inferred: ModelDescription
) -> None:
    """A file counts over the process, and that over what was inferred; each value says where it is from."""
    layers = {Source.FILE: file, Source.SDK: sdk, Source.INFERRED: inferred}
    result = merged(layers)
    for name in ("task", "score", "threshold", "label_delay", "classes", "segments"):
        holders = [source for source in Source if getattr(layers[source], name) not in (None, ())]
        assert result.sources.get(name) == (holders[0] if holders else None)
        assert getattr(result, name) == getattr(layers[holders[0]] if holders else ModelDescription(), name)
    assert set(result.features) == {*file.features, *sdk.features, *inferred.features}


@settings(max_examples=25)
@given(_descriptions, _descriptions)
def test_what_is_known_can_be_taken_away(description: ModelDescription, known: ModelDescription) -> None:
    """Taking away what is known and merging it back gives the same values as merging everything."""
    left = without(description, known)
    together = {Source.FILE: known, Source.INFERRED: description}
    assert merged(together) == merged({Source.FILE: known, Source.INFERRED: left}) or any(
        feature == Feature() for feature in description.features.values()
    )


def test_features_are_merged_by_what_is_said_of_them() -> None:
    """A type from the file and an importance from the process make one feature."""
    result = merged(
        {
            Source.FILE: ModelDescription(features={"inputs.zip": CATEGORY}),
            Source.SDK: ModelDescription(features={"inputs.zip": Feature(importance=0.5)}),
            Source.INFERRED: ModelDescription(features={"inputs.zip": NUMBER, "inputs.age": NUMBER}),
        }
    )
    assert result.features == {"inputs.zip": Feature(FeatureType.CATEGORY, 0.5), "inputs.age": NUMBER}
    assert result.sources == {
        "features.inputs.zip.type": Source.FILE,
        "features.inputs.zip.importance": Source.SDK,
        "features.inputs.age.type": Source.INFERRED,
    }


BINARY = {"task": Task.CLASSIFICATION, "score": "output.score", "threshold": 0.5}

INFERRED = {
    "a class with the probability of the positive one": (
        {"output.late": pa.bool_(), "output.score": pa.float64()},
        {"label": pa.bool_()},
        {**BINARY, "prediction": "output.late", "positive_class": "true"},
    ),
    "a score without a class": ({"output.score": pa.float64()}, {}, BINARY),
    "integers with a score": (
        {"output.value": pa.int64(), "output.score": pa.float64()},
        {"label": pa.int64()},
        {**BINARY, "prediction": "output.value", "positive_class": "1"},
    ),
    "a number that turns out to be a probability": (
        {"output.value": pa.float64()},
        {"label": pa.bool_()},
        {**BINARY, "score": "output.value", "positive_class": "true"},
    ),
    "several classes": (
        {"output.value": pa.string(), "output.scores.cat": pa.float64(), "output.scores.dog": pa.float64()},
        {"label": pa.string()},
        {"task": Task.CLASSIFICATION, "prediction": "output.value", "scores": "output.scores"},
    ),
    "an amount": (
        {"output.value": pa.float64()},
        {"label": pa.float64()},
        {"task": Task.REGRESSION, "prediction": "output.value"},
    ),
    "an amount beside something that is called score": (
        {"output.value": pa.float64(), "output.score": pa.float64()},
        {"label": pa.float64()},
        {"task": Task.REGRESSION, "prediction": "output.value"},
    ),
    "an amount in whole numbers of which the truth is not whole": (
        {"output.value": pa.int64()},
        {"label": pa.float64()},
        {"task": Task.REGRESSION, "prediction": "output.value"},
    ),
    "a ranking": (
        {"output.items": pa.list_(pa.string()), "output.scores": pa.list_(pa.float32())},
        {},
        {"task": Task.RANKING, "items": "output.items", "scores": "output.scores"},
    ),
    "a ranking whose label has a field an item": (
        {"output.items": pa.list_(pa.string())},
        {"label.a": pa.float64()},
        {"task": Task.RANKING, "items": "output.items", "label": "label"},
    ),
    "a ranking that is the whole result": (
        {"output.value": pa.list_(pa.int64())},
        {},
        {"task": Task.RANKING, "items": "output.value"},
    ),
    "fields named alike": (
        {"output.price": pa.float64(), "output.currency": pa.string()},
        {"label.price": pa.float64(), "label.clerk": pa.string()},
        {},
    ),
    "a label of one field": (
        {"output.price": pa.float64(), "output.currency": pa.string()},
        {"label.price": pa.float64()},
        {"task": Task.REGRESSION, "prediction": "output.price", "label": "label.price"},
    ),
    "the only output of the label's type": (
        {"output.price": pa.float64(), "output.currency": pa.string()},
        {"label": pa.float64()},
        {"task": Task.REGRESSION, "prediction": "output.price"},
    ),
    "nothing that is known": ({"output.blob": pa.binary(), "time": pa.timestamp("us")}, {}, {}),
}


@pytest.mark.parametrize("case", INFERRED)
def test_roles_are_inferred_from_names_and_types(case: str) -> None:
    """The conventions for outputs and labels tell what a model does."""
    outputs, labels, expected = INFERRED[case]
    label = {"label": "label"} if not labels or "label" in labels else {}
    assert infer(outputs, labels) == ModelDescription(**(label | expected))


def test_features_are_inferred_from_types() -> None:
    """Numbers, categories, embeddings and times are told apart; embeddings among the outputs count, too."""
    inferred = infer(
        {
            "inputs.age": pa.int64(),
            "inputs.plan": pa.string(),
            "inputs.new": pa.bool_(),
            "inputs.at": pa.timestamp("us"),
            "inputs.vector": pa.list_(pa.float32()),
            "inputs.words": pa.list_(pa.string()),
            "output.vector": pa.list_(pa.float32()),
            "output.value": pa.float64(),
        },
        {},
    )
    assert {name: each.type for name, each in inferred.features.items()} == {
        "inputs.age": "number",
        "inputs.plan": "category",
        "inputs.new": "category",
        "inputs.at": "time",
        "inputs.vector": "embedding",
        "output.vector": "embedding",
    }


def test_what_is_inferred_does_not_contradict_what_is_declared() -> None:
    """A declared task and a declared role change what the rest is taken for, and are not inferred again."""
    outputs = {"output.value": pa.float64(), "output.other": pa.bool_()}
    assert infer(outputs, {}, ModelDescription(task=Task.CLASSIFICATION)) == ModelDescription(
        score="output.value", threshold=0.5, label="label"
    )
    declared = ModelDescription(prediction="output.other", label="label.right")
    assert infer(outputs, {"label.right": pa.bool_(), "label.value": pa.string()}, declared) == (
        ModelDescription(task=Task.CLASSIFICATION, positive_class="true")
    )
    amounts = infer(outputs | {"output.score": pa.float64()}, {}, ModelDescription(task=Task.REGRESSION))
    assert (amounts.score, amounts.threshold, amounts.positive_class) == (None, None, None)


def seen(values: int = 200, **more: Any) -> FieldFacts:
    return FieldFacts(values, **{"distinct": len(more.get("classes", ())) or values, **more})


FLAGS = seen(classes=("0", "1"), least=0.0, greatest=1.0)
PROBABILITIES = seen(least=0.01, greatest=0.99)

VALUES: dict[str, tuple[Any, Any, dict[str, FieldFacts], dict[str, Any]]] = {
    "integers that number classes": (
        pa.int64(),
        None,
        {"output.value": seen(classes=("0", "1", "2"))},
        {"task": Task.CLASSIFICATION, "prediction": "output.value", "classes": ("0", "1", "2")},
    ),
    "integers that count": (
        pa.int64(),
        pa.int64(),
        {"output.value": seen(), "label": seen()},
        {"task": Task.REGRESSION, "prediction": "output.value"},
    ),
    "probabilities of zeros and ones": (
        pa.float64(),
        pa.int64(),
        {"output.value": PROBABILITIES, "label": FLAGS},
        {**BINARY, "score": "output.value", "positive_class": "1", "classes": ("0", "1")},
    ),
    "amounts that happen to be zero or one": (
        pa.float64(),
        pa.int64(),
        {"output.value": seen(least=0.0, greatest=17.5), "label": FLAGS},
        {"task": Task.REGRESSION, "prediction": "output.value"},
    ),
    "too few values to tell": (
        pa.float64(),
        pa.int64(),
        {"output.value": PROBABILITIES, "label": seen(50, classes=("0", "1"))},
        {"task": Task.REGRESSION, "prediction": "output.value"},
    ),
    "two classes of which none is called positive": (
        pa.string(),
        pa.string(),
        {"output.value": seen(classes=("cat",)), "label": seen(classes=("cat", "dog"))},
        {"task": Task.CLASSIFICATION, "prediction": "output.value", "classes": ("cat", "dog")},
    ),
    "too many classes": (
        pa.string(),
        pa.string(),
        {"output.value": seen(classes=("cat", "dog")), "label": seen(distinct=60)},
        {"task": Task.CLASSIFICATION, "prediction": "output.value"},
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_decide_what_types_leave_open(case: str) -> None:
    """Few numbers are classes, zeros and ones have probabilities, and classes are told where they are few."""
    output, truth, fields, expected = VALUES[case]
    labels = {} if truth is None else {"label": truth}
    found = infer({"output.value": output}, labels, facts=Facts(fields))
    assert found == ModelDescription(label="label", **expected)


def test_texts_are_what_their_values_look_like() -> None:
    """Sentences are texts, times are times, phrases and names are categories; few values decide nothing."""
    looks = {
        "prose": seen(words=9.0, times=0.0),
        "at": seen(words=1.5, times=0.995),
        "phrase": seen(distinct=12, words=5.0, times=0.0),
        "name": seen(words=1.2, times=0.0),
        "few": seen(20, words=9.0, times=0.0),
    }
    found = infer(
        {f"inputs.{name}": pa.string() for name in looks},
        {},
        facts=Facts({f"inputs.{name}": each for name, each in looks.items()}, label_delay_s=90.0),
    )
    assert {name: each.type for name, each in found.features.items()} == {
        "inputs.prose": "text",
        "inputs.at": "time",
        "inputs.phrase": "category",
        "inputs.name": "category",
        "inputs.few": "category",
    }
    assert found.label_delay == timedelta(seconds=90)
