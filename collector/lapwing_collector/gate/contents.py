"""What a report shows of a model: which metrics are asked for, and the sections that their answers make.

Pure: somebody else asks. What has no answer is left out, and where nothing is left, it is said why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lapwing_collector.gate.values import Cell, Chart, Line, Section, Table
from lapwing_collector.model.description import ModelDescription, Task

MOST_FIELDS: Final = 6
"""Fields whose distributions are drawn: those that drifted most."""

_MOST_BINS: Final = 12
_MOST_ROWS: Final = 200
_SPAN: Final = "$window_start, $window_end"
_POINTS: Final = 40
"""Points of a curve over time, at most."""
_STEPS: Final = tuple(timedelta(hours=each) for each in (1, 3, 6, 12, 24, 7 * 24, 30 * 24))
_MOST_LINES: Final = 4


@dataclass(frozen=True, slots=True)
class Question:
    """One query of a report.

    Attributes:
        key: What its answer is found by.
        sql: One SELECT with the parameters `window_start` and `window_end`.
        each_side: Whether it is asked of what the rows are compared with, too.
    """

    key: str
    sql: str
    each_side: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of an answer, or why there are none."""

    rows: Sequence[Mapping[str, Any]] = ()
    problem: str = ""


Answers = Mapping[tuple[str, str], Answer]
"""Answers by side and key."""

_CLASSIFIED: Final = {
    "accuracy": "accuracy",
    "precision": "precision_score",
    "recall": "recall_score",
    "F1": "f_beta",
}
_SCORED: Final = {
    "ROC-AUC": "roc_auc",
    "average precision": "pr_auc",
    "log loss": "log_loss",
    "Brier score": "brier",
    "calibration error": "calibration_error",
}
_NUMBERS: Final = {
    "mean absolute error": "mae",
    "root mean squared error": "rmse",
    "mean error": "mean_error",
    "median absolute error": "median_absolute_error",
    "R²": "r2",
}
_OVER_TIME: Final = frozenset({"accuracy", "ROC-AUC", "mean absolute error", "R²", "NDCG"})
"""Of the metrics above, those that are drawn over time."""
_RANKED: Final = {"NDCG": "ndcg_at_k", "MAP": "map_at_k", "recall": "recall_at_k", "MRR": "mrr"}


def questions(
    told: ModelDescription, model: str, *, every: timedelta | None, reference: str | None
) -> list[Question]:
    """What a report asks.

    Args:
        told: What is known of the model.
        model: Its table's name, quoted as a text.
        every: From one point over time to the next, where the rows are calls that were made; None of a file.
        reference: The reference that drift is of, quoted as a text; None for the newest.
    """
    against = "" if reference is None else f", reference := {reference}"
    asked = [
        Question(f"quality:{name}", f"FROM {metric}({model}, {_SPAN})", each_side=True)
        for name, metric in _metrics(told).items()
    ]
    if told.task is Task.CLASSIFICATION:
        asked.append(Question("confusion", f"FROM confusion_matrix({model}, {_SPAN})"))
        asked.append(Question("balance", f"FROM class_balance({model}, {_SPAN})"))
        if told.score is not None or told.scores is not None:
            asked.append(Question("roc", f"FROM roc_curve({model}, {_SPAN})", each_side=True))
            asked.append(Question("calibration", f"FROM calibration({model}, {_SPAN})", each_side=True))
            asked.append(Question("separation", f"FROM class_separation({model}, {_SPAN})"))
    if told.task is Task.REGRESSION:
        asked.append(Question("errors", f"FROM error_distribution({model}, {_SPAN})", each_side=True))
    asked += [
        Question("coverage", f"FROM label_coverage({model}, {_SPAN})"),
        Question("missing", f"FROM missing_share({model}, {_SPAN})", each_side=True),
        Question("failing", f"FROM error_rate({model}, {_SPAN})"),
        Question("repeated", f"FROM duplicate_row_share({model}, {_SPAN})"),
        Question("new", f"FROM new_category_share({model}, {_SPAN}{against})"),
        Question("beyond", f"FROM beyond_reference_share({model}, {_SPAN}{against})"),
        Question(
            "drift",
            "SELECT field, method, drifted, value, effect_size, sample_count, reference_count, reference, "
            f"reason\nFROM drift({model}, {_SPAN}{against})",
        ),
        Question("shares", _shares_sql(model, reference)),
    ]
    return asked if every is None else asked + _over_time(told, model, every, against)


def step_for(since: datetime, until: datetime) -> timedelta:
    """From one point over time to the next, in a span of such a length."""
    return next((each for each in _STEPS if (until - since) / each <= _POINTS), _STEPS[-1])


def _over_time(told: ModelDescription, model: str, every: timedelta, against: str) -> list[Question]:
    steps = f"every := INTERVAL {int(every.total_seconds())} SECOND"
    asked = {
        "count": f"FROM prediction_count({model}, {_SPAN}, {steps})",
        "failed": f"FROM error_rate({model}, {_SPAN}, {steps})",
        "latency": f"FROM latency_quantiles({model}, {_SPAN}, {steps})",
    }
    measured = {name: metric for name, metric in _metrics(told).items() if name in _OVER_TIME}
    asked |= {
        f"over:{name}": f"FROM {metric}({model}, {_SPAN}, {steps})" for name, metric in measured.items()
    }
    if measured:
        asked["labels over time"] = f"FROM label_coverage({model}, {_SPAN}, {steps})"
    asked["distances"] = (
        f"SELECT field, window_start, value\nFROM js_distance({model}, {_SPAN}, {steps}{against})"
    )
    return [Question(key, sql) for key, sql in asked.items()]


def sections(asked: Sequence[Question], answers: Answers, sides: Sequence[str]) -> list[Section]:
    """The sections of a report.

    Args:
        asked: The questions.
        answers: Their answers.
        sides: The rows that it is about, then what they are compared with.
    """
    sql = {each.key: each.sql for each in asked}
    made = [
        _traffic(sql, answers, sides[0]),
        _quality(sql, answers, sides),
        _drift(sql, answers, sides[0]),
        _data(sql, answers, sides),
    ]
    return [each for each in made if each is not None]


def _metrics(told: ModelDescription) -> dict[str, str]:
    match told.task:
        case Task.CLASSIFICATION:
            predicted = told.prediction is not None or None not in (told.score, told.threshold)
            scored = told.score is not None or told.scores is not None
            return (_CLASSIFIED if predicted else {}) | (_SCORED if scored else {})
        case Task.REGRESSION:
            return dict(_NUMBERS)
        case Task.RANKING:
            return dict(_RANKED)
    return {}


# Traffic


def _traffic(sql: Mapping[str, str], answers: Answers, side: str) -> Section | None:
    if "count" not in sql:
        return None
    charts = [
        _in_time("Predictions", {"predictions": _rows(answers, side, "count")}),
        _in_time("Share that failed", {"failed": _rows(answers, side, "failed")}),
    ]
    latencies: dict[str, list[Mapping[str, Any]]] = {}
    for row in _rows(answers, side, "latency"):
        latencies.setdefault(f"p{float(row['quantile']) * 100:g}", []).append(row)
    charts.append(_in_time("Duration in ms", latencies))
    drawn = [each for each in charts if each.lines]
    problem = "" if drawn else _problem(answers, side, ["count"])
    return Section("Traffic", charts=drawn, sql=_sql(sql, "count", "failed", "latency"), problem=problem)


def _in_time(title: str, lines: Mapping[str, Sequence[Mapping[str, Any]]], y: str = "") -> Chart:
    """Values over time, with their intervals where there are some."""
    drawn = [
        Line(
            name,
            [f"{row['window_start'].isoformat()}Z" for row in rows],
            [row["value"] for row in rows],
            *([row[end] for row in rows] for end in ("low", "high") if end in rows[0]),
        )
        for name, rows in lines.items()
        if any(row["value"] is not None for row in rows)
    ]
    return Chart(title, "times", drawn, y=y)


# Quality


def _quality(sql: Mapping[str, str], answers: Answers, sides: Sequence[str]) -> Section | None:
    keys = [key for key in sql if key.startswith("quality:")]
    if not keys:
        return None
    rows: list[list[Cell]] = []
    others = [side for side in sides[1:] if any(_told(answers, side, key) for key in keys)]
    for key in keys:
        name = key.partition(":")[2]
        beside = [_told(answers, side, key) for side in others]
        for row in _rows(answers, sides[0], key):
            bounds = None if row.get("low") is None else f"{row['low']:.4g} to {row['high']:.4g}"
            rows.append(
                [
                    f"{name} {_class(row)}".strip(),
                    row["value"],
                    bounds,
                    row["sample_count"],
                    *(each.get(_class(row)) for each in beside),
                ]
            )
    over = [key for key in sql if key.startswith("over:")]
    charts = [
        _in_time(f"{name} over time", {name: _rows(answers, sides[0], f"over:{name}")})
        for name in (key.partition(":")[2] for key in over)
    ]
    if over:
        charts.append(
            _in_time("Share with a label", {"with a label": _rows(answers, sides[0], "labels over time")})
        )
    if "roc" in sql:
        charts += [
            _curves("ROC curve", answers, sides, ("roc", "false_positive_rate"), "true positive rate"),
            _curves("Calibration", answers, sides, ("calibration", "predicted"), "share that is positive"),
        ]
        charts.append(_separation(answers, sides[0]))
    if "errors" in sql:
        charts.append(_errors(answers, sides))
    if "confusion" in sql:
        charts.append(_confusion(answers, sides[0]))
    judged = any(row[1] is not None for row in rows)
    return Section(
        "Quality",
        "" if judged else "Nothing is known of how good it is while no label tells.",
        Table(["Metric", sides[0], "Interval", "Rows", *others], rows) if judged else None,
        [each for each in charts if each.lines],
        _sql(
            sql, *keys, *over, "labels over time", "roc", "calibration", "separation", "confusion", "errors"
        ),
        "" if judged else _problem(answers, sides[0], keys),
    )


def _told(answers: Answers, side: str, key: str) -> dict[str, float]:
    """The values that a metric has for a side, by class."""
    return {_class(row): row["value"] for row in _rows(answers, side, key) if row["value"] is not None}


def _class(row: Mapping[str, Any]) -> str:
    name = row.get("class")
    return "" if name in {None, "all", "true", "1"} else str(name)


def _curves(title: str, answers: Answers, sides: Sequence[str], what: tuple[str, str], y: str) -> Chart:
    key, x = what
    lines = []
    for side in sides:
        by_class: dict[str, list[Mapping[str, Any]]] = {}
        for row in _rows(answers, side, key):
            by_class.setdefault(str(row.get("class")), []).append(row)
        if len(by_class) == 1:
            rows = [row for row in next(iter(by_class.values())) if row[x] is not None]
            lines.append(Line(side, [row[x] for row in rows], [row["value"] for row in rows]))
    return Chart(title, "lines", lines, x=x.replace("_", " "), y=y, diagonal=True)


def _separation(answers: Answers, side: str) -> Chart:
    by_truth: dict[str, list[Mapping[str, Any]]] = {}
    rows = _rows(answers, side, "separation")
    if len({row["class"] for row in rows}) == 1:
        for row in rows:
            by_truth.setdefault(str(row["truth"]), []).append(row)
    lines = [
        Line(f"truth {name}", [row["bin_start"] for row in each], [row["value"] for row in each])
        for name, each in sorted(by_truth.items())
    ]
    return Chart("Scores by truth", "lines", lines, x="score", y="share of the class")


def _errors(answers: Answers, sides: Sequence[str]) -> Chart:
    lines = []
    for side in sides[:3]:
        rows = [row for row in _rows(answers, side, "errors") if row.get("bin_start") is not None]
        if rows:
            lines.append(Line(side, [row["bin_start"] for row in rows], [row["value"] for row in rows]))
    return Chart("Errors", "lines", lines, x="prediction - truth", y="share")


def _confusion(answers: Answers, side: str) -> Chart:
    by_truth: dict[str, dict[str, float]] = {}
    for row in _rows(answers, side, "confusion"):
        by_truth.setdefault(str(row["prediction"]), {})[f"truth {row['truth']}"] = row["value"]
    if len(by_truth) > 4:
        return Chart("", "bars", [])
    lines = [
        Line(f"predicted {name}", list(found), list(found.values()))
        for name, found in sorted(by_truth.items())
    ]
    return Chart("Predictions by truth", "bars", lines, y="rows")


# Drift


def _drift(sql: Mapping[str, str], answers: Answers, side: str) -> Section:
    rows = sorted(
        _rows(answers, side, "drift"),
        key=lambda row: (-(row["drifted"] or 0), -(row["effect_size"] or 0.0), row["field"]),
    )
    shown = [row for row in rows if row["value"] is not None or row["field"] != "duration_ms"]
    drifted = [row["field"] for row in rows if row["drifted"] == 1]
    reference = next((row["reference"] for row in rows if row["reference"]), None)
    text = (
        f"{len(drifted)} of {len(shown)} fields are distributed otherwise than in the reference {reference}."
        if reference
        else ""
    )
    table = Table(
        ["Field", "Drifted", "Method", "Value", "Effect", "Rows", "Reference rows", "Why not"],
        [
            [
                row["field"],
                None if row["drifted"] is None else row["drifted"] == 1,
                row["method"],
                row["value"],
                row["effect_size"],
                row["sample_count"],
                row["reference_count"],
                row["reason"] or "",
            ]
            for row in shown[:_MOST_ROWS]
        ],
    )
    fields = [row["field"] for row in shown if row["value"] is not None][:MOST_FIELDS]
    distances: dict[str, list[Mapping[str, Any]]] = {field: [] for field in fields[:_MOST_LINES]}
    for row in _rows(answers, side, "distances"):
        if row["field"] in distances:
            distances[row["field"]].append(row)
    charts = [
        _in_time("Distance from the reference over time", distances, "Jensen-Shannon distance"),
        *(_overlay(answers, side, field) for field in fields),
    ]
    return Section(
        "Drift",
        text,
        table if shown else None,
        [each for each in charts if each.lines],
        _sql(sql, "drift", "distances", "shares"),
        "" if shown else _problem(answers, side, ["drift"]),
    )


def _overlay(answers: Answers, side: str, field: str) -> Chart:
    """Shares of the bins of a field, now and in the reference; ranges of numbers put together."""
    rows = [row for row in _rows(answers, side, "shares") if row["field"] == field]
    ranges = [row for row in rows if row["kind"] == "range"]
    wide = -(-len(ranges) // _MOST_BINS) or 1
    bars: dict[str, list[float]] = {}
    for kind, name in (("null", "missing"), ("under", "lower")):
        _add(bars, name, [row for row in rows if row["kind"] == kind])
    for at in range(0, len(ranges), wide):
        part = ranges[at : at + wide]
        _add(bars, f"{part[0]['lower']:.3g} to {part[-1]['upper']:.3g}", part)
    _add(bars, "higher", [row for row in rows if row["kind"] == "over"])
    categories = sorted((row for row in rows if row["kind"] == "category"), key=lambda row: -row["n"])
    for row in categories[:_MOST_BINS]:
        _add(bars, str(row["category"]), [row])
    _add(bars, "others", [*categories[_MOST_BINS:], *(row for row in rows if row["kind"] == "other")])
    kept = {name: counts for name, counts in bars.items() if any(counts)}
    now, then = (sum(counts[at] for counts in kept.values()) or 1.0 for at in (0, 1))
    lines = [
        Line(side, list(kept), [counts[0] / now for counts in kept.values()]),
        Line("reference", list(kept), [counts[1] / then for counts in kept.values()]),
    ]
    return Chart(field, "bars", lines if kept else [], y="share")


def _add(bars: dict[str, list[float]], name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    counts = bars.setdefault(name, [0.0, 0.0])
    for row in rows:
        counts[0] += float(row["n"])
        counts[1] += float(row["reference_n"])


def _shares_sql(model: str, reference: str | None) -> str:
    """Counts in the bins of the newest version of a reference, then and now."""
    named = "role = 'drift'" if reference is None else f"reference = {reference}"
    return f"""WITH meant AS (
    SELECT reference, version FROM reference_sets
    WHERE lower(table_name) = lower({model}) AND {named}
    ORDER BY created_at DESC, version DESC LIMIT 1
),
past AS (
    SELECT b.field, b.binning_id, generate_subscripts(b.counts, 1) AS bin, unnest(b.counts) AS n
    FROM reference_bins AS b
    JOIN meant AS m ON b.reference = m.reference AND b.version = m.version
    WHERE lower(b.table_name) = lower({model})
)
SELECT p.field, p.kind, p.lower, p.upper, p.category, p.bin, sum(p.n) AS n, any_value(r.n) AS reference_n
FROM profile_bins AS p
JOIN past AS r ON r.field = p.field AND r.binning_id = p.binning_id AND r.bin = p.bin
WHERE lower(p.table_name) = lower({model}) AND p.stage = 'production' AND p.segment = ''
    AND p.time >= $window_start AND p.time < $window_end
GROUP BY ALL
ORDER BY p.field, p.bin"""


# Data


def _data(sql: Mapping[str, str], answers: Answers, sides: Sequence[str]) -> Section:
    new = {row["field"]: row["value"] for row in _rows(answers, sides[0], "new")}
    beyond = {row["field"]: row["value"] for row in _rows(answers, sides[0], "beyond")}
    then = {row["field"]: row["value"] for side in sides[1:2] for row in _rows(answers, side, "missing")}
    rows = [
        [
            row["field"],
            row["value"],
            then.get(row["field"]),
            new.get(row["field"]),
            beyond.get(row["field"]),
            row["sample_count"],
        ]
        for row in _rows(answers, sides[0], "missing")
    ]
    columns = ["Field", "Missing", f"Missing in {sides[1]}" if sides[1:] else "Missing before"]
    columns += ["New categories", "Beyond the reference", "Rows"]
    repeated = next((row["value"] for row in _rows(answers, sides[0], "repeated")), None)
    text = "" if repeated is None else f"{repeated:.2%} of the rows repeat another."
    return Section(
        "Quality of data",
        text,
        Table(columns, rows[:_MOST_ROWS]) if rows else None,
        (),
        _sql(sql, "missing", "new", "beyond", "repeated"),
        "" if rows else _problem(answers, sides[0], ["missing"]),
    )


def _rows(answers: Answers, side: str, key: str) -> Sequence[Mapping[str, Any]]:
    return answers.get((side, key), Answer()).rows


def _problem(answers: Answers, side: str, keys: Iterable[str]) -> str:
    told = (answers.get((side, key), Answer()).problem for key in keys)
    return next(filter(None, told), "there are no rows")


def _sql(sql: Mapping[str, str], *keys: str) -> list[str]:
    return [sql[key] for key in keys if key in sql]
