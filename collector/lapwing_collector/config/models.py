"""Files that describe models, `models/*.yaml`: their schema, and what reads them into descriptions."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from lapwing_collector.config.documents import Document, Mistake, parse_document, parse_duration
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.description import (
    SEGMENT_COLUMNS,
    Feature,
    FeatureType,
    ModelDescription,
    Source,
    Task,
    is_segment,
    merged,
    parts,
)

CheckType = Callable[[str], object]
"""Raises a ValueError unless its argument is a type that columns may have."""

_CLASSIFICATION_KEYS: Final = ("score", "positive_class", "classes", "threshold")
_NOT_OF_TASK: Final[Mapping[str, tuple[str, ...]]] = {
    Task.REGRESSION: (*_CLASSIFICATION_KEYS, "scores", "items"),
    Task.RANKING: (*_CLASSIFICATION_KEYS, "prediction"),
    Task.CLASSIFICATION: ("items",),
}


def _name(value: str) -> str:
    if not 1 <= len(value) <= 128 or not value.isprintable():
        raise ValueError("a name of 1 to 128 characters, none of them a control character")
    return value


def _field(*roots: str) -> Any:
    """A field below one of the roots; a root that ends in `=` stands alone, too."""
    shown = " or ".join(f"{root.rstrip('=')}.name" for root in roots)

    def check(value: str) -> str:
        root, *inside = parts(value)
        if not any(root == each.rstrip("=") and (inside or each.endswith("=")) for each in roots):
            raise ValueError(f"a field such as {shown}, not {value!r}")
        return value

    return AfterValidator(check)


def _segment(value: str) -> str:
    if not is_segment(value):
        columns = ", ".join(SEGMENT_COLUMNS)
        raise ValueError(f"a field such as inputs.plan or tags.region, or one of {columns}, not {value!r}")
    return value


def _class(value: object) -> object:
    """A class as it reads as text in SQL."""
    return value if isinstance(value, str) or not isinstance(value, bool | int) else json.dumps(value)


def _type(value: str, info: ValidationInfo) -> str:
    check_type: CheckType | None = (info.context or {}).get("check_type")
    if check_type is not None:
        check_type(value)
    return value


def _feature(value: object) -> object:
    """A type alone stands for itself."""
    return {"type": value} if isinstance(value, str) else value


def _span(value: object) -> timedelta:
    return parse_duration(str(value))


def _an_hour(span: timedelta) -> timedelta:
    if span < timedelta(hours=1):
        raise ValueError("a duration of at least 1h: profiles are kept by the hour")
    return span


def _whole_weeks(span: timedelta) -> timedelta:
    if not span or span % timedelta(weeks=1):
        raise ValueError("a duration of whole weeks such as 4w")
    return span


OutputField = Annotated[str, _field("output")]
LabelField = Annotated[str, _field("label=")]
FeatureField = Annotated[str, _field("inputs", "output")]
TypedField = Annotated[str, _field("inputs", "output", "label=")]
Segment = Annotated[str, AfterValidator(_segment)]
Class = Annotated[str, BeforeValidator(_class)]
Name = Annotated[str, AfterValidator(_name)]


class FeatureEntry(Document):
    """What is said of one feature."""

    type: Literal["number", "category", "text", "embedding", "time"] | None = None
    importance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    keep: bool | None = None

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check that only of texts something else is kept."""
        if "keep" in raw and raw.get("type") != "text":
            yield ("keep",), "is only for features of the type text"


class ReferenceEntry(Document):
    """A reference that is a choice among rows of the profile, made each time."""

    rolling: Annotated[timedelta, BeforeValidator(_span), AfterValidator(_an_hour)] | None = None
    same_hours: Annotated[timedelta, BeforeValidator(_span), AfterValidator(_whole_weeks)] | None = None
    role: Literal["drift", "conditions"] = "drift"

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check that it says one thing."""
        if ("rolling" in raw) == ("same_hours" in raw):
            yield (), "needs one of the keys rolling and same_hours"

    def policy(self) -> dict[str, Any]:
        """What a description has of it."""
        kind, span = ("rolling", self.rolling) if self.rolling else ("same_hours", self.same_hours)
        assert span is not None  # noqa: S101  # one of the two is there
        return {"kind": kind, "seconds": round(span.total_seconds()), "role": self.role}


class ModelFile(Document):
    """The whole file: one model."""

    model: Name
    task: Literal["classification", "regression", "ranking"] | None = None
    prediction: OutputField | None = None
    score: OutputField | None = None
    scores: OutputField | None = None
    items: OutputField | None = None
    label: LabelField | None = None
    positive_class: Class | None = None
    classes: list[Class] = Field(default_factory=list)
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    label_delay: Annotated[timedelta, BeforeValidator(_span)] | None = None
    features: dict[FeatureField, Annotated[FeatureEntry, BeforeValidator(_feature)]] = Field(
        default_factory=dict
    )
    segments: list[Segment] = Field(default_factory=list)
    types: dict[TypedField, Annotated[str, AfterValidator(_type)]] = Field(default_factory=dict)
    references: dict[Name, ReferenceEntry] = Field(default_factory=dict)

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check which keys stand together."""
        task = raw.get("task")
        for key in _NOT_OF_TASK.get(task, ()) if isinstance(task, str) else ():
            if key in raw:
                yield (key,), f"is nothing that the task {task} has"
        classes, positive = raw.get("classes"), raw.get("positive_class")
        if isinstance(classes, list) and positive is not None:
            known = [_class(each) for each in classes]
            if _class(positive) not in known:
                yield ("positive_class",), f"expected one of the classes {', '.join(map(str, known))}"


def load_model(text: str, name: str, check_type: CheckType | None = None) -> tuple[str, ModelDescription]:
    """Read the file of one model: its name, and what the file says of it.

    Args:
        text: The file's text, YAML.
        name: The file's name, for messages.
        check_type: Raises a ValueError unless it is given a type that columns may have.

    Raises:
        ConfigError: The file is wrong; a line `file:line: key: what is wrong` for every mistake found.
    """
    file = parse_document(text, ModelFile, name, {"check_type": check_type})
    said = ModelDescription(
        task=None if file.task is None else Task(file.task),
        prediction=file.prediction,
        score=file.score,
        scores=file.scores,
        items=file.items,
        label=file.label,
        positive_class=file.positive_class,
        classes=tuple(file.classes),
        threshold=file.threshold,
        label_delay=file.label_delay,
        features={
            field: Feature(None if each.type is None else FeatureType(each.type), each.importance, each.keep)
            for field, each in file.features.items()
        },
        segments=tuple(file.segments),
        types=file.types,
        references={name: each.policy() for name, each in file.references.items()},
    )
    return file.model, merged({Source.FILE: said})


def merge_models(files: Mapping[str, tuple[str, ModelDescription]]) -> dict[str, ModelDescription]:
    """Put the models of all files, by file name, together.

    Raises:
        ConfigError: Two files describe the same model.
    """
    homes: dict[str, str] = {}
    mistakes = []
    for file, (model, _) in files.items():
        home = homes.setdefault(model, file)
        if home != file:
            mistakes.append(f"{file}: the model {model} is described in {home} too; put both into one file")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return dict(files.values())
