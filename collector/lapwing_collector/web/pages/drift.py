"""Drift: every field of a model against its reference, the worst first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from lapwing_collector.engine import literal
from lapwing_collector.errors import DecodeError, LapwingError
from lapwing_collector.web.pages.charts import Chart, Kind, Series, Threshold, Unit
from lapwing_collector.web.pages.limits import Limits
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.panels import Arguments, Panel, Query, axis
from lapwing_collector.web.span import Span, interval

_POINTS: Final = 24
"""Points of a small curve."""
_MORE_MISSING: Final = 0.01
"""More missing values than this, beyond what the reference has, are told before drift."""
_HOUR: Final = timedelta(hours=1)
_DRIFTS_FROM: Final = 0.1
"""Of each measure below, as the library has it."""
_MEASURES: Final = {
    "js_distance": "Jensen-Shannon distance",
    "psi": "PSI",
    "hellinger": "Hellinger distance",
    "total_variation": "total variation",
    "kl_divergence": "Kullback-Leibler divergence",
    "wasserstein_binned": "Wasserstein distance, in standard deviations",
}
"""What tells how far a field is from its reference, by hour from counts."""

_REFERENCES: Final = """
SELECT reference, max(created_at) AS created_at, arg_max(sample_count, created_at) AS sample_count
FROM reference_sets
WHERE table_name = $table AND policy IS NULL
GROUP BY reference
ORDER BY created_at DESC
"""

_VERDICTS: Final = """
SELECT field, method, value, threshold, adjusted_p_value, effect_size, drifted, sample_count, reason
FROM drift({table}, $start, $to, reference := $reference)
"""

_CURVES: Final = """
SELECT
    field,
    list(window_start ORDER BY window_start) AS times,
    list(value ORDER BY window_start) AS recent,
    list(sample_count ORDER BY window_start) AS sizes,
    list(reason ORDER BY window_start) AS reasons
FROM js_distance({table}, $start, $to, reference := $reference, every := $every::INTERVAL)
GROUP BY field
"""

_DISTANCE: Final = """
SELECT window_start AS time, value AS distance, sample_count, reason
FROM {measure}(
    {table}, $start, $to, reference := $reference, fields := $field, every := $every::INTERVAL
)
ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class _Compared:
    """The verdicts of all fields, the worst first, with distances in steps of time; or why there are none."""

    fields: Sequence[Mapping[str, Any]] = ()
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: str = ""


def show(view: View) -> Mapping[str, Any]:
    """What drifted, and how one of the fields is distributed."""
    table = view.table()
    reference = view.asked.get("reference") or None
    compared = _compared(view, table, reference)
    missing = {row["field"]: row for row in view.panel_rows("model/fields")}
    fields = [dict(each) | _missing(missing.get(each["field"])) for each in compared.fields]
    chosen = view.asked.get("field") or (fields[0]["field"] if fields else None)
    limits = Limits.of(view, table)
    measure = _measure(view, limits, chosen)
    known = compared.curves if measure == "js_distance" else {}
    return {
        "references": view.rows(_REFERENCES, table=table),
        "reference": reference,
        "fields": fields,
        "problem": compared.problem,
        "drifted": sum(each["drifted"] == 1 for each in fields),
        "judged": sum(each["drifted"] is not None for each in fields),
        "broken": [each for each in fields if each["broken"]],
        "chosen": chosen,
        "charts": _charts(chosen, reference, measure, limits) if chosen else [],
        "written": _written(view.span, curve) if (curve := known.get(chosen or "")) else None,
        "measure": measure,
        "measures": _MEASURES,
        "table": table,
    }


def _compared(view: View, table: str, reference: str | None) -> _Compared:
    asked = {"start": view.span.start, "to": view.span.until, "reference": reference}
    every = interval(step_of(view.span))
    name = literal(table)
    try:
        with view.beside(_CURVES.format(table=name), **asked, every=every) as curves:
            judged = view.rows(_VERDICTS.format(table=name), **asked)
            recent = {row["field"]: row for row in curves()}
    except LapwingError as error:
        return _Compared(problem=str(error))
    told = [dict(row) | {"recent": recent.get(row["field"], {}).get("recent") or []} for row in judged]
    return _Compared(sorted(told, key=worst_first), recent)


def verdicts(view: View, table: str, reference: str | None) -> list[dict[str, Any]]:
    """What is to be said of each field in the view's range of time, beside a reference.

    Raises:
        LapwingError: There is no reference, or the lake cannot be asked.
    """
    asked = {"start": view.span.start, "to": view.span.until, "reference": reference}
    return view.rows(_VERDICTS.format(table=literal(table)), **asked)


def step_of(span: Span) -> timedelta:
    """What a point of a small curve stands for, in whole hours."""
    hours = math.ceil(span.length / _POINTS / _HOUR)
    return max(hours, 1) * _HOUR


def worst_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sorts verdicts: what drifted first; of that what the model said before its inputs, then by effect."""
    beyond = 0.0 if row["value"] is None else row["effect_size"] or 0.0
    is_output = row["field"].startswith("output")
    return (row["drifted"] != 1, not is_output, -beyond, row["field"])


def _missing(row: Mapping[str, Any] | None) -> dict[str, Any]:
    now = None if row is None else row["missing"]
    was = None if row is None else row["missing_in_reference"]
    broken = now is not None and was is not None and now - was > _MORE_MISSING
    new = None if row is None else row["in_no_bin"]
    return {"missing": now, "missing_in_reference": was, "broken": broken, "new": new}


def _measure(view: View, limits: Limits, field: str | None) -> str:
    """What the distance is told by: what the address says, else what a rule on the field judges."""
    told = [view.asked.get("measure", ""), *(limits.metrics(field) if field else ())]
    return next((each for each in told if each in _MEASURES), "js_distance")


def _charts(field: str, reference: str | None, measure: str, limits: Limits) -> list[Chart]:
    asked = (("field", field), *((("reference", reference),) if reference else ()))
    watched = limits.on(measure, field=(field,))
    return [
        Chart(
            panel="drift/distance",
            title=f"{field}: distance from the reference",
            series=(Series("distance", _MEASURES[measure]),),
            thresholds=watched or (Threshold(_DRIFTS_FROM, "usual threshold", sign=">="),),
            empty="No hour of this range of time has enough rows to compare",
            note="A point is the time up to the next one; rules judge windows of their own, often longer.",
            asked=(*asked, ("measure", measure)),
        ),
        Chart(
            panel="model/distribution",
            title=f"{field}: distribution",
            kind=Kind.BARS,
            unit=Unit.SHARE,
            x="value",
            series=(Series("share", "now"), Series("reference_share", "reference", muted=True)),
            empty="Nothing of this field was counted in this range of time",
            asked=asked,
        ),
    ]


def _written(span: Span, curve: Mapping[str, Any]) -> dict[str, Any]:
    """What the panel of distances would answer."""
    columns = {
        "time": ("timestamp[us]", [f"{time.isoformat()}Z" for time in curve["times"]]),
        "distance": ("double", curve["recent"]),
        "sample_count": ("int64", curve["sizes"]),
        "reason": ("string", curve["reasons"]),
    }
    kinds, values = zip(*columns.values(), strict=True)
    return {
        "data": {"names": list(columns), "types": kinds, "columns": values},
        "axis": axis(span, step_of(span)),
    }


def _distance(arguments: Arguments) -> Query:
    """How far one field is from the reference, in steps that have enough rows to say so."""
    field, table = arguments.asked.get("field"), arguments.table
    if not field or table is None:
        raise DecodeError("say which model and which field: ?model=NAME&field=inputs.age")
    measure = arguments.asked.get("measure") or "js_distance"
    if measure not in _MEASURES:
        raise DecodeError(f"there is no measure {measure!r} here; there is {', '.join(_MEASURES)}")
    step = step_of(arguments.span)
    values = {
        "start": arguments.span.start,
        "to": arguments.span.until,
        "reference": arguments.asked.get("reference") or None,
        "field": field,
        "every": interval(step),
    }
    return Query(_DISTANCE.format(measure=measure, table=literal(table)).strip(), values, step)


PAGE: Final = Page(
    path="/model/drift",
    name="drift",
    title="Drift",
    nav="Drift",
    show=show,
    of_model=True,
    in_place=True,
    begins=True,
    panels=(
        Panel(
            name="drift/distance",
            title="Distance from the reference",
            about="How far a field is from its reference, from counts in bins that do not move: 0 is equal "
            "shares; from 0.1 on it counts as drift.",
            parameters={
                "field": "which, as inputs.age",
                "reference": "the name of the reference; the newest of the role drift unless told",
                "measure": f"what the distance is told by: {', '.join(_MEASURES)}; js_distance unless told",
            },
            make=_distance,
        ),
    ),
)
