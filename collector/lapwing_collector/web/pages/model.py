"""Model: traffic, errors, latency, predictions and quality of one model, its versions beside each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.web.fields import expression_of
from lapwing_collector.web.pages.charts import Chart, Kind, Series, Unit
from lapwing_collector.web.pages.marks import marks_of
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.panels import Arguments, Panel, Query

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


def show(view: View) -> Mapping[str, Any]:
    """The charts that fit the model."""
    known = view.known_model()
    version = view.asked.get("version") or None
    versus = view.asked.get("versus") or None if version else None
    about = view.rows(_ABOUT, table=known.table, model=known.name)[0]
    described = ModelDescription.from_json(about["description"] or "{}")
    return {
        "described": described,
        "versions": known.versions,
        "version": version,
        "versus": versus,
        "newest": about["newest"],
        "service": list(_service(versus)),
        "outputs": list(_outputs(dict(about["kinds"] or ()), described, versus)),
        "quality": list(_quality(described)),
        "recorded": [_recorded(metric) for metric in about["recorded"] or ()],
        "tables": _tables(),
        "marks": marks_of(view),
        "hour": timedelta(hours=1),
    }


def show_totals(view: View) -> Mapping[str, Any]:
    """What the range of time adds up to, beside the one before."""
    totals = {row["is_now"]: row for row in view.panel_rows("model/totals")}
    return {"now_in_all": totals.get(True), "before_in_all": totals.get(False)}


def _service(versus: str | None) -> Iterator[Chart]:
    of_two = (("versus", versus),) if versus else ()
    by = "version" if versus else ""
    yield Chart(
        panel="model/traffic",
        title="Predictions",
        kind=Kind.AREA,
        unit=Unit.COUNT,
        by="version",
        series=(Series("predictions"),),
        empty="No predictions in this range of time",
        asked=of_two,
    )
    yield Chart(
        panel="model/service",
        title="Calls that failed",
        unit=Unit.SHARE,
        by=by,
        series=(Series("error_share", "failed"),),
        empty="No predictions in this range of time",
        asked=of_two,
    )
    quantiles = (Series("p50", "median"), Series("p95", "95 %"), Series("p99", "99 %"))
    yield Chart(
        panel="model/service",
        title="Latency, 95 % of calls" if versus else "Latency",
        unit=Unit.MS,
        by=by,
        series=quantiles[1:2] if versus else quantiles,
        empty="No call in this range of time told how long it took",
        asked=of_two,
    )


def _outputs(kinds: Mapping[str, str], described: ModelDescription, versus: str | None) -> Iterator[Chart]:
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


def _quality(described: ModelDescription) -> Iterator[Chart]:
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
                coverage="label_coverage",
                from_zero=False,
                empty="No labels in this range of time yet",
                asked=(("metric", each.metric),),
            )


def _recorded(metric: str) -> Chart:
    return Chart(
        panel="model/recorded",
        title=metric,
        by="series",
        series=(Series("value"),),
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
    values = {"start": span.start, "to": span.until, "step": f"{int(span.step.total_seconds())} seconds"}
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
    return Query(
        f"SELECT window_start AS time, value, low, high, sample_count, label_coverage\n"
        f"FROM {metric}(\n    {name}, $start, $to, every := $step::INTERVAL\n)\nORDER BY ALL",
        {"start": span.start, "to": span.until, "step": f"{int(step.total_seconds())} seconds"},
        step,
    )


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
    (SELECT list(DISTINCT metric ORDER BY metric) FROM metric_values WHERE model = $model) AS recorded,
    (
        SELECT arg_max(description::VARCHAR, described_at) FROM model_descriptions WHERE table_name = $table
    ) AS description
""".strip()
"""All that decides which charts there are, at once: each query costs some milliseconds by itself."""

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

PAGE: Final = Page(
    path="/model",
    name="model",
    title="Model",
    nav="Model",
    show=show,
    of_model=True,
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
            parameters={"metric": "which"},
        ),
    ),
)

TOTALS: Final = Page(path="/model/totals", name="totals", title="In all", show=show_totals, of_model=True)
