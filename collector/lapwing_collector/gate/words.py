"""Numbers and texts as people read them. What came from data is shown as what it is, and steers nothing."""

import math
from datetime import datetime
from typing import Final

from lapwing_collector.gate.values import Cell, Check, Evaluation, Outcome, Side
from lapwing_collector.logs import escaped

LONGEST: Final = 300
"""Characters of a text from the data that are shown."""

_WHOLE: Final = 1e6
_NONE: Final = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}
"""Characters that are none, and that XML refuses."""

NO_VALUE: Final = "-"


def shown(text: str) -> str:
    """A text on one line: control characters as what they are called, and no longer than people read."""
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return escaped(short, keep="\\").translate(_NONE)


def number(value: float | None) -> str:
    """A number with as many digits as tell something."""
    if value is None:
        return NO_VALUE
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) < _WHOLE):
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < _WHOLE else f"{value:.4e}"


def cell(value: Cell) -> str:
    """A cell of a table."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown(value) if isinstance(value, str) else number(value)


def moment(time: datetime | None) -> str:
    """A time in UTC."""
    return NO_VALUE if time is None else f"{time:%Y-%m-%d %H:%M}"


def labels(check: Check) -> str:
    """What tells a check from others of its rule; an empty label is none."""
    return ", ".join(f"{shown(name)}={shown(text)}" for name, text in check.labels.items() if text)


def interval(low: float | None, high: float | None) -> str:
    """The bounds of a value; empty without any."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def beside(check: Check) -> str:
    """What a value is compared with."""
    known = ((side, value) for side, value in check.sides.items() if value is not None)
    return ", ".join(f"{side} {number(value)}" for side, value in known)


def side(told: Side) -> str:
    """What rows took part, in one line."""
    parts = [f"{told.name}: {shown(told.source)}"]
    if told.rows is not None:
        parts.append(f"{told.rows:,} rows, {told.labels or 0:,} with a label")
    if told.versions:
        parts.append(f"version {', '.join(map(shown, told.versions[:5]))}")
    if told.since is not None:
        parts.append(f"{moment(told.since)} to {moment(told.until)}")
    return ", ".join(parts)


def title(evaluation: Evaluation) -> str:
    """What was evaluated, and what became of it."""
    version = f" {shown(evaluation.version)}" if evaluation.version else ""
    return f"{shown(evaluation.model)}{version}: {evaluation.verdict}"


def summary(evaluation: Evaluation) -> str:
    """How many rules did what, in one line."""
    judged = {check.rule for check in evaluation.checks if check.kind == "alert"}
    stopped = {check.rule for check in evaluation.stops}
    warned = {check.rule for check in evaluation.warnings} - stopped
    told = [f"{len(judged) - len(stopped) - len(warned)} of {len(judged)} rules passed"]
    if stopped:
        told.append(f"{len(stopped)} stopped it")
    if warned:
        told.append(f"{len(warned)} warned")
    return ", ".join(told)


def word(check: Check, evaluation: Evaluation) -> str:
    """What became of a check, in a word."""
    if check.outcome in {Outcome.PASSED, Outcome.RECORDED}:
        return check.outcome.value
    said = "failed" if check.outcome is Outcome.FAILED else check.outcome.value.replace("_", " ")
    return said if check in evaluation.stops or check.kind == "record" else f"warning: {said}"
