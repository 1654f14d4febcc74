"""What a model is: its task, which fields play which role, what kinds of features it has.

A description is put together, value by value, from a file, from what the model's process said, and from what
can be inferred from the fields and their types; it remembers which value came from where. Fields are named by
dotted paths, `inputs.age`, as SQL names them; a part that holds a dot or a quote stands in double quotes.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Self

import pyarrow as pa

type_ = pa.types


class Task(StrEnum):
    """What a model is asked to do."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    RANKING = "ranking"


class FeatureType(StrEnum):
    """How a feature is counted, compared and shown."""

    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    EMBEDDING = "embedding"
    TIME = "time"


class Source(StrEnum):
    """Where a value of a description comes from; an earlier one wins over a later one."""

    FILE = "file"
    SDK = "sdk"
    INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class Feature:
    """A field that the model is given.

    Attributes:
        type: None while nothing is known of it.
        importance: How much the model relies on it, in whatever unit, the same for all of its features.
    """

    type: FeatureType | None = None
    importance: float | None = None


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What is known of a model; every value may be unknown.

    Attributes:
        task: What it does.
        prediction: Field that holds the predicted class or number.
        score: Field that holds the probability of the positive class.
        scores: Field that holds a probability per class, or the scores of ranked items.
        items: Field that holds ranked items, the best first.
        label: Field of the label that holds the truth.
        positive_class: The class that `score` is about, as text.
        classes: All classes, as text.
        threshold: Score from which on the positive class is predicted.
        label_delay: How long after a prediction its label can be expected.
        features: By field.
        segments: Fields by whose values rows are told apart in profiles.
        types: Declared types of columns, as DuckDB writes them, by field.
        references: Declared references, by name: their policies.
        sources: Where each value comes from, by its dotted place: `task`, `features.inputs.age.type`.
    """

    task: Task | None = None
    prediction: str | None = None
    score: str | None = None
    scores: str | None = None
    items: str | None = None
    label: str | None = None
    positive_class: str | None = None
    classes: tuple[str, ...] = ()
    threshold: float | None = None
    label_delay: timedelta | None = None
    features: Mapping[str, Feature] = field(default_factory=dict)
    segments: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write it down; what is unknown is left out. The delay is in seconds."""
        written = {each.name: getattr(self, each.name) for each in fields(self)}
        written["features"] = {
            name: {"type": each.type, "importance": each.importance} for name, each in self.features.items()
        }
        written["label_delay"] = None if self.label_delay is None else self.label_delay.total_seconds()
        return json.dumps({k: v for k, v in written.items() if v not in (None, (), {})}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; keys of newer versions are passed over.

        Raises:
            ValueError: It is no description.
        """
        read = json.loads(text)
        if not isinstance(read, dict):
            raise ValueError(f"a description is a JSON object, not {text[:40]!r}")  # noqa: TRY004  # as json does
        known: dict[str, Any] = {each.name: read[each.name] for each in fields(cls) if each.name in read}
        for name, parse in _PARSED.items():
            if name in known:
                known[name] = parse(known[name])
        return cls(**known)


_PARSED: Final[Mapping[str, Any]] = {
    "task": Task,
    "classes": tuple,
    "label_delay": lambda seconds: timedelta(seconds=seconds),
    "features": lambda read: {name: _feature(each) for name, each in read.items()},
    "segments": tuple,
    "sources": lambda read: {place: Source(source) for place, source in read.items()},
}

_PLAIN: Final = (
    "task",
    "prediction",
    "score",
    "scores",
    "items",
    "label",
    "positive_class",
    "classes",
    "threshold",
    "label_delay",
    "segments",
)


def dotted(path: Iterable[str]) -> str:
    """Write the parts of a field's place as one name: `inputs.age`, `inputs."a.b"`."""
    return ".".join('"' + part.replace('"', '""') + '"' if _QUOTED.search(part) else part for part in path)


def parts(name: str) -> tuple[str, ...]:
    """The parts of a name that `dotted` wrote.

    Raises:
        ValueError: It is no such name.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a field such as inputs.age, not {name!r}")
    return tuple(
        part[1:-1].replace('""', '"') if part.startswith('"') else part for part in _PART.findall(name)
    )


_QUOTED: Final = re.compile(r'[."]|^$')
_PART: Final = re.compile(r'"(?:[^"]|"")*"|[^."]+')
_NAME: Final = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))*", re.DOTALL)


def merged(layers: Mapping[Source, ModelDescription]) -> ModelDescription:
    """One description, each value from the first source that has it."""
    values: dict[tuple[str, ...], Any] = {}
    sources: dict[str, Source] = {}
    names: dict[str, None] = {}
    for source in Source:
        layer = layers.get(source, _NOTHING)
        names |= dict.fromkeys(layer.features)
        for place, value in _values(layer).items():
            if place not in values:
                values[place] = value
                sources[".".join(place)] = source
    return _built(values, names, sources)


def infer(
    prediction_fields: Mapping[str, pa.DataType],
    label_fields: Mapping[str, pa.DataType],
    declared: ModelDescription | None = None,
) -> ModelDescription:
    """What fields and their types tell, by the conventions for `output` and `label`.

    Args:
        prediction_fields: Types of the columns and of what is inside structs, by dotted name; others than
            `inputs.…` and `output.…` are passed over.
        label_fields: Likewise `label`, or `label.…`; empty where no label has come yet.
        declared: What is known from elsewhere; inferred values do not contradict it.

    Returns:
        What was inferred, and nothing of what was declared.
    """
    known = declared or _NOTHING
    outputs = {name: kind for name, kind in prediction_fields.items() if name.startswith("output.")}
    items = known.items or _items(outputs, known.task)
    scores = known.scores or _scores(outputs)
    score = known.score or next((name for name in _SCORES if _is_number(outputs.get(name))), None)
    label = known.label or _label(label_fields, known.prediction)
    truth = label_fields.get(label) if label else None
    prediction = known.prediction
    if prediction is None and items is None:
        prediction = _prediction(outputs, {score, scores}, label, truth)
    task = known.task or _task(
        outputs.get(prediction or ""), truth, items=items, scored=bool(score or scores)
    )
    if task is Task.CLASSIFICATION and not (score or scores or known.prediction):
        prediction, score = _or_probability(prediction, outputs)
    binary = task is Task.CLASSIFICATION and score is not None
    inferred = ModelDescription(
        task=task,
        prediction=prediction if task is not Task.RANKING else None,
        score=score if task is Task.CLASSIFICATION else None,
        scores=scores if task is not Task.REGRESSION else None,
        items=items if task is Task.RANKING else None,
        label=label,
        positive_class=_positive(task, outputs.get(prediction or ""), truth, scored=score is not None),
        threshold=0.5 if binary else None,
        features=_features(prediction_fields, {items, scores}),
    )
    return without(inferred, known)


def without(description: ModelDescription, known: ModelDescription) -> ModelDescription:
    """A description without the values that another has."""
    has = _values(known)
    left = {place: value for place, value in _values(description).items() if place not in has}
    names = [name for name in description.features if any(place[:2] == ("features", name) for place in left)]
    return _built(left, names, description.sources)


_NOTHING: Final = ModelDescription()

_SCORES: Final = ("output.score", "output.probability", "output.proba")
_PREDICTIONS: Final = (
    "output.value",
    "output.prediction",
    "output.predicted",
    "output.class",
    "output.label",
)
_TRUTHS: Final = ("label.value", "label.label", "label.truth", "label.class")


def _feature(read: Mapping[str, Any]) -> Feature:
    kind = read.get("type")
    return Feature(None if kind is None else FeatureType(kind), read.get("importance"))


def _values(description: ModelDescription) -> dict[tuple[str, ...], Any]:
    """Every value that is known, by its place."""
    found: dict[tuple[str, ...], Any] = {(name,): getattr(description, name) for name in _PLAIN}
    for name, each in description.features.items():
        found["features", name, "type"] = each.type
        found["features", name, "importance"] = each.importance
    found |= {("types", name): kind for name, kind in description.types.items()}
    found |= {("references", name): policy for name, policy in description.references.items()}
    return {place: value for place, value in found.items() if value is not None and value != ()}


def _built(
    values: Mapping[tuple[str, ...], Any], features: Iterable[str], sources: Mapping[str, Source]
) -> ModelDescription:
    """What `_values` took apart."""
    return ModelDescription(
        **{place[0]: value for place, value in values.items() if len(place) == 1},
        features={
            name: Feature(
                values.get(("features", name, "type")), values.get(("features", name, "importance"))
            )
            for name in features
        },
        types={place[1]: value for place, value in values.items() if place[0] == "types"},
        references={place[1]: value for place, value in values.items() if place[0] == "references"},
        sources=sources,
    )


def _items(outputs: Mapping[str, pa.DataType], task: Task | None) -> str | None:
    """A list of names or numbers of items; lists of floats are embeddings, or scores."""
    if task not in {None, Task.RANKING}:
        return None
    for name in ("output.items", "output.value"):
        inside = _inside(outputs.get(name))
        if inside is not None and (type_.is_string(inside) or type_.is_integer(inside)):
            return name
    return None


def _scores(outputs: Mapping[str, pa.DataType]) -> str | None:
    kind = outputs.get("output.scores")
    if kind is not None:
        inside = kind.item_type if type_.is_map(kind) else _inside(kind)
        return "output.scores" if _is_number(inside) else None
    classes = [kind for name, kind in outputs.items() if name.startswith("output.scores.")]
    return "output.scores" if classes and all(map(_is_number, classes)) else None


def _label(label_fields: Mapping[str, pa.DataType], prediction: str | None) -> str | None:
    """The label, or the field of it that is named as the prediction is, or by convention, or alone."""
    names = [name for name in label_fields if name == "label" or name.startswith("label.")]
    if not names or "label" in names:
        return "label"
    alike = [f"label.{prediction.removeprefix('output.')}"] if prediction else []
    chosen = next((name for name in [*alike, *_TRUTHS] if name in names), None)
    return chosen or (names[0] if len(names) == 1 else None)


def _prediction(
    outputs: Mapping[str, pa.DataType], taken: set[str | None], label: str | None, truth: pa.DataType | None
) -> str | None:
    """The output that is the prediction: by convention, else named or typed as the label is, else alone."""
    single = {name: kind for name, kind in outputs.items() if name not in taken and _is_single(kind)}
    single = {name: kind for name, kind in single.items() if not name.startswith("output.scores.")}
    alike = f"output.{label.removeprefix('label.')}" if label else ""
    for name in (*_PREDICTIONS, alike):
        if name in single:
            return name
    if len(single) == 1:
        return next(iter(single))
    same = [name for name, kind in single.items() if truth is not None and _family(kind) == _family(truth)]
    return same[0] if len(same) == 1 else None


def _or_probability(
    prediction: str | None, outputs: Mapping[str, pa.DataType]
) -> tuple[str | None, str | None]:
    """A prediction, or else a score: what is not whole is no class."""
    is_class = prediction is None or not type_.is_floating(outputs[prediction])
    return (prediction, None) if is_class else (None, prediction)


def _task(
    prediction: pa.DataType | None, truth: pa.DataType | None, *, items: str | None, scored: bool
) -> Task | None:
    """Classes are texts, booleans and, before their values are known, integers; amounts are floats."""
    if items is not None:
        return Task.RANKING
    kinds = [kind for kind in (prediction, truth) if kind is not None]
    if any(_family(kind) == "class" for kind in kinds):
        return Task.CLASSIFICATION
    if truth is not None and any(map(type_.is_floating, kinds)):
        return Task.REGRESSION
    if scored or (kinds and all(map(type_.is_integer, kinds))):
        return Task.CLASSIFICATION
    return Task.REGRESSION if kinds else None


def _positive(
    task: Task | None, prediction: pa.DataType | None, truth: pa.DataType | None, *, scored: bool
) -> str | None:
    if task is not Task.CLASSIFICATION:
        return None
    kinds = [kind for kind in (prediction, truth) if kind is not None]
    if any(map(type_.is_boolean, kinds)):
        return "true"
    return "1" if scored and any(map(type_.is_integer, kinds)) else None


def _features(prediction_fields: Mapping[str, pa.DataType], roles: set[str | None]) -> dict[str, Feature]:
    found = {}
    for name, kind in prediction_fields.items():
        inferred = _feature_type(kind)
        embedded = inferred is FeatureType.EMBEDDING and name.startswith("output.") and name not in roles
        if inferred is not None and (embedded or name.startswith("inputs.")):
            found[name] = Feature(inferred)
    return found


def _feature_type(kind: pa.DataType) -> FeatureType | None:
    if type_.is_boolean(kind) or type_.is_string(kind):
        return FeatureType.CATEGORY
    if _is_number(kind):
        return FeatureType.NUMBER
    if type_.is_timestamp(kind):
        return FeatureType.TIME
    inside = _inside(kind)
    return FeatureType.EMBEDDING if inside is not None and type_.is_floating(inside) else None


def _inside(kind: pa.DataType | None) -> pa.DataType | None:
    """Type of a list's items; None if it is no list."""
    return kind.value_type if kind is not None and type_.is_list(kind) else None


def _is_number(kind: pa.DataType | None) -> bool:
    return kind is not None and (type_.is_integer(kind) or type_.is_floating(kind))


def _is_single(kind: pa.DataType) -> bool:
    return _is_number(kind) or type_.is_boolean(kind) or type_.is_string(kind)


def _family(kind: pa.DataType) -> str | None:
    if type_.is_boolean(kind) or type_.is_string(kind):
        return "class"
    return "number" if _is_number(kind) else None
