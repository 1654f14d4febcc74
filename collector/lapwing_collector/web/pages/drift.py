"""Drift: every field of a model against its reference, the worst first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from lapwing_collector.engine import literal
from lapwing_collector.errors import DecodeError, LapwingError
from lapwing_collector.web.pages.charts import Chart, Kind, Series, Threshold, Unit
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.panels import Arguments, Panel, Query
from lapwing_collector.web.span import Span

_POINTS: Final = 24
"""Points of a small curve."""
_MORE_MISSING: Final = 0.01
"""More missing values than this, beyond what the reference has, are told before drift."""
_HOUR: Final = timedelta(hours=1)
_DRIFTS_FROM: Final = 0.1
"""Of the Jensen-Shannon distance, as the library has it."""

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
SELECT field, list(value ORDER BY window_start) AS recent
FROM js_distance({table}, $start, $to, reference := $reference, every := $every::INTERVAL)
GROUP BY field
"""

_DISTANCE: Final = """
SELECT window_start AS time, value AS distance, effect_size, sample_count, reason
FROM js_distance(
    {table}, $start, $to, reference := $reference, fields := $field, every := $every::INTERVAL
)
ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class _Compared:
    """The verdicts of all fields, the worst first; or why there are none."""

    fields: Sequence[Mapping[str, Any]] = ()
    problem: str = ""


def show(view: View) -> Mapping[str, Any]:
    """What drifted, and how one of the fields is distributed."""
    table = view.table()
    reference = view.asked.get("reference") or None
    compared = _compared(view, table, reference)
    missing = {row["field"]: row for row in view.panel_rows("model/fields")}
    fields = [dict(each) | _missing(missing.get(each["field"])) for each in compared.fields]
    chosen = view.asked.get("field") or (fields[0]["field"] if fields else None)
    return {
        "references": view.rows(_REFERENCES, table=table),
        "reference": reference,
        "fields": fields,
        "problem": compared.problem,
        "drifted": sum(each["drifted"] == 1 for each in fields),
        "judged": sum(each["drifted"] is not None for each in fields),
        "broken": [each for each in fields if each["broken"]],
        "chosen": chosen,
        "charts": _charts(chosen, reference) if chosen else [],
        "table": table,
    }


def _compared(view: View, table: str, reference: str | None) -> _Compared:
    asked = {"start": view.span.start, "to": view.span.until, "reference": reference}
    every = f"{int(step_of(view.span).total_seconds())} seconds"
    try:
        verdicts = view.rows(_VERDICTS.format(table=literal(table)), **asked)
        curves = view.rows(_CURVES.format(table=literal(table)), **asked, every=every)
    except LapwingError as error:
        return _Compared(problem=str(error))
    recent = {row["field"]: row["recent"] for row in curves}
    told = [dict(row) | {"recent": recent.get(row["field"]) or []} for row in verdicts]
    return _Compared(sorted(told, key=_worst_first))


def step_of(span: Span) -> timedelta:
    """What a point of a small curve stands for, in whole hours."""
    hours = math.ceil(span.length / _POINTS / _HOUR)
    return max(hours, 1) * _HOUR


def _worst_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What drifted first; of that what the model said before what it was given, then by effect."""
    beyond = 0.0 if row["value"] is None else row["effect_size"] or 0.0
    is_output = row["field"].startswith("output")
    return (row["drifted"] != 1, not is_output, -beyond, row["field"])


def _missing(row: Mapping[str, Any] | None) -> dict[str, Any]:
    now = None if row is None else row["missing"]
    was = None if row is None else row["missing_in_reference"]
    broken = now is not None and was is not None and now - was > _MORE_MISSING
    return {"missing": now, "missing_in_reference": was, "broken": broken}


def _charts(field: str, reference: str | None) -> list[Chart]:
    asked = (("field", field), *((("reference", reference),) if reference else ()))
    return [
        Chart(
            panel="drift/distance",
            title=f"{field}: distance from the reference",
            series=(Series("distance", "Jensen-Shannon distance"),),
            thresholds=(Threshold(_DRIFTS_FROM, "drift"),),
            empty="No hour of this range of time has enough rows to compare",
            asked=asked,
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


def _distance(arguments: Arguments) -> Query:
    """How far one field is from the reference, in steps that have enough rows to say so."""
    field, table = arguments.asked.get("field"), arguments.table
    if not field or table is None:
        raise DecodeError("say which model and which field: ?model=NAME&field=inputs.age")
    step = step_of(arguments.span)
    values = {
        "start": arguments.span.start,
        "to": arguments.span.until,
        "reference": arguments.asked.get("reference") or None,
        "field": field,
        "every": f"{int(step.total_seconds())} seconds",
    }
    return Query(_DISTANCE.format(table=literal(table)).strip(), values, step)


PAGE: Final = Page(
    path="/model/drift",
    name="drift",
    title="Drift",
    nav="Drift",
    show=show,
    of_model=True,
    panels=(
        Panel(
            name="drift/distance",
            title="Distance from the reference",
            about="Jensen-Shannon distance of a field, from counts in bins that do not move: 0 is equal "
            "shares, 0.83 none in common; from 0.1 on it counts as drift.",
            parameters={
                "field": "which, as inputs.age",
                "reference": "the name of the reference; the newest of the role drift unless told",
            },
            make=_distance,
        ),
    ),
)
