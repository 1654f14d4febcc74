"""What a service says of a model once: its task, which fields play which role, what its features are."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Literal, TypedDict, Unpack

from lapwing import _process, semconv
from lapwing._record import encode_model

Task = Literal["classification", "regression", "ranking"]
FeatureType = Literal["number", "category", "text", "embedding", "time"]

_ROLES: Final = (
    semconv.ROLE_PREDICTION,
    semconv.ROLE_SCORE,
    semconv.ROLE_SCORES,
    semconv.ROLE_ITEMS,
    semconv.BODY_LABEL,
)
_TASKS: Final = ("classification", "regression", "ranking")
_FEATURE_TYPES: Final = ("number", "category", "text", "embedding", "time")
_COLUMNS: Final = ("version", "stage", "environment", "service", "variant", "upstream", "fallback")
_SIDES: Final = ("inputs.", "output.", "tags.")


class Description(TypedDict, total=False):
    """What may be said of a model; `watch` and `log_model` document it."""

    task: Task | None
    prediction: str | None
    score: str | None
    scores: str | None
    items: str | None
    label: str | None
    positive_class: object
    classes: Iterable[object] | None
    threshold: float | None
    label_delay: timedelta | float | None
    features: Mapping[str, FeatureType | float | Mapping[str, object]] | None
    segments: Iterable[str] | None


def declared(said: Mapping[str, Any]) -> dict[str, object]:
    """Make the body of a record of what is said; empty where nothing is.

    Raises:
        TypeError: A value is of a wrong type.
        ValueError: A value is not allowed.
    """
    values = {name: value for name, value in said.items() if value is not None}
    roles = {name: _role(name, values[name]) for name in _ROLES if name in values}
    readers: dict[str, Callable[[Any], object]] = {
        "task": _task,
        "positive_class": _class,
        "classes": lambda classes: [_class(each) for each in _listed("classes", classes)],
        "threshold": lambda value: _number("threshold", value),
        "label_delay": _seconds,
        "features": lambda features: {_input(name): _feature(name, each) for name, each in features.items()},
        "segments": lambda names: [_segment(name) for name in _listed("segments", names)],
    }
    body: dict[str, object] = {semconv.BODY_ROLES: roles} if roles else {}
    return body | {name: read(values[name]) for name, read in readers.items() if name in values}


def log_model(*, model: str, version: str | None = None, **said: Unpack[Description]) -> None:
    """Say what there is to know of a model, where no `watch` says it. Saying it again sends nothing.

    Never raises: what cannot be recorded is counted, see `stats`.

    Args:
        model: The model's name, 1 to 128 characters, no control characters.
        version: The model's version.
        **said:
            task (str): `classification`, `regression` or `ranking`.
            prediction (str): The output's field that is the prediction, where it is not `value`.
            score (str): The output's field that is the probability of the positive class, where it is not
                `score`.
            scores (str): The output's field with a probability per class, or the scores of ranked items.
            items (str): The output's field with the ranked items, the best first.
            label (str): The label's field that is the truth, where labels are mappings.
            positive_class (object): The class that the score is about.
            classes (list): All classes.
            threshold (float): The score from which on the positive class is predicted.
            label_delay (timedelta or float): How long after a prediction its label can be expected; a number
                is in seconds.
            features (mapping): By name, a type (`number`, `category`, `text`, `embedding`, `time`), an
                importance, or `{"type": …, "importance": …}`.
            segments (list of str): Fields by whose values profiles are kept apart: `plan`, `tags.region`.
    """
    sink = _process.sink()
    if not sink.recording:
        return
    try:
        body = declared(said)
        if _process.is_news((model, version, repr(body))):
            redaction = None if sink.policy.redact is None else sink.policy.redact.record()
            sink.put(encode_model(model, version, body, redaction))
    except Exception as failure:  # noqa: BLE001  # the host must not notice
        sink.drop("encode_error", failure)


def of_estimator(estimator: Any) -> Description:
    """What an estimator of scikit-learn's kind knows of itself."""
    said: Description = {}
    with suppress(Exception):  # whatever an estimator of another library has under these names
        task = _task_of(estimator)
        if task is not None:
            said["task"] = task
        classes = getattr(estimator, "classes_", None)
        if task == "classification" and classes is not None and classes.ndim == 1:
            said["classes"] = [_class(each) for each in classes]
            if len(classes) == 2:
                said["positive_class"] = _class(classes[1])
    with suppress(Exception):
        names, importances = estimator.feature_names_in_, estimator.feature_importances_
        said["features"] = {
            str(name): float(importance) for name, importance in zip(names, importances, strict=True)
        }
    return said


def _task_of(estimator: Any) -> Task | None:
    kind = getattr(estimator, "_estimator_type", None)
    if kind is None:
        kind = estimator.__sklearn_tags__().estimator_type
    kinds: dict[object, Task] = {"classifier": "classification", "regressor": "regression"}
    return kinds.get(kind)


def _task(value: object) -> object:
    if value not in _TASKS:
        raise ValueError(f"task: expected {', '.join(_TASKS)}, not {value!r}")
    return value


def _role(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name}: expected the name of a field, as text, not {value!r}")
    if name != "label":
        return f"output.{value.removeprefix('output.')}"
    return "label" if value == "label" else f"label.{value.removeprefix('label.')}"


def _class(value: object) -> str:
    """A class as it reads as text in SQL."""
    plain = value.item() if hasattr(value, "item") else value
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, not {value!r}")
    return float(value)


def _seconds(value: object) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else _number("label_delay", value)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"label_delay: expected a time of 0 or more, not {value!r}")
    return seconds


def _listed(name: str, values: Iterable[Any]) -> list[Any]:
    if isinstance(values, str):
        raise TypeError(f"{name} is a list, such as [{values!r}], not a text")
    return list(values)


def _input(name: str) -> str:
    return name if name.startswith(("inputs.", "output.")) else f"inputs.{name}"


def _segment(name: str) -> str:
    return name if name in _COLUMNS or name.startswith(_SIDES) else f"inputs.{name}"


def _feature(name: str, said: object) -> dict[str, object]:
    if isinstance(said, str):
        said = {"type": said}
    elif not isinstance(said, Mapping):
        said = {"importance": said}
    if unknown := said.keys() - {"type", "importance"}:
        raise ValueError(
            f"features: {name}: expected type and importance, not {', '.join(map(str, sorted(unknown)))}"
        )
    if said.get("type") not in (None, *_FEATURE_TYPES):
        raise ValueError(f"features: {name}: expected {', '.join(_FEATURE_TYPES)}, not {said['type']!r}")
    known = {key: value for key, value in said.items() if value is not None}
    if "importance" in known:
        known["importance"] = _number(f"features: {name}: importance", known["importance"])
    return known
