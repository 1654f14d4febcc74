"""Reads what processes say of their models, from anybody who may have sent it."""

import math
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from lapwing import semconv
from lapwing_collector.model.description import (
    Feature,
    FeatureType,
    ModelDescription,
    Task,
    is_field,
    is_segment,
)

_ROLES: Final = (
    semconv.ROLE_PREDICTION,
    semconv.ROLE_SCORE,
    semconv.ROLE_SCORES,
    semconv.ROLE_ITEMS,
    semconv.BODY_LABEL,
)
_Word = TypeVar("_Word", bound=StrEnum)


def said(body: object) -> ModelDescription:
    """What the body of an `ml.model` record says; what makes no sense in it is passed over."""
    given = body if isinstance(body, dict) else {}
    roles = _mapping(given.get(semconv.BODY_ROLES))
    found: dict[str, Any] = {
        role: _field(roles.get(role), "label" if role == semconv.BODY_LABEL else "output") for role in _ROLES
    }
    found |= {
        "task": _one_of(Task, given.get("task")),
        "positive_class": _text(given.get("positive_class")),
        "classes": _texts(given.get("classes")),
        "threshold": _finite(given.get("threshold")),
        "label_delay": _delay(given.get("label_delay")),
        "segments": tuple(each for each in _texts(given.get("segments")) if is_segment(each)),
        "features": {
            name: Feature(_one_of(FeatureType, each.get("type")), _finite(each.get("importance")))
            for name, each in _mapping(given.get("features")).items()
            if isinstance(each, dict) and _field(name, "inputs", "output")
        },
    }
    return ModelDescription(**found)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _field(value: object, *roots: str) -> str | None:
    return value if isinstance(value, str) and is_field(value, *roots) else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _one_of(kind: type[_Word], value: object) -> _Word | None:
    return kind(value) if isinstance(value, str) and value in list(kind) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _finite(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]


def _delay(value: object) -> timedelta | None:
    seconds = _finite(value)
    try:
        return None if seconds is None or seconds < 0 else timedelta(seconds=seconds)
    except OverflowError:
        return None
