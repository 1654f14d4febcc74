"""What to do about a model: whether to retrain it, and what to do before.

Drift alone is no reason: a model may cope, and a broken pipeline looks like drift. So it is asked whether
the model is worse at all, whether its data is broken, whether its inputs are others, and whether there are
labels enough to learn from.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from lapwing_collector.gate.contents import Answer, Answers
from lapwing_collector.gate.values import Advice, Step
from lapwing_collector.gate.words import number
from lapwing_collector.model.description import ModelDescription, Task

ENOUGH: Final = 1000
"""Labelled rows from which on it is worth to learn from them."""

RAREST: Final = 50
"""Of these, as many at least must be of the rarest class."""

_FEWEST: Final = 30
"""Of fewer rows shares are too rough to call data broken: of one row that lacks a value, all lack it."""

_MISSING: Final = 0.01
"""Missing values more, beyond what chance explains, that make data broken."""
_NEW: Final = 0.01
_ERRORS: Final = 0.01
_NAMED: Final = 3

Word = Literal["yes", "no", "unknown"]

_WORSE: Final = "Is the model worse than it was?"
_BROKEN: Final = "Is its data broken?"
_DRIFTED: Final = "Are its inputs others than they were?"
_LABELLED: Final = "Are there labels enough to learn from?"

_TEXTS: Final[Mapping[str, str]] = {
    "fine": "Nothing to do: it is no worse than it was, and its data is as it was.",
    "watch": "Nothing to do yet: its inputs are others than they were, and it copes with them.",
    "unknown_as_empty": "There are no predictions to look at: choose another window.",
    "unknown": "Nothing tells whether it is worse: bring labels, and a reference to compare with.",
    "unknown_but_moved": "Its inputs are others than they were, and nothing says whether it was better "
    "before: compare with a reference whose rows have labels, or with an earlier window "
    "(`lapwing report --before`).",
    "fix_data": "Mend the data first: a model that learns from broken data learns the fault.",
    "collect_labels": "Have rows labelled, the newest and the strangest first, before anything is decided. "
    "Until then a fallback, another threshold, or leaving out segments where it fails may be better.",
    "retrain": "Retrain it on recent rows, and let `lapwing evaluate` judge the successor: on a golden data "
    "set (`--data reference:golden`) and against production.",
    "retrain_or_relabel": "The same inputs now mean something else. Look whether labels are still recorded "
    "as they were; if so, retrain it on rows from after the change, and let `lapwing evaluate` judge it.",
}


def needed(told: ModelDescription) -> frozenset[str]:
    """The keys of the questions whose answers an advice needs."""
    asked = {"missing", "new", "failing", "drift", "coverage", "balance", _primary(told)[1]}
    return frozenset(key for key in asked if key is not None)


def advise(told: ModelDescription, answers: Answers, sides: Sequence[str], enough: int = ENOUGH) -> Advice:
    """Say what to do about a model, and how that follows.

    Args:
        told: What is known of it.
        answers: What its metrics gave, as a report asks for them.
        sides: The rows that it is about, then what they are compared with.
        enough: Labelled rows from which on it is worth to learn from them.
    """
    worse = _worse(told, answers, sides)
    broken = _broken(answers, sides)
    drifted = _drifted(answers, sides[0])
    labelled = _labelled(told, answers, sides[0], enough)
    empty = _count(answers, sides[0]) == 0
    state = (
        "unknown_as_empty" if empty else _state(worse.answer, broken.answer, drifted.answer, labelled.answer)
    )
    plain = state.removesuffix("_or_relabel").removesuffix("_but_moved").removesuffix("_as_empty")
    return Advice(plain, _TEXTS[state], [worse, broken, drifted, labelled])


def _state(worse: Word, broken: Word, drifted: Word, labelled: Word) -> str:
    if broken == "yes":
        return "fix_data"
    if worse == "no":
        return "watch" if drifted == "yes" else "fine"
    if worse == "unknown":
        moved = "collect_labels" if labelled != "yes" else "unknown_but_moved"
        return moved if drifted == "yes" else "unknown"
    if labelled != "yes":
        return "collect_labels"
    return "retrain" if drifted == "yes" else "retrain_or_relabel"


def _worse(told: ModelDescription, answers: Answers, sides: Sequence[str]) -> Step:
    name, key, more_is_better = _primary(told)
    if key is None:
        return Step(_WORSE, "unknown", "nothing tells what the model is asked to do")
    now = _first(answers, sides[0], key)
    if now is None or now["value"] is None:
        return Step(_WORSE, "unknown", f"there is no {name}: too few labels are known")
    then, side = next(
        (
            (row, side)
            for side in sides[1:]
            if (row := _first(answers, side, key)) and row["value"] is not None
        ),
        (None, ""),
    )
    if then is None:
        return Step(_WORSE, "unknown", f"{name} is {_with_bounds(now)}, and nothing says what it was")
    because = f"{name} is {_with_bounds(now)}, in {side} it was {_with_bounds(then)}"
    if None in {now.get("low"), now.get("high"), then.get("low"), then.get("high")}:
        return Step(_WORSE, "unknown", f"{because}: without intervals chance may explain it")
    gone = now["high"] < then["low"] if more_is_better else now["low"] > then["high"]
    return Step(_WORSE, "yes" if gone else "no", because)


def _primary(told: ModelDescription) -> tuple[str, str | None, bool]:
    """The metric that a model is judged by first, where its answer is, and whether more of it is better."""
    match told.task:
        case Task.CLASSIFICATION if told.score is not None or told.scores is not None:
            return "ROC-AUC", "quality:ROC-AUC", True
        case Task.CLASSIFICATION:
            return "accuracy", "quality:accuracy", True
        case Task.REGRESSION:
            return "mean absolute error", "quality:mean absolute error", False
        case Task.RANKING:
            return "NDCG", "quality:NDCG", True
    return "", None, True


def _broken(answers: Answers, sides: Sequence[str]) -> Step:
    count = _count(answers, sides[0])
    if count is not None and count < _FEWEST:
        return Step(_BROKEN, "unknown", f"of {count:,} rows nothing can be told, and {_FEWEST} would do")
    now = _rows(answers, sides[0], "missing")
    then = {row["field"]: row for side in sides[1:2] for row in _rows(answers, side, "missing")}
    faults = [
        f"{row['field']} is missing in {row['value']:.1%} of the rows, "
        f"and was in {then[row['field']]['value']:.1%}"
        for row in now
        if row["field"] in then and _more(row, then[row["field"]])
    ]
    faults += [
        f"{row['value']:.1%} of {row['field']} are categories that the reference has not"
        for row in _rows(answers, sides[0], "new")
        if (row.get("low") or 0.0) > _NEW
    ]
    failed = _first(answers, sides[0], "failing")
    if failed is not None and (failed.get("low") or 0.0) > _ERRORS:
        faults.append(f"{failed['value']:.1%} of the calls fail")
    if faults:
        more = f", and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        return Step(_BROKEN, "yes", "; ".join(faults[:_NAMED]) + more)
    if not then:
        return Step(_BROKEN, "unknown", "nothing says what its data was like: there is no reference")
    return Step(_BROKEN, "no", f"no more is missing in any of {len(now)} fields, and no new categories come")


def _more(now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    """Whether more is missing than chance explains, and than anybody would pass over."""
    if None in {now["value"], now["low"], then["value"], then["high"]}:
        return False
    return bool(now["low"] > then["high"] and now["value"] > then["value"] + _MISSING)


def _drifted(answers: Answers, side: str) -> Step:
    inputs = [row for row in _rows(answers, side, "drift") if str(row["field"]).startswith("inputs.")]
    judged = [row for row in inputs if row["drifted"] is not None]
    if not judged:
        why = answers.get((side, "drift"), Answer()).problem or "no field can be compared"
        return Step(_DRIFTED, "unknown", why)
    found = sorted(
        (row for row in judged if row["drifted"] == 1), key=lambda row: -(row["effect_size"] or 0.0)
    )
    if not found:
        return Step(_DRIFTED, "no", f"none of {len(judged)} inputs drifted")
    names = ", ".join(str(row["field"]) for row in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return Step(_DRIFTED, "yes", f"{len(found)} of {len(judged)} inputs drifted: {names}{more}")


def _labelled(told: ModelDescription, answers: Answers, side: str, enough: int) -> Step:
    coverage = _first(answers, side, "coverage")
    rows = _count(answers, side) or 0
    share = 0.0 if coverage is None else coverage["label_coverage"] or 0.0
    labels = round(rows * share)
    because = f"{labels:,} of {rows:,} rows have a label, and {enough:,} would do"
    if labels < enough:
        return Step(_LABELLED, "no", because)
    if told.task is Task.CLASSIFICATION:
        counts = [
            row["sample_count"] * row["value"] for row in _rows(answers, side, "balance") if _is_truth(row)
        ]
        rarest = round(min(counts, default=0))
        because += f"; {rarest:,} of the rarest class, and {RAREST} would do"
        if rarest < RAREST:
            return Step(_LABELLED, "no", because)
    return Step(_LABELLED, "yes", because)


def _count(answers: Answers, side: str) -> int | None:
    """How many rows a side has, where that is known."""
    answer = answers.get((side, "coverage"))
    if answer is None or answer.problem:
        return None
    return sum(row["sample_count"] or 0 for row in answer.rows)


def _is_truth(row: Mapping[str, Any]) -> bool:
    return row["source"] == "truth" and row["value"] is not None and row["class"] is not None


def _with_bounds(row: Mapping[str, Any]) -> str:
    if row.get("low") is None or row.get("high") is None:
        return number(row["value"])
    return f"{number(row['value'])} ({number(row['low'])} to {number(row['high'])})"


def _first(answers: Answers, side: str, key: str) -> Mapping[str, Any] | None:
    return next(iter(_rows(answers, side, key)), None)


def _rows(answers: Answers, side: str, key: str) -> Sequence[Mapping[str, Any]]:
    return answers.get((side, key), Answer()).rows
