"""The numbers that a condition compares with: lines that people want to see crossed or not."""

import re
from dataclasses import dataclass
from typing import Final

_PARTS: Final = re.compile(r"\b(?:and|or)\b", re.IGNORECASE)
_BOUND: Final = re.compile(
    r"(?P<column>value|low|high)\s*(?P<sign>>=?|<=?)\s*"
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Bound:
    """A number beyond which a rule fires.

    Attributes:
        column: What is compared: `value`, or an end of its interval, `low` or `high`.
        sign: `>`, `>=`, `<` or `<=`.
        number: Where the line is.
    """

    column: str
    sign: str
    number: float


def bounds_of(condition: str | None) -> tuple[Bound, ...]:
    """The numbers that a condition compares its value with by themselves; others cannot be drawn."""
    parts = (part.strip().strip("()").strip() for part in _PARTS.split(condition or ""))
    return tuple(
        Bound(found["column"].lower(), found["sign"], float(found["number"]))
        for found in map(_BOUND.fullmatch, parts)
        if found is not None
    )
