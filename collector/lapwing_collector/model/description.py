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

from lapwing_collector.model.facts import Facts, FieldFacts

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
        keep: Of a text, whether it is kept itself beside what is told of it; it is unless this is False.
    """

    type: FeatureType | None = None
    importance: float | None = None
    keep: bool | None = None


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

    def as_json(self) -> dict[str, Any]:
        """What is known, as JSON has it; what is unknown is left out. The delay is in seconds."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        known["features"] = {
            name: {"type": each.type, "importance": each.importance}
            | ({} if each.keep is None else {"keep": each.keep})
            for name, each in self.features.items()
        }
        known["label_delay"] = None if self.label_delay is None else self.label_delay.total_seconds()
        return {name: value for name, value in known.items() if value not in (None, (), {})}

    def to_json(self) -> str:
        """Write it down."""
        return json.dumps(self.as_json(), ensure_ascii=False)

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

PLAIN: Final = (
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
"""Values of a description that stand for themselves, in the order in which people are shown them."""


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
    facts: Facts | None = None,
) -> ModelDescription:
    """What fields tell, by the conventions for `output` and `label`: their names, their types, their values.

    Args:
        prediction_fields: Types of the columns and of what is inside structs, by dotted name; others than
            `inputs.…` and `output.…` are passed over.
        label_fields: Likewise `label`, or `label.…`; empty where no label has come yet.
        declared: What is known from elsewhere; inferred values do not contradict it.
        facts: What the values look like, where somebody looked.

    Returns:
        What was inferred, and nothing of what was declared.
    """
    known = declared or _NOTHING
    seen = facts or _NO_FACTS
    outputs = {name: kind for name, kind in prediction_fields.items() if name.startswith("output.")}
    items = known.items or _items(outputs, known.task)
    scores = known.scores or _scores(outputs)
    score = known.score or next((name for name in _SCORES if _is_number(outputs.get(name))), None)
    label = known.label or (_relevance if items else _label)(label_fields, known.prediction)
    truth = _Role.of(label, label_fields, seen)
    name = known.prediction
    if name is None and items is None:
        name = _prediction(outputs, {score, scores}, label, truth.kind)
    prediction = _Role.of(name, outputs, seen)
    task = known.task or _task(prediction, truth, items=items, scored=bool(score or scores))
    if task is Task.CLASSIFICATION and not (score or scores or known.prediction) and prediction.is_amount:
        score, prediction = prediction.name, _Role()  # a probability: what is not whole is no class
    binary = task is Task.CLASSIFICATION and score is not None
    inferred = ModelDescription(
        task=task,
        prediction=prediction.name if task is not Task.RANKING else None,
        score=score if task is Task.CLASSIFICATION else None,
        scores=scores if task is not Task.REGRESSION else None,
        items=items if task is Task.RANKING else None,
        label=label,
        positive_class=_positive(prediction, truth, scored=binary) if task is Task.CLASSIFICATION else None,
        classes=_classes(prediction, truth) if task is Task.CLASSIFICATION else (),
        threshold=0.5 if binary else None,
        label_delay=None if seen.label_delay_s is None else timedelta(seconds=seen.label_delay_s),
        features=_features(prediction_fields, {items, scores}, seen),
    )
    return without(inferred, known)


def is_segment(name: str) -> bool:
    """Whether rows can be told apart by what the name says: an input, an output, a tag, or a column."""
    return name in SEGMENT_COLUMNS or is_field(name, "inputs", "output", "tags")


def is_field(name: str, *roots: str) -> bool:
    """Whether a name is that of a field below one of the roots, or of the label itself."""
    try:
        root, *inside = parts(name)
    except ValueError:
        return False
    return root in roots and bool(inside or root == "label")


def without(description: ModelDescription, known: ModelDescription) -> ModelDescription:
    """A description without the values that another has."""
    has = _values(known)
    left = {place: value for place, value in _values(description).items() if place not in has}
    told = {name for root, name, *_ in (place for place in left if len(place) > 1) if root == "features"}
    names = [name for name in description.features if name in told]
    return _built(left, names, description.sources)


SEGMENT_COLUMNS: Final = ("version", "stage", "environment", "service", "variant", "upstream", "fallback")
"""Columns by whose values rows may be told apart, beside fields."""

_NOTHING: Final = ModelDescription()
_NO_FACTS: Final = Facts()

_MIN_VALUES: Final = 100
"""Values from which on they say something."""
_MOST_NUMBERED: Final = 20
"""Different numbers up to which they may be the numbers of classes."""
_MIN_WORDS: Final = 4.0
_MOST_PHRASES: Final = 50
"""Texts of several words are categories all the same, if they are as few as this."""
_ALMOST_ALL: Final = 0.99
_AFFIRMATIVE: Final = frozenset({"true", "1", "1.0", "yes", "y", "t", "positive", "pos"})

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
    return Feature(None if kind is None else FeatureType(kind), read.get("importance"), read.get("keep"))


def _values(description: ModelDescription) -> dict[tuple[str, ...], Any]:
    """Every value that is known, by its place."""
    found: dict[tuple[str, ...], Any] = {(name,): getattr(description, name) for name in PLAIN}
    for name, each in description.features.items():
        found["features", name, "type"] = each.type
        found["features", name, "importance"] = each.importance
        found["features", name, "keep"] = each.keep
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
            name: Feature(*(values.get(("features", name, key)) for key in ("type", "importance", "keep")))
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


def _relevance(label_fields: Mapping[str, pa.DataType], _: str | None) -> str | None:
    """What tells which items are relevant: a field that lists them, else the label with a field an item."""
    names = [name for name, kind in label_fields.items() if name.startswith("label.") and _is_many(kind)]
    return names[0] if len(names) == 1 else "label"


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


@dataclass(frozen=True, slots=True)
class _Role:
    """A field that plays a role, as far as there is one."""

    name: str | None = None
    kind: pa.DataType | None = None
    values: FieldFacts | None = None

    @classmethod
    def of(cls, name: str | None, kinds: Mapping[str, pa.DataType], facts: Facts) -> Self:
        """The field of a name."""
        return cls() if name is None else cls(name, kinds.get(name), facts.fields.get(name))

    @property
    def is_class(self) -> bool:
        """Whether its type says that it is one."""
        return self.kind is not None and _family(self.kind) == "class"

    @property
    def is_amount(self) -> bool:
        """Whether its type says so."""
        return self.kind is not None and type_.is_floating(self.kind)

    @property
    def is_few(self) -> bool:
        """Whether its values are so few that they are classes."""
        seen = self.values
        return seen is not None and 0 < seen.distinct <= _MOST_NUMBERED and seen.values >= _MIN_VALUES

    @property
    def is_many(self) -> bool:
        """Whether its values are so many that they are none."""
        return self.values is not None and self.values.distinct > _MOST_NUMBERED

    @property
    def is_flag(self) -> bool:
        """Whether its values are 0 and 1."""
        seen = self.values
        return self.is_few and seen is not None and set(seen.classes) <= {"0", "1", "0.0", "1.0"}

    @property
    def is_probability(self) -> bool:
        """Whether its values could be."""
        seen = self.values
        known = seen is not None and seen.least is not None and seen.greatest is not None
        return known and seen.least >= 0 and seen.greatest <= 1  # type: ignore[union-attr,operator]


def _task(prediction: _Role, truth: _Role, *, items: str | None, scored: bool) -> Task | None:
    """Classes are texts, booleans and, unless they turn out to be many, integers; amounts are floats."""
    if items is not None:
        return Task.RANKING
    is_flagged = truth.is_flag and (prediction.is_flag or prediction.is_probability)
    if prediction.is_class or truth.is_class or is_flagged:
        return Task.CLASSIFICATION
    if truth.kind is not None and (prediction.is_amount or truth.is_amount):
        return Task.REGRESSION
    if scored:
        return Task.CLASSIFICATION
    if prediction.is_amount or prediction.is_many or truth.is_many:
        return Task.REGRESSION
    return Task.CLASSIFICATION if prediction.kind is not None or truth.kind is not None else None


def _positive(prediction: _Role, truth: _Role, *, scored: bool) -> str | None:
    kinds = [role.kind for role in (prediction, truth) if role.kind is not None]
    if any(map(type_.is_boolean, kinds)):
        return "true"
    classes = _classes(prediction, truth)
    affirmative = [each for each in classes if each.lower() in _AFFIRMATIVE]
    if len(classes) <= 2 and len(affirmative) == 1:  # of more, none is the positive one
        return affirmative[0]
    return "1" if scored and not classes and any(map(type_.is_integer, kinds)) else None


def _classes(prediction: _Role, truth: _Role) -> tuple[str, ...]:
    """All classes that were seen, if they are few; () where they are not known."""
    seen = [role.values for role in (prediction, truth) if role.values is not None and role.values.distinct]
    if not all(each.classes for each in seen):
        return ()
    return tuple(sorted({each for values in seen for each in values.classes}))


def _features(
    prediction_fields: Mapping[str, pa.DataType], roles: set[str | None], facts: Facts
) -> dict[str, Feature]:
    found = {}
    for name, kind in prediction_fields.items():
        inferred = _text_type(facts.fields.get(name)) if type_.is_string(kind) else _feature_type(kind)
        embedded = inferred is FeatureType.EMBEDDING and name.startswith("output.") and name not in roles
        if inferred is not None and (embedded or name.startswith("inputs.")):
            found[name] = Feature(inferred)
    return found


def _text_type(seen: FieldFacts | None) -> FeatureType:
    """Texts are categories, until their values are seen to be times, or sentences."""
    if seen is None or seen.values < _MIN_VALUES:
        return FeatureType.CATEGORY
    if seen.times is not None and seen.times >= _ALMOST_ALL:
        return FeatureType.TIME
    is_prose = seen.words is not None and seen.words >= _MIN_WORDS
    return FeatureType.TEXT if is_prose and seen.distinct > _MOST_PHRASES else FeatureType.CATEGORY


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


def _is_many(kind: pa.DataType) -> bool:
    return bool(type_.is_list(kind) or type_.is_map(kind))


def _is_number(kind: pa.DataType | None) -> bool:
    return kind is not None and (type_.is_integer(kind) or type_.is_floating(kind))


def _is_single(kind: pa.DataType) -> bool:
    return _is_number(kind) or type_.is_boolean(kind) or type_.is_string(kind)


def _family(kind: pa.DataType) -> str | None:
    if type_.is_boolean(kind) or type_.is_string(kind):
        return "class"
    return "number" if _is_number(kind) else None
