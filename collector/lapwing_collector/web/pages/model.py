"""Model: traffic, errors, latency, predictions and quality of one, versions or segments side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.web.fields import expression_of
from lapwing_collector.web.pages.charts import Chart, Kind, Series, Unit
from lapwing_collector.web.pages.limits import Limits
from lapwing_collector.web.pages.marks import marks_of
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.panels import Arguments, Panel, Query
from lapwing_collector.web.span import interval

_COARSEST: Final = 32
"""Points of a curve of quality: labels are joined for each, and few rows say little."""


@dataclass(frozen=True, slots=True)
class _Quality:
    """A metric of quality: what it is called, what it needs beside the truth, and what its numbers are."""

    metric: str
    title: str
    unit: Unit = Unit.NUMBER
    needs: str = ""


_QUALITY: Final[Mapping[str, Sequence[_Quality]]] = {
    Task.CLASSIFICATION: (
        _Quality("accuracy", "Accuracy", Unit.SHARE),
        _Quality("roc_auc", "ROC AUC", needs="score"),
        _Quality("log_loss", "Log loss", needs="score"),
    ),
    Task.REGRESSION: (_Quality("mae", "Mean absolute error"), _Quality("rmse", "Root mean squared error")),
    Task.RANKING: (
        _Quality("ndcg_at_k", "NDCG at k"),
        _Quality("hit_rate_at_k", "Hit rate at k", Unit.SHARE),
    ),
}
_METRICS: Final = frozenset(each.metric for known in _QUALITY.values() for each in known)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Which version is looked at, and which one beside it; all of them if None."""

    version: str | None
    versus: str | None


def find(view: View) -> _Sides:
    """Which versions an address asks for."""
    version = view.asked.get("version") or None
    return _Sides(version, view.asked.get("versus") or None if version else None)


def show(view: View) -> Mapping[str, Any]:
    """The charts that fit the model."""
    known = view.known_model()
    sides: _Sides = view.found
    versus = sides.versus
    with view.beside(_RECORDED, model=known.name) as recorded:
        about = view.rows(_ABOUT, table=known.table)[0]
        described = ModelDescription.from_json(about["description"] or "{}")
        limits = Limits.of(view, known.table)
        marks = marks_of(view)
        quality = list(_quality(described, limits))
        metrics = [row["metric"] for row in recorded()]
    kinds = dict(about["kinds"] or ())
    segments = about["segments"] or []
    split = found if (found := view.asked.get("split")) in segments else None
    return {
        "described": described,
        "versions": known.versions,
        "version": sides.version,
        "versus": versus,
        "newest": about["newest"],
        "service": list(_service(versus, limits, view.span.step)),
        "outputs": list(_outputs(kinds, described, versus, limits)),
        "quality": quality if quality and view.models.has_labels(known.table) else [],
        "recorded": [_recorded(metric, limits) for metric in metrics],
        "segments": segments,
        "split": split,
        "parts_of_it": list(_side_by_side(split, kinds, described, limits)) if split else [],
        "tables": _tables(),
        "marks": marks,
        "hour": timedelta(hours=1),
    }


def show_totals(view: View) -> Mapping[str, Any]:
    """What the range of time adds up to, beside the one before."""
    totals = {row["is_now"]: row for row in view.panel_rows("model/totals")}
    return {"now_in_all": totals.get(True), "before_in_all": totals.get(False)}


def _service(versus: str | None, limits: Limits, step: timedelta) -> Iterator[Chart]:
    of_two = (("versus", versus),) if versus else ()
    by = "version" if versus else ""
    yield Chart(
        panel="model/traffic",
        title="Predictions",
        kind=Kind.AREA,
        unit=Unit.COUNT,
        by="version",
        series=(Series("predictions"),),
        thresholds=limits.on("prediction_count", window=step),
        empty="No predictions in this range of time",
        asked=of_two,
    )
    yield Chart(
        panel="model/service",
        title="Calls that failed",
        unit=Unit.SHARE,
        by=by,
        series=(Series("error_share", "failed"),),
        thresholds=limits.on("error_rate"),
        empty="No predictions in this range of time",
        asked=of_two,
    )
    quantiles = (Series("p50", "median"), Series("p95", "95 %"), Series("p99", "99 %"))
    drawn = ("0.95",) if versus else ("0.5", "0.95", "0.99")
    yield Chart(
        panel="model/service",
        title="Latency, 95 % of calls" if versus else "Latency",
        unit=Unit.MS,
        by=by,
        series=quantiles[1:2] if versus else quantiles,
        thresholds=limits.on("latency_quantiles", quantile=drawn),
        empty="No call in this range of time told how long it took",
        asked=of_two,
    )


def _outputs(
    kinds: Mapping[str, str], described: ModelDescription, versus: str | None, limits: Limits
) -> Iterator[Chart]:
    """What the model says: means of numbers, shares of classes, and distributions beside the reference."""
    of_two = (("versus", versus),) if versus else ()
    told = [
        field for field in (described.prediction, described.score) if field is not None and field in kinds
    ]
    for field in dict.fromkeys(told or sorted(kinds)[:2]):
        name = field.removeprefix("output.")
        if kinds[field] == "category":
            yield Chart(
                panel="model/classes",
                title=f"Predicted: {name}",
                kind=Kind.AREA,
                unit=Unit.SHARE,
                by="class",
                series=(Series("share"),),
                asked=(("field", field),),
            )
        else:
            yield Chart(
                panel="model/mean",
                title=f"Mean of {name}",
                by="version" if versus else "",
                series=(Series("mean"),),
                thresholds=limits.on("numeric_summary", field=(field,), statistic=("mean",)),
                from_zero=False,
                asked=(("field", field), *of_two),
            )
        yield Chart(
            panel="model/distribution",
            title=f"Distribution of {name}",
            kind=Kind.BARS,
            unit=Unit.SHARE,
            x="value",
            series=(Series("share", "now"), Series("reference_share", "reference", muted=True)),
            asked=(("field", field),),
        )


def _quality(described: ModelDescription, limits: Limits) -> Iterator[Chart]:
    """Metrics of the model's task, once it is known what its labels say."""
    if described.label is None or described.task is None:
        return
    for each in _QUALITY.get(described.task, ()):
        if not each.needs or getattr(described, each.needs) is not None:
            yield Chart(
                panel="model/quality",
                title=each.title,
                unit=each.unit,
                series=(Series("value", each.title, low="low", high="high"),),
                thresholds=limits.on(each.metric),
                coverage="label_coverage",
                from_zero=False,
                empty="No labels in this range of time yet",
                asked=(("metric", each.metric),),
            )


def _side_by_side(
    split: str, kinds: Mapping[str, str], described: ModelDescription, limits: Limits
) -> Iterator[Chart]:
    """The same for each value of a field that counts are kept by: what differs between them is seen."""
    chart = partial(
        Chart,
        panel="model/parts",
        by="part",
        empty="No predictions in this range of time",
        asked=(("split", split),),
    )
    yield chart(title="Predictions", kind=Kind.AREA, unit=Unit.COUNT, series=(Series("predictions"),))
    yield chart(
        title="Calls that failed",
        unit=Unit.SHARE,
        series=(Series("error_share"),),
        thresholds=limits.on("error_rate"),
    )
    yield chart(title="Latency, 95 % of calls", unit=Unit.MS, series=(Series("p95"),))
    for field in dict.fromkeys(filter(None, (described.score, described.prediction))):
        if kinds.get(field, "category") != "category":
            yield Chart(
                panel="model/part-mean",
                title=f"Mean of {field.removeprefix('output.')}",
                by="part",
                series=(Series("mean"),),
                from_zero=False,
                asked=(("split", split), ("field", field)),
            )
            break
    for each in list(_quality(described, limits))[:2]:
        yield replace(each, by="part", asked=(*each.asked, ("split", split)))


def _recorded(metric: str, limits: Limits) -> Chart:
    return Chart(
        panel="model/recorded",
        title=metric,
        by="series",
        series=(Series("value"),),
        thresholds=limits.recorded(metric),
        coverage="label_coverage",
        from_zero=False,
        empty="No window of this rule begins in this range of time",
        asked=(("metric", metric),),
    )


def _tables() -> list[Chart]:
    return [
        Chart(
            panel="model/versions",
            title="Versions",
            kind=Kind.TABLE,
            wide=True,
            series=(
                Series("version"),
                Series("first_seen", "first prediction"),
                Series("predictions", unit=Unit.COUNT),
                Series("traffic", "share of traffic", unit=Unit.SHARE),
                Series("error_share", "failed", unit=Unit.SHARE),
                Series("p50", "median", unit=Unit.MS),
                Series("p95", "95 %", unit=Unit.MS),
                Series("p99", "99 %", unit=Unit.MS),
            ),
            empty="No predictions in this range of time",
        ),
        Chart(
            panel="model/fields",
            title="Fields",
            kind=Kind.TABLE,
            wide=True,
            series=(
                Series("field"),
                Series("rows", unit=Unit.COUNT),
                Series("missing", unit=Unit.SHARE),
                Series("missing_in_reference", "reference", unit=Unit.SHARE),
                Series("in_no_bin", "in no bin", unit=Unit.SHARE),
                Series("mean"),
                Series("mean_in_reference", "reference"),
                Series("least"),
                Series("most"),
            ),
            empty="No field has bins yet: they are made of 10,000 rows, or of a reference",
        ),
    ]


def _classes(arguments: Arguments) -> Query:
    """How many predictions were of which class: by hour from counts, else from rows."""
    span = arguments.span
    field = arguments.asked.get("field")
    if not field or arguments.table is None:
        raise DecodeError("say which model and which field: ?model=NAME&field=output.value")
    values = {"start": span.start, "to": span.until, "step": interval(span.step)}
    version = arguments.asked.get("version") or None
    if span.step >= timedelta(hours=1):
        told = _CLASSES_BY_HOUR
        values |= {"table": arguments.table, "field": field}
    else:
        told = _CLASSES.format(value=expression_of(field, "p"), table=identifier(arguments.table))
    return Query(told, values | {"version": version})


def _quality_of(arguments: Arguments) -> Query:
    """A metric of quality over windows that are long enough for it."""
    metric, table = arguments.asked.get("metric"), arguments.table
    if metric not in _METRICS or table is None:
        raise DecodeError(f"say which model and metric; known are {', '.join(sorted(_METRICS))}")
    span = arguments.span
    step = span.in_steps(_COARSEST)
    name = literal(table)
    split, version = arguments.asked.get("split"), arguments.asked.get("version")
    part = "part, " if split else ""
    segments = f", segments := {_segments(split, version)}" if split or version else ""
    return Query(
        f"SELECT window_start AS time, {part}value, low, high, sample_count, label_coverage\n"
        f"FROM {metric}(\n    {name}, $start, $to, every := $step::INTERVAL{segments}\n)\n"
        f"{_OF_VERSION if version else ''}ORDER BY ALL",
        {"start": span.start, "to": span.until, "step": interval(step)} | _versioned(version),
        step,
    )


def _segments(field: str | None, version: str | None) -> str:
    """The argument by which a metric tells values of a field apart, and versions if one is asked for."""
    told = [f"'part': {expression_of(field)}::VARCHAR"] if field else []
    return "{" + ", ".join([*told, *(["'version': version"] if version else [])]) + "}"


def _versioned(version: str | None) -> dict[str, Any]:
    """The parameter of a query that is about one version."""
    return {"version": version} if version else {}


def _parts_of(arguments: Arguments) -> Query:
    """Calls, errors and latency of each value of a field: by hour from counts, else from rows."""
    split, table = arguments.asked.get("split"), arguments.table
    if not split or table is None:
        raise DecodeError("say which model and which field: ?model=NAME&split=inputs.plan")
    span = arguments.span
    values = {"start": span.start, "to": span.until, "step": interval(span.step)}
    version = arguments.asked.get("version") or None
    if span.step >= timedelta(hours=1):
        return Query(
            _PARTS_BY_HOUR.format(table=literal(table)), values | {"split": split, "version": version}
        )
    told = _PARTS.format(
        table=literal(table), segments=_segments(split, version), of=_OF_VERSION if version else ""
    )
    return Query(told, values | _versioned(version))


def _part_mean(arguments: Arguments) -> Query:
    """The mean of a number for each value of a field."""
    split, field, table = arguments.asked.get("split"), arguments.asked.get("field"), arguments.table
    if not split or not field or table is None:
        raise DecodeError("say which model and fields: ?model=NAME&field=output.score&split=inputs.plan")
    span = arguments.span
    values: dict[str, Any] = {
        "start": span.start,
        "to": span.until,
        "step": interval(span.step),
        "field": field,
    }
    version = arguments.asked.get("version") or None
    if span.step >= timedelta(hours=1):
        return Query(_PART_MEAN_BY_HOUR, values | {"split": split, "table": table, "version": version})
    of = "AND version = $version\n" if version else ""
    told = _PART_MEAN.format(table=literal(table), segments=_segments(split, version), of=of)
    return Query(told, values | _versioned(version))


_ABOUT: Final = """
SELECT
    (SELECT max(time) FROM profiles WHERE table_name = $table AND field = 'duration_ms') AS newest,
    (
        SELECT map_from_entries(list((field, kind))) FROM (
            SELECT field, arg_max(kind, created_at) AS kind
            FROM binnings
            WHERE table_name = $table AND created_from <> 'segments' AND starts_with(field, 'output')
            GROUP BY field ORDER BY field
        )
    ) AS kinds,
    (SELECT list(DISTINCT field ORDER BY field) FROM profile_segments WHERE table_name = $table) AS segments,
    (
        SELECT arg_max(description::VARCHAR, described_at) FROM model_descriptions WHERE table_name = $table
    ) AS description
""".strip()
"""What decides which charts there are, at once: each query costs some milliseconds by itself."""

_RECORDED: Final = "SELECT DISTINCT metric FROM metric_values WHERE model = $model ORDER BY metric"
"""The same of what rules record, of which processes hold nothing in memory: it is asked beside."""

_CLASSES_BY_HOUR: Final = """
SELECT time, class, n / sum(n) OVER (PARTITION BY time) AS share, n::BIGINT AS predictions
FROM (
    SELECT
        time_bucket($step::INTERVAL, time, $start) AS time,
        CASE kind WHEN 'null' THEN 'missing' WHEN 'other' THEN 'other' ELSE category END AS class,
        sum(n) AS n
    FROM profile_bins
    WHERE table_name = $table AND field = $field AND segment = '' AND stage = 'production'
        AND time >= $start AND time < $to AND ($version IS NULL OR version = $version)
    GROUP BY ALL
)
WHERE n > 0
ORDER BY ALL
""".strip()

_CLASSES: Final = """
SELECT time, class, n / sum(n) OVER (PARTITION BY time) AS share, n AS predictions
FROM (
    SELECT
        time_bucket($step::INTERVAL, p.time, $start) AS time,
        coalesce({value}::VARCHAR, 'missing') AS class,
        count(*) AS n
    FROM predictions.{table} AS p
    WHERE p.time >= $start AND p.time < $to AND ($version IS NULL OR p.version = $version)
    GROUP BY ALL
)
ORDER BY ALL
""".strip()

_OF_VERSION: Final = "WHERE version = $version\n"

_PARTS_BY_HOUR: Final = """
SELECT window_start AS time, segment AS part, value AS predictions, error_share, p95
FROM service_profile(
    {table}, $start, $to, every := $step::INTERVAL, by_segment := $split, version := $version
)
ORDER BY ALL
""".strip()

_PARTS: Final = """
WITH failed AS (
    FROM error_rate({table}, $start, $to, every := $step::INTERVAL, segments := {segments})
    {of}),
slow AS (
    SELECT window_start, part, value AS p95
    FROM latency_quantiles(
        {table}, $start, $to, every := $step::INTERVAL, quantiles := [0.95], segments := {segments}
    )
    {of})
SELECT f.window_start AS time, f.part, f.sample_count AS predictions, f.value AS error_share, s.p95
FROM failed AS f
LEFT JOIN slow AS s ON s.window_start = f.window_start AND s.part IS NOT DISTINCT FROM f.part
ORDER BY ALL
""".strip()

_PART_MEAN_BY_HOUR: Final = """
SELECT
    time_bucket($step::INTERVAL, time, $start) AS time,
    segment[len($split) + 2:] AS part,
    sum(sum) / nullif(sum(list_sum(counts) - counts[1] - counts[2]), 0) AS mean,
    sum(list_sum(counts) - counts[1] - counts[2])::BIGINT AS sample_count
FROM profiles
WHERE table_name = $table AND field = $field AND starts_with(segment, $split || '=') AND stage = 'production'
    AND time >= $start AND time < $to AND ($version IS NULL OR version = $version)
GROUP BY ALL
ORDER BY ALL
""".strip()

_PART_MEAN: Final = """
SELECT window_start AS time, part, value AS mean, sample_count
FROM numeric_summary(
    {table}, $start, $to, every := $step::INTERVAL, fields := [$field], segments := {segments}
)
WHERE statistic = 'mean'
{of}ORDER BY ALL
""".strip()

PAGE: Final = Page(
    path="/model",
    name="model",
    title="Model",
    nav="Model",
    show=show,
    of_model=True,
    in_place=True,
    begins=True,
    finds=find,
    panels=(
        Panel(
            name="model/classes",
            title="Classes",
            about="Which share of the predictions was of which class.",
            make=_classes,
            parameters={"field": "which, as output.value"},
        ),
        Panel(
            name="model/quality",
            title="Quality",
            about="A metric over the predictions whose labels have come, with its interval.",
            make=_quality_of,
            parameters={"metric": "which", "split": "a field whose values are told apart"},
        ),
        Panel(
            name="model/parts",
            title="Side by side",
            about="Calls, errors and latency for each value of a field that counts are kept by.",
            make=_parts_of,
            parameters={"split": "which, as inputs.plan"},
        ),
        Panel(
            name="model/part-mean",
            title="Mean, side by side",
            about="The mean of a number for each value of a field that counts are kept by.",
            make=_part_mean,
            parameters={"split": "which, as inputs.plan", "field": "of what, as output.score"},
        ),
    ),
)

TOTALS: Final = Page(path="/model/totals", name="totals", title="In all", show=show_totals, of_model=True)
