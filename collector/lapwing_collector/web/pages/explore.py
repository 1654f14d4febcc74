"""Explore: measures over time beside the most frequent values of fields, and what is selected of them."""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.web.fields import expression_of
from lapwing_collector.web.pages.charts import Chart, Kind, Series, Unit
from lapwing_collector.web.pages.narrowing import (
    FILTERS,
    Column,
    Narrowing,
    columns_of,
    narrowing_of,
    schema_of,
    told_in_full,
)
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.panels import Arguments, Panel, Query
from lapwing_collector.web.span import interval, moment_of

_DIMENSIONS: Final = 8
_VALUES: Final = 50
_LONGEST: Final = 200
"""Characters of a value that is told apart: longer texts are no categories, as in profiles."""
_HOUR: Final = timedelta(hours=1)
_COARSEST: Final = 60
"""Points of a curve of quality: labels are joined for each, and few rows say little."""
_OWN: Final = frozenset({"with", "within", "compare"})
"""What the address of the page says beside filters and what every page has."""
_ASKED: Final = frozenset({"fields", "field", "metric", "within"})
"""What those of its panels do."""
_QUALITY: Final = {
    Task.CLASSIFICATION: ("accuracy", "Accuracy"),
    Task.REGRESSION: ("mae", "Mean absolute error"),
}


def show(view: View) -> Mapping[str, Any]:
    """Charts of what is asked for, and which dimensions there are beside them."""
    table = view.table()
    described = view.description()
    columns = columns_of(schema_of(view, table))
    asked = {name: value for name, value in view.asked.items() if name not in _OWN}
    narrowing = narrowing_of(asked, columns)
    bins = view.rows(_BINNED, table=table)
    binned = {row["field"]: row["n"] for row in bins if row["kind"] == "category"}
    candidates = dimensions_of(described, columns)
    all_dimensions = sorted(
        candidates, key=lambda name: binned.get(name) == 0
    )  # nearly all of their values differ
    first = view.asked.get("with")
    if first in all_dimensions:
        all_dimensions = [first, *(name for name in all_dimensions if name != first)]
    dimensions = all_dimensions[:_DIMENSIONS]
    filters = {each.in_full: each.value for each in narrowing.filters}
    if narrowing.stage != "production":
        filters["stage"] = narrowing.stage
    has_labels = described.label is not None and view.models.has_labels(table)
    counted = {row["field"] for row in bins if row["kind"] == "number"} if _by_hour(view, filters) else set()
    return {
        "dimensions": dimensions,
        "further": sorted(all_dimensions[_DIMENSIONS:]),
        "values": _VALUES,
        "charts": list(_charts(described, columns, filters, has_labels=has_labels, counted_numbers=counted)),
        "filters": narrowing.filters,
        "unknown": narrowing.unknown,
        "stage": narrowing.stage,
        "told": {
            "cubes": list(_cubes(view, dimensions, binned, filters)),
            "filters": [
                {"parameter": each.parameter, "name": each.in_full, "value": each.value}
                for each in narrowing.filters
            ],
            "rows": view.link("/model/rows", name=view.model, **filters),
            "delta": view.link("/model/explore/delta", name=view.model, **filters),
        },
    }


def dimensions_of(described: ModelDescription, columns: Sequence[Column]) -> list[str]:
    """Fields that tell rows apart by few values, those that say most first."""
    known = {column.field: column.kind for column in columns}
    wanted = [
        *described.segments,
        "version",
        described.prediction,
        "error_type",
        *(name for name, feature in described.features.items() if feature.type == "category"),
        *(name for name, kind in known.items() if kind == "bool" and "." in name),
        *(name for name, kind in known.items() if kind == "text" and "." in name),
        "environment",
        "service",
        "variant",
        "upstream",
    ]
    there = [
        name for name in dict.fromkeys(filter(None, wanted)) if name in known or name.startswith("tags.")
    ]
    return [name for name in there if name != described.prediction or known.get(name) != "number"]


def _is_counted(filters: Mapping[str, str]) -> bool:
    """Whether counts by hour can tell what is asked for: they are kept by version, and for all rows."""
    return not filters.keys() - {"version", "stage"}


def _by_hour(view: View, filters: Mapping[str, str]) -> bool:
    """Whether what is asked for is told by counts by hour."""
    return view.span.step >= _HOUR and _is_counted(filters)


def _cubes(
    view: View, dimensions: Sequence[str], binned: Mapping[str, int], filters: Mapping[str, str]
) -> Iterator[str]:
    """Addresses of counts by time and value: of counts by hour, as far as these are kept, and of rows."""
    held: list[str] = []
    if _by_hour(view, filters):
        held = [name for name in dimensions if name == "version" or binned.get(name)]
    if held:
        yield view.panel("explore/counts", fields=json.dumps(held), **filters)
    if rest := [name for name in dimensions if name not in held]:
        yield view.panel("explore/cube", fields=json.dumps(rest), **filters)


def _charts(
    described: ModelDescription,
    columns: Sequence[Column],
    filters: Mapping[str, str],
    *,
    has_labels: bool,
    counted_numbers: Container[str],
) -> Iterator[Chart]:
    """Measures: of all rows from counts by hour, as on the page of the model; of some of them from these."""
    counted = _is_counted(filters) and "stage" not in filters
    asked = tuple(filters.items())
    empty = "No predictions like this in this range of time"
    yield Chart(
        panel="model/traffic" if counted else "explore/calls",
        title="Predictions",
        kind=Kind.AREA,
        unit=Unit.COUNT,
        by="version" if counted else "",
        series=(Series("predictions"),),
        empty=empty,
        asked=asked,
    )
    yield Chart(
        panel="model/service" if counted else "explore/calls",
        title="Calls that failed",
        unit=Unit.SHARE,
        series=(Series("error_share", "failed"),),
        empty=empty,
        asked=asked,
    )
    numbers = {column.field for column in columns if column.kind == "number"}
    told = next((name for name in (described.score, described.prediction) if name in numbers), None)
    if told is not None:
        by_hour = told in counted_numbers
        yield Chart(
            panel="explore/spread" if by_hour else "explore/values",
            title=f"Mean and median of {told.removeprefix('output.')}",
            series=(Series("mean"), Series("median", "median, from bins" if by_hour else "")),
            from_zero=False,
            empty=empty,
            asked=(*asked, ("field", told)),
        )
    if has_labels and described.label is not None and described.task in _QUALITY:
        metric, title = _QUALITY[described.task]
        yield Chart(
            panel="explore/quality",
            title=title,
            unit=Unit.SHARE if metric == "accuracy" else Unit.NUMBER,
            series=(Series("value", title, low="low", high="high"),),
            coverage="label_coverage",
            from_zero=False,
            empty="No labels in this range of time yet",
            asked=(*asked, ("metric", metric)),
        )


def _counts(arguments: Arguments) -> Query:
    """How many predictions had which value, from counts by hour."""
    table, narrowing, values = _asked_of(arguments)
    if not _is_counted({each.in_full: each.value for each in narrowing.filters}):
        raise DecodeError("counts are kept by version alone; explore/cube counts rows")
    version = next((each.value for each in narrowing.filters), None)
    fields = _fields(arguments)
    named = ", ".join(literal(name) for name in ("duration_ms", *fields) if name != "version")
    with_version = str("version" in fields).lower()
    sql = _COUNTS.replace("{with_version}", with_version).replace("{fields}", named)
    bound = {"table": table, "stage": narrowing.stage, "version": version}
    return Query(sql, {name: value for name, value in values.items() if name != "from"} | bound)


def _cube(arguments: Arguments) -> Query:
    """How many predictions had which value, counted."""
    table, narrowing, values = _asked_of(arguments)
    condition, bound = narrowing.where()
    fields = _fields(arguments)
    names = [f"f{number}" for number in range(len(fields))]
    kept = "".join(
        f",\n            left(({expression_of(field)})::VARCHAR, {_LONGEST + 1}) AS {name}"
        for name, field in zip(names, fields, strict=True)
    )
    sets = ", ".join(["(place)", *(f"(place, {name})" for name in names)])
    absent = f"grouping_id({', '.join(names)})" if names else "0"
    everything = (1 << len(names)) - 1
    each = "".join(
        f"\n    UNION ALL BY NAME\n    SELECT {literal(field)} AS dimension, place, {name} AS value,\n"
        f"        CASE WHEN {name} IS NULL THEN 'missing' WHEN length({name}) > {_LONGEST} "
        f"THEN 'other' ELSE 'value' END AS kind,\n        n\n"
        f"    FROM grouped WHERE absent = {everything ^ (1 << (len(names) - 1 - number))}"
        for number, (name, field) in enumerate(zip(names, fields, strict=True))
    )
    counted = (
        f"WITH grouped AS MATERIALIZED (\n    SELECT {', '.join(['place', *names])}, {absent} AS absent, "
        f"count(*) AS n\n    FROM (\n        SELECT\n            {_PLACE} AS place{kept}\n"
        f"        FROM predictions_all.{identifier(table)}\n"
        f"        WHERE time >= $from AND time < $to\n    AND {condition}\n    )\n"
        f"    GROUP BY GROUPING SETS ({sets})\n),\ncounted AS MATERIALIZED (\n"
        "    SELECT '' AS dimension, place, NULL::VARCHAR AS value, 'all' AS kind, n\n"
        f"    FROM grouped WHERE absent = {everything}{each}\n),\n"
    )
    return Query(counted + _RANKED, values | bound)


def _calls(arguments: Arguments) -> Query:
    """Predictions, and which share of them failed."""
    table, narrowing, values = _asked_of(arguments)
    segments, bound = _segments(narrowing)
    return Query(
        f"SELECT window_start AS time, sample_count AS predictions, value AS error_share\n"
        f"FROM error_rate(\n    {literal(table)}, $start, $to, every := $step::INTERVAL, "
        f"stage := {literal(narrowing.stage)},\n    segments := {segments}\n)\n"
        "WHERE is_selected\nORDER BY ALL",
        _of_metric(values) | bound,
    )


def _values(arguments: Arguments) -> Query:
    """Mean and median of a field."""
    table, narrowing, values = _asked_of(arguments)
    segments, bound = _segments(narrowing)
    field = arguments.asked.get("field")
    if not field:
        raise DecodeError("say which field: &field=output.score")
    return Query(
        "SELECT window_start AS time, any_value(value) FILTER (statistic = 'mean') AS mean,\n"
        "    any_value(value) FILTER (statistic <> 'mean') AS median,\n"
        "    any_value(sample_count) AS predictions\n"
        f"FROM numeric_summary(\n    {literal(table)}, $start, $to, every := $step::INTERVAL, "
        f"stage := {literal(narrowing.stage)},\n    fields := [{literal(field)}], quantiles := [0.5],\n"
        f"    segments := {segments}\n)\n"
        "WHERE is_selected AND statistic IN ('mean', 'q0.5')\nGROUP BY ALL\nORDER BY ALL",
        _of_metric(values) | bound,
    )


def _quality(arguments: Arguments) -> Query:
    """A metric over the predictions whose labels have come, over windows that are long enough for it."""
    table, narrowing, values = _asked_of(arguments)
    metric = arguments.asked.get("metric")
    known = sorted(name for name, _ in _QUALITY.values())
    if metric not in known:
        raise DecodeError(f"say which metric: &metric={known[0]}; known are {', '.join(known)}")
    segments, bound = _segments(narrowing)
    span = arguments.span
    step = span.in_steps(_COARSEST)
    return Query(
        "SELECT window_start AS time, value, low, high, sample_count, label_coverage\n"
        f"FROM {metric}(\n    {literal(table)}, $start, $to, every := $step::INTERVAL, "
        f"stage := {literal(narrowing.stage)},\n    segments := {segments}\n)\n"
        "WHERE is_selected\nORDER BY ALL",
        _of_metric(values) | bound | {"step": interval(step)},
        step,
    )


def _delta(arguments: Arguments) -> Query:
    """What is different about the selected predictions."""
    table, narrowing, values = _asked_of(arguments)
    condition, bound = narrowing.where()
    within = arguments.asked.get("within")
    if within:
        first, last = _within(within)
        condition += "\n    AND time >= $first AND time < $last"
        bound |= {"first": first, "last": last}
    elif not narrowing.filters:
        raise DecodeError("say what is to be compared with the rest: a filter, or &within=FROM/TO")
    return Query(
        f"FROM event_delta(\n    {literal(table)}, $from, $to, stage := {literal(narrowing.stage)},\n"
        f"    selected := {condition}\n)",
        bound | {"from": values["from"], "to": values["to"]},
    )


def _asked_of(arguments: Arguments) -> tuple[str, Narrowing, dict[str, Any]]:
    """The model's table, which rows are wanted, and what every query here is given."""
    if arguments.table is None:
        raise DecodeError("say which model: ?model=NAME")
    asked = {name: value for name, value in arguments.asked.items() if name not in _ASKED | _OWN}
    span = arguments.span
    values = {
        "from": span.since,
        "to": span.until,
        "start": span.start,
        "seconds": int(span.step.total_seconds()),
    }
    return arguments.table, told_in_full(asked), values


def _of_metric(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"start": values["start"], "to": values["to"], "step": f"{values['seconds']} seconds"}


def _segments(narrowing: Narrowing) -> tuple[str, dict[str, Any]]:
    """What tells a metric's selected rows from others, and its parameters."""
    condition, bound = narrowing.where()
    return f"{{'is_selected': coalesce({condition}, false)}}", bound


def _fields(arguments: Arguments) -> list[str]:
    try:
        told = json.loads(arguments.asked.get("fields") or "[]")
    except ValueError:
        told = None
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise DecodeError('fields: expected a list of names as JSON, as ["inputs.plan"]')
    if len(told) > _DIMENSIONS:
        raise DecodeError(f"fields: up to {_DIMENSIONS} are counted at once, not {len(told)}")
    return told


def _within(text: str) -> tuple[datetime, datetime]:
    first, _, last = text.partition("/")
    return moment_of(first, "within"), moment_of(last, "within")


_PLACE: Final = "date_diff('second', $start, time) // $seconds"
"""Which step of the range a row is of, from 0."""

_BINNED: Final = """
SELECT field, arg_max(kind, created_at) AS kind, arg_max(len(categories), created_at) AS n
FROM binnings WHERE table_name = $table AND created_from <> 'segments' GROUP BY field
""".strip()
"""How fields are counted by hour, and in how many categories; none where most of their values differ."""

_RANKED: Final = f"""
ranked AS (
    SELECT
        dimension, value, kind,
        row_number() OVER (PARTITION BY dimension, kind ORDER BY sum(n) DESC, value) AS rank
    FROM counted GROUP BY dimension, value, kind
),
folded AS (
    SELECT
        c.dimension,
        CASE WHEN r.rank > {_VALUES} THEN 'other' ELSE c.kind END AS kind,
        CASE WHEN r.rank <= {_VALUES} AND c.kind = 'value' THEN c.value END AS value,
        c.place,
        sum(c.n) AS n
    FROM counted AS c
    JOIN ranked AS r
        ON c.dimension = r.dimension AND c.kind = r.kind AND c.value IS NOT DISTINCT FROM r.value
    GROUP BY ALL
)
SELECT
    dimension, kind, value, sum(n)::BIGINT AS predictions,
    list(place::INTEGER ORDER BY place) AS steps, list(n::INTEGER ORDER BY place) AS counts
FROM folded
WHERE n > 0
GROUP BY ALL
ORDER BY dimension, predictions DESC, kind, value
""".strip()
"""The most frequent values with their counts by step: two lists, as most values come in few steps."""

_COUNTS: Final = (
    f"""
WITH hours AS MATERIALIZED (
    SELECT field, binning_id, version, {_PLACE} AS place, counts
    FROM profiles
    WHERE table_name = $table AND field IN ({{fields}}) AND segment = '' AND stage = $stage
        AND time >= $start AND time < $to AND ($version IS NULL OR version = $version)
),
counted AS MATERIALIZED (
    SELECT '' AS dimension, place, NULL::VARCHAR AS value, 'all' AS kind, sum(list_sum(counts)) AS n
    FROM hours WHERE field = 'duration_ms' GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        'version' AS dimension, place, version AS value,
        CASE WHEN version IS NULL THEN 'missing' ELSE 'value' END AS kind, sum(list_sum(counts)) AS n
    FROM hours WHERE field = 'duration_ms' AND {{with_version}} GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        h.field AS dimension, h.place, c.category AS value,
        CASE h.bin WHEN 1 THEN 'missing' WHEN 2 THEN 'other' ELSE 'value' END AS kind,
        h.n
    FROM (
        SELECT any_value(field) AS field, binning_id, place, bin, sum(n) AS n
        FROM (
            SELECT field, binning_id, place, unnest(counts) AS n, generate_subscripts(counts, 1) AS bin
            FROM hours WHERE field <> 'duration_ms'
        )
        WHERE n > 0
        GROUP BY binning_id, place, bin
    ) AS h
    LEFT JOIN (
        SELECT DISTINCT
            binning_id, unnest(categories) AS category, generate_subscripts(categories, 1) + 2 AS bin
        FROM binnings WHERE kind = 'category'
    ) AS c
        ON c.binning_id = h.binning_id AND c.bin = h.bin
),
""".lstrip()
    + _RANKED
)
"""Counts by hour of fields, and of versions by the latencies that every row has a count of."""

PAGE: Final = Page(
    path="/model/explore",
    name="explore",
    title="Explore",
    nav="Explore",
    show=show,
    of_model=True,
    begins=True,
    panels=(
        Panel(
            name="explore/counts",
            title="Values by time",
            about="How often each value came in each step of time, from counts by hour.",
            make=_counts,
            parameters={"fields": "which, as a list in JSON"} | FILTERS,
        ),
        Panel(
            name="explore/cube",
            title="Values by time",
            about="How often each value came in each step of time; rows count once each.",
            make=_cube,
            parameters={"fields": "which, as a list in JSON"} | FILTERS,
        ),
        Panel(
            name="explore/calls",
            title="Predictions",
            about="Predictions, and the share of them that failed.",
            make=_calls,
            parameters=FILTERS,
        ),
        Panel(
            name="explore/values",
            title="Mean and median",
            about="Mean and median of a field.",
            make=_values,
            parameters={"field": "which, as output.score"} | FILTERS,
        ),
        Panel(
            name="explore/quality",
            title="Quality",
            about="A metric over the predictions whose labels have come, with its interval.",
            make=_quality,
            parameters={"metric": "which"} | FILTERS,
        ),
        Panel(
            name="explore/delta",
            title="What differs",
            about="Fields of the selected predictions beside the rest of the range, most different first.",
            make=_delta,
            parameters={"within": "FROM/TO: only what is between these times is selected"} | FILTERS,
        ),
    ),
)
